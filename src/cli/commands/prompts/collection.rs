//! The prompts written so far: how many each principle gets of each kind, what is still to be
//! asked for, and which entries of a reply are taken.

use std::collections::BTreeMap;

use amend_core::constitution::Constitution;
use amend_core::prompt::PromptKind;
use amend_core::text::listing::list_entries;
use amend_core::text::minhash::Signature;
use amend_core::text::refusal::is_refusal;
use serde::{Deserialize, Serialize};

/// The MinHash similarity from which two prompts count as nearly the same. Prompts are short:
/// two of ten words that differ in one word have a similarity of about 0.45 to 0.8.
const SIMILAR: f64 = 0.6;

/// How many requests in a row may bring nothing new before a part is given up.
pub const TRIES: usize = 4;

/// The most requests for one part that are in flight together.
const TOGETHER: usize = 4;

/// The lengths of prompts that are taken, in characters.
const LENGTHS: std::ops::RangeInclusive<usize> = 6..=1000;

/// The most earlier prompts of a part that its request shows.
const EARLIER: usize = 12;

/// A row of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptRow {
    pub id: String,
    /// The id of the principle.
    pub principle: String,
    pub kind: PromptKind,
    pub prompt: String,
}

/// What the model replied to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenReply {
    Text {
        text: String,
        /// Whether it ended at the token limit, so that its last entry is cut off.
        is_cut: bool,
    },
    Failed(String),
}

/// Why a reply, or an entry of it, was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotTaken {
    Similar,
    Length,
    NoList,
    Refusal,
    Failed,
}

impl NotTaken {
    /// What the count of a reason counts.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Similar => "nearly the same as another prompt or as a principle",
            Self::Length => "shorter than 6 or longer than 1000 characters",
            Self::NoList => "replies without a list",
            Self::Refusal => "replies that decline",
            Self::Failed => "failed requests",
        }
    }
}

/// The prompts of one kind for one principle.
#[derive(Debug)]
struct Part {
    /// The index of the principle.
    principle: usize,
    id: String,
    kind: PromptKind,
    quota: usize,
    prompts: Vec<String>,
    /// The greatest number in the id of a row.
    last_number: usize,
    /// Requests in a row that brought nothing new.
    tries: usize,
}

/// All prompts, and what is missing.
#[derive(Debug)]
pub struct Collection {
    parts: Vec<Part>,
    signatures: Vec<Signature>,
    total: usize,
    left_out: BTreeMap<NotTaken, usize>,
    /// The failure of the last request that failed.
    failure: Option<String>,
}

impl Collection {
    /// A collection without prompts, for `total` of them. Each principle first gets one that tests
    /// it, then a contrast, and so on in turn. If a turn does not reach all principles, those that
    /// get a prompt are spread evenly over the constitution.
    #[must_use]
    pub fn new(constitution: &Constitution, total: usize) -> Self {
        let principles = &constitution.principles;
        let mut parts = Vec::new();
        for (at, principle) in principles.iter().enumerate() {
            for kind in PromptKind::ALL {
                parts.push(Part {
                    principle: at,
                    id: principle.id.clone(),
                    kind,
                    quota: 0,
                    prompts: Vec::new(),
                    last_number: 0,
                    tries: 0,
                });
            }
        }
        let kinds = PromptKind::ALL.len();
        let (turns, rest) = (total / principles.len(), total % principles.len());
        for turn in 0..=turns {
            let in_turn = if turn < turns { principles.len() } else { rest };
            for at in 0..in_turn {
                let principle = at * principles.len() / in_turn;
                parts[principle * kinds + turn % kinds].quota += 1;
            }
        }
        let signatures =
            principles.iter().map(|principle| Signature::from_text(&principle.principle));
        Self {
            parts,
            signatures: signatures.collect(),
            total,
            left_out: BTreeMap::new(),
            failure: None,
        }
    }

