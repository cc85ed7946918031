//! Conversations in the form that chat templates read, with a placeholder for every text.

use serde_json::{Map, Value as Json, json};

use super::Message;
use super::placeholder::{Encoding, Piece, encode_text, pieces, placeholder};
use super::template::{ChatError, Segment};

/// A turn as the template gets it.
#[derive(Debug, Clone)]
pub(super) struct TemplateTurn {
    /// The index among the turns of the conversation.
    pub index: usize,
    /// The role and the texts.
    pub message: Message,
}

/// Under which key a template reads the thought of an earlier turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThoughtForm {
    /// Under one of these keys. The other keys do no harm.
    Keys(&'static [&'static str]),
    /// In a block of the content.
    Block,
}

/// The form in which a template reads messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageForm {
    /// Whether a content is a list of blocks instead of a text.
    pub has_blocks: bool,
    /// How it reads earlier thoughts.
    pub thought: ThoughtForm,
}

/// What a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Content,
    Thought,
    /// A string of a tool call, or the name of a tool.
    Tool,
}

/// A text that a placeholder stands for.
#[derive(Debug)]
struct Text {
    /// The index of its turn.
    index: usize,
    purpose: Purpose,
    text: String,
    /// Whether a template may move its turn.
    may_move: bool,
}

impl Text {
    /// The white space before and after the text.
    fn margins(&self) -> (&str, &str) {
        let start = self.text.len() - self.text.trim_start().len();
        (&self.text[..start], &self.text[self.text.trim_end().len()..])
    }
}

/// A conversation with placeholders.
#[derive(Debug)]
pub(super) struct Conversation {
    texts: Vec<Text>,
    messages: Vec<Json>,
    /// Whether placeholders have the white space around their texts.
    has_margins: bool,
}

impl Conversation {
    /// Puts placeholders in place of the texts, without the white space around them.
    pub fn new(turns: &[TemplateTurn], form: MessageForm) -> Self {
        Self::with(turns, form, false)
    }

    /// Puts placeholders in place of the texts, with the white space around them, so that
    /// the template can trim it. `None` if no text has any.
    pub fn with_margins(turns: &[TemplateTurn], form: MessageForm) -> Option<Self> {
        let conversation = Self::with(turns, form, true);
        conversation.texts.iter().any(|text| text.text != text.text.trim()).then_some(conversation)
    }

    fn with(turns: &[TemplateTurn], form: MessageForm, has_margins: bool) -> Self {
        let mut conversation = Self { texts: Vec::new(), messages: Vec::new(), has_margins };
        for turn in turns {
            let message = conversation.message(turn, form);
            conversation.messages.push(message);
        }
        conversation
    }

    /// The value of the template's variable `messages`.
    pub fn messages(&self) -> Json {
        self.messages.clone().into()
    }

    fn message(&mut self, turn: &TemplateTurn, form: MessageForm) -> Json {
        let TemplateTurn { index, message } = turn;
        let mut map = Map::new();
        map.insert("role".to_owned(), message.role.as_str().into());
        let may_move = message.role.is_instruction();
        let content = self.hold(*index, Purpose::Content, &message.content, may_move);
        let block = |text: &str| json!({"type": "text", "text": text});
        let value = if form.has_blocks { json!([block(&content)]) } else { content.clone().into() };
        map.insert("content".to_owned(), value);
        if let Some(thought) = &message.reasoning {
            let thought = self.hold(*index, Purpose::Thought, thought, false);
            match form.thought {
                ThoughtForm::Keys(keys) => {
                    for key in keys {
                        map.insert((*key).to_owned(), thought.clone().into());
                    }
                }
                ThoughtForm::Block => {
                    let blocks =
                        json!([{"type": "thinking", "thinking": thought}, block(&content)]);
                    map.insert("content".to_owned(), blocks);
                }
            }
        }
        if let Some(calls) = &message.tool_calls {
            map.insert("tool_calls".to_owned(), self.hold_strings(*index, calls));
        }
        for (key, value) in [("name", &message.name), ("tool_call_id", &message.tool_call_id)] {
            if let Some(value) = value {
                map.insert(key.to_owned(), self.hold_name(*index, value).into());
            }
        }
        Json::Object(map)
    }

