//! How far a judge can be trusted: figures over the comparisons it judged.
//!
//! A [`Row`] is one comparison with what the judge found. [`Figures`] says how
//! consistent the judge is and, where rows are labelled, how often it is right,
//! beside baselines that read nothing. [`Fitted`] corrects its probabilities, and
//! [`Injections`] tells how often an answer that speaks to the judge sways it.
//! Formulas, and when they mislead: `docs/judging.md`.

mod figures;
mod fit;
mod injection;
mod plot;
mod row;

#[cfg(test)]
mod tests;

pub use figures::{Baseline, Baselines, Figures, Labelled, Position};
pub use fit::{FitError, Fitted, Quality, fit};
pub use injection::{Flips, Injections};
pub use plot::reliability_svg;
pub use row::{Row, Swayed, UnderPrinciple};

use amend_core::random::Stream;
use amend_core::stats::Bootstrap;

/// Resamples behind an interval.
const RESAMPLES: u32 = 2000;

/// The resampling of all figures: seeded, so that the same rows give the same
/// intervals.
fn bootstrap(stream: Stream) -> Bootstrap {
    Bootstrap::new(stream.child("bootstrap"), RESAMPLES)
}
