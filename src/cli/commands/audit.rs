//! `amend audit`: the effect of each principle of a constitution.

mod table;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
pub use table::changes;

use crate::cli::args::config::Config;
use crate::cli::args::input_args::{InputArgs, print_notes};
use crate::cli::args::loop_args::PromptArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::args::one_of;
use crate::cli::args::recording::RecordArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use crate::session::{Models, Session};
use amend_analysis::audit::plan::{AuditPlan, Case, Questions, Reuse};
use amend_analysis::audit::{self, Audit, AuditFinding, plan as survey};
use amend_core::constitution::{self, Ties};
use amend_core::document::Severity;
use amend_core::driver::Engines;
use amend_core::judge::labels;
use amend_core::model::Engine;
use amend_core::random::Stream;
use amend_data::items::{ItemSource, SkippedRows};
use amend_data::rows::Input;
use amend_data::store::run_dir::RunDir;
use amend_data::store::run_dir::files::AUDIT;

/// Measure the effect of each principle of a constitution
///
/// A judge compares pairs of responses by every principle. Its verdicts show
/// principles that are never active, redundant, conflicting or dominant, and
/// verdicts that depend on order, length or wording. It compares all pairs with each
/// other, so they are in memory.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The constitution: a TOML file, or a shipped one by name
    #[arg(value_name = "CONSTITUTION")]
    constitution: String,
    /// The data for the audit; may be repeated. Rows with two responses each
    /// ({prompt, a, b}, {prompt, chosen, rejected} and other forms), the directory of a
    /// finished run, or prompts (rows, text, an evaluation set), for which two
    /// responses are generated first; `-` is stdin
    #[arg(long, required = true, value_name = "DATA")]
    on: Vec<PathBuf>,
    /// Use a random sample of N pairs or prompts, drawn with the seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Reuse verdicts of an earlier audit of the same data: the overall ones, and
    /// those by principles whose text is unchanged
    #[arg(long, value_name = "DIR", conflicts_with = "reproducible")]
    reuse: Option<PathBuf>,
    /// Report only what changed since another audit
    #[arg(long, value_name = "AUDIT.json", help_heading = "Output")]
    baseline: Option<PathBuf>,
    /// The lowest severity that makes the exit code 1; with --baseline, only new or
    /// more severe findings count
    #[arg(
        long,
        value_parser = one_of(&Severity::ALL, Severity::as_str, &[]),
        default_value_t = Severity::Error,
        value_name = "SEVERITY",
        help_heading = "Output"
    )]
    fail_on: Severity,
    /// Print the whole audit as JSON; with --baseline, the changes
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    recording: RecordArgs,
    #[command(flatten)]
    prompting: PromptArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Audits a constitution and prints the findings.
///
/// # Errors
/// The data or the constitution is invalid, the run directory can't be written or
/// resumed, or the engine fails; [`CommandError::reported`] if items failed, or if a
/// finding is at least as severe as `--fail-on`.
pub fn run(args: &AuditArgs, config: &Config) -> Result<(), CommandError> {
    let questions = Questions::new(constitution::load(&args.constitution)?.constitution);
    let baseline = args.baseline.as_deref().map(read_audit).transpose()?;
    let (cases, skipped) = args.cases()?;
    let available = cases.len();
    let mut survey = AuditPlan::new(args.pick(cases));
    let reuse = match &args.reuse {
        Some(dir) => Some(Reuse::read(RunDir::open(dir)?, &questions)?),
        None => None,
    };
    let files = args.on.iter().cloned().map(|source| Input::from(source).name()).collect();
    let constitution = questions.constitution().clone();
    let generates = survey.generates();
    if generates && constitution.sampling.generate.temperature == 0.0 {
        return Err(CommandError::usage(
            "two responses generated at temperature 0 are identical",
            "set `temperature` in `[sampling.generate]` above 0, or give two responses per prompt",
        ));
    }
    let mut source = ItemSource::from_items(files, survey.take_items());
    source.summary.skipped = skipped.count();
    source.skipped = skipped;
    let job = args.prompting.job(config, constitution, &source.summary.sha256)?;
    let mut session = Session::prepare(&args.recording, "audit", source).with_job(job)?;
    let first = reuse.as_ref().map_or(&[][..], Reuse::principles);
    // All questions, until it is known which ones the model supports.
    session.job.procedure = questions.procedure(first, &[]);
    let mut models = args.models(config, generates)?;
    let mut model_engines = models.engines(&session.job, session.longest_item())?;
    model_engines.count_ideal();
    let mut engines = Engines::from(&mut model_engines);
    let label_words = &session.job.constitution.audit.label_words;
    let ties = session.job.constitution.judge.ties;
    let unsupported = unsupported_labels(label_words, ties, engines.judging());
    session.job.procedure = questions.procedure(first, &unsupported);
    if let Some(reuse) = reuse {
        session.start_with(&mut engines, |manifest| Ok(reuse.steps(manifest)?))?;
    }
    let finished = session.run(engines, None)?;
    let mut judged = HashMap::new();
    for trajectory in finished.dir().trajectories()? {
        let trajectory = trajectory?;
        judged.insert(trajectory.item.key.clone(), trajectory);
    }
    let input = survey.input(&questions, &judged);
    let job = finished.job();
    let audit = audit::audit(&input, &job.constitution.audit, job.seed).map_err(|error| {
        CommandError::usage(error.to_string(), "give each pair of responses once")
    })?;
    finished.derive_document(AUDIT, &audit)?;
    let is_sample = args.sample.is_some() && audit.items < available;
    let sampled = if is_sample { Some(available) } else { None };
    let concluded = args.conclude(&audit, baseline.as_ref(), sampled);
    let next = finished.next_call("report");
    concluded.and(finished.finish(next))
}

