//! Draws a token from a row of logits.
//!
//! The chain is llama.cpp's default one: repeat penalty, top-k, top-p, min-p,
//! temperature, draw. Each truncation keeps the best of a row, so together they
//! come to one threshold: the least candidate kept. Nothing is sorted but what
//! lies about the threshold, and the row is copied only where a penalty or a
//! ban changes it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::row::{self, Weights};
use crate::llama::kv::trie::Token;
use amend_core::model::Sampling;

/// A candidate: its logit and its token. Ordered by logit, the lower token
/// first among equals, so that order never depends on how it was found.
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

/// Draws tokens; holds scratch memory between calls.
#[derive(Debug, Default)]
pub struct Sampler {
    /// The row with penalties and bans in it.
    changed: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// What truncation keeps.
enum Kept {
    /// The whole row.
    All,
    /// The sampler's candidates.
    Candidates,
}

impl Sampler {
    /// Draws a token from `logits` (one a token of the vocabulary).
    ///
    /// `recent` are the tokens the repeat penalty looks at, `banned` those that
    /// must not be drawn, `uniform` the random number in [0, 1) that decides.
    /// None when the logits are not finite.
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
                    left -= f64::from(weights.of(candidate.logit));
                    left < 0.0
                });
                drawn.or(self.candidates.iter().max()).map(|candidate| candidate.token)
            }
        }
    }

    /// What top-k, top-p and min-p keep of a row, in order of token, and how to
    /// weigh it. None when the row is not finite.
    fn truncate(&mut self, row: &[f32], settings: &Sampling) -> Option<(Kept, Weights)> {
        let peak = row::peak(row)?;
        // No more than f32 holds, lest 0 · ∞ come up.
        let weights = Weights { peak, scale: settings.temperature.recip().min(f32::MAX) };
        let Some(least) = self.least_kept(row, settings, peak) else {
            return Some((Kept::All, weights));
        };
        self.candidates.clear();
        self.collect(row, least.logit);
        self.candidates.retain(|candidate| *candidate >= least);
        Some((Kept::Candidates, weights))
    }

    /// The least candidate that top-k, top-p and min-p keep; none when they
    /// keep all.
    fn least_kept(&mut self, row: &[f32], settings: &Sampling, peak: f32) -> Option<Candidate> {
        // ln 0 is −∞: a min-p of 0 keeps all.
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

    /// Adds the candidates at or above `floor`, in order of token.
    fn collect(&mut self, row: &[f32], floor: f32) {
        row::at_least(row, floor, |token, logit| {
            self.candidates.push(Candidate { logit, token: token as Token });
            floor
        });
    }

    /// Sets the candidates to the best `k`, in no order.
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

    /// Sets the candidates to some of the best whose weights reach `target`, or
    /// to all at or above `floor`.
    fn collect_mass(&mut self, row: &[f32], weights: Weights, floor: f32, target: f64) {
        /// Few tokens lie this near the peak, and most of a peaked row's mass.
        const DEPTH: f32 = 4.0;
        /// No weight lies deeper.
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
        self.candidates.iter().map(|candidate| f64::from(weights.of(candidate.logit))).sum()
    }

    /// The last of the fewest best candidates whose weights reach `target`; the
    /// least of all if none do. Halves the candidates in doubt until few are.
    fn nucleus_end(&mut self, weights: Weights, target: f64) -> Option<Candidate> {
        /// So few are sorted.
        const FEW: usize = 32;
        let mut left = target;
        let mut doubtful = &mut self.candidates[..];
        let mut end = None;
        let mass = |candidates: &[Candidate]| -> f64 {
            candidates.iter().map(|c| f64::from(weights.of(c.logit))).sum()
        };
        while doubtful.len() > FEW {
            let middle = doubtful.len() / 2;
            doubtful.select_nth_unstable_by(middle, |a, b| b.cmp(a));
            let (better, rest) = doubtful.split_at_mut(middle + 1);
            let sum = mass(better);
            if sum >= left {
                doubtful = better;
            } else {
                left -= sum;
                end = better.last().copied();
                doubtful = rest;
            }
        }
        doubtful.sort_unstable_by(|a, b| b.cmp(a));
        for candidate in doubtful {
            left -= f64::from(weights.of(candidate.logit));
            end = Some(*candidate);
            if left <= 0.0 {
                break;
            }
        }
        end
    }
}

/// Fills `row` with the logits as penalties and bans change them; false when
/// they don't.
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
        // From the logits, so that a token counts once however often it came.
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
