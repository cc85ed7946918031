//! What differs between two constitutions.

use serde::Serialize;
use serde_json::Value;

use amend_core::constitution::Constitution;
use amend_core::text::word_diff as words;
use amend_core::text::word_diff::Part;
use amend_data::store::manifest::{Difference, differences};

/// What leads from one constitution to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConstitutionDiff {
    /// The rules.
    pub principles: ListDiff,
    /// The questions for scoring.
    pub dimensions: ListDiff,
    /// Everything else.
    pub settings: Vec<Difference>,
}

/// What leads from one list to another, by id.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ListDiff {
    /// In the second only.
    pub added: Vec<String>,
    /// In the first only.
    pub removed: Vec<String>,
    /// In both, and not the same.
    pub changed: Vec<Edit>,
}

impl ListDiff {
    /// Whether the lists are the same, their order aside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// A value that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// The id of the principle or the dimension.
    pub id: String,
    /// The key that differs.
    pub key: String,
    /// How, word by word.
    pub parts: Vec<Part>,
}

/// Sets one constitution, everything it extends included, against another.
///
/// # Errors
/// None that a constitution's types allow.
pub fn constitutions(
    before: &Constitution,
    after: &Constitution,
) -> Result<ConstitutionDiff, serde_json::Error> {
    // By way of the text, which has the shortest form of each number.
    let value = |one: &Constitution| serde_json::from_str(&serde_json::to_string(one)?);
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
    let other =
        |list: &[Value], item: &Value| list.iter().find(|one| one["id"] == item["id"]).cloned();
    let missing = |ours: &[Value], theirs: &[Value]| -> Vec<String> {
        ours.iter().filter(|item| other(theirs, item).is_none()).map(id).collect()
    };
    let changed = before.iter().filter_map(|item| Some((item, other(&after, item)?)));
    ListDiff {
        added: missing(&after, &before),
        removed: missing(&before, &after),
        changed: changed.flat_map(|(one, other)| edits(&id(one), one, &other)).collect(),
    }
}

fn edits(id: &str, before: &Value, after: &Value) -> Vec<Edit> {
    let keys = before.as_object().into_iter().flat_map(|object| object.keys());
    let edit = |key: &String| Edit {
        id: id.to_owned(),
        key: key.clone(),
        parts: words::changes(&shown(&before[key]), &shown(&after[key])),
    };
    keys.filter(|key| before[key.as_str()] != after[key.as_str()]).map(edit).collect()
}

/// A value as it is compared: a text as it is, anything else as JSON.
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
    fn everything_that_differs_is_named_once() {
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
        let found = constitutions(&before, &after).unwrap();
        assert_eq!(found.principles.added, ["new"]);
        assert_eq!(found.principles.removed, ["old"]);
        let [edit] = &found.principles.changed[..] else { panic!("{found:?}") };
        assert_eq!((edit.id.as_str(), edit.key.as_str()), ("kind", "principle"));
        let part = |text: &str| text.to_owned();
        assert_eq!(
            edit.parts,
            [Part::Same(part("Be ")), Part::Added(part("very ")), Part::Same(part("kind."))]
        );
        let [scale] = &found.dimensions.changed[..] else { panic!("{found:?}") };
        assert_eq!((scale.id.as_str(), scale.key.as_str()), ("d", "scale"));
        let settings: Vec<String> = found.settings.iter().map(ToString::to_string).collect();
        assert_eq!(settings, ["loop.rounds: was 1, is 2"]);
    }

    #[test]
    fn a_constitution_does_not_differ_from_itself() {
        let one = constitution("one", "[[principle]]\nid = 'kind'\nprinciple = 'Be kind.'\n");
        let found = constitutions(&one, &one).unwrap();
        assert!(found.principles.is_empty() && found.dimensions.is_empty());
        assert_eq!(found.settings, []);
    }
}
