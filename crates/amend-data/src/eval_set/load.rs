//! Parses the text of a file into a checked set, and reports all errors at once.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::form::{self, ItemForm, Speaker, ThresholdForm};
use super::{Bound, EvalSet, JUDGE_FLIP, JUDGE_SHIFT, Probe, Threshold, VARIANT, schema};
use amend_core::chat::{Message, Role};
use amend_core::document::diagnostic::{Diagnostic, Diagnostics, closest};
use amend_core::document::schema::{SourceText, read, tables, twice};

/// The largest file, in bytes.
const MAX_BYTES: u64 = 8 << 20;

/// A set with the positions of its measures in the file.
#[derive(Debug, Clone)]
pub struct LoadedEvalSet {
    /// The set.
    pub set: EvalSet,
    source: SourceText,
    /// The byte range of each threshold's measure.
    measures: Vec<Range<usize>>,
}

/// Why a set can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum EvalSetError {
    /// The file can't be read.
    #[error("failed to read the evaluation set {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is too large.
    #[error("the evaluation set {} is larger than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file has errors.
    #[error(transparent)]
    Wrong(#[from] Diagnostics),
}

/// Loads a set from a file.
///
/// # Errors
/// The file can't be read, or all errors in it.
pub fn load(path: &Path) -> Result<LoadedEvalSet, EvalSetError> {
    Ok(parse(&path.display().to_string(), &read_text(path)?)?)
}

/// Returns whether a file looks like an evaluation set: it has a `[set]` table.
#[must_use]
pub fn is_set(path: &Path) -> bool {
    read_text(path)
        .is_ok_and(|text| DeTable::parse_recoverable(&text).0.get_ref().contains_key("set"))
}

