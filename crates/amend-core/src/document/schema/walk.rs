//! Validates a TOML tree, which knows the span of each value, against a JSON Schema.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::SourceText;
use super::{ID, TEXT};
use crate::document::diagnostic::{Diagnostic, closest};

/// Reports every violation of `schema` by `tree`. If the text has a syntax error, only
/// the `trusted` bytes before it are validated, and no key is reported as missing, as
/// it may be in the part that can't be parsed.
pub fn walk(
    schema: &Value,
    source: &SourceText,
    tree: &DeTable<'_>,
    trusted: Option<usize>,
) -> Vec<Diagnostic> {
    let mut walker = Walker { schema, source, trusted, errors: Vec::new() };
    walker.table(tree, 0..0, schema, &Slot::root());
    walker.errors
}

struct Walker<'a> {
    schema: &'a Value,
    source: &'a SourceText,
    trusted: Option<usize>,
    errors: Vec<Diagnostic>,
}

/// How messages refer to a value.
struct Slot {
    /// The key, or a description if there is none.
    name: String,
    /// The keys from the root down, joined by dots.
    path: String,
    /// Whether the value is an item of an array.
    item: bool,
}

impl Slot {
    fn root() -> Self {
        Self { name: "the file".into(), path: String::new(), item: false }
    }

    fn key(&self, key: &str) -> Self {
        let path =
            if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { name: format!("`{key}`"), path, item: false }
    }

    fn item(&self) -> Self {
        Self { name: format!("an item of {}", self.name), path: self.path.clone(), item: true }
    }

    /// How messages refer to the value as a table.
    fn table(&self) -> String {
        match (self.path.as_str(), self.item) {
            ("", _) => self.name.clone(),
            (path, true) => format!("`[[{path}]]`"),
            (path, false) => format!("`[{path}]`"),
        }
    }
}

/// The patterns of the schema, and the kind of text that each describes.
const PATTERNS: [(&str, Pattern); 2] = [(ID, Pattern::Id), (TEXT, Pattern::Text)];

#[derive(Clone, Copy)]
enum Pattern {
    Id,
    Text,
}

impl<'a> Walker<'a> {
    fn value(&mut self, node: &Spanned<DeValue<'_>>, schema: &'a Value, slot: &Slot) {
        let schema = self.resolve(schema);
        let span = node.span();
        if !self.trusts(&span) {
            return;
        }
        if let Some(choices) = choices(schema) {
            return self.choice(node, &choices, slot);
        }
        match (schema["type"].as_str(), node.get_ref()) {
            (Some("object"), DeValue::Table(table)) => self.table(table, span, schema, slot),
            (Some("array"), DeValue::Array(array)) => {
                self.length(array.len(), span, schema, slot);
                for item in array.iter() {
                    self.value(item, &schema["items"], &slot.item());
                }
            }
            (Some("string"), DeValue::String(text)) => self.text(text, span, schema, slot),
            (Some("boolean"), DeValue::Boolean(_)) => {}
            (Some("integer"), DeValue::Integer(_))
            | (Some("number"), DeValue::Integer(_) | DeValue::Float(_)) => {
                self.range(node, schema, slot);
            }
            (expected, _) => self.wrong_type(node, expected.unwrap_or_default(), schema, slot),
        }
    }

    fn trusts(&self, span: &Range<usize>) -> bool {
        self.trusted.is_none_or(|end| span.start < end)
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        resolve(self.schema, schema)
    }

