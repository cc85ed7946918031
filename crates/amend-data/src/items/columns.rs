//! The names of columns: `--map`, names in another case, and the columns that a row's shape
//! does not see.

use std::collections::HashMap;

use serde_json::Value;

use super::fault::ItemProblem;
use crate::rows::Object;

/// The names of columns that [`super::ItemOptions::map`] can give.
pub const MAPPED: [&str; 10] =
    ["prompt", "system", "response", "chosen", "rejected", "a", "b", "label", "id", "category"];

/// The column in a map that means none.
pub const IGNORED: &str = "-";

/// Names of columns without which a row cannot be read if they are mapped.
const NEEDED: [&str; 5] = ["prompt", "chosen", "rejected", "a", "b"];

/// Columns that often hold the prompt. If the prompt is mapped, shapes do not see them.
const PROMPTS: [&str; 14] = [
    "prompt",
    "messages",
    "conversations",
    "conversation",
    "turns",
    "instruction",
    "question",
    "query",
    "input",
    "text",
    "content",
    "context",
    "history",
    "init_prompt",
];

/// Columns that often hold an answer.
const ANSWERS: [&str; 4] = ["response", "completion", "answer", "output"];

/// Columns that hold two answers.
const PAIRS: [&str; 4] = ["chosen", "rejected", "a", "b"];

/// Whether shapes often read a column of this name, so that it is worth a note if a command
/// does not use it.
pub(super) fn is_known(name: &str) -> bool {
    let names = PROMPTS.iter().chain(&ANSWERS).chain(&PAIRS);
    names.chain(&["system", "system_prompt"]).any(|known| *known == name)
}

/// The columns that shapes do not see if a name is mapped.
fn hidden_by(name: &str) -> Vec<&'static str> {
    match name {
        "prompt" => PROMPTS.to_vec(),
        "response" => [&ANSWERS[..], &PAIRS].concat(),
        "a" | "b" => vec!["chosen", "rejected"],
        _ => Vec::new(),
    }
}

/// Renames the columns of rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    /// Pairs of the new name and the column that has it.
    map: Vec<(String, String)>,
    /// The columns that shapes do not see.
    hidden: Vec<String>,
    /// Whether the only answer of a row is not used.
    pub(super) ignores_response: bool,
}

/// A row as its shape sees it.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The columns with a value other than null, by the names that shapes know.
    pub(super) object: Object,
    /// The columns that shapes do not see, by the names in the file.
    pub(super) aside: Object,
    /// The names in the file of columns that have another one in `object`.
    pub(super) originals: HashMap<String, String>,
}

impl View {
    /// The name in the file of a column of `object`.
    pub(super) fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.originals.get(name).map_or(name, String::as_str)
    }

    /// The names of all columns in the file.
    pub(super) fn names(&self) -> Vec<String> {
        let seen = self.object.keys().map(|name| self.original(name).to_owned());
        seen.chain(self.aside.keys().cloned()).collect()
    }

    /// The place of a value in the file, for a place in `object`.
    pub(super) fn original_pointer(&self, pointer: &str) -> String {
        let Some((column, rest)) = split_pointer(pointer) else { return pointer.to_owned() };
        let column = self.original(&column).replace('~', "~0").replace('/', "~1");
        format!("/{column}{rest}")
    }
}

