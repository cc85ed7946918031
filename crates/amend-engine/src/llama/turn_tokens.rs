//! The tokens around turns and thoughts.

use std::collections::BTreeSet;

use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;

use crate::llama::kv::trie::Token;
use amend_core::chat::{ChatTemplate, Message, NextTurn, Reasoning, Role, Segment};

/// The tokens around turns and thoughts.
#[derive(Debug, Default)]
pub struct TurnTokens {
    /// The tokens that end a turn.
    pub ends: Vec<Token>,
    /// Further control tokens that the chat template writes between turns. A model that
    /// writes one has left its turn.
    pub borders: BTreeSet<Token>,
    /// The control tokens in the marks around thoughts. Their text tells thought and answer
    /// apart.
    pub marks: BTreeSet<Token>,
}

impl TurnTokens {
    /// Finds the tokens of a model.
    pub fn new(vocab: &LlamaVocab<'_>, template: &ChatTemplate) -> Self {
        let all = || (0..vocab.n_tokens()).map(LlamaToken);
        let control = |text: &str| -> Vec<Token> {
            let tokens = vocab.tokenize(text.as_bytes(), false, true);
            tokens.into_iter().filter(|&token| vocab.is_control(token)).map(|t| t.0).collect()
        };
        let mut borders: BTreeSet<Token> =
            scaffolds(template).iter().flat_map(|text| control(text)).collect();
        let mut marks = BTreeSet::new();
        if let Some(format) = template.reasoning() {
            let thought = || format.starts.iter().chain(&format.ends);
            let texts = || thought().chain(&format.answer_starts).chain(&format.answer_ends);
            marks.extend(texts().flat_map(|text| control(text)));
            // Where channels tell thought and answer apart, their marks border the answer too.
            if format.answer_starts.is_empty() {
                borders.retain(|token| !marks.contains(token));
            }
        }
        let ends = all().filter(|&token| vocab.is_eog(token)).map(|token| token.0).collect();
        Self { ends, borders, marks }
    }
}

/// What the template writes around the turns of a short conversation.
fn scaffolds(template: &ChatTemplate) -> Vec<String> {
    let turns = [Role::User, Role::Assistant, Role::User].map(|role| Message::new(role, "…"));
    let rendered = template.render(&turns, &Reasoning::default(), NextTurn::Reply);
    let segments = rendered.map(|chat| chat.segments).unwrap_or_default();
    segments
        .into_iter()
        .filter_map(|segment| match segment {
            Segment::Scaffold(text) => Some(text),
            Segment::Content(..) | Segment::Thought(..) => None,
        })
        .collect()
}
