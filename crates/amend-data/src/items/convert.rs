//! Turns an example into what an item is made of: checks the order of the turns and the
//! answers, and keeps what is not used as metadata.

use serde_json::{Map, Value};

use super::fault::{ItemProblem, RowPart};
use super::mapping::{Mapping, Split};
use super::notes::Observed;
use crate::format::LABELS;
use crate::format::example::{Answers, Example, ExampleTurn, Object};
use amend_core::chat::{Message, Role};
use amend_core::record::{INJECTED, Label};

/// The deepest nesting of metadata: well below the limit of the journal's reader.
pub const MAX_DEPTH: usize = 64;

/// The key of a row's `label` in the metadata of a comparison, if that is not its label.
const INPUT_LABEL: &str = "input_label";

/// The columns that may hold an item's id, the usual one first.
const IDS: [&str; 11] = [
    "id",
    "prompt_id",
    "question_id",
    "uid",
    "uuid",
    "behaviorid",
    "pair_id",
    "example_id",
    "sample_id",
    "conversation_id",
    "_id",
];

/// An item without its key and row number.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Draft {
    pub(super) messages: Vec<Message>,
    pub(super) response: Option<String>,
    pub(super) response_b: Option<String>,
    pub(super) id: Option<String>,
    pub(super) metadata: Map<String, Value>,
}

/// A row, and the example that its shape has read from it.
pub(super) struct ShapedRow<'a> {
    pub(super) split: Split,
    pub(super) example: Example,
    pub(super) mapping: &'a Mapping,
}

impl ShapedRow<'_> {
    /// The item that answers the prompt of the row.
    pub(super) fn prompt(self, observed: &mut Observed) -> Result<Draft, ItemProblem> {
        let Self { split, example, mapping } = self;
        let Example { mut prompt, answers, mut used, .. } = example;
        let mut answer = Vec::new();
        match answers {
            Answers::Single { answer: turns, .. } => answer = turns,
            Answers::None => {}
            Answers::Pair { chosen: a, rejected: b } | Answers::Comparison { a, b, .. } => {
                used = columns(&prompt);
                for column in columns(a.iter().chain(&b)) {
                    observed.compared(&column);
                }
            }
        }
        // A turn of a tool is one that the model answers.
        if answer.last().is_some_and(|last| !is_assistant(last)) {
            prompt.append(&mut answer);
        }
        // The answer that ends the conversation comes before one in another column.
        if prompt.last().is_some_and(|last| last.role == Role::Assistant.as_str()) {
            let from = prompt.iter().rposition(|turn| turn.role != Role::Assistant.as_str());
            answer = prompt.split_off(from.map_or(0, |at| at + 1));
        }
        // What the label says about the answer is not used.
        used.retain(|column| !is_label(column));
        if mapping.ignores_response {
            let prompt_columns = columns(&prompt);
            let answer_columns = columns(&answer);
            used.retain(|name| !answer_columns.contains(name) || prompt_columns.contains(name));
            answer.clear();
        }
        observed.prompt(&prompt);
        observed.part("response", &answer);
        let response = answer_text(answer)?;
        let (id, metadata) = rest(split, &used, &prompt, mapping, observed)?;
        let messages = messages(prompt, observed)?;
        Ok(Draft { messages, response, response_b: None, id, metadata })
    }

    /// The items that compare the two answers of the row: two if it has an injection, a clean
    /// one and one with the injection. With `chosen_first`, the chosen answer becomes response
    /// A.
    pub(super) fn comparison(
        self,
        chosen_first: bool,
        observed: &mut Observed,
    ) -> Result<Vec<Draft>, ItemProblem> {
        let Self { split, example, mapping } = self;
        let Example { prompt, answers, mismatch, used, category, .. } = example;
        let (names, [first, second], label) = match answers {
            Answers::Pair { chosen, rejected } => {
                let label = split.visible.get("label").and_then(Value::as_str);
                if label.is_some_and(|label| Label::from_name(label).is_some())
                    && !used.iter().any(|column| column == "label")
                {
                    return Err(ItemProblem::LabelTwice);
                }
                (["chosen", "rejected"], [chosen, rejected], Some(Label::A))
            }
            Answers::Comparison { a, b, label } => (["a", "b"], [a, b], label),
            Answers::None | Answers::Single { .. } => {
                return Err(ItemProblem::NoAnswers { columns: split.names() });
            }
        };
        if mismatch.is_some() {
            return Err(ItemProblem::Parted);
        }
        if prompt.last().is_some_and(|last| last.role == Role::Assistant.as_str()) {
            return Err(ItemProblem::Answered);
        }
        observed.prompt(&prompt);
        observed.part(names[0], &first);
        observed.part(names[1], &second);
        let text = |turns: Vec<ExampleTurn>, name: &str| {
            let name = columns(&turns).first().map_or(name, |column| column).to_owned();
            answer_text(turns)?.ok_or(ItemProblem::Blank { part: RowPart::Column(name) })
        };
        let [a, b] = [text(first, names[0])?, text(second, names[1])?];
        let is_pair = names[0] == "chosen";
        let ([a, b], label) = match is_pair && !chosen_first {
            true => ([b, a], Some(Label::B)),
            false => ([a, b], label),
        };
        let (id, mut metadata) = rest(split, &used, &prompt, mapping, observed)?;
        let messages = messages(prompt, observed)?;
        if let Some(label) = label
            && let Some(other) = metadata.insert("label".to_owned(), label.as_str().into())
        {
            // What the row calls a label is something else.
            metadata.insert(INPUT_LABEL.to_owned(), other);
        }
        if let Some(category) = category {
            metadata.entry("category").or_insert_with(|| category.into());
        }
        let injected = if is_pair { None } else { injected(&metadata, [&a, &b])? };
        let clean = Draft { messages, response: Some(a), response_b: Some(b), id, metadata };
        let Some([a, b]) = injected else { return Ok(vec![clean]) };
        let mut attacked = Draft { response: Some(a), response_b: Some(b), ..clean.clone() };
        attacked.metadata.insert(INJECTED.to_owned(), true.into());
        Ok(vec![clean, attacked])
    }
}

