//! One item as the page shows it: what was asked, every step in order, and what
//! it can be found by.

use std::collections::BTreeMap;

use serde::Serialize;

use super::changes::changes;
use super::facts::Facts;
use super::subject::Subject;
use super::view::{Cell, Table};
use super::words::{count, decimal, percent, preview, signed};
use amend_core::judge::{Combined, combine};
use amend_core::model::Finish;
use amend_core::record::{Step, StepKind, answers};
use amend_data::store::trajectories::Trajectory;

/// How much of a prompt stands in an item's headline, in characters.
const HEADLINE: usize = 140;

/// Revisions that keep less of the answer before are not marked word by word.
const REWRITTEN: f64 = 0.25;

/// An item of the page's list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ItemView {
    /// Its address in the page.
    pub key: String,
    /// Its row in the input.
    pub row: u64,
    /// The id its row gave.
    pub id: String,
    /// The start of what was asked.
    pub headline: String,
    /// What became of it: the value that the page filters by.
    pub outcome: &'static str,
    /// The same in words.
    pub became: String,
    /// `better`, `worse` or `undecided`; empty without a verdict.
    pub verdict: &'static str,
    /// The verdict in words.
    pub judged: String,
    /// Log-odds of the verdict.
    pub margin: Option<f64>,
    /// Its categories and those of the principles applied, by number.
    pub categories: Vec<usize>,
    /// Their names.
    pub category_names: Vec<String>,
    /// Tokens decoded for it.
    pub tokens: u64,
    /// The conversation.
    pub turns: Vec<Turn>,
    /// Its steps.
    pub blocks: Vec<Block>,
    /// What else its row carried.
    pub metadata: Vec<(String, String)>,
}

/// A turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Turn {
    /// Who speaks.
    pub role: &'static str,
    /// What was said.
    pub text: String,
}

/// A step that made a text, or some that judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// A text.
    Text(Text),
    /// Judgements.
    Table(Table),
}

/// A text that a step made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Text {
    /// What it is.
    pub title: String,
    /// The principle's title, where one was applied.
    pub principle: String,
    /// The principle itself, where the text before was not under the same.
    pub rule: String,
    /// Where it came from, and what it cost.
    pub note: String,
    /// The text.
    pub text: String,
    /// `answer` or `critique`.
    pub class: &'static str,
    /// The number of the answer that it revises.
    pub from: Option<usize>,
    /// What it changed: see [`changes`].
    pub changes: Option<String>,
}

/// The categories that items can be found by, numbered.
#[derive(Debug, Default)]
pub struct Catalogue {
    numbers: BTreeMap<String, usize>,
}

impl Catalogue {
    fn number(&mut self, name: &str) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(name.to_owned()).or_insert(next)
    }

    /// Names and numbers, in the order of the names.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.numbers.iter().map(|(name, &number)| (name.as_str(), number))
    }
}

impl ItemView {
    /// The view of an ended item.
    pub fn new(
        subject: &Subject,
        trajectory: &Trajectory,
        facts: &Facts,
        catalogue: &mut Catalogue,
    ) -> Self {
        let Trajectory { item, steps, .. } = trajectory;
        let view = View { subject, steps, rivals: item.rival.is_some() };
        let mut category_names: Vec<String> = facts.category.iter().cloned().collect();
        for revision in &facts.revisions {
            let category = subject.principle(&revision.principle).map(|one| one.category.clone());
            if let Some(name) = category.filter(|name| !name.is_empty())
                && !category_names.contains(&name)
            {
                category_names.push(name);
            }
        }
        let (outcome, became) = match (&facts.failure, facts.dropped) {
            (Some(failure), _) => ("failed", format!("failed: {failure}")),
            (None, Some(reason)) => (reason.as_str(), format!("no pair: {}", reason.explain())),
            (None, None) if subject.pairs() => ("pair", "pair".to_owned()),
            (None, None) => ("done", "done".to_owned()),
        };
        let (verdict, judged) = match &facts.decision {
            None => ("", String::new()),
            Some(found) if view.rivals => (standing(found), result(found, "A", "B")),
            Some(found) => (standing(found), result(found, "revision", "first answer")),
        };
        let asked = item.messages.last().map_or("", |message| message.content.as_str());
        let turn = |message: &amend_core::chat::Message| Turn {
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
            headline: preview(&plain(asked), HEADLINE),
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
            metadata: item.metadata.iter().map(|(key, one)| (plain(key), value(one))).collect(),
        }
    }
}

