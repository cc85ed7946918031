//! A mirror of the KV cache: which tokens it holds for which sequences, as a trie with
//! one node per cell.
//!
//! In a unified KV cache a cell belongs to every sequence that shares it and is freed
//! with the last of them. The mirror follows this rule to find shared prefixes and to
//! count cells exactly, so that the scheduler never requests more cells than llama.cpp
//! has. If each sequence has a separate stream, a shared cell of the mirror stands for
//! copies in several streams and still counts once.

use std::collections::HashMap;
use std::ops::Range;

/// A token id of the model's vocabulary.
pub type Token = i32;

/// A sequence id of the KV cache.
pub type SeqId = i32;

type CellId = u32;

#[derive(Debug)]
struct Cell {
    token: Token,
    parent: Option<CellId>,
    /// The number of sequences that hold it.
    holders: u32,
}

/// The mirror of the KV cache.
#[derive(Debug)]
pub struct KvTrie {
    cells: Vec<Cell>,
    vacant: Vec<CellId>,
    /// The first cell computed for each (prefix, next token).
    children: HashMap<(Option<CellId>, Token), CellId>,
    /// The cells of each sequence by id; `None` for a free id.
    sequences: Vec<Option<Vec<CellId>>>,
}

impl KvTrie {
    /// Creates the mirror of an empty cache with the sequence ids `0..sequences`.
    pub fn new(sequences: usize) -> Self {
        Self {
            cells: Vec::new(),
            vacant: Vec::new(),
            children: HashMap::new(),
            sequences: (0..sequences).map(|_| None).collect(),
        }
    }

    /// The number of cells in use.
    pub fn used(&self) -> usize {
        self.cells.len() - self.vacant.len()
    }

    /// The maximum number of cells in use at once.
    pub fn peak(&self) -> usize {
        self.cells.len()
    }

    /// The number of tokens that a sequence holds.
    pub fn len(&self, seq: SeqId) -> usize {
        self.sequences[seq as usize].as_ref().map_or(0, Vec::len)
    }

    /// The number of leading tokens that the cache holds.
    pub fn longest_prefix(&self, tokens: &[Token]) -> usize {
        self.path(tokens).len()
    }

    /// The cells of the longest prefix of `tokens` in the trie.
    fn path(&self, tokens: &[Token]) -> Vec<CellId> {
        let mut path = Vec::new();
        let mut parent = None;
        for &token in tokens {
            let Some(&cell) = self.children.get(&(parent, token)) else { break };
            path.push(cell);
            parent = Some(cell);
        }
        path
    }

    /// The number of leading tokens of `tokens` that this sequence holds.
    pub fn common_prefix(&self, seq: SeqId, tokens: &[Token]) -> usize {
        let Some(path) = &self.sequences[seq as usize] else { return 0 };
        path.iter()
            .zip(tokens)
            .take_while(|&(&cell, &token)| self.cell(cell).token == token)
            .count()
    }

    /// The lowest free id in a range.
    pub fn free(&self, mut ids: Range<usize>) -> Option<SeqId> {
        ids.find(|&id| self.sequences[id].is_none()).map(|id| id as SeqId)
    }

    /// A sequence that holds the longest prefix of `tokens` in the cache, and the length
    /// of the prefix.
    pub fn holder(&self, tokens: &[Token]) -> Option<(SeqId, usize)> {
        let path = self.path(tokens);
        Some((self.holder_of(&path)?, path.len()))
    }

    /// A sequence that holds a path of the trie; `None` for an empty path.
    fn holder_of(&self, path: &[CellId]) -> Option<SeqId> {
        let last = path.last()?;
        let holds = |seq: &Option<Vec<CellId>>| {
            seq.as_ref().is_some_and(|seq| seq.get(path.len() - 1) == Some(last))
        };
        let seq = self.sequences.iter().position(holds);
        Some(seq.expect("a cell in the trie is held by a sequence") as SeqId)
    }

    /// Starts a sequence with a free id that shares the longest prefix of `tokens` in the
    /// cache. The caller has to share the cells in llama.cpp accordingly.
    pub fn fork(&mut self, seq: SeqId, tokens: &[Token]) -> Fork {
        let path = self.path(tokens);
        let source = self.holder_of(&path);
        for &cell in &path {
            self.cells[cell as usize].holders += 1;
        }
        let shared = path.len();
        debug_assert!(self.sequences[seq as usize].is_none(), "sequence {seq} is in use");
        self.sequences[seq as usize] = Some(path);
        Fork { seq, shared, source }
    }

