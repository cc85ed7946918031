//! Judgements computed from log-probabilities: verdicts between two answers, shown
//! in both orders, and scores of one answer on a scale. The module only computes.
//! The templates hold the questions, and the driver asks the model.

pub mod labels;
mod likelihood;
mod panel;
mod reading;
mod rubric;
mod verdict;

pub use likelihood::{Likelihood, LogProbs};
pub use panel::{PanelVote, disagreement, panel};
pub use reading::{OppositeReadings, Poll, Reading, SampleCombination, VerdictOdds};
pub use rubric::RubricScore;
pub use verdict::{Calibration, Combined, Mode, Verdict, VerdictSettings, combine};
