//! The reviews of a run's responses: an append-only file of JSON Lines.
//!
//! A line is a review, or undoes an earlier one. Lines are numbered from 0, so a missing
//! or repeated line is detected. One process writes, under its own lock: a run can
//! continue while its items are reviewed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::atomic;
use super::lock::Lock;
use super::run_dir::files::{REVIEWS, REVIEWS_LOCK};
use super::run_dir::{RunDir, RunError};
use super::time::utc;

/// The choice of a reviewer between two responses shown side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The response on the left is better.
    Left,
    /// The response on the right is better.
    Right,
    /// Both are equally good.
    Tie,
    /// Neither should be trained on.
    BothBad,
}

/// The decision of one reviewer about two responses of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// The key of the item.
    pub key: String,
    /// The number of the response on the left, among the responses of the item.
    pub left: usize,
    /// The number of the response on the right.
    pub right: usize,
    /// The choice.
    pub choice: Choice,
    /// The text of the chosen response after the reviewer's edit. `None` if unedited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<String>,
    /// The tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The name of the reviewer.
    pub reviewer: String,
    /// The time of the decision, in UTC (RFC 3339).
    pub time: String,
    /// The duration of the decision, in seconds.
    pub seconds: f64,
}

/// A choice in terms of responses instead of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opinion {
    /// The response with this number is better.
    Answer(usize),
    /// Both are equally good.
    Tie,
    /// Neither should be trained on.
    BothBad,
}

impl Review {
    /// The choice in terms of response numbers.
    #[must_use]
    pub fn opinion(&self) -> Opinion {
        match self.choice {
            Choice::Left => Opinion::Answer(self.left),
            Choice::Right => Opinion::Answer(self.right),
            Choice::Tie => Opinion::Tie,
            Choice::BothBad => Opinion::BothBad,
        }
    }

    /// The numbers of the two responses, in ascending order.
    #[must_use]
    pub fn answers(&self) -> [usize; 2] {
        [self.left.min(self.right), self.left.max(self.right)]
    }
}

/// The combined decision of all reviewers of two responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The opinion with the most votes. `None` if there is no single one.
    pub opinion: Option<Opinion>,
    /// The edit of the chosen response by the last reviewer with this opinion who edited
    /// it.
    pub edited: Option<&'a str>,
    /// The reviewers, in the order of their decisions.
    pub reviewers: Vec<&'a str>,
    /// The time of the last decision.
    pub time: &'a str,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    n: u64,
    #[serde(flatten)]
    entry: Entry,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Entry {
    Review(Review),
    /// Undoes the review of line `voids`.
    Undo {
        voids: u64,
        reviewer: String,
        time: String,
    },
}

/// The valid reviews of a run: those that were not undone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reviews {
    /// The valid reviews by line number.
    standing: BTreeMap<u64, Review>,
    /// The lines of the valid reviews of each item.
    lines: HashMap<String, Vec<u64>>,
    /// The number of the next line.
    next: u64,
}

impl Reviews {
    /// Reads the reviews of a run; empty if there is no file. Ignores a partial last line.
    ///
    /// # Errors
    /// The file can't be read, or a line is invalid.
    pub fn read(run: &RunDir) -> Result<Self, RunError> {
        Ok(Self::load(&run.path().join(REVIEWS))?.0)
    }

