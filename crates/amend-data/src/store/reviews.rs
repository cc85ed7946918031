//! What people decided about a run's answers: `reviews.jsonl`, an object a line,
//! added to and never changed.
//!
//! A line is a review, or takes one back. Lines are numbered from 0, so a line
//! that is missing or twice there is noticed. One process writes, under a lock of
//! its own: a run can go on while its items are reviewed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::atomic;
use super::lock::Lock;
use super::run_dir::{RunDir, RunError};
use super::time::utc;

/// The file's name in the run directory.
pub const FILE: &str = "reviews.jsonl";
const LOCK: &str = "reviews.lock";

/// What a reviewer chose, of two answers shown side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The answer shown on the left is the better one.
    Left,
    /// The answer shown on the right is.
    Right,
    /// They are as good as one another.
    Tie,
    /// Neither is worth learning from.
    BothBad,
}

/// One person's decision about two answers of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// The item's key.
    pub key: String,
    /// The answer shown on the left, by its number among the item's answers.
    pub left: usize,
    /// The answer shown on the right.
    pub right: usize,
    /// What was chosen.
    pub choice: Choice,
    /// The chosen answer as the reviewer put it right; none where it stayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What else the reviewer has to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Who decided.
    pub reviewer: String,
    /// When, in UTC as RFC 3339 writes it.
    pub time: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// A choice in terms of answers, wherever they were shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opinion {
    /// The answer of this number is the better one.
    Answer(usize),
    /// They are as good as one another.
    Tie,
    /// Neither is worth learning from.
    BothBad,
}

impl Review {
    /// What was chosen, by the answers' numbers.
    #[must_use]
    pub fn opinion(&self) -> Opinion {
        match self.choice {
            Choice::Left => Opinion::Answer(self.left),
            Choice::Right => Opinion::Answer(self.right),
            Choice::Tie => Opinion::Tie,
            Choice::BothBad => Opinion::BothBad,
        }
    }

    /// The two answers, the lower number first.
    #[must_use]
    pub fn answers(&self) -> [usize; 2] {
        [self.left.min(self.right), self.left.max(self.right)]
    }
}

/// What all who looked at two answers come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What more of them chose than anything else; none where no choice leads.
    pub opinion: Option<Opinion>,
    /// The chosen answer as the last of them who edited it has it.
    pub edited: Option<&'a str>,
    /// Who they are, in the order of their decisions.
    pub reviewers: Vec<&'a str>,
    /// When the last of them decided.
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
    /// The review of the line `voids` counts no more.
    Undo {
        voids: u64,
        reviewer: String,
        time: String,
    },
}

/// The reviews of a run that stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reviews {
    /// By the number of their line.
    standing: BTreeMap<u64, Review>,
    /// The lines about an item.
    lines: HashMap<String, Vec<u64>>,
    /// The number of the next line.
    next: u64,
}

impl Reviews {
    /// Reads those of a run; none where nobody reviewed it. A last line that is
    /// still being written, or was cut short, is passed by.
    ///
    /// # Errors
    /// The file can't be read, or a line of it is not sound.
    pub fn read(run: &RunDir) -> Result<Self, RunError> {
        Ok(Self::load(&run.path().join(FILE))?.0)
    }

