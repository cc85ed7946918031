//! Responses from a file of rows: each has the `id` of an item and its `response`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::rows::{
    FaultGroups, Input, InputFault, Object, Place, Problem, ReadFault, RowReader, files,
};
use amend_core::document::diagnostic::closest;
use amend_core::record::{Item, Keys};
use amend_core::text::format::first_of;

/// The most ids that an error lists.
const SHOWN: usize = 5;

/// Responses by the id of their item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Responses {
    path: PathBuf,
    by_id: HashMap<String, (Place, String)>,
}

/// An error of a file of responses.
#[derive(Debug, thiserror::Error)]
pub enum ResponsesError {
    /// The file can't be opened.
    #[error(transparent)]
    Open(#[from] ReadFault),
    /// Rows are not valid responses.
    #[error("{0}")]
    Rows(FaultGroups),
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

/// The keys of an id and of a response, in any case.
const IDS: [&str; 1] = ["id"];
const RESPONSES: [&str; 4] = ["response", "output", "answer", "completion"];

/// The value of the first of `keys` that a row has, in any case.
fn get<'a>(row: &'a Object, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|key| {
        let (_, value) = row.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        Some(value)
    })
}

/// What is wrong with a row, and how to fix it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ResponseProblem {
    #[error("no id: a row is {{\"id\": …, \"response\": …}}")]
    NoId,
    #[error("no response to {id} under {}", RESPONSES.join(", "))]
    NoResponse { id: String },
    #[error("the response to {id} is blank")]
    Blank { id: String },
    #[error("the response to {id} is not a text")]
    NoText { id: String },
    #[error("{id} already has a response: keep one of the two")]
    Twice { id: String },
    #[error(
        "the set has no item {id:?}{}",
        .near.as_ref().map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
    )]
    Unknown { id: String, near: Option<String> },
}

impl Problem for ResponseProblem {
    fn kind(&self) -> String {
        let kind = match self {
            Self::NoId => "no id",
            Self::NoResponse { .. } => "no response",
            Self::Blank { .. } => "the response is blank",
            Self::NoText { .. } => "the response is not a text",
            Self::Twice { .. } => "an item has two responses",
            Self::Unknown { .. } => "the set has no such item",
        };
        kind.to_owned()
    }
}

/// The id and the response of a row.
///
/// # Errors
/// What is wrong, and how to fix it.
fn parse(row: &Object) -> Result<(String, String), ResponseProblem> {
    let id = match get(row, &IDS) {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err(ResponseProblem::NoId),
    };
    match get(row, &RESPONSES) {
        Some(Value::String(response)) if !response.trim().is_empty() => Ok((id, response.clone())),
        // An empty cell of CSV is null.
        Some(Value::String(_) | Value::Null) => Err(ResponseProblem::Blank { id }),
        Some(_) => Err(ResponseProblem::NoText { id }),
        None => Err(ResponseProblem::NoResponse { id }),
    }
}

fn fault(file: &str, place: Place, problem: ResponseProblem) -> InputFault<ResponseProblem> {
    InputFault { file: file.to_owned(), place: Some(place), problem }
}

impl Responses {
    /// Reads a file of responses. Ignores all keys except those of the id and the response.
    ///
    /// # Errors
    /// The file can't be read, rows are invalid, or an item has two responses.
    pub fn read(path: &Path) -> Result<Self, ResponsesError> {
        let mut by_id = HashMap::new();
        let mut faults = FaultGroups::default();
        for file in files(&[Input::from(path.to_owned())])? {
            for row in RowReader::open(&file)? {
                let row = match row {
                    Ok(row) => row,
                    Err(fault) => {
                        faults.add(&fault);
                        continue;
                    }
                };
                let mut wrong = |problem| {
                    faults.add(&fault(&file.name, row.place, problem));
                };
                match parse(&row.object) {
                    Err(problem) => wrong(problem),
                    Ok((id, _)) if by_id.contains_key(&id) => {
                        wrong(ResponseProblem::Twice { id });
                    }
                    Ok((id, response)) => {
                        by_id.insert(id, (row.place, response));
                    }
                }
            }
        }
        if faults.is_empty() {
            Ok(Self { path: path.to_owned(), by_id })
        } else {
            Err(ResponsesError::Rows(faults))
        }
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
        let first_unknown = unknown.map(|(id, (place, _))| (*place, id.as_str())).min();
        if let Some((place, id)) = first_unknown {
            let near = closest(id, known.iter().map(String::as_str)).map(str::to_owned);
            let problem = ResponseProblem::Unknown { id: id.to_owned(), near };
            let mut faults = FaultGroups::default();
            faults.add(&fault(&self.path.display().to_string(), place, problem));
            return Err(ResponsesError::Rows(faults));
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
        std::fs::write(&path, file).unwrap();
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
        for (file, expected) in [
            ("[]", "r.jsonl: the file has no rows"),
            (r#"{"response": "A"}"#, "r.jsonl:1: no id: a row is {\"id\": …, \"response\": …}"),
            (
                r#"{"id": "a", "text": "A"}"#,
                "r.jsonl:1: no response to a under response, output, answer, completion",
            ),
            (r#"{"id": "a", "response": 1}"#, "r.jsonl:1: the response to a is not a text"),
        ] {
            assert_eq!(given(file, &KNOWN).unwrap_err(), expected);
        }
        let two = "{\"id\": \"a\"}\n{\"id\": \n{\"id\": \"b:x\", \"response\": \"\"}";
        assert_eq!(given(two, &KNOWN).unwrap_err().lines().count(), 3);
    }

    #[test]
    fn responses_may_be_in_any_kind_of_file_and_under_usual_keys() {
        let a = Ok(vec!["A".to_owned()]);
        for file in [
            "id,Response\na,A\n",
            "[{\"ID\": \"a\", \"output\": \"A\"}]",
            "{\"id\": \"a\", \"answer\": \"A\"}",
            "{\"id\": \"a\", \"completion\": \"A\"}",
        ] {
            assert_eq!(given(file, &["a"]), a, "{file}");
        }
        assert_eq!(
            parse(&Object::from_iter([
                ("id".to_owned(), 9_007_199_254_740_993_u64.into()),
                ("response".to_owned(), "A".into()),
            ])),
            Ok(("9007199254740993".to_owned(), "A".to_owned()))
        );
    }
}
