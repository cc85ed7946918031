//! A batch of llama.cpp. Checks all values first, because llama.cpp aborts the process
//! on invalid ones.

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::llama::kv::trie::{SeqId, Token};
use amend_core::model::EngineError;

/// Rows to compute together. Each row is one token of one sequence.
pub struct Batch {
    inner: LlamaBatch<'static>,
    /// Whether each row requests logits.
    flagged: Vec<bool>,
    bounds: Bounds,
}

/// The limits that llama.cpp does not check.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The maximum number of rows.
    pub rows: usize,
    /// The upper bound of sequence ids, exclusive.
    pub sequences: usize,
    /// The upper bound of positions, exclusive.
    pub positions: usize,
    /// The upper bound of token ids, exclusive.
    pub vocabulary: usize,
}

impl Batch {
    /// Creates an empty batch.
    pub fn new(bounds: Bounds) -> Self {
        Self { inner: LlamaBatch::new(bounds.rows, 1), flagged: Vec::new(), bounds }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.flagged.len()
    }

    /// How many rows can still be added.
    pub fn room(&self) -> usize {
        self.bounds.rows - self.len()
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.inner.clear();
        self.flagged.clear();
    }

    /// Adds a row and returns its index.
    ///
    /// # Errors
    /// A value is out of bounds. This is a bug of the scheduler, not an invalid input.
    pub fn push(
        &mut self,
        token: Token,
        position: usize,
        seq: SeqId,
        logits: bool,
    ) -> Result<usize, EngineError> {
        let Bounds { rows, sequences, positions, vocabulary } = self.bounds;
        let within = |what: &str, value: i64, bound: usize| {
            if usize::try_from(value).is_ok_and(|value| value < bound) {
                Ok(())
            } else {
                Err(fault(&format!("{what} {value} is not below {bound}")))
            }
        };
        within("row", self.len() as i64, rows)?;
        within("sequence", i64::from(seq), sequences)?;
        within("position", position as i64, positions)?;
        within("token", i64::from(token), vocabulary)?;
        self.inner
            .add(LlamaToken::new(token), position as i32, &[seq], logits)
            .map_err(|error| fault("llama.cpp has no room for a row").caused_by(error))?;
        self.flagged.push(logits);
        Ok(self.len() - 1)
    }

    /// Computes the rows.
    ///
    /// # Errors
    /// The errors of llama.cpp. Only [`DecodeError::NoKvCacheSlot`] leaves the context
    /// unchanged.
    pub fn decode(&mut self, context: &mut LlamaContext<'_>) -> Result<(), DecodeError> {
        if self.flagged.is_empty() {
            return Err(DecodeError::NTokensZero);
        }
        context.decode(&mut self.inner)
    }

    /// The logits of a row, one per token of the vocabulary.
    ///
    /// # Errors
    /// The row did not request logits.
    pub fn logits<'c>(
        &self,
        context: &'c LlamaContext<'_>,
        row: usize,
    ) -> Result<&'c [f32], EngineError> {
        match self.flagged.get(row) {
            Some(true) => Ok(context.get_logits_ith(row as i32)),
            _ => Err(fault(&format!("row {row} of {} did not request logits", self.len()))),
        }
    }
}

/// A bug of the scheduler.
fn fault(message: &str) -> EngineError {
    EngineError::new(format!("error in amend's scheduler: {message}"))
        .hinted("please report this with the command and the log of -vv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_out_of_bounds_are_rejected() {
        let bounds = Bounds { rows: 2, sequences: 3, positions: 8, vocabulary: 10 };
        let mut batch = Batch::new(bounds);
        for (token, position, seq, expected) in [
            (10, 0, 0, "token 10 is not below 10"),
            (-1, 0, 0, "token -1 is not below 10"),
            (0, 8, 0, "position 8 is not below 8"),
            (0, 0, 3, "sequence 3 is not below 3"),
            (0, 0, -1, "sequence -1 is not below 3"),
        ] {
            let error = batch.push(token, position, seq, true).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
        assert_eq!(batch.push(1, 0, 0, false).unwrap(), 0);
        assert_eq!(batch.push(1, 1, 0, true).unwrap(), 1);
        assert_eq!(batch.room(), 0);
        assert!(batch.push(1, 2, 0, true).unwrap_err().to_string().contains("row 2"));
        batch.clear();
        assert_eq!(batch.room(), 2);
    }
}
