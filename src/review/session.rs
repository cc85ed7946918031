//! One reviewer's way through a queue: what is shown, and what becomes of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::queue::{Candidate, Order, better_left, order, overlaps};
use amend_analysis::agreement::{Between, Figures, Verdicts};
use amend_core::chat::Message;
use amend_core::random::Stream;
use amend_core::text::word_diff::{Part, changes};
use amend_data::pairs::judgement::{Judgement, Rules};
use amend_data::pairs::{Categories, reviewable};
use amend_data::store::reviews::{Choice, Review, ReviewsWriter};
use amend_data::store::run_dir::{RunDir, RunError};
use amend_data::store::trajectories::Trajectory;

/// The longest edited answer or comment, in bytes.
const MAX_TEXT: usize = 256 << 10;
/// The most tags of a review.
const MAX_TAGS: usize = 16;
/// The longest tag, in bytes.
const MAX_TAG: usize = 64;
/// The longest time of a review, in seconds: thirty days.
const MAX_SECONDS: f64 = 2_592_000.0;

/// Who reviews, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The reviewer's name.
    pub reviewer: String,
    /// Which items come first.
    pub order: Order,
    /// The most items, those decided already among them.
    pub limit: Option<usize>,
    /// The share of items that every reviewer decides about; of the others, those
    /// that somebody else has decided are left out.
    pub overlap: f64,
    /// Decides what is left to chance.
    pub seed: u64,
}

/// A review under way.
pub struct Session {
    writer: ReviewsWriter,
    reviewer: String,
    /// Items, those decided already first.
    tasks: Vec<Task>,
    /// Decides on which side an answer stands.
    sides: Stream,
}

/// An item to decide about.
#[derive(Debug, Clone)]
struct Task {
    key: String,
    id: Option<String>,
    messages: Vec<Message>,
    /// The answers' numbers: the one that the loop has as the better one, and the
    /// other.
    answers: [usize; 2],
    texts: [String; 2],
    opinion: ModelsOpinion,
}

/// What the reviewer is not to know before deciding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelsOpinion {
    /// The answer that the loop has as the better one, by its number.
    better: usize,
    principles: Vec<Principle>,
    critique: Option<String>,
    /// The judge's log-odds for that answer; none where it was not asked.
    margin: Option<f64>,
    /// Whether the judge is undecided.
    undecided: bool,
}

/// A principle that an answer was revised under.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Principle {
    title: String,
    category: String,
    principle: String,
    /// The judge's log-odds under it.
    margin: Option<f64>,
}

/// What a page shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View<'a> {
    /// Raised by every change: a page that names an old one is out of date.
    pub counter: u64,
    pub reviewer: &'a str,
    pub done: usize,
    pub total: usize,
    /// The item to decide about; none at the end.
    pub item: Option<Shown<'a>>,
    /// At the end, how far this reviewer and the others agree.
    pub agreement: Vec<Between>,
}

/// An item on a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown<'a> {
    pub key: &'a str,
    pub id: Option<&'a str>,
    pub messages: &'a [Message],
    /// The number of the answer on the left.
    pub left: usize,
    /// The number of the answer on the right.
    pub right: usize,
    /// The left answer is made of the parts that are not added, the right one of
    /// those that are not removed.
    pub parts: Vec<Part>,
}

/// What a page sends.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    pub counter: u64,
    pub key: String,
    pub left: usize,
    pub right: usize,
    pub choice: Choice,
    pub edited: Option<String>,
    pub tags: Vec<String>,
    pub comment: String,
    pub seconds: f64,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("this page is out of date: the review has gone on elsewhere. Nothing was recorded.")]
    Stale,
    #[error(transparent)]
    Failed(#[from] RunError),
}

