//! The parts of a run's manifest that a report shows: its principles, and how its
//! verdicts count.

use serde::Deserialize;
use serde_json::Value;

use amend_core::constitution::Judge;
use amend_data::pairs::judgement::Rules;
use amend_data::store::manifest::Manifest;
use amend_data::store::reviews::Reviews;

/// A run's principles and judge.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The command that made the run.
    pub command: String,
    /// The principles, in the constitution's order.
    pub principles: Vec<SubjectPrinciple>,
    /// How log-odds become verdicts.
    pub judge: Judge,
    /// How verdicts and reviews decide about pairs.
    pub rules: Rules,
    /// The least violation at which a principle is applied, if there is a gate.
    pub gate: Option<f64>,
    /// Whether gates only rank the principles, so that the most violated is applied.
    pub worst: bool,
    /// The seed for the bootstrap of intervals.
    pub seed: u64,
}

/// A principle as a report shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct SubjectPrinciple {
    /// The id.
    pub id: String,
    /// The title.
    pub title: String,
    /// The category.
    pub category: String,
    /// The weight of its verdict among all verdicts.
    pub weight: f64,
    /// The text of the principle.
    pub principle: String,
}

impl Default for SubjectPrinciple {
    fn default() -> Self {
        Self {
            id: String::new(),
            title: String::new(),
            category: String::new(),
            weight: 1.0,
            principle: String::new(),
        }
    }
}

impl SubjectPrinciple {
    /// Adds the variant to the title of a variant that an audit made: it has the
    /// title of the original principle.
    fn with_variant_title(mut self) -> Self {
        if self.title.is_empty() {
            return self;
        }
        if let Some((_, number)) = self.id.split_once('~') {
            self.title.push_str(&format!(" (paraphrase {number})"));
        } else if let Some((_, words)) = self.id.split_once('@') {
            self.title.push_str(&format!(" (label words {words})"));
        }
        self
    }
}

impl Subject {
    /// Reads a manifest. Missing values get the defaults of constitutions.
    pub fn new(manifest: &Manifest) -> Self {
        let constitution = &manifest.constitution.value;
        let principles = constitution["principles"].as_array().map_or(&[][..], Vec::as_slice);
        let plan = &constitution["loop"];
        Self {
            command: manifest.command.clone(),
            principles: principles
                .iter()
                .filter_map(read)
                .map(SubjectPrinciple::with_variant_title)
                .collect(),
            judge: read(&constitution["judge"]).unwrap_or_default(),
            rules: Rules::from_constitution(constitution),
            gate: plan["gate"].as_f64(),
            worst: plan["select"] == "worst",
            seed: manifest.seed,
        }
    }

    /// Adds the decisions of reviewers.
    pub fn with_reviews(self, reviews: Reviews) -> Self {
        Self { rules: self.rules.with_reviews(reviews), ..self }
    }

    /// Whether the command makes pairs of answers.
    pub fn pairs(&self) -> bool {
        self.command == "run"
    }

    /// The principle with this id.
    pub fn principle(&self, id: &str) -> Option<&SubjectPrinciple> {
        self.principles.iter().find(|principle| principle.id == id)
    }

    /// The title of a principle, or its id if it has none.
    pub fn title<'a>(&'a self, id: &'a str) -> &'a str {
        let title = self.principle(id).map_or("", |principle| principle.title.as_str());
        if title.is_empty() { id } else { title }
    }

    /// The weight of a verdict under a principle among all verdicts on two given
    /// answers.
    pub fn weight(&self, id: &str) -> f64 {
        self.principle(id).map_or(1.0, |principle| principle.weight)
    }
}

fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use amend_data::testing::manifest;

    #[test]
    fn principles_judge_and_gate_are_read_from_the_manifest() {
        let subject = Subject::new(&manifest());
        let ids: Vec<_> = subject.principles.iter().map(|found| found.id.as_str()).collect();
        assert_eq!(ids, ["kind", "true", "polite"]);
        assert_eq!(subject.judge, Judge::default());
        assert_eq!((subject.title("kind"), subject.title("gone")), ("kind", "gone"));
        assert!(subject.pairs());

        let mut other = manifest();
        other.command = "judge".to_owned();
        let judge = Judge { mass_floor: 0.25, ..Judge::default() };
        other.constitution.value["judge"] = json!(judge);
        other.constitution.value["loop"] = json!({"gate": 0.25, "select": "worst"});
        let subject = Subject::new(&other);
        assert_eq!((subject.gate, subject.worst), (Some(0.25), true));
        assert_eq!(subject.judge, judge);
        let weights = ["gone", "true", "kind"].map(|id| subject.weight(id));
        assert_eq!(weights, [1.0, 1.0, f64::from(0.1_f32)]);
        assert!(!subject.pairs());
    }
}
