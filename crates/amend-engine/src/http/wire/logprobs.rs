//! The most likely tokens that a server reports, in the form of chat completions and in the
//! older one of completions.

use std::collections::HashSet;

use serde_json::{Map, Value};

use amend_core::stats::log_sum_exp;

/// The log-probability of a token that a server reports as impossible or not at all: the
/// value that the API defines for that.
const LEAST: f64 = -9999.0;

/// A decoded token and the most likely ones at its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    token: String,
    likely: Vec<(String, f64)>,
}

impl Position {
    /// The natural logarithm of each choice's probability, summed over the spellings that are
    /// among the most likely tokens. If none is among them, the logarithm of the least likely
    /// reported token, which is an upper bound. `None` if no probabilities are reported.
    pub fn log_probs(&self, choices: &[Vec<String>]) -> Option<Vec<f64>> {
        let least = self.likely.iter().map(|(_, log_prob)| *log_prob).reduce(f64::min)?;
        let log_prob = |spellings: &Vec<String>| {
            let tokens = self.likely.iter().filter(|(token, _)| spellings.contains(token));
            log_sum_exp(tokens.map(|(_, log_prob)| *log_prob)).unwrap_or(least)
        };
        Some(choices.iter().map(log_prob).collect())
    }

    /// The probability of all choices that are among the most likely tokens. `None` if no
    /// probabilities are reported.
    pub fn mass(&self, choices: &[Vec<String>]) -> Option<f64> {
        if self.likely.is_empty() {
            return None;
        }
        let chosen =
            self.likely.iter().filter(|(token, _)| choices.iter().flatten().any(|it| it == token));
        Some(chosen.fold(0.0, |sum, (_, log_prob)| sum + log_prob.exp()))
    }
}

/// The most likely tokens at each position of a reply.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReportedTokens(Vec<Position>);