    /// The reviews in a file, and the length of its whole lines.
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
            reviews.take(line).map_err(|wrong| RunError::ReviewOrder {
                path: path.to_owned(),
                line: number,
                wrong,
            })?;
        }
        Ok((reviews, end as u64))
    }

    fn take(&mut self, line: Line) -> Result<(), &'static str> {
        if line.n != self.next {
            return Err("does not have the number that follows");
        }
        match line.entry {
            Entry::Review(review) if review.left == review.right => {
                return Err("compares an answer with itself");
            }
            Entry::Review(review) => {
                self.lines.entry(review.key.clone()).or_default().push(line.n);
                self.standing.insert(line.n, review);
            }
            Entry::Undo { voids, .. } => {
                let review = self.standing.remove(&voids).ok_or("takes back what is not there")?;
                if let Some(lines) = self.lines.get_mut(&review.key) {
                    lines.retain(|&line| line != voids);
                }
            }
        }
        self.next += 1;
        Ok(())
    }

    /// How many lines there are: a number that every change raises.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.next
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }

    /// All of them, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Review> {
        self.standing.values()
    }

    /// The review of a line, by its number.
    #[must_use]
    pub fn line(&self, number: u64) -> Option<&Review> {
        self.standing.get(&number)
    }

    /// What was decided about two answers of an item: of each reviewer the last
    /// review, in the order in which they were made.
    #[must_use]
    pub fn on(&self, key: &str, [x, y]: [usize; 2]) -> Vec<&Review> {
        let mut found: Vec<&Review> = Vec::new();
        for line in self.lines.get(key).into_iter().flatten() {
            let Some(review) = self.standing.get(line) else { continue };
            if review.answers() == [x.min(y), x.max(y)] {
                found.retain(|other| other.reviewer != review.reviewer);
                found.push(review);
            }
        }
        found
    }

    /// What everybody's reviews of two answers of an item come to; none where
    /// nobody looked at them.
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
        let with_it = reviews.iter().rev().filter(|review| Some(review.opinion()) == opinion);
        let edited = with_it.clone().find_map(|review| review.edited.as_deref());
        let reviewers = reviews.iter().map(|review| review.reviewer.as_str()).collect();
        Some(Decision { opinion, edited, reviewers, time })
    }
}

/// The reviews of a run, as their one writer holds them.
pub struct ReviewsWriter {
    path: PathBuf,
    file: File,
    /// The length of the lines that are on the disk.
    end: u64,
    /// Something may stand behind them, of a write that failed.
    torn: bool,
    reviews: Reviews,
    // Held, and so last: fields are dropped in order.
    _lock: Lock,
}

impl ReviewsWriter {
    /// Opens a run's reviews to add to them. A last line that was cut short is
    /// cut off.
    ///
    /// # Errors
    /// Another process writes to them, they can't be written, or a line is not
    /// sound.
    pub fn open(run: &RunDir) -> Result<Self, RunError> {
        let path = run.path().join(FILE);
        let lock = Lock::take(run.path(), LOCK, &path)?;
        let (reviews, end) = Reviews::load(&path)?;
        let io = |action| {
            let path = path.clone();
            move |source| RunError::Io { action, path, source }
        };
        let file = File::options().append(true).create(true).open(&path).map_err(io("open"))?;
        file.set_len(end).map_err(io("cut"))?;
        atomic::sync_folder(run.path()).map_err(io("sync the folder of"))?;
        Ok(Self { path, file, end, torn: false, reviews, _lock: lock })
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Those that stand.
    #[must_use]
    pub fn reviews(&self) -> &Reviews {
        &self.reviews
    }

    /// Adds a review, made now. It is on the disk when this returns.
    ///
    /// # Errors
    /// It can't be written; then it does not count.
    pub fn add(&mut self, review: Review) -> Result<(), RunError> {
        self.write(Entry::Review(Review { time: utc(SystemTime::now()), ..review }))
    }

    /// Takes back a reviewer's last review that stands, and tells which it was.
    /// It stays in the file, with a line that voids it.
    ///
    /// # Errors
    /// It can't be written; then the review stands.
    pub fn undo(&mut self, reviewer: &str) -> Result<Option<Review>, RunError> {
        let last = self.reviews.standing.iter().rev().find(|(_, one)| one.reviewer == reviewer);
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
            self.file.set_len(self.end).map_err(io("cut"))?;
        }
        let line = Line { n: self.reviews.next, entry };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| io("write to")(error.into()))?;
        bytes.push(b'\n');
        self.torn = true;
        self.file.write_all(&bytes).map_err(io("write to"))?;
        self.file.sync_data().map_err(io("sync"))?;
        self.torn = false;
        self.end += bytes.len() as u64;
        self.reviews.take(line).map_err(|wrong| RunError::ReviewOrder {
            path: self.path.clone(),
            line: self.reviews.next + 1,
            wrong,
        })
    }
}

#[cfg(test)]
mod tests;