    /// Reads the reviews in a file. Also returns the length of its complete lines.
    fn load(path: &Path) -> Result<(Self, u64), RunError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(RunError::Io { action: "read", path: path.to_owned(), source });
            }
        };
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let mut reviews = Self::default();
        for text in bytes[..end].split_inclusive(|&byte| byte == b'\n') {
            let number = reviews.next + 1;
            let line: Line = serde_json::from_slice(text).map_err(|source| RunError::Review {
                path: path.to_owned(),
                line: number,
                source,
            })?;
            reviews.apply(line).map_err(|wrong| RunError::ReviewOrder {
                path: path.to_owned(),
                line: number,
                wrong,
            })?;
        }
        Ok((reviews, end as u64))
    }

    fn apply(&mut self, line: Line) -> Result<(), &'static str> {
        if line.n != self.next {
            return Err("does not have the next line number");
        }
        match line.entry {
            Entry::Review(review) if review.left == review.right => {
                return Err("compares a response with itself");
            }
            Entry::Review(review) => {
                self.lines.entry(review.key.clone()).or_default().push(line.n);
                self.standing.insert(line.n, review);
            }
            Entry::Undo { voids, .. } => {
                let review =
                    self.standing.remove(&voids).ok_or("undoes a review that does not exist")?;
                if let Some(lines) = self.lines.get_mut(&review.key) {
                    lines.retain(|&line| line != voids);
                }
            }
        }
        self.next += 1;
        Ok(())
    }

    /// The number of lines. Every change increments it.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.next
    }

    /// Returns whether there are no valid reviews.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }

    /// All valid reviews, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Review> {
        self.standing.values()
    }

    /// The valid review of a line.
    #[must_use]
    pub fn line(&self, number: u64) -> Option<&Review> {
        self.standing.get(&number)
    }

    /// The valid reviews of two responses of an item: the last one of each reviewer, in
    /// order.
    #[must_use]
    pub fn on(&self, key: &str, [a, b]: [usize; 2]) -> Vec<&Review> {
        let mut reviews: Vec<&Review> = Vec::new();
        for line in self.lines.get(key).into_iter().flatten() {
            let Some(review) = self.standing.get(line) else { continue };
            if review.answers() == [a.min(b), a.max(b)] {
                reviews.retain(|other| other.reviewer != review.reviewer);
                reviews.push(review);
            }
        }
        reviews
    }

    /// The combined decision about two responses of an item. `None` without reviews.
    #[must_use]
    pub fn decision(&self, key: &str, answers: [usize; 2]) -> Option<Decision<'_>> {
        let reviews = self.on(key, answers);
        let time = &reviews.last()?.time;
        let mut votes: BTreeMap<Opinion, usize> = BTreeMap::new();
        for review in &reviews {
            *votes.entry(review.opinion()).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        let mut leading = votes.into_iter().filter(|&(_, count)| count == most);
        let opinion = match (leading.next(), leading.next()) {
            (Some((opinion, _)), None) => Some(opinion),
            _ => None,
        };
        let mut agreeing = reviews.iter().rev().filter(|review| Some(review.opinion()) == opinion);
        let edited = agreeing.find_map(|review| review.edited.as_deref());
        let reviewers = reviews.iter().map(|review| review.reviewer.as_str()).collect();
        Some(Decision { opinion, edited, reviewers, time })
    }
}

/// The reviews of a run, open for writing.
pub struct ReviewsWriter {
    path: PathBuf,
    file: File,
    /// The length of the complete lines.
    end: u64,
    /// A failed write may have left a partial line after them.
    torn: bool,
    reviews: Reviews,
    // The last field, because fields are dropped in order.
    _lock: Lock,
}

impl ReviewsWriter {
    /// Opens the reviews of a run for appending. Truncates a partial last line.
    ///
    /// # Errors
    /// Another process writes to the file, it can't be written, or a line is invalid.
    pub fn open(run: &RunDir) -> Result<Self, RunError> {
        let path = run.path().join(REVIEWS);
        let lock = Lock::take(run.path(), REVIEWS_LOCK, &path)?;
        let (reviews, end) = Reviews::load(&path)?;
        let io = |action| {
            let path = path.clone();
            move |source| RunError::Io { action, path, source }
        };
        let file = File::options().append(true).create(true).open(&path).map_err(io("open"))?;
        file.set_len(end).map_err(io("truncate"))?;
        atomic::sync_folder(run.path()).map_err(io("sync the folder of"))?;
        Ok(Self { path, file, end, torn: false, reviews, _lock: lock })
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The valid reviews.
    #[must_use]
    pub fn reviews(&self) -> &Reviews {
        &self.reviews
    }

    /// Adds a review with the current time. It is synced to the disk before this returns.
    ///
    /// # Errors
    /// The review can't be written. It then does not count.
    pub fn add(&mut self, review: Review) -> Result<(), RunError> {
        self.write(Entry::Review(Review { time: utc(SystemTime::now()), ..review }))
    }

    /// Undoes the last valid review of a reviewer and returns it. The review stays in the
    /// file; a new line voids it.
    ///
    /// # Errors
    /// The line can't be written. The review then stays valid.
    pub fn undo(&mut self, reviewer: &str) -> Result<Option<Review>, RunError> {
        let last =
            self.reviews.standing.iter().rev().find(|(_, review)| review.reviewer == reviewer);
        let Some((&voids, review)) = last else { return Ok(None) };
        let review = review.clone();
        let (reviewer, time) = (reviewer.to_owned(), utc(SystemTime::now()));
        self.write(Entry::Undo { voids, reviewer, time })?;
        Ok(Some(review))
    }

    fn write(&mut self, entry: Entry) -> Result<(), RunError> {
        let io = |action| {
            let path = self.path.clone();
            move |source| RunError::Io { action, path, source }
        };
        if self.torn {
            self.file.set_len(self.end).map_err(io("truncate"))?;
        }
        let line = Line { n: self.reviews.next, entry };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| io("write to")(error.into()))?;
        bytes.push(b'\n');
        self.torn = true;
        self.file.write_all(&bytes).map_err(io("write to"))?;
        self.file.sync_data().map_err(io("sync"))?;
        self.torn = false;
        self.end += bytes.len() as u64;
        self.reviews.apply(line).map_err(|wrong| RunError::ReviewOrder {
            path: self.path.clone(),
            line: self.reviews.next + 1,
            wrong,
        })
    }
}

#[cfg(test)]
mod tests;
