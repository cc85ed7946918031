//! Differences between two constitutions.

use serde::Serialize;
use serde_json::Value;

use amend_core::constitution::Constitution;
use amend_core::text::word_diff as words;
use amend_core::text::word_diff::Part;
use amend_data::store::manifest::{Difference, differences};

/// The differences between two constitutions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConstitutionDiff {
    /// Differences of the principles.
    pub principles: ListDiff,
    /// Differences of the rubric dimensions.
    pub dimensions: ListDiff,
    /// Differences of all other settings.
    pub settings: Vec<Difference>,
}

/// The differences between two lists, whose entries are matched by id.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ListDiff {
    /// The ids of entries in the second list only.
    pub added: Vec<String>,
    /// The ids of entries in the first list only.
    pub removed: Vec<String>,
    /// The values that differ in entries of both lists.
    pub changed: Vec<PrincipleEdit>,
}

impl ListDiff {
    /// Whether the lists have the same entries, in any order.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrincipleEdit {
    /// The id of the principle or the dimension.
    pub id: String,
    /// The key that differs.
    pub key: String,
    /// The difference, word by word.
    pub parts: Vec<Part>,
}

/// Compares two constitutions, including everything that they extend.
///
/// # Errors
/// Fails if a constitution cannot be serialized, which its types rule out.
pub fn constitutions(
    before: &Constitution,
    after: &Constitution,
) -> Result<ConstitutionDiff, serde_json::Error> {
    // Serialized to text first, which has the shortest form of each number.
    let value =
        |constitution: &Constitution| serde_json::from_str(&serde_json::to_string(constitution)?);
    let (mut before, mut after): (Value, Value) = (value(before)?, value(after)?);
    let mut list = |key: &str| list(&before[key].take(), &after[key].take());
    Ok(ConstitutionDiff {
        principles: list("principles"),
        dimensions: list("dimensions"),
        settings: differences(&before, &after),
    })
}

fn list(before: &Value, after: &Value) -> ListDiff {
    let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let (before, after) = (items(before), items(after));
    let id = |item: &Value| item["id"].as_str().unwrap_or_default().to_owned();
    let same_id =
        |list: &[Value], item: &Value| list.iter().find(|entry| entry["id"] == item["id"]).cloned();
    let missing = |from: &[Value], list: &[Value]| -> Vec<String> {
        list.iter().filter(|item| same_id(from, item).is_none()).map(id).collect()
    };
    let common = before.iter().filter_map(|item| Some((item, same_id(&after, item)?)));
    ListDiff {
        added: missing(&before, &after),
        removed: missing(&after, &before),
        changed: common.flat_map(|(before, after)| edits(&id(before), before, &after)).collect(),
    }
}

fn edits(id: &str, before: &Value, after: &Value) -> Vec<PrincipleEdit> {
    let keys = before.as_object().into_iter().flat_map(|object| object.keys());
    let edit = |key: &String| PrincipleEdit {
        id: id.to_owned(),
        key: key.clone(),
        parts: words::changes(&shown(&before[key]), &shown(&after[key])),
    };
    keys.filter(|key| before[key.as_str()] != after[key.as_str()]).map(edit).collect()
}

/// The text form of a value: a string as it is, any other value as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| format!("{value:#}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::constitution::parse;

    fn constitution(name: &str, rest: &str) -> Constitution {
        parse("c.toml", &format!("constitution.name = '{name}'\n{rest}")).unwrap()
    }

    #[test]
    fn each_difference_is_listed_once() {
        let before = constitution(
            "one",
            "loop.rounds = 1\n[[principle]]\nid = 'kind'\nprinciple = 'Be kind.'\ncritique = 'c'\n\
             revise = 'r'\njudge = 'j'\n[[principle]]\nid = 'old'\nprinciple = 'Be old.'\n\
             [[dimension]]\nid = 'd'\nquestion = 'q'\nscale = [1, 5]\n",
        );
        let after = constitution(
            "one",
            "loop.rounds = 2\n[[principle]]\nid = 'new'\nprinciple = 'Be new.'\n\
             [[principle]]\nid = 'kind'\nprinciple = 'Be very kind.'\ncritique = 'c'\n\
             revise = 'r'\njudge = 'j'\n[[dimension]]\nid = 'd'\nquestion = 'q'\nscale = [1, 3]\n",
        );
        let differences = constitutions(&before, &after).unwrap();
        assert_eq!(differences.principles.added, ["new"]);
        assert_eq!(differences.principles.removed, ["old"]);
        let [edit] = &differences.principles.changed[..] else { panic!("{differences:?}") };
        assert_eq!((edit.id.as_str(), edit.key.as_str()), ("kind", "principle"));
        let part = |text: &str| text.to_owned();
        assert_eq!(
            edit.parts,
            [Part::Same(part("Be ")), Part::Added(part("very ")), Part::Same(part("kind."))]
        );
        let [scale] = &differences.dimensions.changed[..] else { panic!("{differences:?}") };
        assert_eq!((scale.id.as_str(), scale.key.as_str()), ("d", "scale"));
        let settings: Vec<String> = differences.settings.iter().map(ToString::to_string).collect();
        assert_eq!(settings, ["loop.rounds: was 1, is 2"]);
    }

    #[test]
    fn equal_constitutions_have_no_differences() {
        let text = "[[principle]]\nid = 'kind'\nprinciple = 'Be kind.'\n";
        let constitution = constitution("one", text);
        let differences = constitutions(&constitution, &constitution).unwrap();
        assert!(differences.principles.is_empty() && differences.dimensions.is_empty());
        assert_eq!(differences.settings, []);
    }
}
