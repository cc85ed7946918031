//! `amend run --answers-from`: a run that starts from the first answers of another one.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use super::{RunArgs, already_done};
use crate::cli::args::config::Config;
use crate::cli::output::error::CommandError;
use crate::session::Session;
use amend_core::driver::Engines;
use amend_core::record::Item;
use amend_data::items::ItemSource;
use amend_data::store::first_answers;
use amend_data::store::run_dir::RunDir;
use amend_data::store::sharded::ShardBy;

/// Runs the loop over the items of `other`, from its first answers.
///
/// # Errors
/// As [`super::run`]; or `other` has no first answers, or another number of candidates than
/// the constitution.
pub(super) fn run(args: &RunArgs, other: &Path, config: &Config) -> Result<(), CommandError> {
    args.check_out()?;
    let shown = other.display().to_string();
    let first = RunDir::open(other)?;
    first.check_command("run")?;
    let mut answers = first_answers::read(&first)?;
    if answers.items.is_empty() {
        return Err(CommandError::usage(
            format!("no item of {shown} is done, so there are no first answers to start from"),
            "pass a run of amend run that has ended",
        ));
    }
    if answers.without > 0 {
        tracing::warn!(
            "{} items of {shown} failed or have not ended: they are left out",
            answers.without
        );
    }
    let items = args.recording.limited(std::mem::take(&mut answers.items));
    let shard = args.shard()?;
    let is_own = |item: &&Item| shard.is_none_or(|shard| shard.has_key(&item.key));
    let keys: HashSet<String> = items.iter().filter(is_own).map(|item| item.key.clone()).collect();
    let mut source = ItemSource::from_items(vec![shown.clone()], items);
    source.summary.run = Some(answers.run.clone());
    if let Some(shard) = shard {
        if shard.by == ShardBy::File {
            return Err(CommandError::usage(
                "--shard-by file needs files of rows, and --answers-from has none",
                "omit it: keys then decide",
            ));
        }
        source = source.in_shard(shard);
    }
    let count = source.summary.rows;
    let job = args.job.job(config, source.whole_sha256())?;
    let candidates = job.constitution.plan.candidates.max(1) as usize;
    if let Some(found) = answers.other_than(candidates) {
        return Err(CommandError::usage(
            format!(
                "the constitution has {candidates} candidates, but an item of {shown} has {found} \
                 first answers"
            ),
            format!("set `candidates = {found}` in `[loop]`"),
        ));
    }
    let mut session = Session::prepare(&args.recording, "run", source).with_job(job)?;
    if let Some(end) = session.shard_end()? {
        return already_done(&end);
    }
    let mut models = args.models(config, count)?;
    let mut model_engines = models.engines(&session.job, session.longest_item())?;
    let mut engines = Engines::from(&mut model_engines);
    session.start_with(&mut engines, |manifest| {
        warn_of_other_model(&answers.run.model, &manifest.model);
        let mut steps = answers.steps;
        steps.retain(|(key, _)| keys.contains(key.as_str()));
        Ok(steps)
    })?;
    args.finish(session, engines, shard)
}

/// Warns if another model wrote the first answers: it is then the author of the rejected
/// answers. The manifest names it.
fn warn_of_other_model(first: &Value, own: &Value) {
    let is_same = match (&first["sha256"], &own["sha256"]) {
        (Value::String(first), Value::String(own)) => first == own,
        _ => first["name"] == own["name"],
    };
    if !is_same {
        let name = |model: &Value| model["name"].as_str().unwrap_or("unnamed").to_owned();
        tracing::warn!(
            "the first answers, which become the rejected ones, are by {}, and the chosen ones by \
             {}: a preference between them is also one between models",
            name(first),
            name(own)
        );
    }
}
