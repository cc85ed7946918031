//! Converts conversations to tokens, so that content never becomes a control token.

use std::sync::Arc;

use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::vocab::LlamaVocab;

use crate::llama::kv::trie::Token;
use amend_core::chat::{
    ChatTemplate, Message, NextTurn, Reasoning, RenderedChat, Role, Segment, TurnStart,
};
use amend_core::model::Failure;

/// A completion whose decoded tokens can be part of a later prompt.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Its text.
    pub text: String,
    /// Its tokens, without the one that ended the turn.
    pub tokens: Vec<Token>,
}

/// A prompt in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens.
    pub tokens: Vec<Token>,
    /// How many of them are the leading shared turns and the scaffold that opens the turn
    /// after them.
    pub shared: usize,
    /// What the model continues.
    pub start: TurnStart,
}

/// Renders a conversation and tokenises each segment separately, so that no token spans
/// scaffold and content.
///
/// An assistant turn with the text of a completion in `history` gets the tokens that were
/// decoded, since the same text may have other tokens too. If the final turn is the assistant's, the response begins
/// with it.
///
/// # Errors
/// The chat template fails, or content would become a control token.
pub fn prompt(
    vocab: &LlamaVocab<'_>,
    template: &ChatTemplate,
    turns: &[Message],
    shared_turns: usize,
    (reasoning, next): (&Reasoning, NextTurn),
    history: &[Arc<Decoded>],
) -> Result<Prompt, Failure> {
    let RenderedChat { segments, start } = template
        .render(turns, reasoning, next)
        .map_err(|error| Failure::ChatTemplate { message: error.to_string() })?;
    let mut tokens: Vec<Token> = Vec::new();
    let mut shared = 0;
    // A chat template may move a turn, so the shared turns end at the first other one. The
    // scaffold that opens it is shared too, but not that of the assistant's next turn.
    let mut is_shared = true;
    let is_scaffold = |segment: &Segment| matches!(segment, Segment::Scaffold(_));
    let opening = segments.iter().rposition(|segment| !is_scaffold(segment)).map_or(0, |at| at + 1);
    for (at, segment) in segments.iter().enumerate() {
        is_shared &= match segment {
            Segment::Scaffold(_) => true,
            Segment::Content(turn, _) | Segment::Thought(turn, _) => *turn < shared_turns,
        };
        match segment {
            Segment::Scaffold(text) => {
                let parsed = vocab.tokenize(text.as_bytes(), false, true);
                let bos = vocab.bos();
                if tokens.is_empty() && vocab.should_add_bos() && parsed.first() != Some(&bos) {
                    tokens.push(bos.0);
                }
                tokens.extend(parsed.iter().map(|token| token.0));
            }
            Segment::Thought(_, text) => tokens.extend(content(vocab, text)?),
            Segment::Content(turn, text) => {
                let is_assistant = turns[*turn].role == Role::Assistant;
                let mut completions = history.iter().rev().filter(|_| is_assistant);
                match completions.find(|decoded| decoded.text.trim() == text.trim()) {
                    Some(decoded) => tokens.extend_from_slice(&decoded.tokens),
                    None => tokens.extend(content(vocab, text)?),
                }
            }
        }
        if is_shared && at < opening {
            shared = tokens.len();
        }
    }
    Ok(Prompt { tokens, shared, start })
}