/// Splits a JSON pointer into its first name and the rest.
pub(super) fn split_pointer(pointer: &str) -> Option<(String, &str)> {
    let pointer = pointer.strip_prefix('/')?;
    let (name, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
    Some((name.replace("~1", "/").replace("~0", "~"), rest))
}

impl Columns {
    pub(super) fn new(map: &[(String, String)]) -> Self {
        let mut columns = Self::default();
        for (name, column) in map {
            if column != IGNORED {
                columns.hidden.extend(hidden_by(name).into_iter().map(str::to_owned));
                columns.map.push((name.clone(), column.clone()));
            } else if name == "response" {
                columns.ignores_response = true;
            } else {
                columns.hidden.push(name.clone());
            }
        }
        columns
    }

    /// The mapped columns that are not among `seen`, columns of the whole input.
    pub(super) fn missing<'a>(&'a self, seen: &'a [String]) -> Option<&'a str> {
        let mut columns = self.map.iter().map(|(_, column)| column.as_str());
        columns.find(|column| !seen.iter().any(|name| name.eq_ignore_ascii_case(column)))
    }

    /// Whether columns are mapped.
    pub(super) fn maps(&self) -> bool {
        !self.map.is_empty()
    }

    /// A row with the names that shapes know.
    ///
    /// # Errors
    /// A mapped column that is needed is missing.
    pub(super) fn view(&self, object: Object) -> Result<View, ItemProblem> {
        let is_plain = |(name, value): (&String, &Value)| {
            !value.is_null() && !name.chars().any(char::is_uppercase)
        };
        if self.map.is_empty() && self.hidden.is_empty() && object.iter().all(is_plain) {
            return Ok(View { object, ..View::default() });
        }
        let mut names = HashMap::new();
        for (name, column) in &self.map {
            let same_case = object.keys().find(|key| *key == column);
            let any_case = || object.keys().find(|key| key.eq_ignore_ascii_case(column));
            match same_case.or_else(any_case) {
                Some(key) if !object[key].is_null() => {
                    names.insert(key.clone(), name.clone());
                }
                _ if NEEDED.contains(&name.as_str()) => {
                    return Err(ItemProblem::NoColumn {
                        column: column.clone(),
                        columns: object.keys().cloned().collect(),
                    });
                }
                _ => {}
            }
        }
        let lower_case: Vec<String> =
            object.keys().filter(|key| !key.chars().any(char::is_uppercase)).cloned().collect();
        let mut view = View::default();
        for (key, value) in object {
            if value.is_null() {
                view.aside.insert(key, value);
                continue;
            }
            let name = match names.get(&key) {
                Some(name) => name.clone(),
                None => {
                    let lower = key.to_lowercase();
                    let is_taken = names.values().any(|name| *name == lower);
                    if is_taken || self.hidden.contains(&lower) {
                        view.aside.insert(key, value);
                        continue;
                    }
                    let collides = lower != key
                        && (lower_case.contains(&lower) || view.object.contains_key(&lower));
                    if collides { key.clone() } else { lower }
                }
            };
            if name != key {
                view.originals.insert(name.clone(), key);
            }
            view.object.insert(name, value);
        }
        Ok(view)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The names that shapes see, and the columns that they don't see.
    fn view(map: &[(&str, &str)], row: Value) -> (Vec<String>, Vec<String>) {
        let map: Vec<_> =
            map.iter().map(|(name, column)| ((*name).to_owned(), (*column).to_owned())).collect();
        let view = Columns::new(&map).view(row.as_object().unwrap().clone()).unwrap();
        let shown = view
            .object
            .keys()
            .map(|name| match view.original(name) {
                original if original == name => name.clone(),
                original => format!("{name}={original}"),
            })
            .collect();
        (shown, view.aside.keys().cloned().collect())
    }

    #[test]
    fn columns_are_known_in_any_case_unless_they_collide() {
        let row = json!({"Prompt": "p", "Goal": "g", "goal": "h"});
        assert_eq!(view(&[], row).0, ["prompt=Prompt", "Goal", "goal"]);
        let row = json!({"PROMPT": "p", "Prompt": "q"});
        assert_eq!(view(&[], row).0, ["prompt=PROMPT", "Prompt"]);
    }

    #[test]
    fn a_mapped_column_hides_those_with_the_same_meaning() {
        let row = json!({"prompt": "p", "Goal": "g", "messages": [], "id": 1});
        let (shown, aside) = view(&[("prompt", "goal")], row);
        assert_eq!(
            (shown, aside.join(" ")),
            (vec!["prompt=Goal".to_owned(), "id".to_owned()], "prompt messages".to_owned(),)
        );
        let row = json!({"prompt": "p", "completion": "c", "target": "t", "label": "l"});
        let (shown, aside) = view(&[("response", "target"), ("label", "-")], row);
        assert_eq!(shown, ["prompt", "response=target"]);
        assert_eq!(aside, ["completion", "label"]);
    }

    #[test]
    fn nulls_are_not_seen_by_shapes() {
        let (shown, aside) = view(&[], json!({"prompt": "p", "chosen": null, "rejected": null}));
        assert_eq!((shown.join(" "), aside.join(" ")), ("prompt".into(), "chosen rejected".into()));
    }

    #[test]
    fn a_missing_column_is_an_error_if_it_is_needed() {
        let columns = |name: &str| Columns::new(&[(name.to_owned(), "x".to_owned())]);
        let row = json!({"prompt": "p", "goal": "g"}).as_object().unwrap().clone();
        let error = columns("prompt").view(row.clone()).unwrap_err().to_string();
        assert_eq!(error, "no column \"x\" among \"prompt\", \"goal\": correct --map or --field");
        assert!(columns("id").view(row).is_ok());
        assert_eq!(columns("id").missing(&["prompt".to_owned()]), Some("x"));
        assert_eq!(columns("id").missing(&["X".to_owned()]), None);
    }

    #[test]
    fn pointers_are_shown_with_the_names_of_the_file() {
        let row = json!({"A/B": 1, "Messages": 2}).as_object().unwrap().clone();
        let view = Columns::default().view(row).unwrap();
        assert_eq!(view.original_pointer("/messages/0/content"), "/Messages/0/content");
        assert_eq!(view.original_pointer("/a~1b"), "/A~1B");
        assert_eq!(view.original_pointer(""), "");
    }
}
