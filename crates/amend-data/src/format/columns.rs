//! What a file calls the columns of shapes: names in any case, with spaces or hyphens for
//! underscores, and the names that the user gives with `--map`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::Value;

use super::comparison;
use super::example::{Example, Object};
use super::fault::RowFault;
use super::fields::{ANSWERS, PROMPTS, SHARED, pointer};
use super::read::{SHAPES, Shape, recognise};

/// Every name that a shape has for a column.
static KNOWN: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let own = SHAPES.iter().flat_map(|shape| shape.facts().columns);
    let shared = SHARED.into_iter().flatten();
    own.chain(shared).copied().chain(comparison::columns()).collect()
});

/// Names of which a shape reads one group or the other: if the user maps a name of the first
/// group, the file's columns of the second are only metadata. Other columns may hold the
/// prompt or an answer, but the user has said which one does.
const INSTEAD: [(&[&str], &[&str]); 4] = [
    (&PROMPTS, &PROMPTS),
    (&ANSWERS, &ANSWERS),
    (&["a", "b"], &["chosen", "rejected"]),
    (&["chosen", "rejected"], &["a", "b"]),
];

/// The names that the user gives to columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// What shapes call a column, and what the file calls it.
    map: Vec<(String, String)>,
}

impl Columns {
    /// The columns of a file. `map` has pairs of what shapes call a column and what the
    /// file calls it; `first` is the first row, which must have these columns.
    ///
    /// # Errors
    /// Fails if no shape has a name, or the row does not have a column.
    pub fn new(first: &Object, map: &[(String, String)]) -> Result<Self, RowFault> {
        for (name, column) in map {
            if !KNOWN.contains(name.as_str()) {
                return Err(RowFault::NoName { name: name.clone() });
            }
            if let Some((other, _)) =
                map.iter().find(|(other, same)| same == column && other != name)
            {
                let names = [name.clone(), other.clone()];
                return Err(RowFault::Mapped { column: column.clone(), names });
            }
            if !first.contains_key(column) {
                let keys = first.keys().cloned().collect();
                return Err(RowFault::NoColumn { column: column.clone(), keys });
            }
        }
        Ok(Self { map: map.to_vec() })
    }

    /// Renames the columns of a row to what shapes call them. Nulls are left out: a table has
    /// them where a row has no value.
    ///
    /// # Errors
    /// Fails with [`RowFault::Ambiguous`] if two columns have the same name.
    pub fn rename<'a>(&self, row: &'a Object) -> Result<Renamed<'a>, RowFault> {
        let is_plain_row = |(key, value): (&String, &Value)| is_plain(key) && !value.is_null();
        if self.map.is_empty() && row.iter().all(is_plain_row) {
            return Ok(Renamed { row: Cow::Borrowed(row), names: Vec::new() });
        }
        let mut renamed = Object::with_capacity(row.len());
        let mut names: Vec<(String, String)> = Vec::new();
        for (key, value) in row {
            if value.is_null() {
                continue;
            }
            let Some(name) = self.name(key) else { continue };
            if let Some(other) = names.iter().find(|(known, _)| *known == name) {
                let columns = vec![other.1.clone(), key.clone()];
                return Err(RowFault::Ambiguous { name: name.into_owned(), columns });
            }
            renamed.insert(name.to_string(), value.clone());
            names.push((name.into_owned(), key.clone()));
        }
        Ok(Renamed { row: Cow::Owned(renamed), names })
    }

    /// What shapes call a column: its own name if no shape knows it, and `None` if the user
    /// gave its name to another column.
    fn name<'k>(&self, key: &'k str) -> Option<Cow<'k, str>> {
        if let Some((name, _)) = self.map.iter().find(|(_, column)| column == key) {
            return Some(Cow::Owned(name.clone()));
        }
        let name = canonical(key);
        let replaced = self.map.iter().any(|(mapped, _)| {
            let instead = |(read, unread): &(&[&str], &[&str])| {
                read.contains(&mapped.as_str()) && unread.contains(&name.as_ref())
            };
            *mapped == name || INSTEAD.iter().any(instead)
        });
        if replaced { None } else { Some(name) }
    }

    /// Recognises the shape of a row. See [`recognise`].
    ///
    /// # Errors
    /// Fails if no shape has the row's columns, or two columns have the same name.
    pub fn recognise(&self, row: &Object) -> Result<(&'static dyn Shape, &'static str), RowFault> {
        recognise(self.rename(row)?.row()).map_err(|fault| match fault {
            RowFault::Unknown { .. } => RowFault::Unknown { keys: row.keys().cloned().collect() },
            other => other,
        })
    }

    /// Reads a row in a shape. Places and names of columns are those of the row.
    ///
    /// # Errors
    /// Fails if the row is not of the shape, or two columns have the same name.
    pub fn read(&self, shape: &dyn Shape, row: &Object) -> Result<Example, RowFault> {
        self.rename(row)?.read(shape)
    }

    /// Recognises the shape of a row, and reads the row in it. Returns the name of the shape.
    ///
    /// # Errors
    /// Fails as [`Self::recognise`] and [`Self::read`] do.
    pub fn example(&self, row: &Object) -> Result<(&'static str, Example), RowFault> {
        let renamed = self.rename(row)?;
        let unknown = |fault| match fault {
            RowFault::Unknown { .. } => RowFault::Unknown { keys: row.keys().cloned().collect() },
            other => other,
        };
        let (shape, name) = recognise(renamed.row()).map_err(unknown)?;
        Ok((name, renamed.read(shape)?))
    }

    /// Whether a shape has this column, whatever its case, or the user named it.
    #[must_use]
    pub fn is_known(&self, key: &str) -> bool {
        self.map.iter().any(|(_, column)| column == key) || KNOWN.contains(canonical(key).as_ref())
    }
}