/// Tokenises plain text without control tokens, whatever the text contains.
///
/// llama.cpp does not parse control tokens in plain text, but it does parse those that a
/// vocabulary marks as user-defined. The text of such a token is split in two, so that it
/// is spelled out, unless it is only white space.
///
/// # Errors
/// [`Failure::ForgedToken`] if the tokens still contain a control token.
pub fn content(vocab: &LlamaVocab<'_>, text: &str) -> Result<Vec<Token>, Failure> {
    let mut parts = vec![text.to_owned()];
    loop {
        let mut tokens = Vec::new();
        let mut forged_text = None;
        for part in &parts {
            let parsed = vocab.tokenize(part.as_bytes(), false, false);
            if forged_text.is_none() {
                forged_text = parsed.iter().find_map(|&token| forged(vocab, token));
            }
            tokens.extend(parsed.iter().map(|token| token.0));
        }
        let Some(spelling) = forged_text else { return Ok(tokens) };
        let cut: Vec<String> = parts.iter().flat_map(|part| split(part, &spelling)).collect();
        if cut == parts {
            return Err(Failure::ForgedToken { token: spelling });
        }
        parts = cut;
    }
}

/// The text of a token if content must not become it; otherwise `None`.
fn forged(vocab: &LlamaVocab<'_>, token: LlamaToken) -> Option<String> {
    let attributes = vocab.attr(token);
    let is_special = attributes.contains(LlamaTokenAttr::Control)
        || attributes.contains(LlamaTokenAttr::UserDefined)
        || vocab.is_eog(token);
    if !is_special {
        return None;
    }
    let spelling = String::from_utf8_lossy(&vocab.token_to_piece(token, true, None)).into_owned();
    // White space and single characters can't open or close a turn.
    let is_harmless = !attributes.contains(LlamaTokenAttr::Control)
        && (spelling.trim().is_empty() || spelling.chars().count() == 1);
    if is_harmless {
        return None;
    }
    Some(spelling)
}

/// Splits a text after the first character of every occurrence of `spelling`.
fn split(part: &str, spelling: &str) -> Vec<String> {
    let Some(first) = spelling.chars().next() else { return vec![part.to_owned()] };
    let mut pieces = Vec::new();
    let mut start = 0;
    for (at, _) in part.match_indices(spelling) {
        let cut = at + first.len_utf8();
        // A single character can't be split further.
        if cut < part.len() && cut > start {
            pieces.push(part[start..cut].to_owned());
            start = cut;
        }
    }
    pieces.push(part[start..].to_owned());
    pieces
}

/// Joins the bytes of tokens to text. Holds back a character that is split over several
/// tokens until it is complete.
#[derive(Debug, Default)]
pub struct Utf8 {
    pending: Vec<u8>,
}

impl Utf8 {
    /// Adds the bytes of a token and returns the text that is now complete. Replaces bytes
    /// that can't become a character by U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut kept = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            kept += chunk.valid().len();
            let invalid = chunk.invalid();
            let at_end = kept + invalid.len() == self.pending.len();
            if invalid.is_empty() || (at_end && may_become_character(invalid)) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            kept += invalid.len();
        }
        self.pending.drain(..kept);
        text
    }

    /// Returns the rest at the end of the text: an incomplete character as U+FFFD.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

fn may_become_character(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_divides_every_occurrence_after_its_first_character() {
        assert_eq!(split("a<t>b<t><t>", "<t>"), ["a<", "t>b<", "t><", "t>"]);
        assert_eq!(split("no such thing", "<t>"), ["no such thing"]);
        assert_eq!(split("ä€ä€", "ä€"), ["ä", "€ä", "€"]);
        assert_eq!(split("<", "<"), ["<"]);
    }

    #[test]
    fn characters_split_over_tokens_are_joined() {
        let mut utf8 = Utf8::default();
        let bytes = "a€𝄞!".as_bytes();
        let pieces: Vec<String> = bytes.iter().map(|byte| utf8.push(&[*byte])).collect();
        assert_eq!(pieces, ["a", "", "", "€", "", "", "", "𝄞", "!"]);
        assert_eq!(utf8.finish(), "");
    }

    #[test]
    fn invalid_bytes_are_replaced() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"x\xffy\xe2\x82"), "x\u{fffd}y");
        assert_eq!(utf8.push(b"z"), "\u{fffd}z");
        assert_eq!(utf8.push(b"\xe2"), "");
        assert_eq!(utf8.finish(), "\u{fffd}");
    }
}
