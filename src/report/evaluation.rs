//! The section of an evaluation (`results.json`): thresholds, and measures by
//! kind and category.

use super::view::{Cell, Section, Table};
use super::words::{count, counted, decimal, grouped_interval};
use amend_analysis::evaluation::{Figure, Results, Slice, ThresholdOutcome};
use amend_data::eval_set::Bound;

/// How many answers a broken rule links to.
const EXAMPLES: usize = 5;

/// The category of an item, by its key. `None` where the set gives it none.
pub fn category<'a>(results: &'a Results, key: &str) -> Option<&'a str> {
    let answer = results.answers.iter().find(|answer| answer.key == key)?;
    if answer.category.is_empty() { None } else { Some(&answer.category) }
}

/// The section of an evaluation.
pub fn section(results: &Results) -> Section {
    let mut section = Section::new("evaluation", "Evaluation");
    section.note = format!("The set {}, {}.", results.set, counted(results.answered, "answer"));
    if results.unsure > 0 {
        let unsure = counted(results.unsure, "score");
        let note = format!(" {unsure} left out: too little probability on the scale.");
        section.note.push_str(&note);
    }
    let all = Slice::default();
    for figure in results.figures.iter().filter(|figure| figure.slice == all) {
        let value = decimal(figure.mean.value);
        section.card(&figure.measure, value, grouped_interval(&figure.mean));
    }
    section.table(thresholds(results));
    section.table(by_part(results, "By kind", |slice| slice.kind.map(|kind| kind.as_str())));
    section.table(by_part(results, "By category", |slice| slice.category.as_deref()));
    section.table(broken_rules(results));
    section
}

fn thresholds(results: &Results) -> Table {
    let columns = ["measure", "answers", "bound", "measured", "outcome"];
    let mut table = Table::new("Thresholds", &columns);
    for result in &results.thresholds {
        let threshold = &result.threshold;
        let bound = match threshold.bound {
            Bound::AtLeast(least) => format!("at least {}", decimal(least)),
            Bound::AtMost(most) => format!("at most {}", decimal(most)),
        };
        let parts = [threshold.kind.map(|kind| kind.as_str()), threshold.category.as_deref()];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        let outcome = match result.outcome {
            ThresholdOutcome::Met => Cell::text("met").shaded(1.0, 2.0),
            ThresholdOutcome::Missed => Cell::text("missed").shaded(-1.0, 2.0),
            ThresholdOutcome::Absent => Cell::text("no such answers"),
        };
        table.rows.push(vec![
            Cell::text(&threshold.measure),
            Cell::text(if parts.is_empty() { "all".to_owned() } else { parts.join(", ") }),
            Cell::text(bound),
            result.value.map_or_else(Cell::none, |value| Cell::text(decimal(value))),
            outcome,
        ]);
    }
    table
}

/// A heat map with measures as columns and parts of the answers as rows.
fn by_part(results: &Results, title: &str, part: impl Fn(&Slice) -> Option<&str>) -> Table {
    let mut measures: Vec<&str> = Vec::new();
    let mut parts: Vec<&str> = Vec::new();
    for figure in &results.figures {
        if let Some(name) = part(&figure.slice) {
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
        let mut row = vec![Cell::text(name)];
        for measure in &measures {
            let is_own =
                |figure: &&Figure| figure.measure == *measure && part(&figure.slice) == Some(name);
            row.push(match results.figures.iter().find(is_own) {
                Some(Figure { mean, .. }) => {
                    Cell::text(decimal(mean.value)).hint(grouped_interval(mean))
                }
                None => Cell::none(),
            });
        }
        table.rows.push(row);
    }
    table
}

/// A rule that answers broke: its name, what was found, and the items' keys.
struct Broken<'a> {
    rule: &'a str,
    detail: &'a str,
    keys: Vec<String>,
}

/// The rules that answers broke, the most often broken first.
fn broken_rules(results: &Results) -> Table {
    let mut all: Vec<Broken> = Vec::new();
    let mut add = |rule: &'static str, detail, key: &str| match all
        .iter_mut()
        .find(|broken| broken.rule == rule && broken.detail == detail)
    {
        Some(broken) => broken.keys.push(key.to_owned()),
        None => all.push(Broken { rule, detail, keys: vec![key.to_owned()] }),
    };
    for answer in &results.answers {
        for check in answer.checks.iter().filter(|check| !check.passed) {
            add(check.rule.as_str(), check.detail.as_deref().unwrap_or(""), &answer.key);
        }
        if answer.followed == Some(true) {
            add("injection", "the answer follows a planted instruction", &answer.key);
        }
        if answer.expected == Some(false) {
            add("expected", "the answer does not have the expected form", &answer.key);
        }
    }
    all.sort_by_key(|broken| std::cmp::Reverse(broken.keys.len()));
    let mut table = Table::new("Broken rules", &["rule", "found", "answers", "examples"]);
    for Broken { rule, detail, mut keys } in all {
        let number = count(keys.len() as u64);
        keys.truncate(EXAMPLES);
        let links = Cell { links: keys, ..Cell::default() };
        table.rows.push(vec![Cell::text(rule), Cell::text(detail), Cell::text(number), links]);
    }
    table
}