impl Session {
    /// Opens a run's reviews and puts the reviewer's queue together.
    ///
    /// # Errors
    /// The run can't be read, or somebody else reviews it.
    pub fn open(run: &RunDir, options: &Options) -> Result<Self, RunError> {
        let writer = ReviewsWriter::open(run)?;
        let constitution = &run.manifest().constitution.value;
        let rules = Rules::of(constitution);
        let stream = Stream::new(options.seed).child("review");
        let me = options.reviewer.as_str();
        let categories = Categories::new(constitution);
        let mut left = Vec::new();
        for trajectory in run.trajectories()? {
            let trajectory = trajectory?;
            let Ok((answers, pair)) = reviewable(&trajectory, &rules) else { continue };
            let key = &trajectory.item.key;
            let reviews = writer.reviews().on(key, answers);
            let is_mine = reviews.iter().any(|review| review.reviewer == me);
            let free = || overlaps(key, options.overlap, stream.child("overlap"));
            if is_mine || !(reviews.is_empty() || free()) {
                continue;
            }
            let judgement = rules.on(&trajectory.steps, answers);
            left.push(Candidate {
                key: key.clone(),
                answers,
                category: categories.of(&pair.principles).first().copied().unwrap_or("").to_owned(),
                margin: judgement.as_ref().map(|found| found.decisive.margin),
                principles: judgement
                    .map(|found| found.principles.iter().map(|(_, under)| under.margin).collect())
                    .unwrap_or_default(),
            });
        }
        let mut keys: Vec<String> = Vec::new();
        for review in writer.reviews().iter().filter(|review| review.reviewer == me) {
            keys.retain(|key| *key != review.key);
            keys.push(review.key.clone());
        }
        let mine = keys.len();
        let ordered = order(left, options.order, stream.child("order"));
        keys.extend(ordered.into_iter().map(|one| one.key));
        let most = options.limit.unwrap_or(usize::MAX).max(mine);
        keys.truncate(most);
        Ok(Self {
            tasks: tasks(run, &rules, &keys)?,
            writer,
            reviewer: options.reviewer.clone(),
            sides: stream.child("sides").child(me),
        })
    }

    /// How many items are decided, and how many there are.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.tasks.iter().filter(|task| self.is_done(task)).count(), self.tasks.len())
    }

    /// How far those agree who decided about the same items.
    #[must_use]
    pub fn agreement(&self) -> Vec<Between> {
        Figures::of(self.writer.reviews(), &Verdicts::default()).between
    }

    /// What is to be shown.
    pub(super) fn view(&self) -> View<'_> {
        let (done, total) = self.progress();
        let item = self.current().map(|(task, better_left)| {
            let (left, right) = if better_left { (0, 1) } else { (1, 0) };
            Shown {
                key: &task.key,
                id: task.id.as_deref(),
                messages: &task.messages,
                left: task.answers[left],
                right: task.answers[right],
                parts: changes(&task.texts[left], &task.texts[right]),
            }
        });
        let agreement = if item.is_some() { Vec::new() } else { self.agreement() };
        let counter = self.writer.reviews().counter();
        View { counter, reviewer: &self.reviewer, done, total, item, agreement }
    }

    /// Records a decision, once however often it is sent, and tells what the model
    /// made of the item.
    pub(super) fn decide(&mut self, given: Submission) -> Result<&ModelsOpinion, Refusal> {
        check(&given)?;
        let review = Review {
            key: given.key,
            left: given.left,
            right: given.right,
            choice: given.choice,
            edited: given.edited,
            tags: given.tags,
            comment: given.comment,
            reviewer: self.reviewer.clone(),
            time: String::new(),
            seconds: given.seconds,
        };
        let task = self.tasks.iter().position(|task| task.key == review.key);
        let task = task.ok_or(Refusal::Invalid("there is no such item to review"))?;
        let reviews = self.writer.reviews();
        if given.counter != reviews.counter() {
            let again = |found: &Review| Review { time: String::new(), ..found.clone() } == review;
            return match reviews.line(given.counter).is_some_and(again) {
                true => Ok(&self.tasks[task].opinion),
                false => Err(Refusal::Stale),
            };
        }
        let shown = self.current().is_some_and(|(task, better_left)| {
            let [better, other] = task.answers;
            let shown = if better_left { [better, other] } else { [other, better] };
            (task.key.as_str(), shown) == (review.key.as_str(), [review.left, review.right])
        });
        if !shown {
            return Err(Refusal::Stale);
        }
        self.writer.add(review)?;
        Ok(&self.tasks[task].opinion)
    }

    /// Takes the last decision back, and gives it for the page to start from.
    pub(super) fn undo(&mut self, counter: u64) -> Result<Option<Review>, Refusal> {
        if counter != self.writer.reviews().counter() {
            return Err(Refusal::Stale);
        }
        Ok(self.writer.undo(&self.reviewer)?)
    }

    /// The item to decide about, and whether its better answer stands on the left.
    fn current(&self) -> Option<(&Task, bool)> {
        let task = self.tasks.iter().find(|task| !self.is_done(task))?;
        let (done, _) = self.progress();
        Some((task, better_left(done, self.sides)))
    }

    fn is_done(&self, task: &Task) -> bool {
        let reviews = self.writer.reviews().on(&task.key, task.answers);
        reviews.iter().any(|review| review.reviewer == self.reviewer)
    }
}

