//! Evaluations: the rubric scores and rule checks of a set's answers, with intervals,
//! and whether they meet the set's thresholds. Pure: the results are computed from a
//! run's manifest and the content of its journal.

mod answer;
pub mod checks;
mod figures;
mod results;
mod variants;

pub use answer::EvaluatedItem;
pub use figures::{Figure, Measure, Slice, figure};
pub use results::{Results, ResultsError, ThresholdOutcome, ThresholdResult, measures};
pub use variants::{ItemSpread, Variants};

#[cfg(test)]
mod tests;
