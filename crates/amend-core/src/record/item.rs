//! Items: the input rows of a run.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::chat::{Message, Role};
use crate::hash;

/// The key, among an item's metadata, of a text that asks a scorer for its favour.
pub const JUDGE_INJECTION: &str = "judge_injection";

/// One input row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// A hash of the row's content; rows of the same content are told apart by
    /// a counter (`-2`, `-3`, …).
    pub key: String,
    /// The row's number in the input, from 1.
    pub row: u64,
    /// The id the input gave, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The conversation that asks for an answer; the last turn is the user's.
    pub messages: Vec<Message>,
    /// The answer that came with the input, if any: the loop starts from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// A second answer that came with the input, to compare the first with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<String>,
    /// Everything else the row carried.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

impl Item {
    /// The one item of a lone prompt.
    #[must_use]
    pub fn of_prompt(prompt: impl Into<String>) -> Self {
        let messages = vec![Message::new(Role::User, prompt)];
        let key = Keys::default().next(&messages, None, None);
        let metadata = serde_json::Map::new();
        Self { key, row: 1, id: None, messages, response: None, rival: None, metadata }
    }

    /// A text that asks a scorer for its favour: once an answer is scored, it is
    /// scored again with this after it.
    #[must_use]
    pub fn judge_injection(&self) -> Option<&str> {
        self.metadata.get(JUDGE_INJECTION)?.as_str()
    }
}

/// Gives items their keys, in input order.
#[derive(Debug, Default)]
pub struct Keys {
    seen: HashMap<String, u64>,
}

impl Keys {
    /// The key of the next item: the first 16 bytes of SHA-256 over the JSON of
    /// messages and response, and of the rival where there is one, in
    /// hexadecimal, and a counter from the second item of the same content on.
    pub fn next(
        &mut self,
        messages: &[Message],
        response: Option<&str>,
        rival: Option<&str>,
    ) -> String {
        // `{}` of a JSON value is compact, and the order of fields is `Message`'s.
        let content = match rival {
            None => serde_json::json!([messages, response]),
            Some(rival) => serde_json::json!([messages, response, rival]),
        };
        let content = content.to_string();
        let key = hash::hex(&Sha256::digest(content)[..16]);
        let count = self.seen.entry(key.clone()).or_default();
        *count += 1;
        if *count == 1 { key } else { format!("{key}-{count}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Role;

    #[test]
    fn keys_hash_messages_and_response_and_count_repeats() {
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
        let rivals = keys.next(&hello, Some("hi"), Some("ho"));
        assert_ne!(rivals, keys.next(&hello, Some("hi"), Some("hum")));
    }
}
