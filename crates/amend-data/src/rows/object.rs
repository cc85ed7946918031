//! Reads a file that is one JSON object: a row, lists of rows under one or more keys, or a table by
//! rows or columns, as pandas writes it. Such a file is in memory as a whole.

use std::io::Cursor;
use std::sync::Arc;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Object;
use super::elements::{Around, Elements, end_of_value, first_element, lines};
use super::fault::ReadProblem;
use super::kind::Arrangement;
use super::parse;
use super::reader::{Original, Place, Row};

/// Keys that usually hold the list of rows.
const LISTS: [&str; 16] = [
    "data",
    "rows",
    "examples",
    "instances",
    "items",
    "records",
    "samples",
    "entries",
    "results",
    "prompts",
    "questions",
    "train",
    "test",
    "validation",
    "dev",
    "eval",
];

/// Keys of lists that describe the rows.
const DESCRIPTIONS: [&str; 4] = ["features", "columns", "fields", "index"];

/// Columns of a single row: an object with a text under one of these is a row, whatever
/// lists it has.
const COLUMNS: [&str; 18] = [
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "text",
    "messages",
    "conversations",
    "conversation",
    "chosen",
    "rejected",
    "response",
    "output",
    "completion",
    "answer",
    "goal",
    "context",
    "target",
];

/// Columns of a conversation.
const TURNS: [&str; 3] = ["messages", "conversations", "conversation"];

/// The column of the name of a row's group.
const GROUP: &str = "group";

/// A file that is one JSON object.
pub(super) struct ObjectFile {
    pub arrangement: Arrangement,
    text: Arc<[u8]>,
    /// Where the list of rows begins.
    list: usize,
}

/// The rows of a list under a key, one after another.
pub(super) type List = Elements<Cursor<Arc<[u8]>>>;

/// A row of an object, or its place and what is wrong with it.
pub(super) type ObjectRow = Result<Row, (Place, ReadProblem)>;

/// A key of an object, and the text of its value.
type Entries<'a> = Vec<(String, &'a RawValue)>;

/// Finds out how an object contains rows.
///
/// # Errors
/// The text is not one JSON object, or it has several lists of rows.
pub(super) fn read(text: Vec<u8>) -> Result<ObjectFile, ReadProblem> {
    let (arrangement, list) = match entries(parse::utf8(&text)?) {
        Ok(entries) => {
            let (arrangement, list) = arrangement(&entries)?;
            (arrangement, list.map_or(0, |list| offset(&text, list)))
        }
        Err(error) if error.is_eof() => return Err(ReadProblem::Unclosed),
        // The fault is reported as that of the only row.
        Err(_) => (Arrangement::Row, 0),
    };
    Ok(ObjectFile { arrangement, text: text.into(), list })
}

/// Where `part` begins in `text`, of which it is a part.
fn offset(text: &[u8], part: &RawValue) -> usize {
    part.get().as_ptr() as usize - text.as_ptr() as usize
}

fn entries(text: &str) -> Result<Entries<'_>, serde_json::Error> {
    struct Collect;
    impl<'de> Visitor<'de> for Collect {
        type Value = Entries<'de>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let entries = parser.deserialize_map(Collect)?;
    parser.end()?;
    Ok(entries)
}

/// How an object contains rows, and their list if they are in one.
fn arrangement<'a>(
    entries: &Entries<'a>,
) -> Result<(Arrangement, Option<&'a RawValue>), ReadProblem> {
    let get = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, value)| *value);
    if let (Some(columns), Some(data)) = (get("columns"), get("data"))
        && starts_with(columns, b'[')
        && first_element(data.get().as_bytes()).starts_with(b"[")
    {
        return Ok((Arrangement::Table, None));
    }
    if is_lists(entries) {
        return Ok((Arrangement::Lists, None));
    }
    if !entries.iter().any(|(key, value)| is_column(key) && starts_with(value, b'"')) {
        let mut lists: Vec<_> = entries.iter().filter(|(key, value)| is_list(key, value)).collect();
        if lists.len() > 1 {
            lists.retain(|(key, _)| !DESCRIPTIONS.contains(&key.as_str()));
        }
        if lists.len() > 1
            && lists.len() == entries.len()
            && !lists.iter().any(|(key, _)| LISTS.contains(&key.as_str()))
        {
            return Ok((Arrangement::Groups, None));
        }
        match lists.as_slice() {
            [] => {}
            [(key, value)] => return Ok((Arrangement::List(key.clone()), Some(value))),
            several => {
                let keys = several.iter().map(|(key, _)| key.clone()).collect();
                return Err(ReadProblem::SeveralLists { keys });
            }
        }
    }
    let is_every =
        |byte| !entries.is_empty() && entries.iter().all(|(_, value)| starts_with(value, byte));
    let arrangement = if is_every(b'{') { by_label(entries) } else { Arrangement::Row };
    Ok((arrangement, None))
}

