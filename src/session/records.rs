//! Prints a line for each row, in the order of the rows or as the lines come.

use std::collections::BTreeMap;
use std::io::{self, Write};

/// How many bytes of lines may wait for an earlier row.
const WAITING: usize = 64 << 20;

/// What a line that waits takes in addition to its text, in bytes.
const OVERHEAD: usize = 64;

/// The lines of rows. Each is written and flushed at once when it is its turn, so that the reader
/// has it while other rows run.
#[derive(Debug)]
pub(super) struct Records<W> {
    out: W,
    unordered: bool,
    /// The row whose line is next.
    next: u64,
    /// The lines of later rows. An empty one stands for a row without a line.
    waiting: BTreeMap<u64, String>,
    /// How many bytes wait.
    bytes: usize,
    limit: usize,
}

impl<W: Write> Records<W> {
    pub(super) fn new(out: W, unordered: bool) -> Self {
        let waiting = BTreeMap::new();
        Self { out, unordered, next: 1, waiting, bytes: 0, limit: WAITING }
    }

    /// Adds the line of a row, which ends with a line break.
    pub(super) fn add(&mut self, row: u64, line: String) -> io::Result<()> {
        if self.unordered {
            return self.print(&line);
        }
        self.bytes += line.len() + OVERHEAD;
        self.waiting.insert(row, line);
        while let Some(line) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.bytes -= line.len() + OVERHEAD;
            self.print(&line)?;
        }
        Ok(())
    }

    /// Adds a row that has no line.
    pub(super) fn skip(&mut self, row: u64) -> io::Result<()> {
        self.add(row, String::new())
    }

    /// Whether so much waits for an earlier row that no further row should be started.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > self.limit
    }

    /// Prints the lines that wait for an earlier row.
    pub(super) fn print_waiting(&mut self) -> io::Result<()> {
        self.bytes = 0;
        for line in std::mem::take(&mut self.waiting).into_values() {
            self.print(&line)?;
        }
        Ok(())
    }

    fn print(&mut self, line: &str) -> io::Result<()> {
        if line.is_empty() {
            return Ok(());
        }
        self.out.write_all(line.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(records: &mut Records<Vec<u8>>, rows: &[u64]) -> String {
        for &row in rows {
            records.add(row, format!("{row}\n")).unwrap();
        }
        String::from_utf8(std::mem::take(&mut records.out)).unwrap()
    }

    #[test]
    fn lines_are_printed_when_it_is_their_turn() {
        let mut records = Records::new(Vec::new(), false);
        assert_eq!(add(&mut records, &[2, 4]), "");
        assert_eq!(add(&mut records, &[1]), "1\n2\n");
        records.skip(3).unwrap();
        assert_eq!(add(&mut records, &[]), "4\n");
        assert_eq!((records.bytes, records.waiting.len()), (0, 0));
    }

    #[test]
    fn unordered_lines_are_printed_at_once() {
        let mut records = Records::new(Vec::new(), true);
        assert_eq!(add(&mut records, &[3, 1]), "3\n1\n");
    }

    #[test]
    fn lines_that_wait_are_printed_in_order_when_the_input_is_left() {
        let mut records = Records::new(Vec::new(), false);
        assert_eq!(add(&mut records, &[5, 3]), "");
        records.print_waiting().unwrap();
        assert_eq!(add(&mut records, &[]), "3\n5\n");
    }

    #[test]
    fn what_waits_is_bounded_until_the_first_row_ends() {
        let mut records = Records::new(Vec::new(), false);
        records.limit = 150;
        add(&mut records, &[2, 3]);
        assert!(!records.is_full());
        add(&mut records, &[4]);
        assert!(records.is_full());
        add(&mut records, &[1]);
        assert!(!records.is_full());
    }
}
