//! What scored pairs come to taken together.

use serde::Serialize;

use super::row::{Row, Scored};
use amend_core::random::Stream;
use amend_core::stats::{
    Bootstrap, Estimate, Histogram, histogram, mean, pearson, quantile, share,
};

/// Resamples behind an interval.
const RESAMPLES: u32 = 2000;
/// Bars of the histogram.
const BARS: usize = 16;

/// Figures over scored pairs. Those of no pairs, or of pairs that don't vary, are
/// none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Pairs that were scored.
    pub pairs: usize,
    /// Pairs that failed.
    pub failed: usize,
    /// Rows left out, since they name no better answer.
    pub unlabelled: usize,
    /// The strength β of the margins and losses.
    pub beta: f64,
    /// Whether a reference model was taken off.
    pub reference: bool,
    /// How many margins are above 0.
    pub accuracy: Option<Estimate>,
    /// The mean margin, in nats.
    pub margin: Option<Estimate>,
    /// The mean DPO loss, in nats; ln 2 is a model that tells nothing apart.
    pub loss: Option<Estimate>,
    /// How many chosen answers are likelier per token.
    pub accuracy_per_token: Option<Estimate>,
    /// Mean log-probability per token of the chosen, and of the rejected.
    pub per_token: [Option<Estimate>; 2],
    /// The correlation of the margin with how many more tokens the chosen answer
    /// has.
    pub length: Option<Estimate>,
    /// How the margins lie.
    pub margins: Option<Spread>,
}

/// How values lie.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest, the quartiles, and the largest.
    pub quartiles: [f64; 5],
    /// Counts in bins from the smallest to the largest.
    pub histogram: Histogram,
}

impl Figures {
    /// Figures of `rows`, at the strength they were scored with. `unlabelled` rows
    /// were left out. The stream fixes the intervals.
    #[must_use]
    pub fn of(rows: &[Row], unlabelled: usize, beta: f64, stream: Stream) -> Self {
        let scored: Vec<Scored> = rows.iter().filter_map(|row| row.scored).collect();
        let bootstrap = Bootstrap::new(stream.child("bootstrap"), RESAMPLES);
        let mean_of = |of: fn(&Scored) -> f64| {
            bootstrap.estimate(scored.len(), |rows| mean(rows.iter().map(|&at| of(&scored[at]))))
        };
        let more_tokens =
            |pair: &Scored| f64::from(pair.chosen.tokens) - f64::from(pair.rejected.tokens);
        Self {
            pairs: scored.len(),
            failed: rows.len() - scored.len(),
            unlabelled,
            beta,
            reference: scored.iter().any(|pair| pair.reference.is_some()),
            accuracy: share(scored.iter().map(|pair| pair.margin > 0.0)),
            margin: mean_of(|pair| pair.margin),
            loss: mean_of(|pair| pair.loss),
            accuracy_per_token: share(
                scored.iter().map(|pair| pair.chosen.per_token > pair.rejected.per_token),
            ),
            per_token: [
                mean_of(|pair| pair.chosen.per_token),
                mean_of(|pair| pair.rejected.per_token),
            ],
            length: bootstrap.estimate(scored.len(), |rows| {
                pearson(rows.iter().map(|&at| (scored[at].margin, more_tokens(&scored[at]))))
            }),
            margins: Spread::of(scored.iter().map(|pair| pair.margin).collect()),
        }
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let mut quartiles = [0.0; 5];
        for (found, q) in quartiles.iter_mut().zip([0.0, 0.25, 0.5, 0.75, 1.0]) {
            *found = quantile(&values, q)?;
        }
        let [low, .., high] = quartiles;
        Some(Self { quartiles, histogram: histogram(values, low, high, BARS)? })
    }
}
