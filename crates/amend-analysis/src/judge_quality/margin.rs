//! The least margin of a decision, fitted to half of the labelled rows and tested on the
//! other half: closer verdicts are ties.

use serde::Serialize;

use super::category::is_labelled_right;
use super::fit::halves;
use super::row::favoured;
use super::{JudgedRow, bootstrap};
use amend_core::judge::Calibration;
use amend_core::random::Stream;
use amend_core::record::Label;
use amend_core::stats::{Estimate, mean, sigmoid};

/// The greatest least margin that a constitution allows: see its schema.
const MOST: f64 = 100.0;

/// A least margin, with its quality on held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FittedMargin {
    /// The least margin, in calibrated log-odds.
    pub min_margin: f64,
    /// The number of rows it was fitted to.
    pub fitted: usize,
    /// The number of held-out rows it was tested on.
    pub tried: usize,
    /// The accuracy with ties on the held-out rows as they were judged.
    pub before: Option<Estimate>,
    /// The same with the new calibration and least margin.
    pub after: Option<Estimate>,
    /// The change of that accuracy over the same rows, after − before.
    pub change: Option<Estimate>,
}

/// Why no least margin could be fitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot fit min_margin: of {rows} labelled rows with a verdict, {ties} are ties, and each \
     half of them needs ties and others"
)]
pub struct MarginError {
    /// The number of labelled rows with a verdict.
    pub rows: usize,
    /// The number of them that are ties.
    pub ties: usize,
}

/// A labelled row with a verdict.
#[derive(Debug, Clone, Copy)]
struct Case {
    label: Label,
    /// The log-odds under the new calibration.
    margin: f64,
    /// Whether it is a tie whatever the least margin, by the judge's own label.
    is_tied: bool,
    /// Whether the label was given as the row was judged.
    was_right: bool,
}

impl Case {
    /// `None` without a label, and without enough mass for a verdict.
    fn from_row(row: &JudgedRow, now: Calibration, new: Calibration) -> Option<Self> {
        let (label, verdict) = (row.label?, row.verdict?);
        row.judged_label()?;
        let margin = new.apply(now.undo(verdict.margin));
        let is_tied = verdict.p_tie.is_some_and(|tie| {
            let likelier = (1.0 - tie) * sigmoid(verdict.margin.abs());
            tie > likelier
        });
        Some(Self { label, margin, is_tied, was_right: is_labelled_right(row)? })
    }

    /// Whether the judge gives the label under this least margin.
    fn is_right(&self, min_margin: f64) -> bool {
        let is_tie = self.is_tied || self.margin.abs() < min_margin;
        self.label == if is_tie { Label::Tie } else { favoured(self.margin) }
    }
}

/// Chooses the least margin with the greatest accuracy with ties on half of the labelled
/// rows, drawn by the stream, and tests it on the other half. `now` is the calibration by
/// which the rows were judged, and `new` the one that the margin is for.
///
/// # Errors
/// A half has no ties, or nothing else.
pub fn fit_margin(
    rows: &[JudgedRow],
    now: Calibration,
    new: Calibration,
    stream: Stream,
) -> Result<FittedMargin, MarginError> {
    let cases = rows
        .iter()
        .filter(|row| row.is_clean())
        .filter_map(|row| Some((row.key.as_str(), Case::from_row(row, now, new)?)));
    let (fitted, tried) = halves(cases, stream.child("margin"));
    let ties = |half: &[Case]| half.iter().filter(|case| case.label == Label::Tie).count();
    if [&fitted, &tried].iter().any(|half| ties(half) == 0 || ties(half) == half.len()) {
        let (rows, ties) = (fitted.len() + tried.len(), ties(&fitted) + ties(&tried));
        return Err(MarginError { rows, ties });
    }
    let min_margin = best(&fitted);
    let share = |right: &dyn Fn(&Case) -> bool, rows: &[usize]| {
        mean(rows.iter().map(|&at| f64::from(u8::from(right(&tried[at])))))
    };
    let before = |rows: &[usize]| share(&|case| case.was_right, rows);
    let after = |rows: &[usize]| share(&|case| case.is_right(min_margin), rows);
    let bootstrap = bootstrap(stream);
    Ok(FittedMargin {
        min_margin,
        fitted: fitted.len(),
        tried: tried.len(),
        before: bootstrap.estimate(tried.len(), before),
        after: bootstrap.estimate(tried.len(), after),
        change: bootstrap.difference(tried.len(), after, before),
    })
}

/// The least margin with the most right cases; the smallest one among equals. It lies
/// between the margins of two cases.
fn best(cases: &[Case]) -> f64 {
    let mut cases: Vec<Case> = cases.to_vec();
    cases.sort_by(|a, b| a.margin.abs().total_cmp(&b.margin.abs()));
    let count = |right: bool| i64::from(right);
    // How many more are right than if every case were decided.
    let (mut gain, mut most, mut best) = (0, 0, 0.0);
    for (at, case) in cases.iter().enumerate() {
        let margin = case.margin.abs();
        gain += count(case.is_right(f64::INFINITY)) - count(case.is_right(0.0));
        let next = cases.get(at + 1).map_or(2.0 * margin, |next| next.margin.abs());
        let between = margin.midpoint(next);
        if next > margin && between <= MOST && gain > most {
            (most, best) = (gain, between);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(label: Label, margin: f64) -> Case {
        Case { label, margin, is_tied: false, was_right: false }
    }

    #[test]
    fn the_least_margin_separates_ties_as_far_as_they_are_apart() {
        use Label::{A, B, Tie};
        for (cases, expected) in [
            (vec![case(Tie, 0.2), case(Tie, -0.4), case(A, 1.0), case(B, -2.0)], 0.7),
            // A wrong decision costs as much as a missed tie.
            (vec![case(Tie, 0.2), case(A, 0.6), case(Tie, 0.8), case(Tie, 1.0), case(A, 3.0)], 2.0),
            (vec![case(Tie, 0.2), case(A, 0.6), case(Tie, 0.8), case(A, 3.0)], 0.4),
            // Where margins say nothing about ties, none helps.
            (vec![case(A, 0.2), case(B, -0.4), case(Tie, 2.0)], 0.0),
            // All are ties: beyond the greatest margin.
            (vec![case(Tie, 1.0), case(Tie, -2.0)], 3.0),
            // Equal margins can't be separated.
            (vec![case(Tie, 1.0), case(A, 1.0), case(B, -2.0)], 0.0),
            // A margin beyond the bound of a constitution is none.
            (vec![case(Tie, 90.0), case(Tie, 150.0), case(A, 200.0)], 0.0),
        ] {
            assert!((best(&cases) - expected).abs() < 1e-12, "{cases:?}: {}", best(&cases));
        }
    }

    #[test]
    fn a_tie_by_label_stays_one() {
        let tied = Case { is_tied: true, ..case(Label::Tie, 5.0) };
        assert!(tied.is_right(0.0) && tied.is_right(9.0));
        assert!(!Case { label: Label::A, ..tied }.is_right(0.0));
    }
}
