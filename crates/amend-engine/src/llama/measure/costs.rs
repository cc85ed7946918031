//! The costs of batches on this machine, and the settings that follow from them.

use serde::{Deserialize, Serialize};

/// The costs of batches in milliseconds. Only their ratios matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// The number of rows, ascending, and the cost of a batch in which every row requests
    /// logits. Costs in between are interpolated linearly; costs beyond are extrapolated
    /// from the last two.
    pub rows: Vec<(usize, f64)>,
    /// The number of tokens before each of those rows.
    pub depth: usize,
    /// The additional cost of a row per further token before it.
    pub per_token: f64,
    /// Batches in which some rows decode and the others prefill, ordered by their number
    /// of rows.
    pub mixed: Vec<Mixed>,
}

/// The cost of decoding and prefilling in one batch and in two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mixed {
    /// The total number of rows.
    pub rows: usize,
    /// The cost of one batch.
    pub together: f64,
    /// The cost of two batches.
    pub apart: f64,
}

impl Default for Costs {
    /// The costs of a small quantised model on a CPU, used until they are measured.
    fn default() -> Self {
        Self {
            rows: vec![
                (1, 10.4),
                (2, 16.5),
                (3, 21.3),
                (4, 25.6),
                (5, 32.3),
                (8, 42.4),
                (9, 49.7),
                (12, 59.8),
                (13, 67.0),
                (16, 76.0),
                (17, 86.8),
                (20, 94.3),
                (32, 149.2),
            ],
            depth: 512,
            per_token: 0.0028,
            mixed: Vec::new(),
        }
    }
}

/// The maximum number of sequences that is chosen automatically. The measured sequences
/// share their cells. In a run each sequence reads separate cells and, in a unified
/// cache, passes over those of the others. On a CPU, 16 sequences are therefore no faster
/// than 8, although the table says otherwise (docs/performance.md).
const MAX_CHOSEN: usize = 8;

/// The share of the best throughput that is good enough: fewer sequences need less
/// memory.
const GOOD_ENOUGH: f64 = 0.95;

/// The maximum number of rows of batches that decode and prefill, unless larger ones were
/// measured. From 64 rows on, llama.cpp's attention on a CPU computes tiles of 64 rows,
/// and each row of a tile attends to the cells of all its sequences.
pub const BELOW_A_TILE: usize = 63;

impl Costs {
    /// The cost of a batch of `rows` rows that request logits, each after `before` tokens.
    #[must_use]
    pub fn cost(&self, rows: usize, before: usize) -> f64 {
        self.at_depth(rows) + self.per_token * rows as f64 * (before as f64 - self.depth as f64)
    }

    /// The cost of a batch of `rows` rows at the measured depth.
    fn at_depth(&self, rows: usize) -> f64 {
        let table = &self.rows;
        let after = table.partition_point(|&(known, _)| known < rows);
        let upper = after.min(table.len().saturating_sub(1)).max(1);
        match (table.get(upper - 1), table.get(upper)) {
            (Some(&(r0, c0)), Some(&(r1, c1))) if r1 > r0 => {
                c0 + (c1 - c0) * (rows as f64 - r0 as f64) / (r1 - r0) as f64
            }
            (Some(&(_, cost)), _) => cost,
            (None, _) => 0.0,
        }
    }

