//! Turns an example into what an item is made of: checks the order of the turns and the
//! answers, and keeps what is not used as metadata.

use serde_json::{Map, Value};

use super::columns::{View, is_known, split_pointer};
use super::fault::{ItemProblem, RowPart};
use super::notes::Observed;
use crate::format::example::{Answers, Example, ExampleTurn};
use amend_core::chat::{Message, Role};
use amend_core::record::{INJECTED, Label};

/// The deepest nesting of metadata: well below the limit of the journal's reader.
pub const MAX_DEPTH: usize = 64;

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

/// The column of a list of user texts.
const USER_TEXTS: &str = "turns";

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
pub(super) struct Read {
    pub(super) view: View,
    pub(super) example: Example,
}

impl Read {
    /// The item that answers the prompt of the row.
    pub(super) fn prompt(
        self,
        ignores_response: bool,
        observed: &mut Observed,
    ) -> Result<Draft, ItemProblem> {
        let Self { view, example: Example { mut prompt, answers, .. } } = self;
        let mut answer = Vec::new();
        match answers {
            Answers::Single { answer: turns, .. } => answer = turns,
            Answers::None => {}
            Answers::Pair { chosen: a, rejected: b } | Answers::Comparison { a, b, .. } => {
                let prompt_columns = columns(&prompt);
                for column in columns(a.iter().chain(&b)) {
                    if !prompt_columns.contains(&column) {
                        observed.compared(view.original(&column));
                    }
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
        keep_first_turn(&view, &mut prompt);
        let mut used = columns(&prompt);
        observed.prompt(&view, &prompt);
        let mut response = None;
        if ignores_response {
            if answer.iter().any(|turn| !turn_calls(turn).is_empty()) {
                return Err(ItemProblem::OpenCall);
            }
        } else if let Some(text) = answer_text(answer.clone())? {
            used.extend(columns(&answer));
            observed.answers("response", &view, &answer);
            response = Some(text);
        }
        let messages = messages(&view, prompt, observed)?;
        let (id, metadata) = rest(view, &used, observed)?;
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
        let Self { view, example } = self;
        let Example { prompt, answers, mismatch, used, .. } = example;
        let (is_pair, [a, b], label) = match answers {
            Answers::Pair { chosen, rejected } if chosen_first => {
                (true, [chosen, rejected], Some(Label::A))
            }
            Answers::Pair { chosen, rejected } => (true, [rejected, chosen], Some(Label::B)),
            Answers::Comparison { a, b, label } => (false, [a, b], label),
            Answers::None | Answers::Single { .. } => {
                return Err(ItemProblem::NoAnswers { columns: view.names() });
            }
        };
        if mismatch.is_some() {
            return Err(ItemProblem::Parted);
        }
        if prompt.last().is_some_and(|last| last.role == Role::Assistant.as_str()) {
            return Err(ItemProblem::Answered);
        }
        let mut used_columns = columns(prompt.iter().chain(&a).chain(&b));
        if is_pair {
            check_pair(&view, &prompt, &used_columns)?;
        } else {
            used_columns.extend(used);
        }
        observed.prompt(&view, &prompt);
        let (chosen, rejected) = if label == Some(Label::B) { (&b, &a) } else { (&a, &b) };
        let names = if is_pair { ["chosen", "rejected"] } else { ["a", "b"] };
        let [first, second] = if is_pair { [chosen, rejected] } else { [&a, &b] };
        observed.answers(names[0], &view, first);
        observed.answers(names[1], &view, second);
        let text = |turns: Vec<ExampleTurn>| {
            let part = turns.first().map(|turn| part(&view, turn, 0));
            let blank = || match part {
                Some(part) => ItemProblem::Blank { part },
                None => ItemProblem::NoAnswers { columns: view.names() },
            };
            answer_text(turns)?.ok_or_else(blank)
        };
        let [a, b] = [text(a)?, text(b)?];
        let messages = messages(&view, prompt, observed)?;
        let (id, mut metadata) = rest(view, &used_columns, observed)?;
        if let Some(label) = label {
            metadata.insert("label".to_owned(), label.as_str().into());
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

/// Checks what a preference pair says besides its answers: it needs no label, and if its
/// answers are whole conversations, a prompt beside them is one of their turns.
fn check_pair(view: &View, prompt: &[ExampleTurn], used: &[String]) -> Result<(), ItemProblem> {
    let label = view.object.get("label").and_then(Value::as_str).and_then(Label::from_name);
    if label.is_some() && !used.iter().any(|column| column == "label") {
        return Err(ItemProblem::LabelTwice);
    }
    let whole = used.iter().all(|column| column == "chosen" || column == "rejected");
    if let Some(text) = view.object.get("prompt").and_then(Value::as_str)
        && whole
        && !prompt.is_empty()
        && !prompt.iter().any(|turn| turn.text.trim() == text.trim())
    {
        return Err(ItemProblem::Parted);
    }
    Ok(())
}

fn is_assistant(turn: &ExampleTurn) -> bool {
    turn.role == Role::Assistant.as_str() || turn.role.is_empty()
}

/// The columns of turns, by the names that shapes know.
fn columns<'a>(turns: impl IntoIterator<Item = &'a ExampleTurn>) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for place in turns.into_iter().flat_map(|turn| &turn.places) {
        if let Some((column, _)) = split_pointer(&place.pointer)
            && !columns.contains(&column)
        {
            columns.push(column);
        }
    }
    columns
}

/// What a fault calls a turn: its column, or its number in the column's list.
fn part(view: &View, turn: &ExampleTurn, at: usize) -> RowPart {
    let place = turn.places.first().and_then(|place| split_pointer(&place.pointer));
    let Some((column, rest)) = place else { return RowPart::Turn(at + 1) };
    match rest.trim_start_matches('/').split('/').next().and_then(|index| index.parse().ok()) {
        Some(index @ 0_usize..1_000_000) => RowPart::Turn(index + 1),
        _ => RowPart::Column(view.original(&column).to_owned()),
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
fn messages(
    view: &View,
    turns: Vec<ExampleTurn>,
    observed: &mut Observed,
) -> Result<Vec<Message>, ItemProblem> {
    if turns.is_empty() {
        return Err(ItemProblem::NoPrompt { columns: view.names() });
    }
    let mut messages: Vec<Message> = Vec::with_capacity(turns.len());
    let mut has_joined = false;
    for (at, turn) in turns.into_iter().enumerate() {
        let continues = turn.continues;
        let part = || part(view, &turn, at);
        let Some(role) = Role::ALL.into_iter().find(|known| known.as_str() == turn.role) else {
            return Err(ItemProblem::Role { part: part(), role: turn.role.clone() });
        };
        let mut message = Message::new(role, turn.text.clone());
        match role {
            Role::Assistant => {
                message.reasoning = turn.thought.clone();
                message.tool_calls = tool_calls(&turn, part)?;
            }
            Role::Tool => {
                message.name = turn.name.clone();
                message.tool_call_id = turn.tool_call_id.clone();
            }
            Role::System | Role::Developer | Role::User => {}
        }
        if message.content.trim().is_empty() && message.tool_calls.is_none() {
            if role.is_instruction() {
                continue;
            }
            if role != Role::Tool {
                return Err(ItemProblem::Blank { part: part() });
            }
        }
        if let Some(last) = messages.last_mut()
            && last.role == role
            && role != Role::Tool
            && last.tool_calls.is_none()
        {
            last.content = [last.content.as_str(), &message.content].join("\n\n");
            last.tool_calls = message.tool_calls;
            has_joined |= !continues;
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
            return Err(ItemProblem::Order { part: part(), found: role, due });
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
fn tool_calls(
    turn: &ExampleTurn,
    part: impl Fn() -> RowPart,
) -> Result<Option<Value>, ItemProblem> {
    match &turn.tool_calls {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(calls)) if calls.is_empty() => Ok(None),
        Some(calls) if !is_shallow(calls, MAX_DEPTH) => {
            Err(ItemProblem::TooDeep { column: "tool_calls".to_owned(), limit: MAX_DEPTH })
        }
        Some(Value::Array(calls)) if calls.iter().all(Value::is_object) => {
            Ok(Some(Value::Array(calls.clone())))
        }
        Some(_) => Err(ItemProblem::ToolCalls { part: part() }),
    }
}

/// Of a list of user texts, as in MT-bench, keeps the first: the next one needs the model's
/// own answer.
fn keep_first_turn(view: &View, prompt: &mut Vec<ExampleTurn>) {
    if later_turns(view).is_some() {
        let mut is_first = true;
        prompt.retain(|turn| {
            let column = columns([turn]);
            column != [USER_TEXTS] || std::mem::replace(&mut is_first, false)
        });
    }
}

/// The user texts after the first, if the row has a list of them.
fn later_turns(view: &View) -> Option<&[Value]> {
    let texts = view.object.get(USER_TEXTS)?.as_array()?;
    let is_list = texts.len() > 1 && texts.iter().all(Value::is_string);
    if is_list { Some(&texts[1..]) } else { None }
}

/// Splits the columns that are not used into the item's id and its metadata, under the names
/// of the file.
fn rest(
    view: View,
    used: &[String],
    observed: &mut Observed,
) -> Result<(Option<String>, Map<String, Value>), ItemProblem> {
    let id = IDS.iter().find_map(|name| match view.object.get(*name)? {
        Value::String(id) => Some((*name, id.clone())),
        Value::Number(id) => Some((*name, id.to_string())),
        _ => None,
    });
    if let Some(found) = view.object.get("id")
        && !matches!(found, Value::String(_) | Value::Number(_))
    {
        let found = found.to_string();
        return Err(ItemProblem::Word { column: "id", found, expected: "a text or a number" });
    }
    let later = later_turns(&view).map(<[Value]>::to_vec);
    let View { object, aside, originals } = view;
    let mut metadata = Map::new();
    for (name, mut value) in object {
        if name == USER_TEXTS
            && let Some(later) = &later
            && used.contains(&name)
        {
            observed.later_turns += 1;
            value = Value::Array(later.clone());
        } else if used.contains(&name) || (name == "id" && !originals.contains_key("id")) {
            continue;
        }
        let original = originals.get(&name).unwrap_or(&name);
        if is_known(&name) && !used.contains(&name) {
            observed.unused(original);
        }
        // Commands look for the label and the category under these names.
        let is_renamed = !name.eq_ignore_ascii_case(original);
        let key = if is_renamed && name != "id" { name } else { original.clone() };
        metadata.insert(key, value);
    }
    for (name, value) in aside {
        if !metadata.contains_key(&name) {
            metadata.insert(name, value);
        }
    }
    if let Some((column, _)) = metadata.iter().find(|(_, value)| !is_shallow(value, MAX_DEPTH)) {
        return Err(ItemProblem::TooDeep { column: column.clone(), limit: MAX_DEPTH });
    }
    Ok((id.map(|(_, id)| id), metadata))
}

/// The answers with the injection of the row in one of them. `None` without an injection.
fn injected(
    metadata: &Map<String, Value>,
    [a, b]: [&str; 2],
) -> Result<Option<[String; 2]>, ItemProblem> {
    let value = |column: &str| metadata.get(column).filter(|value| !value.is_null());
    let wrong = |column, found: Option<&Value>, expected| {
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
