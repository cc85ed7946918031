//! What `amend judge` judges: rows of files, reviewed pairs, or the pairs of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::JudgeArgs;
use crate::cli::args::config::Config;
use crate::cli::output::error::CommandError;
use crate::cli::output::next::AmendCall;
use crate::cli::output::print;
use amend_analysis::judge_quality::JudgedRow;
use amend_core::judge::Calibration;
use amend_core::random::Stream;
use amend_core::record::Label;
use amend_data::items::{ItemSource, Purpose};
use amend_data::pairs::{rejudged, reviewed};
use amend_data::store::manifest::SourceRun;
use amend_data::store::run_dir::{RunDir, RunError};
use amend_data::store::verdicts;
use amend_engine::ModelSource;

/// The comparisons to judge.
pub(super) struct JudgeInput {
    /// The items.
    pub source: Arc<ItemSource>,
    /// The run that is judged again.
    pub run: Option<JudgedRun>,
    /// The folder of the verdicts, if they stay.
    pub folder: Option<PathBuf>,
}

/// A run that is judged again.
pub(super) struct JudgedRun {
    dir: RunDir,
    /// The name of the verdicts.
    name: String,
    /// Whether the run has several candidates.
    pub has_candidates: bool,
}

impl JudgeInput {
    /// The hash that the delimiter of prompts is derived from. That of a run stays the same
    /// while the run grows.
    pub fn hash(&self) -> &str {
        match &self.run {
            Some(run) => run.dir.hash(),
            None => &self.source.summary.sha256,
        }
    }

    /// After a run was judged: says how the judge compares revisions with the answers
    /// before them.
    pub fn conclude(&self, rows: &[JudgedRow]) {
        if self.run.is_none() {
            return;
        }
        // The key of a comparison ends with the numbers of its answers.
        let is_revision = |row: &&JudgedRow| match row.key.rsplit_once('/') {
            Some((_, numbers)) => numbers
                .split_once('-')
                .is_some_and(|(a, b)| a.parse::<usize>().ok() > b.parse::<usize>().ok()),
            None => false,
        };
        let judged = rows.iter().filter(is_revision).filter(|row| row.verdict.is_some());
        let labels: Vec<Option<Label>> = judged.map(JudgedRow::judged_label).collect();
        let count = |label| labels.iter().filter(|judged| **judged == label).count();
        if !labels.is_empty() {
            let ties = match count(Some(Label::Tie)) {
                0 => String::new(),
                ties => format!("{ties} equal, "),
            };
            print::message(&format!(
                "of {} revisions and guided answers, {} are judged better than the first answer, {} worse, \
                 {ties}{} undecided\n",
                labels.len(),
                count(Some(Label::A)),
                count(Some(Label::B)),
                count(None)
            ));
        }
    }

    /// The call that exports the pairs of the judged run by its new verdicts.
    pub fn export_call(&self) -> Option<AmendCall> {
        let JudgedRun { dir, name, .. } = self.run.as_ref()?;
        Some(AmendCall::exporting(dir.path()).with(&["--verdicts", name]))
    }
}

impl JudgeArgs {
    /// Reads the comparisons.
    pub(super) fn open(
        &self,
        judges: &[ModelSource],
        config: &Config,
    ) -> Result<JudgeInput, CommandError> {
        if let Some(path) = self.inputs.iter().find(|path| RunDir::exists(path)) {
            return self.input_of_run(path, judges, config);
        }
        if self.name.is_some() {
            return Err(CommandError::usage(
                "--name is for the verdicts on a run, but no run is given",
                "pass a run directory, or write to a directory with --out",
            ));
        }
        let source = Arc::new(self.rows_to_judge()?);
        Ok(JudgeInput { source, run: None, folder: self.recording.out.clone() })
    }

    /// The rows of files, or the reviewed pairs of a run.
    fn rows_to_judge(&self) -> Result<ItemSource, CommandError> {
        let order = Stream::new(self.task.prompting.seed).child("order");
        let Some(labels) = &self.labels else {
            let purpose = Purpose::Comparisons(order);
            return self.input.open(&self.inputs, purpose, self.recording.limit);
        };
        let items = reviewed::comparisons(&RunDir::open(labels)?, order)?;
        let name = labels.display().to_string();
        if items.is_empty() {
            return Err(CommandError::usage(
                format!("no pair of {name} is reviewed"),
                format!("review pairs first: amend review {name}"),
            ));
        }
        Ok(ItemSource::from_items(vec![name], self.recording.limited(items)))
    }

