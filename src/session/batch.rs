//! A session whose model is asked through batch files (`amend step`). The first call starts a
//! run; each call goes on as far as the results reach and writes the requests that are due.
//! Everything that later calls need is in the manifest.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::manifest::{ModelDescriptions, manifest};
use super::meter::Meter;
use super::recorder::Recorder;
use super::summary::Tally;
use super::{interrupt, record_retries, until_fault};
use crate::cli::args::input_args::faults_error;
use crate::cli::output::error::CommandError;
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::print;
use amend_core::driver::{Ended, Engines, Job, drive};
use amend_core::model::{Counters, Engine, EngineError};
use amend_core::procedure::Procedure;
use amend_core::prompt::{Delimiter, DelimiterStyle, Templates};
use amend_core::text::format::plural;
use amend_data::items::{ItemOptions, ItemSource, Purpose};
use amend_data::rows::Input;
use amend_data::store;
use amend_data::store::batch::{BatchError, FileLimits, Outbox, Replies, ResultFile};
use amend_data::store::governance_log::GovernanceLog;
use amend_data::store::manifest::Manifest;
use amend_data::store::run_dir::RunDir;
use amend_data::store::run_dir::files::SKIPPED;
use amend_engine::http::{
    BatchEngine, BatchExchange, BatchResult, BatchServer, BatchSettings, parse_reply,
};

/// Where the items of a run are read from at each call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchInput {
    /// Absolute paths of files and folders.
    pub files: Vec<PathBuf>,
    /// Names of columns: see [`ItemOptions::map`].
    pub map: Vec<(String, String)>,
    /// Whether rows that are at fault are left out.
    pub skip_bad: bool,
}

/// What the settings of a manifest say about a run of batch files.
#[derive(Deserialize)]
struct RecordedSettings {
    batch: BatchSettings,
    input: BatchInput,
}

/// A run whose model is asked through batch files.
pub struct BatchRun {
    path: PathBuf,
    manifest: Manifest,
    settings: BatchSettings,
    source: ItemSource,
    /// The files and folders that the items are read from.
    inputs: Vec<PathBuf>,
}

/// What one call does.
pub struct StepOptions<'a> {
    /// Files of results.
    pub take: &'a [PathBuf],
    /// The file for the requests that are due, and how large it may be.
    pub emit: Option<(&'a Path, FileLimits)>,
    /// Further fields that are not sent.
    pub without: &'a [String],
    /// How many items are in flight, if not as many as at the start.
    pub parallel: Option<usize>,
    /// Whether to retry items that failed.
    pub retry_errors: bool,
}

impl BatchRun {
    /// Starts a run of the loop over the items of `source`, which was read from `input`.
    ///
    /// # Errors
    /// The directory is not empty or can't be written, or the settings don't fit the job.
    pub fn start(
        path: &Path,
        job: &Job,
        (source, input): (ItemSource, &BatchInput),
        limit: Option<u64>,
        settings: BatchSettings,
    ) -> Result<Self, CommandError> {
        let mut nothing = NoExchange;
        let mut engine = BatchEngine::new(settings.clone(), &mut nothing)?;
        Engines::from(&mut engine).probe(job, None)?;
        let mut description = engine.describe()?;
        description.settings["input"] = json!(input);
        let models = ModelDescriptions { engine: description, judge: None, student: None };
        let manifest = manifest("run", job, &source, limit, models)?;
        drop(RunDir::create(path, &manifest)?);
        let inputs = input.files.clone();
        Ok(Self { path: path.to_owned(), manifest, settings, source, inputs })
    }

    /// Opens a run, and reads its input again: from `files` if they have moved.
    ///
    /// # Errors
    /// There is no run, or it is not of this kind, or its input is at fault.
    pub fn open(path: &Path, files: Option<Vec<PathBuf>>) -> Result<Self, CommandError> {
        let manifest = RunDir::open(path)?.manifest().clone();
        let recorded = RecordedSettings::deserialize(&manifest.settings);
        let Ok(RecordedSettings { batch, input }) = recorded else {
            return Err(CommandError::usage(
                format!("{} is not a run of amend step", path.display()),
                "continue it with the command that started it, or pass another directory",
            ));
        };
        let files = files.unwrap_or(input.files);
        let inputs: Vec<Input> = files.iter().cloned().map(Input::from).collect();
        let options = ItemOptions {
            map: input.map,
            skip_bad: input.skip_bad,
            limit: manifest.limit,
            shard: None,
        };
        let source = ItemSource::open(&inputs, Purpose::Prompts, &options).map_err(faults_error)?;
        Ok(Self { path: path.to_owned(), manifest, settings: batch, source, inputs: files })
    }