    /// Whether the tables are not empty, in order, and contain finite positive times.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let rows = &self.rows;
        let is_time = |ms: f64| ms.is_finite() && ms > 0.0;
        !rows.is_empty()
            && rows.iter().all(|&(_, ms)| is_time(ms))
            && rows.is_sorted_by(|a, b| a.0 < b.0)
            && self.per_token.is_finite()
            && self.per_token >= 0.0
            && self.mixed.iter().all(|mixed| is_time(mixed.together) && is_time(mixed.apart))
            && self.mixed.is_sorted_by(|a, b| a.rows < b.rows)
    }

    /// How many sequences to decode together: the smallest measured number whose
    /// throughput is close to the best.
    #[must_use]
    pub fn parallel(&self) -> usize {
        let speed = |&(rows, cost): &(usize, f64)| rows as f64 / cost;
        let measured = || self.rows.iter().filter(|&&(rows, _)| rows <= MAX_CHOSEN);
        let best = measured().map(speed).fold(0.0, f64::max);
        let smallest = measured().find(|&entry| speed(entry) >= GOOD_ENOUGH * best);
        smallest.map_or(1, |&(rows, _)| rows)
    }

    /// The maximum number of rows of a batch that decodes and prefills. `None` if no bound
    /// is needed: larger sizes than a tile were measured, and one batch was cheaper than
    /// two for all of them.
    #[must_use]
    pub fn mixed_rows(&self) -> Option<usize> {
        let cheap = self.mixed.iter().take_while(|mixed| mixed.together <= mixed.apart).count();
        match cheap.checked_sub(1) {
            _ if self.mixed.is_empty() => Some(BELOW_A_TILE),
            None => Some(0),
            Some(last) if cheap < self.mixed.len() => Some(self.mixed[last].rows),
            Some(last) if self.mixed[last].rows > BELOW_A_TILE => None,
            Some(_) => Some(BELOW_A_TILE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(rows: &[(usize, f64)]) -> Costs {
        Costs { rows: rows.to_vec(), depth: 100, per_token: 0.5, mixed: Vec::new() }
    }

    #[test]
    fn costs_are_interpolated_linearly() {
        let table = costs(&[(1, 10.0), (3, 14.0), (5, 24.0)]);
        for (rows, expected) in
            [(0, 8.0), (1, 10.0), (2, 12.0), (3, 14.0), (4, 19.0), (5, 24.0), (7, 34.0)]
        {
            assert_eq!(table.cost(rows, 100), expected, "{rows}");
        }
        assert_eq!(costs(&[(1, 10.0)]).cost(9, 100), 10.0);
        assert_eq!(costs(&[]).cost(9, 100), 0.0);
        // Three rows, each after 10 tokens more or fewer.
        assert_eq!((table.cost(3, 110), table.cost(3, 90)), (29.0, -1.0));
    }

    #[test]
    fn the_smallest_width_close_to_the_best_is_chosen() {
        for (table, expected) in [
            // Speeds 0.1, 0.15, 0.1905, 0.2: the third is within 5 %.
            (&[(1, 10.0), (3, 20.0), (6, 31.5), (8, 40.0)][..], 6),
            // Further rows save nothing.
            (&[(1, 10.0), (2, 20.0), (32, 320.0)], 1),
            // Further rows cost nothing, but the width is limited.
            (&[(1, 10.0), (8, 10.0), (16, 10.0)], 8),
            (&[], 1),
        ] {
            assert_eq!(costs(table).parallel(), expected, "{table:?}");
        }
        assert_eq!(Costs::default().parallel(), 8);
    }

    #[test]
    fn batches_are_mixed_up_to_the_size_where_that_is_cheaper() {
        let chosen = |mixed: &[(usize, f64, f64)]| {
            let mixed = mixed
                .iter()
                .map(|&(rows, together, apart)| Mixed { rows, together, apart })
                .collect();
            Costs { mixed, ..Costs::default() }.mixed_rows()
        };
        assert_eq!(chosen(&[]), Some(63));
        assert_eq!(chosen(&[(63, 2.0, 2.1), (128, 5.0, 4.0)]), Some(63));
        assert_eq!(chosen(&[(63, 2.0, 2.1), (128, 3.0, 4.0)]), None);
        assert_eq!(chosen(&[(63, 2.2, 2.1), (128, 3.0, 4.0)]), Some(0));
        // Sizes that were not measured don't count as cheap.
        assert_eq!(chosen(&[(32, 2.0, 2.1)]), Some(63));
    }
}
