//! The defaults of a constitution: settings and request texts.

use super::{CandidatePairs, DecideBy, Judge, Layout, Method, Plan, Policy, Select, StepSampling};
use crate::judge::{Calibration, Mode, labels};
use crate::model::Sampling;

impl Default for Plan {
    fn default() -> Self {
        Self {
            method: Method::default(),
            rounds: 1,
            select: Select::Random,
            principles_per_round: 1,
            critique: true,
            stop_unchanged: true,
            few_shot: 0,
            layout: Layout::Conversation,
            history: true,
            gate: None,
            candidates: 1,
        }
    }
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            enabled: true,
            policy: Policy::Drop,
            decide_by: DecideBy::Overall,
            min_margin: 0.0,
            mass_floor: 0.5,
            mode: Mode::Soft,
            clamp: [0.4, 0.6],
            reasons: 0,
            templates: vec!["judge".to_owned()],
            labels: labels::ANSWERS.map(str::to_owned),
            pairs: CandidatePairs::BestWorst,
            calibration: Calibration::default(),
        }
    }
}

impl Default for StepSampling {
    fn default() -> Self {
        let with =
            |temperature, max_tokens| Sampling { temperature, max_tokens, ..Sampling::default() };
        Self {
            generate: with(0.8, 512),
            critique: with(0.7, 256),
            revise: with(0.7, 512),
            judge: with(0.0, 256),
        }
    }
}

/// The layout of runs whose manifest does not name one.
pub(super) fn layout_of_old_manifests() -> Layout {
    Layout::Quoted
}

/// The default version.
pub(super) fn version() -> String {
    "0".into()
}

/// The default language.
pub(super) fn language() -> String {
    "en".into()
}

/// The default category of a principle.
pub(super) fn category() -> String {
    "general".into()
}

/// The default weight of a principle.
pub(super) fn weight() -> f64 {
    1.0
}

/// The default scale of a dimension: its lowest and highest score.
pub(super) fn scale() -> [u32; 2] {
    [1, 5]
}

/// The default title of a principle, derived from its id.
pub(super) fn title(id: &str) -> String {
    let words = id.replace(['-', '_'], " ");
    let words = words.trim();
    let mut chars = words.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => id.to_owned(),
    }
}

/// The default request of the critique step.
pub(super) fn critique_request(rule: &str) -> String {
    format!(
        "Hold the last answer against this rule: {rule}\n\n\
         Name specifically what in the answer breaks the rule: quote the words and say why they \
         break it. If nothing in the answer breaks it, say plainly that nothing does. Judge by \
         this rule alone."
    )
}

/// The default request of the revision step.
pub(super) fn revise_request(rule: &str) -> String {
    format!(
        "Rewrite the last answer so that it keeps this rule: {rule}\n\n\
         Change nothing else."
    )
}

/// The default question for the judge.
pub(super) fn judge_request(rule: &str) -> String {
    format!("Which of the two answers keeps this rule better: {rule}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_readable() {
        for (id, expect) in [
            ("no-violence", "No violence"),
            ("a_b-c", "A b c"),
            ("2nd", "2nd"),
            ("-lead-", "Lead"),
            ("--", "--"),
        ] {
            assert_eq!(title(id), expect);
        }
    }

    #[test]
    fn each_step_has_its_own_sampling() {
        let steps = StepSampling::default();
        let settings = |sampling: &Sampling| (sampling.temperature, sampling.max_tokens);
        assert_eq!(settings(&steps.generate), (0.8, 512));
        assert_eq!(settings(&steps.critique), (0.7, 256));
        assert_eq!(settings(&steps.revise), (0.7, 512));
        assert_eq!(settings(&steps.judge), (0.0, 256));
        assert_eq!(steps.generate, Sampling::default());
    }
}
