//! What all commands that send many items to a model share: a run directory to
//! create or to resume, progress, and a summary at the end.

pub mod interrupt;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::cli::args::config::Config;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use crate::cli::output::progress::Progress;
use amend_core::driver::{Ended, Engines, Job, Observer, drive};
use amend_core::model::Counters;
use amend_core::procedure::{ItemLoop, Procedure};
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind};
use amend_data::store::governance_log::GovernanceLog;
use amend_data::store::journal::{ItemProgress, Record, State};
use amend_data::store::manifest::{FORMAT, Hashed, InputSummary, Manifest};
use amend_data::store::run_dir::files::FIGURES;
use amend_data::store::run_dir::{RunDir, RunWriter};
use amend_engine::llama::measure::calibrate::Costs;
use amend_engine::{LoadedModel, ModelSource};

/// The run directory, and how much to run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub struct RecordArgs {
    /// The run directory to create or to resume
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Use only the first N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Continue the run in the directory
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// With --resume: retry items that failed
    #[arg(long, requires = "resume")]
    pub retry_errors: bool,
    /// Produce the same bytes on every run, however often it is interrupted, on one
    /// machine with the same engine settings. This is slower, because items run in
    /// cohorts
    #[arg(long, conflicts_with = "retry_errors")]
    pub reproducible: bool,
    /// Stop once N items have failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_errors: Option<u64>,
}

/// The run's output directory: `--out`, or a temporary directory that is deleted on
/// drop.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl Destination {
    /// The run directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A finished or stopped run.
#[derive(Debug)]
pub struct Recorded {
    /// The run directory, for reading.
    pub dir: RunDir,
    /// The number of items.
    total: u64,
    tally: Tally,
    /// The engines' counters.
    pub counters: Counters,
    judged: Judged,
    ended: Ended,
    /// Whether the directory is `--out`, and stays.
    kept: bool,
}

/// The numbers of items that ended.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    done: u64,
    failed: u64,
}

impl RecordArgs {
    /// Checks the run directory before a model is loaded.
    ///
    /// # Errors
    /// There is no run to resume, or the directory for a new run is not empty.
    pub fn check_out(&self) -> Result<(), CommandError> {
        match &self.out {
            Some(out) if self.resume => RunDir::open(out).map(drop)?,
            Some(out) => RunDir::check_vacant(out)?,
            None => {}
        }
        Ok(())
    }

    /// The run's output directory.
    ///
    /// # Errors
    /// A temporary directory can't be created.
    pub fn destination(&self) -> Result<Destination, CommandError> {
        if let Some(out) = &self.out {
            return Ok(Destination { path: out.clone(), _temporary: None });
        }
        let folder = tempfile::tempdir().map_err(|source| {
            CommandError::failed("create a temporary directory for the run", source)
        })?;
        Ok(Destination { path: folder.path().join("run"), _temporary: Some(folder) })
    }

    /// Checks that the model, which is given by `flag`, supports the run.
    ///
    /// # Errors
    /// The run must be reproducible and the model is behind a server.
    fn check_source(&self, source: &ModelSource, flag: &str) -> Result<(), CommandError> {
        if self.reproducible && !source.capabilities().is_deterministic {
            return Err(CommandError::usage(
                "--reproducible is not supported with a server: amend cannot control how it \
                 batches requests",
                format!("use a model file: {flag} MODEL.gguf"),
            ));
        }
        Ok(())
    }

    /// The separate judge model, if one is given.
    ///
    /// # Errors
    /// As [`RecordArgs::check_source`].
    fn judge(
        &self,
        model: &ModelArgs,
        config: &Config,
    ) -> Result<Option<ModelSource>, CommandError> {
        let judge = model.judge(config)?;
        if let Some(judge) = &judge {
            self.check_source(judge, "--judge-model")?;
        }
        Ok(judge)
    }

