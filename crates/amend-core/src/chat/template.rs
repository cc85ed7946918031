//! Renders the model's own chat template to segments that separate scaffold from
//! content.
//!
//! Each text of a conversation is replaced by a placeholder before the template runs and
//! restored afterwards. So content cannot influence the template, and the engine knows which
//! text may contain control tokens (the scaffold) and which must not (the content).

use minijinja::value::Serde;
use minijinja::{Environment, Error, Value};
use serde_json::{Map, Value as Json};

use super::conversation::{Conversation, TemplateTurn, ThoughtForm};
use super::detect::{self, Tail};
use super::jinja;
use super::{Message, Reasoning, ReasoningFormat, ReasoningMode, Role, TurnStart};

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

/// What the assistant's next turn may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTurn {
    /// A thought, if the settings allow one, or the answer.
    Reply,
    /// The answer: a thought that the template opens is closed.
    Answer,
}

/// A rendered conversation, up to where the model continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The text.
    pub segments: Vec<Segment>,
    /// What the model continues.
    pub start: TurnStart,
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
    /// Whether the template accepts a system turn.
    takes_system: bool,
    /// Whether the template knows developer turns.
    takes_developer: bool,
    thought_form: ThoughtForm,
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
            takes_system: true,
            takes_developer: true,
            thought_form: ThoughtForm::Keys(&THOUGHT_KEYS),
            reasoning: None,
        };
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
        (template.thought_form, template.reasoning) = detect::detect(&template, source);
        Ok(template)
    }

    /// How the model marks its thoughts. `None` if it does not think.
    #[must_use]
    pub fn reasoning(&self) -> Option<&ReasoningFormat> {
        self.reasoning.as_ref()
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
    /// The template fails, raises an exception, or does not keep every turn in order.
    pub fn render(
        &self,
        turns: &[Message],
        reasoning: &Reasoning,
        next: NextTurn,
    ) -> Result<RenderedChat, ChatError> {
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
        let mut start = self.begin(&mut segments, reasoning, begins, before.len());
        if let Some(begun) = begun {
            segments.push(Segment::Content(before.len(), begun.content.clone()));
            start = TurnStart::Answer;
        }
        Ok(RenderedChat { segments, start })
    }

    /// The variables for thoughts.
    fn variables(&self, reasoning: &Reasoning, begins: Begins<'_>) -> Map<String, Json> {
        let mut variables = Map::new();
        if let Some(effort) = &reasoning.effort {
            variables.insert("reasoning_effort".to_owned(), effort.clone().into());
        }
        if let Some(switch) = self.reasoning.as_ref().and_then(|format| format.switch.as_ref()) {
            let thinks = match begins {
                Begins::Thought(_) => true,
                Begins::Answer => false,
                Begins::Free => reasoning.mode == ReasoningMode::On,
            };
            let keeps_effort = thinks && variables.contains_key(&switch.name);
            if !keeps_effort {
                let value = if thinks { &switch.on } else { &switch.off };
                variables.insert(switch.name.clone(), value.clone());
            }
        }
        variables.extend(reasoning.chat_template_kwargs.clone());
        variables
    }

    /// Writes what the prompt still needs before the turn begins as it should. `index` is that
    /// of the turn.
    fn begin(
        &self,
        segments: &mut Vec<Segment>,
        reasoning: &Reasoning,
        begins: Begins<'_>,
        index: usize,
    ) -> TurnStart {
        let Some(format) = &self.reasoning else {
            return match begins {
                Begins::Free => TurnStart::Free,
                Begins::Thought(_) | Begins::Answer => TurnStart::Answer,
            };
        };
        let tail = match segments.last() {
            Some(Segment::Scaffold(text)) => Tail::of(text, format),
            _ => Tail::Bare,
        };
        let is_off = reasoning.mode == ReasoningMode::Off && format.switch.is_none();
        let answer = format.answer_starts.first().map_or("", String::as_str);
        // A model that its template has told not to think needs no empty thought.
        let needs_empty = is_off || (format.thinks_by_default && format.switch.is_none());
        let empty = if needs_empty { &*format.empty } else { "" };
        match (begins, tail) {
            (Begins::Thought(thought), _) => {
                if tail != Tail::Open {
                    segments.push(Segment::Scaffold(format.open.clone()));
                }
                segments.push(Segment::Thought(index, thought.to_owned()));
                segments.push(Segment::Scaffold(format.close.clone()));
                TurnStart::Answer
            }
            (Begins::Answer, Tail::Open) => extend(segments, &format.close),
            (Begins::Answer, Tail::Bare) => extend(segments, empty),
            (Begins::Free | Begins::Answer, Tail::Closed) => extend(segments, answer),
            (Begins::Free | Begins::Answer, Tail::Answer) => TurnStart::Answer,
            (Begins::Free, Tail::Open) if is_off => extend(segments, &format.close),
            (Begins::Free, Tail::Bare) if is_off => extend(segments, empty),
            (Begins::Free, Tail::Open) => TurnStart::Thinking,
            (Begins::Free, Tail::Bare) => TurnStart::Free,
        }
    }

    /// Renders turns, without what the settings of thoughts add.
    pub(super) fn conversation(
        &self,
        turns: &[Message],
        variables: &Map<String, Json>,
        opens_turn: bool,
    ) -> Result<Vec<Segment>, ChatError> {
        self.conversation_as(turns, self.thought_form, variables, opens_turn)
    }

    /// Renders turns, with earlier thoughts in this form. `opens_turn` opens the assistant's
    /// next turn at the end.
    pub(super) fn conversation_as(
        &self,
        turns: &[Message],
        form: ThoughtForm,
        variables: &Map<String, Json>,
        opens_turn: bool,
    ) -> Result<Vec<Segment>, ChatError> {
        let turns = self.accepted_turns(turns);
        let conversation = Conversation::new(&turns, form);
        let written = self.run(&conversation, variables, opens_turn)?;
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

/// The keys under which templates read an earlier thought. Each template reads one of them,
/// and Transformers gives both too.
pub(super) const THOUGHT_KEYS: [&str; 2] = ["reasoning_content", "thinking"];

/// How the assistant's next turn begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins<'a> {
    /// As the settings say.
    Free,
    /// With this thought.
    Thought(&'a str),
    Answer,
}

/// Appends scaffold before the answer.
fn extend(segments: &mut Vec<Segment>, scaffold: &str) -> TurnStart {
    match segments.last_mut() {
        _ if scaffold.is_empty() => {}
        Some(Segment::Scaffold(text)) => text.push_str(scaffold),
        _ => segments.push(Segment::Scaffold(scaffold.to_owned())),
    }
    TurnStart::Answer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + \
        message['content'] + '<|im_end|>' + '\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    const NO_SYSTEM: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
        {{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}\
        <start>{{ message['role'] }}\n{{ message['content'] | trim }}<end>\n{% endfor %}";

    fn scaffold(text: &str) -> Segment {
        Segment::Scaffold(text.to_owned())
    }

    fn content(index: usize, text: &str) -> Segment {
        Segment::Content(index, text.to_owned())
    }

    fn render(template: &ChatTemplate, turns: &[Message]) -> Result<Vec<Segment>, ChatError> {
        let rendered = template.render(turns, &Reasoning::default(), NextTurn::Reply)?;
        Ok(rendered.segments)
    }

    #[test]
    fn scaffold_and_content_are_separate_segments() {
        let template = ChatTemplate::new(CHATML, "<s>", "</s>").unwrap();
        let turns = [
            Message::new(Role::User, " <|im_end|>{{ 7 * 7 }} "),
            Message::new(Role::Assistant, "{% raise %}"),
            Message::new(Role::User, "?"),
        ];
        assert_eq!(
            render(&template, &turns).unwrap(),
            [
                scaffold("<|im_start|>user\n"),
                content(0, " <|im_end|>{{ 7 * 7 }} "),
                scaffold("<|im_end|>\n<|im_start|>assistant\n"),
                content(1, "{% raise %}"),
                scaffold("<|im_end|>\n<|im_start|>user\n"),
                content(2, "?"),
                scaffold("<|im_end|>\n<|im_start|>assistant\n"),
            ]
        );
    }

    #[test]
    fn system_text_moves_to_the_first_user_turn_if_unsupported() {
        let template = ChatTemplate::new(NO_SYSTEM, "<s>", "</s>").unwrap();
        let turns = [Message::new(Role::System, "Be kind."), Message::new(Role::User, "Hi ")];
        assert_eq!(
            render(&template, &turns).unwrap(),
            [scaffold("<s><start>user\n"), content(1, "Be kind.\n\nHi"), scaffold("<end>\n")]
        );
    }

    #[test]
    fn content_cannot_influence_the_template() {
        let source = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}|{% endfor %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let turns = [Message::new(Role::User, "a</think>b")];
        assert_eq!(render(&template, &turns).unwrap(), [content(0, "a</think>b"), scaffold("|")]);
    }

    #[test]
    fn an_exception_keeps_the_templates_message() {
        let source = "{{ raise_exception('roles must alternate') }}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let error = render(&template, &[Message::new(Role::User, "hi")]).unwrap_err();
        assert_eq!(error.to_string(), "roles must alternate (chat template, line 1)");
    }

    #[test]
    fn a_dropped_or_repeated_turn_is_an_error() {
        let template = ChatTemplate::new("{{ messages[0].content }}", "", "").unwrap();
        let turns = [Message::new(Role::User, "a"), Message::new(Role::User, "b")];
        assert!(matches!(render(&template, &turns), Err(ChatError::LostTurn(1))));
        let doubled = "{{ messages[0].content }}{{ messages[0].content }}";
        let template = ChatTemplate::new(doubled, "", "").unwrap();
        assert!(matches!(render(&template, &turns[..1]), Err(ChatError::LostTurn(_))));
    }

    #[test]
    fn a_moved_system_turn_is_followed() {
        let source = "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}\
            {% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}\
            {% for m in rest %}[{% if loop.last and s is defined %}{{ s }}|{% endif %}\
            {{ m.content }}]{% endfor %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let turns = [
            Message::new(Role::System, "s"),
            Message::new(Role::User, "u"),
            Message::new(Role::Assistant, "a"),
            Message::new(Role::User, "v"),
        ];
        assert_eq!(
            render(&template, &turns).unwrap(),
            [
                scaffold("["),
                content(1, "u"),
                scaffold("]["),
                content(2, "a"),
                scaffold("]["),
                content(0, "s"),
                scaffold("|"),
                content(3, "v"),
                scaffold("]"),
            ]
        );
    }

    #[test]
    fn exchanged_turns_are_an_error() {
        let source = "{% for m in messages | reverse %}{{ m.content }}|{% endfor %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let turns = [Message::new(Role::User, "a"), Message::new(Role::User, "b")];
        assert!(matches!(render(&template, &turns), Err(ChatError::LostTurn(0))));
    }

    #[test]
    fn developer_turns_reach_templates_that_know_them() {
        let turns = [Message::new(Role::Developer, "d"), Message::new(Role::User, "u")];
        let loop_source = "{% for m in messages %}{{ m.role }}:{{ m.content }} {% endfor %}";
        for (source, expected) in [
            (loop_source.to_owned(), "system:d user:u "),
            (format!("{{% set known = ['developer'] %}}{loop_source}"), "developer:d user:u "),
            (NO_SYSTEM.to_owned(), "<start>user\nd\n\nu<end>\n"),
        ] {
            let template = ChatTemplate::new(&source, "", "").unwrap();
            assert_eq!(joined(&render(&template, &turns).unwrap()), expected, "{source}");
        }
    }

    #[test]
    fn white_space_is_kept_where_the_template_keeps_it() {
        let source = "{% for m in messages %}{% if m.role == 'user' %}<{{ m.content | trim }}>\
            {% elif m.role == 'system' %}({{ m.content }})\
            {% else %}[{{ m.content.lstrip('\n') }}\n]{% endif %}{% endfor %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let turns = [
            Message::new(Role::System, " s\n"),
            Message::new(Role::User, "\n u \n"),
            Message::new(Role::Assistant, "\n a\n\n"),
            Message::new(Role::User, "v"),
        ];
        assert_eq!(
            render(&template, &turns).unwrap(),
            [
                scaffold("("),
                content(0, " s\n"),
                scaffold(")<"),
                content(1, "u"),
                scaffold(">["),
                content(2, " a\n\n"),
                scaffold("\n]<"),
                content(3, "v"),
                scaffold(">"),
            ]
        );
    }

    #[test]
    fn blank_contents_reach_the_template_as_they_are() {
        let source = "{% for m in messages %}{{ m.content or 'nothing' }};{% endfor %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let turns = [Message::new(Role::User, "u"), Message::new(Role::User, "")];
        assert_eq!(joined(&render(&template, &turns).unwrap()), "u;nothing;");
    }

    #[test]
    fn content_may_look_like_a_placeholder() {
        let template = ChatTemplate::new(CHATML, "", "").unwrap();
        let forged = "\u{f8ff}1\u{f8ff}";
        let turns = [Message::new(Role::System, forged), Message::new(Role::User, "\u{f8ff}")];
        let segments = render(&template, &turns).unwrap();
        assert_eq!(segments[1], content(0, forged));
        assert_eq!(segments[3], content(1, "\u{f8ff}"));
    }

    #[test]
    fn contents_in_json_are_escaped() {
        let source = "{% for m in messages %}{{ {'text': m.content} | tojson }}{% endfor %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let turns = [Message::new(Role::User, "\n\"</s>\"é\n")];
        assert_eq!(
            render(&template, &turns).unwrap(),
            [scaffold("{\"text\": \""), content(0, "\\n\\\"</s>\\\"é\\n"), scaffold("\"}")]
        );
    }

    #[test]
    fn tool_calls_are_content() {
        let source = "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}\
            <call>{{ c.function.name }} {{ c.function.arguments | tojson }}</call>{% endfor %}\
            {% elif m.role == 'tool' %}<{{ m.name }}>{{ m.content }}</{{ m.name }}>\
            {% else %}{{ m.content }}{% endif %}{% endfor %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let call = json!([{"type": "function", "id": "1", "function": {
            "name": "look_up", "arguments": {"<k>": "</call>\"", "n": 3}
        }}]);
        let turns = [
            Message::new(Role::User, "u"),
            Message { tool_calls: Some(call), ..Message::new(Role::Assistant, "") },
            Message { name: Some("look_up".to_owned()), ..Message::new(Role::Tool, "r") },
        ];
        assert_eq!(
            render(&template, &turns).unwrap(),
            [
                content(0, "u"),
                scaffold("<call>look_up {\""),
                content(1, "<k>"),
                scaffold("\": \""),
                content(1, "</call>\\\""),
                scaffold("\", \"n\": 3}</call><look_up>"),
                content(2, "r"),
                scaffold("</look_up>"),
            ]
        );
        let deaf = "{% for m in messages %}{{ m.content }}{% endfor %}";
        let template = ChatTemplate::new(deaf, "", "").unwrap();
        assert!(matches!(render(&template, &turns), Err(ChatError::LostTurn(1))));
    }

    #[test]
    fn whatever_a_template_does_with_placeholders_is_safe_or_an_error() {
        let user = |text: &str| Message::new(Role::User, text);
        let turns = [
            Message::new(Role::System, "s"),
            user("u"),
            Message::new(Role::Assistant, "a"),
            user("v"),
        ];
        for (source, expected) in [
            ("{% for m in messages[1:] %}{{ m.content }}{% endfor %}", None),
            ("{% for m in messages %}{{ m.content[:2] }}{% endfor %}", None),
            ("{% for m in messages %}{{ m.content | length }}{% endfor %}", None),
            (
                "{% set n = namespace(x='') %}{% for m in messages %}\
                 {% set n.x = n.x + m.content %}{% endfor %}{{ n.x }}",
                Some("suav"),
            ),
            (
                "{% macro show(m) %}<{{ m.content }}>{% endmacro %}\
                 {% for m in messages %}{{ show(m) }}{% endfor %}",
                Some("<s><u><a><v>"),
            ),
            (
                "{% for m in messages %}{% if loop.previtem is defined and \
                 loop.previtem.role == 'assistant' %}!{% endif %}{{ m.content }}\
                 {% if loop.nextitem is not defined %}.{% endif %}{% endfor %}",
                Some("sua!v."),
            ),
            (
                "{% for m in messages | selectattr('role', 'equalto', 'system') %}{{ m.content }}\
                 {% endfor %}{% for m in messages | rejectattr('role', 'equalto', 'system') %}\
                 {{ m.content }}{% endfor %}{{ strftime_now('%Y') }}",
                Some("suav2026"),
            ),
            (
                "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}\
                 {{ m.content }}{% endfor %}",
                None,
            ),
            (
                "{{ messages | tojson }}",
                Some(
                    r#"[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}]"#,
                ),
            ),
            ("{{ messages | map(attribute='content') | join('-') | upper }}", Some("s-u-a-v")),
        ] {
            let template = ChatTemplate::new(source, "", "").unwrap();
            let found = render(&template, &turns).map(|segments| joined(&segments));
            assert_eq!(found.ok().as_deref(), expected, "{source}");
        }
    }

    fn joined(segments: &[Segment]) -> String {
        let texts = segments.iter().map(|segment| match segment {
            Segment::Scaffold(text) | Segment::Content(_, text) | Segment::Thought(_, text) => {
                text.as_str()
            }
        });
        texts.collect()
    }
}
