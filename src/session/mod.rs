//! What every command that takes many items through a model has in common: a run
//! directory to make or to resume, progress, and a tally at the end.

pub mod interrupt;
pub mod measured_costs;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::cli::args::config::Config;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CliError;
use crate::cli::output::progress::Progress;
use amend_core::driver::{Ended, Engines, Job, Observer, drive};
use amend_core::model::Counters;
use amend_core::procedure::{Procedure, Trajectory};
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind};
use amend_data::store::governance_log::StakesLog;
use amend_data::store::journal::{Progress as ItemProgress, Record, State};
use amend_data::store::manifest::{FORMAT, Hashed, InputSummary, Manifest};
use amend_data::store::run_dir::{RunDir, RunWriter};
use amend_engine::llama::measure::calibrate::Costs;
use amend_engine::{Loaded, Source};

/// Where what is done is written down, and how far to go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub struct RecordArgs {
    /// The run directory to make, or to resume
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Take the first N rows only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Go on with the run in the directory
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// With --resume: do the items again that failed
    #[arg(long, requires = "resume")]
    pub retry_errors: bool,
    /// Give the same bytes on every run and however often it is interrupted,
    /// on one machine with one setting of the engine: slower, since items are
    /// taken in cohorts
    #[arg(long, conflicts_with = "retry_errors")]
    pub reproducible: bool,
    /// Stop once N items have failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_errors: Option<u64>,
}

/// Where a run is written: where it was asked for, or in a folder that goes when
/// this value does.
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

/// What came of a recorded run.
#[derive(Debug)]
pub struct Recorded {
    /// The run, to read.
    pub dir: RunDir,
    /// How many items there were.
    total: u64,
    tally: Tally,
    /// The engines' counts.
    pub counters: Counters,
    judged: Judged,
    ended: Ended,
    /// The directory was asked for, and stays.
    kept: bool,
}

/// Items that ended.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    done: u64,
    failed: u64,
}

impl RecordArgs {
    /// Refuses a run directory that can't be meant, before a model is loaded
    /// for it.
    ///
    /// # Errors
    /// There is no run to resume, or something where a new one should be.
    pub fn check_out(&self) -> Result<(), CliError> {
        match &self.out {
            Some(out) if self.resume => RunDir::open(out).map(drop)?,
            Some(out) => RunDir::check_vacant(out)?,
            None => {}
        }
        Ok(())
    }

    /// Where to write.
    ///
    /// # Errors
    /// A temporary folder can't be made.
    pub fn destination(&self) -> Result<Destination, CliError> {
        if let Some(out) = &self.out {
            return Ok(Destination { path: out.clone(), _temporary: None });
        }
        let folder = tempfile::tempdir().map_err(|source| CliError::Io {
            attempt: "make a temporary folder for the run".to_owned(),
            source,
        })?;
        Ok(Destination { path: folder.path().join("run"), _temporary: Some(folder) })
    }

    /// Refuses a promise that the engine can't keep: a reproducible run on a server,
    /// as the flag named it.
    fn check_source(&self, source: &Source, flag: &str) -> Result<(), CliError> {
        if self.reproducible && matches!(source, Source::Endpoint(_)) {
            return Err(CliError::usage(
                "--reproducible can't be kept by a server: what it computes together is its own \
                 affair",
                format!("run the model in this process: {flag} MODEL.gguf"),
            ));
        }
        Ok(())
    }

    /// The model that judges, where another one was named and it can keep what is
    /// promised.
    fn judge(&self, model: &ModelArgs, config: &Config) -> Result<Option<Source>, CliError> {
        let judge = model.judge(config)?;
        if let Some(judge) = &judge {
            self.check_source(judge, "--judge-model")?;
        }
        Ok(judge)
    }

    /// What batches cost, as a reproducible run noted that is to go on: it goes on
    /// with what it began with.
    ///
    /// # Errors
    /// There is no run to resume.
    pub fn costs(&self) -> Result<Option<Costs>, CliError> {
        let Some(out) = self.out.as_ref().filter(|_| self.resume && self.reproducible) else {
            return Ok(None);
        };
        let run = RunDir::open(out)?;
        let recorded = run.manifest().settings.pointer("/settings/costs");
        Ok(recorded.and_then(|costs| Costs::deserialize(costs).ok()))
    }

    /// The model that writes, for a run as it is asked for here.
    ///
    /// # Errors
    /// None is named, it can't be loaded, or it can't keep what is promised.
    pub fn model(&self, model: &ModelArgs, config: &Config) -> Result<Loaded, CliError> {
        self.check_source(&model.source(config)?, "-m")?;
        self.as_begun(model.load(config)?)
    }