/// Whether the row has two answers.
pub(super) fn compares(example: &Example) -> bool {
    matches!(example.answers, Answers::Pair { .. } | Answers::Comparison { .. })
}

/// Whether a column has the label of an answer.
pub(super) fn is_label(column: &str) -> bool {
    LABELS.iter().any(|name| name.eq_ignore_ascii_case(column))
}

fn is_assistant(turn: &ExampleTurn) -> bool {
    turn.role == Role::Assistant.as_str() || turn.role.is_empty()
}

/// The columns of turns.
pub(super) fn columns<'a>(turns: impl IntoIterator<Item = &'a ExampleTurn>) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for place in turns.into_iter().flat_map(|turn| &turn.places) {
        let (column, _) = split_pointer(&place.pointer);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// Splits a JSON pointer into its first name and the rest.
pub(super) fn split_pointer(pointer: &str) -> (String, &str) {
    let pointer = pointer.strip_prefix('/').unwrap_or(pointer);
    let (name, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
    let name = if name.contains('~') {
        name.replace("~1", "/").replace("~0", "~")
    } else {
        name.to_owned()
    };
    (name, rest)
}

/// What a fault calls a turn: its column, or its number in the column's list.
fn part(turn: &ExampleTurn, at: usize) -> RowPart {
    let Some(place) = turn.places.first() else { return RowPart::Turn(at + 1) };
    let (column, rest) = split_pointer(&place.pointer);
    match rest.trim_start_matches('/').split('/').next().and_then(|index| index.parse().ok()) {
        Some(index @ 0_usize..1_000_000) => RowPart::Turn(index + 1),
        _ => RowPart::Column(column),
    }
}

/// The tool calls of a turn. An empty list counts as absent.
fn turn_calls(turn: &ExampleTurn) -> &[Value] {
    turn.tool_calls.as_ref().and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The text of an answer of one turn. `None` if it is missing or blank. Its thought is
/// dropped.
fn answer_text(mut turns: Vec<ExampleTurn>) -> Result<Option<String>, ItemProblem> {
    if turns.len() > 1 && !turns.iter().all(is_assistant) {
        return Err(ItemProblem::LongAnswer { turns: turns.len() });
    }
    if turns.iter().any(|turn| !turn_calls(turn).is_empty()) {
        return Err(ItemProblem::OpenCall);
    }
    turns.retain(|turn| !turn.text.trim().is_empty());
    let texts: Vec<&str> = turns.iter().map(|turn| turn.text.as_str()).collect();
    Ok(if texts.is_empty() { None } else { Some(texts.join("\n\n")) })
}

/// Checks the turns before an answer. Turns of the same role in a row are joined, and blank
/// instructions are dropped.
fn messages(turns: Vec<ExampleTurn>, observed: &mut Observed) -> Result<Vec<Message>, ItemProblem> {
    let mut messages: Vec<Message> = Vec::with_capacity(turns.len());
    let mut has_joined = false;
    for (at, mut turn) in turns.into_iter().enumerate() {
        let part = |turn| part(turn, at);
        let Some(role) = Role::ALL.into_iter().find(|known| known.as_str() == turn.role) else {
            return Err(ItemProblem::Role { part: part(&turn), role: turn.role });
        };
        let mut message = Message::new(role, std::mem::take(&mut turn.text));
        match role {
            Role::Assistant => {
                message.reasoning = turn.thought.take();
                message.tool_calls = tool_calls(&turn, at)?;
            }
            Role::Tool => {
                message.name = turn.name.take();
                message.tool_call_id = turn.tool_call_id.take();
            }
            Role::System | Role::Developer | Role::User => {}
        }
        if message.content.trim().is_empty() && message.tool_calls.is_none() {
            if role.is_instruction() {
                continue;
            }
            if role != Role::Tool {
                return Err(ItemProblem::Blank { part: part(&turn) });
            }
        }
        if let Some(last) = messages.last_mut()
            && last.role == role
            && role != Role::Tool
            && last.tool_calls.is_none()
        {
            last.content = [last.content.as_str(), &message.content].join("\n\n");
            last.tool_calls = message.tool_calls;
            has_joined |= !turn.continues;
            continue;
        }
        let due = match messages.last() {
            None if role.is_instruction() => role,
            None => Role::User,
            Some(last) => match last.role {
                Role::System | Role::Developer => Role::User,
                Role::User => Role::Assistant,
                Role::Assistant if last.tool_calls.is_some() => Role::Tool,
                Role::Assistant => Role::User,
                Role::Tool if role == Role::Tool => Role::Tool,
                Role::Tool => Role::Assistant,
            },
        };
        if role != due {
            return Err(ItemProblem::Order { part: part(&turn), found: role, due });
        }
        messages.push(message);
    }
    if messages.last().is_some_and(|last| last.tool_calls.is_some()) {
        return Err(ItemProblem::OpenCall);
    }
    if messages.iter().all(|message| message.role.is_instruction()) {
        return Err(ItemProblem::NoUser);
    }
    observed.joined += u64::from(has_joined);
    Ok(messages)
}

/// Checks the tool calls of a turn.
fn tool_calls(turn: &ExampleTurn, at: usize) -> Result<Option<Value>, ItemProblem> {
    match &turn.tool_calls {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(calls)) if calls.is_empty() => Ok(None),
        Some(calls) if !is_shallow(calls, MAX_DEPTH) => {
            Err(ItemProblem::TooDeep { column: "tool_calls".to_owned(), limit: MAX_DEPTH })
        }
        Some(Value::Array(calls)) if calls.iter().all(Value::is_object) => {
            Ok(Some(Value::Array(calls.clone())))
        }
        Some(_) => Err(ItemProblem::ToolCalls { part: part(turn, at) }),
    }
}

/// Splits the columns that are not used into the item's id and its metadata.
fn rest(
    split: Split,
    used: &[String],
    prompt: &[ExampleTurn],
    mapping: &Mapping,
    observed: &mut Observed,
) -> Result<(Option<String>, Map<String, Value>), ItemProblem> {
    if prompt.is_empty() {
        return Err(ItemProblem::NoPrompt { columns: split.names() });
    }
    let Split { visible, mut aside } = split;
    let (id, id_column) = id(&visible, mapping)?;
    let category = mapping.column("category");
    let mut metadata = Map::new();
    for (name, value) in visible {
        if id_column.as_deref() == Some(name.as_str()) && name.eq_ignore_ascii_case("id") {
            continue;
        }
        if used.contains(&name) {
            continue;
        }
        observed.unused(&name, &value, prompt, &mapping.columns);
        let name = if category == Some(name.as_str()) { "category".to_owned() } else { name };
        metadata.insert(name, value);
    }
    metadata.append(&mut aside);
    if let Some((column, _)) = metadata.iter().find(|(_, value)| !is_shallow(value, MAX_DEPTH)) {
        return Err(ItemProblem::TooDeep { column: column.clone(), limit: MAX_DEPTH });
    }
    Ok((id, metadata))
}

/// The id of a row, if it has one that can be read.
pub(super) fn row_id(row: &Object, mapping: &Mapping) -> Option<String> {
    id(row, mapping).ok().and_then(|(id, _)| id)
}

/// The id of a row, and its column.
fn id(row: &Object, mapping: &Mapping) -> Result<(Option<String>, Option<String>), ItemProblem> {
    let mapped = mapping.column("id");
    let names = match &mapped {
        Some(column) => std::slice::from_ref(column),
        None => &IDS[..],
    };
    for name in names {
        let Some((column, value)) = row.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))
        else {
            continue;
        };
        let id = match value {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            Value::Null => continue,
            _ if mapped.is_none() && *name != "id" => continue,
            other => {
                let (column, found) = (column.clone(), other.to_string());
                let expected = "a text or a number";
                return Err(ItemProblem::Word { column, found, expected });
            }
        };
        return Ok((Some(id), Some(column.clone())));
    }
    Ok((None, None))
}