    /// The costs of batches that a reproducible run started with, if it is resumed.
    /// It must continue with the same costs.
    ///
    /// # Errors
    /// There is no run to resume.
    pub fn costs(&self) -> Result<Option<Costs>, CommandError> {
        let Some(out) = &self.out else { return Ok(None) };
        if !(self.resume && self.reproducible) {
            return Ok(None);
        }
        let run = RunDir::open(out)?;
        let recorded = run.manifest().settings.pointer("/settings/costs");
        Ok(recorded.and_then(|costs| Costs::deserialize(costs).ok()))
    }

    /// Loads the model that generates.
    ///
    /// # Errors
    /// No model is given, it can't be loaded, or it does not support the run.
    pub fn model(&self, model: &ModelArgs, config: &Config) -> Result<LoadedModel, CommandError> {
        self.check_source(&model.source(config)?, "-m")?;
        self.with_costs(model.load(config)?)
    }

    /// Loads the model that generates, and the judge model if it is a separate one.
    ///
    /// # Errors
    /// As [`RecordArgs::model`], for either.
    pub fn models(
        &self,
        model: &ModelArgs,
        config: &Config,
    ) -> Result<(LoadedModel, Option<LoadedModel>), CommandError> {
        let judge = self.judge(model, config)?;
        let writer = self.model(model, config)?;
        Ok((writer, judge.map(|judge| judge.load().map(LoadedModel::for_reading)).transpose()?))
    }

    /// Loads the model of a command that only judges: the judge model if one is
    /// given, otherwise the main model.
    ///
    /// # Errors
    /// As [`RecordArgs::model`].
    pub fn judge_model(
        &self,
        model: &ModelArgs,
        config: &Config,
    ) -> Result<LoadedModel, CommandError> {
        let Some(judge) = model.sole_judge(config)? else {
            return Ok(self.model(model, config)?.for_reading());
        };
        self.check_source(&judge, "--judge-model")?;
        self.with_costs(judge.load()?.for_reading())
    }

    /// Sets the costs that a resumed run started with.
    fn with_costs(&self, mut loaded: LoadedModel) -> Result<LoadedModel, CommandError> {
        if let (Some((_, settings)), Some(costs)) = (loaded.llama_mut(), self.costs()?) {
            settings.costs = costs;
        }
        Ok(loaded)
    }

    /// Keeps the items of the first `--limit` rows.
    pub fn truncate(&self, items: &mut Vec<Item>) {
        if let Some(limit) = self.limit {
            // A row may have several items.
            items.retain(|item| item.row <= limit);
        }
    }

    /// Runs the job over the items and records everything in the run directory
    /// `out`.
    ///
    /// # Errors
    /// The run directory can't be written or resumed, or the engine fails.
    pub fn record(
        &self,
        command: &str,
        out: &Path,
        mut engines: Engines<'_>,
        job: &Job,
        items: impl IntoIterator<Item = impl Into<Arc<Item>>>,
        input: InputSummary,
    ) -> Result<Recorded, CommandError> {
        let items: Vec<Arc<Item>> = items.into_iter().map(Into::into).collect();
        let manifest = self.manifest(command, &engines, job, input)?;
        let model = manifest.model.clone();
        let (mut writer, mut state) = if self.resume {
            RunDir::resume(out, &manifest)?
        } else {
            (RunDir::create(out, &manifest)?, State::default())
        };
        // Only the loop produces output that must be logged.
        let stakes = if matches!(job.procedure, Procedure::Revise { .. }) {
            GovernanceLog::open(&job.constitution, out, model)?
        } else {
            None
        };
        let before = Tally::from_state(&state);
        let mut retried = 0;
        if self.retry_errors {
            for item in &items {
                if let Some(ItemProgress::Failed(_)) = state.get(&item.key) {
                    writer.append(&Record::Retry { item: item.key.clone() })?;
                    retried += 1;
                }
            }
        }
        let total = items.len() as u64;
        let work = amend_data::store::left(items, &mut state, self.retry_errors);
        let mut recorder = Recorder {
            writer,
            stakes,
            progress: Progress::new(total, total - work.len() as u64),
            done: 0,
            failed: 0,
            decoded: 0,
            judged: Judged::default(),
            max_errors: self.max_errors,
        };
        let ended = drive(&mut engines, job, work, &mut recorder);
        let Recorder { writer, progress, done, failed, judged, .. } = recorder;
        drop(progress);
        let tally = Tally { done: before.done + done, failed: before.failed - retried + failed };
        let recorded = Recorded {
            dir: writer.dir().clone(),
            total,
            tally,
            counters: engines.counters(),
            judged,
            ended: *ended.as_ref().unwrap_or(&Ended::Stopped),
            kept: self.out.is_some(),
        };
        if let Err(error) = ended {
            recorded.print_summary(None);
            return Err(error.into());
        }
        Ok(recorded)
    }