    /// Adds a row of an earlier call.
    ///
    /// # Errors
    /// The constitution has no such principle.
    pub fn restore(&mut self, row: PromptRow) -> Result<(), String> {
        let part = self
            .parts
            .iter_mut()
            .find(|part| part.id == row.principle && part.kind == row.kind)
            .ok_or_else(|| format!("the constitution has no principle {:?}", row.principle))?;
        let number = row.id.rsplit('-').next().and_then(|number| number.parse().ok());
        part.last_number = part.last_number.max(number.unwrap_or(0));
        self.signatures.push(Signature::from_text(&row.prompt));
        part.prompts.push(row.prompt);
        Ok(())
    }

    /// How many prompts one request asks for. A list of one is often no list, and entries are
    /// left out, so it is a few more than a part needs.
    #[must_use]
    pub fn per_request(&self) -> usize {
        let most = self.parts.iter().map(|part| part.quota).max().unwrap_or(0);
        (most + 2).clamp(4, 8)
    }

    /// The parts to ask for next, one for each request. Empty when everything is there or given
    /// up.
    #[must_use]
    pub fn due(&self) -> Vec<usize> {
        let mut due = Vec::new();
        // Rows of an earlier call may have been for other parts.
        let mut wanted = self.total.saturating_sub(self.len());
        for (at, part) in self.parts.iter().enumerate() {
            let missing = part.quota.saturating_sub(part.prompts.len()).min(wanted);
            if missing > 0 && part.tries < TRIES {
                wanted -= missing;
                let requests = missing.div_ceil(self.per_request()).min(TOGETHER);
                due.extend(std::iter::repeat_n(at, requests));
            }
        }
        due
    }

    /// The index of a part's principle, its kind, and its last prompts.
    #[must_use]
    pub fn part(&self, part: usize) -> (usize, PromptKind, Vec<&str>) {
        let Part { principle, kind, prompts, .. } = &self.parts[part];
        let earlier = &prompts[prompts.len().saturating_sub(EARLIER)..];
        (*principle, *kind, earlier.iter().map(String::as_str).collect())
    }

    /// Takes what a reply to a request for a part brings, up to what is missing, and returns the
    /// new rows.
    pub fn take(&mut self, part: usize, reply: WrittenReply) -> Vec<PromptRow> {
        let entries = self.entries(reply);
        let mut rows = Vec::new();
        let wanted = self.total.saturating_sub(self.len());
        for prompt in entries {
            let Part { id, kind, quota, prompts, last_number, .. } = &mut self.parts[part];
            if prompts.len() >= *quota || rows.len() >= wanted {
                break;
            }
            if !LENGTHS.contains(&prompt.chars().count()) {
                *self.left_out.entry(NotTaken::Length).or_default() += 1;
                continue;
            }
            let signature = Signature::from_text(&prompt);
            if self.signatures.iter().any(|other| other.similarity(&signature) >= SIMILAR) {
                *self.left_out.entry(NotTaken::Similar).or_default() += 1;
                continue;
            }
            *last_number += 1;
            rows.push(PromptRow {
                id: format!("{id}-{}-{last_number}", kind.as_str()),
                principle: id.clone(),
                kind: *kind,
                prompt: prompt.clone(),
            });
            prompts.push(prompt);
            self.signatures.push(signature);
        }
        let tries = &mut self.parts[part].tries;
        *tries = if rows.is_empty() { *tries + 1 } else { 0 };
        rows
    }

    /// The entries of a reply. Counts a reply that has none.
    fn entries(&mut self, reply: WrittenReply) -> Vec<String> {
        let reason = match reply {
            WrittenReply::Failed(failure) => {
                self.failure = Some(failure);
                NotTaken::Failed
            }
            WrittenReply::Text { text, .. } if is_refusal(&text) => NotTaken::Refusal,
            WrittenReply::Text { text, is_cut } => {
                let mut entries = list_entries(&text);
                if is_cut {
                    entries.pop();
                }
                if !entries.is_empty() {
                    return entries;
                }
                NotTaken::NoList
            }
        };
        *self.left_out.entry(reason).or_default() += 1;
        Vec::new()
    }