    /// The model that writes, and the one that judges if that is another.
    ///
    /// # Errors
    /// As [`RecordArgs::model`], of either.
    pub fn models(
        &self,
        model: &ModelArgs,
        config: &Config,
    ) -> Result<(Loaded, Option<Loaded>), CliError> {
        let judge = self.judge(model, config)?;
        let writer = self.model(model, config)?;
        Ok((writer, judge.map(|judge| judge.load().map(Loaded::for_reading)).transpose()?))
    }

    /// The model that judges, where nothing is written: the one named for that,
    /// else the one that would write.
    ///
    /// # Errors
    /// As [`RecordArgs::model`].
    pub fn judge_model(&self, model: &ModelArgs, config: &Config) -> Result<Loaded, CliError> {
        let Some(judge) = model.sole_judge(config)? else {
            return Ok(self.model(model, config)?.for_reading());
        };
        self.check_source(&judge, "--judge-model")?;
        self.as_begun(judge.load()?.for_reading())
    }

    /// A model with the costs that the run began with.
    fn as_begun(&self, mut loaded: Loaded) -> Result<Loaded, CliError> {
        if let (Loaded::File { settings, .. }, Some(costs)) = (&mut loaded, self.costs()?) {
            settings.costs = costs;
        }
        Ok(loaded)
    }

    /// Keeps the items of the first rows, as many as were asked for.
    pub fn truncate(&self, items: &mut Vec<Item>) {
        if let Some(limit) = self.limit {
            // A row may have made several.
            items.retain(|item| item.row <= limit);
        }
    }

    /// Takes the items through the job and writes all of it down in `out`.
    ///
    /// # Errors
    /// A run directory that can't be written or resumed, an engine that can't go
    /// on.
    pub fn record(
        &self,
        command: &str,
        out: &Path,
        mut engines: Engines<'_>,
        job: &Job,
        items: Vec<Item>,
        input: InputSummary,
    ) -> Result<Recorded, CliError> {
        let manifest = self.manifest(command, &engines, job, input)?;
        let model = manifest.model.clone();
        let (mut writer, mut state) = if self.resume {
            RunDir::resume(out, &manifest)?
        } else {
            (RunDir::create(out, &manifest)?, State::default())
        };
        // What judges or evaluates puts nothing out.
        let stakes = if matches!(job.procedure, Procedure::Revise { .. }) {
            StakesLog::open(&job.constitution, out, model)?
        } else {
            None
        };
        let before = Tally::of(&state);
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
            recorded.tell(None)?;
            return Err(error.into());
        }
        Ok(recorded)
    }

    /// What a run is started with.
    ///
    /// # Errors
    /// An engine can't describe its model.
    pub fn manifest(
        &self,
        command: &str,
        engines: &Engines<'_>,
        job: &Job,
        input: InputSummary,
    ) -> Result<Manifest, CliError> {
        // By way of the text, which has the shortest form of each number; a value
        // made directly would show 0.8 as the double next to it.
        let written = |what: &str| {
            let attempt = format!("write the {what} down");
            move |error: serde_json::Error| CliError::Io { attempt, source: error.into() }
        };
        let constitution = serde_json::to_string(&*job.constitution)
            .and_then(|text| serde_json::from_str(&text))
            .map_err(written("constitution"))?;
        let procedure = serde_json::to_value(&job.procedure).map_err(written("procedure"))?;
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
    /// Says on stderr what came of it and, where the run is kept, how to go on;
    /// `next` may name a command for that.
    ///
    /// # Errors
    /// stderr can't be written to.
    pub fn tell(&self, next: Option<&str>) -> Result<(), CliError> {
        let mut text = self.summary();
        if self.kept {
            let out = self.dir.path().display();
            text.push_str(&format!("\nthe run is in {out}"));
            if let Some(next) = next {
                text.push_str(&format!("; next: amend {next} {out}"));
            }
        }
        writeln!(io::stderr(), "{text}").map_err(CliError::Output)
    }

    /// Writes what the journal comes to beside it: `rows` as lines of JSON in the
    /// file of that name, and the figures over them.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn derive<R: Serialize>(
        &self,
        name: &'static str,
        rows: &[R],
        figures: &impl Serialize,
    ) -> Result<(), CliError> {
        self.dir.derive(name, |out| json_lines(out, rows))?;
        self.dir.derive("figures.json", |out| {
            serde_json::to_writer_pretty(&mut *out, figures)?;
            writeln!(out)
        })?;
        Ok(())
    }

    /// What came of it, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let Self { total, tally: Tally { done, failed }, counters, kept, .. } = self;
        let hint = |flags: &str, what: &str| match kept {
            true => format!(" ({flags} {what})"),
            false => String::new(),
        };
        let mut text = format!("{done} of {total} items done");
        if *failed > 0 {
            let hint = hint("--resume --retry-errors", "does them again");
            text.push_str(&format!(", {failed} failed{hint}"));
        }
        let left = total - done - failed;
        if left > 0 {
            text.push_str(&format!(", {left} to go{}", hint("--resume", "goes on")));
        }
        if counters.batches == 0 && left == 0 {
            text.push_str("; there was nothing left to compute");
        } else if counters.batches > 0 {
            let prompts = counters.prefilled + counters.cached;
            let cached = 100 * counters.cached / prompts.max(1);
            let seconds = counters.compute_seconds;
            text.push_str(&self.judged.told(counters));
            text.push_str(&match counters.decoded {
                0 => format!("; {prompts} tokens of prompts in {seconds:.0} s"),
                decoded => format!(
                    "; {decoded} tokens decoded in {seconds:.0} s ({:.0} a second), {prompts} of \
                     prompts",
                    decoded as f64 / seconds.max(1e-9),
                ),
            });
            text.push_str(&format!(", {cached} % of these from the prefix cache"));
            if counters.accepted > 0 {
                let Counters { accepted, drafted, .. } = counters;
                text.push_str(&format!(", {accepted} of {drafted} guessed tokens came true"));
            }
        }
        text
    }

    /// Whether every item was done.
    ///
    /// # Errors
    /// Interrupted, or items failed.
    pub fn result(&self) -> Result<(), CliError> {
        match self.ended {
            Ended::Stopped if interrupt::requested() => Err(CliError::Interrupted),
            _ if self.tally.failed > 0 => Err(CliError::Findings),
            _ => Ok(()),
        }
    }
}

