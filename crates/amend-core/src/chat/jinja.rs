//! The environment that chat templates run in: Jinja2 as Hugging Face Transformers sets it up.

use std::borrow::Cow;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, Value};

use super::placeholder::{Encoding, encode};

/// The date for templates that ask for the current one. It is fixed, because a prompt
/// that changes overnight would make a resumed run differ from an uninterrupted one.
const DATE: Date = Date { year: 2026, month: 1, day: 1, weekday: "Thursday" };

/// How much a template may compute.
const FUEL: u64 = 1_000_000;

/// Compiles a chat template. It can be rendered under the name `chat`.
///
/// # Errors
/// The template does not compile.
pub(super) fn compile(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: &str| DATE.format(format));
    environment.set_fuel(Some(FUEL));
    environment.add_template_owned("chat", without_generation_tags(source).into_owned())?;
    Ok(environment)
}

/// Replaces the tags `generation` and `endgeneration`, which mark what the model writes, by
/// tags that only open a scope.
fn without_generation_tags(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let length = match tag.get(..2) {
            Some("{#") => tag.find("#}").map_or(tag.len(), |end| end + 2),
            Some("{{") => tag_length(tag, "}}"),
            Some("{%") => tag_length(tag, "%}"),
            _ => 1,
        };
        let (tag, after) = tag.split_at(length);
        let word = tag.trim_matches(|c: char| "{%-+}".contains(c) || c.is_whitespace());
        match word {
            "generation" if tag.starts_with("{%") => out.push_str(&tag.replace(word, "with")),
            "endgeneration" if tag.starts_with("{%") => out.push_str(&tag.replace(word, "endwith")),
            _ => out.push_str(tag),
        }
        rest = after;
        // Tags in a raw block are text.
        if word == "raw"
            && tag.starts_with("{%")
            && let Some(end) = rest.find("endraw")
        {
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The length of the tag that the text begins with. An end inside a string does not count.
fn tag_length(text: &str, end: &str) -> usize {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(2) {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text[at..].starts_with(end) => return at + end.len(),
            None => {}
        }
    }
    text.len()
}

/// The filter `tojson`, which writes as Python's `json.dumps` does.
fn to_json(
    value: &Value,
    arguments: minijinja::value::Rest<minijinja::value::ValueOrKwargs>,
) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (positional, named): (&[Value], Kwargs) = from_args(&arguments)?;
    let argument = |position: usize, name: &str| match positional.get(position) {
        Some(value) => Ok(Some(value.clone())),
        None => named.get::<Option<Value>>(name),
    };
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let encoding = match is_true(argument(0, "ensure_ascii")?) {
        true => Encoding::AsciiJson,
        false => Encoding::Json,
    };
    let indent = match argument(1, "indent")?.filter(|indent| !indent.is_none()) {
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?),
        }),
        None => None,
    };
    let (mut item, mut key) =
        (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned());
    if let Some(separators) = argument(2, "separators")?.filter(|value| !value.is_none()) {
        let mut separators = separators.try_iter()?.map(|separator| separator.to_string());
        if let (Some(first), Some(second)) = (separators.next(), separators.next()) {
            (item, key) = (first, second);
        }
    }
    let sort_keys = is_true(argument(3, "sort_keys")?);
    named.assert_all_used()?;
    let mut writer = JsonWriter { encoding, indent, item, key, sort_keys, out: String::new() };
    writer.write(value, 0)?;
    Ok(Value::from(writer.out))
}

struct JsonWriter {
    encoding: Encoding,
    /// What a level is indented by. `None` writes everything on one line.
    indent: Option<String>,
    /// What separates items.
    item: String,
    /// What separates a key and its value.
    key: String,
    sort_keys: bool,
    out: String,
}

