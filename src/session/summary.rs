//! The summary that a session prints at its end.

use std::path::Path;

use crate::cli::output::print;
use amend_core::model::Counters;
use amend_core::record::{Step, StepInput, StepOutput};
use amend_data::store::journal::State;

/// The result of a session, in numbers.
pub(super) struct Summary<'a> {
    /// The number of items of the run.
    pub(super) total: u64,
    /// The items of the run that ended, those of earlier sessions included.
    pub(super) tally: Tally,
    /// How many items ended in this session.
    pub(super) in_session: u64,
    /// The engines' counters.
    pub(super) counters: Counters,
    /// What the engines have to say about their work, a line each.
    pub(super) engines: Vec<String>,
    /// The steps of this session.
    pub(super) steps: StepCounts,
    /// The run directory, if it stays.
    pub(super) kept_in: Option<&'a Path>,
}

/// The numbers of items that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) done: u64,
    pub(super) failed: u64,
}

impl Tally {
    pub(super) fn from_state(state: &State) -> Self {
        Self { done: state.done(), failed: state.failed().len() as u64 }
    }
}

/// Counts over the steps of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StepCounts {
    /// Verdicts between two responses, each in both orders.
    verdicts: u64,
    /// Rubric scores.
    scores: u64,
    /// The tokens of thoughts.
    thought_tokens: u64,
}

impl StepCounts {
    /// Counts a step.
    pub(super) fn add(&mut self, step: &Step) {
        self.thought_tokens += u64::from(step.usage.reasoning);
        match step.kind.output() {
            StepOutput::Verdict => self.verdicts += 1,
            StepOutput::Score if step.kind.input() == StepInput::Dimension => self.scores += 1,
            // A gate's score is part of the loop.
            StepOutput::Score
            | StepOutput::Answer
            | StepOutput::Critique
            | StepOutput::Revision
            | StepOutput::Likelihood => {}
        }
    }

    /// The numbers of judgements, and their rates if nothing was decoded beside them.
    fn judgements(self, counters: &Counters) -> String {
        let mut text = String::new();
        for (count, noun) in [(self.verdicts, "verdicts"), (self.scores, "scores")] {
            if count == 0 {
                continue;
            }
            text.push_str(&format!("; {count} {noun}"));
            if counters.decoded == 0 {
                let rate = count as f64 / counters.compute_seconds.max(1e-9);
                text.push_str(&format!(" ({rate:.1} per second)"));
            }
        }
        text
    }
}

impl Summary<'_> {
    /// Prints the result to stderr and, if the run directory stays, its name.
    pub(super) fn print(&self) {
        print::message(&self.text());
    }

    fn text(&self) -> String {
        let mut text = self.numbers();
        for line in &self.engines {
            text.push('\n');
            text.push_str(line);
        }
        if let Some(out) = self.kept_in {
            text.push_str(&format!("\nthe run is in {}", out.display()));
        }
        text.push('\n');
        text
    }

    /// The result, in a line.
    fn numbers(&self) -> String {
        let Self { total, tally: Tally { done, failed }, counters, .. } = self;
        let mut text = format!("{done} of {total} items done");
        if *failed > 0 {
            let hint = self.hint("--resume --retry-errors", "retries them");
            text.push_str(&format!(", {failed} failed{hint}"));
        }
        let left = total - done - failed;
        if left > 0 {
            text.push_str(&format!(", {left} left{}", self.hint("--resume", "continues")));
        }
        if counters.batches > 0 {
            text.push_str(&self.steps.judgements(counters));
            text.push_str(&work(counters));
            if left == 0 {
                text.push_str(&cost(counters, self.steps.thought_tokens, self.in_session));
            }
        } else if left == 0 {
            text.push_str("; there was nothing left to compute");
        }
        text
    }

    /// How to continue the run, if it stays.
    fn hint(&self, flags: &str, what: &str) -> String {
        match self.kept_in {
            Some(_) => format!(" ({flags} {what})"),
            None => String::new(),
        }
    }
}

