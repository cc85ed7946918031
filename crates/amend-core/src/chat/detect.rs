//! Detects how a model marks its thoughts, by what its chat template writes.
//!
//! The template renders short conversations: with an earlier thought, and with thoughts
//! switched on, off, and neither. The marks are those of a known family, or what stands
//! around the earlier thought.

use serde_json::{Map, Value, json};

use super::conversation::ThoughtForm;
use super::marks::Marks;
use super::template::{ChatTemplate, THOUGHT_KEYS};
use super::{Message, ReasoningFormat, Role, Segment, Switch};

/// The variables that switch thoughts on and off: name, value for on, value for off.
const SWITCHES: [(&str, Value, Value); 2] = [
    ("enable_thinking", Value::Bool(true), Value::Bool(false)),
    ("thinking", Value::Bool(true), Value::Bool(false)),
];

/// What the assistant's next turn begins with in a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Neither a thought nor the answer.
    Bare,
    /// A thought.
    Open,
    /// A thought and its end.
    Closed,
    /// The answer.
    Answer,
}

impl Tail {
    /// Reads the scaffold after the last content.
    pub fn of(scaffold: &str, format: &ReasoningFormat) -> Self {
        let last = |marks: &[String]| {
            let ends = marks.iter().map(|mark| Some(scaffold.rfind(mark)? + mark.len()));
            ends.max().flatten()
        };
        let (start, end) = (last(&format.starts), last(&format.ends));
        let answer = last(&format.answer_starts);
        if answer.is_some() && answer > start && answer >= end {
            return Self::Answer;
        }
        match (start, end) {
            (Some(start), Some(end)) if end > start => Self::Closed,
            (Some(_), _) => Self::Open,
            // The end without its start, which may also be the end of the turn before.
            (None, Some(end)) if scaffold[end..].trim().is_empty() => Self::Closed,
            (None, _) => Self::Bare,
        }
    }
}

/// An earlier thought as a template writes it.
#[derive(Debug)]
struct Shown {
    form: ThoughtForm,
    key: Option<&'static str>,
    /// What stands between the user's text and the thought.
    before: String,
    /// What stands between the thought and the answer.
    between: String,
}

/// Detects the form in which the template reads earlier thoughts and how the model marks
/// them.
pub(super) fn detect(
    template: &ChatTemplate,
    source: &str,
) -> (ThoughtForm, Option<ReasoningFormat>) {
    let probe = Probe { template };
    let shown = probe.shown();
    let form = shown.as_ref().map_or(ThoughtForm::Keys(&THOUGHT_KEYS), |shown| shown.form);
    (form, probe.format(source, shown.as_ref()))
}

/// Renders short conversations.
struct Probe<'t> {
    template: &'t ChatTemplate,
}