    /// What answers the requests.
    #[must_use]
    pub fn server(&self) -> BatchServer {
        self.settings.server
    }

    /// The job, from the manifest.
    fn job(&self) -> Result<Job, CommandError> {
        let Manifest { constitution, templates, seed, fence, fence_style, .. } = &self.manifest;
        let style = DelimiterStyle::ALL.into_iter().find(|style| style.as_str() == fence_style);
        let fence = Delimiter::new(fence)
            .map_err(|error| CommandError::failed("read the delimiter of the run", error))?
            .in_style(style.unwrap_or_default());
        let texts = templates.iter().map(|(name, text)| (name.as_str(), text.value.as_str()));
        let templates = Templates::from_texts(texts, &fence)?;
        let constitution = constitution.value.clone();
        let procedure = Procedure::Revise { judging: constitution.judge.enabled };
        Ok(Job::with_templates(procedure, constitution, templates, fence, *seed))
    }

    /// Goes on as far as the results reach, writes the requests that are due, and prints a
    /// summary.
    ///
    /// # Errors
    /// A file can't be read or written, or the user interrupts the command. If the run is done
    /// and items failed: [`CommandError::reported`].
    pub fn step(self, options: &StepOptions<'_>) -> Result<(), CommandError> {
        let job = self.job()?;
        let Self { path, manifest, mut settings, source, inputs } = self;
        if let Some((file, _)) = options.emit {
            check_emit(file, &inputs, options.take)?;
        }
        settings.parallel = options.parallel.unwrap_or(settings.parallel);
        let mut taken = Vec::new();
        for file in options.take {
            taken.push(ResultFile::open(file, parse_reply)?);
        }
        let amend = env!("CARGO_PKG_VERSION").to_owned();
        let now = Manifest { amend, input: source.summary.clone(), ..manifest };
        let (mut writer, mut state) = RunDir::resume(&path, &now)?;
        if let Some((file, _)) = options.emit {
            writer.dir().check_output(file)?;
        }
        let governance_log = GovernanceLog::open(&job.constitution, &path, now.model)?;
        let mut tally = Tally::from_state(&state);
        let total = source.summary.rows;
        if options.retry_errors {
            if tally.done + tally.failed < total {
                return Err(CommandError::usage(
                    format!("{} items have not ended yet", total - tally.done - tally.failed),
                    "continue without --retry-errors, and retry failed items when all have ended",
                ));
            }
            tally.failed -= record_retries(&mut writer, &state)?;
        }
        if source.skipped.count() > 0 {
            writer.dir().derive(SKIPPED, |out| source.skipped.write(out))?;
        }
        let mut exchange =
            Exchange { replies: Replies::open(&path)?, taken, outbox: Outbox::new(&path)? };
        exchange.leave_out(options.without)?;
        let mut engine = BatchEngine::new(settings, &mut exchange)?;
        Engines::from(&mut engine).probe(&job, None)?;
        let mut faults = None;
        let items = until_fault(source.items(), &mut faults);
        let work = store::left(items, &mut state, options.retry_errors);
        let meter = Meter::new(&job, total, tally.done + tally.failed);
        let mut recorder = Recorder::new(writer, governance_log, meter);
        recorder.at_standstill = engine.standstill();
        interrupt::continues_with(&next::line(AmendCall::this()));
        interrupt::listen();
        let ended = drive(&mut engine, &job, work, &mut recorder);
        let counters = engine.counters();
        let is_stopped = !engine.standstill().get();
        drop(engine);
        if let Some(faults) = faults {
            return Err(faults.into());
        }
        if ended? == Ended::Stopped && is_stopped {
            interrupt::print_message();
            return Err(CommandError::interrupted());
        }
        let files = match options.emit {
            Some((file, limits)) => exchange.outbox.write(file, limits)?,
            None => Vec::new(),
        };
        // The writer holds the lock of the run until everything is done.
        let (_writer, in_session, _) = recorder.finish();
        tally.done += in_session.done;
        tally.failed += in_session.failed;
        exchange.warn_of_unknown();
        let due = exchange.outbox.count();
        let taken = exchange.taken.iter().map(ResultFile::used).sum();
        let summary = BatchSummary { path: &path, total, tally, taken, counters, due, files };
        print::message(&summary.text());
        if !summary.is_done() {
            return Ok(());
        }
        exchange.replies.delete()?;
        if tally.failed > 0 { Err(CommandError::reported()) } else { Ok(()) }
    }
}

