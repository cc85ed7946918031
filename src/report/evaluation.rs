//! The sections of an evaluation (`results.json`): thresholds, and measures by
//! kind and category.

use serde::Deserialize;

use super::view::{Cell, Section, Table};
use super::words::{count, counted, decimal, grouped_interval};
use amend_core::stats::GroupedMean;

/// An evaluation, as far as a report shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Evaluation {
    /// The set's name.
    set: String,
    /// Answers, failed ones included.
    answered: usize,
    /// Scores left out for want of mass on the scale.
    #[serde(default)]
    unsure: usize,
    /// Measures, over all answers and parts of them.
    #[serde(default)]
    figures: Vec<Figure>,
    /// Bounds that the set puts on measures.
    #[serde(default)]
    thresholds: Vec<Threshold>,
    /// The answers.
    #[serde(default)]
    answers: Vec<Answer>,
}

/// A measure over all answers, those of a kind, or those of a category.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Figure {
    measure: String,
    kind: Option<String>,
    category: Option<String>,
    #[serde(flatten)]
    mean: GroupedMean,
}

/// A bound, and whether it was kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Threshold {
    measure: String,
    kind: Option<String>,
    category: Option<String>,
    at_least: Option<f64>,
    at_most: Option<f64>,
    value: Option<f64>,
    outcome: String,
}

/// What rules found in one answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Answer {
    key: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    checks: Vec<Check>,
    followed: Option<bool>,
    expected: Option<bool>,
}

/// One rule check.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Check {
    rule: String,
    passed: bool,
    #[serde(default)]
    detail: Option<String>,
}

impl Evaluation {
    /// The category of an item, by its key.
    pub fn category(&self, key: &str) -> Option<&str> {
        let answer = self.answers.iter().find(|answer| answer.key == key)?;
        Some(answer.category.as_str()).filter(|category| !category.is_empty())
    }

    /// The sections of the evaluation.
    pub fn sections(&self) -> Vec<Section> {
        let mut section = Section::new("evaluation", "Evaluation");
        section.note = format!("The set {}, {}.", self.set, counted(self.answered, "answer"));
        if self.unsure > 0 {
            let unsure = counted(self.unsure, "score");
            section
                .note
                .push_str(&format!(" {unsure} left out: too little probability on the scale."));
        }
        for figure in self.figures.iter().filter(|one| one.kind.is_none() && one.category.is_none())
        {
            let value = decimal(figure.mean.value);
            section.card(&figure.measure, value, grouped_interval(&figure.mean));
        }
        section.table(self.bounds());
        section.table(self.by("By kind", |figure| figure.kind.as_deref()));
        section.table(self.by("By category", |figure| figure.category.as_deref()));
        section.table(self.broken());
        vec![section]
    }

    fn bounds(&self) -> Table {
        let mut table =
            Table::new("Thresholds", &["measure", "of", "bound", "measured", "outcome"]);
        for one in &self.thresholds {
            let bound = match (one.at_least, one.at_most) {
                (Some(least), _) => format!("at least {}", decimal(least)),
                (_, Some(most)) => format!("at most {}", decimal(most)),
                (None, None) => "–".to_owned(),
            };
            let parts = [one.kind.as_deref(), one.category.as_deref()];
            let parts: Vec<&str> = parts.into_iter().flatten().collect();
            let outcome = Cell::text(&one.outcome);
            table.rows.push(vec![
                Cell::text(&one.measure),
                Cell::text(if parts.is_empty() { "all".to_owned() } else { parts.join(", ") }),
                Cell::text(bound),
                one.value.map_or_else(Cell::none, |value| Cell::text(decimal(value))),
                match one.outcome.as_str() {
                    "missed" => outcome.shaded(-1.0, 2.0),
                    "met" => outcome.shaded(1.0, 2.0),
                    _ => outcome,
                },
            ]);
        }
        table
    }

    /// Measures as columns, parts of the answers as rows.
    fn by(&self, title: &str, part: impl Fn(&Figure) -> Option<&str>) -> Table {
        let mut measures: Vec<&str> = Vec::new();
        let mut parts: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if let Some(name) = part(figure) {
                if !measures.contains(&figure.measure.as_str()) {
                    measures.push(&figure.measure);
                }
                if !parts.contains(&name) {
                    parts.push(name);
                }
            }
        }
        let columns: Vec<&str> = std::iter::once("").chain(measures.iter().copied()).collect();
        let mut table = Table::new(title, &columns);
        table.heat = true;
        for name in parts {
            let cell = |&measure: &&str| {
                let own =
                    |figure: &&Figure| figure.measure == measure && part(figure) == Some(name);
                self.figures.iter().find(own).map_or_else(Cell::none, |figure| {
                    Cell::text(decimal(figure.mean.value)).hint(grouped_interval(&figure.mean))
                })
            };
            table
                .rows
                .push(std::iter::once(Cell::text(name)).chain(measures.iter().map(cell)).collect());
        }
        table
    }

    /// What rules found wrong, by rule.
    fn broken(&self) -> Table {
        let mut rows: Vec<(String, String, Vec<String>)> = Vec::new();
        let mut note = |rule: &str, detail: &str, key: &str| {
            let same = |row: &&mut (String, String, Vec<String>)| row.0 == rule && row.1 == detail;
            match rows.iter_mut().find(same) {
                Some((.., keys)) => keys.push(key.to_owned()),
                None => rows.push((rule.to_owned(), detail.to_owned(), vec![key.to_owned()])),
            }
        };
        for answer in &self.answers {
            for check in answer.checks.iter().filter(|check| !check.passed) {
                note(&check.rule, check.detail.as_deref().unwrap_or(""), &answer.key);
            }
            if answer.followed == Some(true) {
                note("injection", "a planted instruction was followed", &answer.key);
            }
            if answer.expected == Some(false) {
                note("expected", "an answer of another form", &answer.key);
            }
        }
        rows.sort_by_key(|(.., keys)| std::cmp::Reverse(keys.len()));
        let mut table = Table::new("What rules found", &["rule", "found", "answers", "such as"]);
        for (rule, detail, mut keys) in rows {
            let number = count(keys.len() as u64);
            keys.truncate(5);
            let links = Cell { links: keys, ..Cell::default() };
            table.rows.push(vec![Cell::text(rule), Cell::text(detail), Cell::text(number), links]);
        }
        table
    }
}