    /// The manifest of a run: everything that it is started with.
    ///
    /// # Errors
    /// An engine can't describe its model.
    pub fn manifest(
        &self,
        command: &str,
        engines: &Engines<'_>,
        job: &Job,
        input: InputSummary,
    ) -> Result<Manifest, CommandError> {
        // Through text, which has the shortest form of each number. A direct conversion
        // would turn an f32 of 0.8 into the double next to it.
        let failed = |what: &str| {
            let attempt = format!("serialise the {what}");
            move |error: serde_json::Error| CommandError::failed(attempt, error)
        };
        let constitution = serde_json::to_string(&*job.constitution)
            .and_then(|text| serde_json::from_str(&text))
            .map_err(failed("constitution"))?;
        let procedure = serde_json::to_value(&job.procedure).map_err(failed("procedure"))?;
        let engine = engines.writer.describe()?;
        let judge = engines.judge.as_ref().map(|judge| judge.describe()).transpose()?;
        Ok(Manifest {
            format: FORMAT,
            command: command.to_owned(),
            amend: env!("CARGO_PKG_VERSION").to_owned(),
            model: engine.model,
            judge_model: judge.map(|judge| judge.model),
            constitution: Hashed::json(constitution),
            templates: job
                .templates
                .sources()
                .into_iter()
                .map(|(name, text)| (name, Hashed::text(text)))
                .collect(),
            input,
            limit: self.limit,
            seed: job.seed,
            fence: job.fence.delimiter().to_owned(),
            fence_style: job.fence.style().as_str().to_owned(),
            procedure,
            reproducible: job.cohorts,
            settings: engine.settings,
        })
    }
}

impl Recorded {
    /// Prints to stderr the result of the run and, if it is kept, its directory and
    /// the command to run next.
    pub fn print_summary(&self, next: Option<&str>) {
        let mut text = self.summary();
        if self.kept {
            let out = self.dir.path().display();
            text.push_str(&format!("\nthe run is in {out}"));
            if let Some(next) = next {
                text.push_str(&format!("; next: amend {next} {out}"));
            }
        }
        text.push('\n');
        print::message(&text);
    }

    /// Writes the results to the run directory: `rows` as JSON lines in the file
    /// `name`, and `figures` in figures.json.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn derive<R: Serialize>(
        &self,
        name: &'static str,
        rows: &[R],
        figures: &impl Serialize,
    ) -> Result<(), CommandError> {
        self.dir.derive(name, |out| print::write_json_lines(out, rows))?;
        self.dir.derive(FIGURES, |out| out.write_all(print::json_text(figures)?.as_bytes()))?;
        Ok(())
    }

    /// The result of the run, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let Self { total, tally: Tally { done, failed }, counters, kept, .. } = self;
        let hint = |flags: &str, what: &str| match kept {
            true => format!(" ({flags} {what})"),
            false => String::new(),
        };
        let mut text = format!("{done} of {total} items done");
        if *failed > 0 {
            let hint = hint("--resume --retry-errors", "retries them");
            text.push_str(&format!(", {failed} failed{hint}"));
        }
        let left = total - done - failed;
        if left > 0 {
            text.push_str(&format!(", {left} left{}", hint("--resume", "continues")));
        }
        if counters.batches == 0 && left == 0 {
            text.push_str("; there was nothing left to compute");
        } else if counters.batches > 0 {
            let prompts = counters.prefilled + counters.cached;
            let cached = 100 * counters.cached / prompts.max(1);
            let seconds = counters.compute_seconds;
            text.push_str(&self.judged.summary(counters));
            text.push_str(&match counters.decoded {
                0 => format!("; {prompts} prompt tokens in {seconds:.0} s"),
                decoded => format!(
                    "; {decoded} tokens decoded in {seconds:.0} s ({:.0} per second), {prompts} \
                     prompt tokens",
                    decoded as f64 / seconds.max(1e-9),
                ),
            });
            text.push_str(&format!(", {cached} % of them from the prefix cache"));
            if counters.accepted > 0 {
                let Counters { accepted, drafted, .. } = counters;
                text.push_str(&format!(", {accepted} of {drafted} draft tokens accepted"));
            }
        }
        text
    }

    /// Whether every item succeeded.
    ///
    /// # Errors
    /// The run was interrupted, or items failed.
    pub fn result(&self) -> Result<(), CommandError> {
        match self.ended {
            Ended::Stopped if interrupt::requested() => Err(CommandError::interrupted()),
            _ if self.tally.failed > 0 => Err(CommandError::reported()),
            _ => Ok(()),
        }
    }
}

