//! Figures over all scored pairs.

use serde::Serialize;

use super::row::{PreferenceRow, Scored};
use amend_core::random::Stream;
use amend_core::stats::{
    Bootstrap, Estimate, Histogram, RESAMPLES, histogram, mean, pearson, quantile, share,
};

/// The number of bars in the histogram.
const BARS: usize = 16;

/// Figures over scored pairs. A figure is `None` if there are no pairs, or if they
/// have no variation where it needs some.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreferenceFigures {
    /// The number of pairs with a score.
    pub pairs: usize,
    /// The number of pairs that failed.
    pub failed: usize,
    /// The number of rows left out because no answer is marked as better.
    pub unlabelled: usize,
    /// The DPO parameter β of the margins and losses.
    pub beta: f64,
    /// Whether the margins are relative to a reference model.
    pub reference: bool,
    /// The share of margins above 0.
    pub accuracy: Option<Estimate>,
    /// The mean margin, in nats.
    pub margin: Option<Estimate>,
    /// The mean DPO loss, in nats; ln 2 at chance.
    pub loss: Option<Estimate>,
    /// The share of pairs whose chosen answer has the greater log-probability per
    /// token.
    pub accuracy_per_token: Option<Estimate>,
    /// The mean log-probability per token of the chosen and of the rejected answers.
    pub per_token: [Option<Estimate>; 2],
    /// The correlation of the margin with the difference in tokens, chosen −
    /// rejected.
    pub length: Option<Estimate>,
    /// The distribution of the margins.
    pub margins: Option<ValueSpread>,
}

/// The distribution of values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValueSpread {
    /// The minimum, the three quartiles, and the maximum.
    pub quartiles: [f64; 5],
    /// Counts in bins from the minimum to the maximum.
    pub histogram: Histogram,
}

impl PreferenceFigures {
    /// Computes the figures of `rows`, which were scored with `beta`. `unlabelled` is
    /// the number of rows left out. The stream draws the bootstrap's resamples.
    #[must_use]
    pub fn from_rows(rows: &[PreferenceRow], unlabelled: usize, beta: f64, stream: Stream) -> Self {
        let scored: Vec<Scored> = rows.iter().filter_map(|row| row.scored).collect();
        let bootstrap = Bootstrap::new(stream.child("bootstrap"), RESAMPLES);
        let mean_of = |value: fn(&Scored) -> f64| {
            bootstrap.estimate(scored.len(), |rows| mean(rows.iter().map(|&at| value(&scored[at]))))
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
            margins: ValueSpread::from_values(scored.iter().map(|pair| pair.margin).collect()),
        }
    }
}

impl ValueSpread {
    fn from_values(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let mut quartiles = [0.0; 5];
        for (quartile, q) in quartiles.iter_mut().zip([0.0, 0.25, 0.5, 0.75, 1.0]) {
            *quartile = quantile(&values, q)?;
        }
        let [low, .., high] = quartiles;
        Some(Self { quartiles, histogram: histogram(values, low, high, BARS)? })
    }
}