    /// Returns the placeholder of a text. White space is no content and stands for itself.
    fn hold(&mut self, index: usize, purpose: Purpose, text: &str, may_move: bool) -> String {
        if text.trim().is_empty() {
            return text.to_owned();
        }
        let held = Text { index, purpose, text: text.to_owned(), may_move };
        let mark = placeholder(self.texts.len());
        let margins = held.margins();
        let mark =
            if self.has_margins { format!("{}{mark}{}", margins.0, margins.1) } else { mark };
        self.texts.push(held);
        mark
    }

    /// Returns a name itself, so that the template can compare it, or the placeholder of a
    /// text that is no plain name. Equal texts get the same placeholder.
    fn hold_name(&mut self, index: usize, name: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
        if name.chars().all(is_plain) {
            return name.to_owned();
        }
        let is_same = |text: &Text| text.purpose == Purpose::Tool && text.text == name;
        match self.texts.iter().position(is_same) {
            Some(number) => placeholder(number),
            None => self.hold(index, Purpose::Tool, name, false),
        }
    }

    /// Puts placeholders in place of the strings of a JSON value.
    fn hold_strings(&mut self, index: usize, value: &Json) -> Json {
        match value {
            Json::String(text) => self.hold(index, Purpose::Tool, text, false).into(),
            Json::Array(values) => {
                values.iter().map(|value| self.hold_strings(index, value)).collect()
            }
            Json::Object(map) => {
                let mut held = Map::new();
                for (key, value) in map {
                    let value = match (key.as_str(), value) {
                        // The OpenAI API gives them as JSON text, and templates read an object.
                        ("arguments", Json::String(text)) => match serde_json::from_str(text) {
                            Ok(object @ Json::Object(_)) => self.hold_strings(index, &object),
                            Ok(_) | Err(_) => self.hold_strings(index, value),
                        },
                        ("name" | "id" | "type", Json::String(name)) => {
                            self.hold_name(index, name).into()
                        }
                        _ => self.hold_strings(index, value),
                    };
                    held.insert(self.hold_name(index, key), value);
                }
                Json::Object(held)
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
        }
    }

    /// Puts the texts back into what the template wrote. `with_margins` is what it wrote for
    /// the same conversation when the placeholders had white space around them.
    ///
    /// # Errors
    /// [`ChatError::LostTurn`] if a text is damaged, or a content is missing, repeated or out
    /// of order. [`ChatError::NoToolCalls`] if the texts of a turn's tool calls are missing.
    pub fn restore(
        &self,
        written: &str,
        with_margins: Option<&str>,
    ) -> Result<Vec<Segment>, ChatError> {
        let bare = self.pieces(written)?;
        let pieces = match with_margins {
            Some(text) => self.attribute_margins(bare, self.pieces(text)?),
            None => bare,
        };
        self.check(&pieces)?;
        let mut segments = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece {
                RestoredPiece::Scaffold("") => {}
                RestoredPiece::Scaffold(text) => segments.push(Segment::Scaffold(text.to_owned())),
                RestoredPiece::Text { number, encodings, before, after } => {
                    let Text { index, purpose, text, .. } = &self.texts[number];
                    let text = encode_text(text.trim(), &encodings);
                    let text = format!("{before}{text}{after}");
                    segments.push(match purpose {
                        Purpose::Content | Purpose::Tool => Segment::Content(*index, text),
                        Purpose::Thought => Segment::Thought(*index, text),
                    });
                }
            }
        }
        Ok(segments)
    }

