//! An item in a few lines, for people who watch a run (`amend run --show`).

use super::terminal::Output;
use amend_core::constitution::Constitution;
use amend_core::procedure::improved;
use amend_core::record::{Outcome, Step, StepKind, StepOutput, answer, answers};
use amend_data::export::Omission;
use amend_data::pairs::judgement::{Rules, Ruling};
use amend_data::store::trajectories::Trajectory;

/// The greatest width of a line.
const WIDTH: usize = 90;

/// The width of the labels at the start of lines.
const LABEL: usize = 10;

/// The most lines of a prompt, of an answer, and of a critique.
const PROMPT_LINES: usize = 2;
const ANSWER_LINES: usize = 4;
const CRITIQUE_LINES: usize = 3;

/// Writes items in brief.
#[derive(Debug, Clone, Copy)]
pub struct Brief {
    output: Output,
}

impl Brief {
    /// Writes in the way that the stream can show.
    #[must_use]
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    /// The prompt of an item, its answers, critiques and verdict, and whether it gives a pair:
    /// for each row of an export, why it is left out, if it is.
    #[must_use]
    pub fn item(
        self,
        trajectory: &Trajectory,
        constitution: &Constitution,
        rules: &Rules,
        left_out: &[Option<Omission>],
    ) -> String {
        let Trajectory { item, steps, outcome } = trajectory;
        let prompt = item.messages.last().map_or("", |message| message.content.as_str());
        let mut text = String::new();
        self.block(&mut text, &format!("row {}", item.row), "1", prompt, PROMPT_LINES);
        let first = rules.first(steps);
        if let Some(answer) = answer(steps, first) {
            self.block(&mut text, "before", "34", answer, ANSWER_LINES);
        }
        for step in steps.iter().filter(|step| is_request(step, constitution)) {
            let titles: Vec<&str> = step.applied().map(|id| constitution.title(id)).collect();
            let title = titles.join(", ");
            let label = if step.kind == StepKind::Critique { "critique" } else { "principle" };
            let critique = if step.kind == StepKind::Critique { step.text.trim() } else { "" };
            let text_of_step = format!("{title}: {critique}");
            let shown = text_of_step.trim_end_matches(": ");
            self.block(&mut text, label, "33", shown, CRITIQUE_LINES);
        }
        let mut better = improved(steps);
        // In the order of their pairs.
        better.reverse();
        for &number in &better {
            if let Some(answer) = answer(steps, number) {
                self.block(&mut text, label(steps, number), "32", answer, ANSWER_LINES);
            }
            if let Some(judgement) = rules.on(steps, [number, first]) {
                let verdict = format!("{}, p {:.2}", judgement.in_words(), judgement.decisive.p);
                self.block(&mut text, "verdict", "35", &verdict, 1);
            }
        }
        if let Outcome::Failed { failure } = outcome {
            self.block(&mut text, "failed", "1;31", &failure.to_string(), CRITIQUE_LINES);
        }
        // Pairs of candidates come before those of the better answers.
        let of_candidates = left_out.len().saturating_sub(better.len());
        for (at, reason) in left_out.iter().enumerate() {
            let number = at.checked_sub(of_candidates).and_then(|at| better.get(at)).copied();
            let is_swapped = number.is_some_and(|number| {
                matches!(rules.rule(steps, [number, first]), Ruling::Flip(_))
            });
            let whose = match number {
                Some(number) if better.len() > 1 => format!("{}: ", label(steps, number)),
                _ => String::new(),
            };
            match reason {
                None if is_swapped => {
                    let line = format!("{whose}pair: the answer before is the chosen one");
                    self.line(&mut text, "1;32", &line);
                }
                None => self.line(&mut text, "1;32", &format!("{whose}pair")),
                Some(reason) => {
                    let line = format!("{whose}no pair: {}", reason.explain());
                    self.line(&mut text, "1;33", &line);
                }
            }
        }
        text.push('\n');
        text
    }

    /// Writes a text behind a label, shortened to some lines.
    fn block(self, text: &mut String, label: &str, code: &str, content: &str, most: usize) {
        let content = self.output.text(content);
        let lines = shortened(&content, WIDTH - LABEL, most);
        for (at, line) in lines.iter().enumerate() {
            let label = format!("{:LABEL$}", if at == 0 { label } else { "" });
            text.push_str(format!("{}{line}", self.output.paint(code, &label)).trim_end());
            text.push('\n');
        }
    }

    fn line(self, text: &mut String, code: &str, line: &str) {
        text.push_str(&self.output.paint(code, line));
        text.push('\n');
    }
}

/// What an answer is that was made to be better than the first one.
fn label(steps: &[Step], number: usize) -> &'static str {
    match answers(steps).nth(number).map(|step| step.kind) {
        Some(StepKind::Guide) => "guided",
        _ => "after",
    }
}