impl Probe<'_> {
    fn format(&self, source: &str, shown: Option<&Shown>) -> Option<ReasoningFormat> {
        let plain = self.prompt(&[])?;
        let switches =
            || SWITCHES.into_iter().chain(words()).filter(|(name, ..)| source.contains(name));
        let mut haystack = format!("{source}\n{}", plain.text);
        for (name, on, off) in switches() {
            for value in [on, off] {
                haystack.extend(self.prompt(&[(name, value)]).map(|prompt| prompt.text));
            }
        }
        if let Some(shown) = shown {
            haystack.extend([&*shown.before, &*shown.between]);
        }
        let answered = self.answered();
        let marks = Marks::known(&haystack).or_else(|| {
            Marks::around(&plain.tail, answered.as_deref(), &shown?.before, &shown?.between)
        })?;

        let mut format = marks.format();
        format.key = shown.and_then(|shown| shown.key).map(str::to_owned);
        format.has_effort = self.reads_effort();
        let mut switch = None;
        for (name, on, off) in switches() {
            let (Some(with), Some(without)) =
                (self.prompt(&[(name, on.clone())]), self.prompt(&[(name, off.clone())]))
            else {
                continue;
            };
            let closes = Tail::of(&with.tail, &format) != Tail::of(&without.tail, &format);
            if with.text != without.text && (closes || on.is_boolean()) {
                switch = Some((Switch { name: name.to_owned(), on, off }, with, without));
                break;
            }
        }

        let (on, off) = match &switch {
            Some((_, on, off)) => (on, Some(off)),
            None => (&plain, None),
        };
        format.thinks_by_default = match off {
            Some(off) if plain.text == off.text => false,
            Some(_) if plain.text == on.text => true,
            _ => match Tail::of(&plain.tail, &format) {
                Tail::Open => true,
                Tail::Closed | Tail::Answer => false,
                Tail::Bare => marks.are_certain,
            },
        };
        let off_tail = off.map(|off| &*off.tail);
        let closed = [off_tail, answered.as_deref()].into_iter().flatten();
        let closed = closed.filter(|tail| Tail::of(tail, &format) == Tail::Closed).next();
        if Tail::of(&on.tail, &format) == Tail::Open {
            format.open = marks.opening(&on.tail, off_tail.unwrap_or(""));
        } else if let Some(shown) = shown {
            format.open = marks.opening(&shown.before, &on.tail);
        } else if let Some((open, _)) = closed.and_then(|closed| marks.halves(closed)) {
            format.open = open;
        }
        if let Some(shown) = shown {
            format.close.clone_from(&shown.between);
        } else if let Some((_, close)) = closed.and_then(|closed| marks.halves(closed)) {
            format.close = close;
        }
        marks.finish(&mut format, closed);
        format.switch = switch.map(|(switch, ..)| switch);
        Some(format)
    }

    /// The prompt of one user turn with these variables. `None` if the template fails.
    fn prompt(&self, variables: &[(&str, Value)]) -> Option<Prompt> {
        let variables = variables.iter().cloned();
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).collect();
        let turns = [Message::new(Role::User, "u")];
        let segments = self.template.conversation(&turns, &variables, true).ok()?;
        let tail = match segments.last() {
            Some(Segment::Scaffold(text)) => text.clone(),
            _ => String::new(),
        };
        let text = segments.iter().map(text).collect();
        Some(Prompt { text, tail })
    }

    /// Finds the form in which the template writes an earlier thought.
    fn shown(&self) -> Option<Shown> {
        const FORMS: [(ThoughtForm, Option<&str>); 4] = [
            (ThoughtForm::Keys(&["reasoning_content"]), Some("reasoning_content")),
            (ThoughtForm::Keys(&["thinking"]), Some("thinking")),
            (ThoughtForm::Keys(&["reasoning"]), Some("reasoning")),
            (ThoughtForm::Block, None),
        ];
        let thinking: Map<String, Value> =
            SWITCHES.into_iter().map(|(name, on, _)| (name.to_owned(), on)).collect();
        let answer =
            Message { reasoning: Some("t".to_owned()), ..Message::new(Role::Assistant, "a") };
        let turns = [Message::new(Role::User, "u"), answer, Message::new(Role::User, "v")];
        for (form, key) in FORMS {
            for variables in [Map::new(), thinking.clone()] {
                for (turns, opens_turn) in [(&turns[..2], false), (&turns[..], true)] {
                    let rendered =
                        self.template.conversation_as(turns, form, &variables, opens_turn);
                    let Some((before, between)) = rendered.ok().and_then(|it| around_thought(&it))
                    else {
                        continue;
                    };
                    // A template that writes the block itself does not read it.
                    if form == ThoughtForm::Block && before.contains("thinking") {
                        continue;
                    }
                    let form = match key {
                        Some(key) if THOUGHT_KEYS.contains(&key) => {
                            ThoughtForm::Keys(&THOUGHT_KEYS)
                        }
                        _ => form,
                    };
                    return Some(Shown { form, key, before, between });
                }
            }
        }
        None
    }

    /// What stands between the user's text and an earlier answer without a thought.
    fn answered(&self) -> Option<String> {
        let turns = [Message::new(Role::User, "u"), Message::new(Role::Assistant, "a")];
        let segments = self.template.conversation(&turns, &Map::new(), false).ok()?;
        let answer =
            segments.iter().position(|segment| matches!(segment, Segment::Content(1, _)))?;
        match segments.get(answer.checked_sub(1)?)? {
            Segment::Scaffold(text) => Some(text.clone()),
            Segment::Content(..) | Segment::Thought(..) => None,
        }
    }

    fn reads_effort(&self) -> bool {
        let prompt = |effort: &str| self.prompt(&[("reasoning_effort", json!(effort))]);
        match (prompt("low"), prompt("high")) {
            (Some(low), Some(high)) => low.text != high.text,
            (low, high) => low.is_some() != high.is_some(),
        }
    }
}

/// A rendered prompt.
struct Prompt {
    text: String,
    /// What stands after the user's text.
    tail: String,
}

/// The variables whose values are words or numbers. They only count if the prompt then
/// begins the turn in another way.
fn words() -> impl Iterator<Item = (&'static str, Value, Value)> {
    [
        ("thinking_mode", json!("enabled"), json!("disabled")),
        ("thinking_option", json!("on"), json!("off")),
        ("thinking_budget", json!(-1), json!(0)),
        ("reasoning_effort", json!("high"), json!("none")),
        ("reasoning_effort", json!("high"), json!("no_think")),
        ("reasoning_effort", json!("high"), json!("minimal")),
    ]
    .into_iter()
}

fn text(segment: &Segment) -> &str {
    match segment {
        Segment::Scaffold(text) | Segment::Content(_, text) | Segment::Thought(_, text) => text,
    }
}

/// The scaffold before the thought of turn 1, and that between the thought and the answer.
fn around_thought(segments: &[Segment]) -> Option<(String, String)> {
    let thought = segments.iter().position(|it| matches!(it, Segment::Thought(1, _)))?;
    match &segments[thought.checked_sub(1)?..] {
        [
            Segment::Scaffold(before),
            Segment::Thought(..),
            Segment::Scaffold(between),
            Segment::Content(1, _),
            ..,
        ] => Some((before.clone(), between.clone())),
        _ => None,
    }
}
