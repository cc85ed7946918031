//! Renders the model's own chat template to segments that separate scaffold from
//! content.
//!
//! Each turn's content is replaced by an opaque placeholder before the template runs
//! and restored afterwards. So content cannot influence the template, and the engine
//! knows which text may contain control tokens (the scaffold) and which must not (the
//! content).

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

use super::{Message, Reasoning, ReasoningFormat, Role, TurnStart};

/// The date for templates that ask for the current one. It is fixed, because a prompt
/// that changes overnight would make a resumed run differ from an uninterrupted one.
const DATE: Date = Date { year: 2026, month: 1, day: 1, weekday: "Thursday" };

/// Encloses a placeholder: a private-use character that no template contains.
const MARK: char = '\u{f8ff}';

/// A piece of a rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Text of the chat template, in which control tokens are parsed.
    Scaffold(String),
    /// The content of the turn with this index, in which nothing is parsed.
    Content(usize, String),
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
    /// Whether the template strips whitespace around contents.
    trims: bool,
    /// Whether the template accepts a system turn.
    takes_system: bool,
}

#[derive(Serialize)]
struct Marked {
    role: &'static str,
    content: String,
}

impl ChatTemplate {
    /// Compiles `source`, the GGUF's `tokenizer.chat_template`. `bos` and `eos` are the
    /// texts of the model's begin and end tokens.
    ///
    /// # Errors
    /// The template does not compile.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, ChatError> {
        let mut environment = Environment::new();
        // The settings of the reference renderer in Hugging Face Transformers.
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(ChatError::Syntax)?,
        );
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: &str| DATE.format(format));
        environment.set_fuel(Some(1_000_000));
        environment.add_template_owned("chat", source.to_owned()).map_err(ChatError::Syntax)?;

        let mut template = Self {
            environment,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            trims: false,
            takes_system: true,
        };
        let padded = vec![Marked { role: "user", content: format!(" {} ", mark(0)) }];
        template.trims = template
            .run(&padded)
            .is_ok_and(|text| text.contains(&mark(0)) && !text.contains(&padded[0].content));
        let system = [Message::new(Role::System, "s"), Message::new(Role::User, "u")];
        template.takes_system = template.segments(&system).is_ok();
        Ok(template)
    }

    /// How the model marks its thoughts. `None` if it does not think.
    #[must_use]
    pub fn reasoning(&self) -> Option<&ReasoningFormat> {
        None
    }

    /// Renders a conversation and the opening of the assistant's next turn. If the last
    /// turn is the assistant's, the next turn begins with its thought, if it has one, and
    /// its text.
    ///
    /// If the template does not accept a system turn, the system text is put before
    /// the text of the first user turn.
    ///
    /// # Errors
    /// The template fails, raises an exception, or does not keep every turn in order.
    pub fn render(
        &self,
        turns: &[Message],
        _reasoning: &Reasoning,
        next: NextTurn,
    ) -> Result<RenderedChat, ChatError> {
        let (before, begun) = match turns.split_last() {
            Some((last, before)) if last.role == Role::Assistant => (before, Some(last)),
            _ => (turns, None),
        };
        let mut segments = self.conversation(before)?;
        let mut start = match next {
            NextTurn::Reply => TurnStart::Free,
            NextTurn::Answer => TurnStart::Answer,
        };
        if let Some(begun) = begun {
            segments.push(Segment::Content(before.len(), begun.content.clone()));
            start = TurnStart::Answer;
        }
        Ok(RenderedChat { segments, start })
    }

    fn conversation(&self, turns: &[Message]) -> Result<Vec<Segment>, ChatError> {
        match turns {
            [system, user, rest @ ..]
                if !self.takes_system && system.role == Role::System && user.role == Role::User =>
            {
                let joined = format!("{}\n\n{}", system.content, user.content);
                let mut merged = vec![Message::new(Role::User, joined)];
                merged.extend_from_slice(rest);
                let mut segments = self.segments(&merged)?;
                // Contents keep the indices of the turns in `turns`.
                for segment in &mut segments {
                    if let Segment::Content(index, _) = segment {
                        *index += 1;
                    }
                }
                Ok(segments)
            }
            _ => self.segments(turns),
        }
    }

    fn segments(&self, turns: &[Message]) -> Result<Vec<Segment>, ChatError> {
        let marked: Vec<Marked> = (0..)
            .zip(turns)
            .map(|(index, turn)| Marked { role: turn.role.as_str(), content: mark(index) })
            .collect();
        let text = self.run(&marked)?;

        let mut segments = Vec::with_capacity(2 * turns.len() + 1);
        let mut rest = text.as_str();
        for (index, turn) in turns.iter().enumerate() {
            let (scaffold, after) =
                rest.split_once(&mark(index)).ok_or(ChatError::LostTurn(index))?;
            segments.push(Segment::Scaffold(scaffold.to_owned()));
            let content = if self.trims { turn.content.trim() } else { &turn.content };
            segments.push(Segment::Content(index, content.to_owned()));
            rest = after;
        }
        segments.push(Segment::Scaffold(rest.to_owned()));
        for (index, segment) in segments.iter().enumerate() {
            if matches!(segment, Segment::Scaffold(text) if text.contains(MARK)) {
                return Err(ChatError::LostTurn(index / 2));
            }
        }
        segments.retain(|segment| !matches!(segment, Segment::Scaffold(text) if text.is_empty()));
        Ok(segments)
    }

    fn run(&self, messages: &[Marked]) -> Result<String, ChatError> {
        self.environment
            .get_template("chat")
            .and_then(|template| {
                template.render(context! {
                    messages => Value::from(Serde(messages)),
                    bos_token => self.bos.as_str(),
                    eos_token => self.eos.as_str(),
                    add_generation_prompt => true,
                    tools => (),
                    documents => (),
                })
            })
            .map_err(ChatError::Render)
    }
}

fn mark(index: usize) -> String {
    format!("{MARK}{index}{MARK}")
}

struct Date {
    year: u32,
    month: u32,
    day: u32,
    weekday: &'static str,
}

impl Date {
    /// Formats the date by `strftime` directives; unknown ones stay as written.
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
                Some('H' | 'M' | 'S') => text.push_str("00"),
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
    fn the_date_is_fixed() {
        assert_eq!(DATE.format("%d %b %Y, %A %B %e %y%%"), "01 Jan 2026, Thursday January  1 26%");
    }
}
