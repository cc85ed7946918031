//! How the assistant's next turn begins.
//!
//! The caller of [`ChatTemplate::render`](super::ChatTemplate::render) says in [`NextTurn`] what
//! the turn may begin with. Together with a turn that the conversation has begun, this makes
//! [`Begins`], which decides the variables of the template. What the template then writes ends
//! with a [`Tail`]. [`begin`] adds what is missing between the two, and returns as [`TurnStart`]
//! what is left to the model.

use super::{ReasoningFormat, ReasoningMode, Segment};

/// What the assistant's next turn may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTurn {
    /// A thought, if the settings allow one, or the answer.
    Reply,
    /// The answer: a thought that the template opens is closed.
    Answer,
}

/// How the assistant's next turn is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins<'a> {
    /// As the settings say.
    Free,
    /// With this thought.
    Thought(&'a str),
    /// With the answer.
    Answer,
}

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
    pub fn read(scaffold: &str, format: &ReasoningFormat) -> Self {
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
            // A mark before other text belongs to the turn before.
            (Some(start), _) if scaffold[start..].trim().is_empty() => Self::Open,
            // The end without its start, which may also be the end of the turn before.
            (None, Some(end)) if scaffold[end..].trim().is_empty() => Self::Closed,
            (_, _) => Self::Bare,
        }
    }
}

/// How the assistant's next turn begins, as far as the prompt has written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnStart {
    /// The model may begin with a thought or with the answer.
    Free,
    /// The prompt has opened a thought.
    Thinking,
    /// The answer begins.
    Answer,
}

/// Writes what the prompt still needs before the turn begins as it should. `index` is that
/// of the turn.
pub(super) fn begin(
    segments: &mut Vec<Segment>,
    format: Option<&ReasoningFormat>,
    mode: ReasoningMode,
    begins: Begins<'_>,
    index: usize,
) -> TurnStart {
    let Some(format) = format else {
        return match begins {
            Begins::Free => TurnStart::Free,
            Begins::Thought(_) | Begins::Answer => TurnStart::Answer,
        };
    };
    let tail = match segments.last() {
        Some(Segment::Scaffold(text)) => Tail::read(text, format),
        _ => Tail::Bare,
    };
    let is_off = mode == ReasoningMode::Off && format.switch.is_none();
    let answer = format.answer_starts.first().map_or("", String::as_str);
    // If the template switches thoughts off, the model needs no empty thought.
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
    use super::*;

    #[test]
    fn the_tail_of_a_prompt_is_read() {
        for (scaffold, expected) in [
            ("<|im_end|>\n<|im_start|>assistant\n", Tail::Bare),
            ("<|im_end|>\n<|im_start|>assistant\n<think>\n", Tail::Open),
            ("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", Tail::Closed),
            ("<|im_end|>\n<|im_start|>assistant\n</think>", Tail::Closed),
            // Text of the user's turn.
            ("\n<think><|im_end|>\n<|im_start|>assistant\n", Tail::Bare),
        ] {
            assert_eq!(Tail::read(scaffold, &ReasoningFormat::think()), expected, "{scaffold:?}");
        }
    }
}