/// Whether a name is its canonical form.
fn is_plain(key: &str) -> bool {
    !key.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b' ' || byte == b'-')
}

/// The name of a column in lower case and with underscores, if a shape knows that name, and
/// the column's own name otherwise.
fn canonical(key: &str) -> Cow<'_, str> {
    if is_plain(key) {
        return Cow::Borrowed(key);
    }
    let lower = key.trim().to_ascii_lowercase();
    if KNOWN.contains(lower.as_str()) {
        return Cow::Owned(lower);
    }
    let name = lower.replace([' ', '-'], "_");
    if KNOWN.contains(name.as_str()) { Cow::Owned(name) } else { Cow::Borrowed(key) }
}

/// A row with the names that shapes have for its columns.
#[derive(Debug)]
pub struct Renamed<'a> {
    row: Cow<'a, Object>,
    /// What shapes call each column, and what the row calls it. Empty if nothing changed.
    names: Vec<(String, String)>,
}

impl Renamed<'_> {
    /// The renamed row.
    #[must_use]
    pub fn row(&self) -> &Object {
        &self.row
    }

    /// Reads the row in a shape. Places and names of columns are those of the original row.
    ///
    /// # Errors
    /// Fails if the row is not of the shape.
    pub fn read(&self, shape: &dyn Shape) -> Result<Example, RowFault> {
        let example = no_media(&self.row).and_then(|()| shape.read(&self.row));
        if self.names.is_empty() {
            return example;
        }
        let mut example = example
            .map_err(|fault| fault.renamed(|key| self.original(&key), |at| self.place(&at)))?;
        for name in &mut example.used {
            *name = self.original(name);
        }
        example.each_turn_mut(|turn| {
            for place in &mut turn.places {
                place.pointer = self.place(&place.pointer);
            }
        });
        Ok(example)
    }

    fn original(&self, name: &str) -> String {
        let column = self.names.iter().find(|(known, _)| known == name);
        column.map_or(name, |(_, column)| column).to_owned()
    }

    /// The JSON pointer in the original row of a pointer in the renamed one.
    fn place(&self, at: &str) -> String {
        let inner = at.strip_prefix('/').unwrap_or(at);
        let (name, rest) = inner.split_at(inner.find('/').unwrap_or(inner.len()));
        format!("{}{rest}", pointer(&self.original(name)))
    }
}

