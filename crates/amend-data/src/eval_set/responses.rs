//! Responses from a file: JSON lines with the `id` of an item and its `response`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

use amend_core::document::diagnostic::closest;
use amend_core::record::{Item, Keys};
use amend_core::text::format::first_of;

/// The most ids that an error lists.
const SHOWN: usize = 5;

/// Responses by the id of their item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Responses {
    path: PathBuf,
    by_id: HashMap<String, (usize, String)>,
}

/// An error of a file of responses.
#[derive(Debug, thiserror::Error)]
pub enum ResponsesError {
    /// The file can't be read.
    #[error("failed to read the responses {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line is not a valid response.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and how to fix it.
        message: String,
    },
    /// Items have no response.
    #[error("{} has no response for {count} items: {}", path.display(), first_of(.first, *.count))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The number of items without a response.
        count: usize,
        /// The ids of the first few.
        first: Vec<String>,
    },
}

#[derive(Deserialize)]
struct Row {
    id: String,
    response: String,
}

impl Responses {
    /// Reads a file of responses. Ignores all keys except `id` and `response`.
    ///
    /// # Errors
    /// The file can't be read, a line is invalid, or an item has two responses. Only the
    /// first error is reported.
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
                return Err(wrong(format!("{id} already has a response: keep one of the two")));
            }
        }
        Ok(Self { path: path.to_owned(), by_id })
    }

    /// Sets the response of each item. `known` has the ids of all items of the set; `items`
    /// may be only some of them.
    ///
    /// # Errors
    /// An item has no response, or the id of a response is unknown.
    pub fn give(&self, items: &mut [Item], known: &[String]) -> Result<(), ResponsesError> {
        let path = || self.path.clone();
        let known_ids: HashSet<&str> = known.iter().map(String::as_str).collect();
        let unknown = self.by_id.iter().filter(|(id, _)| !known_ids.contains(id.as_str()));
        let first_unknown = unknown.map(|(id, (line, _))| (*line, id.as_str())).min();
        if let Some((line, id)) = first_unknown {
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

    /// The responses that items get from a file, or the error.
    fn given(file: &str, items: &[&str]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        fs::write(&path, file).unwrap();
        let known = KNOWN.map(str::to_owned);
        let mut items: Vec<Item> = items.iter().map(|id| item(id)).collect();
        let keys_before: Vec<String> = items.iter().map(|item| item.key.clone()).collect();
        Responses::read(&path)
            .and_then(|responses| responses.give(&mut items, &known))
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "r.jsonl"))?;
        assert!(items.iter().all(|item| !keys_before.contains(&item.key)), "keys are unchanged");
        Ok(items.into_iter().map(|item| item.response.unwrap()).collect())
    }

    #[test]
    fn responses_are_matched_to_items_by_id() {
        let file = "{\"id\": \"b:x\", \"response\": \"X\", \"steps\": []}\n\n\
                    {\"id\": \"a\", \"response\": \"A\"}\n";
        assert_eq!(given(file, &["a", "b:x"]), Ok(vec!["A".to_owned(), "X".to_owned()]));
        assert_eq!(given(file, &["a"]), Ok(vec!["A".to_owned()]));
    }

    #[test]
    fn many_responses_are_matched_in_linear_time() {
        const ITEMS: usize = 200_000;
        let known: Vec<String> = (0..ITEMS).map(|at| format!("item-{at}")).collect();
        let by_id = known.iter().map(|id| (id.clone(), (1, "A".to_owned()))).collect();
        let responses = Responses { path: PathBuf::from("r.jsonl"), by_id };
        let start = std::time::Instant::now();
        responses.give(&mut [item("item-7")], &known).unwrap();
        // Comparing every id with every other takes 20 billion string comparisons.
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn invalid_unknown_and_missing_responses_are_reported() {
        for (file, expected) in [
            (r#"{"id": "a", "response": " "}"#, "r.jsonl:1: the response to a is blank"),
            (
                "{\"id\": \"a\", \"response\": \"A\"}\n{\"id\": \"a\", \"response\": \"B\"}",
                "r.jsonl:2: a already has a response: keep one of the two",
            ),
            (
                "{\"id\": \"a\", \"response\": \"A\"}\n{\"id\": \"b:z\", \"response\": \"B\"}",
                "r.jsonl:2: the set has no item \"b:z\"; did you mean \"b:x\"?",
            ),
            (r#"{"id": "a", "response": "A"}"#, "r.jsonl has no response for 2 items: b:x, b:y"),
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
