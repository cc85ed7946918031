//! Renders the model's own chat template to segments that separate scaffold from
//! content.
//!
//! Each text of a conversation is replaced by a placeholder before the template runs and
//! restored afterwards. So content cannot influence the template, and the engine knows which
//! text may contain control tokens (the scaffold) and which must not (the content).

use minijinja::value::Serde;
use minijinja::{Environment, Error, Value};
use serde_json::{Map, Value as Json};

use super::conversation::{Conversation, MessageForm, TemplateTurn, ThoughtForm};
use super::detect;
use super::jinja;
use super::opening::{Begins, NextTurn, TurnStart, begin};
use super::{
    Message, Reasoning, ReasoningContradiction, ReasoningFormat, ReasoningMode, Role, THOUGHT_KEYS,
};

/// A piece of a rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Text of the chat template, in which control tokens are parsed.
    Scaffold(String),
    /// The content of the turn with this index, or a text of its tool calls, in which nothing
    /// is parsed.
    Content(usize, String),
    /// The thought of the turn with this index, in which nothing is parsed.
    Thought(usize, String),
}

/// A rendered conversation, up to where the model continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The text.
    pub segments: Vec<Segment>,
    /// What the model continues.
    pub start: TurnStart,
}

impl RenderedChat {
    /// The whole text.
    #[must_use]
    pub fn text(&self) -> String {
        joined(&self.segments)
    }
}

/// The text of segments.
pub(super) fn joined(segments: &[Segment]) -> String {
    let texts = segments.iter().map(|segment| match segment {
        Segment::Scaffold(text) | Segment::Content(_, text) | Segment::Thought(_, text) => {
            text.as_str()
        }
    });
    texts.collect()
}

/// An error rendering a conversation.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The template does not compile.
    #[error("the chat template does not compile: {}", describe(.0))]
    Syntax(#[source] Error),
    /// The template failed or raised an exception.
    #[error("{}", describe(.0))]
    Render(#[source] Error),
    /// The template dropped, repeated or reordered a turn.
    #[error("the chat template dropped, repeated or reordered turn {0}")]
    LostTurn(usize),
    /// The template can't write the tool calls of a turn.
    #[error(
        "this model's chat template has no place for tool calls, and turn {0} has some: remove \
         them, or use --chat-template with a template that writes them"
    )]
    NoToolCalls(usize),
    /// The settings contradict each other.
    #[error("{0}: remove one of the two")]
    Contradiction(#[from] ReasoningContradiction),
}

fn describe(error: &Error) -> String {
    match (error.detail(), error.line()) {
        (Some(detail), Some(line)) => format!("{detail} (chat template, line {line})"),
        (Some(detail), None) => detail.to_owned(),
        (None, _) => error.to_string(),
    }
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    /// Whether the template mentions tool calls.
    names_tool_calls: bool,
    /// Whether the template accepts a system turn.
    takes_system: bool,
    /// Whether the template knows developer turns.
    takes_developer: bool,
    form: MessageForm,
    reasoning: Option<ReasoningFormat>,
}

