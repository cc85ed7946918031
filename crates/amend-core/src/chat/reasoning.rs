//! What a model thinks before it answers: the settings, the marks around a thought, and
//! the separation of thought and answer in what the model writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TurnStart;

/// Whether a model thinks before it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReasoningMode {
    /// It does not think if its chat template has a switch for that.
    #[default]
    Auto,
    /// It thinks.
    On,
    /// It does not think. If the chat template has no switch, an empty thought is written
    /// in its place.
    Off,
}

impl ReasoningMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Auto, Self::On, Self::Off];

    /// The name of the mode in flags and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl std::fmt::Display for ReasoningMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a model thinks before it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reasoning {
    /// Whether it thinks.
    pub mode: ReasoningMode,
    /// The maximum number of tokens in a thought, apart from those of the answer. At the
    /// limit the thought is closed and the answer follows.
    pub budget: u32,
    /// The effort that the chat template or the server is asked for: `low`, `medium`,
    /// `high`, or another word that it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Further variables for the chat template. They win over `effort`, and over `mode` if it
    /// is [`ReasoningMode::Auto`]. None of [`RESERVED_VARIABLES`].
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub chat_template_kwargs: Map<String, Value>,
}

/// The variables of chat templates that only amend sets.
pub const RESERVED_VARIABLES: [&str; 2] = ["messages", "add_generation_prompt"];

impl Default for Reasoning {
    fn default() -> Self {
        Self {
            mode: ReasoningMode::Auto,
            budget: 1024,
            effort: None,
            chat_template_kwargs: Map::new(),
        }
    }
}

impl Reasoning {
    /// Whether every value is the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The value that the chat template's variable `name` gets from `effort` or
    /// `chat_template_kwargs`, if any.
    pub(super) fn variable(&self, name: &str) -> Option<Value> {
        match (self.chat_template_kwargs.get(name), &self.effort) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(effort)) if name == "reasoning_effort" => Some(effort.clone().into()),
            (None, _) => None,
        }
    }
}

/// The mode says one thing about thoughts, and a variable of the chat template the contrary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`reasoning` is {mode}, but `chat_template_kwargs` sets {name} = {value}, which switches \
     thoughts {}",
    if *.mode == ReasoningMode::On { "off" } else { "on" }
)]
pub struct ReasoningContradiction {
    mode: ReasoningMode,
    /// The name of the variable.
    name: String,
    value: Value,
}

/// How a model marks its thoughts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasoningFormat {
    /// The texts that begin a thought (`<think>`).
    pub starts: Vec<String>,
    /// The texts that end it (`</think>`).
    pub ends: Vec<String>,
    /// The texts that begin the answer after a thought, or in its place. Empty if the
    /// answer begins at once.
    #[serde(default)]
    pub answer_starts: Vec<String>,
    /// The texts that end the answer, if something does before the turn ends.
    #[serde(default)]
    pub answer_ends: Vec<String>,
    /// What to write before a given thought (`<think>\n`), if the prompt has not opened it.
    pub open: String,
    /// What to write between a thought and the answer (`\n</think>\n\n`).
    pub close: String,
    /// What to write in place of a thought, if the prompt has not opened it
    /// (`<think>\n\n</think>\n\n`).
    pub empty: String,
    /// What switches thoughts on and off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<ReasoningSwitch>,
    /// Whether the model thinks if nothing switches thoughts off.
    pub thinks_by_default: bool,
    /// The key under which the chat template reads the thought of an earlier turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether the chat template reads `reasoning_effort`.
    pub has_effort: bool,
}

impl ReasoningFormat {
    /// The marks that most models write, for a model of which nothing is known: `<think>` and
    /// `</think>` on lines of their own.
    #[must_use]
    pub fn think() -> Self {
        Self {
            starts: vec!["<think>".to_owned()],
            ends: vec!["</think>".to_owned()],
            answer_starts: Vec::new(),
            answer_ends: Vec::new(),
            open: "<think>\n".to_owned(),
            close: "\n</think>\n\n".to_owned(),
            empty: "<think>\n\n</think>\n\n".to_owned(),
            switch: None,
            thinks_by_default: true,
            key: None,
            has_effort: false,
        }
    }

    /// Whether the model thinks with these settings.
    #[must_use]
    pub fn thinks(&self, reasoning: &Reasoning) -> bool {
        match (reasoning.mode, &self.switch) {
            (ReasoningMode::On, _) => true,
            (ReasoningMode::Off, _) => false,
            (ReasoningMode::Auto, None) => self.thinks_by_default,
            (ReasoningMode::Auto, Some(switch)) => {
                reasoning.variable(&switch.name).is_some_and(|value| value != switch.off)
            }
        }
    }

