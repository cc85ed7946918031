//! Judge quality: figures over the comparisons that a judge has judged.
//!
//! A [`JudgedRow`] is one comparison with its verdict. [`JudgeFigures`] measure how consistent
//! the judge is and, for labelled rows, how often it is right, next to baselines that
//! do not read the answers. [`CategoryFigures`] are those of each category of rows, and
//! [`PanelFigures`] those of several judges. [`Fitted`] is a calibration of its probabilities,
//! [`FittedMargin`] the margin below which its verdicts are ties, and [`Injections`] measure the success of prompt injections. `docs/judging.md` has the
//! formulas and their limits.

mod category;
mod figures;
mod fit;
mod injection;
mod margin;
mod panel;
mod row;

#[cfg(test)]
mod tests;

pub use category::{Category, CategoryFigures, category, usual_column};
pub use figures::{Baseline, Baselines, JudgeFigures, Labelled, PositionFigures};
pub use fit::{FitError, Fitted, JudgeFit, Quality, fit};
pub use injection::{AttackSuccess, Injections};
pub use margin::{FittedMargin, MarginError, fit_margin};
pub use panel::{
    JudgeAgreement, JudgeSummary, PanelFigures, PanelJudge, judging_steps, panel_rows, undisputed,
};
pub use row::{InjectionFacts, JudgedRow, UnderPrinciple, combined};

use amend_core::random::Stream;
use amend_core::stats::{Bootstrap, RESAMPLES};

/// The bootstrap of all figures. It is seeded, so that the same rows give the same
/// intervals.
fn bootstrap(stream: Stream) -> Bootstrap {
    Bootstrap::new(stream.child("bootstrap"), RESAMPLES)
}
