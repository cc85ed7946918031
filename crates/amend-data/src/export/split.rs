//! Splits, such as `train` and `test`.
//!
//! Equal and near-duplicate prompts form a group, and a whole group goes to one
//! split. The split depends only on a hash of the seed and the group, not on the
//! other prompts of the run.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use amend_core::chat::Role;
use amend_core::hash;
use amend_core::random::Stream;
use amend_core::record::Item;
use amend_core::text::minhash::{Index, Signature};

/// The least Jaccard similarity of two prompts in one group.
pub const SIMILAR: f64 = 0.7;

/// The greatest number of splits.
const MOST: usize = 16;

/// The names of splits and their shares.
#[derive(Debug, Clone, PartialEq)]
pub struct Splits(Vec<(String, f64)>);

/// What is wrong with the argument of `--split`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitsError {
    /// Not `NAME=SHARE`.
    #[error("{0:?} is not NAME=SHARE: write for example train=0.9,test=0.1")]
    Form(String),
    /// A name that loaders or file systems do not accept.
    #[error("{0:?} is not a name of a split: use letters, digits and _")]
    Name(String),
    /// A name that means all splits together.
    #[error("\"all\" is not a name of a split: in loaders it means all splits")]
    All,
    /// The same name twice.
    #[error("there are two splits named {0:?}")]
    Twice(String),
    /// A share outside of its range.
    #[error("the share of {name} is {share}: it must be above 0 and at most 1")]
    Share {
        /// The split.
        name: String,
        /// The share, as written.
        share: String,
    },
    /// Shares that do not add up to 1.
    #[error("the shares add up to {0}: they must add up to 1")]
    Sum(f64),
    /// Too many splits.
    #[error("{0} splits are too many: the most is {MOST}")]
    Many(usize),
}

impl FromStr for Splits {
    type Err = SplitsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut splits: Vec<(String, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, written) =
                part.split_once('=').ok_or_else(|| SplitsError::Form(part.to_owned()))?;
            let (name, written) = (name.trim(), written.trim());
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(SplitsError::Name(name.to_owned()));
            }
            if name == "all" {
                return Err(SplitsError::All);
            }
            if splits.iter().any(|(other, _)| other == name) {
                return Err(SplitsError::Twice(name.to_owned()));
            }
            match written.parse() {
                Ok(share) if share > 0.0 && share <= 1.0 => splits.push((name.to_owned(), share)),
                _ => {
                    let (name, share) = (name.to_owned(), written.to_owned());
                    return Err(SplitsError::Share { name, share });
                }
            }
        }
        let sum: f64 = splits.iter().map(|(_, share)| share).sum();
        if splits.len() > MOST {
            Err(SplitsError::Many(splits.len()))
        } else if (sum - 1.0).abs() > 1e-6 {
            Err(SplitsError::Sum(sum))
        } else {
            Ok(Self(splits))
        }
    }
}

impl fmt::Display for Splits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, share)) in self.0.iter().enumerate() {
            write!(f, "{}{name}={share}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Splits {
    /// A single split, `train`, with all rows.
    #[must_use]
    pub fn train() -> Self {
        Self(vec![("train".to_owned(), 1.0)])
    }

    /// The names of the splits, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Returns whether there is only one split.
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        self.0.len() == 1
    }

    /// The index of the split that a number in [0, 1) falls in.
    fn index(&self, position: f64) -> usize {
        let mut end = 0.0;
        for (at, (_, share)) in self.0.iter().enumerate() {
            end += share;
            if position < end {
                return at;
            }
        }
        self.0.len() - 1 // the shares may add up to slightly less than 1
    }
}

/// Collects prompts to group them. Takes about 200 bytes for each prompt.
#[derive(Debug, Default)]
pub(super) struct Prompts {
    /// The number of each prompt in the index, by its hash.
    numbers: HashMap<u64, usize>,
    index: Index,
}

impl Prompts {
    /// Adds the prompt of an item.
    pub fn add(&mut self, item: &Item) {
        let text = prompt(item);
        let index = &mut self.index;
        self.numbers.entry(key(&text)).or_insert_with(|| index.add(Signature::from_text(&text)));
    }

    /// Assigns a split to each prompt.
    pub fn assign(self, splits: &Splits, seed: u64) -> Assignment {
        let mut groups = self.index.groups(SIMILAR);
        // A group is named by its least hash, so the order of prompts does not matter.
        let mut names = vec![u64::MAX; self.index.len()];
        for (&key, &number) in &self.numbers {
            let group = groups.find(number);
            names[group] = names[group].min(key);
        }
        let stream = Stream::new(seed).child("split");
        let mut split = |number| splits.index(stream.uniform(names[groups.find(number)]));
        Assignment(self.numbers.into_iter().map(|(key, number)| (key, split(number))).collect())
    }
}

/// The split of every prompt.
#[derive(Debug)]
pub(super) struct Assignment(HashMap<u64, usize>);

impl Assignment {
    /// The index of an item's split.
    pub fn split(&self, item: &Item) -> usize {
        self.0.get(&key(&prompt(item))).copied().unwrap_or(0)
    }
}