impl JsonWriter {
    fn write(&mut self, value: &Value, level: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.out.push_str(&value.to_string()),
            ValueKind::Number => self.out.push_str(&float(f64::try_from(value.clone())?)),
            ValueKind::String => self.string(&value.to_string()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(level, ['[', ']'], &items, |writer, item| writer.write(item, level + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.list(level, ['{', '}'], &keys, |writer, key| {
                    writer.string(&key.to_string());
                    let separator = writer.key.clone();
                    writer.out.push_str(&separator);
                    writer.write(&value.get_item(key)?, level + 1)
                })?;
            }
            kind => {
                let message = format!("a value of the type {kind} cannot be written as JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        level: usize,
        [open, close]: [char; 2],
        items: &[Value],
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                let separator = self.item.clone();
                self.out.push_str(&separator);
            }
            self.line(level + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(level);
        }
        self.out.push(close);
        Ok(())
    }

    /// Begins a line, if lists are written on several.
    fn line(&mut self, level: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(level));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        self.out.push_str(&encode(text, self.encoding));
        self.out.push('"');
    }
}

/// Writes a number as Python does: `1.0`, `1e+16`, `1e-05`.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = format!("{number:?}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

struct Date {
    year: u32,
    month: u32,
    day: u32,
    weekday: &'static str,
}

impl Date {
    /// Formats the date by `strftime` directives, at midnight; unknown ones stay as written.
    fn format(&self, format: &str) -> String {
        let Date { year, month, day, weekday } = self;
        let mut text = String::new();
        let mut rest = format.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            match rest.next() {
                Some('Y') => text.push_str(&year.to_string()),
                Some('y') => text.push_str(&format!("{:02}", year % 100)),
                Some('m') => text.push_str(&format!("{month:02}")),
                Some('d') => text.push_str(&format!("{day:02}")),
                Some('e') => text.push_str(&format!("{day:2}")),
                Some('B') => text.push_str("January"),
                Some('b') => text.push_str("Jan"),
                Some('A') => text.push_str(weekday),
                Some('a') => text.push_str(&weekday[..3]),
                Some('j') => text.push_str("001"),
                Some('F') => text.push_str(&format!("{year}-{month:02}-{day:02}")),
                Some('T') => text.push_str("00:00:00"),
                Some('H' | 'M' | 'S') => text.push_str("00"),
                Some('I') => text.push_str("12"),
                Some('p') => text.push_str("AM"),
                // The time zone, which the date has none of.
                Some('Z' | 'z') => {}
                // Without leading zeros.
                Some('-') => match rest.next() {
                    Some('m') => text.push_str(&month.to_string()),
                    Some('d') => text.push_str(&day.to_string()),
                    Some('H' | 'M' | 'S') => text.push('0'),
                    Some(other) => text.extend(['%', '-', other]),
                    None => text.push_str("%-"),
                },
                Some('%') => text.push('%'),
                Some(other) => text.extend(['%', other]),
                None => text.push('%'),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, variables: serde_json::Value) -> String {
        let environment = compile(source).unwrap();
        let variables = Value::from(minijinja::value::Serde(variables));
        environment.get_template("chat").unwrap().render(variables).unwrap()
    }

    #[test]
    fn the_date_is_fixed() {
        assert_eq!(DATE.format("%d %b %Y, %A %B %e %y%%"), "01 Jan 2026, Thursday January  1 26%");
        assert_eq!(DATE.format("%-d.%-m. %F %I %p %q %"), "1.1. 2026-01-01 12 AM %q %");
    }

    #[test]
    fn generation_tags_only_open_a_scope() {
        for (source, expected) in [
            ("{% generation %}a{% endgeneration %}b", "ab"),
            ("a\n  {%- generation -%}\n b {%- endgeneration -%} c", "abc"),
            (
                "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
                "21",
            ),
            ("{% raw %}{% generation %}{% endraw %}", "{% generation %}"),
            ("{# {% generation %} #}{{ '{% generation %}' }}", "{% generation %}"),
            ("{{ \"%}\\\"{% generation %}\" }}", "%}\"{% generation %}"),
            ("{% if '{% endgeneration %}' %}generation{% endif %} {", "generation {"),
            ("{% set generation = 1 %}{{ generation }}", "1"),
        ] {
            assert_eq!(render(source, serde_json::json!({})), expected, "{source}");
        }
    }

    #[test]
    fn json_is_written_as_python_does() {
        let value = serde_json::json!({
            "x": {"b": [1, 2.0, 1e16, 1.5e-7, true, null], "a": "<é\"'&\n>", "c": {}, "d": []}
        });
        for (filter, expected) in [
            (
                "tojson",
                r#"{"b": [1, 2.0, 1e+16, 1.5e-07, true, null], "a": "<é\"'&\n>", "c": {}, "d": []}"#,
            ),
            (
                "tojson(ensure_ascii=True, separators=(',', ':'), sort_keys=True)",
                r#"{"a":"<\u00e9\"'&\n>","b":[1,2.0,1e+16,1.5e-07,true,null],"c":{},"d":[]}"#,
            ),
            (
                "tojson(False, 1)",
                "{\n \"b\": [\n  1,\n  2.0,\n  1e+16,\n  1.5e-07,\n  true,\n  null\n ],\n \
                 \"a\": \"<é\\\"'&\\n>\",\n \"c\": {},\n \"d\": []\n}",
            ),
        ] {
            assert_eq!(render(&format!("{{{{ x | {filter} }}}}"), value.clone()), expected);
        }
    }

    #[test]
    fn none_is_not_iterable() {
        let source = "{{ x is iterable }} {{ y is iterable }} {{ 'a' is iterable }}";
        assert_eq!(render(source, serde_json::json!({"x": null, "y": []})), "False True True");
    }
}
