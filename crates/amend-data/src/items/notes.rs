//! What is printed about an input: how it was read, and what was not used.

use std::fmt::Write as _;

use serde_json::Value;

use super::convert;
use crate::format::example::{Answers, Example, ExampleTurn};
use crate::format::{CATEGORIES, Columns};
use crate::rows::{FileKind, RowLayout, TEXT};
use crate::store::sharded::Shard;
use amend_core::chat::Role;
use amend_core::text::format::plural;

/// The most columns that a note lists for a part.
const LISTED: usize = 6;

/// The column of a list of user turns, of which only the first is used.
const TURNS: &str = "turns";

/// Columns that no shape reads, but on which a prompt may depend, in small letters.
const CONTEXTS: [&str; 6] =
    ["context", "contextstring", "context_string", "documents", "instances", "tools"];

/// What was seen in the rows of an input.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The kinds of the files.
    kinds: Vec<String>,
    /// Whether one of the files is plain text.
    has_text: bool,
    /// The parts of items, and the columns that they were read from.
    parts: Vec<(&'static str, Vec<String>)>,
    /// Known columns that were not used.
    unused: Vec<String>,
    /// Columns of two answers, where only the prompt is used.
    compared: Vec<String>,
    /// All columns, if they have to be known.
    pub(crate) columns: Vec<String>,
    /// The number of rows in which turns of the same role in a row were joined.
    pub(super) joined: u64,
    /// The number of rows of which later user turns were not used.
    pub(super) later_turns: u64,
}

fn add(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

impl Observed {
    /// The prompt was read from these turns.
    pub(super) fn prompt(&mut self, turns: &[ExampleTurn]) {
        for turn in turns {
            // A system turn of a conversation is part of the prompt's column.
            let is_column = turn.places.iter().all(|place| place.pointer.matches('/').count() == 1);
            let is_system = is_column && turn.role == Role::System.as_str();
            let part = if is_system { "system" } else { "prompt" };
            self.part(part, std::slice::from_ref(turn));
        }
    }

    /// The part of an item with this name was read from these turns.
    pub(super) fn part(&mut self, part: &'static str, turns: &[ExampleTurn]) {
        for place in turns.iter().flat_map(|turn| &turn.places) {
            let known = self.parts.iter().position(|(known, _)| *known == part);
            let at = known.unwrap_or_else(|| {
                self.parts.push((part, Vec::new()));
                self.parts.len() - 1
            });
            add(&mut self.parts[at].1, &convert::split_pointer(&place.pointer).0);
        }
    }

    /// A column with answers to compare was not used.
    pub(super) fn compared(&mut self, column: &str) {
        add(&mut self.compared, column);
    }

    /// A column was not used. Texts, lists and objects are noted in columns that shapes know
    /// or on which a prompt may depend, unless they repeat the prompt. Categories are not.
    pub(super) fn unused(
        &mut self,
        column: &str,
        value: &Value,
        prompt: &[ExampleTurn],
        columns: &Columns,
    ) {
        let is_noted = |names: &[String]| names.iter().any(|known| known == column);
        let is_one_of = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(column));
        let matters = is_one_of(&CONTEXTS) || (columns.is_known(column) && !is_one_of(&CATEGORIES));
        if is_noted(&self.compared) || is_noted(&self.unused) || !matters {
            return;
        }
        let is_used = match value {
            Value::String(text) => {
                text.trim().is_empty() || prompt.iter().any(|turn| turn.text == *text)
            }
            Value::Array(list) => {
                let is_turns = column == TURNS && list.len() > 1;
                self.later_turns += u64::from(is_turns);
                is_turns || list.is_empty()
            }
            Value::Object(object) => object.is_empty(),
            _ => true,
        };
        if !is_used {
            add(&mut self.unused, column);
        }
    }

    /// Keeps the names of a row's columns.
    pub(crate) fn row<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        for name in names {
            add(&mut self.columns, name);
        }
    }

    /// An example was read, all of which is used.
    pub(crate) fn example(&mut self, example: &Example) {
        self.prompt(&example.prompt);
        match &example.answers {
            Answers::None => {}
            Answers::Single { answer, .. } => self.part("response", answer),
            Answers::Pair { chosen, rejected } => {
                self.part("chosen", chosen);
                self.part("rejected", rejected);
            }
            Answers::Comparison { a, b, .. } => {
                self.part("a", a);
                self.part("b", b);
            }
        }
    }

    /// A file of this kind is read.
    pub(crate) fn file(&mut self, kind: &FileKind) {
        self.has_text |= kind.layout == RowLayout::Text;
        add(&mut self.kinds, &kind.to_string());
    }

    /// Ends an input, and says how it was read: "a.csv: CSV, 2 rows, prompt column: goal".
    pub(crate) fn take_input(&mut self, name: &str, files: usize, count: u64) -> String {
        let several = if files > 1 { format!("{files} files, ") } else { String::new() };
        let kinds = std::mem::take(&mut self.kinds).join(" and ");
        let has_text = std::mem::take(&mut self.has_text);
        let (parts, count) = (self.take_parts(has_text), rows(count));
        format!("{name}: {several}{kinds}, {count}{parts}")
    }

    /// Takes what was seen of an input's columns as text: ", prompt column: goal".
    fn take_parts(&mut self, is_text: bool) -> String {
        let mut text = String::new();
        let order = ["prompt", "system", "response", "chosen", "rejected", "a", "b"];
        self.parts.sort_by_key(|(part, _)| order.iter().position(|name| name == part));
        for (part, columns) in std::mem::take(&mut self.parts) {
            if is_text && columns == [TEXT] {
                continue;
            }
            let more = if columns.len() > LISTED { ", …" } else { "" };
            let shown = columns.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
            let noun = plural(columns.len(), "column");
            let _ = write!(text, ", {part} {noun}: {shown}{more}");
        }
        text
    }

    /// The notes about the whole input.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.compared.is_empty() {
            notes.push(format!(
                "the answers in {} were not used: the prompt itself is answered; amend judge \
                 compares answers",
                columns(&self.compared),
            ));
        }
        if !self.unused.is_empty() {
            notes.push(format!(
                "{} {} not used, and kept as metadata: --map can name another column",
                columns(&self.unused),
                were(&self.unused),
            ));
        }
        if self.joined > 0 {
            let rows = rows(self.joined);
            notes.push(format!(
                "{rows} with several turns of one role in a row: they were joined, with a blank \
                 line between them"
            ));
        }
        if self.later_turns > 0 {
            let rows = rows(self.later_turns);
            notes.push(format!(
                "{rows} with several user turns: only the first is used, because the next one \
                 needs the model's own answer"
            ));
        }
        notes
    }
}

/// The note about a file without rows among others.
pub(crate) fn no_rows(file: &str) -> String {
    format!("{file} has no rows")
}

/// The note about the items of a shard, of all items if their number is known.
pub(super) fn shard(shard: Shard, items: u64, all: Option<u64>) -> String {
    let of = all.map_or_else(String::new, |all| format!(" of {all}"));
    format!("shard {shard}: {items}{of} {}", plural(all.unwrap_or(items), "item"))
}

fn columns(names: &[String]) -> String {
    format!("{} {}", plural(names.len(), "column"), names.join(", "))
}

fn were(names: &[String]) -> &'static str {
    if names.len() == 1 { "was" } else { "were" }
}

/// "1 row" or "3 rows".
pub(crate) fn rows(count: u64) -> String {
    format!("{count} {}", plural(count, "row"))
}