/// Checks what is sent for what no page of ours sends.
fn check(given: &Submission) -> Result<(), Refusal> {
    let wrong = |message| Err(Refusal::Invalid(message));
    match &given.edited {
        Some(_) if !matches!(given.choice, Choice::Left | Choice::Right) => {
            return wrong("only a chosen answer can be edited");
        }
        Some(text) if text.trim().is_empty() => return wrong("the edited answer is blank"),
        Some(text) if text.len() > MAX_TEXT => return wrong("the edited answer is too long"),
        _ => {}
    }
    if given.comment.len() > MAX_TEXT {
        return wrong("the comment is too long");
    }
    if given.tags.len() > MAX_TAGS {
        return wrong("there are too many tags");
    }
    let fits = |tag: &String| !tag.trim().is_empty() && tag.len() <= MAX_TAG;
    if !given.tags.iter().all(fits) {
        return wrong("a tag is blank or too long");
    }
    if !(0.0..=MAX_SECONDS).contains(&given.seconds) {
        return wrong("the seconds are no sensible number");
    }
    Ok(())
}

/// The items of these keys, in their order.
fn tasks(run: &RunDir, rules: &Rules, keys: &[String]) -> Result<Vec<Task>, RunError> {
    let places: std::collections::HashMap<&str, usize> =
        keys.iter().enumerate().map(|(at, key)| (key.as_str(), at)).collect();
    let mut tasks: Vec<(usize, Task)> = Vec::new();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        if let Some(&place) = places.get(trajectory.item.key.as_str())
            && let Some(task) = Task::of(&trajectory, rules, &run.manifest().constitution.value)
        {
            tasks.push((place, task));
        }
    }
    tasks.sort_by_key(|&(place, _)| place);
    Ok(tasks.into_iter().map(|(_, task)| task).collect())
}

impl Task {
    fn of(trajectory: &Trajectory, rules: &Rules, constitution: &Value) -> Option<Self> {
        let (answers, pair) = reviewable(trajectory, rules).ok()?;
        let judgement = rules.on(&trajectory.steps, answers);
        let principles = pair.principles.iter();
        let opinion = ModelsOpinion {
            better: answers[0],
            principles: principles
                .map(|id| Principle::of(id, constitution, judgement.as_ref()))
                .collect(),
            critique: pair.reason().map(str::to_owned),
            margin: judgement.as_ref().map(|found| found.decisive.margin),
            undecided: judgement.as_ref().is_some_and(|found| found.decisive.undecided),
        };
        let texts = [pair.chosen.text.clone(), pair.rejected.text.clone()];
        let item = &trajectory.item;
        Some(Self {
            key: item.key.clone(),
            id: item.id.clone(),
            messages: item.messages.clone(),
            answers,
            texts,
            opinion,
        })
    }
}

impl Principle {
    fn of(id: &str, constitution: &Value, judgement: Option<&Judgement>) -> Self {
        let all = constitution["principles"].as_array().map_or(&[][..], Vec::as_slice);
        let found = all.iter().find(|principle| principle["id"] == id);
        let text = |key: &str| {
            let value = found.and_then(|principle| principle[key].as_str());
            value.unwrap_or_default().to_owned()
        };
        let title = text("title");
        let mut verdicts = judgement.into_iter().flat_map(|found| &found.principles);
        Self {
            title: if title.is_empty() { id.to_owned() } else { title },
            category: text("category"),
            principle: text("principle"),
            margin: verdicts.find(|(other, _)| other == id).map(|(_, under)| under.margin),
        }
    }
}
