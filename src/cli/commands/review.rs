//! `amend review`: people decide about a run's answers, on a page of this
//! machine's own.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::output::error::{CliError, tell};
use crate::review::{Between, Figures, Options, Order, Server, Session, Verdicts};
use crate::session::interrupt;
use amend_core::stats::Estimate;
use amend_data::pairs::judgement::Rules;
use amend_data::store::reviews::Reviews;
use amend_data::store::run_dir::RunDir;

/// The longest name of a reviewer, in bytes.
const MAX_NAME: usize = 64;

/// Decide about a run's answers by hand
///
/// Serves a page on this machine alone that shows the two answers of a pair side
/// by side. Decisions are appended to reviews.jsonl in the run directory; amend
/// export puts them before any verdict. Ctrl-C stops, and the same call goes on.
#[derive(Debug, Args)]
pub struct ReviewArgs {
    /// The run directory
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0, value_name = "N")]
    port: u16,
    /// Who reviews
    #[arg(long, env = "USER", hide_env_values = true, default_value = "reviewer", value_name = "NAME", value_parser = name)]
    reviewer: String,
    /// What comes first: where the judge is least sure, where principles disagree
    /// (these alone), each category in turn, or a random sample
    #[arg(long, value_enum, default_value_t = Queue::Uncertainty, value_name = "ORDER")]
    queue: Queue,
    /// The most items of this reviewer, those decided already among them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The share of items that every reviewer is shown; the others are shown until
    /// somebody has decided
    #[arg(long, default_value_t = 0.2, value_name = "SHARE", value_parser = share)]
    overlap: f64,
    /// Decides which items overlap, random orders, and on which side answers stand
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Print what the reviews come to, and serve nothing
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
        return Err(format!("a name has 1 to {MAX_NAME} bytes on one line"));
    }
    Ok(name.to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "a share is a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is from 0 to 1".to_owned()) }
}

/// Reviews.
///
/// # Errors
/// The run or its reviews can't be read, somebody else reviews it, or the port
/// can't be had.
pub fn run(args: &ReviewArgs) -> Result<(), CliError> {
    let run = RunDir::open(&args.run)?;
    if args.summary {
        return args.summarise(&run);
    }
    let options = Options {
        reviewer: args.reviewer.clone(),
        order: args.queue.into(),
        limit: args.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        overlap: args.overlap,
        seed: args.seed,
    };
    let session = Session::open(&run, &options)?;
    let (done, total) = session.progress();
    if total == 0 {
        tell(
            "there is nothing to review: no item left has two answers that are whole and unlike\n\
             (--queue disagreement shows only those on which principles differ; --overlap 1 shows \
             what others have decided too)\n",
        );
        return Ok(());
    }
    tell(&format!("{}: {done} of {total} items decided; Ctrl-C stops\n", args.reviewer));
    let server = Server::bind(session, args.port)?;
    interrupt::listen();
    let mut out = io::stdout();
    writeln!(out, "{}", server.link()).and_then(|()| out.flush()).map_err(CliError::Output)?;
    server.serve(interrupt::requested)?;
    let session = server.session();
    let (done, total) = session.progress();
    let mut text = format!("\n{}: {done} of {total} items decided\n", args.reviewer);
    between(&mut text, &session.agreement());
    tell(&text);
    Ok(())
}

impl ReviewArgs {
    fn summarise(&self, run: &RunDir) -> Result<(), CliError> {
        let reviews = Reviews::read(run)?;
        let rules = Rules::of(&run.manifest().constitution.value);
        let mut verdicts = Verdicts::default();
        for trajectory in run.trajectories()? {
            verdicts.add(&trajectory?, &rules);
        }
        let figures = Figures::of(&reviews, &verdicts);
        let text = if self.json {
            let json = serde_json::to_string_pretty(&figures);
            json.map_err(|error| CliError::Output(error.into()))? + "\n"
        } else {
            table(&figures)
        };
        io::stdout().lock().write_all(text.as_bytes()).map_err(CliError::Output)
    }
}

/// The figures for people.
fn table(figures: &Figures) -> String {
    if figures.reviewers.is_empty() {
        return "nobody has decided about any item\n".to_owned();
    }
    let crate::review::Outcomes { kept, turned, tie, both_bad, disputed, edited } =
        figures.outcomes;
    let mut text = format!(
        "items         {} decided: {kept} for the revision, {turned} for the other answer, \
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
            let _ = write!(text, ", left {}", percent(left));
        }
        text.push('\n');
    }
    between(&mut text, &figures.between);
    if let Some(judge) = &figures.judge {
        agreed(&mut text, "with the judge", &judge.same, judge.kappa.as_ref());
    }
    text
}

fn between(text: &mut String, all: &[Between]) {
    for one in all {
        agreed(text, &one.reviewers.join(" and "), &one.agreed.same, one.agreed.kappa.as_ref());
    }
}

fn agreed(text: &mut String, who: &str, same: &Estimate, kappa: Option<&Estimate>) {
    // Writing to a String can't fail.
    let _ = write!(text, "{who}: the same on {} of {} items", percent(same), same.n);
    match kappa {
        Some(kappa) => {
            let Estimate { value, low, high, .. } = kappa;
            let _ = writeln!(text, ", κ {value:.2} ({low:.2} to {high:.2})");
        }
        None => text.push_str(", κ not determined\n"),
    }
}

fn percent(share: &Estimate) -> String {
    let [value, low, high] = [share.value, share.low, share.high].map(|share| 100.0 * share);
    format!("{value:.0} % ({low:.0} to {high:.0} %)")
}
