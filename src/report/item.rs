//! One item as the page shows it: its prompt, its steps in order, and the values
//! by which the list is filtered and sorted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::changes::changes;
use super::facts::{ItemFacts, LeftOut};
use super::subject::Subject;
use super::view::{Cell, Table};
use super::words::{count, decimal, percent, preview, signed};
use amend_core::judge::{Combined, combine};
use amend_core::model::Finish;
use amend_core::record::{Step, StepInput, StepKind, StepModel, StepOutput, answers};
use amend_data::store::trajectories::Trajectory;

/// The longest headline of an item, in characters.
const HEADLINE: usize = 140;

/// The least share of an answer that a revision must keep to be marked word by word.
const MIN_KEPT: f64 = 0.25;

/// An item in the list of the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ItemView {
    /// The item's key, which is its anchor on the page.
    pub key: String,
    /// The number of its row in the input.
    pub row: u64,
    /// The id that its row gives, or an empty string.
    pub id: String,
    /// The start of the prompt.
    pub headline: String,
    /// The outcome as the value by which the page filters.
    pub outcome: &'static str,
    /// The outcome in words.
    pub became: String,
    /// `better`, `worse` or `undecided`, or an empty string without a verdict.
    pub verdict: &'static str,
    /// The verdict in words.
    pub judged: String,
    /// The log-odds of the verdict.
    pub margin: Option<f64>,
    /// The numbers of its category and of those of the applied principles.
    pub categories: Vec<usize>,
    /// The names of these categories.
    pub category_names: Vec<String>,
    /// The number of tokens decoded for it.
    pub tokens: u64,
    /// The conversation.
    pub turns: Vec<TurnView>,
    /// Its steps.
    pub blocks: Vec<Block>,
    /// The metadata of its row.
    pub metadata: Vec<(String, String)>,
}

/// A turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TurnView {
    /// The role of the speaker.
    pub role: &'static str,
    /// The content.
    pub text: String,
}

/// A step that wrote a text, or consecutive steps that judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// A text.
    Text(Text),
    /// A table of judgements.
    Table(Table),
}

/// What the model thought before it wrote a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Thought {
    /// Its number of tokens with its marks, or an empty string.
    pub note: String,
    /// The thought.
    pub text: String,
}

/// A text that a step wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Text {
    /// The heading, such as `Critique`.
    pub title: String,
    /// The title of the applied principle, or an empty string.
    pub principle: String,
    /// The text of the principle. Empty if the text before has the same principle.
    pub rule: String,
    /// The origin of the text and its number of tokens, without those of the thought.
    pub note: String,
    /// What the model thought before it wrote the text.
    pub thought: Option<Thought>,
    /// The text.
    pub text: String,
    /// The CSS class: `answer` or `critique`.
    pub class: &'static str,
    /// The number of the answer that it revises.
    pub from: Option<usize>,
    /// The changes from that answer, as in [`changes`].
    pub changes: Option<String>,
}

/// The categories by which items can be filtered, with their numbers.
#[derive(Debug, Default)]
pub struct Catalogue {
    numbers: BTreeMap<String, usize>,
}

impl Catalogue {
    fn number(&mut self, name: &str) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(name.to_owned()).or_insert(next)
    }

    /// The names and numbers, sorted by name.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.numbers.iter().map(|(name, &number)| (name.as_str(), number))
    }
}

