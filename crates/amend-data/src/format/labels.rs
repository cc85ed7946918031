//! The spellings of labels: which of two answers is better.

use serde_json::Value;

use super::example::Object;
use super::fault::RowFault;
use super::fields::{Fields, has, pointer};
use super::ranking::finite;
use amend_core::record::Label;

/// What numbers mean as labels. The same number means different things in different
/// datasets, so each shape says which it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Numbers are not labels.
    None,
    /// 1 is the first answer, 2 the second.
    OneTwo,
    /// 1 is the first answer, 2 the second, 0 a tie.
    ZeroIsTie,
    /// 0 is the first answer, 1 the second, 2 a tie.
    TwoIsTie,
    /// 0 is the first answer, 1 the second.
    Index,
    /// 1 is the first answer, 0 the second.
    FirstIsOne,
    /// From -3, the first answer is much better, to 3, the second one is; 0 is a tie.
    Strength,
}

impl Numbers {
    fn label(self, number: f64) -> Option<Label> {
        let whole = number as i64;
        if number.fract() != 0.0 && self != Self::Strength {
            return None;
        }
        match (self, whole) {
            (Self::Strength, _) if number.abs() > 3.0 => None,
            (Self::Strength, _) if number < 0.0 => Some(Label::A),
            (Self::Strength, _) if number > 0.0 => Some(Label::B),
            (Self::Strength, _) => Some(Label::Tie),
            (Self::OneTwo | Self::ZeroIsTie, 1) => Some(Label::A),
            (Self::OneTwo | Self::ZeroIsTie, 2) => Some(Label::B),
            (Self::ZeroIsTie, 0) => Some(Label::Tie),
            (Self::TwoIsTie | Self::Index, 0) => Some(Label::A),
            (Self::TwoIsTie | Self::Index, 1) => Some(Label::B),
            (Self::TwoIsTie, 2) => Some(Label::Tie),
            (Self::FirstIsOne, 1) => Some(Label::A),
            (Self::FirstIsOne, 0) => Some(Label::B),
            _ => None,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::None => "\"a\", \"b\" or \"tie\"",
            Self::OneTwo => "1, 2, \"a\", \"b\" or \"tie\"",
            Self::ZeroIsTie => "1, 2 or 0 for a tie",
            Self::TwoIsTie => "0, 1 or 2 for a tie",
            Self::Index => "0 or 1",
            Self::FirstIsOne => "1 for the first answer or 0 for the second",
            Self::Strength => "a number from -3 to 3, negative if the first answer is better",
        }
    }
}

/// The words for the first answer, the second, and neither, in lower case. [`numbered`]
/// reads the names of columns that end in numbers.
const WORDS: [(&[&str], Label); 3] = [
    (
        &[
            "a",
            "model_a",
            "response_a",
            "answer_a",
            "output_a",
            "text_a",
            "conversation_a",
            "completion_a",
            "assistant_a",
            "a>b",
            "a>>b",
            "b<a",
            "b<<a",
            "[[a]]",
            "[[a>b]]",
            "[[a>>b]]",
        ],
        Label::A,
    ),
    (
        &[
            "b",
            "model_b",
            "response_b",
            "answer_b",
            "output_b",
            "text_b",
            "conversation_b",
            "completion_b",
            "assistant_b",
            "b>a",
            "b>>a",
            "a<b",
            "a<<b",
            "[[b]]",
            "[[b>a]]",
            "[[b>>a]]",
        ],
        Label::B,
    ),
    (
        &[
            "tie",
            "ties",
            "both",
            "both_bad",
            "bothbad",
            "tie (bothbad)",
            "tie (both_bad)",
            "tie (inconsistent)",
            "a=b",
            "b=a",
            "[[c]]",
            "[[a=b]]",
            "draw",
            "equal",
            "same",
        ],
        Label::Tie,
    ),
];

/// Words that say that there is no label.
const MISSING: [&str; 4] = ["", "not_applicable", "none", "invalid"];

/// The label of a word. `None` if it is unknown.
fn word(text: &str) -> Option<Label> {
    WORDS.iter().find(|(words, _)| words.contains(&text)).map(|&(_, label)| label)
}

/// The label of a word that is the name of an answer's column, such as `response_1`. The
/// columns of an index count from 0, others from 1. `None` if columns have no numbers.
fn numbered(text: &str, numbers: Numbers) -> Option<Label> {
    let stems = ["response", "output", "answer", "completion"];
    let rest = stems.into_iter().find_map(|stem| text.strip_prefix(stem))?;
    let first = match numbers {
        Numbers::Index => 0,
        Numbers::OneTwo | Numbers::ZeroIsTie | Numbers::TwoIsTie | Numbers::Strength => 1,
        Numbers::None | Numbers::FirstIsOne => return None,
    };
    match rest.trim_start_matches(['_', ' ']).parse::<u8>().ok()?.checked_sub(first)? {
        0 => Some(Label::A),
        1 => Some(Label::B),
        _ => None,
    }
}

