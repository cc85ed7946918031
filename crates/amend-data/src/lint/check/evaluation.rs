//! Finds prompts that are also in evaluation data: a model trained on them is
//! evaluated on what it has seen.

use std::collections::HashMap;

use super::{Check, Fix, Hit, LintRule, Needs, excerpt};
use crate::format::example::Example;
use amend_core::document::Severity;
use amend_core::text::minhash::{self, Nearest, Signature};

pub(super) static LEAKED: LintRule = LintRule {
    name: "evaluation-leak",
    severity: Severity::Error,
    about: "a prompt nearly repeats a prompt of the evaluation files, or shares 13 words in a row with one",
    fix: "the row is removed",
    needs: Needs::Evaluation,
};

/// The least similarity of two prompts' words at which one nearly repeats the other.
const NEAR: f64 = 0.8;

/// The number of words in a row that two texts do not share by chance (GPT-3's
/// measure, Brown et al. 2020, appendix C).
const RUN: usize = 13;

/// The prompts of the evaluation files.
#[derive(Debug, Default)]
pub(in crate::lint) struct EvaluationLeak {
    index: Nearest,
    /// The prompt that contains each run of words, by the run's hash.
    runs: HashMap<u64, u32>,
    /// The name of each prompt: its file and row.
    names: Vec<String>,
}

impl EvaluationLeak {
    /// Adds a prompt; `name` is its file and row.
    pub(in crate::lint) fn add(&mut self, prompt: &str, name: String) {
        let number = self.index.insert(Signature::from_text(prompt));
        for run in runs(prompt) {
            self.runs.entry(run).or_insert(number);
        }
        self.names.push(name);
    }

    /// The name of the evaluation prompt that a text repeats.
    fn find(&self, text: &str) -> Option<&str> {
        let near =
            || self.index.nearest(&Signature::from_text(text), NEAR).map(|(number, _)| number);
        let shared = || runs(text).into_iter().find_map(|run| self.runs.get(&run).copied());
        let number = near().or_else(shared)?;
        self.names.get(number as usize).map(String::as_str)
    }
}

impl Check for EvaluationLeak {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&LEAKED] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        if self.names.is_empty() {
            return;
        }
        for turn in &example.prompt {
            if turn.role != "user" || turn.text.trim().is_empty() {
                continue;
            }
            if let Some(name) = self.find(&turn.text) {
                let excerpt = format!("like {name}: {}", excerpt(&turn.text, 0, 0));
                hits.push(Hit { rule: &LEAKED, excerpt, fix: Fix::Remove });
                return;
            }
        }
    }
}

/// The hash of every run of [`RUN`] words.
fn runs(text: &str) -> Vec<u64> {
    let words = minhash::words(text);
    let hash = |run: &[u64]| {
        run.iter().fold(0_u64, |hash, word| {
            hash.rotate_left(5) ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    };
    words.windows(RUN).map(hash).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::broken_rules;
    use super::*;

    #[test]
    fn prompts_in_the_evaluation_files_are_reported() {
        let long = "A train leaves the old station at nine in the morning and arrives at \
                    noon in a town that lies two hundred miles to the west of it.";
        let mut evaluation = EvaluationLeak::default();
        evaluation.add("What is the capital of France?", "eval.jsonl row 1".to_owned());
        evaluation.add(long, "eval.jsonl row 2".to_owned());
        for (prompt, leaked) in [
            ("what is the capital of  France", true),
            ("What is the capital of Spain?", false),
            (&long.replace("noon", "midnight"), true),
            (&format!("Solve this. {} What is its speed?", &long[..100]), true),
            ("A train leaves the old station at nine, they say.", false),
            ("", false),
        ] {
            let row = json!({"prompt": prompt, "chosen": "a", "rejected": "b"});
            let expected: &[&str] = if leaked { &["evaluation-leak"] } else { &[] };
            assert_eq!(broken_rules(&evaluation, row), expected, "{prompt}");
        }
        let row = json!({"prompt": long, "chosen": "a", "rejected": "b"});
        assert_eq!(broken_rules(&EvaluationLeak::default(), row), [""; 0]);
    }
}