impl AuditArgs {
    fn cases(&self) -> Result<(Vec<Case>, SkippedRows), CommandError> {
        let order = Stream::new(self.prompting.seed).child("order");
        let options = self.input.options(None)?;
        let (mut cases, mut skipped) = (Vec::new(), SkippedRows::default());
        for source in &self.on {
            let read = survey::read(source, &options, order)?;
            print_notes(&read.notes);
            cases.extend(read.cases);
            skipped.append(read.skipped);
        }
        if cases.is_empty() {
            return Err(CommandError::usage(
                "there is nothing to audit: no response was revised",
                "pass a run with revisions, or a file of pairs or prompts",
            ));
        }
        Ok((cases, skipped))
    }

    /// Applies `--limit` and `--sample`.
    fn pick(&self, mut cases: Vec<Case>) -> Vec<Case> {
        let to_usize = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        if let Some(limit) = self.recording.limit {
            cases.truncate(to_usize(limit));
        }
        if let Some(count) = self.sample {
            let stream = Stream::new(self.prompting.seed).child("sample");
            survey::sample(&mut cases, to_usize(count), stream);
        }
        cases
    }

    /// Loads the model that generates the responses, if any are generated, and the
    /// judge model if it is a separate one. If nothing is generated, only the model
    /// that judges is loaded.
    fn models(&self, config: &Config, generates: bool) -> Result<Models, CommandError> {
        if generates {
            // Most requests are verdicts, so both models are set up for prefill.
            Ok(Models::writing(&self.recording, &self.model, config)?.for_judging())
        } else {
            Models::judging(&self.recording, &self.model, config)
        }
    }

    /// Prints the audit, or what changed since the baseline.
    ///
    /// # Errors
    /// A finding is at least as severe as `--fail-on`.
    fn conclude(
        &self,
        audit: &Audit,
        baseline: Option<&Audit>,
        sampled: Option<usize>,
    ) -> Result<(), CommandError> {
        let changes = baseline.map(|baseline| audit::compare(baseline, audit));
        match (&changes, self.json) {
            (None, true) => print::json(audit),
            (Some(changes), true) => print::json(changes),
            (None, false) => print::text(&table::audit(audit, sampled)),
            (Some(changes), false) => print::text(&table::changes(changes)),
        }?;
        let is_severe = |finding: &AuditFinding| finding.severity >= self.fail_on;
        let fails = match &changes {
            Some(changes) => changes.worse().any(is_severe),
            None => audit.findings.iter().any(is_severe),
        };
        if fails { Err(CommandError::reported()) } else { Ok(()) }
    }
}

/// The pairs of label words that the judge has no tokens for, each with a warning.
/// The audit leaves them out.
fn unsupported_labels<'w>(
    label_words: &'w [[String; 2]],
    ties: Ties,
    judge: &dyn Engine,
) -> Vec<&'w [String; 2]> {
    let mut unsupported = Vec::new();
    for words in label_words {
        let mut shown = Vec::from(words.each_ref().map(String::as_str));
        if ties == Ties::Label {
            shown.push(labels::tie([shown[0], shown[1]]));
        }
        let choices = labels::answers(&shown);
        if let Err(failure) = judge.can_choose(&choices) {
            tracing::warn!("the label words {} are left out: {failure}", words.join("/"));
            unsupported.push(words);
        }
    }
    unsupported
}

/// Reads an audit from its file or its run directory.
///
/// # Errors
/// The file can't be read, or is no audit.
pub fn read_audit(path: &Path) -> Result<Audit, CommandError> {
    let path = if path.is_dir() { path.join(AUDIT) } else { path.to_owned() };
    let text = std::fs::read_to_string(&path)
        .map_err(|source| CommandError::failed(format!("read {}", path.display()), source))?;
    serde_json::from_str(&text).map_err(|error| {
        CommandError::usage(
            format!("{} is not an audit: {error}", path.display()),
            "pass an audit.json that this version of amend audit wrote",
        )
    })
}
