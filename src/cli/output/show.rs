//! A trajectory for people to read: `--show`, `--preview`.

use std::io::{self, Write};

use amend_core::constitution::Constitution;
use amend_core::judge::combine;
use amend_core::model::Finish;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind, Stop};

/// Writes steps as they are done.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    color: bool,
}

impl Show {
    /// In colour, or plain.
    #[must_use]
    pub fn new(color: bool) -> Self {
        Self { color }
    }

    /// A heading over what follows.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn heading(self, out: &mut impl Write, text: &str) -> io::Result<()> {
        self.line(out, "1", text)
    }

    /// One step.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn step(
        self,
        out: &mut impl Write,
        constitution: &Constitution,
        step: &Step,
    ) -> io::Result<()> {
        let title = step.principle.as_deref().map(|id| {
            let named = constitution.principles.iter().find(|principle| principle.id == id);
            named.map_or(id, |principle| principle.title.as_str())
        });
        let (code, what) = match step.kind {
            StepKind::Generate => ("1;34", "answer".to_owned()),
            StepKind::Critique => ("1;33", format!("critique {}", step.round)),
            StepKind::Revise => ("1;32", format!("revision {}", step.round)),
            StepKind::Gate => ("2", format!("gate {}", step.round)),
            StepKind::Judge => ("1;35", "verdict".to_owned()),
            StepKind::Rubric => ("1;35", "score".to_owned()),
            StepKind::Likelihood | StepKind::Reference => ("2", step.kind.as_str().to_owned()),
        };
        let mut heading = format!("── {what}");
        if let Some(title) = title.or(step.dimension.as_deref()) {
            heading.push_str(&format!(": {title}"));
        }
        if step.finish == Some(Finish::Length) {
            heading.push_str(" (cut off by max_tokens)");
        }
        self.line(out, code, &heading)?;
        if let Some(score) = step.score {
            let what = if step.kind == StepKind::Gate { "violation" } else { "score" };
            return writeln!(out, "{what} {:.2}, mass {:.2}\n", score.value, score.mass);
        }
        if let Some(likelihood) = step.likelihood {
            return writeln!(out, "{:.3} over {} tokens\n", likelihood.sum, likelihood.tokens);
        }
        let found = step
            .verdict
            .as_ref()
            .and_then(|verdict| combine(&[(verdict, 1.0)], &constitution.judge.standing()));
        if let (Some(found), &[x, y]) = (found, &step.about[..]) {
            let undecided = if found.undecided { ", undecided" } else { "" };
            return writeln!(
                out,
                "p(answer {x} is better than answer {y}) = {:.2}, margin {:+.2}, position {:+.2}, \
                 mass {:.2}{undecided}\n",
                found.p, found.margin, found.offset, found.mass,
            );
        }
        writeln!(out, "{}\n", step.text)
    }

    /// How it ended, where that is worth a word.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn end(self, out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
        match outcome {
            Outcome::Done { stop: Stop::Rounds | Stop::Judged } => Ok(()),
            Outcome::Done { stop: Stop::Passed } => {
                self.line(out, "2", "── stopped: the answer breaks no principle\n")
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
        if self.color {
            writeln!(out, "\x1b[{code}m{text}\x1b[0m")
        } else {
            writeln!(out, "{text}")
        }
    }
}
