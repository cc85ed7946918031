//! `amend run`: many prompts, in a run directory that can be resumed.

mod answers_from;
mod dry_run;
mod pairs;
mod show_items;

use std::io;
use std::path::PathBuf;

use clap::Args;

use self::show_items::ShownItems;
use crate::cli::args::config::Config;
use crate::cli::args::input_args::InputArgs;
use crate::cli::args::loop_args::LoopArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::args::recording::RecordArgs;
use crate::cli::args::shard_args::ShardArgs;
use crate::cli::args::student_args::StudentArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::show::Show;
use crate::cli::output::terminal::Output;
use crate::cli::output::{print, progress};
use crate::measured_costs as calibration;
use crate::session::{Models, Session, recorded_settings, run_unrecorded};
use amend_core::driver::{Engines, Observer};
use amend_core::procedure::ItemLoop;
use amend_core::record::{Outcome, Step};
use amend_core::text::format::plural;
use amend_data::export::Counts;
use amend_data::items::Purpose;
use amend_data::store::sharded::{Done, Shard, ShardBy};

/// Generate preference data from many prompts, in a run directory
///
/// Input is JSON Lines, a JSON array, CSV, TSV, Parquet or plain text with one prompt per
/// line, also compressed (.gz, .zst); a folder stands for its files, and `-` for stdin.
/// The prompt's column is recognised by its name; other columns are kept. The input is
/// checked first, then read row by row: memory does not grow with it. --resume
/// continues an interrupted run: no finished work is lost or repeated.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Input files and folders; `-` is stdin
    #[arg(required_unless_present = "answers_from", value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Instead of input: start from the first answers of another run, under this call's
    /// constitution
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["inputs", "map", "field", "skip_bad", "dry_run", "preview"],
    )]
    answers_from: Option<PathBuf>,
    /// Count the tokens that the run would need; generate nothing
    #[arg(long, conflicts_with_all = ["preview", "resume"])]
    dry_run: bool,
    /// Print each item as it ends: the answer before and after, the critique and the verdict,
    /// shortened, and whether it gives a pair
    #[arg(long, conflicts_with_all = ["dry_run", "preview"], help_heading = "Output")]
    show: bool,
    /// Run the first N rows and show them; write nothing
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u64).range(1..))]
    preview: Option<u64>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    recording: RecordArgs,
    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    job: LoopArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    student: StudentArgs,
}

/// Runs the loop over the input.
///
/// # Errors
/// The input is invalid, the run directory can't be written or resumed, or the
/// engine fails; [`CommandError::reported`] if items failed.
pub fn run(args: &RunArgs, config: &Config) -> Result<(), CommandError> {
    if let Some(other) = &args.answers_from {
        return answers_from::run(args, other, config);
    }
    let limit = args.recording.limit.into_iter().chain(args.preview).min();
    let shard = args.shard()?;
    let source = args.input.open_shard(&args.inputs, Purpose::Prompts, limit, shard)?;
    let count = source.summary.rows;
    let mut job = args.job.job(config, source.whole_sha256())?;
    if args.dry_run || args.preview.is_some() {
        let mut models = args.models(config, count)?;
        let mut engines = models.engines(&job, source.longest.as_ref())?;
        if args.dry_run {
            dry_run::run(&engines, &job, &source)?;
        } else {
            job.cohorts = args.recording.reproducible;
            let mut preview = Preview { show: Show::new(Output::stdout()) };
            run_unrecorded(&mut engines, &job, source.items(), Some(count), &mut preview)?;
        }
        next::print(args.in_earnest());
        return Ok(());
    }
    args.check_out()?;
    let session = Session::prepare(&args.recording, "run", source).with_job(job)?;
    if let Some(end) = session.shard_end()? {
        return already_done(&end);
    }
    let mut models = args.models(config, count)?;
    let mut engines = models.engines(&session.job, session.longest_item())?;
    args.finish(session, Engines::from(&mut engines), shard)
}