/// Reads the label in a column, with numbers of this meaning. `None` if the column is
/// missing, null or says that there is no label.
///
/// # Errors
/// Fails with [`RowFault::Label`] if the value is not a label.
pub(super) fn label(
    fields: &mut Fields<'_>,
    key: &str,
    numbers: Numbers,
) -> Result<Option<Label>, RowFault> {
    fields.mark(key);
    if !has(fields.row(), key) {
        return Ok(None);
    }
    let value = fields.value(key)?;
    let fault = || RowFault::Label {
        pointer: pointer(key),
        found: value.to_string(),
        expected: numbers.expected(),
    };
    match value {
        Value::Number(number) => {
            let label = number.as_f64().and_then(|number| numbers.label(number));
            label.map(Some).ok_or_else(fault)
        }
        Value::String(text) => {
            let text = text.trim().to_lowercase();
            if MISSING.contains(&text.as_str()) {
                return Ok(None);
            }
            let number = || finite(&text).and_then(|number| numbers.label(number));
            let model = || named_model(fields.row(), &text);
            word(&text)
                .or_else(|| numbered(&text, numbers))
                .or_else(number)
                .or_else(model)
                .map(Some)
                .ok_or_else(fault)
        }
        _ => Err(fault()),
    }
}

/// The label of the name of the model that gave one of the answers.
fn named_model(row: &Object, name: &str) -> Option<Label> {
    let is = |key: &str| {
        row.get(key).and_then(Value::as_str).is_some_and(|model| model.to_lowercase() == name)
    };
    match (is("model_a"), is("model_b")) {
        (true, false) => Some(Label::A),
        (false, true) => Some(Label::B),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value, numbers: Numbers) -> Result<Option<Label>, RowFault> {
        let row = json!({"winner": value, "model_a": "GPT", "model_b": "Llama"});
        let row: Object = serde_json::from_value(row).unwrap();
        label(&mut Fields::new(&row), "winner", numbers)
    }

    #[test]
    fn words_mean_the_same_everywhere() {
        for (text, expected) in [
            ("A>B", Label::A),
            ("A>>B", Label::A),
            ("[[A]]", Label::A),
            ("model_a", Label::A),
            ("gpt", Label::A),
            ("B>>A", Label::B),
            ("[[B]]", Label::B),
            ("B", Label::B),
            ("llama", Label::B),
            ("A=B", Label::Tie),
            ("[[C]]", Label::Tie),
            ("tie (bothbad)", Label::Tie),
            ("both", Label::Tie),
        ] {
            assert_eq!(read(json!(text), Numbers::None), Ok(Some(expected)), "{text}");
        }
        for number in ["nan", "NaN", "inf", "-inf", "infinity", "1e999"] {
            for numbers in [Numbers::Strength, Numbers::TwoIsTie, Numbers::OneTwo] {
                assert!(read(json!(number), numbers).is_err(), "{number} {numbers:?}");
            }
        }
        for missing in [json!(null), json!(""), json!("not_applicable")] {
            assert_eq!(read(missing, Numbers::None), Ok(None));
        }
    }

    #[test]
    fn names_of_numbered_columns_follow_the_numbers_of_the_shape() {
        use Label::{A, B};
        for (numbers, expected) in [
            (Numbers::Index, [Some(A), Some(B), None]),
            (Numbers::OneTwo, [None, Some(A), Some(B)]),
            (Numbers::TwoIsTie, [None, Some(A), Some(B)]),
            (Numbers::None, [None, None, None]),
        ] {
            for (number, expected) in expected.into_iter().enumerate() {
                for stem in ["response_", "Response ", "output", "answer_", "completion_"] {
                    let found = read(json!(format!("{stem}{number}")), numbers);
                    assert_eq!(found.ok().flatten(), expected, "{numbers:?} {stem}{number}");
                }
            }
        }
        assert!(read(json!(4), Numbers::Strength).is_err());
    }

    #[test]
    fn numbers_mean_what_the_shape_says() {
        use Label::{A, B, Tie};
        for (numbers, expected) in [
            (Numbers::None, [None, None, None, None]),
            (Numbers::OneTwo, [None, None, Some(A), Some(B)]),
            (Numbers::ZeroIsTie, [None, Some(Tie), Some(A), Some(B)]),
            (Numbers::TwoIsTie, [None, Some(A), Some(B), Some(Tie)]),
            (Numbers::Index, [None, Some(A), Some(B), None]),
            (Numbers::FirstIsOne, [None, Some(B), Some(A), None]),
            (Numbers::Strength, [Some(A), Some(Tie), Some(B), Some(B)]),
        ] {
            for (number, expected) in [-1, 0, 1, 2].into_iter().zip(expected) {
                let written = [json!(number), json!(number.to_string()), json!(f64::from(number))];
                for value in written {
                    let found = read(value, numbers);
                    assert_eq!(found.clone().ok().flatten(), expected, "{numbers:?} {number}");
                    assert_eq!(found.is_err(), expected.is_none());
                }
            }
        }
    }
}
