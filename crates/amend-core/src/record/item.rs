//! Items: the input rows of a run.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::chat::{Message, Role};
use crate::hash;

/// The metadata key of a prompt injection aimed at the judge.
pub const JUDGE_INJECTION: &str = "judge_injection";

/// One input row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// A hash of the row's content. Repeated content gets a counter as suffix (`-2`,
    /// `-3`, …).
    pub key: String,
    /// The number of the row in the input, from 1.
    pub row: u64,
    /// The id in the input, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The conversation to respond to. The last turn is the user's.
    pub messages: Vec<Message>,
    /// The response supplied with the input, if any: the loop starts from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Response B supplied with the input, for a comparison with `response`.
    #[serde(rename = "rival", default, skip_serializing_if = "Option::is_none")]
    pub response_b: Option<String>,
    /// All other keys of the row.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

impl Item {
    /// Makes the item of a single prompt.
    #[must_use]
    pub fn of_prompt(prompt: impl Into<String>) -> Self {
        let messages = vec![Message::new(Role::User, prompt)];
        let key = Keys::default().next(&messages, None, None);
        let metadata = serde_json::Map::new();
        Self { key, row: 1, id: None, messages, response: None, response_b: None, metadata }
    }

    /// The size of its conversation and answers in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        text_bytes(&self.messages, [&self.response, &self.response_b])
    }

    /// The prompt injection aimed at the judge, if any. Each response that is scored is
    /// scored again with this text after it.
    #[must_use]
    pub fn judge_injection(&self) -> Option<&str> {
        self.metadata.get(JUDGE_INJECTION)?.as_str()
    }
}

/// Makes the keys of items, in the order of the input. It needs about 16 bytes per item.
#[derive(Debug, Default)]
pub struct Keys {
    /// The first 64 bits of the keys so far. If two different keys share them, which is
    /// improbable even among 100 million items, the later one counts as a repeat: it gets a
    /// suffix and stays unique.
    seen: HashSet<u64>,
    /// How often repeated keys occurred.
    repeats: HashMap<u64, u64>,
}

impl Keys {
    /// Makes the key of the next item: [`content_key`], with a counter from the second item
    /// with the same content on.
    pub fn next(
        &mut self,
        messages: &[Message],
        response: Option<&str>,
        response_b: Option<&str>,
    ) -> String {
        let key = content_key(messages, response, response_b);
        let count = self.count(&key);
        numbered_key(key, count)
    }

    /// Counts an item with this [`content_key`], and returns how many there are now.
    pub fn count(&mut self, key: &str) -> u64 {
        let bits = key_bits(key);
        if self.seen.insert(bits) {
            return 1;
        }
        let count = self.repeats.entry(bits).or_insert(1);
        *count += 1;
        *count
    }
}

/// The key of an item without a counter: the first 16 bytes, in hexadecimal, of the SHA-256
/// of the JSON array of messages, response and, if there is one, response B.
#[must_use]
pub fn content_key(
    messages: &[Message],
    response: Option<&str>,
    response_b: Option<&str>,
) -> String {
    // Compact JSON with the fields in the order of `Message`.
    let content = match response_b {
        None => serde_json::to_vec(&(messages, response)),
        Some(response_b) => serde_json::to_vec(&(messages, response, response_b)),
    };
    let content = content.expect("messages and texts have a JSON form");
    hash::hex(&Sha256::digest(content)[..16])
}

/// The size of a conversation and of answers to it in bytes.
#[must_use]
pub fn text_bytes(messages: &[Message], answers: [&Option<String>; 2]) -> usize {
    let turn = |message: &Message| {
        let Message { content, reasoning, tool_calls, .. } = message;
        let calls = tool_calls.as_ref().map_or(0, |calls| calls.to_string().len());
        content.len() + reasoning.as_ref().map_or(0, String::len) + calls
    };
    let turns: usize = messages.iter().map(turn).sum();
    turns + answers.into_iter().flatten().map(String::len).sum::<usize>()
}

/// The first 64 bits of a [`content_key`].
#[must_use]
pub fn key_bits(key: &str) -> u64 {
    u64::from_str_radix(key.get(..16).unwrap_or_default(), 16).unwrap_or_default()
}

/// The key of the `count`th item with a content.
#[must_use]
pub fn numbered_key(key: String, count: u64) -> String {
    if count <= 1 { key } else { format!("{key}-{count}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Role;

    #[test]
    fn keys_hash_the_content_and_count_repeats() {
        let mut keys = Keys::default();
        let hello = [Message::new(Role::User, "hello")];
        // printf '[[{"role":"user","content":"hello"}],null]' | sha256sum
        let key = keys.next(&hello, None, None);
        assert_eq!(key, "87b5073bf6a770694c108b9a1546106e");
        let other = keys.next(&hello, Some("hi"), None);
        assert_ne!(other, key);
        assert_eq!(keys.next(&hello, None, None), format!("{key}-2"));
        assert_eq!(keys.next(&hello, Some("hi"), None), format!("{other}-2"));
        assert_eq!(keys.next(&hello, None, None), format!("{key}-3"));
        let comparison = keys.next(&hello, Some("hi"), Some("ho"));
        assert_ne!(comparison, keys.next(&hello, Some("hi"), Some("hum")));
    }
}
