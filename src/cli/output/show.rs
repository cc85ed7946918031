//! A trajectory for people to read: `--show`, `--preview`.

use std::io::{self, Write};

use super::terminal::Output;
use amend_core::constitution::Constitution;
use amend_core::judge::combine;
use amend_core::model::Finish;
use amend_core::record::{Outcome, Step, StepInput, StepOutput, Stop};
use amend_core::text::format::plural;

/// Writes steps as they are done.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    output: Output,
}

impl Show {
    /// Writes in the way that the stream can show.
    #[must_use]
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    /// Writes a heading.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn heading(self, out: &mut impl Write, text: &str) -> io::Result<()> {
        self.line(out, "1", text)
    }

    /// Writes one step.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn step(
        self,
        out: &mut impl Write,
        constitution: &Constitution,
        step: &Step,
    ) -> io::Result<()> {
        let titles: Vec<&str> = step.applied().map(|id| constitution.title(id)).collect();
        let title = if titles.is_empty() { None } else { Some(titles.join(", ")) };
        let is_rubric = step.kind.input() == StepInput::Dimension;
        let (code, has_round) = match step.kind.output() {
            StepOutput::Answer => ("1;34", false),
            StepOutput::Critique => ("1;33", true),
            StepOutput::Revision => ("1;32", true),
            StepOutput::Score if is_rubric => ("1;35", false),
            // A gate.
            StepOutput::Score => ("2", true),
            StepOutput::Verdict => ("1;35", false),
            StepOutput::Likelihood => ("2", false),
        };
        let mut heading = format!("── {}", step.kind.label());
        // A gate before a guided answer is outside the rounds.
        if has_round && step.round > 0 {
            heading.push_str(&format!(" {}", step.round));
        }
        if let Some(title) = title.as_ref().or(step.dimension.as_ref()) {
            heading.push_str(&format!(": {title}"));
        }
        if step.finish == Some(Finish::Length) {
            heading.push_str(" (truncated at max_tokens)");
        }
        self.line(out, code, &heading)?;
        self.thought(out, step)?;
        if let Some(score) = step.score {
            let what = if is_rubric { "score" } else { "violation" };
            return writeln!(out, "{what} {:.2}, mass {:.2}\n", score.value, score.mass);
        }
        if let Some(likelihood) = step.likelihood {
            return writeln!(out, "{:.3} over {} tokens\n", likelihood.sum, likelihood.tokens);
        }
        let verdict = step
            .verdict
            .as_ref()
            .and_then(|verdict| combine(&[(verdict, 1.0)], &constitution.judge.standing()));
        if let (Some(verdict), &[a, b]) = (verdict, &step.about[..]) {
            let undecided = if verdict.undecided { ", undecided" } else { "" };
            return writeln!(
                out,
                "p(answer {a} is better than answer {b}) = {:.2}, margin {:+.2}, position {:+.2}, \
                 mass {:.2}{undecided}\n",
                verdict.p, verdict.margin, verdict.offset, verdict.mass,
            );
        }
        writeln!(out, "{}\n", self.output.text(&step.text))
    }

    /// Writes what the model thought in a step, if anything. A bar before each line sets it
    /// apart from the answer where there is no colour.
    fn thought(self, out: &mut impl Write, step: &Step) -> io::Result<()> {
        let Some(thought) = step.reasoning.as_deref() else { return Ok(()) };
        let tokens = match step.usage.reasoning {
            0 => String::new(),
            tokens => format!(" ({tokens} {} with its marks)", plural(tokens as usize, "token")),
        };
        self.line(out, "2", &format!("│ thought{tokens}:"))?;
        for line in thought.trim().lines() {
            self.line(out, "2", &format!("│ {line}"))?;
        }
        writeln!(out)
    }

    /// Writes how the loop ended, unless it ended as planned.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn end(self, out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
        match outcome {
            Outcome::Done { stop: Stop::Rounds | Stop::Guided | Stop::Judged } => Ok(()),
            Outcome::Done { stop: Stop::Passed } => {
                self.line(out, "2", "── stopped: the answer violates no principle\n")
            }
            Outcome::Done { stop: Stop::Unchanged } => {
                self.line(out, "2", "── stopped: the revision changed nothing\n")
            }
            Outcome::Failed { failure } => {
                self.line(out, "1;31", &format!("── failed: {failure}\n"))
            }
        }
    }

    fn line(self, out: &mut impl Write, code: &str, text: &str) -> io::Result<()> {
        writeln!(out, "{}", self.output.paint(code, &self.output.text(text)))
    }
}

#[cfg(test)]
mod tests {
    use amend_core::model::Usage;
    use amend_core::record::StepKind;

    use super::*;

    #[test]
    fn a_thought_is_dimmed_and_set_apart_from_the_answer() {
        let constitution = amend_data::testing::manifest().constitution.value;
        let usage = Usage { decoded: 9, reasoning: 6, ..Usage::default() };
        let step = Step {
            text: "Tea.".to_owned(),
            reasoning: Some("Tea?\n\u{1b}[8mYes.\n".to_owned()),
            usage,
            ..Step::new(StepKind::Generate, 0)
        };
        let shown = |output| {
            let mut out = Vec::new();
            Show::new(output).step(&mut out, &constitution, &step).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown(Output { color: false, escapes: true }),
            "── answer\n│ thought (6 tokens with its marks):\n│ Tea?\n│ \\u{1b}[8mYes.\n\nTea.\n\n"
        );
        let colored = shown(Output { color: true, escapes: true });
        assert!(colored.contains("\u{1b}[2m│ Tea?\u{1b}[0m\n"), "{colored:?}");
        assert!(colored.ends_with("\n\nTea.\n\n"), "{colored:?}");
    }

    #[test]
    fn terminal_shows_escape_sequences_of_headings() {
        let shown = |output| {
            let mut out = Vec::new();
            Show::new(output).heading(&mut out, "row 1: \u{1b}[8mhidden").unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown(Output { color: true, escapes: true }),
            "\u{1b}[1mrow 1: \\u{1b}[8mhidden\u{1b}[0m\n"
        );
        assert_eq!(shown(Output { color: false, escapes: true }), "row 1: \\u{1b}[8mhidden\n");
        assert_eq!(shown(Output::plain()), "row 1: \u{1b}[8mhidden\n");
    }
}
