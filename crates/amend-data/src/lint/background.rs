//! What a run put into its model's prompts beside the conversation: worked examples, the
//! requests of its principles and templates, and the delimiter around content. An answer
//! that repeats any of it is spoilt.

use std::sync::LazyLock;

use regex::Regex;

use crate::store::manifest::Manifest;
use amend_core::constitution::{self, Constitution, Principle, SHIPPED};
use amend_core::prompt::{Delimiter, DelimiterStyle, built_in_texts};
use amend_core::text::overlap::Sequences;

/// What the model was shown.
#[derive(Debug, Clone, Default)]
pub struct Background {
    /// The word sequences of each worked example.
    pub(super) examples: Vec<Sequences>,
    /// The word sequences of the requests of principles and templates.
    pub(super) requests: Sequences,
    /// The delimiter around content. `None` if it is unknown.
    pub(super) delimiter: Option<Delimiter>,
}

/// The code of a template, which models never see.
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}").expect("the pattern is fixed")
});

impl Background {
    /// The background of data of unknown origin: that of the constitutions and templates that
    /// ship with amend, without a delimiter.
    #[must_use]
    pub fn shipped() -> Self {
        static ALL: LazyLock<Background> = LazyLock::new(|| {
            let mut background = Background::default();
            for (name, text) in SHIPPED {
                if let Ok(constitution) = constitution::parse(name, text) {
                    background.add(&constitution);
                }
            }
            for text in built_in_texts() {
                background.add_template(text);
            }
            background
        });
        ALL.clone()
    }

    /// The background of a run.
    #[must_use]
    pub fn from_manifest(manifest: &Manifest) -> Self {
        let mut background = Self::default();
        background.add(&manifest.constitution.value);
        for template in manifest.templates.values() {
            background.add_template(&template.value);
        }
        let style = DelimiterStyle::ALL.into_iter();
        let style = style.clone().find(|style| style.as_str() == manifest.fence_style);
        let delimiter = Delimiter::new(&manifest.fence).ok().zip(style);
        background.delimiter = delimiter.map(|(delimiter, style)| delimiter.in_style(style));
        background
    }

    fn add_template(&mut self, template: &str) {
        // A sequence must not join the words before and after code.
        for text in CODE.split(template) {
            self.requests.add(text);
        }
    }

    fn add(&mut self, constitution: &Constitution) {
        for Principle { principle, critique, revise, judge, applies_when, examples, .. } in
            &constitution.principles
        {
            for text in [principle, critique, revise, judge, applies_when] {
                self.requests.add(text);
            }
            for example in examples {
                let mut sequences = Sequences::default();
                for text in
                    [&example.prompt, &example.response, &example.critique, &example.revision]
                {
                    sequences.add(text);
                }
                self.examples.push(sequences);
            }
        }
    }
}