/// The answers with the injection of the row in one of them. `None` without an injection.
fn injected(
    metadata: &Map<String, Value>,
    [a, b]: [&str; 2],
) -> Result<Option<[String; 2]>, ItemProblem> {
    let value = |column: &str| metadata.get(column).filter(|value| !value.is_null());
    let wrong = |column: &str, found: Option<&Value>, expected| {
        let column = column.to_owned();
        let found = found.unwrap_or(&Value::Null).to_string();
        Err(ItemProblem::Word { column, found, expected })
    };
    let injection = match value("injection") {
        None => return Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => text,
        other => return wrong("injection", other, "a text that is not blank"),
    };
    let into = value("into");
    let into = match into.and_then(Value::as_str).and_then(Label::from_name) {
        Some(label @ (Label::A | Label::B)) => label,
        Some(Label::Tie) | None => return wrong("into", into, "\"a\" or \"b\""),
    };
    let place = value("place");
    let at_start = match place.map(Value::as_str) {
        None | Some(Some("end")) => false,
        Some(Some("start")) => true,
        Some(_) => return wrong("place", place, "\"start\" or \"end\""),
    };
    let inject = |text: &str| match at_start {
        true => format!("{injection}\n\n{text}"),
        false => format!("{text}\n\n{injection}"),
    };
    Ok(Some(match into {
        Label::A => [inject(a), b.to_owned()],
        Label::B | Label::Tie => [a.to_owned(), inject(b)],
    }))
}

/// Returns whether a value is nested at most `levels` deep. The parser bounds the
/// recursion.
fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => {
            levels > 0 && values.iter().all(|value| is_shallow(value, levels - 1))
        }
        Value::Object(map) => levels > 0 && map.values().all(|value| is_shallow(value, levels - 1)),
        _ => true,
    }
}
