//! The dataset card, `README.md`. It starts with the YAML metadata that the
//! `datasets` library and the Hugging Face hub read.

use arrow_schema::Schema;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Value, json};

use super::statistics::ExportStatistics;
use crate::export::{Counts, ExportError, ExportOptions, SIMILAR, Splits};
use crate::format::features;
use crate::format::thoughts::ThoughtWriter;
use crate::store::run_dir::RunDir;
use amend_core::text::format::percent;

const TEMPLATE: &str = include_str!("card.md.j2");

/// The content of a dataset card.
pub(super) struct DatasetCard<'a> {
    pub name: &'a str,
    pub licence: &'a str,
    pub run: &'a RunDir,
    pub export: &'a ExportOptions<'a>,
    pub splits: &'a Splits,
    pub seed: u64,
    /// The file of each split.
    pub files: &'a [String],
    /// The bytes of each split's texts: about the size of its table.
    pub bytes: &'a [usize],
    /// The total size of the files, in bytes.
    pub download: u64,
    pub schema: &'a Schema,
    pub thoughts: &'a ThoughtWriter,
    pub counts: &'a Counts,
    pub statistics: &'a ExportStatistics,
}

impl DatasetCard<'_> {
    /// Renders the text of `README.md`.
    pub fn render(&self) -> Result<String, ExportError> {
        let manifest = self.run.manifest();
        let constitution = manifest.constitution.value.to_json();
        let splits: Vec<Value> = (self.counts.splits.iter().zip(self.files).zip(self.bytes))
            .map(|(((name, rows), file), bytes)| {
                json!({"name": name, "rows": rows, "file": file, "bytes": bytes})
            })
            .collect();
        let fields = || self.schema.fields().iter().map(AsRef::as_ref);
        let columns: Vec<_> =
            fields().map(|field| (field.name(), features::in_words(field))).collect();
        let dropped: Vec<_> =
            (self.counts.dropped.iter()).map(|(reason, count)| (reason.explain(), count)).collect();
        let filtered: Vec<_> = self.counts.filtered.iter().collect();
        let full = format!("{constitution:#}");
        let context = json!({
            "name": self.name,
            "licence": self.licence,
            "run": self.run.hash(),
            "manifest": {
                "amend": manifest.amend,
                "model": manifest.model,
                "input_rows": manifest.input.rows,
                // As text: the template engine has smaller integers.
                "seed": manifest.seed.to_string(),
                "reproducible": manifest.reproducible,
            },
            "constitution": constitution,
            "constitution_sha256": manifest.constitution.sha256,
            "constitution_full": full,
            "fence": fence(&full),
            "format": self.export.format.name,
            "about": self.export.format.about,
            "noun": self.export.format.nouns()[1],
            "written_rows": self.export.in_words(self.counts.written),
            "which": self.export.which.as_str(),
            "file_format": self.export.file_format.as_str(),
            "split_shares": self.splits.to_string(),
            "split_seed": self.seed.to_string(),
            "similar": SIMILAR,
            "splits": splits,
            "columns": columns,
            "features": features::yaml(fields(), 2),
            "size": self.bytes.iter().sum::<usize>(),
            "download": self.download,
            "size_category": size_category(self.counts.written),
            "written": self.counts.written,
            "dropped": dropped,
            "filtered": filtered,
            "thoughts": self.thoughts.in_words(),
            "with_thoughts": self.counts.with_thoughts,
            "without_thoughts": self.counts.without_thoughts,
            "has_switch": self.thoughts.column().is_some(),
            "reviewed": self.statistics.reviewed(),
            "lengths": self.statistics.spreads(),
            "categories": self.statistics.categories(),
            "verdicts": self.statistics.verdicts(),
            "judge_model": manifest.judge_model,
            "student_model": manifest.student_model,
            "verdicts_of": verdicts_of(self.run),
            "source_model": manifest.input.run.as_ref().map(|run| &run.model),
            "longer": self.statistics.longer_share().map(|share| percent(share, 1)),
        });
        let mut environment = Environment::new();
        // The template handles keys that the description of a model leaves out.
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
        environment.set_syntax(syntax.build().map_err(ExportError::Card)?);
        environment.add_filter("cell", cell);
        environment.add_filter("quoted", quoted);
        environment
            .render_str(TEMPLATE, minijinja::Value::from(Serde(&context)))
            .map_err(ExportError::Card)
    }
}

/// The verdicts that stand for those of the run, for the template; null if none do.
fn verdicts_of(run: &RunDir) -> Value {
    let Some(verdicts) = run.verdicts() else { return Value::Null };
    json!({
        "name": verdicts.name(),
        "judges": verdicts.judge_names(),
        "constitution": verdicts.constitution().name,
        "version": verdicts.constitution().version,
        "max_disagreement": verdicts.max_disagreement(),
    })
}

/// Escapes a text for a table cell: one line, without column separators.
fn cell(text: String) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Quotes a text as a YAML string. JSON strings are valid YAML.
fn quoted(text: String) -> String {
    Value::String(text).to_string()
}

/// Returns a code fence longer than any row of backquotes in `text`.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat((longest + 1).max(3))
}

/// The hub's size category for a number of rows.
fn size_category(rows: u64) -> &'static str {
    const NAMES: [&str; 6] =
        ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M"];
    let thousands = (rows / 1000).checked_ilog10().map_or(0, |digits| digits as usize + 1);
    NAMES[thousands.min(NAMES.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_escaped_for_cells_strings_and_fences() {
        assert_eq!(cell("a | b\nc".to_owned()), "a \\| b c");
        assert_eq!(quoted("a: \"b\"\n".to_owned()), r#""a: \"b\"\n""#);
        for (text, expected) in
            [("", "```"), ("a `b`", "```"), ("```", "````"), ("`````x", "``````")]
        {
            assert_eq!(fence(text), expected, "{text}");
        }
    }

    #[test]
    fn size_categories_match_the_hub() {
        for (rows, expected) in [
            (0, "n<1K"),
            (999, "n<1K"),
            (1_000, "1K<n<10K"),
            (999_999, "100K<n<1M"),
            (1_000_000, "1M<n<10M"),
            (70_000_000, "10M<n<100M"),
        ] {
            assert_eq!(size_category(rows), expected);
        }
    }
}