    /// Checks that the variables for the chat template don't switch thoughts to the contrary
    /// of the mode.
    ///
    /// # Errors
    /// They do.
    pub fn check(&self, reasoning: &Reasoning) -> Result<(), ReasoningContradiction> {
        let Some(switch) = &self.switch else { return Ok(()) };
        let Some(value) = reasoning.chat_template_kwargs.get(&switch.name) else { return Ok(()) };
        let is_contrary = match reasoning.mode {
            ReasoningMode::Auto => false,
            ReasoningMode::On => *value == switch.off,
            ReasoningMode::Off => *value != switch.off,
        };
        if is_contrary {
            let (name, value) = (switch.name.clone(), value.clone());
            return Err(ReasoningContradiction { mode: reasoning.mode, name, value });
        }
        Ok(())
    }
}

impl std::fmt::Display for ReasoningFormat {
    /// Says what marks a thought and what switches thoughts on or off.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = |marks: &[String]| marks.first().cloned().unwrap_or_default();
        write!(f, "{} … {}, ", first(&self.starts), first(&self.ends))?;
        match (&self.switch, self.thinks_by_default) {
            (Some(ReasoningSwitch { name, off, .. }), true) => write!(f, "off by {name} = {off}"),
            (Some(ReasoningSwitch { name, on, .. }), false) => write!(f, "on by {name} = {on}"),
            (None, true) => write!(f, "always"),
            (None, false) => write!(f, "if at all"),
        }
    }
}

/// A variable of the chat template that switches thoughts on and off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasoningSwitch {
    /// The name of the variable (`enable_thinking`).
    pub name: String,
    /// Its value with thoughts.
    pub on: Value,
    /// Its value without thoughts.
    pub off: Value,
}

/// A part of what a model writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyPart {
    /// Text of the thought.
    Thought(String),
    /// Text of the answer.
    Answer(String),
}

/// Separates thought and answer in a text that arrives in pieces.
///
/// White space between the end of a thought and the answer belongs to neither. A thought is
/// only recognised before the answer: marks inside the answer stay part of it.
#[derive(Debug, Clone)]
pub struct ThoughtSplitter {
    format: ReasoningFormat,
    state: State,
    /// Text that may become a mark.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first character, or between a thought and what follows it.
    Between,
    Thinking,
    Answering,
    /// After the mark that ends the answer.
    Ended,
}

impl ThoughtSplitter {
    /// A splitter of the text that follows a prompt.
    #[must_use]
    pub fn new(format: ReasoningFormat, start: TurnStart) -> Self {
        let state = match start {
            TurnStart::Free => State::Between,
            TurnStart::Thinking => State::Thinking,
            TurnStart::Answer => State::Answering,
        };
        Self { format, state, held: String::new() }
    }

    /// Whether the text so far ends inside a thought.
    #[must_use]
    pub fn is_thinking(&self) -> bool {
        self.state == State::Thinking
    }

    /// Whether the answer has begun.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        self.state == State::Answering
    }

    /// Whether the answer has ended before the turn. Text after it is dropped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Adds text and returns the parts that are now certain.
    pub fn push(&mut self, text: &str) -> Vec<ReplyPart> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.advance(&mut parts) {}
        parts
    }

    /// Returns the rest at the end of the text.
    pub fn finish(&mut self) -> Vec<ReplyPart> {
        let rest = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking if !rest.is_empty() => vec![ReplyPart::Thought(rest)],
            State::Between if !rest.trim().is_empty() => vec![ReplyPart::Answer(rest)],
            State::Answering if !rest.is_empty() => vec![ReplyPart::Answer(rest)],
            State::Between | State::Thinking | State::Answering | State::Ended => Vec::new(),
        }
    }

    /// Handles the beginning of the held text. Returns whether more can be handled.
    fn advance(&mut self, parts: &mut Vec<ReplyPart>) -> bool {
        match self.state {
            State::Between => self.leave_gap(),
            State::Thinking => {
                let (text, has_ended) = take_until(&mut self.held, &self.format.ends);
                if !text.is_empty() {
                    parts.push(ReplyPart::Thought(text));
                }
                if has_ended {
                    self.state = State::Between;
                }
                has_ended
            }
            State::Answering => {
                let (text, has_ended) = take_until(&mut self.held, &self.format.answer_ends);
                if !text.is_empty() {
                    parts.push(ReplyPart::Answer(text));
                }
                if has_ended {
                    self.state = State::Ended;
                }
                has_ended
            }
            State::Ended => {
                self.held.clear();
                false
            }
        }
    }

    fn leave_gap(&mut self) -> bool {
        let text = self.held.trim_start();
        let format = &self.format;
        let marks = || format.answer_starts.iter().chain(&format.starts);
        if let Some(mark) = marks().find(|mark| text.starts_with(&***mark)) {
            let is_answer = format.answer_starts.contains(mark);
            let rest = text[mark.len()..].to_owned();
            self.state = if is_answer { State::Answering } else { State::Thinking };
            self.held = rest;
            return true;
        }
        if text.is_empty() || marks().any(|mark| mark.starts_with(text)) {
            return false;
        }
        let rest = text.to_owned();
        self.state = State::Answering;
        self.held = rest;
        true
    }
}

