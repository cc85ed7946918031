//! The marks of a model's thoughts, read off what its chat template writes: those of its
//! family, or those around a thought.

use super::ReasoningFormat;
use super::families::{self, FAMILIES, Family, HARMONY_THOUGHT};

/// What gpt-oss says about its tool calls, which is no part of the answer.
const HARMONY_COMMENTARY: &str = "<|channel|>commentary<|message|>";

/// The marks of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    /// Opens a thought, with the white space after it.
    open: String,
    /// Ends a thought.
    end: String,
    /// Stands between a thought and the answer.
    close: String,
    /// Begins the answer. Empty if nothing does.
    answer: String,
    /// Ends the answer before the turn ends. Empty if nothing does.
    answer_end: String,
    /// Whether the family is sure to think. A template that only removes thoughts may belong
    /// to a model that never has any.
    pub is_certain: bool,
}

impl Marks {
    /// The marks of the family whose templates write a text like this.
    pub fn known(text: &str) -> Option<Self> {
        let family = families::find(text)?;
        Some(Self::from_family(family, family.is_certain(text)))
    }

    /// The marks of every known family.
    pub fn all() -> impl Iterator<Item = Self> {
        FAMILIES.iter().map(|family| Self::from_family(family, true))
    }

    /// The marks of a family that no template shows, whose thoughts stand between two texts.
    pub fn between(start: &'static str, end: &'static str) -> Self {
        Self::from_family(&families::tags(&[], start, end), true)
    }

    fn from_family(family: &Family, is_certain: bool) -> Self {
        Self {
            open: family.open.to_owned(),
            end: family.end.to_owned(),
            close: family.close.to_owned(),
            answer: family.answer.to_owned(),
            answer_end: family.answer_end.to_owned(),
            is_certain,
        }
    }

    /// The marks around a thought that a template wrote. `tail` is what opens a turn, `before`
    /// stands between the user's text and the thought, `between` between the thought and the
    /// answer, and `answered` between the user's text and an answer without a thought.
    pub fn around(tail: &str, answered: Option<&str>, before: &str, between: &str) -> Option<Self> {
        let header = match (before.strip_prefix(tail), answered) {
            (Some(open), _) if !open.trim().is_empty() => tail,
            // The prompt opens the thought. Its mark begins where the prompt and an earlier
            // turn without a thought differ.
            (_, Some(answered)) => {
                let common = common_prefix(before, answered);
                match before[..common].rfind(['<', '[']) {
                    // Inside a tag.
                    Some(tag) if !before[tag..common].contains(['>', ']']) => &before[..tag],
                    _ => &before[..common],
                }
            }
            (_, None) => return None,
        };
        let open = &before[header.len()..];
        let answer = answered.and_then(|answered| answered.strip_prefix(header)).unwrap_or("");
        let end = match between.strip_suffix(answer) {
            Some(end) if !end.trim().is_empty() => end,
            _ => between,
        };
        let answer = &between[end.len()..];
        // The answer may be a message of its own, with the header of a turn before it.
        let is_header = |at: &usize| *at > 0 && header.ends_with(end[*at..].trim_end());
        let end = match end.match_indices('<').map(|(at, _)| at).find(is_header) {
            Some(at) => &end[..at],
            None => end,
        };
        if open.trim().is_empty() || header.contains(open.trim()) || end.trim().is_empty() {
            return None;
        }
        Some(Self {
            open: open.to_owned(),
            end: end.trim().to_owned(),
            close: between.to_owned(),
            answer: answer.to_owned(),
            answer_end: String::new(),
            is_certain: true,
        })
    }

    fn start(&self) -> &str {
        self.open.trim()
    }

    /// The header of the answer's message, if the answer is a message of its own.
    fn header(&self) -> Option<&str> {
        let (_, header) = self.close.split_once(&self.end)?;
        let header = header.strip_suffix(&*self.answer)?.trim();
        (!header.is_empty()).then_some(header)
    }

    /// A format with these marks. What is only known from rendering is as in an earlier turn.
    pub fn format(&self) -> ReasoningFormat {
        let mut starts = vec![self.start().to_owned()];
        if self.start() == HARMONY_THOUGHT {
            starts.push(HARMONY_COMMENTARY.to_owned());
        }
        let mut answer_starts = Vec::new();
        if !self.answer.trim().is_empty() {
            answer_starts.push(self.answer.trim().to_owned());
        }
        if let Some(header) = self.header() {
            for marks in [&mut starts, &mut answer_starts] {
                let glue = if self.open.starts_with(' ') { " " } else { "" };
                marks.extend(marks.clone().iter().map(|mark| format!("{header}{glue}{mark}")));
            }
        }
        ReasoningFormat {
            starts,
            ends: vec![self.end.clone()],
            answer_starts,
            answer_ends: Some(self.answer_end.clone())
                .into_iter()
                .filter(|it| !it.is_empty())
                .collect(),
            open: self.open.clone(),
            close: self.close.clone(),
            empty: String::new(),
            switch: None,
            thinks_by_default: true,
            key: None,
            has_effort: false,
        }
    }

    /// What opens a thought in a rendered text that begins with `header`.
    pub fn opening(&self, text: &str, header: &str) -> String {
        let Some(start) = text.rfind(self.start()) else { return self.open.clone() };
        let is_gap = |gap: &str| gap.trim().is_empty();
        let at = match text[..start].strip_prefix(header) {
            Some(gap) if is_gap(gap) => header.len(),
            _ => start,
        };
        text[at..].to_owned()
    }

    /// What opens and closes an empty thought in a rendered text that ends with one.
    pub fn open_and_close(&self, text: &str) -> Option<(String, String)> {
        let (_, rest) = text.rsplit_once(self.start())?;
        let (gap, after) = rest.split_once(&*self.end)?;
        if !gap.trim().is_empty() {
            return None;
        }
        let half = gap.len() / 2;
        // A single line break belongs to both sides.
        let (before, after_thought) = match gap.len() {
            1 => (gap, gap),
            _ => (gap.get(..half)?, gap.get(half..)?),
        };
        Some((format!("{}{before}", self.start()), format!("{after_thought}{}{after}", self.end)))
    }

    /// Completes what is written between a thought and the answer, and in place of a thought.
    /// `closed` is a rendered text that ends with an empty thought.
    pub fn complete(&self, format: &mut ReasoningFormat, closed: Option<&str>) {
        let with_answer = |mut text: String| {
            if !text.contains(&*self.answer) {
                text.push_str(&self.answer);
            }
            text
        };
        format.close = with_answer(std::mem::take(&mut format.close));
        format.empty = match closed.and_then(|text| Some(&text[self.empty_at(text)?..])) {
            _ if self.header().is_some() => self.answer.clone(),
            Some(empty) => with_answer(empty.to_owned()),
            None => format!("{}{}", format.open, format.close),
        };
    }

    /// Where an empty thought begins.
    fn empty_at(&self, text: &str) -> Option<usize> {
        text.rfind(self.start()).or_else(|| text.rfind(&*self.end))
    }
}

/// The length of the common beginning of two texts.
fn common_prefix(a: &str, b: &str) -> usize {
    let pairs = a.chars().zip(b.chars());
    pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}