/// Writes a line of JSON a row.
///
/// # Errors
/// `out` can't be written to.
pub fn json_lines<R: Serialize>(out: &mut dyn Write, rows: &[R]) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *out, row)?;
        writeln!(out)?;
    }
    Ok(())
}

impl Tally {
    fn of(state: &State) -> Self {
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

/// Writes what happens to the journal.
struct Recorder {
    writer: RunWriter,
    stakes: Option<StakesLog>,
    progress: Progress,
    done: u64,
    failed: u64,
    decoded: u64,
    judged: Judged,
    max_errors: Option<u64>,
}

/// Judgements made, those of earlier sessions not among them.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    /// Verdicts between two answers, each in both orders.
    verdicts: u64,
    /// Scores by rubric.
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

    /// How many, and how many a second of computing where nothing else was done.
    fn told(self, counters: &Counters) -> String {
        let told = |(made, noun): (u64, &str)| {
            let rate = made as f64 / counters.compute_seconds.max(1e-9);
            match (made, counters.decoded) {
                (0, _) => String::new(),
                (made, 0) => format!("; {made} {noun} ({rate:.1} a second)"),
                (made, _) => format!("; {made} {noun}"),
            }
        };
        [(self.verdicts, "verdicts"), (self.scores, "scores")].map(told).concat()
    }
}

impl Observer for Recorder {
    type Error = CliError;

    fn stops(&mut self) -> bool {
        interrupt::requested() || self.max_errors.is_some_and(|most| self.failed >= most)
    }

    fn step(&mut self, trajectory: &Trajectory, step: &Step) -> Result<(), CliError> {
        self.decoded += u64::from(step.usage.decoded);
        self.progress.tokens(self.decoded);
        self.judged.count(step.kind);
        let item = trajectory.item().key.clone();
        Ok(self.writer.append(&Record::Step { item, step: step.clone() })?)
    }

    fn cohort(&mut self) -> Result<(), CliError> {
        Ok(self.writer.append(&Record::Cohort {})?)
    }

    fn end(&mut self, trajectory: &Trajectory, outcome: Outcome) -> Result<(), CliError> {
        let item = Item::clone(trajectory.item());
        match &outcome {
            Outcome::Done { .. } => self.done += 1,
            Outcome::Failed { failure } => {
                self.failed += 1;
                tracing::warn!(key = item.key, "row {}: {failure}", item.row);
            }
        }
        self.progress.item();
        // First, so that no output counts as done that is not logged.
        if let Some(stakes) = &mut self.stakes {
            stakes.add(trajectory, &outcome)?;
        }
        Ok(self.writer.append(&Record::End { item, outcome })?)
    }
}