fn read_text(path: &Path) -> Result<String, EvalSetError> {
    let io = |source| EvalSetError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(io)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(EvalSetError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// Parses and checks the text of a set.
///
/// # Errors
/// All errors in the text.
pub fn parse(file_name: &str, text: &str) -> Result<LoadedEvalSet, Diagnostics> {
    let source = SourceText { name: file_name.to_owned(), text: text.into() };
    let file: form::EvalSetForm = read(schema(), &source, |tree| {
        let mut errors = twice(&source, tree, "item");
        let thresholds = tables(tree, "threshold");
        errors.extend(thresholds.flat_map(|table| threshold_errors(&source, table)));
        errors.extend(tables(tree, "item").flat_map(|table| item_errors(&source, table)));
        errors.extend(judge_injection_errors(&source, tree));
        errors
    })
    .map_err(Diagnostics)?;
    let measures = file.threshold.iter().map(|threshold| threshold.measure.span()).collect();
    let form::EvalSetHeader { name, version, description, language, judge_injections } = file.set;
    let thresholds = file.threshold.into_iter().filter_map(threshold).collect();
    let probes = file.item.into_iter().map(probe).collect();
    let set =
        EvalSet { name, version, description, language, judge_injections, thresholds, probes };
    Ok(LoadedEvalSet { set, source, measures })
}

impl LoadedEvalSet {
    /// Checks that every threshold's measure is one of `known`.
    ///
    /// # Errors
    /// Each unknown measure, with its position.
    pub fn check_measures(&self, known: &[&str]) -> Result<(), Diagnostics> {
        let unknown = |(threshold, span): (&Threshold, &Range<usize>)| {
            let measure = threshold.measure.as_str();
            if known.contains(&measure) {
                return None;
            }
            let hint = match closest(measure, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known measures: {}", known.join(", ")),
            };
            let message =
                format!("unknown measure {measure:?}: the constitution has no such dimension");
            Some(self.source.error(span.clone(), message).with_hint(hint))
        };
        let errors: Vec<Diagnostic> =
            self.set.thresholds.iter().zip(&self.measures).filter_map(unknown).collect();
        if errors.is_empty() { Ok(()) } else { Err(Diagnostics(errors)) }
    }
}

/// Checks that a table has exactly one of two keys. A missing key is reported at the key
/// `at`.
fn one_of(
    source: &SourceText,
    table: &DeTable<'_>,
    at: &str,
    keys: [&str; 2],
) -> Option<Diagnostic> {
    let [first, second] = keys;
    let (message, span) = match (table.get_key_value(first), table.get_key_value(second)) {
        (Some(_), Some((key, _))) => {
            (format!("`{first}` and `{second}` exclude each other"), key.span())
        }
        // A misspelled key is reported elsewhere.
        (None, None) if table.keys().any(|key| closest(key.get_ref(), keys).is_some()) => {
            return None;
        }
        // If `at` is missing too, that is reported elsewhere.
        (None, None) => (format!("`{first}` or `{second}` is missing"), table.get(at)?.span()),
        _ => return None,
    };
    Some(source.error(span, message).with_hint(format!("give one of `{first}` and `{second}`")))
}

fn threshold_errors(source: &SourceText, table: &DeTable<'_>) -> Vec<Diagnostic> {
    one_of(source, table, "measure", ["at_least", "at_most"]).into_iter().collect()
}

/// Reports `judge_injections` without an item that uses them, and thresholds for them
/// without `judge_injections`.
fn judge_injection_errors(source: &SourceText, tree: &DeTable<'_>) -> Vec<Diagnostic> {
    let header = tree.get("set").and_then(|set| set.get_ref().as_table());
    let texts = header.and_then(|set| set.get("judge_injections"));
    let texts =
        texts.filter(|texts| texts.get_ref().as_array().is_none_or(|texts| !texts.is_empty()));
    let Some(texts) = texts else {
        let measures = tables(tree, "threshold").filter_map(|table| table.get("measure"));
        let injection_measures = measures.filter(|measure| {
            measure.get_ref().as_str().is_some_and(|name| [JUDGE_FLIP, JUDGE_SHIFT].contains(&name))
        });
        let error = |measure: &Spanned<DeValue<'_>>| {
            source
                .error(measure.span(), "this measure needs `judge_injections`, and there are none")
                .with_hint(
                    "add `judge_injections` to `[set]`: prompt injections aimed at the judge",
                )
        };
        return injection_measures.map(error).collect();
    };
    if tables(tree, "item").any(|item| item.contains_key("injection")) {
        return Vec::new();
    }
    let message = "`judge_injections` are not used: no item has an `injection`";
    vec![source.error(texts.span(), message)]
}

fn item_errors(source: &SourceText, table: &DeTable<'_>) -> Vec<Diagnostic> {
    let mut errors: Vec<Diagnostic> =
        one_of(source, table, "id", ["prompt", "turns"]).into_iter().collect();
    let texts = ["system", "prompt"].iter().filter_map(|key| table.get(*key)?.get_ref().as_str());
    let turns: Vec<&DeTable<'_>> = tables(table, "turns").collect();
    let contents = turns.iter().filter_map(|turn| turn.get("content")?.get_ref().as_str());
    if let Some(variants) = table.get("variants")
        && !texts.chain(contents).any(|text| text.contains(VARIANT))
    {
        let message = format!("`variants` are not used: the request does not contain {VARIANT}");
        errors.push(source.error(variants.span(), message));
    }
    for (at, turn) in turns.iter().enumerate() {
        let Some(role) = turn.get("role") else { continue };
        let due = if at % 2 == 0 { "user" } else { "assistant" };
        if role.get_ref().as_str().is_some_and(|found| found != due) {
            errors.push(
                source
                    .error(role.span(), "user and assistant must alternate, starting with the user")
                    .with_label(format!("expected \"{due}\"")),
            );
        }
    }
    if let Some(turns) = table.get("turns")
        && matches!(turns.get_ref(), DeValue::Array(array) if array.len() % 2 == 0)
    {
        errors.push(source.error(turns.span(), "`turns` must end with a user turn"));
    }
    errors
}

/// Converts a checked threshold, which has exactly one bound.
fn threshold(form: ThresholdForm) -> Option<Threshold> {
    let bound = match (form.at_least, form.at_most) {
        (Some(least), _) => Bound::AtLeast(least),
        (_, Some(most)) => Bound::AtMost(most),
        (None, None) => return None,
    };
    let ThresholdForm { measure, kind, category, .. } = form;
    Some(Threshold { measure: measure.into_inner(), kind, category, bound })
}

fn probe(form: ItemForm) -> Probe {
    let turns = form.turns.into_iter().map(|turn| {
        let role = match turn.role {
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
        };
        Message::new(role, turn.content)
    });
    let system = form.system.map(|system| Message::new(Role::System, system));
    let prompt = form.prompt.map(|prompt| Message::new(Role::User, prompt));
    Probe {
        id: form.id,
        kind: form.kind,
        category: form.category,
        messages: system.into_iter().chain(prompt).chain(turns).collect(),
        good: form.good,
        bad: form.bad,
        expect: form.expect,
        checks: form.checks,
        canary: form.injection.map(|injection| injection.canary),
        variants: form.variants.into_iter().flatten().collect(),
    }
}
