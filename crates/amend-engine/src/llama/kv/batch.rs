//! llama.cpp's batch, with the checks that stand before each call: what it
//! answers with an abort is an error here.

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::llama::kv::trie::{SeqId, Token};
use amend_core::model::EngineError;

/// Rows to compute together, one token of one sequence each.
pub struct Batch {
    inner: LlamaBatch<'static>,
    /// Whether each row asks for logits.
    flagged: Vec<bool>,
    bounds: Bounds,
}

/// What llama.cpp takes for granted.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most rows of a batch.
    pub rows: usize,
    /// Sequence ids are below it.
    pub sequences: usize,
    /// Positions are below it.
    pub positions: usize,
    /// Tokens are below it.
    pub vocabulary: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new(bounds: Bounds) -> Self {
        Self { inner: LlamaBatch::new(bounds.rows, 1), flagged: Vec::new(), bounds }
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.flagged.len()
    }

    /// Rows that may still be added.
    pub fn room(&self) -> usize {
        self.bounds.rows - self.len()
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.inner.clear();
        self.flagged.clear();
    }

    /// Adds a row and gives its index.
    ///
    /// # Errors
    /// A value out of bounds: a fault of the scheduler's, not of the input.
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
                Err(fault(format!("{what} {value} is not below {bound}")))
            }
        };
        within("row", self.len() as i64, rows)?;
        within("sequence", i64::from(seq), sequences)?;
        within("position", position as i64, positions)?;
        within("token", i64::from(token), vocabulary)?;
        self.inner
            .add(LlamaToken::new(token), position as i32, &[seq], logits)
            .map_err(|error| fault(error.to_string()))?;
        self.flagged.push(logits);
        Ok(self.len() - 1)
    }

    /// Computes the rows.
    ///
    /// # Errors
    /// llama.cpp's; only [`DecodeError::NoKvCacheSlot`] leaves the context as
    /// it was.
    pub fn decode(&mut self, context: &mut LlamaContext<'_>) -> Result<(), DecodeError> {
        if self.flagged.is_empty() {
            return Err(DecodeError::NTokensZero);
        }
        context.decode(&mut self.inner)
    }

    /// The logits of a row, one a token of the vocabulary.
    ///
    /// # Errors
    /// A row that asked for none.
    pub fn logits<'c>(
        &self,
        context: &'c LlamaContext<'_>,
        row: usize,
    ) -> Result<&'c [f32], EngineError> {
        match self.flagged.get(row) {
            Some(true) => Ok(context.get_logits_ith(row as i32)),
            _ => Err(fault(format!("row {row} of {} asked for no logits", self.len()))),
        }
    }
}

fn fault(message: String) -> EngineError {
    EngineError {
        message: format!("the scheduler is at fault: {message}"),
        hint: Some("please report this with the command and the log of -vv".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_out_of_bounds_are_refused_before_llama_sees_them() {
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
