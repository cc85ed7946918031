//! Judgements from log-probabilities: verdicts between two answers, asked in
//! both orders, and scores of one answer on a scale. Pure: what the model is
//! asked is in the templates, asking it is the driver's part.

pub mod labels;
mod likelihood;
mod rubric;
mod verdict;

pub use likelihood::{Likelihood, LogProbs};
pub use rubric::Score;
pub use verdict::{Calibration, Combined, Mode, Poll, Reading, Standing, Verdict, combine};
