//! `amend audit`: what each principle of a constitution does.

mod table;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

pub use table::changes;

use crate::cli::args::config::Config;
use crate::cli::args::loop_args::PromptArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CliError;
use crate::report::AUDIT;
use crate::session::interrupt;
use crate::session::{RecordArgs, Recorded};
use amend_analysis::audit;
use amend_analysis::audit::plan as survey;
use amend_analysis::audit::plan::{Case, Questions, Reuse, Survey};
use amend_analysis::audit::{Audit, Finding, Severity};
use amend_core::constitution;
use amend_core::driver::{Engines, Job};
use amend_core::judge::labels;
use amend_core::model::Engine;
use amend_core::random::Stream;
use amend_core::record::Item;
use amend_data::rows::input::Input;
use amend_data::store::manifest::InputSummary;
use amend_data::store::run_dir::RunDir;
use amend_engine::Loaded;

/// Find out what each principle of a constitution does
///
/// A judge is asked about pairs of answers under every principle. From its
/// verdicts come findings: principles that never have a say, that say the same,
/// that pull against each other, that decide alone; and verdicts that follow
/// order, length or wording.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The constitution: a TOML file, or a shipped one by name
    #[arg(value_name = "CONSTITUTION")]
    constitution: String,
    /// What to audit it on; may be repeated. JSON lines with two answers each
    /// ({prompt, a, b} or {prompt, chosen, rejected}), a finished run's
    /// directory, or prompts (JSON lines, text, an evaluation set), which are
    /// answered twice first; `-` is stdin
    #[arg(long, required = true, value_name = "DATA")]
    on: Vec<PathBuf>,
    /// The key that holds the prompt [default: the first common name found]
    #[arg(long, value_name = "KEY")]
    field: Option<String>,
    /// Take N of the pairs or prompts, drawn at random by the seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Take verdicts from an audit made before of the same data: those on the
    /// whole, and under each principle that reads the same
    #[arg(long, value_name = "DIR", conflicts_with = "reproducible")]
    reuse: Option<PathBuf>,
    /// Tell only what changed since another audit
    #[arg(long, value_name = "AUDIT.json", help_heading = "Output")]
    baseline: Option<PathBuf>,
    /// The least severity that makes the exit code 1; with --baseline, of a
    /// finding that is new or graver
    #[arg(
        long,
        value_enum,
        default_value_t = FailOn::Error,
        value_name = "SEVERITY",
        help_heading = "Output"
    )]
    fail_on: FailOn,
    /// Print the whole audit as JSON; with --baseline, what changed
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    recording: RecordArgs,
    #[command(flatten)]
    prompting: PromptArgs,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailOn {
    Info,
    Warn,
    Error,
}

impl FailOn {
    fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Warn => Severity::Warn,
            Self::Error => Severity::Error,
        }
    }
}

/// Audits.
///
/// # Errors
/// Data or a constitution that is wrong, a run directory that can't be written or
/// resumed, an engine that can't go on; [`CliError::Findings`] when items failed,
/// or where something was found that is as severe as asked.
pub fn run(args: &AuditArgs, config: &Config) -> Result<(), CliError> {
    let questions = Questions::new(constitution::load(&args.constitution)?.constitution);
    let baseline = args.baseline.as_deref().map(read_audit).transpose()?;
    let cases = args.cases()?;
    let of = cases.len();
    let survey = Survey::new(args.pick(cases));
    let reuse = match &args.reuse {
        Some(dir) => Some(Reuse::read(RunDir::open(dir)?, &questions)?),
        None => None,
    };
    let files = args.on.iter().cloned().map(|source| Input::from(source).name()).collect();
    let summary = InputSummary::new(files, survey.items());
    let constitution = questions.constitution().clone();
    if survey.generates() && constitution.sampling.generate.temperature == 0.0 {
        return Err(CliError::usage(
            "two answers drawn at temperature 0 are the same",
            "set `temperature` in `[sampling.generate]` above 0, or give two answers a prompt",
        ));
    }
    let mut job = args.prompting.job(config, constitution, &summary.sha256)?;
    job.cohorts = args.recording.reproducible;
    let out = args.recording.destination()?;
    args.recording.check_out()?;
    let (model, judge) = args.models(config, &survey)?;
    interrupt::listen();
    let mut engine = model.engine()?;
    let mut judge = judge.as_ref().map(Loaded::engine).transpose()?;
    engine.count_ideal();
    judge.iter_mut().for_each(|judge| judge.count_ideal());
    let engines = Engines::new(&mut *engine, &mut judge);
    let unsaid = unsaid(&job.constitution.audit.label_words, engines.judging());
    let first = reuse.as_ref().map_or(&[][..], Reuse::principles);
    job.procedure = questions.procedure(first, &unsaid);
    let recorded = args.record(out.path(), engines, &job, survey.items(), summary, reuse)?;
    recorded.tell(args.recording.out.as_ref().map(|_| "report"))?;
    let result = recorded.result();
    if matches!(result, Err(CliError::Interrupted)) {
        return result;
    }
    let mut judged = HashMap::new();
    for trajectory in recorded.dir.trajectories()? {
        let trajectory = trajectory?;
        judged.insert(trajectory.item.key.clone(), trajectory);
    }
    let input = survey.input(&questions, &judged);
    let audit = audit::audit(&input, &job.constitution.audit, job.seed)
        .map_err(|error| CliError::usage(error.to_string(), "give each pair of answers once"))?;
    recorded.dir.derive(AUDIT, |file| file.write_all(json(&audit)?.as_bytes()))?;
    let sampled = args.sample.map(|_| of).filter(|of| audit.items < *of);
    args.conclude(&audit, baseline.as_ref(), sampled)?;
    result
}

