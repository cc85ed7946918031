//! `amend review`: people judge a run's responses on a local web page.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::args::verdict_args::VerdictArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::format::{estimate, percent};
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::print;
use crate::review::{
    AgreementFigures, Order, RecordedVerdicts, ReviewOptions, ReviewSession, ReviewerPair, Server,
};
use crate::session::interrupt;
use amend_core::stats::Estimate;
use amend_core::text::format::list;
use amend_data::pairs::judgement::Rules;
use amend_data::store::reviews::Reviews;
use amend_data::store::run_dir::RunDir;

/// The maximum length of a reviewer's name, in bytes.
const MAX_NAME: usize = 64;

/// Review a run's responses by hand
///
/// Serves a page, on this machine only, that shows the two responses of a pair side
/// by side. Decisions are appended to reviews.jsonl in the run directory, and take
/// precedence over verdicts in amend export. Ctrl-C stops; the same command
/// continues.
#[derive(Debug, Args)]
pub struct ReviewArgs {
    /// The run directory
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// The port on 127.0.0.1; 0 chooses a free one
    #[arg(long, default_value_t = 0, value_name = "N")]
    port: u16,
    /// The reviewer's name
    #[arg(long, env = "USER", hide_env_values = true, default_value = "reviewer", value_name = "NAME", value_parser = name)]
    reviewer: String,
    /// The order of items: the least certain verdicts first, only items on which
    /// principles disagree, alternating categories, or random
    #[arg(long, value_enum, default_value_t = Queue::Uncertainty, value_name = "ORDER")]
    queue: Queue,
    /// The maximum number of items for this reviewer, including reviewed ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The share of items that every reviewer sees; each other item is shown until
    /// one reviewer has decided
    #[arg(long, default_value_t = 0.2, value_name = "SHARE", value_parser = share)]
    overlap: f64,
    /// The seed of random orders, of the choice of overlapping items, and of the side
    /// on which each response is shown
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    verdicts: VerdictArgs,
    /// Print a summary of the reviews, and serve no page
    #[arg(long)]
    summary: bool,
    /// With --summary: print JSON
    #[arg(long, requires = "summary")]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Queue {
    Uncertainty,
    Disagreement,
    Category,
    Random,
}

impl From<Queue> for Order {
    fn from(queue: Queue) -> Self {
        match queue {
            Queue::Uncertainty => Self::Uncertainty,
            Queue::Disagreement => Self::Disagreement,
            Queue::Category => Self::Category,
            Queue::Random => Self::Random,
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(format!("a name is one line of 1 to {MAX_NAME} bytes"));
    }
    Ok(name.to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "a share is a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("a share is a number from 0 to 1".to_owned())
    }
}

/// Serves the review page, or prints a summary of the reviews.
///
/// # Errors
/// The run or its reviews can't be read, another process is reviewing the run, or
/// the port is not available.
pub fn run(args: &ReviewArgs) -> Result<(), CommandError> {
    let run = args.verdicts.open(&args.run)?;
    if args.summary {
        return args.summarise(&run);
    }
    let options = ReviewOptions {
        reviewer: args.reviewer.clone(),
        order: args.queue.into(),
        limit: args.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        overlap: args.overlap,
        seed: args.seed,
    };
    let session = ReviewSession::open(&run, &options)?;
    let (done, total) = session.progress();
    if total == 0 {
        print::message(
            "there is nothing to review: no remaining item has two complete, different responses\n\
             (--queue disagreement shows only items on which principles disagree; --overlap 1 also \
             shows what others have reviewed)\n",
        );
        return Ok(());
    }
    print::message(&format!("{}: {done} of {total} items decided; Ctrl-C stops\n", args.reviewer));
    let server = Server::bind(session, args.port)?;
    interrupt::listen();
    let mut out = io::stdout();
    writeln!(out, "{}", server.link()).and_then(|()| out.flush()).map_err(CommandError::output)?;
    server.serve(interrupt::requested)?;
    let session = server.session();
    let (done, total) = session.progress();
    let mut text = format!("\n{}: {done} of {total} items decided\n", args.reviewer);
    agreements(&mut text, &session.agreement());
    print::message(&text);
    next::print(if done < total { AmendCall::this() } else { AmendCall::exporting(&args.run) });
    Ok(())
}

impl ReviewArgs {
    fn summarise(&self, run: &RunDir) -> Result<(), CommandError> {
        let reviews = Reviews::read(run)?;
        let rules = Rules::from_run(run);
        let mut verdicts = RecordedVerdicts::default();
        for trajectory in run.trajectories()? {
            verdicts.add(&trajectory?, &rules);
        }
        let figures = AgreementFigures::from_reviews(&reviews, &verdicts);
        if self.json { print::json(&figures) } else { print::text(&table(&figures)) }
    }
}

/// The figures as text.
fn table(figures: &AgreementFigures) -> String {
    if figures.reviewers.is_empty() {
        return "no item has been reviewed\n".to_owned();
    }
    let crate::review::Outcomes { kept, turned, tie, both_bad, disputed, edited } =
        figures.outcomes;
    let mut text = format!(
        "items         {} decided: {kept} for the revision, {turned} for the other response, \
         {tie} ties, {both_bad} both bad, {disputed} disputed; {edited} edited\n",
        figures.items
    );
    for reviewer in &figures.reviewers {
        // Writing to a String can't fail.
        let _ = write!(text, "{:13} {} decided", reviewer.name, reviewer.reviews);
        if let Some(seconds) = reviewer.seconds {
            let _ = write!(text, ", {seconds:.1} s each (median)");
        }
        if let Some(left) = &reviewer.left {
            let _ = write!(text, ", chose left {}", percent(left));
        }
        text.push('\n');
    }
    agreements(&mut text, &figures.between);
    if let Some(judge) = &figures.judge {
        agreement(&mut text, "with the judge", &judge.same, judge.kappa.as_ref());
    }
    text
}

fn agreements(text: &mut String, pairs: &[ReviewerPair]) {
    for pair in pairs {
        let names = list(&pair.reviewers);
        agreement(text, &names, &pair.agreed.same, pair.agreed.kappa.as_ref());
    }
}

fn agreement(text: &mut String, who: &str, same: &Estimate, kappa: Option<&Estimate>) {
    // Writing to a String can't fail.
    let _ = write!(text, "{who}: the same on {} of {} items", percent(same), same.n);
    match kappa {
        Some(kappa) => {
            let _ = writeln!(text, ", κ {}", estimate(kappa));
        }
        None => text.push_str(", κ is undefined\n"),
    }
}