/// The work of the engines.
fn work(counters: &Counters) -> String {
    let prompts = counters.prefilled + counters.cached;
    let cached = 100 * counters.cached / prompts.max(1);
    let seconds = counters.compute_seconds;
    let mut text = match counters.decoded {
        0 => format!("; {prompts} prompt tokens in {seconds:.0} s"),
        decoded => format!(
            "; {decoded} tokens decoded in {seconds:.0} s ({:.0} per second), {prompts} prompt \
             tokens",
            decoded as f64 / seconds.max(1e-9),
        ),
    };
    text.push_str(&format!(", {cached} % of them from the prefix cache"));
    if counters.accepted > 0 {
        let Counters { accepted, drafted, .. } = counters;
        text.push_str(&format!(", {accepted} of {drafted} draft tokens accepted"));
    }
    text
}

/// The mean cost of an item, of which `thought_tokens` is the total of thoughts; empty if
/// nothing was decoded, so that there are no pairs.
fn cost(counters: &Counters, thought_tokens: u64, items: u64) -> String {
    if counters.decoded == 0 || items == 0 {
        return String::new();
    }
    let mean = |tokens: u64| (tokens + items / 2) / items;
    let mut text = format!(
        "; per item {} prompt tokens computed and {} decoded",
        mean(counters.prefilled),
        mean(counters.decoded)
    );
    if thought_tokens > 0 {
        text.push_str(&format!(", {} of them in thoughts", mean(thought_tokens)));
    }
    text
}

#[cfg(test)]
mod tests {
    use amend_core::model::Usage;
    use amend_core::record::StepKind;

    use super::*;

    fn text(done: u64, failed: u64, counters: Counters, kept_in: Option<&Path>) -> String {
        let tally = Tally { done, failed };
        let in_session = done + failed;
        let steps = StepCounts::default();
        let engines = Vec::new();
        Summary { total: 5, tally, in_session, counters, engines, steps, kept_in }.text()
    }

    #[test]
    fn summary_of_a_kept_run_names_the_directory() {
        let counters = Counters {
            batches: 2,
            decoded: 30,
            prefilled: 60,
            cached: 40,
            compute_seconds: 2.0,
            ..Counters::default()
        };
        assert_eq!(
            text(2, 1, counters, Some(Path::new("out"))),
            "2 of 5 items done, 1 failed (--resume --retry-errors retries them), 2 left (--resume \
             continues); 30 tokens decoded in 2 s (15 per second), 100 prompt tokens, 40 % of them \
             from the prefix cache\nthe run is in out\n"
        );
    }

    #[test]
    fn summary_of_a_whole_run_states_the_cost_of_an_item() {
        let counters = Counters {
            batches: 2,
            decoded: 30,
            prefilled: 61,
            cached: 40,
            compute_seconds: 2.0,
            ..Counters::default()
        };
        let text = text(5, 0, counters, None);
        assert!(
            text.ends_with("cache; per item 12 prompt tokens computed and 6 decoded\n"),
            "{text}"
        );
        assert_eq!(
            cost(&counters, 11, 5),
            "; per item 12 prompt tokens computed and 6 decoded, 2 of them in thoughts"
        );
    }

    #[test]
    fn summary_of_a_temporary_run_suggests_nothing() {
        assert_eq!(
            text(4, 1, Counters::default(), None),
            "4 of 5 items done, 1 failed; there was nothing left to compute\n"
        );
        assert_eq!(text(3, 0, Counters::default(), None), "3 of 5 items done, 2 left\n");
    }

    #[test]
    fn summary_counts_verdicts_and_rubric_scores_but_no_gates() {
        let mut steps = StepCounts::default();
        for kind in StepKind::ALL {
            let usage = Usage { reasoning: 3, ..Usage::default() };
            steps.add(&Step { usage, ..Step::new(kind, 0) });
        }
        let thought_tokens = 3 * StepKind::ALL.len() as u64;
        assert_eq!(steps, StepCounts { verdicts: 1, scores: 1, thought_tokens });
        let counters = Counters { compute_seconds: 2.0, ..Counters::default() };
        assert_eq!(
            steps.judgements(&counters),
            "; 1 verdicts (0.5 per second); 1 scores (0.5 per second)"
        );
    }
}