    /// How many prompts are wanted.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many prompts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts().iter().sum()
    }

    /// How many prompts there are of each kind, in the order of [`PromptKind::ALL`].
    #[must_use]
    pub fn counts(&self) -> [usize; 2] {
        PromptKind::ALL.map(|kind| {
            let parts = self.parts.iter().filter(|part| part.kind == kind);
            parts.map(|part| part.prompts.len()).sum()
        })
    }

    /// How many principles have a prompt, and how many there are.
    #[must_use]
    pub fn covered(&self) -> (usize, usize) {
        let principles = self.parts.chunks(PromptKind::ALL.len());
        let all = principles.len();
        let covered = principles.filter(|parts| parts.iter().any(|part| !part.prompts.is_empty()));
        (covered.count(), all)
    }

    /// The parts that lack prompts, as the ids of rows name them, and how many each lacks.
    #[must_use]
    pub fn missing(&self) -> Vec<(String, usize)> {
        let mut missing = Vec::new();
        for part in &self.parts {
            let number = part.quota.saturating_sub(part.prompts.len());
            if number > 0 {
                missing.push((format!("{}-{}", part.id, part.kind.as_str()), number));
            }
        }
        missing
    }

    /// What was left out, by reason, and how often.
    pub fn left_out(&self) -> impl Iterator<Item = (NotTaken, usize)> {
        self.left_out.iter().map(|(&reason, &count)| (reason, count))
    }

    /// The failure of the last request that failed.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A constitution of principles with these ids.
    fn constitution(ids: &[&str]) -> Constitution {
        let mut constitution = amend_core::constitution::load("harmless").unwrap().constitution;
        constitution.principles.truncate(ids.len());
        for (principle, id) in constitution.principles.iter_mut().zip(ids) {
            principle.id = (*id).to_owned();
        }
        constitution
    }

    fn collection(total: usize) -> Collection {
        Collection::new(&constitution(&["a", "b", "c"]), total)
    }

    fn text(text: &str) -> WrittenReply {
        WrittenReply::Text { text: text.to_owned(), is_cut: false }
    }

    /// The quotas: of tests and contrasts for each principle.
    fn quotas(total: usize) -> Vec<[usize; 2]> {
        let collection = collection(total);
        collection.parts.chunks(2).map(|parts| [parts[0].quota, parts[1].quota]).collect()
    }

    #[test]
    fn principles_get_tests_and_contrasts_in_turn() {
        assert_eq!(quotas(6), [[1, 1], [1, 1], [1, 1]]);
        assert_eq!(quotas(3), [[1, 0], [1, 0], [1, 0]]);
        assert_eq!(quotas(2), [[1, 0], [1, 0], [0, 0]]);
        assert_eq!(quotas(1), [[1, 0], [0, 0], [0, 0]]);
        assert_eq!(quotas(10), [[2, 2], [2, 1], [2, 1]]);
        for total in 1..40 {
            assert_eq!(quotas(total).iter().flatten().sum::<usize>(), total);
        }
    }

    #[test]
    fn a_request_asks_for_a_few_more_than_are_missing() {
        assert_eq!([1, 6, 18, 600].map(|total| collection(total).per_request()), [4, 4, 5, 8]);
        assert_eq!(collection(6).due(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(collection(2).due(), [0, 2]);
        // Many prompts of one part come from several requests at once.
        let one = Collection::new(&constitution(&["a"]), 40);
        assert_eq!(one.due(), [0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn entries_are_taken_up_to_the_quota_and_numbered() {
        let mut collection = collection(12);
        let rows = collection.take(
            1,
            text(
                "1. How long does rice keep?\n2. Which knife is best for bread?\n3. Why is it wet?",
            ),
        );
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["a-contrast-1", "a-contrast-2"]);
        assert_eq!((rows[0].principle.as_str(), rows[0].kind), ("a", PromptKind::Contrast));
        assert_eq!(rows[1].prompt, "Which knife is best for bread?");
        assert_eq!((collection.counts(), collection.covered()), ([0, 2], (1, 3)));
        assert_eq!(collection.part(1).2, [&*rows[0].prompt, &*rows[1].prompt]);
        assert_eq!(collection.due(), [0, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_left_out_is_counted_by_reason() {
        let mut collection = collection(12);
        let principle = constitution(&["a", "b", "c"]).principles[0].principle.clone();
        collection.take(0, text("- How do I keep my bread from going stale?"));
        for reply in [
            "- How do I keep my bread from going stale??",
            &format!("1. {principle}"),
            "1. Why?",
            "Bread is good.",
            "I'm sorry, but I can't help with that.",
        ] {
            assert_eq!(collection.take(1, text(reply)), [], "{reply}");
        }
        collection.take(1, WrittenReply::Failed("no memory".to_owned()));
        let left_out: Vec<_> = collection.left_out().collect();
        let expected = [
            (NotTaken::Similar, 2),
            (NotTaken::Length, 1),
            (NotTaken::NoList, 1),
            (NotTaken::Refusal, 1),
            (NotTaken::Failed, 1),
        ];
        assert_eq!((&left_out[..], collection.failure()), (&expected[..], Some("no memory")));
    }

    #[test]
    fn the_last_entry_of_a_cut_reply_is_not_taken() {
        let mut collection = collection(12);
        let text = "1. How long does rice keep?\n2. Which knife is b".to_owned();
        let rows = collection.take(0, WrittenReply::Text { text, is_cut: true });
        assert_eq!(rows.len(), 1);
    }

    #[test]
    fn a_part_is_given_up_after_tries_in_a_row_without_anything_new() {
        let mut collection = collection(1);
        for _ in 1..TRIES {
            collection.take(0, text("nothing"));
        }
        assert_eq!(collection.due(), [0]);
        collection.take(0, text("nothing"));
        assert_eq!(collection.due(), [0; 0]);
        assert_eq!(collection.missing(), [("a-tests".to_owned(), 1)]);

        let mut collection = self::collection(12);
        for entry in ["How long does rice keep?", "Which knife is best for bread?"] {
            for _ in 1..TRIES {
                collection.take(0, text("nothing"));
            }
            assert_eq!(collection.take(0, text(&format!("1. {entry}"))).len(), 1);
        }
        assert_eq!(collection.due(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn restored_rows_count_and_their_numbers_are_not_used_again() {
        let mut collection = collection(12);
        let row = |id: &str, principle: &str, prompt: &str| PromptRow {
            id: id.to_owned(),
            principle: principle.to_owned(),
            kind: PromptKind::Tests,
            prompt: prompt.to_owned(),
        };
        collection.restore(row("a-tests-7", "a", "How long does rice keep?")).unwrap();
        let reply = "1. How long does rice keep?\n2. Which knife is best for bread?";
        let rows = collection.take(0, text(reply));
        assert_eq!((rows.len(), rows[0].id.as_str()), (1, "a-tests-8"));
        // Rows beyond a part's quota count too, so another part stays without one.
        let mut few = self::collection(3);
        for (number, prompt) in [(1, "How long does rice keep?"), (2, "Why is the sky blue?")] {
            few.restore(row(&format!("a-tests-{number}"), "a", prompt)).unwrap();
        }
        assert_eq!((few.len(), few.due()), (2, vec![2]));
        assert_eq!(few.take(2, text("1. Which knife cuts bread?\n2. Who bakes it?")).len(), 1);
        assert_eq!((few.due().len(), few.missing().len()), (0, 1));
        let error = collection.restore(row("z-tests-1", "z", "Why?")).unwrap_err();
        assert!(error.contains("no principle \"z\""), "{error}");
    }
}