/// Whether a step says by what an answer is made: a critique, a revision without one, or a
/// guided answer.
fn is_request(step: &Step, constitution: &Constitution) -> bool {
    match step.kind.output() {
        StepOutput::Critique => true,
        StepOutput::Revision => !constitution.plan.critique,
        StepOutput::Answer => step.kind == StepKind::Guide,
        StepOutput::Score | StepOutput::Verdict | StepOutput::Likelihood => false,
    }
}

/// The first lines of a text without blank ones, broken between words, with an ellipsis where
/// it goes on. There is at least one line.
fn shortened(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        break_line(line, width, &mut lines);
        // No further line is shown.
        if lines.len() > most {
            break;
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            while last.chars().count() + 2 > width {
                last.pop();
            }
            last.truncate(last.trim_end().len());
            last.push_str(" …");
        }
    }
    if lines.is_empty() {
        lines.push("(empty)".to_owned());
    }
    lines
}

/// Breaks a line between words, or inside a word that is too long for a line.
fn break_line(line: &str, width: usize, lines: &mut Vec<String>) {
    let mut current = String::new();
    let mut length = 0;
    for word in line.split_inclusive(' ') {
        let word_length = word.trim_end().chars().count();
        if length > 0 && length + word_length > width {
            lines.push(std::mem::take(&mut current).trim_end().to_owned());
            length = 0;
        }
        for character in word.chars() {
            if length == width && character != ' ' {
                lines.push(std::mem::take(&mut current));
                length = 0;
            }
            current.push(character);
            length += 1;
        }
    }
    lines.push(current.trim_end().to_owned());
}

#[cfg(test)]
mod tests {
    use amend_core::constitution::{Judge, Policy};
    use amend_core::model::Failure;
    use amend_core::record::Stop;
    use amend_data::pairs::DropReason;
    use amend_data::testing::{item, judged, manifest, step};

    use super::*;

    #[test]
    fn texts_are_shortened_between_words() {
        let words = "one two three four five six seven";
        for (text, expected) in [
            ("", &["(empty)"][..]),
            ("\n\n a\n\n  b \n", &[" a", "  b"]),
            ("one two three four", &["one two", "three four"]),
            (words, &["one two", "three four", "five six …"]),
            ("a\nb\nc\nd", &["a", "b", "c …"]),
            ("abcdefghijklmnop", &["abcdefghij", "klmnop"]),
            ("éééééééééé éé", &["éééééééééé", "éé"]),
        ] {
            assert_eq!(shortened(text, 10, 3), expected, "{text:?}");
        }
        assert_eq!(shortened("abcdefghijklmn", 10, 1), ["abcdefgh …"]);
    }

    /// An item of which a kind revision was judged with these log-odds.
    fn judged_item(log_odds: f64) -> Trajectory {
        let steps = vec![
            step(StepKind::Generate, None, "Go away.\n\n\u{1b}[2JNow."),
            step(StepKind::Critique, Some("kind"), "It is rude."),
            step(StepKind::Revise, Some("kind"), "Good day."),
            judged([1, 0], None, log_odds),
        ];
        Trajectory { item: item("a"), steps, outcome: Outcome::Done { stop: Stop::Rounds } }
    }

    fn shown(trajectory: &Trajectory, policy: Policy, left_out: &[Option<Omission>]) -> String {
        let mut constitution = manifest().constitution.value;
        constitution.judge = Judge { enabled: true, policy, ..Judge::default() };
        let rules = Rules::from_constitution(&constitution);
        let output = Output { color: false, escapes: true };
        Brief::new(output).item(trajectory, &constitution, &rules, left_out)
    }

    #[test]
    fn an_item_is_shown_with_its_verdict_and_why_it_gives_no_pair() {
        let reason = [Some(Omission::Dropped(DropReason::NotBetter))];
        insta::assert_snapshot!(shown(&judged_item(-2.0), Policy::Drop, &reason), @r#"
        row 1     Why a?
                  Really "é"?
        before    Go away.
                  \u{1b}[2JNow.
        critique  kind: It is rude.
        after     Good day.
        verdict   worse, p 0.12
        no pair: the judge prefers the other side
        "#);
        let pair = shown(&judged_item(2.0), Policy::Drop, &[None]);
        assert!(pair.ends_with("\nverdict   better, p 0.88\npair\n\n"), "{pair}");
        let swapped = shown(&judged_item(-2.0), Policy::Flip, &[None]);
        assert!(swapped.ends_with("\npair: the answer before is the chosen one\n\n"), "{swapped}");
    }

    #[test]
    fn a_failed_item_is_shown_with_its_failure() {
        let failure = Failure::Empty { step: "critique".to_owned() };
        let failed = Trajectory {
            steps: judged_item(0.0).steps[..1].to_vec(),
            outcome: Outcome::Failed { failure: failure.clone() },
            ..judged_item(0.0)
        };
        let reason = [Some(Omission::Dropped(DropReason::Failed))];
        let shown = shown(&failed, Policy::Drop, &reason);
        let end = format!("\nfailed    {failure}\nno pair: the item failed\n\n");
        assert!(shown.ends_with(&end), "{shown}");
    }
}