impl ItemView {
    /// Makes the view of a finished item.
    pub fn new(
        subject: &Subject<'_>,
        trajectory: &Trajectory,
        facts: &ItemFacts,
        catalogue: &mut Catalogue,
    ) -> Self {
        let Trajectory { item, steps, .. } = trajectory;
        let view = View { subject, steps, is_comparison: item.response_b.is_some() };
        let mut category_names: Vec<String> = facts.category.iter().cloned().collect();
        for id in facts.revisions.iter().flat_map(|revision| &revision.principles) {
            if let Some(principle) = subject.principle(id)
                && !category_names.contains(&principle.category)
            {
                category_names.push(principle.category.clone());
            }
        }
        let (outcome, became) = match (&facts.failure, facts.loss) {
            (Some(failure), _) => ("failed", format!("failed: {failure}")),
            (None, Some(loss @ LeftOut::Dropped(_))) => {
                (loss.name(), format!("no pair: {}", loss.explain()))
            }
            // The overview explains the rule once.
            (None, Some(loss @ LeftOut::Spoilt(_))) => {
                (loss.name(), format!("no pair: {}", loss.name()))
            }
            (None, None) if subject.pairs() => ("pair", "pair".to_owned()),
            (None, None) => ("done", "done".to_owned()),
        };
        let (verdict, judged) = match &facts.decision {
            None => ("", String::new()),
            Some(found) if view.is_comparison => {
                (verdict_class(found), verdict_text(found, "A", "B"))
            }
            Some(found) => {
                let [better, worse] = subject.sides();
                (verdict_class(found), verdict_text(found, better, worse))
            }
        };
        let prompt = item.messages.last().map_or("", |message| message.content.as_str());
        let turn = |message: &amend_core::chat::Message| TurnView {
            role: message.role.as_str(),
            text: plain(&message.content),
        };
        let value = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => plain(text),
            other => plain(&other.to_string()),
        };
        Self {
            key: item.key.clone(),
            row: item.row,
            id: item.id.clone().unwrap_or_default(),
            headline: preview(&plain(prompt), HEADLINE),
            outcome,
            became,
            verdict,
            judged,
            margin: facts.decision.map(|found| found.margin).filter(|margin| margin.is_finite()),
            categories: category_names.iter().map(|name| catalogue.number(name)).collect(),
            category_names,
            tokens: facts.decoded(),
            turns: item.messages.iter().map(turn).collect(),
            blocks: view.blocks(),
            metadata: item.metadata.iter().map(|(key, text)| (plain(key), value(text))).collect(),
        }
    }
}

/// The CSS class of a verdict, which is also the value by which the page filters.
fn verdict_class(verdict: &Combined) -> &'static str {
    if verdict.undecided {
        "undecided"
    } else if verdict.margin > 0.0 {
        "better"
    } else {
        "worse"
    }
}

/// A verdict on two answers in words.
fn verdict_text(verdict: &Combined, first: &str, second: &str) -> String {
    match verdict_class(verdict) {
        "undecided" => "undecided".to_owned(),
        "better" => format!("{first} better"),
        _ => format!("{second} better"),
    }
}

/// The text as the browser holds it: lines end in line feeds, and NUL is replaced.
/// Lengths counted here are then valid in scripts.
fn plain(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "\u{fffd}")
}

/// The thought of a step, if it has one.
fn thought(step: &Step) -> Option<Thought> {
    let text = plain(step.reasoning.as_deref()?);
    let note = match step.usage.reasoning {
        0 => String::new(),
        tokens => format!("{} tokens with its marks", count(tokens)),
    };
    Some(Thought { note, text })
}

/// An item's steps, with what is needed to name principles and answers.
struct View<'a> {
    subject: &'a Subject<'a>,
    steps: &'a [Step],
    is_comparison: bool,
}

/// Makes the cells of a step's row in a table.
type CellsOfStep<V> = fn(&V, &Step) -> Vec<Cell>;