/// The files of one call.
struct Exchange {
    replies: Replies,
    taken: Vec<ResultFile>,
    outbox: Outbox,
}

/// Checks that a file of requests replaces neither input nor results.
fn check_emit(emit: &Path, inputs: &[PathBuf], taken: &[PathBuf]) -> Result<(), CommandError> {
    let parent = emit.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let place = emit.canonicalize().or_else(|_| parent.canonicalize());
    // A folder that does not exist holds nothing.
    let Ok(place) = place else { return Ok(()) };
    let is_in = |path: &PathBuf| path.canonicalize().is_ok_and(|path| place.starts_with(path));
    if let Some(path) = inputs.iter().chain(taken).find(|path| is_in(path)) {
        return Err(CommandError::usage(
            format!(
                "--emit {} would replace or change {}, which is read",
                emit.display(),
                path.display()
            ),
            "choose another file for the requests",
        ));
    }
    Ok(())
}

impl Exchange {
    /// Adds fields to those that the server is known to refuse.
    fn leave_out(&mut self, fields: &[String]) -> Result<(), BatchError> {
        let mut refused = self.replies.refused().to_vec();
        for field in fields {
            if !refused.contains(field) {
                refused.push(field.clone());
            }
        }
        if refused.len() > self.replies.refused().len() {
            self.replies.keep_refused(refused)?;
        }
        Ok(())
    }

    fn warn_of_unknown(&self) {
        for file in &self.taken {
            let unknown = file.unknown(&self.replies);
            if unknown > 0 {
                tracing::warn!(
                    "{}: {unknown} of {} {} belong to no request that is due: they are not used",
                    file.path().display(),
                    file.count(),
                    plural(file.count(), "result"),
                );
            }
        }
    }

    fn find(&mut self, custom_id: &str) -> Result<Option<BatchResult>, BatchError> {
        if let Some(line) = self.replies.get(custom_id)? {
            return Ok(Some(BatchResult { line, is_new: false }));
        }
        for file in &mut self.taken {
            if let Some(line) = file.get(custom_id)? {
                self.replies.keep(custom_id, &line)?;
                return Ok(Some(BatchResult { line, is_new: true }));
            }
        }
        Ok(None)
    }
}

fn engine_error(error: BatchError) -> EngineError {
    EngineError::new(error.to_string()).caused_by(error)
}

impl BatchExchange for Exchange {
    fn result(&mut self, custom_id: &str) -> Result<Option<BatchResult>, EngineError> {
        self.find(custom_id).map_err(engine_error)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.replies.sync().map_err(engine_error)
    }

    fn add(&mut self, custom_id: &str, line: &str) -> Result<(), EngineError> {
        self.outbox.add(custom_id, line).map_err(engine_error)
    }

    fn remove(&mut self, custom_id: &str) {
        self.outbox.remove(custom_id);
    }

    fn refused(&self) -> &[String] {
        self.replies.refused()
    }

    fn learn(&mut self, refused: Vec<String>) -> Result<(), EngineError> {
        self.replies.keep_refused(refused).map_err(engine_error)
    }
}

/// No results, for an engine that is only asked whether it fits a job.
struct NoExchange;

