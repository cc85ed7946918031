//! The run that a report is about: its manifest, and how its verdicts count.

use amend_core::constitution::{Constitution, Principle, Select};
use amend_core::judge::VerdictSettings;
use amend_data::lint::SpoiltPairs;
use amend_data::pairs::judgement::Rules;
use amend_data::store::manifest::Manifest;
use amend_data::store::reviews::Reviews;
use amend_data::store::run_dir::RunDir;

/// A run's manifest, and how its verdicts count.
pub struct Subject<'a> {
    manifest: &'a Manifest,
    /// How verdicts and reviews decide about pairs.
    pub rules: Rules,
    /// Finds pairs that an export leaves out because they are spoilt.
    pub spoilt: SpoiltPairs,
}

impl<'a> Subject<'a> {
    /// The subject of a report on the run of a manifest, without reviews.
    #[cfg(test)]
    pub fn new(manifest: &'a Manifest) -> Self {
        let rules = Rules::from_constitution(&manifest.constitution.value);
        Self { manifest, rules, spoilt: SpoiltPairs::new(manifest) }
    }

    /// The subject of a report on a run, without reviews. If other verdicts stand for its
    /// own, they count.
    pub fn from_run(run: &'a RunDir) -> Self {
        let manifest = run.manifest();
        Self { manifest, rules: Rules::from_run(run), spoilt: SpoiltPairs::new(manifest) }
    }

    /// Adds the decisions of reviewers.
    pub fn with_reviews(self, reviews: Reviews) -> Self {
        Self { rules: self.rules.with_reviews(reviews), ..self }
    }

    /// Whether the command makes pairs of answers.
    pub fn pairs(&self) -> bool {
        self.manifest.command == "run"
    }

    /// The seed for the bootstrap of intervals.
    pub fn seed(&self) -> u64 {
        self.manifest.seed
    }

    fn constitution(&self) -> &'a Constitution {
        &self.manifest.constitution.value
    }

    /// The settings that turn log-probabilities into verdicts.
    pub fn standing(&self) -> VerdictSettings {
        self.rules.standing()
    }

    /// What the answer is that verdicts are for, and the one that they are against.
    pub fn sides(&self) -> [&'static str; 2] {
        let has_rounds = self.constitution().plan.method.has_rounds();
        [if has_rounds { "revision" } else { "guided answer" }, "first answer"]
    }

    /// The least violation at which a principle is applied, if there is a gate.
    pub fn gate(&self) -> Option<f64> {
        self.constitution().plan.gate
    }

    /// Whether gates only rank the principles, so that the most violated is applied.
    pub fn applies_worst(&self) -> bool {
        self.constitution().plan.select == Select::Worst
    }

    /// The principles, in the constitution's order.
    pub fn principles(&self) -> &'a [Principle] {
        &self.constitution().principles
    }

    /// The principle with this id.
    pub fn principle(&self, id: &str) -> Option<&'a Principle> {
        self.constitution().principle(id)
    }

    /// The title of a principle, or its id if the principle is unknown. A variant that
    /// an audit made has the title of the original principle, and what varies.
    pub fn title(&self, id: &str) -> String {
        let Some(principle) = self.principle(id) else { return id.to_owned() };
        let title = &principle.title;
        if let Some((_, number)) = id.split_once('~') {
            format!("{title} (paraphrase {number})")
        } else if let Some((_, words)) = id.split_once('@') {
            format!("{title} (label words {words})")
        } else {
            title.clone()
        }
    }

    /// The weight of a verdict under a principle among all verdicts on two given
    /// answers.
    pub fn weight(&self, id: &str) -> f64 {
        self.principle(id).map_or(1.0, |principle| principle.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_data::testing::manifest;

    #[test]
    fn unknown_principles_have_their_id_as_title_and_weight_1() {
        let manifest = manifest();
        let subject = Subject::new(&manifest);
        assert_eq!(["gone", "true", "kind"].map(|id| subject.weight(id)), [1.0, 1.0, 0.1]);
        assert_eq!((subject.title("kind"), subject.title("gone")), ("kind".into(), "gone".into()));
    }

    #[test]
    fn titles_of_variants_say_what_varies() {
        let mut manifest = manifest();
        let principles = &mut manifest.constitution.value.principles;
        principles[1].id = "kind~2".to_owned();
        principles[2].id = "kind@1/2".to_owned();
        principles[1].title = "Be kind".to_owned();
        let subject = Subject::new(&manifest);
        let titles = ["kind~2", "kind@1/2"].map(|id| subject.title(id));
        assert_eq!(titles, ["Be kind (paraphrase 2)", "polite (label words 1/2)"]);
    }
}