    /// Changes the id of a sequence to a free one.
    pub fn rename(&mut self, from: SeqId, to: SeqId) {
        debug_assert!(self.sequences[to as usize].is_none(), "sequence {to} is in use");
        self.sequences[to as usize] = self.sequences[from as usize].take();
    }

    /// Records that a token was computed at the end of a sequence.
    pub fn push(&mut self, seq: SeqId, token: Token) {
        let path = self.sequences[seq as usize].as_mut().expect("push to a live sequence");
        let parent = path.last().copied();
        let cell = Cell { token, parent, holders: 1 };
        let id = if let Some(id) = self.vacant.pop() {
            self.cells[id as usize] = cell;
            id
        } else {
            self.cells.push(cell);
            (self.cells.len() - 1) as CellId
        };
        path.push(id);
        // A second computation of the same prefix stays out of the trie: its sequence
        // holds separate cells.
        self.children.entry((parent, token)).or_insert(id);
    }

    /// Drops the cells of a sequence from position `len` on. With `len` 0 its id becomes
    /// free.
    pub fn truncate(&mut self, seq: SeqId, len: usize) {
        let Some(path) = self.sequences[seq as usize].as_mut() else { return };
        let dropped = path.split_off(len.min(path.len()));
        if path.is_empty() {
            self.sequences[seq as usize] = None;
        }
        // In reverse order, so that a cell leaves the trie before its parent.
        for id in dropped.into_iter().rev() {
            let cell = &mut self.cells[id as usize];
            cell.holders -= 1;
            if cell.holders == 0 {
                let key = (cell.parent, cell.token);
                if self.children.get(&key) == Some(&id) {
                    self.children.remove(&key);
                }
                self.vacant.push(id);
            }
        }
    }

    /// Removes the cells of a sequence from the trie, but not from the sequence. They are
    /// no longer found as a prefix, and another sequence may compute their tokens again.
    pub fn forget(&mut self, seq: SeqId) {
        for &id in self.sequences[seq as usize].iter().flatten() {
            let cell = &self.cells[id as usize];
            let key = (cell.parent, cell.token);
            if self.children.get(&key) == Some(&id) {
                self.children.remove(&key);
            }
        }
    }

    /// Whether another sequence also holds the first `len` cells of this one.
    pub fn is_shared(&self, seq: SeqId, len: usize) -> bool {
        self.sequences[seq as usize]
            .as_ref()
            .and_then(|path| path.get(len.checked_sub(1)?))
            .is_some_and(|&cell| self.cell(cell).holders > 1)
    }

    /// The number of cells that only this sequence holds.
    pub fn held_alone(&self, seq: SeqId) -> usize {
        let path = self.sequences[seq as usize].iter().flatten();
        path.filter(|&&cell| self.cell(cell).holders == 1).count()
    }

    fn cell(&self, id: CellId) -> &Cell {
        &self.cells[id as usize]
    }
}

