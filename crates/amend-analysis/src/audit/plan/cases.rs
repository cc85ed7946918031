//! What an audit looks at: pairs of answers, from files of comparisons, from
//! finished runs, or still to be made from prompts.

use std::path::Path;

use serde_json::Value;

use amend_core::random::Stream;
use amend_core::record::Facts;
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::{StepKind, answers};
use amend_data::eval_set as set;
use amend_data::eval_set::{Kind, LoadError, Set};
use amend_data::pairs::judgement::Rules;
use amend_data::rows::input;
use amend_data::rows::input::{Input, InputErrors};
use amend_data::store::journal::JournalError;
use amend_data::store::run_dir::{RunDir, RunError};
use amend_data::store::trajectories::Trajectory;

/// Keys of a row that say something of its own two answers, and not of a run's.
const OF_ANSWERS: [&str; 4] = ["label", "injection", "into", "place"];

/// Two answers to a prompt, and how the second came about from the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The prompt with answer x ([`Item::response`]) and answer y
    /// ([`Item::rival`]); without them, both are made first.
    pub item: Item,
    /// Whether the prompt is known to be harmless, so that a refusal is a fault.
    pub harmless: bool,
    /// The revisions that led from y to x.
    pub revisions: Vec<Revised>,
}

/// A revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revised {
    /// The id of the principle it was made under.
    pub principle: String,
    /// The answer before.
    pub before: String,
    /// The answer after.
    pub after: String,
}

/// Data that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Rows of a file.
    #[error(transparent)]
    Input(#[from] InputErrors),
    /// An evaluation set.
    #[error(transparent)]
    Set(#[from] LoadError),
    /// A run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A run's journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Reads one source: a run directory, an evaluation set (`.toml`), or a file of
/// comparisons or of prompts, which may be standard input (`-`). `field` names the
/// key that holds the prompt; `stream` draws which of a chosen and a rejected
/// answer is x.
///
/// # Errors
/// Everything wrong with it.
pub fn read(source: &Path, field: Option<&str>, stream: Stream) -> Result<Vec<Case>, ReadError> {
    if source.is_dir() {
        return of_run(&RunDir::open(source)?);
    }
    let is_toml = source.extension().is_some_and(|extension| extension == "toml");
    if is_toml {
        return Ok(set::load(source)?.set.items(None).into_iter().map(Case::of).collect());
    }
    let items = input::read_either(&Input::from(source.to_owned()), field, stream)?;
    // Of a row with an injection, the clean one of its two items.
    let swayed = |item: &Item| Facts::of(item).injection.is_some_and(|injection| injection.present);
    Ok(items.into_iter().filter(|item| !swayed(item)).map(Case::of).collect())
}

/// The ended items of a run that were revised.
fn of_run(run: &RunDir) -> Result<Vec<Case>, ReadError> {
    let rules = Rules::of(&run.manifest().constitution.value);
    let set = run.manifest().input.set.as_ref();
    let mut cases = Vec::new();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        if matches!(trajectory.outcome, Outcome::Done { .. }) {
            cases.extend(of_trajectory(trajectory, &rules, set));
        }
    }
    cases.sort_by_key(|case| case.item.row);
    Ok(cases)
}

fn of_trajectory(trajectory: Trajectory, rules: &Rules, set: Option<&Set>) -> Option<Case> {
    let Trajectory { mut item, steps, .. } = trajectory;
    let first = answers(&steps).nth(rules.first(&steps))?.text.clone();
    let mut last = first.clone();
    let mut revisions = Vec::new();
    for step in steps.iter().filter(|step| step.kind == StepKind::Revise) {
        revisions.push(Revised {
            principle: step.principle.clone()?,
            before: std::mem::replace(&mut last, step.text.clone()),
            after: step.text.clone(),
        });
    }
    if revisions.is_empty() {
        return None;
    }
    for key in OF_ANSWERS {
        item.metadata.shift_remove(key);
    }
    let probe = item.metadata.get("item").and_then(Value::as_str);
    let normal = set.zip(probe).and_then(|(set, id)| set.probe(id));
    let normal = normal.is_some_and(|probe| probe.kind == Kind::Normal);
    let case = Case::of(Item { response: Some(last), rival: Some(first), ..item });
    Some(Case { harmless: case.harmless || normal, revisions, ..case })
}

impl Case {
    /// A case without revisions. A row of `kind` "normal", as evaluation sets
    /// have them, or with `harmless: true`, is harmless.
    fn of(mut item: Item) -> Self {
        if item.rival.is_none() {
            // One given answer is no pair; both are made.
            item.response = None;
        }
        let is = |key: &str, value: Value| item.metadata.get(key) == Some(&value);
        let harmless = is("kind", Kind::Normal.as_str().into()) || is("harmless", true.into());
        Self { harmless, item, revisions: Vec::new() }
    }
}