fn is_column(key: &str) -> bool {
    COLUMNS.iter().any(|column| key.eq_ignore_ascii_case(column))
}

fn starts_with(value: &RawValue, byte: u8) -> bool {
    value.get().as_bytes().first() == Some(&byte)
}

/// Whether a value is a list of rows. A list of turns is not; a list of texts only is if
/// its key says so.
fn is_list(key: &str, value: &RawValue) -> bool {
    if !starts_with(value, b'[') {
        return false;
    }
    let is_known = LISTS.contains(&key);
    match serde_json::from_slice(first_element(value.get().as_bytes())) {
        Ok(Value::Object(first)) => is_known || !(is_column(key) || is_turn(&first)),
        Ok(Value::String(_)) => is_known,
        // An empty list has no first element.
        _ => key == "data" || key == "rows",
    }
}

fn is_turn(object: &Object) -> bool {
    let has = |keys: [&str; 3]| keys.iter().any(|key| object.contains_key(*key));
    has(["role", "from", "speaker"]) && has(["content", "value", "text"])
}

/// The arrangement of an object whose values are all objects.
fn by_label(entries: &Entries<'_>) -> Arrangement {
    let is_label = |key: &str| key.parse::<u64>().is_ok();
    let keys = |value: &RawValue| -> Vec<String> {
        let entries = self::entries(value.get()).unwrap_or_default();
        entries.into_iter().map(|(key, _)| key).collect()
    };
    let first = keys(entries[0].1);
    let outer_labels = entries.iter().all(|(key, _)| is_label(key));
    if outer_labels {
        return Arrangement::Labelled;
    }
    let same = entries.iter().all(|(_, value)| keys(value) == first);
    if same && !first.is_empty() && first.iter().all(|key| is_label(key)) {
        return Arrangement::Columns;
    }
    let named = entries.len() > 1 && same && !entries.iter().any(|(key, _)| is_column(key));
    if named { Arrangement::Labelled } else { Arrangement::Row }
}

/// Whether all values are lists of as many scalars: a table by columns. A single list is one
/// if its key is the name of a column.
fn is_lists(entries: &Entries<'_>) -> bool {
    let mut length = None;
    // Turns may be alternating texts.
    let is_text_column = |key: &str| is_column(key) && !TURNS.contains(&key);
    let is_table = match entries.as_slice() {
        [(key, _)] => is_text_column(key),
        entries => {
            !entries.is_empty() && !entries.iter().all(|(key, _)| LISTS.contains(&key.as_str()))
        }
    };
    is_table
        && entries.iter().all(|(_, value)| {
            let Ok(values) = serde_json::from_str::<Vec<Value>>(value.get()) else { return false };
            let scalars = values.iter().all(|value| !value.is_array() && !value.is_object());
            scalars && !values.is_empty() && *length.get_or_insert(values.len()) == values.len()
        })
}

impl ObjectFile {
    /// Whether the object is on one line.
    pub fn is_one_line(&self) -> bool {
        !self.text.trim_ascii().contains(&b'\n')
    }

    /// The text of the file.
    pub fn into_text(self) -> Arc<[u8]> {
        self.text
    }

    /// The text before the elements of the list, and after them.
    pub fn around_list(&self) -> (Arc<[u8]>, Arc<[u8]>) {
        let end =
            end_of_value(&self.text[self.list..]).map_or(self.text.len(), |end| self.list + end);
        (self.text[..=self.list].into(), self.text[end.saturating_sub(1)..].into())
    }

    /// The rows of a list under a key.
    pub fn list(&self) -> List {
        let mut text = Cursor::new(Arc::clone(&self.text));
        text.set_position(self.list as u64);
        Elements::new(text, Around::List, 1 + lines(&self.text[..self.list]))
    }

