//! The labels that a judge replies with, in every spelling that a vocabulary may
//! have as one token.

/// What may precede a label at the start of a reply.
const BEFORE: [&str; 5] = ["", " ", "(", " (", "**"];

/// The default labels of two answers, in the order in which they are shown.
pub const ANSWERS: [&str; 2] = ["A", "B"];

/// The spellings of a label. They keep its case, because `a` is also a word.
fn spellings(label: &str) -> Vec<String> {
    BEFORE.iter().map(|before| format!("{before}{label}")).collect()
}

/// Runs of labels, each of one token.
const SERIES: [&str; 3] =
    ["0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"];

/// The label of a tie beside those of the two answers: the one that continues them, such as
/// C after A and B. A word beside words.
#[must_use]
pub fn tie([first, second]: [&str; 2]) -> &'static str {
    for series in SERIES {
        let place = |label: &str| if label.len() == 1 { series.find(label) } else { None };
        if let (Some(first), Some(second)) = (place(first), place(second)) {
            let next = first.max(second) + 1;
            if let Some(label) = series.get(next..=next) {
                return label;
            }
        }
    }
    if [first, second].contains(&"neither") { "tie" } else { "neither" }
}

/// The choices between answers with these labels.
#[must_use]
pub fn answers(labels: &[&str]) -> Vec<Vec<String>> {
    labels.iter().map(|label| spellings(label)).collect()
}

/// The choices of a yes-or-no question, yes first.
#[must_use]
pub fn yes_no() -> Vec<Vec<String>> {
    [["Yes", "yes", "YES"], ["No", "no", "NO"]]
        .iter()
        .map(|words| words.iter().flat_map(|word| spellings(word)).collect())
        .collect()
}

/// The choices of a scale, lowest first. Its numbers must have one digit: many
/// vocabularies split a number of two digits into two tokens, and the first of them
/// is another number.
#[must_use]
pub fn scale([lowest, highest]: [u32; 2]) -> Vec<Vec<String>> {
    (lowest..=highest).map(|value| spellings(&value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_choice_is_a_prefix_of_another_choice() {
        assert_eq!(answers(&ANSWERS)[1], ["B", " B", "(B", " (B", "**B"]);
        assert_eq!(scale([0, 2]).len(), 3);
        for choices in [answers(&["1", "2"]), answers(&["A", "B", "C"]), yes_no(), scale([0, 9])] {
            for (at, choice) in choices.iter().enumerate() {
                let others = choices.iter().take(at).chain(choices.iter().skip(at + 1)).flatten();
                for other in others {
                    let is_prefixed = choice.iter().any(|spelling| other.starts_with(spelling));
                    assert!(!is_prefixed, "{other:?}");
                }
            }
        }
    }

    #[test]
    fn the_label_of_a_tie_continues_those_of_the_answers() {
        for (labels, expected) in [
            (["A", "B"], "C"),
            (["B", "A"], "C"),
            (["1", "2"], "3"),
            (["x", "y"], "z"),
            (["Y", "Z"], "neither"),
            (["A", "2"], "neither"),
            (["first", "second"], "neither"),
            (["both", "neither"], "tie"),
        ] {
            assert_eq!(tie(labels), expected, "{labels:?}");
        }
    }
}
