//! Differences between two constitutions.

use serde::Serialize;
use serde_json::{Value, json};

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
#[must_use]
pub fn constitutions(before: &Constitution, after: &Constitution) -> ConstitutionDiff {
    ConstitutionDiff {
        principles: ListDiff::new(&before.principles, &after.principles, |entry| &entry.id),
        dimensions: ListDiff::new(&before.dimensions, &after.dimensions, |entry| &entry.id),
        settings: differences(&settings(before), &settings(after)),
    }
}

/// The constitution without its lists.
fn settings(constitution: &Constitution) -> Value {
    Constitution { principles: Vec::new(), dimensions: Vec::new(), ..constitution.clone() }
        .to_json()
}

impl ListDiff {
    fn new<T: Serialize>(before: &[T], after: &[T], id: fn(&T) -> &String) -> Self {
        let mut diff = Self::default();
        let find = |list: &[T], entry: &T| list.iter().position(|old| id(old) == id(entry));
        for entry in before {
            match find(after, entry) {
                Some(index) => diff.changed.extend(edits(id(entry), entry, &after[index])),
                None => diff.removed.push(id(entry).clone()),
            }
        }
        let added = after.iter().filter(|entry| find(before, entry).is_none());
        diff.added = added.map(id).cloned().collect();
        diff
    }
}

/// The keys of an entry whose values differ.
fn edits<T: Serialize>(id: &str, before: &T, after: &T) -> Vec<PrincipleEdit> {
    let (Value::Object(before), Value::Object(after)) = (json!(before), json!(after)) else {
        return Vec::new();
    };
    let mut edits = Vec::new();
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        let (old, new) = (before.get(key), after.get(key));
        if old != new {
            let parts = words::changes(&shown(old), &shown(new));
            edits.push(PrincipleEdit { id: id.to_owned(), key: key.clone(), parts });
        }
    }
    edits
}

/// The text form of a value: a string as it is, any other value as JSON.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => format!("{value:#}"),
    }
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
        let differences = constitutions(&before, &after);
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
    fn a_key_that_one_constitution_omits_is_listed() {
        let text = "[[principle]]\nid = 'kind'\nprinciple = 'Be kind.'\n";
        let before = constitution("one", text);
        let after = constitution("one", &format!("{text}paraphrases = ['Kindly.']\n"));
        for (before, after) in [(&before, &after), (&after, &before)] {
            let changed = constitutions(before, after).principles.changed;
            let keys: Vec<&str> = changed.iter().map(|edit| edit.key.as_str()).collect();
            assert_eq!(keys, ["paraphrases"]);
        }
    }

    #[test]
    fn equal_constitutions_have_no_differences() {
        let text = "[[principle]]\nid = 'kind'\nprinciple = 'Be kind.'\n";
        let constitution = constitution("one", text);
        let differences = constitutions(&constitution, &constitution);
        assert!(differences.principles.is_empty() && differences.dimensions.is_empty());
        assert_eq!(differences.settings, []);
    }
}