impl ChatTemplate {
    /// Compiles `source`, the GGUF's `tokenizer.chat_template`, and detects how the model marks
    /// its thoughts. `bos` and `eos` are the texts of the model's begin and end tokens.
    ///
    /// # Errors
    /// The template does not compile.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, ChatError> {
        let mut template = Self {
            environment: jinja::compile(source).map_err(ChatError::Syntax)?,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            names_tool_calls: source.contains("tool_calls"),
            takes_system: true,
            takes_developer: true,
            form: MessageForm { has_blocks: false, thought: ThoughtForm::Keys(USUAL_KEYS) },
            reasoning: None,
        };
        let user = [Message::new(Role::User, "u")];
        let text = template.form;
        let blocks = MessageForm { has_blocks: true, ..text };
        let written = |form| template.conversation_as(&user, form, &Map::new(), true);
        if written(text).is_err() && written(blocks).is_ok_and(|it| !has_written_blocks(&it)) {
            template.form = blocks;
        }
        let accepts = |role| {
            let turns = [Message::new(role, "s"), Message::new(Role::User, "u")];
            template.conversation(&turns, &Map::new(), true).is_ok()
        };
        let takes_system = accepts(Role::System);
        // A template that does not know the role may print its name all the same.
        let names_developer =
            ["'developer'", "\"developer\""].iter().any(|name| source.contains(name));
        let takes_developer = names_developer && accepts(Role::Developer);
        template.takes_system = takes_system;
        template.takes_developer = takes_developer;
        (template.form.thought, template.reasoning) = detect::detect(&template, source);
        Ok(template)
    }

    /// How the model marks its thoughts. `None` if it does not think.
    #[must_use]
    pub fn reasoning(&self) -> Option<&ReasoningFormat> {
        self.reasoning.as_ref()
    }

    /// Whether the template accepts a system turn.
    #[must_use]
    pub fn takes_system(&self) -> bool {
        self.takes_system
    }

    /// Renders a conversation and the opening of the assistant's next turn. If the last
    /// turn is the assistant's, the next turn begins with its thought, if it has one, and
    /// its text.
    ///
    /// If the template does not accept a system turn, the system text is put before the text
    /// of the first user turn. If it does not know developer turns, they become system turns.
    /// If it moves the system turn, the segments come in its order.
    ///
    /// # Errors
    /// The template fails, raises an exception, or does not keep every turn in order. The
    /// settings contradict each other.
    pub fn render(
        &self,
        turns: &[Message],
        reasoning: &Reasoning,
        next: NextTurn,
    ) -> Result<RenderedChat, ChatError> {
        if let Some(format) = &self.reasoning {
            format.check(reasoning)?;
        }
        let (before, begun) = match turns.split_last() {
            Some((last, before)) if last.role == Role::Assistant => (before, Some(last)),
            _ => (turns, None),
        };
        let begins = match (begun, next) {
            (Some(Message { reasoning: Some(thought), .. }), _) => Begins::Thought(thought),
            (Some(_), _) | (None, NextTurn::Answer) => Begins::Answer,
            (None, NextTurn::Reply) => Begins::Free,
        };
        let variables = self.variables(reasoning, begins);
        let mut segments = self.conversation(before, &variables, true)?;
        let mut start =
            begin(&mut segments, self.reasoning.as_ref(), reasoning.mode, begins, before.len());
        if let Some(begun) = begun {
            segments.push(Segment::Content(before.len(), begun.content.clone()));
            start = TurnStart::Answer;
        }
        Ok(RenderedChat { segments, start })
    }

    /// The variables for thoughts. Those of the settings win where the mode leaves it open
    /// whether the model thinks.
    fn variables(&self, reasoning: &Reasoning, begins: Begins<'_>) -> Map<String, Json> {
        let mut variables = Map::new();
        if let Some(effort) = &reasoning.effort {
            variables.insert("reasoning_effort".to_owned(), effort.clone().into());
        }
        variables.extend(reasoning.chat_template_kwargs.clone());
        if let Some(switch) = self.reasoning.as_ref().and_then(|format| format.switch.as_ref()) {
            let mode = match begins {
                Begins::Thought(_) => ReasoningMode::On,
                Begins::Answer => ReasoningMode::Off,
                Begins::Free => reasoning.mode,
            };
            // A value may be one of several with thoughts, such as an effort.
            let is_set = match (variables.get(&switch.name), mode) {
                (None, _) | (Some(_), ReasoningMode::Off) => false,
                (Some(_), ReasoningMode::Auto) => true,
                (Some(value), ReasoningMode::On) => *value != switch.off,
            };
            if !is_set {
                let value = if mode == ReasoningMode::On { &switch.on } else { &switch.off };
                variables.insert(switch.name.clone(), value.clone());
            }
        }
        variables
    }

    /// Renders turns, without what the settings of thoughts add.
    pub(super) fn conversation(
        &self,
        turns: &[Message],
        variables: &Map<String, Json>,
        opens_turn: bool,
    ) -> Result<Vec<Segment>, ChatError> {
        self.conversation_as(turns, self.form, variables, opens_turn)
    }

    /// The form in which the template reads messages.
    pub(super) fn form(&self) -> MessageForm {
        self.form
    }

    /// Renders turns, with messages in this form. `opens_turn` opens the assistant's
    /// next turn at the end.
    pub(super) fn conversation_as(
        &self,
        turns: &[Message],
        form: MessageForm,
        variables: &Map<String, Json>,
        opens_turn: bool,
    ) -> Result<Vec<Segment>, ChatError> {
        let turns = self.accepted_turns(turns);
        let conversation = Conversation::new(&turns, form);
        let written = self.run(&conversation, variables, opens_turn).map_err(|error| {
            let call = turns.iter().find(|turn| turn.message.tool_calls.is_some());
            match call {
                Some(turn) if !self.names_tool_calls => ChatError::NoToolCalls(turn.index),
                _ => error,
            }
        })?;
        let with_margins = match Conversation::with_margins(&turns, form) {
            Some(conversation) => Some(self.run(&conversation, variables, opens_turn)?),
            None => None,
        };
        conversation.restore(&written, with_margins.as_deref())
    }

    /// The turns in roles that the template accepts.
    fn accepted_turns(&self, turns: &[Message]) -> Vec<TemplateTurn> {
        let mut accepted: Vec<TemplateTurn> = Vec::with_capacity(turns.len());
        for (index, message) in turns.iter().enumerate() {
            let mut message = message.clone();
            if message.role == Role::Developer && !self.takes_developer {
                message.role = Role::System;
            }
            if message.role == Role::User
                && !self.takes_system
                && let Some(system) = accepted.pop_if(|turn| turn.message.role == Role::System)
            {
                message.content = format!("{}\n\n{}", system.message.content, message.content);
            }
            accepted.push(TemplateTurn { index, message });
        }
        accepted
    }

    fn run(
        &self,
        conversation: &Conversation,
        variables: &Map<String, Json>,
        opens_turn: bool,
    ) -> Result<String, ChatError> {
        let mut all = Map::new();
        all.insert("bos_token".to_owned(), self.bos.clone().into());
        all.insert("eos_token".to_owned(), self.eos.clone().into());
        all.insert("tools".to_owned(), Json::Null);
        all.insert("documents".to_owned(), Json::Null);
        all.extend(variables.clone());
        all.insert("add_generation_prompt".to_owned(), opens_turn.into());
        all.insert("messages".to_owned(), conversation.messages());
        self.environment
            .get_template("chat")
            .and_then(|template| template.render(Value::from(Serde(all))))
            .map_err(ChatError::Render)
    }
}

/// Whether a template wrote the blocks of a content as they are, because it does not read them.
pub(super) fn has_written_blocks(segments: &[Segment]) -> bool {
    let is_block = |text: &str| text.contains("'type': ") || text.contains("\"type\": ");
    segments.iter().any(|it| matches!(it, Segment::Scaffold(text) if is_block(text)))
}

/// The keys of a thought that a template gets together. Each template reads one of them.
pub(super) const USUAL_KEYS: &[&str] = THOUGHT_KEYS.split_at(2).0;

#[cfg(test)]
mod tests;
