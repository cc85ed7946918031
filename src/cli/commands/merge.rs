//! `amend merge`: one run directory of a sharded run.

use std::path::PathBuf;

use clap::Args;

use crate::cli::output::error::CommandError;
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::print;
use amend_core::text::format::thousands;
use amend_data::store::sharded::{Merged, merge};

/// Make one run directory of a sharded run
///
/// Export, report, review, lint, judge and diff read a sharded run as it is. A merged run is one
/// folder without shards: to archive it or, if keys decided about the shards, to continue it without
/// them.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The folder of the sharded run
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// The run directory to create
    #[arg(short, long, value_name = "RUN")]
    out: PathBuf,
    /// Merge although some shards are not done
    #[arg(long)]
    partial: bool,
}

/// Merges the shards.
///
/// # Errors
/// The run is not in shards or not complete, or a file can't be read or written.
pub fn run(args: &MergeArgs) -> Result<(), CommandError> {
    let Merged { done, failed, has_verdicts, .. } = merge(&args.run, &args.out, args.partial)?;
    let out = args.out.display();
    if has_verdicts {
        tracing::warn!(
            "the verdicts of amend judge stay in {}: judge the merged run again to have them there",
            args.run.display()
        );
    }
    let (done, failed) = (thousands(done), thousands(failed));
    print::message(&format!("{done} items done, {failed} failed\nthe run is in {out}\n"));
    next::print(AmendCall::exporting(&args.out));
    Ok(())
}