    fn table(&mut self, table: &DeTable<'_>, span: Range<usize>, schema: &'a Value, slot: &Slot) {
        let properties = &schema["properties"];
        let known: Vec<&str> =
            properties.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        // A misspelt required key is one error, not two.
        let mut meant = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if !self.trusts(&key.span()) {
                continue;
            }
            if let Some(schema) = properties.get(name) {
                self.value(value, schema, &slot.key(name));
            } else if schema["additionalProperties"].is_object() {
                self.value(value, &schema["additionalProperties"], &slot.key(name));
            } else if schema["additionalProperties"] == false {
                let near = closest(name, known.iter().copied());
                meant.extend(near);
                let hint = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known keys: `{}`", known.join("`, `")),
                };
                let message = format!("unknown key `{name}` in {}", slot.table());
                self.errors.push(self.source.error(key.span(), message).with_hint(hint));
            }
        }
        if self.trusted.is_some() {
            return;
        }
        if schema["minProperties"].as_u64().is_some_and(|min| (table.len() as u64) < min) {
            let message =
                format!("{} must have at least {} keys", slot.table(), schema["minProperties"]);
            self.errors.push(self.source.error(span.clone(), message));
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if table.contains_key(key) || meant.contains(&key) {
                continue;
            }
            let (what, hint) = match self.resolve(&properties[key])["type"].as_str() {
                Some("object") => (format!("`[{key}]`"), format!("add a table `[{key}]`")),
                Some("array") => (format!("`{key}`"), format!("add a table `[[{key}]]`")),
                _ => (format!("`{key}`"), format!("add `{key} = \"…\"`")),
            };
            let message = format!("{} has no {what}", slot.table());
            self.errors.push(self.source.error(span.clone(), message).with_hint(hint));
        }
    }

    fn choice(&mut self, node: &Spanned<DeValue<'_>>, choices: &[&str], slot: &Slot) {
        let message = match node.get_ref().as_str() {
            Some(text) if choices.contains(&text) => return,
            Some(text) => format!("{} can't be {text:?}", slot.name),
            None => type_message(node.get_ref(), "string", slot),
        };
        let near = node.get_ref().as_str().and_then(|text| closest(text, choices.iter().copied()));
        let hint = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("choose one of \"{}\"", choices.join("\", \"")),
        };
        self.errors.push(self.source.error(node.span(), message).with_hint(hint));
    }

    fn length(&mut self, len: usize, span: Range<usize>, schema: &Value, slot: &Slot) {
        let bound = |key: &str| schema[key].as_u64();
        let len = len as u64;
        if bound("minItems").is_some_and(|min| len < min)
            || bound("maxItems").is_some_and(|max| len > max)
        {
            let range = range_words(schema, "minItems", "maxItems");
            let items = if range.ends_with(" 1") { "item" } else { "items" };
            let message = format!("{} must have {range} {items}, not {len}", slot.name);
            self.errors.push(self.source.error(span, message));
        }
    }

    fn text(&mut self, text: &str, span: Range<usize>, schema: &Value, slot: &Slot) {
        let pattern = PATTERNS.iter().find(|(pattern, _)| schema["pattern"] == *pattern);
        match pattern {
            // For an empty id, "is empty" is clearer than the list of allowed characters.
            Some(_) if text.trim().is_empty() => {
                let message = format!("{} is empty", slot.name);
                self.errors.push(self.source.error(span, message));
            }
            Some((_, Pattern::Id)) if !text.chars().all(is_id_char) => {
                let message = format!(
                    "{} may contain only lower-case letters a to z, digits, `-` and `_`",
                    slot.name
                );
                let mut diagnostic = self.source.error(span, message);
                let id = id_from(text);
                if !id.is_empty() {
                    diagnostic = diagnostic.with_hint(format!("for example \"{id}\""));
                }
                self.errors.push(diagnostic);
            }
            _ => {}
        }
    }

    fn range(&mut self, node: &Spanned<DeValue<'_>>, schema: &Value, slot: &Slot) {
        let mut number = number(node.get_ref());
        if schema["format"] == "float" {
            // Check the `f32` that will be used: it may round to an excluded bound.
            number = f64::from(number as f32);
        }
        let bound = |key: &str| schema[key].as_f64();
        let fits = number.is_finite()
            && bound("minimum").is_none_or(|min| number >= min)
            && bound("exclusiveMinimum").is_none_or(|min| number > min)
            && bound("maximum").is_none_or(|max| number <= max);
        if !fits {
            let range = range_words(schema, "minimum", "maximum");
            let message = format!("{} must be {range}", slot.name);
            self.errors.push(self.source.error(node.span(), message).with_label("out of range"));
        }
    }

    fn wrong_type(
        &mut self,
        node: &Spanned<DeValue<'_>>,
        expected: &str,
        schema: &'a Value,
        slot: &Slot,
    ) {
        let message = type_message(node.get_ref(), expected, slot);
        let mut diagnostic = self.source.error(node.span(), message);
        diagnostic.hint = self.retype_hint(node, expected, schema, slot);
        self.errors.push(diagnostic);
    }

    /// Suggests how to rewrite a value of the wrong type if the intention is clear.
    fn retype_hint(
        &self,
        node: &Spanned<DeValue<'_>>,
        expected: &str,
        schema: &'a Value,
        slot: &Slot,
    ) -> Option<String> {
        let written = self.source.text.get(node.span())?;
        match (expected, node.get_ref()) {
            ("integer", DeValue::String(text)) if text.parse::<i64>().is_ok() => {
                Some(format!("remove the quotes: {text}"))
            }
            ("number", DeValue::String(text)) if text.parse::<f64>().is_ok() => {
                Some(format!("remove the quotes: {text}"))
            }
            ("boolean", DeValue::String(text)) if matches!(text.as_ref(), "true" | "false") => {
                Some(format!("remove the quotes: {text}"))
            }
            ("array", DeValue::String(_)) if self.resolve(&schema["items"])["type"] == "string" => {
                Some(format!("put it in brackets: [{written}]"))
            }
            (
                "string",
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_),
            ) => Some(format!("put it in quotes: \"{written}\"")),
            ("object", DeValue::Array(_)) if written.starts_with("[[") => {
                Some(format!("use single brackets: [{}]", slot.path))
            }
            ("array", DeValue::Table(_)) if self.resolve(&schema["items"])["type"] == "object" => {
                Some(format!("use double brackets: [[{}]]", slot.path))
            }
            _ => None,
        }
    }
}