/// Takes the text before the first of some marks, and the mark. Without a mark, takes what
/// can't be the beginning of one. Returns the text and whether a mark follows it.
fn take_until(held: &mut String, marks: &[String]) -> (String, bool) {
    let first = marks.iter().filter_map(|mark| Some((held.find(&**mark)?, mark.len()))).min();
    if let Some((at, length)) = first {
        let rest = held.split_off(at + length);
        let mut text = std::mem::replace(held, rest);
        text.truncate(at);
        return (text, true);
    }
    let is_beginning = |at: usize| marks.iter().any(|mark| mark.starts_with(&held[at..]));
    let kept = held.char_indices().map(|(at, _)| at).find(|&at| is_beginning(at));
    let rest = held.split_off(kept.unwrap_or(held.len()));
    (std::mem::replace(held, rest), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harmony() -> ReasoningFormat {
        let strings = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        ReasoningFormat {
            starts: strings(&[
                "<|channel|>analysis<|message|>",
                "<|start|>assistant<|channel|>analysis<|message|>",
            ]),
            ends: strings(&["<|end|>"]),
            answer_ends: strings(&["<|end|>"]),
            answer_starts: strings(&[
                "<|channel|>final<|message|>",
                "<|start|>assistant<|channel|>final<|message|>",
            ]),
            ..ReasoningFormat::think()
        }
    }

    /// Splits a text, given as a whole and character by character, to thought and answer.
    fn split(format: &ReasoningFormat, start: TurnStart, text: &str) -> (String, String) {
        let run = |pieces: &mut dyn Iterator<Item = String>| {
            let mut splitter = ThoughtSplitter::new(format.clone(), start);
            let (mut thought, mut answer) = (String::new(), String::new());
            let mut parts: Vec<ReplyPart> =
                pieces.flat_map(|piece| splitter.push(&piece)).collect();
            parts.extend(splitter.finish());
            for part in parts {
                match part {
                    ReplyPart::Thought(text) => thought.push_str(&text),
                    ReplyPart::Answer(text) => answer.push_str(&text),
                }
            }
            (thought, answer)
        };
        let whole = run(&mut std::iter::once(text.to_owned()));
        assert_eq!(run(&mut text.chars().map(String::from)), whole, "{text:?}");
        whole
    }

    #[test]
    fn thought_and_answer_are_separated() {
        for (start, text, thought, answer) in [
            (TurnStart::Free, "<think>\nTea?\n</think>\n\nTea.", "\nTea?\n", "Tea."),
            (TurnStart::Free, "\n<think></think>Tea.", "", "Tea."),
            (TurnStart::Thinking, "Tea?\n</think>\n\nTea.", "Tea?\n", "Tea."),
            (TurnStart::Thinking, "a < b </thin", "a < b </thin", ""),
            (TurnStart::Free, "<thick> soup", "", "<thick> soup"),
            (TurnStart::Free, "Tea. </think>", "", "Tea. </think>"),
            (TurnStart::Free, "Write <think> first.", "", "Write <think> first."),
            (TurnStart::Answer, "<think>a</think>b", "", "<think>a</think>b"),
            (TurnStart::Free, "<think>a</think><think>b</think>c", "ab", "c"),
            (TurnStart::Free, "<thi", "", "<thi"),
        ] {
            let expected = (thought.to_owned(), answer.to_owned());
            assert_eq!(split(&ReasoningFormat::think(), start, text), expected, "{text:?}");
        }
    }

    #[test]
    fn channels_are_separated() {
        for (text, thought, answer) in [
            (
                "<|channel|>analysis<|message|>Tea?<|end|><|start|>assistant<|channel|>final\
                 <|message|>Tea.",
                "Tea?",
                "Tea.",
            ),
            ("<|channel|>final<|message|>Tea.", "", "Tea."),
            ("<|channel|>final<|message|>Tea.<|end|><|start|>user", "", "Tea."),
            ("<|channel|>final<|message|>Tea <|en", "", "Tea <|en"),
            ("<|channel|>analysis<|message|>Tea?", "Tea?", ""),
        ] {
            let expected = (thought.to_owned(), answer.to_owned());
            assert_eq!(split(&harmony(), TurnStart::Free, text), expected, "{text:?}");
        }
    }
}
