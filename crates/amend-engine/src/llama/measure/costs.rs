//! What batches cost on this machine, and what the engine chooses by it.

use serde::{Deserialize, Serialize};

/// Milliseconds that batches take. Only ratios count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// By number of rows, ascending, each row asking for logits. Between two
    /// numbers the cost is a straight line, and beyond the last it goes on as
    /// the last line does.
    pub rows: Vec<(usize, f64)>,
    /// Tokens before each of those rows.
    pub depth: usize,
    /// What a row costs more for each further token before it.
    pub per_token: f64,
    /// Batches in which some rows decode and the others prefill, by number of
    /// rows, ascending.
    pub mixed: Vec<Mixed>,
}

/// What it costs to decode and prefill in one batch, or in two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mixed {
    /// Rows in all.
    pub rows: usize,
    /// As one batch.
    pub together: f64,
    /// As two.
    pub apart: f64,
}

impl Default for Costs {
    /// Those of a small quantised model on a CPU, for want of a measurement.
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

/// The widest a run decodes unless told to. The measured sequences have their
/// cells in common; each of a run has its own to read, and in one cache those of the
/// others to pass over, so that on a CPU 16 are no faster than 8 where the table says
/// otherwise (docs/performance.md).
const WIDEST: usize = 8;

/// Throughput this near the best is as good: fewer sequences need less memory.
const AS_GOOD: f64 = 0.95;

/// Without a measurement, batches that decode and prefill stay below the rows
/// at which llama.cpp's attention on a CPU takes rows 64 at a time: a tile looks
/// at the cells of every sequence in it for all its rows.
pub const BELOW_A_TILE: usize = 63;

impl Costs {
    /// The cost of a batch of `rows` rows that ask for logits, each with `before`
    /// tokens before it.
    #[must_use]
    pub fn of(&self, rows: usize, before: usize) -> f64 {
        self.at_depth(rows) + self.per_token * rows as f64 * (before as f64 - self.depth as f64)
    }

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

    /// Whether it is a table as described: one row or more, ascending, of times.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let rows = &self.rows;
        let time = |ms: f64| ms.is_finite() && ms > 0.0;
        !rows.is_empty()
            && rows.iter().all(|&(_, ms)| time(ms))
            && rows.is_sorted_by(|a, b| a.0 < b.0)
            && self.per_token.is_finite()
            && self.per_token >= 0.0
            && self.mixed.iter().all(|mixed| time(mixed.together) && time(mixed.apart))
            && self.mixed.is_sorted_by(|a, b| a.rows < b.rows)
    }

    /// How many sequences to decode together: the fewest that come near the
    /// best throughput of those measured.
    #[must_use]
    pub fn parallel(&self) -> usize {
        let speed = |&(rows, cost): &(usize, f64)| rows as f64 / cost;
        let measured = || self.rows.iter().filter(|&&(rows, _)| rows <= WIDEST);
        let best = measured().map(speed).fold(0.0, f64::max);
        measured().find(|&one| speed(one) >= AS_GOOD * best).map_or(1, |&(rows, _)| rows)
    }

    /// The most rows of a batch in which some decode and others prefill; none
    /// where no bound is needed: sizes above a tile were measured, and all are
    /// cheaper than two batches.
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
    fn costs_lie_on_straight_lines() {
        let table = costs(&[(1, 10.0), (3, 14.0), (5, 24.0)]);
        for (rows, expected) in
            [(0, 8.0), (1, 10.0), (2, 12.0), (3, 14.0), (4, 19.0), (5, 24.0), (7, 34.0)]
        {
            assert_eq!(table.of(rows, 100), expected, "{rows}");
        }
        assert_eq!(costs(&[(1, 10.0)]).of(9, 100), 10.0);
        assert_eq!(costs(&[]).of(9, 100), 0.0);
        // Three rows with 10 tokens more, or fewer, before each.
        assert_eq!((table.of(3, 110), table.of(3, 90)), (29.0, -1.0));
    }

    #[test]
    fn the_narrowest_width_near_the_best_is_chosen() {
        for (table, expected) in [
            // Speeds 0.1, 0.15, 0.1905, 0.2: the third is within 5 %.
            (&[(1, 10.0), (3, 20.0), (6, 31.5), (8, 40.0)][..], 6),
            // Every row costs as much as the first.
            (&[(1, 10.0), (2, 20.0), (32, 320.0)], 1),
            // A row more costs nothing, but there is a limit to width.
            (&[(1, 10.0), (8, 10.0), (16, 10.0)], 8),
            (&[], 1),
        ] {
            assert_eq!(costs(table).parallel(), expected, "{table:?}");
        }
        assert_eq!(Costs::default().parallel(), 8);
    }

    #[test]
    fn batches_are_mixed_as_far_as_that_is_cheap() {
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
        // What was not measured is not taken to be cheap.
        assert_eq!(chosen(&[(32, 2.0, 2.1)]), Some(63));
    }
}
