//! What the progress of many items says, in words.

use std::fmt;
use std::time::Duration;

use crate::cli::output::format::{count, duration, number};
use amend_core::text::format::plural;

/// How far a session is.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressFacts {
    /// What an item is called, in the singular.
    pub noun: &'static str,
    /// The number of items.
    pub items: u64,
    /// The items that ended, those of earlier sessions included.
    pub ended: u64,
    /// The items that failed in this session.
    pub failed: u64,
    /// The steps that the models took in this session.
    pub steps: u64,
    /// The tokens that they decoded.
    pub tokens: u64,
    /// The verdicts on last answers, compared with first ones.
    pub verdicts: VerdictCounts,
    /// How many steps the items that have not ended need, if it can be estimated.
    pub steps_left: Option<f64>,
}

/// Verdicts on answers, compared with those before them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    /// Decided for the answer.
    pub better: u64,
    /// Decided against it.
    pub not_better: u64,
    /// A tie.
    pub ties: u64,
    /// Too little mass for a verdict.
    pub undecided: u64,
}

impl Default for ProgressFacts {
    fn default() -> Self {
        Self {
            noun: "item",
            items: 0,
            ended: 0,
            failed: 0,
            steps: 0,
            tokens: 0,
            verdicts: VerdictCounts::default(),
            steps_left: None,
        }
    }
}

impl ProgressFacts {
    /// The facts after some time, in a line.
    #[must_use]
    pub fn line(&self, elapsed: Duration) -> String {
        let Self { noun, items, ended, failed, steps, tokens, verdicts, .. } = self;
        let mut text = format!("{ended} of {items} {}", plural(*items, noun));
        if *steps > 0 {
            text.push_str(&format!(", {}", count(*steps as usize, "step")));
        }
        let seconds = elapsed.as_secs_f64();
        if *tokens > 0 && seconds > 0.0 {
            let rate = *tokens as f64 / seconds;
            let digits = if rate < 10.0 { 1 } else { 0 };
            text.push_str(&format!(", {} tokens/s", number(rate, digits)));
        }
        if *failed > 0 {
            text.push_str(&format!(", {failed} failed"));
        }
        text.push_str(&verdicts.to_string());
        if let Some(left) = self.seconds_left(seconds) {
            text.push_str(&format!(", about {} left", duration(left)));
        }
        text
    }

    /// The time left in seconds, if the steps so far took as long as those to come.
    fn seconds_left(&self, elapsed: f64) -> Option<f64> {
        let left = self.steps_left?;
        if self.steps == 0 {
            return None;
        }
        Some(left * elapsed / self.steps as f64)
    }
}

impl fmt::Display for VerdictCounts {
    /// Writes the verdicts that there are, each after a comma.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { better, not_better, ties, undecided } = *self;
        for (name, count) in [
            ("better", better),
            ("not better", not_better),
            ("tie", ties),
            ("undecided", undecided),
        ] {
            if count > 0 {
                write!(f, ", {name} {count}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_facts_that_there_are() {
        let line = |facts: &ProgressFacts| facts.line(Duration::from_secs(20));
        let start = ProgressFacts { items: 8, ..ProgressFacts::default() };
        assert_eq!(line(&start), "0 of 8 items");
        let first = ProgressFacts { steps: 1, tokens: 900, ..start.clone() };
        assert_eq!(line(&first), "0 of 8 items, 1 step, 45 tokens/s");
        let slow = ProgressFacts { tokens: 6, ..start.clone() };
        assert_eq!(line(&slow), "0 of 8 items, 0.3 tokens/s");
        let later = ProgressFacts {
            ended: 3,
            failed: 1,
            steps: 29,
            verdicts: VerdictCounts { better: 12, not_better: 5, ties: 0, undecided: 0 },
            steps_left: Some(58.0),
            ..first
        };
        assert_eq!(
            line(&later),
            "3 of 8 items, 29 steps, 45 tokens/s, 1 failed, better 12, not better 5, about 40 s left"
        );
    }

    #[test]
    fn no_time_left_is_estimated_before_the_first_step() {
        let facts = ProgressFacts { items: 8, steps_left: Some(9.0), ..ProgressFacts::default() };
        assert_eq!(facts.line(Duration::from_secs(60)), "0 of 8 items");
        let facts = ProgressFacts { steps: 6, ..facts };
        assert_eq!(facts.line(Duration::from_secs(60)), "0 of 8 items, 6 steps, about 2 min left");
        let facts = ProgressFacts { steps_left: None, ..facts };
        assert_eq!(facts.line(Duration::from_secs(60)), "0 of 8 items, 6 steps");
    }
}
