//! Finds the shared prefix of the prompts of each kind.
//!
//! The kind of a prompt is its declared prefix: the turns that are the same for every
//! item. The text after them is often the same too, up to the first word that belongs to
//! the item. Each prompt is compared with the previous one of its kind, and the shortest
//! common prefix so far is taken as shared. Prompts of one item share more, so the first
//! result may be too long; the prompt of the next item corrects it.

use crate::llama::kv::trie::Token;

/// The maximum number of kinds, more than a run has. Further prompts get no kind.
const MAX_KINDS: usize = 16;

/// The kinds of prompts seen so far.
#[derive(Debug, Default)]
pub struct SharedPrefixes {
    kinds: Vec<Kind>,
}

/// The kind of a prompt; `None` if there were too many.
pub type KindId = Option<usize>;

#[derive(Debug)]
struct Kind {
    declared: usize,
    last: Vec<Token>,
    /// The length of the shortest common prefix of two consecutive prompts. `None` before
    /// the second prompt.
    common: Option<usize>,
}

impl SharedPrefixes {
    /// Adds a prompt whose first `declared` tokens are the same for every item. Returns
    /// its kind.
    pub fn add(&mut self, tokens: &[Token], declared: usize) -> KindId {
        let header = &tokens[..declared];
        let known = self
            .kinds
            .iter()
            .position(|kind| kind.declared == declared && kind.last.starts_with(header));
        match known {
            Some(at) => {
                let kind = &mut self.kinds[at];
                let common = common_prefix(&kind.last, tokens);
                kind.common = Some(kind.common.map_or(common, |least| least.min(common)));
                kind.last.clear();
                kind.last.extend_from_slice(tokens);
                Some(at)
            }
            None if self.kinds.len() < MAX_KINDS => {
                self.kinds.push(Kind { declared, last: tokens.to_vec(), common: None });
                Some(self.kinds.len() - 1)
            }
            None => None,
        }
    }

    /// The length of the shared prefix of a kind, as far as it is known.
    pub fn length(&self, kind: KindId) -> usize {
        let Some(at) = kind else { return 0 };
        let kind = &self.kinds[at];
        kind.common.unwrap_or(kind.declared)
    }
}

/// The length of the common prefix of two prompts.
pub fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_of_the_next_item_corrects_the_shared_prefix() {
        let mut headers = SharedPrefixes::default();
        let kind = headers.add(&[1, 2, 7, 30, 31, 40], 2);
        assert_eq!(headers.length(kind), 2);
        // Two prompts of one item: all that they share looks like the shared prefix.
        assert_eq!(headers.add(&[1, 2, 7, 30, 31, 41, 50], 2), kind);
        assert_eq!(headers.length(kind), 5);
        // Another item: only what both begin with is shared.
        headers.add(&[1, 2, 7, 33], 2);
        headers.add(&[1, 2, 7, 33, 9], 2);
        assert_eq!(headers.length(kind), 3);
    }

    #[test]
    fn kinds_differ_by_their_declared_prefix() {
        let mut headers = SharedPrefixes::default();
        let a = headers.add(&[1, 2, 3], 1);
        let b = headers.add(&[2, 2, 3], 1);
        let c = headers.add(&[1, 2, 3], 2);
        assert!(a != b && b != c && a != c);
        for kind in 3..40 {
            headers.add(&[kind], 1);
        }
        assert_eq!(headers.add(&[99], 1), None);
        assert_eq!(headers.length(None), 0);
    }
}
