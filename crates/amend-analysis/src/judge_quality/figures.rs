//! The figures over all rows: how consistent the judge is, and how often right.

use serde::Serialize;

use super::injection::Injections;
use super::row::favoured;
use super::{Row, bootstrap};
use amend_core::random::Stream;
use amend_core::record::Label;
use amend_core::stats::{
    Bin, Bootstrap, Estimate, brier, expected_calibration_error, kappa, log_loss, mean,
    reliability, share,
};

/// Bars of the reliability diagram, and of the calibration error.
const BINS: usize = 10;

/// What can be told of a judge by the rows it judged. Rows with an injection in
/// them count for [`Figures::injections`] alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Rows judged.
    pub rows: usize,
    /// Rows that failed.
    pub failed: usize,
    /// Of the rows judged, those without a verdict: too little mass or margin.
    pub undecided: usize,
    /// What it gives to positions.
    pub position: Position,
    /// How it does by the labels, where there are any of better and worse.
    pub labelled: Option<Labelled>,
    /// How far it can be swayed, where rows carry injections.
    pub injections: Option<Injections>,
}

/// What a judge gives to the order in which it is shown two answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Position {
    /// The share of rows in which both orders favour the same answer (Zheng et
    /// al. 2023).
    pub consistency: Option<Estimate>,
    /// Rows in which each order favours what is shown first.
    pub favours_first: usize,
    /// Rows in which each order favours what is shown second.
    pub favours_second: usize,
    /// (second − first) / rows, from −1 (always the first) to 1 (always the
    /// second); 0 is fair. After the preference fairness of Shi et al. 2024.
    pub fairness: Option<Estimate>,
    /// The mean log-odds given to the first position.
    pub offset: Option<f64>,
}

/// How a judge does by labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Labelled {
    /// Rows labelled a, b and tie.
    pub labels: [usize; 3],
    /// The share judged right of the rows labelled a or b, an undecided one
    /// counted ½.
    pub accuracy: Estimate,
    /// The same of the decided rows alone.
    pub decided: Option<Estimate>,
    /// Cohen's κ with the labels, undecided being the label tie.
    pub kappa: Option<Estimate>,
    /// The mean of −ln p of the label.
    pub log_loss: Option<Estimate>,
    /// The mean of (p − y)².
    pub brier: Option<Estimate>,
    /// The expected calibration error over ten bins of p.
    pub calibration_error: Option<Estimate>,
    /// The bins.
    pub reliability: Vec<Bin>,
    /// Accuracy where the better answer is the longer one.
    pub longer_better: Option<Estimate>,
    /// Accuracy where the better answer is the shorter one.
    pub shorter_better: Option<Estimate>,
    /// Judges that read nothing.
    pub baselines: Baselines,
}

/// Judges that read nothing: what a real one has to beat.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Baselines {
    /// Always a.
    pub always_a: Baseline,
    /// The longer answer.
    pub longer: Baseline,
    /// The shorter answer.
    pub shorter: Baseline,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Baseline {
    /// Its accuracy; two answers of one length count ½.
    pub accuracy: Estimate,
    /// The judge's accuracy minus it, over the same rows.
    pub lead: Estimate,
}

impl Figures {
    /// The figures of some rows. The stream draws the bootstrap's resamples.
    #[must_use]
    pub fn of(rows: &[Row], stream: Stream) -> Self {
        let clean: Vec<&Row> = rows.iter().filter(|row| row.is_clean()).collect();
        let judged: Vec<&Row> = clean.iter().copied().filter(|row| row.verdict.is_some()).collect();
        let bootstrap = bootstrap(stream);
        Self {
            rows: judged.len(),
            failed: clean.len() - judged.len(),
            undecided: judged.iter().filter(|row| row.choice() == Some(Label::Tie)).count(),
            position: Position::of(&judged, &bootstrap),
            labelled: Labelled::of(&judged, &bootstrap),
            injections: Injections::of(rows, &bootstrap),
        }
    }
}

impl Position {
    fn of(judged: &[&Row], bootstrap: &Bootstrap) -> Self {
        let verdicts: Vec<_> = judged.iter().filter_map(|row| row.verdict).collect();
        // 1 and −1 where the orders part: for the second position, for the first.
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

/// A labelled row in numbers.
struct Case {
    label: Label,
    choice: Label,
    /// The probability given to a; ½ where undecided.
    p: f64,
    longer: Label,
}

impl Case {
    fn of(row: &Row) -> Option<Self> {
        let choice = row.choice()?;
        let p = if choice == Label::Tie { 0.5 } else { row.verdict?.p };
        let longer = favoured(row.lengths[0] as f64 - row.lengths[1] as f64);
        Some(Self { label: row.label?, choice, p, longer })
    }

    /// What a choice is worth: 1 if right, ½ if none is made.
    fn credit(&self, choice: Label) -> f64 {
        if choice == Label::Tie { 0.5 } else { f64::from(u8::from(choice == self.label)) }
    }

    fn forecast(&self) -> (f64, bool) {
        (self.p, self.label == Label::A)
    }
}

impl Labelled {
    fn of(judged: &[&Row], bootstrap: &Bootstrap) -> Option<Self> {
        let all: Vec<Case> = judged.iter().filter_map(|row| Case::of(row)).collect();
        let labels = [Label::A, Label::B, Label::Tie]
            .map(|label| all.iter().filter(|case| case.label == label).count());
        let cases: Vec<&Case> = all.iter().filter(|case| case.label != Label::Tie).collect();
        let credits = |of: &dyn Fn(&Case) -> Label| -> Vec<f64> {
            cases.iter().map(|case| case.credit(of(case))).collect()
        };
        let mean_of = |values: &[f64], rows: &[usize]| mean(rows.iter().map(|&at| values[at]));
        let estimate =
            |values: &[f64]| bootstrap.estimate(values.len(), |rows| mean_of(values, rows));
        let own = credits(&|case| case.choice);
        let baseline = |of: &dyn Fn(&Case) -> Label| {
            let credits = credits(of);
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
        let score = |of: fn(&[(f64, bool)]) -> Option<f64>| scored(bootstrap, &forecasts, of);
        let decided = cases.iter().filter(|case| case.choice != Label::Tie);
        Some(Self {
            labels,
            accuracy: estimate(&own)?,
            decided: share(decided.map(|case| case.choice == case.label)),
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

/// What forecasts are scored by.
pub(super) mod losses {
    use super::{BINS, brier, expected_calibration_error, log_loss, reliability};

    /// A score of forecasts.
    pub type Loss = fn(&[(f64, bool)]) -> Option<f64>;

    pub const LOG: Loss = |forecasts| log_loss(forecasts.iter().copied());
    pub const BRIER: Loss = |forecasts| brier(forecasts.iter().copied());
    pub const CALIBRATION: Loss =
        |forecasts| expected_calibration_error(&reliability(forecasts.iter().copied(), BINS));
}

/// A score of forecasts with its interval.
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