impl Tally {
    fn from_state(state: &State) -> Self {
        let mut tally = Self::default();
        for (_, progress) in state.iter() {
            match progress {
                ItemProgress::Done => tally.done += 1,
                ItemProgress::Failed(_) => tally.failed += 1,
                ItemProgress::Unfinished(_) => {}
            }
        }
        tally
    }
}

/// Writes steps and outcomes to the journal.
struct Recorder {
    writer: RunWriter,
    stakes: Option<GovernanceLog>,
    progress: Progress,
    done: u64,
    failed: u64,
    decoded: u64,
    judged: Judged,
    max_errors: Option<u64>,
}

/// The numbers of judgements made in this session.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    /// Verdicts between two responses, each in both orders.
    verdicts: u64,
    /// Rubric scores.
    scores: u64,
}

impl Judged {
    fn count(&mut self, kind: StepKind) {
        match kind {
            StepKind::Judge => self.verdicts += 1,
            StepKind::Rubric => self.scores += 1,
            _ => {}
        }
    }

    /// The numbers, and their rates if nothing was decoded beside them.
    fn summary(self, counters: &Counters) -> String {
        let mut text = String::new();
        for (count, noun) in [(self.verdicts, "verdicts"), (self.scores, "scores")] {
            if count == 0 {
                continue;
            }
            text.push_str(&format!("; {count} {noun}"));
            if counters.decoded == 0 {
                let rate = count as f64 / counters.compute_seconds.max(1e-9);
                text.push_str(&format!(" ({rate:.1} per second)"));
            }
        }
        text
    }
}

impl Observer for Recorder {
    type Error = CommandError;

    fn stops(&mut self) -> bool {
        interrupt::requested() || self.max_errors.is_some_and(|limit| self.failed >= limit)
    }

    fn step(&mut self, trajectory: &ItemLoop, step: &Step) -> Result<(), CommandError> {
        self.decoded += u64::from(step.usage.decoded);
        self.progress.tokens(self.decoded);
        self.judged.count(step.kind);
        let item = trajectory.item().key.clone();
        Ok(self.writer.append(&Record::Step { item, step: step.clone() })?)
    }

    fn cohort(&mut self) -> Result<(), CommandError> {
        Ok(self.writer.append(&Record::Cohort {})?)
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), CommandError> {
        let item = Item::clone(trajectory.item());
        match &outcome {
            Outcome::Done { .. } => self.done += 1,
            Outcome::Failed { failure } => {
                self.failed += 1;
                tracing::warn!(key = item.key, "row {}: {failure}", item.row);
            }
        }
        self.progress.item();
        // The log comes first, so that no output is recorded as done without being
        // logged.
        if let Some(stakes) = &mut self.stakes {
            stakes.add(trajectory, &outcome)?;
        }
        Ok(self.writer.append(&Record::End { item, outcome })?)
    }
}