/// Refuses a row whose texts are about images, videos or sound in columns of their own.
fn no_media(row: &Object) -> Result<(), RowFault> {
    for (key, kind) in [("images", "image"), ("videos", "video"), ("audios", "audio")] {
        let Some((key, value)) = row.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)) else {
            continue;
        };
        let has_some = match value {
            Value::Null => false,
            Value::Array(values) => values.iter().any(|value| !value.is_null()),
            Value::String(text) => !text.trim().is_empty() && text.trim() != "[]",
            _ => true,
        };
        if has_some {
            return Err(RowFault::Part { pointer: pointer(key), kind: kind.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(row: Value) -> Object {
        serde_json::from_value(row).unwrap()
    }

    fn map(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, column)| (name.to_owned(), column.to_owned())).collect()
    }

    /// The texts with their pointers, and the columns used.
    fn read(row: Value, names: &[(&str, &str)]) -> Result<(Vec<String>, Vec<String>), String> {
        let row = object(row);
        let columns = Columns::new(&row, &map(names)).map_err(|fault| fault.to_string())?;
        let shape = columns.recognise(&row).map_err(|fault| fault.to_string())?.0;
        let mut example = columns.read(shape, &row).map_err(|fault| fault.to_string())?;
        let mut texts = Vec::new();
        example.each_turn_mut(|turn| {
            let at: Vec<&str> = turn.places.iter().map(|place| place.pointer.as_str()).collect();
            texts.push(format!("{} at {}", turn.text, at.join(" ")));
        });
        Ok((texts, example.used))
    }

    #[test]
    fn names_are_found_in_any_case_and_lead_back_to_the_row() {
        let row =
            json!({"Prompt": "q", "Response A": "r", "response-B": "w", "Label": "A>B", "ID": 1});
        let (texts, used) = read(row, &[]).unwrap();
        assert_eq!(texts, ["q at /Prompt", "r at /Response A", "w at /response-B"]);
        assert_eq!(used, ["Prompt", "Response A", "response-B", "Label"]);
    }

    #[test]
    fn the_users_names_replace_the_files() {
        let row = json!({"prompt": "title", "question": "other", "my/goal": "q", "target": "r"});
        let (texts, used) = read(row, &[("prompt", "my/goal"), ("response", "target")]).unwrap();
        assert_eq!(texts, ["q at /my~1goal", "r at /target"]);
        assert_eq!(used, ["target", "my/goal"]);
    }

    #[test]
    fn a_mapped_answer_leaves_the_other_one_and_hides_another_pair() {
        let row = json!({"prompt": "q", "first": "r", "b": "w", "chosen": "x", "rejected": "y"});
        let (texts, used) = read(row, &[("a", "first")]).unwrap();
        assert_eq!(texts, ["q at /prompt", "r at /first", "w at /b"]);
        assert_eq!(used, ["prompt", "first", "b"]);
    }

    #[test]
    fn faults_name_the_columns_of_the_row_and_the_fix() {
        let fault = |row, names: &[(&str, &str)]| read(row, names).unwrap_err();
        let twice = json!({"Prompt": "q", "prompt": "r"});
        assert!(fault(twice.clone(), &[]).contains("--map prompt=COLUMN"));
        assert_eq!(read(twice, &[("prompt", "Prompt")]).unwrap().0, ["q at /Prompt"]);
        assert!(fault(json!({"x": 1}), &[("prompt", "y")]).contains("the columns are \"x\""));
        let twice = [("prompt", "x"), ("system", "x")];
        assert!(fault(json!({"x": "q"}), &twice).contains("\"x\" two names, \"prompt\" and"));
        for key in ["images", "Videos", "audios"] {
            let row = json!({"prompt": "q", key: ["a.png"]});
            assert!(fault(row, &[]).contains(&format!("/{key} is of the type")), "{key}");
            assert!(read(json!({"prompt": "q", key: []}), &[]).is_ok(), "{key}");
        }
        assert!(fault(json!({"x": "q"}), &[("promt", "x")]).contains("the name \"promt\""));
        assert!(fault(json!({"Prompt": 3}), &[]).starts_with("/Prompt must be a text"));
        assert!(fault(json!({"X": 3}), &[]).contains("the columns \"X\""));
    }
}