impl View<'_> {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut number = 0;
        let mut shown: Vec<&str> = Vec::new();
        for group in self.steps.chunk_by(|a, b| a.kind == b.kind && !a.kind.is_text()) {
            match group {
                [step] if step.kind.is_text() => {
                    let mut text = self.text(step, number);
                    // Keeps the page small: a revision does not repeat the principle of its
                    // critique.
                    let applied: Vec<&str> = step.applied().collect();
                    if shown == applied {
                        text.rule.clear();
                    }
                    shown = applied;
                    blocks.push(Block::Text(text));
                    number += usize::from(step.kind.is_answer());
                }
                group => blocks.push(Block::Table(self.judgements(group))),
            }
        }
        blocks
    }

    /// The text of a step that comes after `number` answers.
    fn text(&self, step: &Step, number: usize) -> Text {
        let text = plain(&step.text);
        let principles: Vec<&str> = step.applied().collect();
        // An answer after the scores is a scored answer with an injection added.
        let injected = step.kind.is_answer() && number >= answers(self.steps).count();
        let name = self.answer(number);
        let title = match step.kind.output() {
            StepOutput::Critique => "Critique".to_owned(),
            StepOutput::Answer | StepOutput::Revision if injected => {
                format!("With a prompt injection {name}")
            }
            StepOutput::Revision => format!("Revision {name}"),
            StepOutput::Answer if self.is_comparison => format!("Answer {name}"),
            StepOutput::Answer if step.kind == StepKind::Guide => format!("Guided answer {name}"),
            StepOutput::Answer => format!("First answer {name}"),
            StepOutput::Score | StepOutput::Verdict | StepOutput::Likelihood => {
                step.kind.label().to_owned()
            }
        };
        let mut notes = Vec::new();
        match step.finish {
            None if injected => {}
            None => notes.push("came with the input".to_owned()),
            Some(Finish::Length) => notes.push("cut off by max_tokens".to_owned()),
            Some(Finish::Refusal) => notes.push("marked as a refusal by the server".to_owned()),
            Some(Finish::Stop) => {}
        }
        let answer_tokens = step.usage.decoded.saturating_sub(step.usage.reasoning);
        if answer_tokens > 0 {
            notes.push(format!("{} tokens", count(answer_tokens)));
        }
        let mut from = None;
        let mut marks = None;
        if step.kind.output() == StepOutput::Revision
            && let Some(before) = self.revised(number)
            && let Some(answer) = answers(self.steps).nth(before)
        {
            from = Some(before);
            let name = self.answer(before);
            match changes(&plain(&answer.text), &text) {
                None => notes.push("too long to compare".to_owned()),
                Some(changes) if changes.kept == 1.0 => notes.push(format!("same words as {name}")),
                Some(changes) => {
                    notes.push(format!("{} of {name} kept", percent(changes.kept)));
                    if changes.kept >= MIN_KEPT {
                        marks = Some(changes.stretches);
                    }
                }
            }
        }
        Text {
            title,
            principle: self.titles(&principles),
            rule: self.rules(&principles),
            note: notes.join(", "),
            thought: thought(step),
            text,
            class: if step.kind.is_answer() { "answer" } else { "critique" },
            from,
            changes: marks,
        }
    }

    fn titles(&self, principles: &[&str]) -> String {
        principles.iter().map(|id| self.subject.title(id)).collect::<Vec<_>>().join(", ")
    }

    /// The rules of some principles, a line each.
    fn rules(&self, principles: &[&str]) -> String {
        let found = principles.iter().filter_map(|id| self.subject.principle(id));
        found.map(|principle| principle.principle.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The number of the answer that revision `number` revises: the revision before
    /// it, or the chosen first answer.
    fn revised(&self, number: usize) -> Option<usize> {
        let before = answers(self.steps).nth(number.checked_sub(1)?)?;
        if before.kind.output() == StepOutput::Revision {
            return Some(number - 1);
        }
        Some(self.subject.rules.first(self.steps))
    }

    /// The name of the answer of this number.
    fn answer(&self, number: usize) -> String {
        match (self.is_comparison, number) {
            (true, 0) => "A".to_owned(),
            (true, 1) => "B".to_owned(),
            _ => format!("r{number}"),
        }
    }

    /// The table of consecutive judging steps of one kind, a row per step.
    fn judgements(&self, steps: &[Step]) -> Table {
        let Some(first) = steps.first() else { return Table::default() };
        let (mut table, cells): (Table, CellsOfStep<Self>) = match first.kind.output() {
            StepOutput::Score if first.kind.input() == StepInput::Dimension => {
                (Table::new("Rubric", &["dimension", "answer", "score", "mass"]), Self::rubric)
            }
            StepOutput::Score => {
                (Table::new("Gate", &["principle", "violation", "mass", ""]), Self::gate)
            }
            StepOutput::Verdict => (
                Table::new(
                    "Verdicts",
                    &[
                        "principle",
                        "result",
                        "margin",
                        "shown first",
                        "shown second",
                        "offset",
                        "mass",
                    ],
                ),
                Self::verdict,
            ),
            StepOutput::Likelihood => {
                let title = match first.kind.model() {
                    StepModel::Student | StepModel::Writer => "Log-probability",
                    StepModel::Judge => "Log-probability under the reference model",
                };
                (Table::new(title, &["answer", "sum", "tokens", "mean"]), Self::likelihood)
            }
            // Texts are no judgements.
            StepOutput::Answer | StepOutput::Critique | StepOutput::Revision => {
                return Table::default();
            }
        };
        table.rows = steps.iter().map(|step| cells(self, step)).collect();
        table
    }

    fn principle(&self, step: &Step) -> Cell {
        Cell::text(self.principle_name(step))
    }

    fn principle_name(&self, step: &Step) -> String {
        match step.principle.as_deref() {
            None => "overall".to_owned(),
            Some(id) => self.subject.title(id),
        }
    }

    fn gate(&self, step: &Step) -> Vec<Cell> {
        let Some(score) = step.score else {
            return vec![self.principle(step), Cell::none(), Cell::none(), Cell::text("applied")];
        };
        let passed = self.subject.gate().is_some_and(|gate| score.value < gate);
        let result = if passed { "passed, critique skipped" } else { "" };
        vec![
            self.principle(step),
            Cell::text(decimal(score.value)),
            Cell::text(decimal(score.mass)),
            Cell::text(result),
        ]
    }

    fn rubric(&self, step: &Step) -> Vec<Cell> {
        let [value, mass] = match step.score {
            Some(score) => [score.value, score.mass].map(|number| Cell::text(decimal(number))),
            None => [Cell::none(), Cell::none()],
        };
        let dimension = step.dimension.clone().unwrap_or_default();
        vec![Cell::text(dimension), self.about(step), value, mass]
    }

    fn likelihood(&self, step: &Step) -> Vec<Cell> {
        let [sum, tokens, mean] = match &step.likelihood {
            Some(found) => [decimal(found.sum), count(found.tokens), decimal(found.mean())],
            None => ["–", "–", "–"].map(str::to_owned),
        };
        vec![self.about(step), Cell::text(sum), Cell::text(tokens), Cell::text(mean)]
    }

    fn about(&self, step: &Step) -> Cell {
        match step.about.first() {
            Some(&number) => Cell::text(self.answer(number)),
            None => Cell::none(),
        }
    }

    fn verdict(&self, step: &Step) -> Vec<Cell> {
        let mut cells = vec![self.principle(step)];
        let verdict = step
            .verdict
            .as_ref()
            .and_then(|verdict| combine(&[(verdict, 1.0)], &self.subject.standing()));
        let (Some(verdict), &[first, second]) = (verdict, &step.about[..]) else {
            cells.resize(7, Cell::none());
            return cells;
        };
        let (first, second) = (self.answer(first), self.answer(second));
        let result = verdict_text(&verdict, &first, &second);
        cells.push(Cell::text(result).hint(format!("{first} compared with {second}")));
        let [shown_first, shown_second] = verdict.orders;
        let numbers = [verdict.margin, shown_first, shown_second, verdict.offset];
        cells.extend(numbers.map(|number| Cell::text(signed(number))));
        cells.push(Cell::text(decimal(verdict.mass)));
        cells
    }
}