    /// The rows of any other arrangement.
    ///
    /// # Errors
    /// The object is not as its arrangement says.
    pub fn rows(&self) -> Result<Vec<ObjectRow>, ReadProblem> {
        let row = |place, object| Row { place, object, original: Original::None };
        let text = self.text.trim_ascii_start();
        let first_line = 1 + lines(&self.text[..self.text.len() - text.len()]);
        if self.arrangement == Arrangement::Row {
            let place = Place::Line(first_line);
            let text = text.trim_ascii_end();
            let object = parse::row(text, first_line);
            return Ok(vec![match object {
                Ok(object) => {
                    let original = Original::Text(parse::utf8(text)?.to_owned());
                    Ok(Row { place, object, original })
                }
                Err(problem) => Err((place, problem)),
            }]);
        }
        let entries = entries(parse::utf8(&self.text)?)
            .map_err(|error| parse::json_problem(&self.text, 1, &error))?;
        match self.arrangement {
            Arrangement::Labelled => return Ok(self.labelled(&entries)),
            Arrangement::Groups => return self.groups(&entries),
            _ => {}
        }
        let mut table = Vec::new();
        for (column, value) in &entries {
            let values = parse::value(value.get())
                .map_err(|error| parse::json_problem(value.get().as_bytes(), 1, &error))?;
            table.push((column.as_str(), values));
        }
        let rows = match self.arrangement {
            Arrangement::Table => from_table(table)?,
            _ => from_columns(table),
        };
        let numbered = (1..).zip(rows).map(|(number, object)| Ok(row(Place::Row(number), object)));
        Ok(numbered.collect())
    }

    fn labelled(&self, entries: &Entries<'_>) -> Vec<ObjectRow> {
        // A number is a position, and a name is an id.
        let rows = entries.iter().map(|(label, value)| {
            (if label.parse::<u64>().is_ok() { None } else { Some(("id", label)) }, *value)
        });
        self.named(rows)
    }

    fn groups(&self, entries: &Entries<'_>) -> Result<Vec<ObjectRow>, ReadProblem> {
        let mut rows = Vec::new();
        for (group, list) in entries {
            let values: Vec<&RawValue> = serde_json::from_str(list.get())
                .map_err(|error| parse::json_problem(list.get().as_bytes(), 1, &error))?;
            rows.extend(values.into_iter().map(|value| (Some((GROUP, group)), value)));
        }
        Ok(self.named(rows))
    }

    /// The rows with these texts, each with a column for its name if it has none of that kind.
    fn named<'a>(
        &self,
        values: impl IntoIterator<Item = (Option<(&'a str, &'a String)>, &'a RawValue)>,
    ) -> Vec<ObjectRow> {
        let (mut line, mut before) = (1, 0);
        let mut rows = Vec::new();
        for (name, value) in values {
            let at = offset(&self.text, value);
            line += lines(&self.text[before..at]);
            before = at;
            let place = Place::Line(line);
            rows.push(match parse::row(value.get().as_bytes(), line) {
                Ok(mut object) => {
                    if let Some((column, name)) = name
                        && !object.contains_key(column)
                    {
                        object.insert(column.to_owned(), Value::String(name.clone()));
                    }
                    Ok(Row { place, object, original: Original::None })
                }
                Err(problem) => Err((place, problem)),
            });
        }
        rows
    }
}

/// The rows of columns that are lists, or objects with a value for each label.
fn from_columns(table: Vec<(&str, Value)>) -> Vec<Object> {
    let mut rows: Vec<Object> = Vec::new();
    for (column, values) in table {
        let values: Vec<Value> = match values {
            Value::Array(values) => values,
            Value::Object(values) => values.into_iter().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        };
        rows.resize_with(rows.len().max(values.len()), Object::new);
        for (row, value) in rows.iter_mut().zip(values) {
            row.insert(column.to_owned(), value);
        }
    }
    rows
}

/// The rows of a list of names and a list of lists of values.
fn from_table(table: Vec<(&str, Value)>) -> Result<Vec<Object>, ReadProblem> {
    let (mut names, mut data) = (Vec::new(), Vec::new());
    for (key, value) in table {
        match (key, value) {
            ("columns", Value::Array(values)) => names = values,
            ("data", Value::Array(values)) => data = values,
            _ => {}
        }
    }
    let name = |name: &Value| name.as_str().map_or_else(|| name.to_string(), str::to_owned);
    let names: Vec<String> = names.iter().map(name).collect();
    let mut rows = Vec::new();
    for values in data {
        let found = values.as_array().map_or(0, Vec::len);
        if found != names.len() {
            return Err(ReadProblem::Header {
                problem: format!("`columns` has {} names, and a row {found} values", names.len()),
            });
        }
        let Value::Array(values) = values else { continue };
        rows.push(names.iter().cloned().zip(values).collect());
    }
    Ok(rows)
}
