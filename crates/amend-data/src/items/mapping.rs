//! What `--map` says about the columns of rows, for what [`crate::format::Columns`] does not
//! know: columns that are ignored, and those that shapes do not read.

use serde_json::Value;

use crate::format::example::Example;
use crate::format::{Columns, RowFault};
use crate::rows::Object;

/// The names of columns that [`super::ItemOptions::map`] can give.
pub const MAPPED: [&str; 10] =
    ["prompt", "system", "response", "chosen", "rejected", "a", "b", "label", "id", "category"];

/// The column in a map that stands for none.
pub const IGNORED: &str = "-";

/// Names that shapes do not read.
const UNSHAPED: [&str; 2] = ["id", "category"];

/// Names of columns without which a row cannot be read if they are mapped.
const NEEDED: [&str; 5] = ["prompt", "chosen", "rejected", "a", "b"];

/// What a map says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping {
    map: Vec<(String, String)>,
    /// The columns by the names that shapes know.
    pub(crate) columns: Columns,
    /// The columns that shapes do not see.
    hidden: Vec<String>,
    /// Whether the only answer of a row is not used.
    pub(crate) ignores_response: bool,
}

/// A row, without the columns that shapes do not see.
#[derive(Debug, Default)]
pub(crate) struct Split {
    pub(crate) visible: Object,
    pub(crate) aside: Object,
}

impl Split {
    /// The names of all columns.
    pub(crate) fn names(&self) -> Vec<String> {
        self.visible.keys().chain(self.aside.keys()).cloned().collect()
    }
}

impl Mapping {
    /// # Errors
    /// A name that no shape has.
    pub(crate) fn new(map: &[(String, String)]) -> Result<Self, RowFault> {
        let mut mapping = Self { map: map.to_vec(), ..Self::default() };
        let mut shaped = Vec::new();
        let mut all = Object::new();
        for (name, column) in map {
            if column == IGNORED && name == "response" {
                mapping.ignores_response = true;
            } else if column == IGNORED {
                mapping.hidden.push(name.clone());
            } else if !UNSHAPED.contains(&name.as_str()) {
                shaped.push((name.clone(), column.clone()));
                all.insert(column.clone(), Value::Null);
            }
            if name == "prompt" {
                // A list of user turns would be read instead of the prompt.
                mapping.hidden.push("turns".to_owned());
            }
        }
        // Whether rows have the columns is checked for each row.
        mapping.columns = Columns::new(&all, &shaped)?;
        Ok(mapping)
    }

    /// Whether columns are mapped.
    pub(crate) fn maps(&self) -> bool {
        !self.map.is_empty()
    }

    /// The column that is mapped to a name.
    pub(crate) fn column(&self, name: &str) -> Option<&str> {
        let column = self.map.iter().find(|(known, _)| known == name);
        column.map(|(_, column)| column.as_str()).filter(|column| *column != IGNORED)
    }

    /// A mapped column that is not among `seen`, the columns of the whole input.
    pub(crate) fn missing<'a>(&'a self, seen: &[String]) -> Option<&'a str> {
        let columns = self.map.iter().map(|(_, column)| column);
        let mut missing = columns.filter(|column| *column != IGNORED && !seen.contains(column));
        missing.next().map(String::as_str)
    }

    /// Splits a row.
    ///
    /// # Errors
    /// A mapped column that is needed is missing.
    pub(crate) fn split(&self, object: Object) -> Result<Split, RowFault> {
        for (name, column) in &self.map {
            let is_missing = object.get(column).is_none_or(Value::is_null);
            if NEEDED.contains(&name.as_str()) && column != IGNORED && is_missing {
                let (column, keys) = (column.clone(), object.keys().cloned().collect());
                return Err(RowFault::NoColumn { column, keys });
            }
        }
        let is_hidden = |key: &str| {
            let is_mapped = || self.map.iter().any(|(_, column)| column == key);
            self.hidden.iter().any(|name| name.eq_ignore_ascii_case(key)) && !is_mapped()
        };
        if self.hidden.is_empty() || !object.keys().any(|key| is_hidden(key)) {
            return Ok(Split { visible: object, aside: Object::new() });
        }
        let mut split = Split::default();
        for (key, value) in object {
            let part = if is_hidden(&key) { &mut split.aside } else { &mut split.visible };
            part.insert(key, value);
        }
        Ok(split)
    }

    /// Recognises the shape of a row, and reads the row in it. Returns the name of the shape.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub(crate) fn read(&self, split: &Split) -> Result<(&'static str, Example), RowFault> {
        self.columns.example(&split.visible).map_err(|fault| match fault {
            RowFault::Unknown { .. } => RowFault::Unknown { keys: split.names() },
            other => other,
        })
    }

    /// Reads a row that stays as it is. See [`Self::read`].
    ///
    /// # Errors
    /// What is wrong with the row, or a mapped column that is needed is missing.
    pub(crate) fn example(&self, row: &Object) -> Result<(&'static str, Example), RowFault> {
        if self.maps() { self.read(&self.split(row.clone())?) } else { self.columns.example(row) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapping(pairs: &[(&str, &str)]) -> Mapping {
        let map: Vec<_> =
            pairs.iter().map(|(name, column)| ((*name).into(), (*column).into())).collect();
        Mapping::new(&map).unwrap()
    }

    /// The columns that shapes see, and those that they don't see.
    fn split(pairs: &[(&str, &str)], row: Value) -> [String; 2] {
        let split = mapping(pairs).split(row.as_object().unwrap().clone()).unwrap();
        [split.visible, split.aside].map(|part| part.keys().cloned().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn shapes_do_not_see_ignored_columns() {
        let row = json!({"prompt": "p", "Label": "x", "id": 1});
        assert_eq!(split(&[], row.clone()), ["prompt Label id", ""]);
        assert_eq!(split(&[("label", "-")], row), ["prompt id", "Label"]);
        let row = json!({"goal": "g", "turns": ["t"], "x": 1});
        assert_eq!(split(&[("prompt", "goal")], row.clone()), ["goal x", "turns"]);
        assert_eq!(split(&[("prompt", "turns")], row), ["goal turns x", ""]);
    }

    #[test]
    fn a_missing_column_is_a_fault_if_it_is_needed() {
        let row = json!({"prompt": "p", "x": null}).as_object().unwrap().clone();
        let fault = mapping(&[("prompt", "x")]).split(row.clone()).unwrap_err().to_string();
        assert_eq!(fault, "--map names the column \"x\", but the columns are \"prompt\", \"x\"");
        let id = mapping(&[("id", "y"), ("response", "-")]);
        assert!(id.split(row).is_ok() && id.ignores_response);
        assert_eq!(id.missing(&["prompt".to_owned()]), Some("y"));
        assert_eq!(id.missing(&["y".to_owned()]), None);
    }
}