    /// The pairs of a run, to judge them again.
    fn input_of_run(
        &self,
        path: &Path,
        judges: &[ModelSource],
        config: &Config,
    ) -> Result<JudgeInput, CommandError> {
        let shown = path.display();
        if self.inputs.len() > 1 {
            return Err(CommandError::usage(
                format!("{shown} is a run, which is judged on its own"),
                "pass either one run directory or files",
            ));
        }
        if self.recording.out.is_some() {
            return Err(CommandError::usage(
                format!("the verdicts on a run are written to {shown}/verdicts"),
                "choose their name with --name NAME instead of --out",
            ));
        }
        let dir = RunDir::open(path)?;
        dir.check_command("run")?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self.usual_name(judges, config)?,
        };
        let folder = verdicts::folder(&dir, &name);
        let known = verdicts::names(&dir)?;
        let exists = known.contains(&name);
        if exists && !self.recording.resume {
            return Err(CommandError::usage(
                format!("{shown} already has verdicts named {name:?}"),
                "pass --resume to continue them, or --name NAME to add others",
            ));
        }
        if !exists && self.recording.resume {
            return Err(RunError::UnknownVerdicts { path: path.to_owned(), name, known }.into());
        }
        if exists && verdicts::is_panel(&folder) != (judges.len() > 1) {
            return Err(CommandError::usage(
                format!(
                    "the verdicts {name:?} of {shown} are of one judge, or of a panel, unlike \
                         this call"
                ),
                "pass the same --judge-model again, or another --name",
            ));
        }
        let comparisons = rejudged::comparisons(&dir)?;
        let items = self.recording.limited(comparisons.items);
        if items.is_empty() {
            return Err(CommandError::usage(
                format!("{shown} has no pair to judge: no finished item has two different answers"),
                "pass a run of amend run with revisions or several candidates",
            ));
        }
        let has_candidates = comparisons.has_candidates;
        let mut source = ItemSource::from_items(vec![shown.to_string()], items);
        let model = dir.manifest().model.clone();
        source.summary.run = Some(SourceRun { sha256: dir.hash().to_owned(), model });
        let run = Some(JudgedRun { dir, name, has_candidates });
        Ok(JudgeInput { source: Arc::new(source), run, folder: Some(folder) })
    }

    /// The name of verdicts if none is given: that of the judge model and of the
    /// constitution.
    fn usual_name(&self, judges: &[ModelSource], config: &Config) -> Result<String, CommandError> {
        let judge = match judges {
            [_, _, ..] => format!("panel-of-{}", judges.len()),
            _ => match self.model.sole_judge(config)? {
                Some(judge) => short_name(&judge),
                None => short_name(&self.model.source(config)?),
            },
        };
        let constitution = self.task.constitution(config)?.name;
        let name: String = format!("{judge}-{constitution}")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
            .collect();
        Ok(name.trim_start_matches('.').chars().take(64).collect())
    }
}

/// The name of a model's file, of its repository, or of its server.
pub(super) fn short_name(model: &ModelSource) -> String {
    match model {
        ModelSource::File { path, .. } => {
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            stem.to_string_lossy().into_owned()
        }
        ModelSource::Hub { model, .. } => model.to_string(),
        ModelSource::Endpoint(settings) => match &settings.model {
            Some(model) => model.clone(),
            None => match settings.addresses.first() {
                Some(address) => {
                    address.to_string().split("://").last().unwrap_or("server").to_owned()
                }
                None => "server".to_owned(),
            },
        },
    }
}

/// The part of a file of a calibration that is read.
#[derive(Deserialize)]
struct CalibrationFile {
    judge: CalibrationTable,
}

#[derive(Deserialize)]
struct CalibrationTable {
    #[serde(default)]
    calibration: Calibration,
    min_margin: Option<f64>,
}

/// What `--fit` wrote to a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct JudgeCorrection {
    /// The calibration.
    pub calibration: Calibration,
    /// The least margin of a decision, if it was fitted.
    pub min_margin: Option<f64>,
}

/// Reads what `--fit` wrote to a file.
pub(super) fn calibration(path: &Path) -> Result<JudgeCorrection, CommandError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|source| CommandError::failed(format!("read {shown}"), source))?;
    let wrong = |what: String| {
        CommandError::usage(
            format!("{shown} is not a calibration: {what}"),
            "pass a file that amend judge --fit wrote",
        )
    };
    let file: CalibrationFile =
        toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    let CalibrationTable { calibration, min_margin } = file.judge;
    let is_positive = calibration.temperature > 0.0 && calibration.temperature.is_finite();
    if !is_positive || !calibration.offset.is_finite() {
        return Err(wrong("the temperature must be above 0, and both numbers finite".to_owned()));
    }
    if min_margin.is_some_and(|margin| !(margin >= 0.0 && margin.is_finite())) {
        return Err(wrong("`min_margin` must be 0 or more, and finite".to_owned()));
    }
    Ok(JudgeCorrection { calibration, min_margin })
}
