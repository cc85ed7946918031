//! Reads the entries of a list that a model wrote: numbered, with bullets, as JSON, or one in
//! each line. What stands around the list is ignored.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// The longest line that is an entry of a list without marks, in characters. Longer lines are
/// paragraphs.
const LINE_CHARS: usize = 300;

/// The fewest lines that make a list without marks.
const LINES: usize = 3;

/// The keys of an object that hold the text of an entry, the likeliest first.
const KEYS: [&str; 5] = ["prompt", "request", "question", "text", "content"];

/// Marks around a whole entry.
const AROUND: [(&str, &str); 6] =
    [("**", "**"), ("\"", "\""), ("“", "”"), ("„", "“"), ("«", "»"), ("'", "'")];

/// A mark at the start of a line: a number (`1.`, `2)`, `(3)`, `**4.**`, `Prompt 5:`) or a
/// bullet.
static MARK: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"(?:\*\*|#+\s)?\(?(?:(?:prompt|request|question|message|example)\s*#?)?\d{1,3}(?:[.):]|\*\*)+(?:\s+|$)";
    let bullet = r"[-*•–—]\s+";
    Regex::new(&format!(r"^(?i)(?:(?P<number>{number})|(?P<bullet>{bullet}))"))
        .expect("the pattern is fixed")
});

/// A label before the text of an entry.
static LABEL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?i)(?:\*\*)?(?:prompt|request|question|message|user)(?:\s*\d{1,3})?(?:\*\*)?:(?:\*\*)?\s*",
    )
    .expect("the pattern is fixed")
});

/// The entries of the list in a text, in order, without their marks, labels and quotation marks.
/// Empty if the text has no list.
#[must_use]
pub fn list_entries(text: &str) -> Vec<String> {
    let entries = json_entries(text)
        .or_else(|| marked_entries(text))
        .unwrap_or_else(|| unmarked_entries(text));
    let entries = entries.iter().map(|entry| bare(entry).to_owned());
    entries.filter(|entry| !entry.is_empty()).collect()
}

/// The entries of a JSON array, or of lines that are JSON strings or objects each.
fn json_entries(text: &str) -> Option<Vec<String>> {
    let array = text.find('[').zip(text.rfind(']'));
    if let Some((start, end)) = array
        && let Some(text) = text.get(start..=end)
        && let Ok(values) = serde_json::from_str::<Vec<Value>>(text)
    {
        return some_unless_empty(values.iter().filter_map(json_text).collect());
    }
    let lines = text.lines().map(|line| line.trim().trim_end_matches(','));
    let values = lines.filter(|line| line.starts_with(['{', '"']));
    let values = values.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    some_unless_empty(values.filter_map(|value| json_text(&value)).collect())
}

/// The text of an entry: a string, or that of an object under one of [`KEYS`].
fn json_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Object(object) => KEYS.iter().find_map(|key| object.get(*key)?.as_str()),
        value => value.as_str(),
    };
    text.map(str::to_owned)
}

/// The lines that begin with the same kind of mark as the first line with one. A line that
/// follows directly and has no mark continues the entry.
fn marked_entries(text: &str) -> Option<Vec<String>> {
    let mut entries: Vec<String> = Vec::new();
    let mut has_numbers = None;
    let mut continues = false;
    for line in text.lines().map(str::trim) {
        let Some(found) = MARK.captures(line) else {
            let is_part = continues && !line.is_empty() && !line.starts_with("```");
            match entries.last_mut() {
                Some(entry) if is_part => {
                    let gap = if entry.is_empty() { "" } else { " " };
                    entry.push_str(&format!("{gap}{line}"));
                }
                _ => continues = false,
            }
            continue;
        };
        let is_number = found.name("number").is_some();
        // Bullets under numbers are remarks about the entry, and the other way round.
        continues = *has_numbers.get_or_insert(is_number) == is_number;
        if continues {
            entries.push(line[found[0].len()..].trim().to_owned());
        }
    }
    some_unless_empty(entries)
}

