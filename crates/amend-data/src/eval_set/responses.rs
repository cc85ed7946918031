//! Answers given beforehand: a JSON object a line, with the item's `id` and the
//! `response`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use amend_core::document::diagnostic::closest;
use amend_core::record::{Item, Keys};

/// How many ids a message lists.
const SHOWN: usize = 5;

/// Answers by the id of their item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Responses {
    path: PathBuf,
    by_id: HashMap<String, (usize, String)>,
}

/// What is wrong with given answers.
#[derive(Debug, thiserror::Error)]
pub enum ResponsesError {
    /// The file can't be read.
    #[error("failed to read the responses {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no answer.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and how to mend it.
        message: String,
    },
    /// Items have no answer.
    #[error("{} has no response for {count} of the items: {}", path.display(), shown(.first, *.count))]
    Missing {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first few.
        first: Vec<String>,
    },
}

fn shown(first: &[String], count: usize) -> String {
    let more = if count > first.len() { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

#[derive(Deserialize)]
struct Row {
    id: String,
    response: String,
}

impl Responses {
    /// Reads a file of answers. Other keys than `id` and `response` are passed by.
    ///
    /// # Errors
    /// The file can't be read; the first line that is no answer or answers an
    /// item again.
    pub fn read(path: &Path) -> Result<Self, ResponsesError> {
        let io = |source| ResponsesError::Io { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(io)?;
        let mut by_id = HashMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong =
                |message| ResponsesError::Row { path: path.to_owned(), line: at + 1, message };
            let row: Row = serde_json::from_str(line).map_err(|error| {
                wrong(format!("not a row {{\"id\": …, \"response\": …}}: {error}"))
            })?;
            if row.response.trim().is_empty() {
                return Err(wrong(format!("the response to {} is blank", row.id)));
            }
            let id = row.id.clone();
            if by_id.insert(row.id, (at + 1, row.response)).is_some() {
                return Err(wrong(format!("{id} has a response already: keep one of the two")));
            }
        }
        Ok(Self { path: path.to_owned(), by_id })
    }

    /// Gives each item its answer. `known` names every item of the set, since
    /// `items` may be some of them.
    ///
    /// # Errors
    /// An item has no answer, or an answer no item.
    pub fn give(&self, items: &mut [Item], known: &[String]) -> Result<(), ResponsesError> {
        let path = || self.path.clone();
        let mut unknown: Vec<(usize, &str)> = self
            .by_id
            .iter()
            .filter(|(id, _)| !known.contains(id))
            .map(|(id, (line, _))| (*line, id.as_str()))
            .collect();
        unknown.sort_unstable();
        if let Some(&(line, id)) = unknown.first() {
            let near = closest(id, known.iter().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            let message = format!("the set has no item {id:?}{hint}");
            return Err(ResponsesError::Row { path: path(), line, message });
        }
        let mut missing = Vec::new();
        let mut keys = Keys::default();
        for item in items {
            let id = item.id.as_deref().unwrap_or_default();
            match self.by_id.get(id) {
                Some((_, response)) => item.response = Some(response.clone()),
                None => missing.push(id.to_owned()),
            }
            item.key = keys.next(&item.messages, item.response.as_deref(), None);
        }
        let count = missing.len();
        missing.truncate(SHOWN);
        if count > 0 {
            return Err(ResponsesError::Missing { path: path(), count, first: missing });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["a", "b:x", "b:y"];

    fn item(id: &str) -> Item {
        Item { id: Some(id.to_owned()), ..Item::of_prompt(format!("about {id}")) }
    }

    /// The answers that items get from a file, or what is said against it.
    fn given(file: &str, items: &[&str]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        fs::write(&path, file).unwrap();
        let known = KNOWN.map(str::to_owned);
        let mut items: Vec<Item> = items.iter().map(|id| item(id)).collect();
        let without: Vec<String> = items.iter().map(|item| item.key.clone()).collect();
        Responses::read(&path)
            .and_then(|responses| responses.give(&mut items, &known))
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "r.jsonl"))?;
        assert!(items.iter().all(|item| !without.contains(&item.key)), "keys hold the answer");
        Ok(items.into_iter().map(|item| item.response.unwrap()).collect())
    }

    #[test]
    fn answers_find_their_items() {
        let file = "{\"id\": \"b:x\", \"response\": \"X\", \"steps\": []}\n\n\
                    {\"id\": \"a\", \"response\": \"A\"}\n";
        assert_eq!(given(file, &["a", "b:x"]), Ok(vec!["A".to_owned(), "X".to_owned()]));
        assert_eq!(given(file, &["a"]), Ok(vec!["A".to_owned()]));
    }

    #[test]
    fn what_fits_no_item_is_told() {
        for (file, expected) in [
            (r#"{"id": "a", "response": " "}"#, "r.jsonl:1: the response to a is blank"),
            (
                "{\"id\": \"a\", \"response\": \"A\"}\n{\"id\": \"a\", \"response\": \"B\"}",
                "r.jsonl:2: a has a response already: keep one of the two",
            ),
            (
                "{\"id\": \"a\", \"response\": \"A\"}\n{\"id\": \"b:z\", \"response\": \"B\"}",
                "r.jsonl:2: the set has no item \"b:z\"; did you mean \"b:x\"?",
            ),
            (
                r#"{"id": "a", "response": "A"}"#,
                "r.jsonl has no response for 2 of the items: b:x, b:y",
            ),
        ] {
            assert_eq!(given(file, &KNOWN).unwrap_err(), expected);
        }
        let error = given("[]", &KNOWN).unwrap_err();
        assert!(
            error.starts_with("r.jsonl:1: not a row {\"id\": …, \"response\": …}: "),
            "{error}"
        );
    }
}