/// Ends a call for a shard of which nothing is left to do, without loading a model.
fn already_done(end: &Done) -> Result<(), CommandError> {
    let Done { items, failed, .. } = *end;
    let items = format!("{items} {}", plural(items, "item"));
    print::message(&format!("the shard is done: {items}, {failed} failed\n"));
    if failed > 0 { Err(CommandError::reported()) } else { Ok(()) }
}

/// The least number of items for which measuring the costs of batches pays off.
const WORTH_MEASURING: u64 = 32;

impl RunArgs {
    /// The shard to work on, if the run is in shards.
    fn shard(&self) -> Result<Option<Shard>, CommandError> {
        let shard = self.shard.shard(self.recording.out.as_deref())?;
        if shard.is_some_and(|shard| shard.by == ShardBy::File) && self.recording.limit.is_some() {
            return Err(CommandError::usage(
                "--limit counts the rows of all files, which --shard-by file does not read",
                "omit --limit, or pass --shard-by key",
            ));
        }
        Ok(shard)
    }

    /// Runs the session, and says how many pairs an export of the run has.
    fn finish(
        &self,
        mut session: Session<'_>,
        mut engines: Engines<'_>,
        shard: Option<Shard>,
    ) -> Result<(), CommandError> {
        let finished = if self.show {
            session.start_with(&mut engines, |_| Ok(Vec::new()))?;
            let run = session.dir()?;
            let filter = pairs::filter(run.manifest())?;
            let mut shown = ShownItems::new(&run, &pairs::export(&filter))?;
            let mut show = |item: &ItemLoop, outcome: &Outcome| shown.end(item, outcome);
            session.run(engines, Some(&mut show))?
        } else {
            session.run(engines, None)?
        };
        let mut next = finished.complete_run().map(AmendCall::exporting);
        // Counting reads the whole run.
        if shard.is_none() && finished.has_new_ends() {
            let counts = pairs::count(finished.dir())?;
            if let Some(text) = counts.as_ref().and_then(pairs::in_words) {
                print::message(&text);
            }
            match counts {
                Some(Counts { written: 0, .. }) => next = finished.next_call("report"),
                Some(_) => {}
                None => next = finished.next_call("review"),
            }
        }
        finished.finish(next)
    }

    /// The call that runs what this one only tries.
    fn in_earnest(&self) -> AmendCall {
        let call = AmendCall::this().without("--dry-run", false).without("--preview", true);
        if self.recording.out.is_some() { call } else { call.with(&["--out", "DIR"]) }
    }

    fn check_out(&self) -> Result<(), CommandError> {
        if self.recording.out.is_none() {
            return Err(CommandError::usage("no run directory is given", "pass --out DIR"));
        }
        Ok(())
    }

    /// Loads the models. Measures what batches cost, if that is unknown and the width of
    /// a long run is not given. A reproducible run that is resumed keeps the costs that it
    /// started with.
    fn models(&self, config: &Config, items: u64) -> Result<Models, CommandError> {
        let student = self.student.source(&self.model, config)?;
        let mut models = Models::writing(&self.recording, &self.model, config)?
            .with_student(&self.recording, student)?;
        if let Some((model, settings)) = models.main_mut().llama_mut()
            && self.recording.out.is_some()
            && settings.parallel == 0
            && items >= WORTH_MEASURING
            && recorded_settings(&self.recording)?.is_none()
            && calibration::known(model, settings).is_none()
        {
            tracing::info!("measuring once what batches cost on this machine");
            settings.costs = calibration::measured(model, settings)?;
        }
        Ok(models)
    }
}

/// Shows each item once it has ended.
struct Preview {
    show: Show,
}

impl Observer for Preview {
    type Error = CommandError;

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), CommandError> {
        Ok(())
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), CommandError> {
        let mut out = io::stdout().lock();
        let item = trajectory.item();
        let write = || {
            let prompt = item.messages.last().map_or("", |message| message.content.as_str());
            self.show.heading(&mut out, &format!("row {}: {prompt}\n", item.row))?;
            for step in trajectory.steps() {
                self.show.step(&mut out, trajectory.constitution(), step)?;
            }
            self.show.end(&mut out, &outcome)
        };
        progress::suspend(write).map_err(CommandError::output)
    }
}
