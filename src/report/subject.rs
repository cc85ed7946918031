//! What a run is about, as far as a report tells: its principles and how its
//! verdicts count, read from the manifest.

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
    pub principles: Vec<Principle>,
    /// How log-odds become verdicts.
    pub judge: Judge,
    /// How verdicts and reviews bear on pairs.
    pub rules: Rules,
    /// The least violation at which a principle is applied, where there is a gate.
    pub gate: Option<f64>,
    /// Whether gates only rank the principles, and the worst is applied.
    pub worst: bool,
    /// The seed of intervals.
    pub seed: u64,
}

/// A principle, as far as a report tells.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Principle {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its category.
    pub category: String,
    /// Its weight among verdicts.
    pub weight: f64,
    /// The rule itself.
    pub principle: String,
}

impl Default for Principle {
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

impl Principle {
    /// The same; a variant that an audit asked for has the title of what it varies,
    /// and is told apart.
    fn told_apart(mut self) -> Self {
        let after = |mark, what: &str| Some(format!(" ({what} {})", self.id.split_once(mark)?.1));
        let variant = after('~', "wording").or_else(|| after('@', "answers called"));
        if let Some(variant) = variant.filter(|_| !self.title.is_empty()) {
            self.title.push_str(&variant);
        }
        self
    }
}

impl Subject {
    /// Reads a manifest. What it lacks is as constitutions have it by default.
    pub fn new(manifest: &Manifest) -> Self {
        let constitution = &manifest.constitution.value;
        let principles = constitution["principles"].as_array().map_or(&[][..], Vec::as_slice);
        let plan = &constitution["loop"];
        Self {
            command: manifest.command.clone(),
            principles: principles.iter().filter_map(read).map(Principle::told_apart).collect(),
            judge: read(&constitution["judge"]).unwrap_or_default(),
            rules: Rules::of(constitution),
            gate: plan["gate"].as_f64(),
            worst: plan["select"] == "worst",
            seed: manifest.seed,
        }
    }

    /// The same where people have decided.
    pub fn with_reviews(self, reviews: Reviews) -> Self {
        Self { rules: self.rules.with_reviews(reviews), ..self }
    }

    /// Whether its items were answered, criticised and revised to make pairs.
    pub fn pairs(&self) -> bool {
        self.command == "run"
    }

    /// The principle of an id.
    pub fn principle(&self, id: &str) -> Option<&Principle> {
        self.principles.iter().find(|principle| principle.id == id)
    }

    /// What a principle is called: its title, else its id.
    pub fn title<'a>(&'a self, id: &'a str) -> &'a str {
        let title = self.principle(id).map_or("", |principle| principle.title.as_str());
        if title.is_empty() { id } else { title }
    }

    /// How much a verdict under a principle, or on the whole, counts among all
    /// verdicts on two given answers.
    pub fn weight(&self, principle: Option<&str>) -> f64 {
        principle.and_then(|id| self.principle(id)).map_or(1.0, |principle| principle.weight)
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
    fn the_manifest_tells_principles_and_judge() {
        let subject = Subject::new(&manifest());
        let ids: Vec<_> = subject.principles.iter().map(|one| one.id.as_str()).collect();
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
        assert_eq!(
            [None, Some("true"), Some("kind")].map(|id| subject.weight(id)),
            [1.0, 1.0, f64::from(0.1_f32)]
        );
        assert!(!subject.pairs());
    }
}