/// The lines of a text without marks, if they look like a list: most are questions or quoted.
fn unmarked_entries(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        let is_around = line.starts_with("```") || line.ends_with(':') || line.starts_with('#');
        if !(line.is_empty() || is_around) {
            lines.push(line);
        }
    }
    let is_entry =
        |line: &&str| line.ends_with(['?', '？']) || line.starts_with(['"', '“', '„', '«']);
    let entries = lines.iter().copied().filter(is_entry).count();
    let is_short = lines.iter().all(|line| line.chars().count() <= LINE_CHARS);
    if lines.len() >= LINES && 2 * entries >= lines.len() && is_short {
        lines.into_iter().map(str::to_owned).collect()
    } else {
        Vec::new()
    }
}

/// An entry without the label, the emphasis and the quotation marks around it.
fn bare(entry: &str) -> &str {
    let mut text = entry.trim().trim_end_matches(',');
    loop {
        let before = text;
        text = match LABEL.find(text) {
            Some(label) => &text[label.end()..],
            None => text,
        };
        if text.matches("**").count() == 1 {
            // The other mark stood before the number.
            text = text.strip_suffix("**").unwrap_or(text);
        }
        for (open, close) in AROUND {
            text = unwrapped(text, open, close).trim();
        }
        if text == before {
            return text;
        }
    }
}

/// A text without the marks around it, if they occur nowhere else in it.
fn unwrapped<'t>(text: &'t str, open: &str, close: &str) -> &'t str {
    match text.strip_prefix(open).and_then(|text| text.strip_suffix(close)) {
        Some(inner) if !inner.contains(open) && !inner.contains(close) => inner,
        _ => text,
    }
}

fn some_unless_empty(entries: Vec<String>) -> Option<Vec<String>> {
    if entries.is_empty() { None } else { Some(entries) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_every_form_that_models_write() {
        for text in [
            "1. Why?\n2. How is it made?",
            "Sure! Here are two requests:\n\n1) Why?\n\n2) How is it made?\n\nI hope this helps!",
            "(1) \"Why?\"\n(2) “How is it made?”",
            "**1.** Why?\n**2.** How is it made?",
            "**1. Why?**\n**2. How is it made?**",
            "Prompt 1: Why?\nPrompt 2: How is it made?",
            "Message 1:\n\"Why?\"\n\nMessage 2:\n\"How is it made?\"\n\nThey are short.",
            "1. **Prompt:** Why?\n   - This tests the rule.\n2. **Prompt:** How\n   is it made?",
            "- Why?\n- How is it made?",
            "* Why?\n  1. as a child would ask\n* How is it made?",
            "• \"Why?\",\n• \"How is it made?\"",
            "[\"Why?\", \"How is it made?\"]",
            "```json\n[{\"prompt\": \"Why?\"}, {\"id\": 2, \"question\": \"How is it made?\"}]\n```",
            "{\"prompt\": \"Why?\"}\n{\"prompt\": \"How is it made?\"}",
            // The array is cut off.
            "[\n\"Why?\",\n\"How is it made?\",\n\"Wh",
        ] {
            assert_eq!(list_entries(text), ["Why?", "How is it made?"], "{text}");
        }
        let plain = "Requests:\nWhy?\nHow?\n\nFor whom?";
        assert_eq!(list_entries(plain), ["Why?", "How?", "For whom?"]);
    }

    #[test]
    fn prose_is_no_list() {
        for text in [
            "",
            "I can't help with that.",
            "The answer should be kind.\n\nIt should also be short.",
            "In 2024. it rained\nand 3.5 litres fell",
            "To keep the rule, I need to know it.\n\nI am honest.\n\nIs that so?\nYes.",
        ] {
            assert_eq!(list_entries(text), [""; 0], "{text}");
        }
        let paragraphs = ["word ".repeat(80), "word".to_owned(), "word".to_owned()].join("\n");
        assert_eq!(list_entries(&paragraphs), [""; 0]);
    }

    #[test]
    fn marks_inside_an_entry_are_kept() {
        for (text, entry) in [
            ("1. Is \"yes\" an answer to \"why\"?", "Is \"yes\" an answer to \"why\"?"),
            ("1. **Bold** and **bold**", "**Bold** and **bold**"),
            ("- 2 eggs or 3?", "2 eggs or 3?"),
            ("1. User: Why?", "Why?"),
            ("- \"Why?\" she asked.", "\"Why?\" she asked."),
        ] {
            assert_eq!(list_entries(text), [entry], "{text}");
        }
    }
}