    fn pieces<'a>(&self, written: &'a str) -> Result<Vec<RestoredPiece<'a>>, ChatError> {
        let is_known = |piece: &Piece<'_>| match piece {
            Piece::Scaffold(_) => true,
            Piece::Text(number, _) => *number < self.texts.len(),
        };
        match pieces(written) {
            Some(pieces) if pieces.iter().all(is_known) => {
                Ok(pieces.into_iter().map(RestoredPiece::new).collect())
            }
            _ => {
                let is_lost = |number: &usize| written.matches(&placeholder(*number)).count() != 1;
                let number = (0..self.texts.len()).find(is_lost);
                Err(ChatError::LostTurn(number.map_or(0, |number| self.texts[number].index)))
            }
        }
    }

    /// Finds which white space around the texts the template kept: what is between two texts
    /// in `padded` and not in `bare`.
    fn attribute_margins<'a>(
        &self,
        mut bare: Vec<RestoredPiece<'a>>,
        padded: Vec<RestoredPiece<'a>>,
    ) -> Vec<RestoredPiece<'a>> {
        let texts = |pieces: &[RestoredPiece<'a>]| -> Vec<RestoredPiece<'a>> {
            pieces.iter().skip(1).step_by(2).cloned().collect()
        };
        if texts(&bare) != texts(&padded) {
            return padded;
        }
        for at in (0..bare.len()).step_by(2) {
            let (RestoredPiece::Scaffold(scaffold), RestoredPiece::Scaffold(wide)) =
                (&bare[at], &padded[at])
            else {
                continue;
            };
            let after_previous = at.checked_sub(1).map(|at| self.margin(&bare[at], Side::After));
            let before_next = bare.get(at + 1).map(|next| self.margin(next, Side::Before));
            let (after_previous, before_next) =
                (after_previous.unwrap_or_default(), before_next.unwrap_or_default());
            match split_gap(wide, scaffold, &after_previous, &before_next) {
                Some((kept_after, kept_before)) => {
                    if let Some(RestoredPiece::Text { after, .. }) =
                        at.checked_sub(1).and_then(|at| bare.get_mut(at))
                    {
                        *after = kept_after.to_owned();
                    }
                    if let Some(RestoredPiece::Text { before, .. }) = bare.get_mut(at + 1) {
                        *before = kept_before.to_owned();
                    }
                }
                None => bare[at] = RestoredPiece::Scaffold(wide),
            }
        }
        bare
    }

    /// The white space at one side of a text, as the template encoded it.
    fn margin(&self, piece: &RestoredPiece<'_>, side: Side) -> String {
        let RestoredPiece::Text { number, encodings, .. } = piece else { return String::new() };
        let (before, after) = self.texts[*number].margins();
        encode_text(if side == Side::Before { before } else { after }, encodings)
    }

    /// Checks that every content is written once and every tool call at all, and that the
    /// turns are in order, except instructions, which a template may move.
    fn check(&self, pieces: &[RestoredPiece<'_>]) -> Result<(), ChatError> {
        let mut counts = vec![0_usize; self.texts.len()];
        let mut last = 0;
        for piece in pieces {
            let RestoredPiece::Text { number, .. } = piece else { continue };
            let text = &self.texts[*number];
            counts[*number] += 1;
            if text.purpose == Purpose::Content && !text.may_move {
                if text.index < last {
                    return Err(ChatError::LostTurn(text.index));
                }
                last = text.index;
            }
        }
        for (at, text) in self.texts.iter().enumerate() {
            let is_lost = match text.purpose {
                Purpose::Content => counts[at] != 1,
                Purpose::Thought => false,
                Purpose::Tool => {
                    let is_same =
                        |other: &Text| other.purpose == Purpose::Tool && other.index == text.index;
                    self.texts
                        .iter()
                        .zip(&counts)
                        .all(|(other, count)| !is_same(other) || *count == 0)
                }
            };
            if is_lost {
                return Err(match text.purpose {
                    Purpose::Tool => ChatError::NoToolCalls(text.index),
                    Purpose::Content | Purpose::Thought => ChatError::LostTurn(text.index),
                });
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// A piece of what a template wrote, with the white space that it kept around texts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RestoredPiece<'a> {
    Scaffold(&'a str),
    Text { number: usize, encodings: Vec<Encoding>, before: String, after: String },
}

impl<'a> RestoredPiece<'a> {
    fn new(piece: Piece<'a>) -> Self {
        match piece {
            Piece::Scaffold(text) => Self::Scaffold(text),
            Piece::Text(number, encodings) => {
                Self::Text { number, encodings, before: String::new(), after: String::new() }
            }
        }
    }
}

/// Splits a gap between two texts to the beginning of `after`, the scaffold, and the end of
/// `before`. `None` if it consists of something else.
fn split_gap<'g>(
    gap: &'g str,
    scaffold: &str,
    after: &str,
    before: &str,
) -> Option<(&'g str, &'g str)> {
    let ends = after.char_indices().map(|(at, _)| at).chain([after.len()]);
    for end in ends.collect::<Vec<_>>().into_iter().rev() {
        if !gap.starts_with(&after[..end]) {
            continue;
        }
        let (kept_after, rest) = gap.split_at(end);
        if let Some(kept_before) = rest.strip_prefix(scaffold)
            && before.ends_with(kept_before)
        {
            return Some((kept_after, kept_before));
        }
    }
    None
}
