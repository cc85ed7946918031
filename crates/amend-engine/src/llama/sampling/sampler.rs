//! Samples a token from a row of logits.
//!
//! The steps are those of llama.cpp's default chain: repeat penalty, top-k, top-p, min-p,
//! temperature, draw. Each truncation keeps the best candidates, so together they amount
//! to one threshold: the least candidate that is kept. Only candidates close to the
//! threshold are sorted, and the row is copied only if a penalty or a ban changes it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::row::{self, Weights};
use crate::llama::kv::trie::Token;
use amend_core::model::Sampling;

/// A candidate token. Ordered by logit, then by descending token, so that in case of a tie
/// the lower token is better.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    logit: f32,
    token: Token,
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.logit.total_cmp(&other.logit).then(other.token.cmp(&self.token))
    }
}

/// Samples tokens, and keeps scratch memory between calls.
#[derive(Debug, Default)]
pub struct Sampler {
    /// The row after penalties and bans.
    changed: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// The candidates that truncation keeps.
enum Kept {
    /// The whole row.
    All,
    /// The sampler's candidates.
    Candidates,
}

impl Sampler {
    /// Samples a token from `logits`, one per token of the vocabulary.
    ///
    /// The repeat penalty applies to the tokens in `recent`; those in `banned` are never
    /// sampled. `uniform` is a random number in [0, 1). Returns `None` if the logits are
    /// not finite.
    pub fn sample(
        &mut self,
        logits: &[f32],
        settings: &Sampling,
        recent: &[Token],
        banned: &[Token],
        uniform: f64,
    ) -> Option<Token> {
        let mut changed = std::mem::take(&mut self.changed);
        let row = if change(&mut changed, logits, settings.repeat_penalty, recent, banned) {
            &changed
        } else {
            logits
        };
        let token = self.sample_row(row, settings, uniform);
        self.changed = changed;
        token
    }

    fn sample_row(&mut self, row: &[f32], settings: &Sampling, uniform: f64) -> Option<Token> {
        if settings.temperature <= 0.0 {
            return row::position(row, row::peak(row)?).map(|token| token as Token);
        }
        let (kept, weights) = self.truncate(row, settings)?;
        match kept {
            Kept::All => {
                let mass = weights.sum(row);
                weights.find(row, uniform * mass).map(|token| token as Token)
            }
            Kept::Candidates => {
                let mut left = uniform * self.mass(weights);
                let drawn = self.candidates.iter().find(|candidate| {
                    left -= f64::from(weights.weight(candidate.logit));
                    left < 0.0
                });
                drawn.or(self.candidates.iter().max()).map(|candidate| candidate.token)
            }
        }
    }

    /// The candidates that top-k, top-p and min-p keep, ordered by token, and their
    /// weights. `None` if the row is not finite.
    fn truncate(&mut self, row: &[f32], settings: &Sampling) -> Option<(Kept, Weights)> {
        let peak = row::peak(row)?;
        // A finite scale, since 0 · ∞ is NaN.
        let weights = Weights { peak, scale: settings.temperature.recip().min(f32::MAX) };
        let Some(least) = self.least_kept(row, settings, peak) else {
            return Some((Kept::All, weights));
        };
        self.candidates.clear();
        self.collect(row, least.logit);
        self.candidates.retain(|candidate| *candidate >= least);
        Some((Kept::Candidates, weights))
    }

    /// The least candidate that top-k, top-p and min-p keep; `None` if they keep all.
    fn least_kept(&mut self, row: &[f32], settings: &Sampling, peak: f32) -> Option<Candidate> {
        // ln 0 is −∞, so a min-p of 0 keeps all.
        let floor = peak + settings.min_p.ln();
        let mut least = Candidate { logit: floor, token: Token::MAX };
        let k = settings.top_k as usize;
        let cut_to_k = k > 0 && k < row.len();
        if cut_to_k {
            self.collect_best(row, k);
            least = least.max(*self.candidates.iter().min()?);
        }
        if settings.top_p < 1.0 {
            let weights = Weights { peak, scale: 1.0 };
            let top_p = f64::from(settings.top_p);
            let target = if cut_to_k {
                top_p * self.mass(weights)
            } else {
                let target = top_p * weights.sum(row);
                self.collect_mass(row, weights, floor, target);
                target
            };
            least = least.max(self.nucleus_end(weights, target)?);
        }
        (least.logit > f32::NEG_INFINITY).then_some(least)
    }

