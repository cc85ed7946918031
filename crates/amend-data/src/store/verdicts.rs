//! Verdicts of other judges on the answers of a run, in its folder `verdicts`.
//!
//! `verdicts/NAME` is the run of one judge or, for a panel, has the run of each judge in
//! `judge-1`, `judge-2` and so on. Each is an ordinary recorded run of comparisons. An
//! item of it names the item of the judged run and the numbers of its two answers in its
//! metadata. [`Verdicts`] puts these verdicts into the trajectories of the judged run, in
//! place of the run's own: see [`RunDir::with_verdicts`].
//!
//! All verdicts are in memory, without the texts that they are about.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::atomic;
use super::manifest::Manifest;
use super::run_dir::files::{MANIFEST, PANEL, VERDICT_RUNS};
use super::run_dir::{RunDir, RunError};
use super::trajectories::Trajectory;
use amend_core::constitution::{Constitution, DecideBy, Judge};
use amend_core::hash;
use amend_core::judge::{
    Calibration, PanelVote, SampleCombination, Verdict, VerdictSettings, panel,
};
use amend_core::model::Usage;
use amend_core::procedure::first;
use amend_core::record::{ABOUT_ANSWERS, Item, Outcome, Step, StepKind, answers};

/// The longest name of verdicts, in bytes.
const MAX_NAME: usize = 64;

/// The verdicts of one judge or of a panel on the answers of a run.
#[derive(Debug)]
pub struct Verdicts {
    name: String,
    /// The manifest of each judge's run.
    judges: Vec<Manifest>,
    is_panel: bool,
    /// A verdict on which the judges of a panel disagree more does not count.
    max_disagreement: Option<f64>,
    /// The judged pairs of each item.
    pairs: HashMap<String, Vec<JudgedPair>>,
}

/// Two answers and the verdicts on them.
#[derive(Debug)]
struct JudgedPair {
    about: JudgedAnswers,
    /// The judging steps, for the first answer against the second.
    steps: Vec<Step>,
}

/// The key, among the metadata of a comparison, of the answers that it compares: see
/// [`ComparedAnswers`]. Other keys are those of the judged item.
const COMPARED: &str = "amend_compared";

/// What an item of comparison says about its answers.
#[derive(Debug, Serialize, Deserialize)]
struct ComparedAnswers {
    /// The key of the judged item.
    item: String,
    /// The numbers of its two answers.
    answers: [usize; 2],
}

/// Which two answers an item of comparison is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct JudgedAnswers {
    item: String,
    answers: [usize; 2],
    /// A hash of both texts.
    texts: String,
}

/// What `panel.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Panel {
    /// The number of judges.
    judges: usize,
}

/// The name of a judge model, with its number among the judges of a panel if one of the
/// `others` before it has the same name.
#[must_use]
pub fn unique_name(model: &Value, others: &[String]) -> String {
    let name = model["name"].as_str().unwrap_or("unnamed");
    if others.iter().any(|other| other == name) {
        return format!("{name} ({})", others.len() + 1);
    }
    name.to_owned()
}

/// Checks that a name can be that of a folder of verdicts.
///
/// # Errors
/// What a name may be.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(plain)
    {
        return Err(
            "a name has 1 to 64 letters, digits, `-`, `_`, `.` and `+`, and does not start with a dot",
        );
    }
    Ok(())
}

