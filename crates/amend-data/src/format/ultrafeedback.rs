//! Several answers with ratings: UltraFeedback's `completions` with an overall score, and
//! distilabel's `generations` with `ratings`. The best and the worst answer make a pair.

use serde_json::Value;

use super::example::{Answers, Example, ExampleTurn, Object};
use super::fault::RowFault;
use super::fields::{Fields, text, text_or_turns};
use super::ranking::{Rated, best_and_worst, number};
use super::read::{RowKind, Shape, ShapeFacts};

/// `instruction`, and `completions` or `generations` with ratings.
#[derive(Debug)]
pub(super) struct UltraFeedback;

static FACTS: ShapeFacts = ShapeFacts {
    name: "rated answers",
    about: "`instruction`; `completions`: objects with `response` and `overall_score`; or `generations`: texts, with `ratings` (or `rating`): numbers, of which the highest is the best",
    columns: &["completions", "generations", "ratings", "rating"],
    used_by: "UltraFeedback, distilabel",
    labels: "",
    kind: RowKind::Pair,
    exports: &[],
};

impl Shape for UltraFeedback {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let list = |key: &str| row.get(key).is_some_and(|list| list.is_array());
        let rated = list("ratings") || list("rating");
        match () {
            () if !row.contains_key("instruction") => None,
            () if list("completions") => Some("UltraFeedback"),
            () if list("generations") && rated => Some("distilabel ratings"),
            () => None,
        }
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let prompt = fields.prompt("instruction")?;
        if row.contains_key("completions") {
            let completions = fields.list("completions")?.iter().enumerate();
            let rated: Result<Vec<Rated>, RowFault> =
                completions.map(|(at, entry)| completion(entry, at)).collect();
            let answers = best_and_worst(rated?, "/completions")?;
            return fields.example(prompt, answers, true);
        }
        let mut answers: Vec<Vec<ExampleTurn>> = Vec::new();
        for (at, value) in fields.list("generations")?.iter().enumerate() {
            answers.push(text_or_turns(value, "assistant", &format!("/generations/{at}"))?);
        }
        let key = if row.contains_key("ratings") { "ratings" } else { "rating" };
        let ratings = fields.list(key)?;
        let numbers: Option<Vec<f64>> = ratings.iter().map(|rating| number(Some(rating))).collect();
        let answers = match numbers {
            Some(numbers) if numbers.len() == answers.len() => {
                best_and_worst(numbers.into_iter().zip(answers).collect(), "/generations")?
            }
            // Without ratings, two answers are a comparison without a label.
            None if answers.len() == 2 && ratings.iter().any(Value::is_null) => {
                let b = answers.pop().unwrap_or_default();
                let a = answers.pop().unwrap_or_default();
                Answers::Comparison { a, b, label: None }
            }
            _ => {
                return Err(RowFault::Type {
                    pointer: format!("/{key}"),
                    expected: "a list with a number for each generation",
                    found: "another one",
                });
            }
        };
        fields.example(prompt, answers, true)
    }
}

/// The answer and the score of an entry of `completions`.
fn completion(entry: &Value, at: usize) -> Result<Rated, RowFault> {
    let score = number(entry.get("overall_score")).ok_or_else(|| {
        let at = format!("/completions/{at}/overall_score");
        RowFault::wrong(&at, "a number", &entry["overall_score"])
    })?;
    let at = format!("/completions/{at}/response");
    Ok((score, vec![text(&entry["response"], "assistant", &at)?]))
}
