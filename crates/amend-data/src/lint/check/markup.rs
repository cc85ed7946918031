//! Control tokens written out in content: a trainer's tokenizer makes them real,
//! and the model learns turns that nobody took.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};

use super::{Check, Hit, Mend, Needs, Rule, Severity, excerpt};
use crate::format::example::{Example, Turn};

pub(super) static MARKUP: Rule = Rule {
    name: "template-tokens",
    severity: Severity::Error,
    about: "content spells control tokens or turn markers, which trainers parse as such",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Control tokens of common chat templates. Bare `<s>` is also HTML: it counts
/// only where a tokenizer is given that knows it, or at an end of a text.
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

/// Turns of a transcript inside one text, and begin and end tokens at its ends.
static MARKERS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\n\n(?:Human|Assistant): |^\s*<s>|</s>\s*$").expect("the pattern is fixed")
});

/// Looks for control tokens.
pub(super) struct Markup {
    tokens: Option<Regex>,
}

impl Markup {
    /// Looks for those of common templates and `more`.
    pub(super) fn new(more: &[String]) -> Self {
        // A token of one or two characters is ordinary text.
        let more = more.iter().map(String::as_str).filter(|token| token.trim().chars().count() > 2);
        let mut tokens: Vec<String> =
            COMMON.iter().copied().chain(more).map(regex::escape).collect();
        // Of two that begin alike the longer is named.
        tokens.sort_by_key(|token| std::cmp::Reverse(token.len()));
        // Vocabularies reserve thousands.
        let tokens = RegexBuilder::new(&tokens.join("|")).size_limit(64 << 20).build().ok();
        Self { tokens }
    }
}

impl Check for Markup {
    fn rules(&self) -> &'static [&'static Rule] {
        const { &[&MARKUP] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let find = |turn: &Turn| {
            let token = self.tokens.as_ref().and_then(|tokens| tokens.find(&turn.text));
            let found = token.or_else(|| MARKERS.find(&turn.text))?;
            Some(excerpt(&turn.text, found.start(), found.len()))
        };
        let found =
            example.sides().find_map(|(side, turns)| Some((side, turns.iter().find_map(find)?)));
        if let Some((side, text)) = found {
            let excerpt = format!("{}: {text}", side.name());
            hits.push(Hit { rule: &MARKUP, excerpt, mend: Mend::Remove });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::found;
    use super::*;

    #[test]
    fn control_tokens_are_found_anywhere() {
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
                assert_eq!(found(&common, row.clone()), expected(by_common), "{row}");
                assert_eq!(found(&own, row.clone()), expected(by_own), "{row}");
            }
        }
    }

    #[test]
    fn markers_of_transcripts_are_no_content() {
        let row = json!({
            "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"
        });
        assert_eq!(found(&Markup::new(&[]), row), [""; 0]);
    }
}
