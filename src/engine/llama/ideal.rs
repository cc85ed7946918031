//! The least that a run of requests has to prefill.

use super::active::Active;
use super::cells::Cells;

/// A cache without limit, for benchmarks: what would have to be computed if
/// nothing were ever computed twice.
#[derive(Debug)]
pub struct Ideal {
    cells: Cells,
    /// Tokens that had to be computed.
    pub prefilled: u64,
    /// Σ of the positions at which tokens were decoded.
    pub decoded_positions: u64,
}

impl Ideal {
    /// A cache for at most `requests` requests.
    #[must_use]
    pub fn new(requests: usize) -> Self {
        Self { cells: Cells::new(requests), prefilled: 0, decoded_positions: 0 }
    }

    /// Takes in a request that has ended.
    pub fn count(&mut self, active: &Active) {
        let tokens = &active.queued.tokens;
        let Some(fork) = self.cells.fork(tokens, active.queued.first_wanted) else { return };
        self.prefilled += (tokens.len() - fork.shared) as u64;
        for &token in &tokens[fork.shared..] {
            self.cells.push(fork.seq, token);
        }
        // The last token drawn was never computed.
        let decoded = active.decoded();
        for (at, &token) in decoded.iter().enumerate() {
            self.decoded_positions += (tokens.len() + at) as u64;
            if at + 1 < decoded.len() {
                self.cells.push(fork.seq, token);
            }
        }
    }
}
