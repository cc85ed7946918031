//! How long the part is that every prompt of a kind begins with.
//!
//! A prompt's kind is its declared header: the turns that are the same for
//! every item. What follows is often the same too, up to the first word of the
//! item's own. It is found by comparing each prompt with the one before it of
//! its kind: the shortest common prefix seen so far. Prompts of one item share
//! more, so the first guess may be long; the next item's prompt corrects it.

use crate::llama::kv::trie::Token;

/// More kinds than a run has; past it, the declared header is taken as it is.
const MAX_KINDS: usize = 16;

/// The kinds of prompts seen so far.
#[derive(Debug, Default)]
pub struct Headers {
    kinds: Vec<Kind>,
}

/// Which kind a prompt is of; none once there were too many.
pub type KindId = Option<usize>;

#[derive(Debug)]
struct Kind {
    declared: usize,
    last: Vec<Token>,
    /// The shortest common prefix of two prompts in a row; the declared header
    /// until there were two.
    common: Option<usize>,
}

impl Headers {
    /// Takes in a prompt whose first `declared` tokens are its header.
    pub fn note(&mut self, tokens: &[Token], declared: usize) -> KindId {
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

    /// How many leading tokens every prompt of a kind has, as far as is known.
    pub fn length(&self, kind: KindId) -> usize {
        kind.map_or(0, |at| self.kinds[at].common.unwrap_or(self.kinds[at].declared))
    }
}

/// How many leading tokens two prompts have in common.
pub fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_item_corrects_what_one_item_shares() {
        let mut headers = Headers::default();
        let kind = headers.note(&[1, 2, 7, 30, 31, 40], 2);
        assert_eq!(headers.length(kind), 2);
        // The same item goes on: all it has in common looks like a header.
        assert_eq!(headers.note(&[1, 2, 7, 30, 31, 41, 50], 2), kind);
        assert_eq!(headers.length(kind), 5);
        // Another item: the header is what both begin with.
        headers.note(&[1, 2, 7, 33], 2);
        headers.note(&[1, 2, 7, 33, 9], 2);
        assert_eq!(headers.length(kind), 3);
    }

    #[test]
    fn kinds_are_told_apart_by_their_declared_header() {
        let mut headers = Headers::default();
        let a = headers.note(&[1, 2, 3], 1);
        let b = headers.note(&[2, 2, 3], 1);
        let c = headers.note(&[1, 2, 3], 2);
        assert!(a != b && b != c && a != c);
        for kind in 3..40 {
            headers.note(&[kind], 1);
        }
        assert_eq!(headers.note(&[99], 1), None);
        assert_eq!(headers.length(None), 0);
    }
}
