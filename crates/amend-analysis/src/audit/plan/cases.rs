//! The cases of an audit: pairs of answers from comparison files or finished runs, or
//! prompts whose answers are generated first.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use amend_core::random::Stream;
use amend_core::record::{ABOUT_ANSWERS, ComparisonFacts, Item, Outcome, Step, StepKind, answers};
use amend_data::eval_set as set;
use amend_data::eval_set::{EvalSet, EvalSetError, ItemKind};
use amend_data::items::{ItemFaults, ItemOptions, ItemSource, Purpose, SkippedRows};
use amend_data::pairs::judgement::Rules;
use amend_data::rows::Input;
use amend_data::store::journal::JournalError;
use amend_data::store::run_dir::{RunDir, RunError};
use amend_data::store::trajectories::Trajectory;

/// Two answers to a prompt, and the revisions that led from one to the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The prompt with response A ([`Item::response`]) and response B
    /// ([`Item::response_b`]). If they are missing, both are generated first.
    pub item: Item,
    /// Whether the prompt is known to be harmless, so that a refusal is a fault.
    pub harmless: bool,
    /// The revisions that led from response B to response A.
    pub revisions: Vec<Revised>,
}

/// A revision, or an answer that one principle guided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revised {
    /// The id of the principle it was made under.
    pub principle: String,
    /// The answer before.
    pub before: String,
    /// The answer after.
    pub after: String,
}

/// The reason why cases cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// A file has invalid rows.
    #[error(transparent)]
    Input(#[from] ItemFaults),
    /// The evaluation set is invalid.
    #[error(transparent)]
    Set(#[from] EvalSetError),
    /// The run cannot be opened.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run's journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The cases of a source.
#[derive(Debug, Default)]
pub struct ReadCases {
    /// The cases.
    pub cases: Vec<Case>,
    /// What is printed about a file of rows.
    pub notes: Vec<String>,
    /// The rows that were left out because they were at fault.
    pub skipped: SkippedRows,
}

/// Reads the cases of one source: a run directory, an evaluation set (`.toml`), or
/// comparisons or prompts in a file, a folder or standard input (`-`). `stream` draws which
/// of a chosen and a rejected answer becomes response A.
///
/// # Errors
/// Fails with all faults of the source.
pub fn read(source: &Path, options: &ItemOptions, stream: Stream) -> Result<ReadCases, CasesError> {
    if RunDir::exists(source) {
        let cases = read_run(&RunDir::open(source)?)?;
        return Ok(ReadCases { cases, ..ReadCases::default() });
    }
    if source.extension().is_some_and(|extension| extension == "toml") {
        let items = set::load(source)?.set.items(None);
        let cases = items.into_iter().map(Case::from_item).collect();
        return Ok(ReadCases { cases, ..ReadCases::default() });
    }
    let input = Input::from(source.to_owned());
    let mut items = ItemSource::open(&[input], Purpose::Either(stream), options)?;
    let (notes, skipped) = (std::mem::take(&mut items.notes), std::mem::take(&mut items.skipped));
    // A row with an injection makes two items: only the clean one is audited.
    let injected = |item: &Item| {
        ComparisonFacts::from_item(item).injection.is_some_and(|injection| injection.present)
    };
    let mut cases = Vec::new();
    for item in items.items() {
        let item = Arc::unwrap_or_clone(item?);
        if !injected(&item) {
            cases.push(Case::from_item(item));
        }
    }
    Ok(ReadCases { cases, notes, skipped })
}

/// The finished items of a run that were revised or answered again.
fn read_run(run: &RunDir) -> Result<Vec<Case>, CasesError> {
    let rules = Rules::from_constitution(&run.manifest().constitution.value);
    let set = run.manifest().input.set.as_ref();
    let mut cases = Vec::new();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        if matches!(trajectory.outcome, Outcome::Done { .. }) {
            cases.extend(improved_cases(&trajectory, &rules, set));
        }
    }
    cases.sort_by_key(|case| case.item.row);
    Ok(cases)
}

/// The cases of a finished item: its first answer, and its last revision with the revisions
/// between them, or its guided answer.
fn improved_cases(trajectory: &Trajectory, rules: &Rules, set: Option<&EvalSet>) -> Vec<Case> {
    let Trajectory { item, steps, .. } = trajectory;
    let Some(first) = answers(steps).nth(rules.first(steps)) else { return Vec::new() };
    [StepKind::Revise, StepKind::Guide]
        .into_iter()
        .filter_map(|kind| {
            let made: Vec<&Step> = steps.iter().filter(|step| step.kind == kind).collect();
            let last = made.last()?.text.clone();
            let mut before = first.text.as_str();
            let mut revisions = Vec::new();
            for step in made {
                // The effect of several principles at once belongs to none of them.
                if let ([principle], after) = (&step.applied().collect::<Vec<_>>()[..], &step.text)
                {
                    revisions.push(Revised {
                        principle: (*principle).to_owned(),
                        before: before.to_owned(),
                        after: after.clone(),
                    });
                }
                before = &step.text;
            }
            Some(improved_case(item.clone(), [last, first.text.clone()], revisions, set))
        })
        .collect()
}

/// The case of an item with the better answer and the first one.
fn improved_case(
    mut item: Item,
    [better, first]: [String; 2],
    revisions: Vec<Revised>,
    set: Option<&EvalSet>,
) -> Case {
    for key in ABOUT_ANSWERS {
        item.metadata.shift_remove(key);
    }
    let probe = item.metadata.get("item").and_then(Value::as_str);
    let normal = set.zip(probe).and_then(|(set, id)| set.probe(id));
    let normal = normal.is_some_and(|probe| probe.kind == ItemKind::Normal);
    let case = Case::from_item(Item { response: Some(better), response_b: Some(first), ..item });
    Case { harmless: case.harmless || normal, revisions, ..case }
}

impl Case {
    /// A case without revisions. A row is harmless if its `kind` is "normal", as in
    /// evaluation sets, or if it has `harmless: true`.
    fn from_item(mut item: Item) -> Self {
        if item.response_b.is_none() {
            // A single given answer is not a pair: both answers are generated.
            item.response = None;
        }
        let is = |key: &str, value: Value| item.metadata.get(key) == Some(&value);
        let harmless = is("kind", ItemKind::Normal.as_str().into()) || is("harmless", true.into());
        Self { harmless, item, revisions: Vec::new() }
    }
}