/// The names of the verdicts of a run, sorted.
///
/// # Errors
/// The folder can't be listed.
pub fn names(run: &RunDir) -> Result<Vec<String>, RunError> {
    let path = run.path().join(VERDICT_RUNS);
    let failed = |source| RunError::Io { action: "list", path: path.clone(), source };
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let folder = entry.map_err(failed)?.path();
        if let Some(name) = folder.file_name().and_then(|name| name.to_str())
            && (folder.join(MANIFEST).exists() || has_begun(&folder))
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The folder of the verdicts with this name.
#[must_use]
pub fn folder(run: &RunDir, name: &str) -> PathBuf {
    run.path().join(VERDICT_RUNS).join(name)
}

/// The folder of each judge of a panel in `folder`.
#[must_use]
pub fn judge_folders(folder: &Path, judges: usize) -> Vec<PathBuf> {
    (1..=judges).map(|number| folder.join(format!("judge-{number}"))).collect()
}

/// Creates the folder of a panel, which records the number of its judges. A panel that
/// exists may get further judges.
///
/// # Errors
/// The panel has more judges already, or the folder can't be written.
pub fn create_panel(folder: &Path, judges: usize) -> Result<(), RunError> {
    let file = folder.join(PANEL);
    if let Some(Panel { judges: recorded }) = read_panel(folder)? {
        if recorded > judges && has_begun(folder) {
            return Err(RunError::Panel { path: folder.to_owned(), recorded, given: judges });
        }
        if recorded == judges {
            return Ok(());
        }
    }
    let failed = |source| RunError::Io { action: "write", path: file.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let text = json!(Panel { judges }).to_string() + "\n";
    atomic::write(&file, |out| out.write_all(text.as_bytes())).map_err(failed)
}

/// Reads the number of judges of a panel. `None` if the folder has no panel.
fn read_panel(folder: &Path) -> Result<Option<Panel>, RunError> {
    let path = folder.join(PANEL);
    match std::fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(panel) => Ok(Some(panel)),
            Err(source) => Err(RunError::Manifest { path, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RunError::Io { action: "read", path, source }),
    }
}

/// Whether a judge of the panel in `folder` has begun.
fn has_begun(folder: &Path) -> bool {
    judge_folders(folder, 1).iter().any(|first| first.join(MANIFEST).exists())
}

/// Checks that a folder holds verdicts of a panel.
///
/// # Errors
/// It does not.
pub fn check_panel(folder: &Path) -> Result<(), RunError> {
    if is_panel(folder) { Ok(()) } else { Err(RunError::NoPanel { path: folder.to_owned() }) }
}

/// Whether a folder holds verdicts of a panel.
#[must_use]
pub fn is_panel(folder: &Path) -> bool {
    folder.join(PANEL).exists()
}

/// The item that compares two answers of an item of a run, by their numbers. The first one
/// is response A.
#[must_use]
pub fn comparison(item: &Item, numbers: [usize; 2], texts: [&str; 2]) -> Item {
    let [a, b] = numbers;
    let mut metadata = item.metadata.clone();
    metadata.retain(|key, _| !ABOUT_ANSWERS.contains(&key.as_str()));
    let compared = ComparedAnswers { item: item.key.clone(), answers: numbers };
    metadata.insert(COMPARED.to_owned(), json!(compared));
    Item {
        key: format!("{}/{a}-{b}", item.key),
        row: item.row,
        id: item.id.clone(),
        messages: item.messages.clone(),
        response: Some(texts[0].to_owned()),
        response_b: Some(texts[1].to_owned()),
        metadata,
    }
}

impl JudgedAnswers {
    fn from_comparison(item: &Item) -> Option<Self> {
        let ComparedAnswers { item: judged, answers } =
            ComparedAnswers::deserialize(item.metadata.get(COMPARED)?).ok()?;
        Some(Self {
            item: judged,
            answers,
            texts: texts_hash([item.response.as_deref()?, item.response_b.as_deref()?]),
        })
    }
}

fn texts_hash(texts: [&str; 2]) -> String {
    hash::sha256(json!(texts).to_string().as_bytes())
}

/// The judging steps of one judge of a panel on two answers.
#[derive(Debug, Clone, Copy)]
pub struct JudgeSteps<'a> {
    /// The judge's name, unique in the panel.
    pub judge: &'a str,
    /// The settings of its verdicts.
    pub settings: &'a VerdictSettings,
    /// Its steps.
    pub steps: &'a [Step],
}

/// The judging steps of a panel: those that every judge has, each with the verdict of the
/// panel and the tokens of all judges.
#[must_use]
pub fn merge(judges: &[JudgeSteps<'_>]) -> Vec<Step> {
    let Some(first) = judges.first() else { return Vec::new() };
    let judged = |steps: &[Step], like: &Step| -> Option<(Verdict, Usage)> {
        let alike = |step: &&Step| {
            step.kind == StepKind::Judge
                && step.principle == like.principle
                && step.about == like.about
        };
        let step = steps.iter().find(alike)?;
        Some((step.verdict.clone()?, step.usage))
    };
    let mut merged = Vec::new();
    for like in first.steps.iter().filter(|step| step.kind == StepKind::Judge) {
        let verdicts: Option<Vec<(Verdict, Usage)>> =
            judges.iter().map(|judge| judged(judge.steps, like)).collect();
        let Some(verdicts) = verdicts else { continue };
        let votes: Vec<PanelVote<'_>> = judges
            .iter()
            .zip(&verdicts)
            .map(|(judge, (verdict, _))| PanelVote {
                judge: judge.judge,
                verdict,
                settings: judge.settings,
            })
            .collect();
        merged.push(Step {
            verdict: Some(panel(&votes)),
            usage: verdicts.iter().fold(Usage::default(), |sum, (_, usage)| sum + *usage),
            ..like.clone()
        });
    }
    merged
}

/// The `[judge]` table by which the verdicts of several judges count: each verdict of
/// [`merge`] is calibrated already, and the samples behind it are combined.
#[must_use]
pub fn panel_rules(judge: &Judge) -> Judge {
    let (calibration, combine) = (Calibration::default(), SampleCombination::Probabilities);
    Judge { calibration, combine, ..judge.clone() }
}

impl Verdicts {
    /// Reads the verdicts of a run with this name.
    ///
    /// # Errors
    /// There are none with this name, or they can't be read.
    pub(super) fn open(run: &RunDir, name: &str) -> Result<Self, RunError> {
        let unknown = || match names(run) {
            Ok(known) => {
                let path = run.path().to_owned();
                RunError::UnknownVerdicts { path, name: name.to_owned(), known }
            }
            Err(error) => error,
        };
        if check_name(name).is_err() {
            return Err(unknown());
        }
        let folder = folder(run, name);
        let panel = read_panel(&folder)?;
        let mut judges = Vec::new();
        match &panel {
            Some(Panel { judges: count }) => {
                for folder in judge_folders(&folder, *count) {
                    match RunDir::open(&folder) {
                        Ok(judge) => judges.push(judge),
                        // This judge has not begun, so the panel has no verdict yet.
                        Err(RunError::NoRun { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                if judges.is_empty() {
                    return Err(unknown());
                }
            }
            None => match RunDir::open(&folder) {
                Ok(judge) => judges.push(judge),
                Err(RunError::NoRun { .. }) => return Err(unknown()),
                Err(error) => return Err(error),
            },
        }
        for judge in &judges {
            let judged = judge.manifest().input.run.as_ref();
            if judged.is_none_or(|judged| judged.sha256 != run.hash()) {
                return Err(RunError::OtherVerdicts { path: judge.path().to_owned() });
            }
        }
        let is_panel = panel.is_some();
        let is_complete = panel.is_none_or(|panel| panel.judges == judges.len());
        let pairs = if is_complete { read_pairs(&judges, is_panel)? } else { HashMap::new() };
        Ok(Self {
            name: name.to_owned(),
            judges: judges.iter().map(|judge| judge.manifest().clone()).collect(),
            is_panel,
            max_disagreement: None,
            pairs,
        })
    }

    /// Verdicts on which the judges disagree more than this do not count.
    pub(super) fn with_max_disagreement(self, max_disagreement: Option<f64>) -> Self {
        Self { max_disagreement, ..self }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the judge models, each unique: see [`unique_name`].
    #[must_use]
    pub fn judge_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for judge in &self.judges {
            names.push(unique_name(&judge.model, &names));
        }
        names
    }

    /// The constitution that they judged by.
    #[must_use]
    pub fn constitution(&self) -> &Constitution {
        &self.judges[0].constitution.value
    }

    /// Whether several judges decide together.
    #[must_use]
    pub fn is_panel(&self) -> bool {
        self.is_panel
    }

    /// The greatest disagreement of a verdict that counts, if there is a limit.
    #[must_use]
    pub fn max_disagreement(&self) -> Option<f64> {
        self.max_disagreement
    }

    /// The `[judge]` table by which these verdicts count. All verdicts that were asked for
    /// decide.
    #[must_use]
    pub fn rules(&self) -> Judge {
        let judge = Judge { enabled: true, ..self.constitution().judge.clone() };
        if self.is_panel { panel_rules(&judge) } else { judge }
    }

    /// Whether there is a verdict on these two answers of an item, by their numbers and
    /// texts.
    #[must_use]
    pub fn has(&self, item: &str, answers: [usize; 2], texts: [&str; 2]) -> bool {
        let Some(pairs) = self.pairs.get(item) else { return false };
        let texts = texts_hash(texts);
        pairs.iter().any(|pair| pair.about.answers == answers && pair.about.texts == texts)
    }

    /// Replaces the judging steps of a trajectory, whose own verdicts count by `standing`.
    /// The rounds still begin where they began.
    pub(super) fn apply(&self, trajectory: Trajectory, standing: &VerdictSettings) -> Trajectory {
        let Trajectory { item, mut steps, outcome } = trajectory;
        let candidates = steps.iter().take_while(|step| step.kind == StepKind::Generate).count();
        let began = first(&steps, standing);
        let texts: Vec<&str> = answers(&steps).map(|step| step.text.as_str()).collect();
        let mut among_candidates = Vec::new();
        let mut on_revisions = Vec::new();
        for JudgedPair { about, steps } in self.pairs.get(&item.key).into_iter().flatten() {
            let [a, b] = about.answers;
            let (Some(text_a), Some(text_b)) = (texts.get(a), texts.get(b)) else { continue };
            if texts_hash([text_a, text_b]) != about.texts {
                continue;
            }
            let place =
                if a.max(b) < candidates { &mut among_candidates } else { &mut on_revisions };
            place.extend(steps.iter().cloned());
        }
        steps.retain(|step| step.kind != StepKind::Judge);
        if candidates > 1
            && let Some(revision) = steps.iter_mut().find(|step| step.kind == StepKind::Revise)
        {
            revision.about = vec![began];
        }
        steps.splice(candidates..candidates, among_candidates);
        steps.extend(on_revisions);
        Trajectory { item, steps, outcome }
    }
}

/// Reads the verdicts of all judges, by item.
fn read_pairs(
    judges: &[RunDir],
    is_panel: bool,
) -> Result<HashMap<String, Vec<JudgedPair>>, RunError> {
    // The steps of each judge, in the judges' order.
    let mut read: Vec<(JudgedAnswers, Vec<Vec<Step>>)> = Vec::new();
    let mut places: HashMap<JudgedAnswers, usize> = HashMap::new();
    for (number, judge) in judges.iter().enumerate() {
        for trajectory in judge.trajectories()? {
            let Trajectory { item, steps, outcome } = trajectory?;
            let Some(about) = JudgedAnswers::from_comparison(&item) else { continue };
            if matches!(outcome, Outcome::Failed { .. }) {
                continue;
            }
            let steps = steps.into_iter().filter(|step| step.kind == StepKind::Judge).collect();
            let place = *places.entry(about.clone()).or_insert_with(|| {
                read.push((about, Vec::new()));
                read.len() - 1
            });
            // Only pairs that every judge before this one judged.
            if read[place].1.len() == number {
                read[place].1.push(steps);
            }
        }
    }
    let settings: Vec<VerdictSettings> =
        judges.iter().map(|judge| judge.manifest().constitution.value.judge.standing()).collect();
    let names: Vec<String> = (1..=judges.len()).map(|number| format!("judge-{number}")).collect();
    let mut pairs: HashMap<String, Vec<JudgedPair>> = HashMap::new();
    for (about, mut of_judges) in read {
        if of_judges.len() < judges.len() {
            continue;
        }
        let mut steps = if is_panel {
            let parts: Vec<JudgeSteps<'_>> = of_judges
                .iter()
                .zip(&settings)
                .zip(&names)
                .map(|((steps, settings), judge)| JudgeSteps { judge, settings, steps })
                .collect();
            merge(&parts)
        } else {
            of_judges.remove(0)
        };
        for step in &mut steps {
            step.about = about.answers.to_vec();
        }
        pairs.entry(about.item.clone()).or_default().push(JudgedPair { about, steps });
    }
    Ok(pairs)
}

/// Which verdicts decide if a judge is asked these questions.
#[must_use]
pub fn decide_by(overall: bool, principles: bool) -> DecideBy {
    match (overall, principles) {
        (true, true) => DecideBy::All,
        (false, true) => DecideBy::Principles,
        (_, false) => DecideBy::Overall,
    }
}

#[cfg(test)]
mod tests;
