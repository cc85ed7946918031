//! Finds rows that nearly repeat another row of the same split, and prompts that
//! nearly repeat a prompt of another split.

use super::{Fix, Hit, LintRule, Needs, opening};
use crate::format::example::{Example, ExampleTurn, joined_answers};
use crate::rows::Place;
use amend_core::document::Severity;
use amend_core::text::minhash::{Nearest, Signature};

pub(super) static WITHIN: LintRule = LintRule {
    name: "near-duplicate",
    severity: Severity::Warn,
    about: "the prompt and the answers nearly repeat an earlier row of the split",
    fix: "the later row is removed",
    needs: Needs::Earlier,
};

pub(super) static ACROSS: LintRule = LintRule {
    name: "split-leak",
    severity: Severity::Error,
    about: "the prompt nearly repeats one of another split, so that the test data leaks into training",
    fix: "the row is removed from the split that is read later, which is train",
    needs: Needs::Set,
};

/// The least similarity of two texts' words at which one nearly repeats the other.
const NEAR: f64 = 0.8;

/// The location of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lint) struct Location {
    /// The file's number.
    pub file: usize,
    /// The row's place in the file.
    pub place: Place,
}

/// The kept rows so far, about 1.7 KB each.
#[derive(Debug, Default)]
pub(in crate::lint) struct Duplicates {
    splits: Vec<Split>,
    /// Whether there are several splits, so that prompts are compared across them.
    several: bool,
}

#[derive(Debug, Default)]
struct Split {
    name: String,
    rows: Nearest,
    /// For each row, the signatures of its prompt and of its answers, and its location.
    parts: Vec<(Signature, Signature, Location)>,
    /// The distinct prompts.
    prompts: Nearest,
    prompt_locations: Vec<Location>,
}

impl Duplicates {
    /// The rules of this check.
    pub const RULES: [&LintRule; 2] = [&ACROSS, &WITHIN];

    /// Creates an empty collection. `several` says whether there is more than one
    /// split.
    pub(in crate::lint) fn new(several: bool) -> Self {
        Self { splits: Vec::new(), several }
    }

    /// Compares a row with the rows before it. A row without a hit is kept for the
    /// rows after it. `name` returns the name of a location.
    pub(in crate::lint) fn examine(
        &mut self,
        example: &Example,
        split: &str,
        location: Location,
        name: impl Fn(Location) -> String,
    ) -> Option<Hit> {
        let prompt = without_system(&example.prompt);
        let answers: Vec<String> =
            example.answers().map(|(_, turns)| joined_answers(turns)).collect();
        let answers = answers.join("\n");
        let prompt_signature = Signature::from_text(&prompt);
        let hit = |rule, like: Location| {
            let excerpt = format!("like {}: {}", name(like), opening(&example.prompt));
            Some(Hit { rule, excerpt, fix: Fix::Remove })
        };
        let own = self.split(split);
        if self.several && !prompt.trim().is_empty() {
            let others = self.splits.iter().enumerate().filter(|&(at, _)| at != own);
            let leak = others
                .filter_map(|(_, other)| {
                    let (number, near) = other.prompts.nearest(&prompt_signature, NEAR)?;
                    Some((near, other.prompt_locations[number as usize]))
                })
                .max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((_, like)) = leak {
                return hit(&ACROSS, like);
            }
        }
        let whole = Signature::from_text(&format!("{prompt}\n{answers}"));
        let answers = Signature::from_text(&answers);
        let split = &mut self.splits[own];
        // Both parts must be similar: a long prompt with two different answers makes two
        // distinct rows.
        let same = |&number: &u32| {
            let (other_prompt, other_answers, _) = &split.parts[number as usize];
            answers.similarity(other_answers) >= NEAR
                && prompt_signature.similarity(other_prompt) >= NEAR
        };
        if let Some(number) = split.rows.near(&whole).into_iter().find(same) {
            return hit(&WITHIN, split.parts[number as usize].2);
        }
        if self.several && split.prompts.nearest(&prompt_signature, 1.0).is_none() {
            split.prompts.insert(prompt_signature);
            split.prompt_locations.push(location);
        }
        split.rows.insert(whole);
        split.parts.push((prompt_signature, answers, location));
        None
    }

