//! The figures over all rows: the judge's consistency and accuracy.

use serde::Serialize;

use super::category::{self, CategoryFigures};
use super::injection::Injections;
use super::row::favoured;
use super::{JudgedRow, bootstrap};
use amend_core::random::Stream;
use amend_core::record::Label;
use amend_core::stats::{
    Bin, Bootstrap, Estimate, brier, expected_calibration_error, kappa, log_loss, mean,
    reliability, share,
};

/// The number of bins of the reliability diagram and of the calibration error.
const BINS: usize = 10;

/// Figures of a judge's quality over the rows it judged. Rows with a prompt injection
/// in an answer count only for [`JudgeFigures::injections`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeFigures {
    /// The number of rows with a judgement.
    pub rows: usize,
    /// The number of rows that failed.
    pub failed: usize,
    /// The number of judged rows that are undecided: too little mass for a verdict.
    pub undecided: usize,
    /// The number of judged rows that are ties.
    pub ties: usize,
    /// The position bias.
    pub position: PositionFigures,
    /// The agreement with the labels, if some mark one answer as better.
    pub labelled: Option<Labelled>,
    /// If some labels are ties: the share of labelled rows whose label the judge gives.
    pub three_way: Option<Estimate>,
    /// The figures of each category, if rows have any.
    pub by: Option<CategoryFigures>,
    /// The effect of prompt injections, if rows have any.
    pub injections: Option<Injections>,
}

/// The position bias: how a judge depends on the order in which it sees two answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PositionFigures {
    /// The share of rows in which both orders favour the same answer (Zheng et
    /// al. 2023).
    pub consistency: Option<Estimate>,
    /// The number of rows in which both orders favour the answer shown first.
    pub favours_first: usize,
    /// The number of rows in which both orders favour the answer shown second.
    pub favours_second: usize,
    /// (favours second − favours first) / rows, from −1 (always the first) to 1
    /// (always the second); 0 is fair. After the preference fairness of Shi et al.
    /// 2024.
    pub fairness: Option<Estimate>,
    /// The mean bias towards the first position, in log-odds.
    pub offset: Option<f64>,
}

/// The agreement of a judge with labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Labelled {
    /// The numbers of rows labelled a, b and tie.
    pub labels: [usize; 3],
    /// The share of rows labelled a or b that are judged correctly. A tie and an undecided
    /// row count ½.
    pub accuracy: Estimate,
    /// The accuracy over the decided rows only.
    pub decided: Option<Estimate>,
    /// The share of rows labelled a or b for which both orders favour the label.
    pub both_orders: Option<Estimate>,
    /// Cohen's κ with the labels, where an undecided row counts as a tie.
    pub kappa: Option<Estimate>,
    /// The log-loss: the mean of −ln p of the label.
    pub log_loss: Option<Estimate>,
    /// The Brier score: the mean of (p − y)².
    pub brier: Option<Estimate>,
    /// The expected calibration error over ten bins of p.
    pub calibration_error: Option<Estimate>,
    /// The bins of the reliability diagram.
    pub reliability: Vec<Bin>,
    /// The accuracy over the rows whose better answer is the longer one.
    pub longer_better: Option<Estimate>,
    /// The accuracy over the rows whose better answer is the shorter one.
    pub shorter_better: Option<Estimate>,
    /// Baselines that do not read the answers.
    pub baselines: Baselines,
}

/// Baselines that do not read the answers. A judge should do better than these.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Baselines {
    /// Always chooses a.
    pub always_a: Baseline,
    /// Chooses the longer answer.
    pub longer: Baseline,
    /// Chooses the shorter answer.
    pub shorter: Baseline,
}

/// The figures of one baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Baseline {
    /// The accuracy. Two answers of the same length count ½.
    pub accuracy: Estimate,
    /// The judge's accuracy minus the baseline's, over the same rows.
    pub lead: Estimate,
}

impl JudgeFigures {
    /// Computes the figures of `rows`, whose categories are in the column `by`. The stream
    /// draws the bootstrap's resamples.
    #[must_use]
    pub fn from_rows(rows: &[JudgedRow], by: Option<&str>, stream: Stream) -> Self {
        let clean: Vec<&JudgedRow> = rows.iter().filter(|row| row.is_clean()).collect();
        let judged: Vec<&JudgedRow> =
            clean.iter().copied().filter(|row| row.verdict.is_some()).collect();
        let bootstrap = bootstrap(stream);
        Self {
            rows: judged.len(),
            failed: clean.len() - judged.len(),
            undecided: judged.iter().filter(|row| row.judged_label().is_none()).count(),
            ties: judged.iter().filter(|row| row.judged_label() == Some(Label::Tie)).count(),
            position: PositionFigures::from_rows(&judged, &bootstrap),
            labelled: Labelled::from_rows(&judged, &bootstrap),
            three_way: category::three_way(&judged),
            by: by.and_then(|by| CategoryFigures::from_rows(by, &judged, &bootstrap)),
            injections: Injections::from_rows(rows, &bootstrap),
        }
    }
}