fn standing(found: &Combined) -> &'static str {
    match found {
        Combined { undecided: true, .. } => "undecided",
        Combined { margin, .. } if *margin > 0.0 => "better",
        _ => "worse",
    }
}

/// Which of two answers a verdict is for.
fn result(found: &Combined, x: &str, y: &str) -> String {
    match standing(found) {
        "undecided" => "undecided".to_owned(),
        "better" => format!("{x} better"),
        _ => format!("{y} better"),
    }
}

/// The text as the browser will hold it: line ends are line feeds, and there is
/// no NUL. What is counted here is then what scripts count.
fn plain(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "\u{fffd}")
}

/// An item's steps, and what is needed to name things in them.
struct View<'a> {
    subject: &'a Subject,
    steps: &'a [Step],
    rivals: bool,
}

impl View<'_> {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut number = 0;
        let mut told = None;
        for group in self.steps.chunk_by(|a, b| a.kind == b.kind && !a.kind.is_text()) {
            match group {
                [step] if step.kind.is_text() => {
                    let mut text = self.text(step, number);
                    // Pages are large: a revision needn't repeat its critique's principle.
                    if told.replace(&step.principle) == Some(&step.principle) {
                        text.rule.clear();
                    }
                    blocks.push(Block::Text(text));
                    number += usize::from(step.kind.is_answer());
                }
                group => blocks.push(Block::Table(self.judgements(group))),
            }
        }
        blocks
    }

    /// The text of a step; `number` answers came before it.
    fn text(&self, step: &Step, number: usize) -> Text {
        let text = plain(&step.text);
        let principle = step.principle.as_deref();
        // After the scores: for the scorer alone.
        let asks = step.kind.is_answer() && number >= answers(self.steps).count();
        let title = match step.kind {
            _ if asks => format!("With a text that asks for favour {}", self.answer(number)),
            StepKind::Critique => "Critique".to_owned(),
            StepKind::Revise => format!("Revision {}", self.answer(number)),
            _ if self.rivals => format!("Answer {}", self.answer(number)),
            _ => format!("First answer {}", self.answer(number)),
        };
        let mut notes = Vec::new();
        match step.finish {
            None if asks => {}
            None => notes.push("came with the input".to_owned()),
            Some(Finish::Length) => notes.push("cut off by max_tokens".to_owned()),
            Some(Finish::Stop) => {}
        }
        if step.usage.decoded > 0 {
            notes.push(format!("{} tokens", count(step.usage.decoded)));
        }
        let mut from = None;
        let mut marks = None;
        if step.kind == StepKind::Revise
            && let Some(before) = self.revised(number)
            && let Some(answer) = answers(self.steps).nth(before)
        {
            from = Some(before);
            let name = self.answer(before);
            match changes(&plain(&answer.text), &text) {
                None => notes.push("too long to compare".to_owned()),
                Some(found) if found.kept == 1.0 => notes.push(format!("same words as {name}")),
                Some(found) => {
                    notes.push(format!("{} of {name} kept", percent(found.kept)));
                    marks = (found.kept >= REWRITTEN).then_some(found.stretches);
                }
            }
        }
        Text {
            title,
            principle: principle.map_or_else(String::new, |id| self.subject.title(id).to_owned()),
            rule: principle
                .and_then(|id| self.subject.principle(id))
                .map_or_else(String::new, |one| one.principle.clone()),
            note: notes.join(", "),
            text,
            class: if step.kind.is_answer() { "answer" } else { "critique" },
            from,
            changes: marks,
        }
    }

    /// The number of the answer that revision `number` goes on from: the revision
    /// before it, or the first answer that was chosen.
    fn revised(&self, number: usize) -> Option<usize> {
        let before = answers(self.steps).nth(number.checked_sub(1)?)?;
        match before.kind {
            StepKind::Revise => Some(number - 1),
            _ => Some(self.subject.rules.first(self.steps)),
        }
    }

    fn answer(&self, number: usize) -> String {
        match (self.rivals, number) {
            (true, 0) => "A".to_owned(),
            (true, 1) => "B".to_owned(),
            _ => format!("r{number}"),
        }
    }

    /// A row for each of some steps of a kind that judges.
    fn judgements(&self, steps: &[Step]) -> Table {
        let Some(first) = steps.first() else { return Table::default() };
        let mut table = match first.kind {
            StepKind::Gate => Table::new("Gate", &["principle", "violation", "mass", ""]),
            StepKind::Rubric => Table::new("Rubric", &["dimension", "answer", "score", "mass"]),
            StepKind::Likelihood => likelihoods("Log-probability"),
            StepKind::Reference => likelihoods("Log-probability under the reference model"),
            _ => Table::new(
                "Verdicts",
                &["under", "result", "margin", "shown first", "shown second", "offset", "mass"],
            ),
        };
        for step in steps {
            let cells = match step.kind {
                StepKind::Gate => self.gate(step),
                StepKind::Rubric => self.rubric(step),
                StepKind::Likelihood | StepKind::Reference => self.likelihood(step),
                _ => self.verdict(step),
            };
            table.rows.push(cells);
        }
        table
    }

    fn principle(&self, step: &Step) -> Cell {
        match step.principle.as_deref() {
            None => Cell::text("on the whole"),
            Some(id) => Cell::text(self.subject.title(id)),
        }
    }

    fn gate(&self, step: &Step) -> Vec<Cell> {
        let Some(score) = step.score else {
            return vec![self.principle(step), Cell::none(), Cell::none(), Cell::text("applied")];
        };
        let passed = self.subject.gate.is_some_and(|gate| score.value < gate);
        let result = if passed { "passed, critique skipped" } else { "" };
        vec![
            self.principle(step),
            Cell::text(decimal(score.value)),
            Cell::text(decimal(score.mass)),
            Cell::text(result),
        ]
    }

    fn rubric(&self, step: &Step) -> Vec<Cell> {
        let score = |of: fn(&amend_core::judge::Score) -> f64| {
            step.score.as_ref().map_or_else(Cell::none, |score| Cell::text(decimal(of(score))))
        };
        vec![
            Cell::text(step.dimension.clone().unwrap_or_default()),
            self.about(step),
            score(|score| score.value),
            score(|score| score.mass),
        ]
    }

    fn likelihood(&self, step: &Step) -> Vec<Cell> {
        let found = step.likelihood.as_ref();
        let cell = |text: Option<String>| text.map_or_else(Cell::none, Cell::text);
        vec![
            self.about(step),
            cell(found.map(|found| decimal(found.sum))),
            cell(found.map(|found| count(found.tokens))),
            cell(found.map(|found| decimal(found.mean()))),
        ]
    }

    fn about(&self, step: &Step) -> Cell {
        step.about.first().map_or_else(Cell::none, |&number| Cell::text(self.answer(number)))
    }

    fn verdict(&self, step: &Step) -> Vec<Cell> {
        let found = step
            .verdict
            .as_ref()
            .and_then(|verdict| combine(&[(verdict, 1.0)], &self.subject.judge.standing()));
        let (Some(found), &[x, y]) = (found, &step.about[..]) else {
            return std::iter::once(self.principle(step))
                .chain(std::iter::repeat_n(Cell::none(), 6))
                .collect();
        };
        let numbers = [found.margin, found.orders[0], found.orders[1], found.offset].map(signed);
        let (x, y) = (self.answer(x), self.answer(y));
        let compared = format!("{x} against {y}");
        let mut cells =
            vec![self.principle(step), Cell::text(result(&found, &x, &y)).hint(compared)];
        cells.extend(numbers.map(Cell::text));
        cells.push(Cell::text(decimal(found.mass)));
        cells
    }
}

fn likelihoods(title: &str) -> Table {
    Table::new(title, &["answer", "sum", "tokens", "mean"])
}
