//! A run as one self-contained HTML file: figures, charts, and every item with
//! its steps.
//!
//! Reads the run directory and writes nothing. `facts` says what each item came
//! to, `figures`, `reviews`, `audit` and `evaluation` make sections of it, `item`
//! makes the list, and `page` renders all of it. Content is data: what a prompt
//! or an answer holds is text on the page, never markup or script.

mod audit;
mod changes;
mod chart;
mod evaluation;
mod facts;
mod figures;
mod item;
mod page;
mod reviews;
mod subject;
#[cfg(test)]
mod tests;
mod view;
mod words;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::evaluation::Evaluation;
use self::facts::Facts;
use self::figures::Figures;
use self::item::{Catalogue, ItemView};
use self::page::Page;
use self::subject::Subject;
use crate::review;
use amend_analysis::audit::Audit;
use amend_data::pairs::DropReason;
use amend_data::store::journal::JournalError;
use amend_data::store::manifest::Manifest;
use amend_data::store::reviews::Reviews;
use amend_data::store::run_dir::{RunDir, RunError};

/// How many items a page lists. All of them count in its figures.
pub const MOST_LISTED: usize = 5000;

/// What an audit leaves in its run directory.
pub const AUDIT: &str = "audit.json";

/// What an evaluation leaves in its run directory.
const RESULTS: &str = "results.json";

/// A run as a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The page, whole.
    pub html: String,
    /// Items that ended.
    pub items: usize,
    /// Of these, items listed.
    pub listed: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The journal can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The reviews can't be read.
    #[error(transparent)]
    Reviews(#[from] RunError),
    /// A file derived from the journal can't be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file derived from the journal is not what this version writes.
    #[error("{path} is not what this version of amend writes there; make it again")]
    Derived {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The page can't be rendered.
    #[error("failed to render the report")]
    Render(#[source] minijinja::Error),
}

/// Makes the report of a run, whether or not it is at its end. Where an audit or
/// an evaluation left its results beside the journal, they are part of it.
///
/// # Errors
/// The run can't be read, or the results beside it are damaged.
pub fn report(run: &RunDir) -> Result<Report, ReportError> {
    let manifest = run.manifest();
    let subject = Subject::new(manifest).with_reviews(Reviews::read(run)?);
    let mut judged = review::Verdicts::default();
    let audit: Option<Audit> = derived(&run.path().join(AUDIT))?;
    let evaluation: Option<Evaluation> = derived(&run.path().join(RESULTS))?;
    let mut facts: Vec<Facts> = Vec::new();
    let mut items: Vec<ItemView> = Vec::new();
    let mut catalogue = Catalogue::default();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        judged.add(&trajectory, &subject.rules);
        let mut one = Facts::of(&subject, &trajectory);
        if let (None, Some(evaluation)) = (&one.category, &evaluation) {
            one.category = evaluation.category(&one.key).map(str::to_owned);
        }
        if items.len() < MOST_LISTED {
            items.push(ItemView::new(&subject, &trajectory, &one, &mut catalogue));
        }
        facts.push(one);
    }
    items.sort_by_key(|item| item.row);
    let rows = manifest.limit.map_or(manifest.input.rows, |limit| limit.min(manifest.input.rows));
    let rows = usize::try_from(rows).unwrap_or(usize::MAX).max(facts.len());
    let mut sections = Figures::new(&subject, &facts).sections(rows);
    let people = review::Figures::of(subject.rules.reviews(), &judged);
    let people = Some(reviews::section(&people)).filter(|section| !section.is_empty());
    sections.splice(1.min(sections.len())..1.min(sections.len()), people);
    // What the run was made for comes first.
    let own = evaluation.iter().flat_map(Evaluation::sections);
    let own = own.chain(audit.iter().flat_map(audit::sections));
    sections.splice(1.min(sections.len())..1.min(sections.len()), own.collect::<Vec<_>>());
    let rivals = facts.iter().any(|one| one.rivals);
    let page = Page {
        title: title(manifest),
        facts: about(run),
        sections,
        outcomes: outcomes(&items),
        verdicts: verdicts(&items, rivals),
        categories: catalogue.names().map(|(name, number)| (name.to_owned(), number)).collect(),
        unlisted: facts.len() - items.len(),
        items,
    };
    // Browsers take NUL for an error in the page.
    let html = page::render(&page).map_err(ReportError::Render)?.replace('\0', "\u{fffd}");
    Ok(Report { html, items: facts.len(), listed: page.items.len() })
}

/// What a derived file says; none where there is none.
fn derived<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReportError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReportError::Read { path: path.to_owned(), source }),
    };
    let found = serde_json::from_slice(&bytes);
    found.map(Some).map_err(|source| ReportError::Derived { path: path.to_owned(), source })
}

fn title(manifest: &Manifest) -> String {
    let name = manifest.constitution.value["name"].as_str().unwrap_or("constitution");
    format!("amend {}: {name}", manifest.command)
}

/// What was run.
fn about(run: &RunDir) -> Vec<(&'static str, String)> {
    let manifest = run.manifest();
    let constitution = &manifest.constitution.value;
    let name = constitution["name"].as_str().unwrap_or_default();
    let version = constitution["version"].as_str().unwrap_or_default();
    let mut facts = vec![
        ("Model", model(&manifest.model)),
        ("Constitution", format!("{name} {version}").trim().to_owned()),
        ("Input", manifest.input.files.join(", ")),
        ("Seed", manifest.seed.to_string()),
        ("Run", words::preview(run.hash(), 16)),
        ("amend", manifest.amend.clone()),
    ];
    if let Some(judge) = &manifest.judge_model {
        facts.insert(1, ("Judge", model(judge)));
    }
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// What a model is called.
fn model(model: &Value) -> String {
    let keys = [&model["name"], &model["metadata"]["general.name"], &model["sha256"]];
    keys.into_iter()
        .find_map(Value::as_str)
        .map_or_else(String::new, |name| words::preview(name, 60))
}

/// The outcomes that occur, with their words.
fn outcomes(items: &[ItemView]) -> Vec<(&'static str, &'static str)> {
    let reasons = DropReason::ALL.map(|reason| (reason.as_str(), reason.explain()));
    let mut all = vec![("pair", "pair"), ("done", "done")];
    all.extend(reasons);
    all.retain(|(value, _)| items.iter().any(|item| item.outcome == *value));
    all
}

/// The verdicts that occur, with their words.
fn verdicts(items: &[ItemView], rivals: bool) -> Vec<(&'static str, String)> {
    let (better, worse) = if rivals { ("A", "B") } else { ("revision", "first answer") };
    let mut all = vec![
        ("better", format!("{better} better")),
        ("worse", format!("{worse} better")),
        ("undecided", "undecided".to_owned()),
        ("", "no verdict".to_owned()),
    ];
    all.retain(|(value, _)| items.iter().any(|item| item.verdict == *value));
    // One alone tells nothing apart.
    if all.len() < 2 { Vec::new() } else { all }
}
