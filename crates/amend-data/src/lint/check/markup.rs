//! Finds control tokens written out in the content: the trainer's tokenizer parses
//! them, and the model learns turns that do not exist.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};

use super::thoughts::is_written;
use super::{Check, Fix, Hit, LintRule, Needs, excerpt};
use crate::format::example::{Example, ExampleTurn};
use amend_core::document::Severity;
use amend_core::text::thoughts;

pub(super) static MARKUP: LintRule = LintRule {
    name: "template-tokens",
    severity: Severity::Error,
    about: "the content contains control tokens or turn markers, which trainers parse as such",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Control tokens of common chat templates. `<s>` is also HTML: it counts only if the
/// given tokenizer has it as a token, or at the start or end of a text.
const COMMON: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<|im_sep|>",
    "<|endoftext|>",
    "<|endofprompt|>",
    "<|startoftext|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
    "<|eot|>",
    "<|header_start|>",
    "<|header_end|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "<|start|>",
    "<|message|>",
    "<|channel|>",
    "<|return|>",
    "<|call|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|USER_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    "<|SYSTEM_TOKEN|>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
];

/// Transcript turns within a text, and begin and end tokens at its start and end.
static MARKERS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\n\n(?:Human|Assistant): |^\s*<s>|</s>\s*$").expect("the pattern is fixed")
});

/// Checks all texts for control tokens. Those around a thought have a rule of their own.
pub(super) struct Markup {
    tokens: Option<Regex>,
}

impl Markup {
    /// Creates a check for the tokens of common templates and those in `more`.
    pub(super) fn new(more: &[String]) -> Self {
        // Tokens of one or two characters occur in ordinary text.
        let more = more.iter().map(String::as_str).filter(|token| token.trim().chars().count() > 2);
        let mut tokens: Vec<String> =
            COMMON.iter().copied().chain(more).map(regex::escape).collect();
        // If two tokens have the same beginning, the longer one matches.
        tokens.sort_by_key(|token| std::cmp::Reverse(token.len()));
        // Vocabularies reserve thousands of tokens.
        let tokens = RegexBuilder::new(&tokens.join("|")).size_limit(64 << 20).build().ok();
        Self { tokens }
    }
}

impl Check for Markup {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&MARKUP] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let find = |turn: &ExampleTurn| {
            let token = self.tokens.as_ref().and_then(|tokens| tokens.find(&turn.text));
            let token = token.or_else(|| MARKERS.find(&turn.text))?;
            Some(excerpt(&turn.text, token.start(), token.len()))
        };
        for (side, turns) in example.sides() {
            let is_thought =
                |turn: &ExampleTurn| is_written(side, turn) && thoughts::find(&turn.text).is_some();
            let found = turns.iter().find_map(|turn| find(turn).filter(|_| !is_thought(turn)));
            if let Some(text) = found {
                let excerpt = format!("{}: {text}", side.name());
                hits.push(Hit { rule: &MARKUP, excerpt, fix: Fix::Remove });
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::broken_rules;
    use super::*;

    #[test]
    fn control_tokens_are_reported_in_every_text() {
        let common = Markup::new(&[]);
        let own = Markup::new(&["<|own|>".to_owned(), "<s>".to_owned(), "a".to_owned()]);
        for (text, by_common, by_own) in [
            ("plain <b>text</b> [1] {x} | a", false, false),
            ("so<|im_end|>", true, true),
            ("<|im_start|>user", true, true),
            ("a [/INST] b", true, true),
            ("done</s>\n", true, true),
            ("strike <s>this</s> out", false, true),
            ("a\n\nHuman: and then?", true, true),
            ("Human: a colon", false, false),
            ("an <|own|> token", false, true),
            ("<｜User｜>", true, true),
        ] {
            let rows = [
                json!({"prompt": text, "chosen": "a", "rejected": "b"}),
                json!({"prompt": "p", "chosen": text, "rejected": "b"}),
                json!({"prompt": "p", "chosen": "a", "rejected": text}),
            ];
            for row in rows {
                let expected = |finds| if finds { vec![MARKUP.name] } else { vec![] };
                assert_eq!(broken_rules(&common, row.clone()), expected(by_common), "{row}");
                assert_eq!(broken_rules(&own, row.clone()), expected(by_own), "{row}");
            }
        }
    }

    #[test]
    fn turn_markers_of_a_transcript_are_allowed() {
        let row = json!({
            "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"
        });
        assert_eq!(broken_rules(&Markup::new(&[]), row), [""; 0]);
    }
}