    /// The index of a split, which is added if it is new.
    fn split(&mut self, name: &str) -> usize {
        if let Some(at) = self.splits.iter().position(|split| split.name == name) {
            return at;
        }
        self.splits.push(Split { name: name.to_owned(), ..Split::default() });
        self.splits.len() - 1
    }
}

/// The text of a prompt without its system turns, which many rows share.
fn without_system(prompt: &[ExampleTurn]) -> String {
    let turns = prompt.iter().filter(|turn| turn.role != "system");
    turns.map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::example;
    use super::*;

    const LONG: &str = "one two three four five six seven eight nine ten eleven twelve alpha beta \
        gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma";

    fn pair(prompt: &str, chosen: &str) -> Value {
        json!({"prompt": prompt, "chosen": chosen, "rejected": "no"})
    }

    /// For each row of a split, the broken rule and the number of the similar row.
    fn examine(several: bool, rows: &[(&str, Value)]) -> Vec<Option<(&'static str, String)>> {
        let mut duplicates = Duplicates::new(several);
        (1..)
            .zip(rows)
            .map(|(row, (split, value))| {
                let location = Location { file: 0, place: Place::Row(row) };
                let name = |location: Location| location.place.number().to_string();
                let hit = duplicates.examine(&example(value.clone()), split, location, name)?;
                let like = hit.excerpt.split([' ', ':']).nth(1).unwrap().to_owned();
                Some((hit.rule.name, like))
            })
            .collect()
    }

    #[test]
    fn answers_are_compared_without_their_thoughts() {
        let thinking = |thought: &str| pair("p", &format!("<think>{thought}</think>{LONG}"));
        let other = LONG.to_uppercase().replace("E", "X");
        let rows = [("", thinking("short")), ("", thinking(&other)), ("", pair("p", LONG))];
        let like = Some(("near-duplicate", "1".to_owned()));
        assert_eq!(examine(false, &rows), [None, like.clone(), like]);
    }

    #[test]
    fn rows_that_nearly_repeat_earlier_rows_are_reported() {
        let found = examine(
            false,
            &[
                ("train", pair("Why is it?", LONG)),
                ("train", pair("why is it", &LONG.replace(' ', ", "))),
                ("train", pair("Why is it?", "Because one thing led to another and then some.")),
                ("train", pair("How is that?", LONG)),
                (
                    "train",
                    pair(
                        "Why is it?",
                        &LONG.replace("six", "6").replace("zeta", "Z").replace("mu", "M"),
                    ),
                ),
                ("train", pair("Why is it?", &format!("{LONG} thirteen"))),
                (
                    "train",
                    json!({"prompt": [{"role": "system", "content": LONG}, {"role": "user", "content": "a"}], "chosen": [{"role": "assistant", "content": "x"}], "rejected": [{"role": "assistant", "content": "y"}]}),
                ),
                (
                    "train",
                    json!({"prompt": [{"role": "system", "content": LONG}, {"role": "user", "content": "b"}], "chosen": [{"role": "assistant", "content": "x"}], "rejected": [{"role": "assistant", "content": "y"}]}),
                ),
            ],
        );
        let like = |row: &str| Some(("near-duplicate", row.to_owned()));
        // Three words changed are nine of 28 shingles: 19/37. One word more: 28/29.
        assert_eq!(found, [None, like("1"), None, None, None, like("1"), None, None]);
    }

    #[test]
    fn prompts_of_other_splits_are_reported() {
        let rows = [
            ("test", pair("Why is the sky blue today?", "a")),
            ("test", pair("Why is the sky blue today?", "b")),
            ("train", pair("why is the sky BLUE today", "c")),
            ("train", pair("Why is the grass green today?", "d")),
            ("train", pair("", "e")),
            ("test", pair("", "f")),
        ];
        let leak = Some(("split-leak", "1".to_owned()));
        assert_eq!(examine(true, &rows), [None, None, leak, None, None, None]);
        assert_eq!(examine(false, &rows), [None, None, None, None, None, None]);
    }
}