impl BatchExchange for NoExchange {
    fn result(&mut self, _: &str) -> Result<Option<BatchResult>, EngineError> {
        Ok(None)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn add(&mut self, _: &str, _: &str) -> Result<(), EngineError> {
        Ok(())
    }

    fn remove(&mut self, _: &str) {}

    fn refused(&self) -> &[String] {
        &[]
    }

    fn learn(&mut self, _: Vec<String>) -> Result<(), EngineError> {
        Ok(())
    }
}

/// The result of a call, in numbers.
struct BatchSummary<'a> {
    path: &'a Path,
    total: u64,
    /// The items that ended, those of earlier calls included.
    tally: Tally,
    /// How many results were used for the first time.
    taken: u64,
    counters: Counters,
    /// How many requests are due.
    due: u64,
    /// The files that they were written to.
    files: Vec<PathBuf>,
}

impl BatchSummary<'_> {
    fn is_done(&self) -> bool {
        self.tally.done + self.tally.failed == self.total
    }

    /// The result, and what to do next.
    fn text(&self) -> String {
        let Self { path, total, tally: Tally { done, failed }, taken, counters, due, .. } = self;
        let step = || AmendCall::new("step").arg(path);
        let mut text = format!("{done} of {total} items done");
        if *failed > 0 {
            text.push_str(&format!(", {failed} failed"));
        }
        let left = total - done - failed;
        if left > 0 {
            text.push_str(&format!(", {left} left"));
        }
        if *taken > 0 {
            let prompts = counters.prefilled + counters.cached;
            text.push_str(&format!(
                "; {taken} {} taken: {} tokens decoded, {prompts} prompt tokens",
                plural(*taken, "result"),
                counters.decoded
            ));
        }
        text.push('\n');
        if self.is_done() {
            text.push_str("the run is done");
            if *failed > 0 {
                text.push_str("; --retry-errors retries the items that failed");
            }
            text.push('\n');
            if *done > 0 {
                text.push_str(&next::line(AmendCall::exporting(path)));
            }
            return text;
        }
        let is = if *due == 1 { "is" } else { "are" };
        text.push_str(&format!("{due} {} {is} due", plural(*due, "request")));
        let Some((first, others)) = self.files.split_first() else {
            text.push('\n');
            text.push_str(&next::line(step().with(&["--emit", "FILE"])));
            return text;
        };
        text.push_str(&format!(", in {}", first.display()));
        if let Some(last) = others.last() {
            let files = self.files.len();
            text.push_str(&format!(" to {} ({files} files)", last.display()));
        }
        text.push('\n');
        let step = step().with(&["--take", "RESULTS"]).with(&["--emit", "FILE"]);
        text.push_str(&next::line(format!("have a batch answer them, then {step}")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(done: u64, failed: u64, due: u64, files: &[&str]) -> String {
        let counters =
            Counters { prefilled: 60, cached: 40, decoded: 30, batches: 3, ..Counters::default() };
        let (path, tally) = (Path::new("out"), Tally { done, failed });
        let files = files.iter().map(PathBuf::from).collect();
        BatchSummary { path, total: 5, tally, taken: done, counters, due, files }.text()
    }

    #[test]
    fn summary_says_what_is_due_and_what_to_do_next() {
        let next = "next: have a batch answer them, then amend step out --take RESULTS --emit FILE";
        assert_eq!(
            summary(0, 0, 5, &["a.jsonl"]),
            format!("0 of 5 items done, 5 left\n5 requests are due, in a.jsonl\n{next}\n")
        );
        assert_eq!(
            summary(3, 1, 1, &["a.jsonl", "a.part2.jsonl"]),
            format!(
                "3 of 5 items done, 1 failed, 1 left; 3 results taken: 30 tokens decoded, 100 \
                 prompt tokens\n1 request is due, in a.jsonl to a.part2.jsonl (2 files)\n{next}\n"
            )
        );
        let text = summary(0, 0, 5, &[]);
        assert!(text.ends_with("5 requests are due\nnext: amend step out --emit FILE\n"), "{text}");
    }

    #[test]
    fn summary_says_that_the_run_is_done() {
        let text = summary(5, 0, 0, &[]);
        assert!(
            text.ends_with("\nthe run is done\nnext: amend export out --out pairs.jsonl\n"),
            "{text}"
        );
        let text = summary(4, 1, 0, &[]);
        assert!(
            text.ends_with(
                "\nthe run is done; --retry-errors retries the items that failed\nnext: amend export \
                 out --out pairs.jsonl\n"
            ),
            "{text}"
        );
    }
}