    /// Adds the candidates at or above `floor`, ordered by token.
    fn collect(&mut self, row: &[f32], floor: f32) {
        row::at_least(row, floor, |token, logit| {
            self.candidates.push(Candidate { logit, token: token as Token });
            floor
        });
    }

    /// Sets the candidates to the best `k`, in any order.
    fn collect_best(&mut self, row: &[f32], k: usize) {
        let mut heap = BinaryHeap::with_capacity(k + 1);
        row::at_least(row, f32::NEG_INFINITY, |token, logit| {
            heap.push(Reverse(Candidate { logit, token: token as Token }));
            if heap.len() > k {
                heap.pop();
            }
            match heap.peek() {
                Some(Reverse(least)) if heap.len() == k => least.logit,
                _ => f32::NEG_INFINITY,
            }
        });
        self.candidates.clear();
        self.candidates.extend(heap.into_iter().map(|Reverse(candidate)| candidate));
    }

    /// Sets the candidates to the best ones whose weights reach `target`, and possibly
    /// more, or to all at or above `floor`.
    fn collect_mass(&mut self, row: &[f32], weights: Weights, floor: f32, target: f64) {
        /// Few tokens are this close to the peak, but they have most of the mass of a
        /// peaked row.
        const DEPTH: f32 = 4.0;
        /// Weights this far below the peak are 0.
        const BOTTOM: f32 = 100.0;
        let mut depth = DEPTH;
        loop {
            let low = floor.max(weights.peak - depth);
            self.candidates.clear();
            self.collect(row, low);
            if low == floor || depth > BOTTOM || self.mass(weights) >= target {
                return;
            }
            depth *= 2.0;
        }
    }

    fn mass(&self, weights: Weights) -> f64 {
        self.candidates.iter().map(|candidate| f64::from(weights.weight(candidate.logit))).sum()
    }

    /// The last candidate of the smallest set of best candidates whose weights reach
    /// `target`; the least candidate if they don't reach it. Halves the range that
    /// contains it until the range is small.
    fn nucleus_end(&mut self, weights: Weights, target: f64) -> Option<Candidate> {
        /// A range of this size is sorted.
        const FEW: usize = 32;
        let mut left = target;
        let mut range = &mut self.candidates[..];
        let mut end = None;
        let mass = |candidates: &[Candidate]| -> f64 {
            candidates.iter().map(|c| f64::from(weights.weight(c.logit))).sum()
        };
        while range.len() > FEW {
            let middle = range.len() / 2;
            range.select_nth_unstable_by(middle, |a, b| b.cmp(a));
            let (better, rest) = range.split_at_mut(middle + 1);
            let sum = mass(better);
            if sum >= left {
                range = better;
            } else {
                left -= sum;
                end = better.last().copied();
                range = rest;
            }
        }
        range.sort_unstable_by(|a, b| b.cmp(a));
        for candidate in range {
            left -= f64::from(weights.weight(candidate.logit));
            end = Some(*candidate);
            if left <= 0.0 {
                break;
            }
        }
        end
    }
}

/// Fills `row` with the logits after penalties and bans. Returns false, with `row`
/// unchanged, if there are none.
fn change(
    row: &mut Vec<f32>,
    logits: &[f32],
    penalty: f32,
    recent: &[Token],
    banned: &[Token],
) -> bool {
    let recent = if penalty == 1.0 { &[] } else { recent };
    if recent.is_empty() && banned.is_empty() {
        return false;
    }
    row.clear();
    row.extend_from_slice(logits);
    for &token in recent {
        // Computed from the original logit, so that a repeated token counts once.
        let logit = logits[token as usize];
        row[token as usize] = if logit > 0.0 { logit / penalty } else { logit * penalty };
    }
    for &token in banned {
        row[token as usize] = f32::NEG_INFINITY;
    }
    true
}

#[cfg(test)]
mod tests;
