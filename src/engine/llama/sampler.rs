//! Draws a token from a row of logits.
//!
//! The chain is llama.cpp's default one: repeat penalty, top-k, top-p, min-p,
//! temperature, draw. The row is read in place; what is copied is the
//! candidates that survive truncation.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::cells::Token;
use crate::engine::Sampling;

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
    /// Tokens whose logit differs from the row's: penalised or banned.
    changed: Vec<(Token, f32)>,
    candidates: Vec<Candidate>,
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
        self.find_changed(logits, settings, recent, banned);
        if settings.temperature <= 0.0 {
            return self.likeliest(logits);
        }

        let total = self.select(logits, settings)?;
        // Truncation by top-p counts probability from the likeliest down.
        let max = self.candidates.first()?.logit;
        let top_p = f64::from(settings.top_p);
        if top_p < 1.0 {
            let mut reached = 0.0;
            let mut keep = 0;
            for candidate in &self.candidates {
                reached += f64::from(candidate.logit - max).exp() / total;
                keep += 1;
                if reached >= top_p {
                    break;
                }
            }
            self.candidates.truncate(keep);
        }

        let temperature = f64::from(settings.temperature);
        let weight = |c: &Candidate| (f64::from(c.logit - max) / temperature).exp();
        let mass: f64 = self.candidates.iter().map(weight).sum();
        let mut left = uniform * mass;
        for candidate in &self.candidates {
            left -= weight(candidate);
            if left < 0.0 {
                return Some(candidate.token);
            }
        }
        self.candidates.last().map(|candidate| candidate.token)
    }

    fn find_changed(
        &mut self,
        logits: &[f32],
        settings: &Sampling,
        recent: &[Token],
        banned: &[Token],
    ) {
        self.changed.clear();
        let penalty = settings.repeat_penalty;
        if penalty != 1.0 {
            self.changed.extend(recent.iter().map(|&token| {
                let logit = logits[token as usize];
                (token, if logit > 0.0 { logit / penalty } else { logit * penalty })
            }));
        }
        self.changed.extend(banned.iter().map(|&token| (token, f32::NEG_INFINITY)));
        // A banned token sorts before its penalised twin and so wins.
        self.changed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        self.changed.dedup_by_key(|change| change.0);
    }

    /// Every candidate of the row, changes applied, in order of token.
    fn row<'a>(
        changed: &'a [(Token, f32)],
        logits: &'a [f32],
    ) -> impl Iterator<Item = Candidate> + 'a {
        let mut changes = changed.iter().peekable();
        (0..).zip(logits).map(move |(token, &logit)| match changes.peek() {
            Some(&&(at, new)) if at == token => {
                changes.next();
                Candidate { logit: new, token }
            }
            _ => Candidate { logit, token },
        })
    }

    fn likeliest(&self, logits: &[f32]) -> Option<Token> {
        let best = if self.changed.is_empty() {
            // The common case, in a form the compiler turns into vector code.
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let token = logits.iter().position(|&logit| logit == max)?;
            Candidate { logit: max, token: token as Token }
        } else {
            Self::row(&self.changed, logits).filter(|candidate| !candidate.logit.is_nan()).max()?
        };
        best.logit.is_finite().then_some(best.token)
    }

    /// Fills `candidates`, best first, with those that pass top-k and min-p,
    /// and gives Σ exp(logit − max) over those that pass top-k.
    fn select(&mut self, logits: &[f32], settings: &Sampling) -> Option<f64> {
        self.candidates.clear();
        let k = settings.top_k as usize;
        if k > 0 && k < logits.len() {
            let mut heap = BinaryHeap::with_capacity(k + 1);
            for candidate in Self::row(&self.changed, logits) {
                if heap.len() < k {
                    heap.push(Reverse(candidate));
                } else if heap.peek().is_some_and(|Reverse(least)| candidate.logit > least.logit) {
                    heap.pop();
                    heap.push(Reverse(candidate));
                }
            }
            self.candidates.extend(heap.into_iter().map(|Reverse(candidate)| candidate));
        } else {
            self.candidates.extend(Self::row(&self.changed, logits));
        }
        let max = self.candidates.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max);
        if !max.is_finite() || self.candidates.iter().any(|c| c.logit.is_nan()) {
            return None;
        }
        let total = self.candidates.iter().map(|c| f64::from(c.logit - max).exp()).sum();
        // ln 0 is −∞: a min-p of 0 keeps all but the banned.
        let floor = max + settings.min_p.ln();
        self.candidates.retain(|c| c.logit >= floor && c.logit > f32::NEG_INFINITY);
        self.candidates.sort_unstable_by(|a, b| b.cmp(a));
        Some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn settings(temperature: f32) -> Sampling {
        Sampling {
            temperature,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            max_tokens: 1,
        }
    }

    fn logits(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    /// Which tokens can come out, over a fine grid of uniform numbers.
    fn support(row: &[f32], settings: &Sampling, recent: &[Token], banned: &[Token]) -> Vec<Token> {
        let mut sampler = Sampler::default();
        let mut seen: Vec<Token> = (0..4096)
            .filter_map(|i| sampler.sample(row, settings, recent, banned, f64::from(i) / 4096.0))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn truncation_keeps_what_the_chain_says() {
        let row = logits(&[0.1, 0.4, 0.05, 0.25, 0.2]);
        let base = settings(1.0);
        let cases: &[(&str, Sampling, &[Token])] = &[
            ("all", base.clone(), &[0, 1, 2, 3, 4]),
            ("top-k 2", Sampling { top_k: 2, ..base.clone() }, &[1, 3]),
            ("top-p reaches 0.65 with two", Sampling { top_p: 0.649, ..base.clone() }, &[1, 3]),
            ("top-p just past two", Sampling { top_p: 0.66, ..base.clone() }, &[1, 3, 4]),
            ("min-p half the best", Sampling { min_p: 0.5, ..base.clone() }, &[1, 3, 4]),
            // Within the top 2, 0.4 stands for 0.4 / 0.65 = 0.615 of the mass.
            ("top-p counts within top-k", Sampling { top_k: 2, top_p: 0.6, ..base.clone() }, &[1]),
            ("greedy", Sampling { temperature: 0.0, ..base.clone() }, &[1]),
        ];
        for (name, settings, expected) in cases {
            assert_eq!(&support(&row, settings, &[], &[]), expected, "{name}");
        }
    }

    #[test]
    fn banned_tokens_never_come_out_even_penalised() {
        let row = logits(&[0.1, 0.9]);
        let penal = Sampling { repeat_penalty: 1.5, ..settings(1.0) };
        assert_eq!(support(&row, &penal, &[1], &[1]), [0]);
        assert_eq!(support(&row, &settings(0.0), &[], &[1]), [0]);
    }

    #[test]
    fn the_penalty_lowers_recent_tokens_of_either_sign() {
        let greedy = Sampling { repeat_penalty: 2.0, ..settings(0.0) };
        let mut sampler = Sampler::default();
        assert_eq!(sampler.sample(&[3.0, 2.0], &greedy, &[0], &[], 0.0), Some(1));
        assert_eq!(sampler.sample(&[-1.0, -1.5], &greedy, &[0], &[], 0.0), Some(1));
    }

    #[test]
    fn ties_go_to_the_lower_token() {
        let mut sampler = Sampler::default();
        assert_eq!(sampler.sample(&[1.0, 5.0, 5.0], &settings(0.0), &[], &[], 0.5), Some(1));
        assert_eq!(sampler.sample(&[1.0, 5.0, 5.0], &settings(0.0), &[], &[0], 0.5), Some(1));
    }

    #[test]
    fn rows_that_are_not_numbers_give_nothing() {
        let mut sampler = Sampler::default();
        for row in [[f32::NAN; 3], [f32::NEG_INFINITY; 3], [f32::INFINITY; 3]] {
            for temperature in [0.0, 1.0] {
                assert_eq!(sampler.sample(&row, &settings(temperature), &[], &[], 0.5), None);
            }
        }
    }

    #[test]
    fn the_draw_follows_the_softmax() {
        let row = logits(&[0.5, 0.3, 0.15, 0.05]);
        let warm = settings(2.0);
        let stream = Stream::new(3);
        let mut sampler = Sampler::default();
        let mut counts = [0.0_f64; 4];
        let draws = 40_000;
        for at in 0..draws {
            let token = sampler.sample(&row, &warm, &[], &[], stream.uniform(at)).unwrap();
            counts[token as usize] += 1.0;
        }
        let weights = [0.5_f64, 0.3, 0.15, 0.05].map(f64::sqrt);
        let mass: f64 = weights.iter().sum();
        let chi2: f64 = counts
            .iter()
            .zip(weights)
            .map(|(count, weight)| {
                let expected = draws as f64 * weight / mass;
                (count - expected).powi(2) / expected
            })
            .sum();
        // χ² with 3 degrees of freedom exceeds 21.1 with probability 1e-4.
        assert!(chi2 < 21.1, "χ² = {chi2}");
    }
}