impl AuditArgs {
    fn cases(&self) -> Result<Vec<Case>, CliError> {
        let order = Stream::new(self.prompting.seed).child("order");
        let mut cases = Vec::new();
        for source in &self.on {
            cases.extend(survey::read(source, self.field.as_deref(), order)?);
        }
        if cases.is_empty() {
            return Err(CliError::usage(
                "there is nothing to audit on: no answer was revised",
                "name a run that made revisions, or a file of pairs or prompts",
            ));
        }
        Ok(cases)
    }

    /// As many as were asked for.
    fn pick(&self, mut cases: Vec<Case>) -> Vec<Case> {
        let most = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        if let Some(limit) = self.recording.limit {
            cases.truncate(most(limit));
        }
        if let Some(count) = self.sample {
            let stream = Stream::new(self.prompting.seed).child("sample");
            survey::sample(&mut cases, most(count), stream);
        }
        cases
    }

    /// The model that writes what is compared, where something is to be written,
    /// and the one that judges, if that is another.
    fn models(
        &self,
        config: &Config,
        survey: &Survey,
    ) -> Result<(Loaded, Option<Loaded>), CliError> {
        if survey.generates() {
            // Even then most requests are verdicts.
            let (model, judge) = self.recording.models(&self.model, config)?;
            Ok((model.for_reading(), judge))
        } else {
            Ok((self.recording.judge_model(&self.model, config)?, None))
        }
    }

    /// Takes the items through the judge.
    fn record(
        &self,
        out: &Path,
        engines: Engines<'_>,
        job: &Job,
        items: &[Item],
        summary: InputSummary,
        reuse: Option<Reuse>,
    ) -> Result<Recorded, CliError> {
        let items = items.to_vec();
        let Some(reuse) = reuse.filter(|_| !self.recording.resume) else {
            return self.recording.record("audit", out, engines, job, items, summary);
        };
        let manifest = self.recording.manifest("audit", &engines, job, summary.clone())?;
        let steps = reuse.steps(&manifest)?;
        RunDir::create(out, &manifest)?.begin(steps)?;
        let recording = RecordArgs { resume: true, ..self.recording.clone() };
        recording.record("audit", out, engines, job, items, summary)
    }

    /// Prints the audit, or what changed in it, and tells by the exit code
    /// whether something severe was found.
    fn conclude(
        &self,
        audit: &Audit,
        baseline: Option<&Audit>,
        sampled: Option<usize>,
    ) -> Result<(), CliError> {
        let is_grave = |finding: &Finding| finding.severity >= self.fail_on.severity();
        let changes = baseline.map(|baseline| audit::compare(baseline, audit));
        let text = match (&changes, self.json) {
            (None, true) => json(audit).map_err(CliError::Output)?,
            (Some(changes), true) => json(changes).map_err(CliError::Output)?,
            (None, false) => table::audit(audit, sampled),
            (Some(changes), false) => table::changes(changes),
        };
        io::stdout().lock().write_all(text.as_bytes()).map_err(CliError::Output)?;
        let grave = match &changes {
            Some(changes) => changes.worse().any(is_grave),
            None => audit.findings.iter().any(is_grave),
        };
        if grave { Err(CliError::Findings) } else { Ok(()) }
    }
}

/// Of pairs of words for the two answers, those that the judge has no tokens for:
/// told, and left out.
fn unsaid<'w>(pairs: &'w [[String; 2]], judge: &dyn Engine) -> Vec<&'w [String; 2]> {
    let cant_say = |words: &&[String; 2]| {
        let choices = labels::answers(words.each_ref().map(String::as_str));
        judge.can_choose(&choices).is_err_and(|failure| {
            tracing::warn!("the label words {} are left out: {failure}", words.join("/"));
            true
        })
    };
    pairs.iter().filter(cant_say).collect()
}

fn json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Reads an audit that was written before, from its file or its run directory.
///
/// # Errors
/// It can't be read, or is none.
pub fn read_audit(path: &Path) -> Result<Audit, CliError> {
    let path = if path.is_dir() { path.join(AUDIT) } else { path.to_owned() };
    let text = std::fs::read_to_string(&path)
        .map_err(|source| CliError::Io { attempt: format!("read {}", path.display()), source })?;
    serde_json::from_str(&text).map_err(|error| {
        CliError::usage(
            format!("{} is no audit: {error}", path.display()),
            "name an audit.json that this version of amend audit wrote",
        )
    })
}
