//! Flags that divide a run among many processes.

use std::path::Path;

use clap::Args;

use super::one_of;
use crate::cli::output::error::CommandError;
use amend_data::store::sharded::{Shard, ShardBy, ShardPlan};

/// The part of the items that the process works on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shards")]
pub struct ShardArgs {
    /// Work on shard I of N, numbered from 0, in DIR/shards; `auto` takes both from a Slurm
    /// array or a Kubernetes Indexed Job (with AMEND_SHARDS). With --resume, the shard is
    /// started if it was not
    #[arg(long, value_name = "I/N|auto", requires = "out")]
    shard: Option<String>,
    /// What decides which shard an item belongs to
    #[arg(
        long,
        requires = "shard",
        value_name = "WAY",
        value_parser = one_of(&ShardBy::ALL, ShardBy::as_str, &SHARD_BY_HELP),
        default_value_t,
    )]
    shard_by: ShardBy,
}

/// The help of each value of [`ShardBy`].
const SHARD_BY_HELP: [&str; 2] = [
    "A hash of its content. Each shard reads all rows",
    "The file that it is in. Each shard reads its own files only",
];

/// The value that takes the shard from the environment.
const AUTO: &str = "auto";

/// The variable with the number of shards.
const SHARDS: &str = "AMEND_SHARDS";

impl ShardArgs {
    /// The shard to work on, of the run in the folder `out`. `None` if the run is not in shards.
    ///
    /// # Errors
    /// The flag names no shard, or the environment does not.
    pub fn shard(&self, out: Option<&Path>) -> Result<Option<Shard>, CommandError> {
        let Some(text) = &self.shard else { return Ok(None) };
        let shard = if text == AUTO {
            let planned = match out {
                Some(out) => ShardPlan::read(out)?.map(|plan| plan.shards),
                None => None,
            };
            from_environment(planned, |name| std::env::var(name).ok())?
        } else {
            text.parse()?
        };
        Ok(Some(Shard { by: self.shard_by, ..shard }))
    }
}

/// The shard that the environment names. `planned` is the number of shards in the plan of the run,
/// if it has one: an array that is submitted again for some shards is smaller.
fn from_environment(
    planned: Option<u32>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Shard, CommandError> {
    let number = |name: &'static str| match variable(name) {
        None => Ok(None),
        Some(text) => match text.trim().parse::<u32>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(CommandError::usage(
                format!("{name} is {text:?}, which is not a number"),
                "set it to a number from 0, or pass --shard I/N",
            )),
        },
    };
    let given = number(SHARDS)?;
    if let Some(index) = number("SLURM_ARRAY_TASK_ID")? {
        let first = number("SLURM_ARRAY_TASK_MIN")?;
        let last = number("SLURM_ARRAY_TASK_MAX")?;
        let size = number("SLURM_ARRAY_TASK_COUNT")?;
        let complete = match (first, last, size) {
            (Some(0), Some(last), Some(size)) if last + 1 == size => Some(size),
            _ => None,
        };
        let Some(count) = given.or(planned).or(complete) else {
            return Err(CommandError::usage(
                format!(
                    "the number of shards is not known: the Slurm array does not have all numbers \
                     from 0 ({} to {}, {} tasks)",
                    shown(first),
                    shown(last),
                    shown(size)
                ),
                "submit all shards, numbered from 0: --array=0-63; or set AMEND_SHARDS to their number",
            ));
        };
        return Ok(Shard::new(index, count)?);
    }
    if let Some(index) = number("JOB_COMPLETION_INDEX")? {
        let Some(count) = given.or(planned) else {
            return Err(CommandError::usage(
                "the number of shards is not known",
                format!("set {SHARDS} to the `completions` of the Kubernetes Job"),
            ));
        };
        return Ok(Shard::new(index, count)?);
    }
    Err(CommandError::usage(
        "--shard auto finds no shard: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set",
        "run it in a Slurm array or a Kubernetes Indexed Job, or pass --shard I/N",
    ))
}

fn shown(number: Option<u32>) -> String {
    number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(planned: Option<u32>, variables: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        from_environment(planned, variable)
            .map(|shard| shard.to_string())
            .map_err(|error| error.to_string())
    }

    fn slurm(
        id: &'static str,
        min: &'static str,
        max: &'static str,
        count: &'static str,
    ) -> Vec<(&'static str, &'static str)> {
        vec![
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_MIN", min),
            ("SLURM_ARRAY_TASK_MAX", max),
            ("SLURM_ARRAY_TASK_COUNT", count),
        ]
    }

    #[test]
    fn a_slurm_array_names_its_shard() {
        assert_eq!(shard(None, &slurm("3", "0", "63", "64")).unwrap(), "3/64");
        // Submitted again for two shards: the array's size says nothing.
        let again = slurm("7", "3", "7", "2");
        assert_eq!(shard(Some(64), &again).unwrap(), "7/64");
        assert_eq!(shard(Some(64), &slurm("0", "0", "1", "2")).unwrap(), "0/64");
        let error = shard(None, &again).unwrap_err();
        assert!(error.contains("does not have all numbers from 0 (3 to 7, 2 tasks)"), "{error}");
        let given = [again, vec![("AMEND_SHARDS", "8")]].concat();
        assert_eq!(shard(None, &given).unwrap(), "7/8");
        // Numbered from 1: the last one has no shard.
        assert!(shard(None, &slurm("64", "1", "64", "64")).is_err());
        assert!(
            shard(Some(64), &slurm("64", "1", "64", "64")).unwrap_err().contains("no shard 64")
        );
    }

    #[test]
    fn an_indexed_job_needs_the_number_of_shards() {
        let index = ("JOB_COMPLETION_INDEX", "5");
        assert_eq!(shard(None, &[index, ("AMEND_SHARDS", "16")]).unwrap(), "5/16");
        assert_eq!(shard(Some(16), &[index]).unwrap(), "5/16");
        assert!(shard(None, &[index]).unwrap_err().contains("number of shards is not known"));
        assert!(shard(None, &[index, ("AMEND_SHARDS", "x")]).unwrap_err().contains("not a number"));
        assert!(shard(None, &[]).unwrap_err().contains("finds no shard"));
    }
}