/// The text of a conversation without its system turn, which many different prompts
/// may share.
fn prompt(item: &Item) -> String {
    let turns = item.messages.iter().filter(|turn| turn.role != Role::System);
    turns.map(|turn| turn.content.trim()).collect::<Vec<_>>().join("\n")
}

fn key(prompt: &str) -> u64 {
    hash::first_64_bits(prompt.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::item;
    use amend_core::chat::Message;

    fn asks(text: &str) -> Item {
        Item { messages: vec![Message::new(Role::User, text)], ..item("a") }
    }

    /// The split of each of some prompts.
    fn assigned(prompts: &[String], splits: &str, seed: u64) -> Vec<usize> {
        let mut all = Prompts::default();
        prompts.iter().for_each(|prompt| all.add(&asks(prompt)));
        let assignment = all.assign(&splits.parse().unwrap(), seed);
        prompts.iter().map(|prompt| assignment.split(&asks(prompt))).collect()
    }

    #[test]
    fn splits_are_parsed_or_rejected_with_a_reason() {
        let read = |text: &str| text.parse::<Splits>().map_err(|error| error.to_string());
        for (text, shown) in [
            ("train=1", "train=1"),
            ("train=0.9, test=0.1", "train=0.9,test=0.1"),
            ("a=0.3,b=0.3,c=0.4", "a=0.3,b=0.3,c=0.4"),
        ] {
            assert_eq!(read(text).unwrap().to_string(), shown);
        }
        for (text, expected) in [
            ("train", "\"train\" is not NAME=SHARE: write for example train=0.9,test=0.1"),
            ("", "\"\" is not NAME=SHARE: write for example train=0.9,test=0.1"),
            ("../x=1", "\"../x\" is not a name of a split: use letters, digits and _"),
            ("all=1", "\"all\" is not a name of a split: in loaders it means all splits"),
            ("a=0.5,a=0.5", "there are two splits named \"a\""),
            ("a=1,b=0", "the share of b is 0: it must be above 0 and at most 1"),
            ("a=NaN", "the share of a is NaN: it must be above 0 and at most 1"),
            ("a=90%", "the share of a is 90%: it must be above 0 and at most 1"),
            ("a=0.5,b=0.25", "the shares add up to 0.75: they must add up to 1"),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
        let many: Vec<String> = (0..20).map(|at| format!("s{at}=0.05")).collect();
        assert_eq!(read(&many.join(",")).unwrap_err(), "20 splits are too many: the most is 16");
    }

    #[test]
    fn splits_have_the_requested_shares() {
        let prompts: Vec<String> =
            (0..2000).map(|at| format!("q{at} about w{} and z{}?", at * 7, at * 13)).collect();
        let split = assigned(&prompts, "train=0.8,dev=0.1,test=0.1", 1);
        let count = |name| split.iter().filter(|&&at| at == name).count();
        // Standard deviations of 2000 draws: 18 and 13.
        assert!((1528..=1672).contains(&count(0)), "{}", count(0));
        assert!((146..=254).contains(&count(1)), "{}", count(1));
        assert_ne!(split, assigned(&prompts, "train=0.8,dev=0.1,test=0.1", 2));
    }

    #[test]
    fn similar_prompts_stay_together_in_any_order() {
        let long = "that go on for a good while, so that the one word that differs is a small part \
                    of all the words there are in it, and no more";
        let mut prompts = Vec::new();
        for at in 0..100 {
            let prompt = format!("Tell me in words w{at} v{at} u{at} {long}");
            prompts.push(format!("{prompt} than that."));
            prompts.push(format!("{prompt} than this!"));
            prompts.push(prompt.to_uppercase() + " than that.");
        }
        // All share the long text, so add words that make the groups different.
        for (at, prompt) in prompts.iter_mut().enumerate() {
            let stream = Stream::new(9).child(&(at / 3).to_string());
            let words: Vec<String> =
                (0..40).map(|at| format!("x{}", stream.bits(at) % 500)).collect();
            prompt.push_str(&words.join(" "));
        }
        let split = assigned(&prompts, "a=0.5,b=0.5", 3);
        for group in split.chunks(3) {
            assert!(group.iter().all(|at| at == &group[0]), "{split:?}");
        }
        assert!(split.contains(&0) && split.contains(&1));
        let reversed: Vec<String> = prompts.iter().rev().cloned().collect();
        let mut back = assigned(&reversed, "a=0.5,b=0.5", 3);
        back.reverse();
        assert_eq!(back, split);
        // Other prompts do not move a group.
        assert_eq!(assigned(&prompts[..30], "a=0.5,b=0.5", 3), split[..30]);
    }

    #[test]
    fn the_system_turn_is_not_part_of_the_prompt() {
        let with = Item {
            messages: vec![
                Message::new(Role::System, "Be brief."),
                Message::new(Role::User, "Why?"),
            ],
            ..item("a")
        };
        assert_eq!(prompt(&with), prompt(&asks(" Why?\n")));
    }
}
