//! The words a judge replies with, in every spelling that a vocabulary may hold
//! as one token.

/// What stands before a label at the start of a reply.
const BEFORE: [&str; 5] = ["", " ", "(", " (", "**"];

/// The labels of two answers, in the order shown.
pub const ANSWERS: [&str; 2] = ["A", "B"];

/// The spellings of a label, case kept: `a` is a word of its own.
fn spellings(label: &str) -> Vec<String> {
    BEFORE.iter().map(|before| format!("{before}{label}")).collect()
}

/// The choices between two answers labelled `labels`.
#[must_use]
pub fn answers(labels: [&str; 2]) -> Vec<Vec<String>> {
    labels.iter().map(|label| spellings(label)).collect()
}

/// The choices of a question of yes or no, yes first.
#[must_use]
pub fn yes_no() -> Vec<Vec<String>> {
    [["Yes", "yes", "YES"], ["No", "no", "NO"]]
        .iter()
        .map(|words| words.iter().flat_map(|word| spellings(word)).collect())
        .collect()
}

/// The choices of a scale, lowest first. Its numbers have one digit: of two, many
/// a vocabulary makes two tokens, the first of which is another number.
#[must_use]
pub fn scale([lowest, highest]: [u32; 2]) -> Vec<Vec<String>> {
    (lowest..=highest).map(|value| spellings(&value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_its_spellings_and_none_that_begins_another_s() {
        assert_eq!(answers(ANSWERS)[1], ["B", " B", "(B", " (B", "**B"]);
        assert_eq!(scale([0, 2]).len(), 3);
        for choices in [answers(["1", "2"]), yes_no(), scale([0, 9])] {
            for (at, one) in choices.iter().enumerate() {
                let others = choices.iter().take(at).chain(choices.iter().skip(at + 1)).flatten();
                for other in others {
                    assert!(!one.iter().any(|spelling| other.starts_with(spelling)), "{other:?}");
                }
            }
        }
    }
}