/// A sequence started by [`KvTrie::fork`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// Its id.
    pub seq: SeqId,
    /// The number of leading tokens that it shares.
    pub shared: usize,
    /// The sequence that it shares them with.
    pub source: Option<SeqId>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn fill(cells: &mut KvTrie, tokens: &[Token]) -> Fork {
        let seq = cells.free(0..cells.sequences.len()).unwrap();
        let fork = cells.fork(seq, tokens);
        for &token in &tokens[fork.shared..] {
            cells.push(fork.seq, token);
        }
        fork
    }

    #[test]
    fn a_shared_prefix_uses_cells_once_until_its_last_sequence_ends() {
        let mut cells = KvTrie::new(3);
        let a = fill(&mut cells, &[1, 2, 3, 4]);
        let b = fill(&mut cells, &[1, 2, 9]);
        assert_eq!(b, Fork { seq: 1, shared: 2, source: Some(0) });
        assert_eq!(cells.used(), 5);
        cells.truncate(a.seq, 0);
        assert_eq!(cells.used(), 3);
        assert_eq!(cells.longest_prefix(&[1, 2, 3, 4]), 2);
        cells.truncate(b.seq, 0);
        assert_eq!((cells.used(), cells.longest_prefix(&[1])), (0, 0));
        assert_eq!(cells.peak(), 5);
    }

    #[test]
    fn forgetting_a_sequence_keeps_its_cells_but_hides_them() {
        let mut cells = KvTrie::new(3);
        let a = fill(&mut cells, &[1, 2, 3]);
        cells.forget(a.seq);
        assert_eq!((cells.used(), cells.longest_prefix(&[1, 2, 3])), (3, 0));
        let b = fill(&mut cells, &[1, 2, 3]);
        assert_eq!((b.shared, cells.used()), (0, 6));
        cells.push(a.seq, 4);
        assert_eq!(cells.longest_prefix(&[1, 2, 3, 4]), 3);
        cells.truncate(a.seq, 0);
        assert_eq!((cells.used(), cells.longest_prefix(&[1, 2, 3])), (3, 3));
        cells.truncate(b.seq, 0);
        assert_eq!(cells.used(), 0);
    }

    #[test]
    fn sequence_ids_are_reused() {
        let mut cells = KvTrie::new(1);
        let only = fill(&mut cells, &[5]);
        assert_eq!((cells.free(0..1), cells.holder(&[5, 6])), (None, Some((0, 1))));
        cells.truncate(only.seq, 0);
        assert_eq!(fill(&mut cells, &[5, 6]).shared, 0);
    }

    proptest! {
        /// The model keeps the set of holders of every computed cell.
        #[test]
        fn agrees_with_a_model_that_keeps_sets_of_holders(ops in prop::collection::vec(
            (0..4_u8, 0..4_i32, prop::collection::vec(0..3_i32, 1..8), 0..8_usize), 0..60,
        )) {
            let mut cells = KvTrie::new(4);
            let mut model: Vec<(Token, HashSet<SeqId>)> = Vec::new();
            let mut rows: Vec<Option<Vec<usize>>> = vec![None; 4];
            for (op, seq, tokens, len) in ops {
                let at = seq as usize;
                match op {
                    0 => {
                        let limit = len.min(tokens.len());
                        if let Some(free) = cells.free(0..4) {
                            let fork = cells.fork(free, &tokens[..limit]);
                            let source = fork.source.map(|s| rows[s as usize].clone().unwrap());
                            let shared = source.unwrap_or_default()[..fork.shared].to_vec();
                            for (&cell, &token) in shared.iter().zip(&tokens) {
                                prop_assert_eq!(model[cell].0, token);
                                model[cell].1.insert(fork.seq);
                            }
                            prop_assert!(rows[fork.seq as usize].is_none());
                            let longest = rows.iter().flatten().map(|row| {
                                row.iter().zip(&tokens[..limit])
                                    .take_while(|&(&cell, &token)| model[cell].0 == token).count()
                            }).max().unwrap_or(0);
                            // Cells computed twice stay out of the trie, so a sequence
                            // may hold a longer prefix than the trie.
                            prop_assert!(fork.shared <= longest);
                            rows[fork.seq as usize] = Some(shared);
                        } else {
                            prop_assert!(rows.iter().all(Option::is_some));
                        }
                    }
                    1 => if let Some(row) = &mut rows[at] {
                        cells.push(seq, tokens[0]);
                        model.push((tokens[0], HashSet::from([seq])));
                        row.push(model.len() - 1);
                    },
                    2 => if let (Some(to), true) = (cells.free(0..4), rows[at].is_some()) {
                        cells.rename(seq, to);
                        rows[to as usize] = rows[at].take();
                        for (_, holders) in &mut model {
                            if holders.remove(&seq) {
                                holders.insert(to);
                            }
                        }
                    },
                    _ => if let Some(row) = &mut rows[at] {
                        cells.truncate(seq, len);
                        for cell in row.split_off(len.min(row.len())) {
                            model[cell].1.remove(&seq);
                        }
                        if row.is_empty() {
                            rows[at] = None;
                        }
                    },
                }
                let used = model.iter().filter(|(_, holders)| !holders.is_empty()).count();
                prop_assert_eq!(cells.used(), used);
                for (seq, row) in (0..).zip(&rows) {
                    let alone = row.iter().flatten().filter(|&&cell| model[cell].1.len() == 1);
                    prop_assert_eq!(cells.held_alone(seq), alone.count());
                }
            }
        }
    }
}
