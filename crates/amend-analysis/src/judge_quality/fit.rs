//! Temperature and offset fitted on half of the labelled rows, and what they do
//! to the other half.

use serde::Serialize;

use super::figures::{losses, scored};
use super::{Row, bootstrap};
use amend_core::judge::Calibration;
use amend_core::random::Stream;
use amend_core::record::Label;
use amend_core::stats;
use amend_core::stats::{Bootstrap, Estimate, sigmoid};

/// What a constitution takes: see its schema.
const MOST_TEMPERATURE: f64 = 1000.0;
const MOST_OFFSET: f64 = 100.0;

/// A correction fitted to labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fitted {
    /// The correction.
    pub calibration: Calibration,
    /// Rows it was fitted to.
    pub fitted: usize,
    /// Rows kept apart, on which it is tried.
    pub tried: usize,
    /// The rows kept apart, under the calibration in force until now.
    pub before: Quality,
    /// The same under the new one.
    pub after: Quality,
    /// The change of log-loss, after − before, over the same rows.
    pub change: Option<Estimate>,
}

/// How good probabilities are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    /// The mean of −ln p of the label.
    pub log_loss: Option<Estimate>,
    /// The mean of (p − y)².
    pub brier: Option<Estimate>,
    /// The expected calibration error over ten bins.
    pub calibration_error: Option<Estimate>,
}

/// Why nothing could be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Too few rows, or all of one label.
    #[error("{rows} rows labelled a or b were judged: each half needs rows of both labels")]
    TooFew {
        /// Labelled and judged.
        rows: usize,
    },
    /// No positive temperature describes the judge.
    #[error(
        "the judge is not right more often the surer it is (slope {slope:.3}): \
         no temperature mends that"
    )]
    Inverted {
        /// The slope of the fit.
        slope: f64,
    },
    /// The judge tells so little that its correction leaves the numbers that a
    /// constitution takes.
    #[error(
        "the judge tells too little: temperature {:.1} and offset {:.1} are out of range",
        .0.temperature, .0.offset
    )]
    OutOfRange(Calibration),
}

/// Fits a correction to half of the rows, drawn by the stream, and tries it on
/// the other half. Clean rows with a verdict, labelled a or b, take part.
///
/// # Errors
/// The rows don't determine one.
pub fn fit(rows: &[Row], now: Calibration, stream: Stream) -> Result<Fitted, FitError> {
    let draw = stream.child("fit");
    let mut cases: Vec<(u64, (f64, bool))> = rows
        .iter()
        .filter(|row| row.is_clean() && row.choice().is_some_and(|choice| choice != Label::Tie))
        .filter_map(|row| {
            let better = row.label.filter(|label| *label != Label::Tie)? == Label::A;
            Some((draw.child(&row.key).bits(0), (row.raw_log_odds()?, better)))
        })
        .collect();
    cases.sort_by_key(|(draw, _)| *draw);
    let cases: Vec<(f64, bool)> = cases.into_iter().map(|(_, case)| case).collect();
    let (fitted, tried) = cases.split_at(cases.len().div_ceil(2));
    let both = |half: &[(f64, bool)]| half.iter().any(|case| case.1 != half[0].1);
    let few = FitError::TooFew { rows: cases.len() };
    if !(both(fitted) && both(tried)) {
        return Err(few);
    }
    let found = stats::Calibration::fit(fitted).ok_or(few)?;
    let Some(temperature) = found.temperature() else {
        return Err(FitError::Inverted { slope: found.slope });
    };
    // σ(slope · s + c) = σ((s + c·temperature) / temperature)
    let calibration = Calibration { temperature, offset: found.offset * temperature };
    if temperature > MOST_TEMPERATURE || calibration.offset.abs() > MOST_OFFSET {
        return Err(FitError::OutOfRange(calibration));
    }
    let bootstrap = bootstrap(stream);
    let forecasts = |calibration: Calibration| -> Vec<(f64, bool)> {
        tried.iter().map(|&(s, better)| (sigmoid(calibration.apply(s)), better)).collect()
    };
    let (before, after) = (forecasts(now), forecasts(calibration));
    let log_loss = |forecasts: &[(f64, bool)], rows: &[usize]| {
        stats::log_loss(rows.iter().map(|&at| forecasts[at]))
    };
    Ok(Fitted {
        calibration,
        fitted: fitted.len(),
        tried: tried.len(),
        before: Quality::of(&before, &bootstrap),
        after: Quality::of(&after, &bootstrap),
        change: bootstrap.difference(
            tried.len(),
            |rows| log_loss(&after, rows),
            |rows| log_loss(&before, rows),
        ),
    })
}

impl Quality {
    fn of(forecasts: &[(f64, bool)], bootstrap: &Bootstrap) -> Self {
        let score = |loss| scored(bootstrap, forecasts, loss);
        Self {
            log_loss: score(losses::LOG),
            brier: score(losses::BRIER),
            calibration_error: score(losses::CALIBRATION),
        }
    }
}

impl Fitted {
    /// The correction as a file that a constitution can extend. `judge` names the
    /// model it was fitted to.
    #[must_use]
    pub fn fragment(&self, judge: &str) -> String {
        let Self { calibration: Calibration { temperature, offset }, fitted, tried, .. } = self;
        // What a model is called must not end the comment.
        let judge: String = judge.chars().filter(|c| !c.is_control()).collect();
        format!(
            "# A judge's calibration, fitted to {fitted} labelled rows and tried on {tried} others.\n\
             # It holds for the judge {judge}, and for the prompts and principles it was asked with.\n\
             # In a constitution: extends = [\"harmless\", \"this-file.toml\"]\n\
             \n\
             [constitution]\n\
             name = \"judge-calibration\"\n\
             \n\
             [judge.calibration]\n\
             temperature = {temperature:?}\n\
             offset = {offset:?}\n"
        )
    }
}
