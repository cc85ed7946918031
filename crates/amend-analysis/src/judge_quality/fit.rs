//! A calibration (temperature and offset) that is fitted to half of the labelled rows
//! and evaluated on the other half.

use serde::Serialize;

use super::figures::{losses, scored};
use super::margin::FittedMargin;
use super::{JudgedRow, bootstrap};
use amend_core::judge::Calibration;
use amend_core::random::Stream;
use amend_core::record::Label;
use amend_core::stats::{self, Bootstrap, Estimate, sigmoid};

/// The greatest temperature that a constitution allows: see its schema.
const MOST_TEMPERATURE: f64 = 1000.0;
/// The greatest absolute offset that a constitution allows.
const MOST_OFFSET: f64 = 100.0;

/// A calibration fitted to labels, with its quality on held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fitted {
    /// The calibration.
    pub calibration: Calibration,
    /// The number of rows it was fitted to.
    pub fitted: usize,
    /// The number of held-out rows it was evaluated on.
    pub tried: usize,
    /// The quality on the held-out rows under the present calibration.
    pub before: Quality,
    /// The quality on the same rows under the new calibration.
    pub after: Quality,
    /// The change in log-loss, after − before, over the same rows.
    pub change: Option<Estimate>,
}

/// The quality of probabilities.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    /// The log-loss: the mean of −ln p of the label.
    pub log_loss: Option<Estimate>,
    /// The Brier score: the mean of (p − y)².
    pub brier: Option<Estimate>,
    /// The expected calibration error over ten bins.
    pub calibration_error: Option<Estimate>,
}

/// Why no calibration could be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// There are too few rows, or one half has a single label.
    #[error(
        "cannot calibrate: {rows} rows labelled a or b have a verdict, and each half of them \
         needs rows of both labels"
    )]
    TooFew {
        /// The number of labelled rows with a verdict.
        rows: usize,
    },
    /// No positive temperature describes the judge.
    #[error(
        "cannot calibrate: accuracy does not increase with the judge's confidence \
         (slope {slope:.3})"
    )]
    Inverted {
        /// The slope of the fit.
        slope: f64,
    },
    /// The judge's confidence says so little about its accuracy that the calibration
    /// exceeds the limits of a constitution.
    #[error(
        "cannot calibrate: temperature {:.1} and offset {:.1} are out of range, because the \
         judge's confidence says too little about its accuracy",
        .0.temperature, .0.offset
    )]
    OutOfRange(Calibration),
}

/// Divides cases, each with the key of its row, into two halves that the stream draws. The
/// first one has the odd case.
pub(super) fn halves<'a, T>(
    cases: impl Iterator<Item = (&'a str, T)>,
    stream: Stream,
) -> (Vec<T>, Vec<T>) {
    let mut cases: Vec<(u64, T)> =
        cases.map(|(key, case)| (stream.child(key).bits(0), case)).collect();
    cases.sort_by_key(|(draw, _)| *draw);
    let mut first: Vec<T> = cases.into_iter().map(|(_, case)| case).collect();
    let second = first.split_off(first.len().div_ceil(2));
    (first, second)
}

/// Fits a calibration to half of the rows, drawn by the stream, and evaluates it on the
/// other half. It uses clean rows with a decided verdict and the label a or b. `now` is
/// the calibration by which the rows were judged, to compare with.
///
/// # Errors
/// The rows do not determine a calibration.
pub fn fit(rows: &[JudgedRow], now: Calibration, stream: Stream) -> Result<Fitted, FitError> {
    let decided = rows
        .iter()
        .filter(|row| row.is_clean() && row.choice().is_some_and(|choice| choice != Label::Tie));
    let cases = decided.filter_map(|row| {
        let better = row.label.filter(|label| *label != Label::Tie)? == Label::A;
        Some((row.key.as_str(), (now.undo(row.verdict?.margin), better)))
    });
    let (fitted, tried): (Vec<(f64, bool)>, _) = halves(cases, stream.child("fit"));
    let has_both_labels = |half: &[(f64, bool)]| half.iter().any(|case| case.1 != half[0].1);
    let too_few = FitError::TooFew { rows: fitted.len() + tried.len() };
    if !(has_both_labels(&fitted) && has_both_labels(&tried)) {
        return Err(too_few);
    }
    let line = stats::CalibrationCurve::fit(&fitted).ok_or(too_few)?;
    let Some(temperature) = line.temperature() else {
        return Err(FitError::Inverted { slope: line.slope });
    };
    // σ(slope · s + c) = σ((s + c·temperature) / temperature)
    let calibration = Calibration { temperature, offset: line.offset * temperature };
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
        before: Quality::from_forecasts(&before, &bootstrap),
        after: Quality::from_forecasts(&after, &bootstrap),
        change: bootstrap.difference(
            tried.len(),
            |rows| log_loss(&after, rows),
            |rows| log_loss(&before, rows),
        ),
    })
}

impl Quality {
    fn from_forecasts(forecasts: &[(f64, bool)], bootstrap: &Bootstrap) -> Self {
        let score = |loss| scored(bootstrap, forecasts, loss);
        Self {
            log_loss: score(losses::LOG),
            brier: score(losses::BRIER),
            calibration_error: score(losses::CALIBRATION),
        }
    }
}

/// What `amend judge --fit` fitted; at least one of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeFit {
    /// The calibration.
    pub calibration: Option<Fitted>,
    /// The least margin of a decision.
    pub margin: Option<FittedMargin>,
}

impl JudgeFit {
    /// The fit as a TOML file that a constitution can extend. `judge` is the name of the
    /// model that it was fitted to.
    #[must_use]
    pub fn fragment(&self, judge: &str) -> String {
        // The model's name must not end the comment.
        let judge: String = judge.chars().filter(|c| !c.is_control()).collect();
        let mut text =
            "# Settings of a judge, fitted to labelled rows and tested on others.\n".to_owned();
        text.push_str(&format!(
            "# They are valid for the judge {judge} with the prompts and principles of that run.\n\
             # In a constitution: extends = [\"harmless\", \"this-file.toml\"]\n\
             \n\
             [constitution]\n\
             name = \"judge-calibration\"\n"
        ));
        if let Some(FittedMargin { min_margin, fitted, tried, .. }) = &self.margin {
            text.push_str(&format!(
                "\n# Fitted to {fitted} rows, tested on {tried}.\n\
                 [judge]\n\
                 min_margin = {min_margin:?}\n"
            ));
        }
        if let Some(Fitted { calibration, fitted, tried, .. }) = &self.calibration {
            let Calibration { temperature, offset } = calibration;
            text.push_str(&format!(
                "\n# Fitted to {fitted} rows, tested on {tried}.\n\
                 [judge.calibration]\n\
                 temperature = {temperature:?}\n\
                 offset = {offset:?}\n"
            ));
        }
        text
    }
}