impl ReportedTokens {
    /// Reads the field `logprobs` of a choice. Whatever is missing or of another form is
    /// left out.
    pub fn read(value: &Value) -> Self {
        if let Some(positions) = value["content"].as_array() {
            return Self(positions.iter().map(position).collect());
        }
        let items = |key: &str| value[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let positions = items("top_logprobs").iter().enumerate().map(|(at, likely)| Position {
            token: items("tokens").get(at).map(token).unwrap_or_default(),
            likely: tokens(likely),
        });
        Self(positions.collect())
    }

    /// The first position of the reply.
    pub fn first(&self) -> Option<&Position> {
        self.0.first()
    }

    /// The position at which the answer begins. A thought may stand before it, and the token
    /// that ends the turn after it. `None` if the reported tokens do not end with the answer.
    pub fn at_answer(&self, answer: &str) -> Option<&Position> {
        let answer = answer.trim();
        let is_end = |text: &str| text.is_empty() || (text.starts_with('<') && text.ends_with('>'));
        let mut rest = String::new();
        for position in self.0.iter().rev() {
            rest.insert_str(0, &position.token);
            let after = rest.trim().strip_prefix(answer);
            if !answer.is_empty() && after.is_some_and(|after| is_end(after.trim())) {
                return Some(position);
            }
        }
        None
    }
}

fn position(value: &Value) -> Position {
    Position { token: token(&value["token"]), likely: tokens(&value["top_logprobs"]) }
}

fn token(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The tokens of one position: a list of objects, or a map. A token that is listed twice
/// counts once.
fn tokens(value: &Value) -> Vec<(String, f64)> {
    let mut tokens = listed(value);
    let mut known = HashSet::new();
    tokens.retain(|(token, _)| known.insert(token.clone()));
    tokens
}

fn listed(value: &Value) -> Vec<(String, f64)> {
    match value {
        Value::Array(list) => {
            list.iter().map(|each| (token(&each["token"]), log_prob(&each["logprob"]))).collect()
        }
        Value::Object(map) => pairs(map),
        _ => Vec::new(),
    }
}

fn pairs(map: &Map<String, Value>) -> Vec<(String, f64)> {
    map.iter().map(|(token, value)| (token.clone(), log_prob(value))).collect()
}

/// A log-probability. One that is not finite, above 0 or not reported is the least possible.
fn log_prob(value: &Value) -> f64 {
    match value.as_f64() {
        // Rounding may make a certain token a little more than certain.
        Some(log_prob) if log_prob.is_finite() && log_prob < 1e-3 => log_prob.clamp(LEAST, 0.0),
        _ => LEAST,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn choices(words: &[&[&str]]) -> Vec<Vec<String>> {
        let owned = |word: &&[&str]| word.iter().map(|&spelling| spelling.to_owned()).collect();
        words.iter().map(owned).collect()
    }

    fn assert_close(log_probs: Option<Vec<f64>>, expected: &[f64]) {
        let log_probs = log_probs.unwrap();
        assert_eq!(log_probs.len(), expected.len());
        for (log_prob, p) in log_probs.iter().zip(expected) {
            assert!((log_prob - p.ln()).abs() < 1e-12, "{log_prob} {p}");
        }
    }

    #[test]
    fn probabilities_are_summed_over_spellings() {
        let top = json!([
            {"token": "A", "logprob": 0.5_f64.ln()},
            {"token": " A", "logprob": 0.25_f64.ln()},
            {"token": "B", "logprob": 0.125_f64.ln()},
            {"token": "The", "logprob": 0.0625_f64.ln()},
        ]);
        let log_probs =
            ReportedTokens::read(&json!({"content": [{"token": "A", "top_logprobs": top}]}));
        // C is not reported: it is at most as likely as the last token.
        let words = choices(&[&["A", " A"], &["B", " B"], &["C", " C"]]);
        let first = log_probs.first().unwrap();
        assert_close(first.log_probs(&words), &[0.75, 0.125, 0.0625]);
        assert!((first.mass(&words).unwrap() - 0.875).abs() < 1e-12);
    }

    #[test]
    fn the_form_of_completions_is_read() {
        for top in [
            json!([{"A": 0.5_f64.ln(), " B": 0.25_f64.ln()}]),
            json!([[{"token": "A", "logprob": 0.5_f64.ln()},
                    {"token": " B", "logprob": 0.25_f64.ln()}]]),
        ] {
            let log_probs = ReportedTokens::read(&json!({"tokens": ["A"], "top_logprobs": top}));
            let words = choices(&[&["A"], &["B", " B"]]);
            assert_close(log_probs.first().unwrap().log_probs(&words), &[0.5, 0.25]);
        }
    }

    #[test]
    fn a_log_probability_that_is_not_finite_is_the_least_possible() {
        let top = json!([
            {"token": "A", "logprob": null},
            {"token": "B", "logprob": -9999},
            {"token": "C", "logprob": "-inf"},
            {"token": "D"},
            {"token": "E", "logprob": -0.5},
        ]);
        let log_probs = ReportedTokens::read(&json!({"content": [{"top_logprobs": top}]}));
        let words = choices(&[&["A"], &["B"], &["C"], &["D"], &["E"]]);
        let expected = [LEAST, LEAST, LEAST, LEAST, -0.5];
        assert_eq!(log_probs.first().unwrap().log_probs(&words).unwrap(), expected);
    }

    #[test]
    fn missing_probabilities_are_none() {
        for value in [
            json!(null),
            json!({}),
            json!({"content": null}),
            json!({"content": []}),
            json!({"content": [{"token": "A", "logprob": -0.1}]}),
            json!({"content": [{"token": "A", "top_logprobs": null}]}),
            json!({"tokens": ["A"], "top_logprobs": null}),
        ] {
            let log_probs = ReportedTokens::read(&value);
            let words = choices(&[&["A"]]);
            let first = log_probs.first();
            assert_eq!(first.and_then(|first| first.log_probs(&words)), None, "{value}");
            assert_eq!(first.and_then(|first| first.mass(&words)), None, "{value}");
        }
    }

    #[test]
    fn the_answer_is_found_after_a_thought() {
        let reply = |tokens: &[&str]| {
            let position = |(at, token): (usize, &&str)| {
                let p = 1.0 / (at + 2) as f64;
                json!({"token": token, "top_logprobs": [{"token": "A", "logprob": p.ln()}]})
            };
            let positions: Vec<Value> = tokens.iter().enumerate().map(position).collect();
            ReportedTokens::read(&json!({ "content": positions }))
        };
        let a = choices(&[&["A"]]);
        let thinks = ["<think>", "A", "?", "\n", "</think>", "\n\n", "A"];
        assert_close(reply(&thinks).at_answer("A").unwrap().log_probs(&a), &[1.0 / 8.0]);
        // The end of the turn may be reported as a token.
        assert_close(
            reply(&["A", "?", " A", "<|end|>"]).at_answer("A").unwrap().log_probs(&a),
            &[0.25],
        );
        assert_close(reply(&["A", " or", " A"]).at_answer("A or A").unwrap().log_probs(&a), &[0.5]);
        assert_eq!(reply(&["B"]).at_answer("A"), None);
        // Only the tokens of the thought are reported.
        assert_eq!(reply(&["A", " or", " B"]).at_answer("A"), None);
        assert_eq!(reply(&["B"]).at_answer(""), None);
    }
}
