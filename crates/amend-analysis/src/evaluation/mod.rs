//! Evaluations: what a set's answers came to, by rubric and by rule, with
//! intervals, and whether that meets the set's thresholds. Pure: an evaluation is
//! made of a run's manifest and of what its journal holds.

mod answer;
pub mod checks;
mod figures;
mod results;
mod variants;

pub use answer::Answer;
pub use figures::{Figure, Measure, Slice};
pub use results::{Met, Results, ResultsError, ThresholdResult, measures};
pub use variants::{ItemSpread, Variants};

#[cfg(test)]
mod tests;
