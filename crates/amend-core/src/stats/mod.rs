//! Statistics of verdicts and scores: summaries, association, agreement,
//! calibration, and intervals for all of them.
//!
//! All functions are pure. If the data do not determine a figure (no data, no
//! variation, a single class), it is `None`; no figure is infinite or not a number.
//! Functions take iterators, so that a resample needs no copy. All intervals cover
//! 95 %.
//!
//! ```
//! use amend_core::random::Stream;
//! use amend_core::stats::{Bootstrap, RESAMPLES, pearson};
//!
//! let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
//! let y = [1.1, 1.9, 3.2, 3.9, 5.1, 5.8];
//! let bootstrap = Bootstrap::new(Stream::new(1), RESAMPLES);
//! let r = bootstrap
//!     .estimate(x.len(), |rows| pearson(rows.iter().map(|&i| (x[i], y[i]))))
//!     .unwrap();
//! assert!(r.low <= r.value && r.value <= r.high);
//! ```

mod agreement;
mod association;
mod bootstrap;
mod calibration;
mod grouped;
mod summary;

use serde::{Deserialize, Serialize};

pub use agreement::{kappa, share, wilson};
pub use association::{partial, pearson, spearman};
pub use bootstrap::{Bootstrap, RESAMPLES};
pub use calibration::{
    Bin, CalibrationCurve, brier, clamped_logit, expected_calibration_error, log_loss, log_sum_exp,
    logit, reliability, sigmoid, softplus,
};
pub use grouped::{GroupedMean, groups};
pub use summary::{Histogram, Moments, cohens_d, histogram, mean, quantile};

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// The number of observations.
    pub n: usize,
}

impl Estimate {
    /// A figure from its value, its interval, and the number of observations.
    #[must_use]
    pub fn new(value: f64, interval: Interval, n: usize) -> Self {
        Self { value, low: interval.low, high: interval.high, n }
    }

    /// Whether the two intervals are disjoint: a conservative sign that the figures
    /// differ.
    #[must_use]
    pub fn apart(&self, other: &Self) -> bool {
        self.low > other.high || other.low > self.high
    }
}

/// The value, if it is finite.
fn finite(value: f64) -> Option<f64> {
    if value.is_finite() { Some(value) } else { None }
}