fn type_message(value: &DeValue<'_>, expected: &str, slot: &Slot) -> String {
    format!("{} must be {}, not {}", slot.name, expected_words(expected), value_words(value))
}

fn value_words(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn expected_words(schema_type: &str) -> &str {
    match schema_type {
        "object" => "a table",
        "array" => "an array",
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        other => other,
    }
}

/// Follows the `$ref` of `part` within the schema `root`; `part` itself if it has none.
pub(super) fn resolve<'a>(root: &'a Value, part: &'a Value) -> &'a Value {
    part["$ref"]
        .as_str()
        .and_then(|reference| root.pointer(reference.strip_prefix('#')?))
        .unwrap_or(part)
}

/// The strings that an enumeration allows: `enum`, or the `const` of each `oneOf`.
pub(super) fn choices(schema: &Value) -> Option<Vec<&str>> {
    if let Some(choices) = schema["enum"].as_array() {
        return Some(choices.iter().filter_map(Value::as_str).collect());
    }
    let variants = schema["oneOf"].as_array()?;
    Some(variants.iter().filter_map(|variant| variant["const"].as_str()).collect())
}

fn number(value: &DeValue<'_>) -> f64 {
    match value {
        // Integers of more than 128 bits exceed every bound.
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or(f64::INFINITY, |integer| integer as f64),
        DeValue::Float(float) => float.as_str().parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

/// Describes a range: "from 1 to 16", "more than 0 and at most 1", "2".
pub(super) fn range_words(schema: &Value, min: &str, max: &str) -> String {
    let (low, high, above) = (&schema[min], &schema[max], &schema["exclusiveMinimum"]);
    match (low.is_null(), high.is_null(), above.is_null()) {
        (false, false, _) if low == high => low.to_string(),
        (false, false, _) => format!("from {low} to {high}"),
        (false, true, _) => format!("at least {low}"),
        (true, false, false) => format!("more than {above} and at most {high}"),
        (true, false, true) => format!("at most {high}"),
        (true, true, false) => format!("more than {above}"),
        (true, true, true) => "a finite number".into(),
    }
}

fn is_id_char(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '_' | '-')
}

/// Derives a valid id from `text`.
fn id_from(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<_> = lower.split(|c| !is_id_char(c)).filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// The keywords that the walker enforces, and those that only inform people.
const KNOWN: [&str; 22] = [
    "$defs",
    "$ref",
    "$schema",
    "additionalProperties",
    "const",
    "default",
    "description",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minProperties",
    "minimum",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "enum",
];

/// The keywords and patterns of a schema that the walker would not check. Tests of
/// schemas assert that there are none.
#[must_use]
pub fn unchecked(schema: &Value) -> Vec<String> {
    let mut unchecked = Vec::new();
    let Some(schema) = schema.as_object() else { return unchecked };
    for (keyword, value) in schema {
        if !KNOWN.contains(&keyword.as_str()) {
            unchecked.push(keyword.clone());
        }
        match keyword.as_str() {
            "$defs" | "properties" => {
                let schemas = value.as_object().into_iter().flat_map(|map| map.values());
                unchecked.extend(schemas.flat_map(self::unchecked));
            }
            "oneOf" => {
                let schemas = value.as_array().into_iter().flatten();
                unchecked.extend(schemas.flat_map(self::unchecked));
            }
            "items" | "additionalProperties" => unchecked.extend(self::unchecked(value)),
            "pattern" if !PATTERNS.iter().any(|(pattern, _)| value == pattern) => {
                unchecked.push(format!("pattern {value}"));
            }
            _ => {}
        }
    }
    unchecked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_words() {
        for (schema, expect) in [
            (serde_json::json!({ "minimum": 1, "maximum": 16 }), "from 1 to 16"),
            (serde_json::json!({ "minimum": 2, "maximum": 2 }), "2"),
            (serde_json::json!({ "minimum": 0 }), "at least 0"),
            (serde_json::json!({ "maximum": 5 }), "at most 5"),
            (
                serde_json::json!({ "exclusiveMinimum": 0, "maximum": 1 }),
                "more than 0 and at most 1",
            ),
            (serde_json::json!({ "exclusiveMinimum": 0 }), "more than 0"),
            (serde_json::json!({}), "a finite number"),
        ] {
            assert_eq!(range_words(&schema, "minimum", "maximum"), expect);
        }
    }

    #[test]
    fn ids_are_derived_from_texts() {
        for (text, expect) in
            [("No Violence", "no-violence"), ("a.b", "a-b"), ("日本", ""), (" x ", "x")]
        {
            assert_eq!(id_from(text), expect);
        }
    }
}
