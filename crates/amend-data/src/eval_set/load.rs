//! One file's text to a checked set, with everything wrong in it at once.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::form::{self, ItemForm, Speaker, ThresholdForm};
use super::{Bound, JUDGE_FLIP, JUDGE_SHIFT, Probe, Set, Threshold, VARIANT, schema};
use amend_core::chat::{Message, Role};
use amend_core::document::diagnostic::{Diagnostic, Diagnostics, closest};
use amend_core::document::schema::{Source, read, tables, twice};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 8 << 20;

/// A set, and where its measures stand in its file.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The set.
    pub set: Set,
    source: Source,
    /// The bytes of each threshold's measure.
    measures: Vec<Range<usize>>,
}

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system refused.
    #[error("failed to read the evaluation set {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any set should be.
    #[error("the evaluation set {} is larger than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file was read and is wrong.
    #[error(transparent)]
    Wrong(#[from] Diagnostics),
}

/// Loads the set in a file.
///
/// # Errors
/// The file can't be read, or everything that is wrong in it.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    Ok(parse(&path.display().to_string(), &read_text(path)?)?)
}

/// Whether a file looks like an evaluation set: it has a `[set]` table.
#[must_use]
pub fn is_set(path: &Path) -> bool {
    read_text(path)
        .is_ok_and(|text| DeTable::parse_recoverable(&text).0.get_ref().contains_key("set"))
}

fn read_text(path: &Path) -> Result<String, LoadError> {
    let io = |source| LoadError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(io)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// Checks a set's text.
///
/// # Errors
/// Everything that is wrong in it.
pub fn parse(file_name: &str, text: &str) -> Result<Loaded, Diagnostics> {
    let source = Source { name: file_name.to_owned(), text: text.into() };
    let file: form::File = read(schema(), &source, |tree| {
        let mut found = twice(&source, tree, "item");
        found.extend(tables(tree, "threshold").flat_map(|table| threshold_faults(&source, table)));
        found.extend(tables(tree, "item").flat_map(|table| item_faults(&source, table)));
        found.extend(judge_injection_faults(&source, tree));
        found
    })
    .map_err(Diagnostics)?;
    let measures = file.threshold.iter().map(|threshold| threshold.measure.span()).collect();
    let form::Header { name, version, description, language, judge_injections } = file.set;
    let thresholds = file.threshold.into_iter().filter_map(threshold).collect();
    let probes = file.item.into_iter().map(probe).collect();
    let set = Set { name, version, description, language, judge_injections, thresholds, probes };
    Ok(Loaded { set, source, measures })
}

impl Loaded {
    /// Checks that every threshold's measure is one of `known`.
    ///
    /// # Errors
    /// Each that is none of them, with its place.
    pub fn check_measures(&self, known: &[&str]) -> Result<(), Diagnostics> {
        let unknown = |(threshold, span): (&Threshold, &Range<usize>)| {
            let measure = threshold.measure.as_str();
            if known.contains(&measure) {
                return None;
            }
            let hint = match closest(measure, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("measured here: {}", known.join(", ")),
            };
            let message =
                format!("nothing measures {measure:?}: the constitution has no such dimension");
            Some(self.source.error(span.clone(), message).with_hint(hint))
        };
        let found: Vec<Diagnostic> =
            self.set.thresholds.iter().zip(&self.measures).filter_map(unknown).collect();
        if found.is_empty() { Ok(()) } else { Err(Diagnostics(found)) }
    }
}

/// What of a table's two keys can't both stand, or can't both be left out.
fn one_of(source: &Source, table: &DeTable<'_>, at: &str, keys: [&str; 2]) -> Option<Diagnostic> {
    let [one, other] = keys;
    let (message, span) = match (table.get_key_value(one), table.get_key_value(other)) {
        (Some(_), Some((key, _))) => {
            (format!("`{one}` and `{other}` can't both stand"), key.span())
        }
        // A slip of either is told as such.
        (None, None) if table.keys().any(|key| closest(key.get_ref(), keys).is_some()) => {
            return None;
        }
        // Where the key that names the table is missing, that is told already.
        (None, None) => (format!("there is neither `{one}` nor `{other}`"), table.get(at)?.span()),
        _ => return None,
    };
    Some(source.error(span, message).with_hint(format!("give one of `{one}` and `{other}`")))
}

fn threshold_faults(source: &Source, table: &DeTable<'_>) -> Vec<Diagnostic> {
    one_of(source, table, "measure", ["at_least", "at_most"]).into_iter().collect()
}

/// Texts that ask for favour and no answer to put them after, or bounds on what
/// they do without any.
fn judge_injection_faults(source: &Source, tree: &DeTable<'_>) -> Vec<Diagnostic> {
    let header = tree.get("set").and_then(|set| set.get_ref().as_table());
    let texts = header.and_then(|set| set.get("judge_injections"));
    let texts =
        texts.filter(|texts| texts.get_ref().as_array().is_none_or(|texts| !texts.is_empty()));
    let Some(texts) = texts else {
        let measures = tables(tree, "threshold").filter_map(|table| table.get("measure"));
        let swayed = measures.filter(|measure| {
            measure.get_ref().as_str().is_some_and(|name| [JUDGE_FLIP, JUDGE_SHIFT].contains(&name))
        });
        let error = |measure: &Spanned<DeValue<'_>>| {
            source
                .error(measure.span(), "nothing measures this: no answer is scored a second time")
                .with_hint("give texts that ask for favour: `judge_injections` under `[set]`")
        };
        return swayed.map(error).collect();
    };
    if tables(tree, "item").any(|item| item.contains_key("injection")) {
        return Vec::new();
    }
    let message = "`judge_injections` have no place to go: no item has an `injection`";
    vec![source.error(texts.span(), message)]
}

fn item_faults(source: &Source, table: &DeTable<'_>) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> =
        one_of(source, table, "id", ["prompt", "turns"]).into_iter().collect();
    let texts = ["system", "prompt"].iter().filter_map(|key| table.get(*key)?.get_ref().as_str());
    let turns: Vec<&DeTable<'_>> = tables(table, "turns").collect();
    let said = turns.iter().filter_map(|turn| turn.get("content")?.get_ref().as_str());
    if let Some(variants) = table.get("variants")
        && !texts.chain(said).any(|text| text.contains(VARIANT))
    {
        let message = format!("`variants` have no place to go: the request has no {VARIANT} in it");
        found.push(source.error(variants.span(), message));
    }
    for (at, turn) in turns.iter().enumerate() {
        let Some(role) = turn.get("role") else { continue };
        let due = if at % 2 == 0 { "user" } else { "assistant" };
        if role.get_ref().as_str().is_some_and(|found| found != due) {
            found.push(
                source
                    .error(role.span(), "user and assistant must take turns, the user first")
                    .with_label(format!("here it is the {due}'s turn")),
            );
        }
    }
    if let Some(turns) = table.get("turns")
        && matches!(turns.get_ref(), DeValue::Array(array) if array.len() % 2 == 0)
    {
        found.push(source.error(turns.span(), "`turns` must end with a turn of the user's"));
    }
    found
}

/// A threshold; one of its bounds is there, since the file was checked.
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