impl PositionFigures {
    fn from_rows(judged: &[&JudgedRow], bootstrap: &Bootstrap) -> Self {
        let verdicts: Vec<_> = judged.iter().filter_map(|row| row.verdict).collect();
        // −1 if both orders favour the first position, 1 if both favour the second.
        let lean = |[first, second]: [f64; 2]| match (favoured(first), favoured(second)) {
            (Label::A, Label::B) => -1.0,
            (Label::B, Label::A) => 1.0,
            _ => 0.0,
        };
        let leans: Vec<f64> = verdicts.iter().map(|verdict| lean(verdict.orders)).collect();
        let consistent = |[first, second]: [f64; 2]| first * second > 0.0;
        Self {
            consistency: share(verdicts.iter().map(|verdict| consistent(verdict.orders))),
            favours_first: leans.iter().filter(|lean| **lean < 0.0).count(),
            favours_second: leans.iter().filter(|lean| **lean > 0.0).count(),
            fairness: bootstrap
                .estimate(leans.len(), |rows| mean(rows.iter().map(|&at| leans[at]))),
            offset: mean(verdicts.iter().map(|verdict| verdict.offset)),
        }
    }
}

/// The figures of a labelled row.
struct Case {
    label: Label,
    choice: Label,
    /// The probability of a; ½ if undecided.
    p: f64,
    longer: Label,
}

impl Case {
    fn from_row(row: &JudgedRow) -> Option<Self> {
        let choice = row.choice()?;
        let p = if choice == Label::Tie { 0.5 } else { row.verdict?.p };
        let longer = favoured(row.lengths[0] as f64 - row.lengths[1] as f64);
        Some(Self { label: row.label?, choice, p, longer })
    }

    /// The credit for a choice: 1 if it is right, ½ for a tie.
    fn credit(&self, choice: Label) -> f64 {
        if choice == Label::Tie { 0.5 } else { f64::from(u8::from(choice == self.label)) }
    }

    fn forecast(&self) -> (f64, bool) {
        (self.p, self.label == Label::A)
    }
}

impl Labelled {
    fn from_rows(judged: &[&JudgedRow], bootstrap: &Bootstrap) -> Option<Self> {
        let all: Vec<Case> = judged.iter().filter_map(|row| Case::from_row(row)).collect();
        let labels = [Label::A, Label::B, Label::Tie]
            .map(|label| all.iter().filter(|case| case.label == label).count());
        let cases: Vec<&Case> = all.iter().filter(|case| case.label != Label::Tie).collect();
        let credits = |choose: &dyn Fn(&Case) -> Label| -> Vec<f64> {
            cases.iter().map(|case| case.credit(choose(case))).collect()
        };
        let mean_of = |values: &[f64], rows: &[usize]| mean(rows.iter().map(|&at| values[at]));
        let estimate =
            |values: &[f64]| bootstrap.estimate(values.len(), |rows| mean_of(values, rows));
        let own = credits(&|case| case.choice);
        let baseline = |choose: &dyn Fn(&Case) -> Label| {
            let credits = credits(choose);
            let lead = bootstrap.difference(
                cases.len(),
                |rows| mean_of(&own, rows),
                |rows| mean_of(&credits, rows),
            )?;
            Some(Baseline { accuracy: estimate(&credits)?, lead })
        };
        let where_longer = |longer: bool| {
            let better =
                |case: &&&Case| case.longer != Label::Tie && (case.longer == case.label) == longer;
            let credits: Vec<f64> =
                cases.iter().filter(better).map(|case| case.credit(case.choice)).collect();
            estimate(&credits)
        };
        let forecasts: Vec<(f64, bool)> = cases.iter().map(|case| case.forecast()).collect();
        let score = |loss: losses::Loss| scored(bootstrap, &forecasts, loss);
        let decided = cases.iter().filter(|case| case.choice != Label::Tie);
        Some(Self {
            labels,
            accuracy: estimate(&own)?,
            decided: share(decided.map(|case| case.choice == case.label)),
            both_orders: category::both_orders(judged),
            kappa: bootstrap.estimate(all.len(), |rows| {
                kappa(rows.iter().map(|&at| (all[at].choice, all[at].label)))
            }),
            log_loss: score(losses::LOG),
            brier: score(losses::BRIER),
            calibration_error: score(losses::CALIBRATION),
            reliability: reliability(forecasts.iter().copied(), BINS),
            longer_better: where_longer(true),
            shorter_better: where_longer(false),
            baselines: Baselines {
                always_a: baseline(&|_| Label::A)?,
                longer: baseline(&|case| case.longer)?,
                shorter: baseline(&|case| match case.longer {
                    Label::A => Label::B,
                    Label::B => Label::A,
                    Label::Tie => Label::Tie,
                })?,
            },
        })
    }
}

/// The losses that measure the quality of forecasts.
pub(super) mod losses {
    use super::{BINS, brier, expected_calibration_error, log_loss, reliability};

    /// A loss of forecasts (p, y).
    pub type Loss = fn(&[(f64, bool)]) -> Option<f64>;

    pub const LOG: Loss = |forecasts| log_loss(forecasts.iter().copied());
    pub const BRIER: Loss = |forecasts| brier(forecasts.iter().copied());
    pub const CALIBRATION: Loss =
        |forecasts| expected_calibration_error(&reliability(forecasts.iter().copied(), BINS));
}

/// The loss of forecasts, with its interval.
pub(super) fn scored(
    bootstrap: &Bootstrap,
    forecasts: &[(f64, bool)],
    loss: losses::Loss,
) -> Option<Estimate> {
    bootstrap.estimate(forecasts.len(), |rows| {
        let drawn: Vec<(f64, bool)> = rows.iter().map(|&at| forecasts[at]).collect();
        loss(&drawn)
    })
}
