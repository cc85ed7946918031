//! Rows with several rated answers: the best one and the worst one make a pair.

use serde_json::Value;

use super::example::{Answers, ExampleTurn};
use super::fault::RowFault;
use amend_core::record::Label;

/// An answer and its score; more is better.
pub(super) type Rated = (f64, Vec<ExampleTurn>);

/// The best and the worst of several answers, the first of those that are equally good. If
/// all are equally good, the first two are a tie.
///
/// # Errors
/// Fails if there are fewer than two answers in the list at `pointer`.
pub(super) fn best_and_worst(rated: Vec<Rated>, pointer: &str) -> Result<Answers, RowFault> {
    let mut best = 0;
    let mut worst = 0;
    for (at, (score, _)) in rated.iter().enumerate() {
        if *score > rated[best].0 {
            best = at;
        }
        if *score < rated[worst].0 {
            worst = at;
        }
    }
    let mut answers: Vec<Option<Vec<ExampleTurn>>> =
        rated.into_iter().map(|(_, answer)| Some(answer)).collect();
    if answers.len() < 2 {
        return Err(RowFault::Type {
            pointer: pointer.to_owned(),
            expected: "a list of two answers or more",
            found: "a shorter one",
        });
    }
    let is_tie = best == worst;
    let second = if is_tie { 1 } else { worst };
    let [first, second] = [best, second].map(|at| answers[at].take().unwrap_or_default());
    Ok(if is_tie {
        Answers::Comparison { a: first, b: second, label: Some(Label::Tie) }
    } else {
        Answers::Pair { chosen: first, rejected: second }
    })
}

/// The number in a value: a number, or a text that is one. `None` for other values.
pub(super) fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => finite(text),
        _ => None,
    }
}

/// The number that a text is. `None` for other texts, and for words such as `nan` and `inf`,
/// which stand for a missing number.
pub(super) fn finite(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}
