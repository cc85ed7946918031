//! Reads a journal from its start, one line at a time.

use std::io::{self, BufRead};
use std::ops::Range;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::line::{self, Outline};
use super::state::{Replay, State};
use super::{JournalError, JournalFault, MAX_RECORD, Record};

/// Reads a journal from its start and checks every line.
pub(crate) struct Reader<R> {
    input: R,
    path: PathBuf,
    /// The last line, with its newline.
    line: Vec<u8>,
    /// The bytes of its record.
    record: Range<usize>,
    /// The number of records read.
    records: u64,
    /// The bytes of those records.
    length: u64,
    /// The bytes after the last newline.
    tail: u64,
}

/// A journal that was read to its end.
pub(super) struct Replayed {
    pub state: State,
    /// The number of records.
    pub records: u64,
    /// The bytes of those records.
    pub length: u64,
    /// The SHA-256 of those bytes, to be continued.
    pub hash: Sha256,
    /// The bytes after the last newline.
    pub tail: u64,
    /// The records and bytes up to the end of the last complete cohort.
    pub whole: (u64, u64),
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R, path: PathBuf) -> Self {
        let (line, record) = (Vec::new(), 0..0);
        Self { input, path, line, record, records: 0, length: 0, tail: 0 }
    }

    /// The number of records read.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Reads the next record. `None` at the end, or if the last line has no newline.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, JournalError> {
        if !self.advance()? {
            return Ok(None);
        }
        let record = line::parse(&self.line[self.record.clone()]);
        record.map(Some).map_err(|fault| self.damaged(self.records, fault))
    }

    /// Reads the outline of the next record, which is much faster than reading the record.
    /// `None` as for [`Self::next`].
    pub(crate) fn next_outline(&mut self) -> Result<Option<Outline<'_>>, JournalError> {
        if !self.advance()? {
            return Ok(None);
        }
        let outline = Outline::new(&self.line[self.record.clone()]);
        outline.map(Some).map_err(|fault| self.damaged(self.records, fault))
    }

    /// Reads and checks the next line. Returns false at the end.
    fn advance(&mut self) -> Result<bool, JournalError> {
        self.line.clear();
        let most = MAX_RECORD as u64 + 1;
        let read =
            io::Read::take(&mut self.input, most).read_until(b'\n', &mut self.line).map_err(
                |source| JournalError::Io { action: "read", path: self.path.clone(), source },
            )?;
        let Some(line) = self.line.strip_suffix(b"\n") else {
            if read > MAX_RECORD {
                let fault = JournalFault::Length { limit: MAX_RECORD };
                return Err(self.damaged(self.records + 1, fault));
            }
            self.tail = read as u64;
            return Ok(false);
        };
        self.record = line::verified(line, self.records)
            .map_err(|fault| self.damaged(self.records + 1, fault))?;
        self.records += 1;
        self.length += read as u64;
        Ok(true)
    }

    fn damaged(&self, line: u64, fault: JournalFault) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), line, fault }
    }

    /// Reads to the end.
    pub(super) fn replay(mut self) -> Result<Replayed, JournalError> {
        let mut replay = Replay::default();
        let mut hash = Sha256::new();
        let mut whole = (0, 0);
        while self.advance()? {
            hash.update(&self.line);
            let record = &self.line[self.record.clone()];
            let is_cohort = Outline::new(record)
                .and_then(|outline| {
                    let is_cohort = outline == Outline::Cohort;
                    replay.apply(outline, self.records, record).map(|()| is_cohort)
                })
                .map_err(|fault| self.damaged(self.records, fault))?;
            if is_cohort {
                whole = (self.records, self.length);
            }
        }
        let state = replay.finish().map_err(|(line, fault)| self.damaged(line, fault))?;
        let Self { records, length, tail, .. } = self;
        Ok(Replayed { state, records, length, hash, tail, whole })
    }
}
