//! Renders a run as one self-contained HTML file: figures, charts, and every item
//! with its steps.
//!
//! This module reads the run directory and writes nothing. `facts` reduces each
//! item to numbers; `figures`, `reviews`, `audit` and `evaluation` make sections
//! from them; `item` makes the list; `page` renders everything. Prompts and answers
//! are data: on the page they are text, never markup or script.

mod audit;
mod changes;
pub mod chart;
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

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::facts::ItemFacts;
use self::figures::RunFigures;
use self::item::{Catalogue, ItemView};
use self::page::Page;
use self::subject::Subject;
use self::view::Section;
use crate::review;
use amend_analysis::audit::Audit;
use amend_analysis::evaluation::Results;
use amend_core::constitution::Constitution;
use amend_data::lint::check;
use amend_data::pairs::DropReason;
use amend_data::store::journal::JournalError;
use amend_data::store::manifest::Manifest;
use amend_data::store::reviews::Reviews;
use amend_data::store::run_dir::files::{AUDIT, RESULTS};
use amend_data::store::run_dir::{RunDir, RunError};

/// The most items that a page lists. All items count in its figures.
pub const MOST_LISTED: usize = 5000;

/// The page of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The complete HTML document.
    pub html: String,
    /// The number of finished items.
    pub items: usize,
    /// How many of them the page lists.
    pub listed: usize,
}

/// Why a report can't be made.
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
        /// The cause.
        source: io::Error,
    },
    /// A file derived from the journal does not have the format of this version.
    #[error(
        "failed to parse {path}: it does not have the format of this version of amend; run the \
         command that wrote it again"
    )]
    Derived {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The page can't be rendered.
    #[error("failed to render the report")]
    Render(#[source] minijinja::Error),
}

/// Makes the report of a finished or unfinished run. It includes the results of an
/// audit or an evaluation that are in the run directory.
///
/// # Errors
/// The run can't be read, or the results in its directory can't be parsed.
pub fn report(run: &RunDir) -> Result<Report, ReportError> {
    let manifest = run.manifest();
    let subject = Subject::from_run(run).with_reviews(Reviews::read(run)?);
    let mut verdicts = review::RecordedVerdicts::default();
    let audit: Option<Audit> = derived(&run.path().join(AUDIT))?;
    let evaluation: Option<Results> = derived(&run.path().join(RESULTS))?;
    let mut facts: Vec<ItemFacts> = Vec::new();
    let mut items: Vec<ItemView> = Vec::new();
    let mut catalogue = Catalogue::default();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        verdicts.add(&trajectory, &subject.rules);
        let mut item = ItemFacts::new(&subject, &trajectory);
        if let (None, Some(evaluation)) = (&item.category, &evaluation) {
            item.category = evaluation::category(evaluation, &item.key).map(str::to_owned);
        }
        if items.len() < MOST_LISTED {
            items.push(ItemView::new(&subject, &trajectory, &item, &mut catalogue));
        }
        facts.push(item);
    }
    items.sort_by_key(|item| item.row);
    let total = usize::try_from(manifest.input.rows).unwrap_or(usize::MAX).max(facts.len());
    let mut sections = RunFigures::new(&subject, &facts).sections(total);
    // After the overview: the results that the run was made for, then the reviews.
    let mut own: Vec<Section> = evaluation.iter().map(evaluation::section).collect();
    own.extend(audit.iter().flat_map(audit::sections));
    let reviewed = reviews::section(&review::AgreementFigures::from_reviews(
        subject.rules.reviews(),
        &verdicts,
    ));
    if !reviewed.is_empty() {
        own.push(reviewed);
    }
    let place = sections.len().min(1);
    sections.splice(place..place, own);
    let is_comparison = facts.iter().any(|item| item.is_comparison);
    let page = Page {
        title: title(manifest),
        facts: about(run),
        sections,
        outcomes: outcome_choices(&items),
        verdicts: verdict_choices(&items, if is_comparison { ["A", "B"] } else { subject.sides() }),
        categories: catalogue.names().map(|(name, number)| (name.to_owned(), number)).collect(),
        unlisted: facts.len() - items.len(),
        items,
    };
    // In HTML, a NUL is a parse error.
    let html = page::render(&page).map_err(ReportError::Render)?.replace('\0', "\u{fffd}");
    Ok(Report { html, items: facts.len(), listed: page.items.len() })
}

/// Reads a file derived from the journal. `None` if it does not exist.
fn derived<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReportError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReportError::Read { path: path.to_owned(), source }),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(source) => Err(ReportError::Derived { path: path.to_owned(), source }),
    }
}

fn title(manifest: &Manifest) -> String {
    format!("amend {}: {}", manifest.command, manifest.constitution.value.name)
}

/// The facts in the header of the page: the model, the constitution, the input.
fn about(run: &RunDir) -> Vec<(&'static str, String)> {
    let manifest = run.manifest();
    let Constitution { name, version, .. } = &manifest.constitution.value;
    let mut facts = vec![
        ("Model", model(&manifest.model)),
        ("Constitution", format!("{name} {version}")),
        ("Input", manifest.input.files.join(", ")),
        ("Seed", manifest.seed.to_string()),
        ("Run", words::preview(run.hash(), 16)),
        ("amend", manifest.amend.clone()),
    ];
    if let Some(verdicts) = run.verdicts() {
        let judges: Vec<String> =
            verdicts.judge_names().iter().map(|name| words::preview(name, 60)).collect();
        let Constitution { name, version, .. } = verdicts.constitution();
        let judges = format!("{} (verdicts {})", judges.join(", "), verdicts.name());
        facts.insert(1, ("Judge", judges));
        facts.insert(3, ("Judged under", format!("{name} {version}")));
    } else if let Some(judge) = &manifest.judge_model {
        facts.insert(1, ("Judge", model(judge)));
    }
    if let Some(student) = &manifest.student_model {
        facts.insert(1, ("First answers", model(student)));
    }
    if let Some(source) = &manifest.input.run {
        facts.insert(1, ("First answers", model(&source.model)));
    }
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// The name of a model.
fn model(model: &Value) -> String {
    let keys = [&model["name"], &model["metadata"]["general.name"], &model["sha256"]];
    keys.into_iter()
        .find_map(Value::as_str)
        .map_or_else(String::new, |name| words::preview(name, 60))
}

/// The outcomes that occur, each with its label in the filter.
fn outcome_choices(items: &[ItemView]) -> Vec<(&'static str, &'static str)> {
    let reasons = DropReason::ALL.map(|reason| (reason.as_str(), reason.explain()));
    let mut all = vec![("pair", "pair"), ("done", "done")];
    all.extend(reasons);
    all.extend(check::RULES.iter().map(|rule| (rule.name, rule.name)));
    all.retain(|(value, _)| items.iter().any(|item| item.outcome == *value));
    all
}

/// The verdicts that occur, each with its label in the filter.
fn verdict_choices(items: &[ItemView], [better, worse]: [&str; 2]) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("better", format!("{better} better")),
        ("worse", format!("{worse} better")),
        ("undecided", "undecided".to_owned()),
        ("", "no verdict".to_owned()),
    ];
    all.retain(|(value, _)| items.iter().any(|item| item.verdict == *value));
    // A filter with one choice would change nothing.
    if all.len() < 2 { Vec::new() } else { all }
}
