//! The session of one reviewer: the current item, decisions and undo.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::queue::{Candidate, Order, better_left, order, overlaps};
use amend_analysis::agreement::{AgreementFigures, RecordedVerdicts, ReviewerPair};
use amend_core::chat::Message;
use amend_core::constitution::Constitution;
use amend_core::random::Stream;
use amend_core::text::word_diff::{Part, changes};
use amend_data::pairs::judgement::{Judgement, Rules};
use amend_data::pairs::reviewable;
use amend_data::store::reviews::{Choice, Review, Reviews, ReviewsWriter};
use amend_data::store::run_dir::{RunDir, RunError};
use amend_data::store::trajectories::Trajectory;

/// The longest edited answer or comment, in bytes.
const MAX_TEXT: usize = 256 << 10;
/// The largest number of tags of a review.
const MAX_TAGS: usize = 16;
/// The longest tag, in bytes.
const MAX_TAG: usize = 64;
/// The longest time of a review in seconds, which is thirty days.
const MAX_SECONDS: f64 = 2_592_000.0;

/// The options of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewOptions {
    /// The reviewer's name.
    pub reviewer: String,
    /// The order of the items.
    pub order: Order,
    /// The largest number of items, including those decided before.
    pub limit: Option<usize>,
    /// The share of items that every reviewer sees. Other items are left out once
    /// another reviewer has decided them.
    pub overlap: f64,
    /// The seed of all random draws.
    pub seed: u64,
}

/// A running review session.
pub struct ReviewSession {
    writer: ReviewsWriter,
    reviewer: String,
    /// The items, those that were decided before first.
    tasks: Vec<Task>,
    /// The index of each task, by its item's key.
    places: HashMap<String, usize>,
    /// The indices of the tasks that this reviewer has not decided.
    undecided: BTreeSet<usize>,
    /// Draws the side on which an answer is shown.
    sides: Stream,
}

/// An item to review.
#[derive(Debug, Clone)]
struct Task {
    key: String,
    id: Option<String>,
    messages: Vec<Message>,
    /// The numbers of the two answers, the one that the loop prefers first.
    answers: [usize; 2],
    texts: [String; 2],
    opinion: ModelsOpinion,
}

/// The model's opinion, which the reviewer must not see before deciding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelsOpinion {
    /// The number of the answer that the loop prefers.
    better: usize,
    principles: Vec<PrincipleOpinion>,
    critique: Option<String>,
    /// The judge's log-odds for that answer. `None` if it was not asked.
    margin: Option<f64>,
    /// Whether the judge says that it is a tie.
    tied: bool,
    /// Whether the judge favours neither.
    undecided: bool,
}

/// A principle under which an answer was revised, and the judge's opinion by it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct PrincipleOpinion {
    title: String,
    category: String,
    principle: String,
    /// The judge's log-odds under this principle.
    margin: Option<f64>,
}

/// The state that a page shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View<'a> {
    /// A number that every change raises. A page that sends an old one is out of date.
    pub counter: u64,
    pub reviewer: &'a str,
    pub done: usize,
    pub total: usize,
    /// The current item. `None` at the end.
    pub item: Option<Shown<'a>>,
    /// The agreement between reviewers, at the end.
    pub agreement: Vec<ReviewerPair>,
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
    /// The parts of both answers: the left answer is all parts except the added ones,
    /// the right answer all except the removed ones.
    pub parts: Vec<Part>,
}

/// A decision as a page sends it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewSubmission {
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

/// Why a decision was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("this page is out of date: the review continued in another tab. Nothing was recorded.")]
    Stale,
    #[error(transparent)]
    Failed(#[from] RunError),
}

impl ReviewSession {
    /// Opens a run's reviews and builds the reviewer's queue.
    ///
    /// # Errors
    /// The run can't be read, or another process has its reviews open.
    pub fn open(run: &RunDir, options: &ReviewOptions) -> Result<Self, RunError> {
        let writer = ReviewsWriter::open(run)?;
        let constitution = &run.manifest().constitution.value;
        let rules = Rules::from_run(run);
        let stream = Stream::new(options.seed).child("review");
        let me = options.reviewer.as_str();
        let mut candidates = Vec::new();
        for trajectory in run.trajectories()? {
            let trajectory = trajectory?;
            let Ok((answers, pair)) = reviewable(&trajectory, &rules) else { continue };
            let key = &trajectory.item.key;
            let reviews = writer.reviews().on(key, answers);
            if reviews.iter().any(|review| review.reviewer == me) {
                continue;
            }
            let is_shared = overlaps(key, options.overlap, stream.child("overlap"));
            if !reviews.is_empty() && !is_shared {
                continue;
            }
            let judgement = rules.on(&trajectory.steps, answers);
            candidates.push(Candidate {
                key: key.clone(),
                answers,
                category: constitution
                    .categories(&pair.principles)
                    .first()
                    .copied()
                    .unwrap_or_default()
                    .to_owned(),
                margin: judgement.as_ref().map(|judgement| judgement.decisive.margin),
                principles: judgement
                    .map(|judgement| {
                        judgement.principles.iter().map(|(_, under)| under.margin).collect()
                    })
                    .unwrap_or_default(),
            });
        }
        let mut keys = reviewed_keys(writer.reviews(), me);
        let mine = keys.len();
        let ordered = order(candidates, options.order, stream.child("order"));
        keys.extend(ordered.into_iter().map(|candidate| candidate.key));
        let most = options.limit.unwrap_or(usize::MAX).max(mine);
        keys.truncate(most);
        let tasks = tasks(run, &rules, &keys)?;
        let places = tasks.iter().enumerate().map(|(at, task)| (task.key.clone(), at)).collect();
        let mut session = Self {
            tasks,
            places,
            undecided: BTreeSet::new(),
            writer,
            reviewer: options.reviewer.clone(),
            sides: stream.child("sides").child(me),
        };
        session.undecided = (0..session.tasks.len()).filter(|&at| !session.is_done(at)).collect();
        Ok(session)
    }

    /// The number of decided items and of all items.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.tasks.len() - self.undecided.len(), self.tasks.len())
    }

    /// The agreement between reviewers of the same items.
    #[must_use]
    pub fn agreement(&self) -> Vec<ReviewerPair> {
        AgreementFigures::from_reviews(self.writer.reviews(), &RecordedVerdicts::default()).between
    }

    /// The state to show.
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

    /// Records a decision and returns the model's opinion of the item. A decision that
    /// is sent again is not recorded again.
    pub(super) fn decide(
        &mut self,
        submission: ReviewSubmission,
    ) -> Result<&ModelsOpinion, Refusal> {
        check(&submission)?;
        let review = Review {
            key: submission.key,
            left: submission.left,
            right: submission.right,
            choice: submission.choice,
            edited: submission.edited,
            tags: submission.tags,
            comment: submission.comment,
            reviewer: self.reviewer.clone(),
            time: String::new(),
            seconds: submission.seconds,
        };
        let task = self.places.get(&review.key).copied();
        let task = task.ok_or(Refusal::Invalid("the session has no such item"))?;
        let reviews = self.writer.reviews();
        if submission.counter != reviews.counter() {
            let recorded = reviews.line(submission.counter).cloned();
            let recorded = recorded.map(|recorded| Review { time: String::new(), ..recorded });
            if recorded.as_ref() == Some(&review) {
                return Ok(&self.tasks[task].opinion);
            }
            return Err(Refusal::Stale);
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
        self.undecided.remove(&task);
        Ok(&self.tasks[task].opinion)
    }

    /// Undoes the reviewer's last decision and returns it, so that the page can
    /// restore it.
    pub(super) fn undo(&mut self, counter: u64) -> Result<Option<Review>, Refusal> {
        if counter != self.writer.reviews().counter() {
            return Err(Refusal::Stale);
        }
        let review = self.writer.undo(&self.reviewer)?;
        let key = review.as_ref().map(|review| review.key.as_str());
        if let Some(&task) = key.and_then(|key| self.places.get(key))
            && !self.is_done(task)
        {
            self.undecided.insert(task);
        }
        Ok(review)
    }

    /// The current item, and whether the answer that the loop prefers is on the left.
    fn current(&self) -> Option<(&Task, bool)> {
        let task = &self.tasks[*self.undecided.first()?];
        let (done, _) = self.progress();
        Some((task, better_left(done, self.sides)))
    }

    /// Whether this reviewer has decided the task of this index.
    fn is_done(&self, task: usize) -> bool {
        let task = &self.tasks[task];
        let reviews = self.writer.reviews().on(&task.key, task.answers);
        reviews.iter().any(|review| review.reviewer == self.reviewer)
    }
}

/// Checks the limits that the page keeps but another client might not.
fn check(submission: &ReviewSubmission) -> Result<(), Refusal> {
    let invalid = |message| Err(Refusal::Invalid(message));
    match &submission.edited {
        Some(_) if !matches!(submission.choice, Choice::Left | Choice::Right) => {
            return invalid("only a chosen answer can be edited");
        }
        Some(text) if text.trim().is_empty() => return invalid("the edited answer is blank"),
        Some(text) if text.len() > MAX_TEXT => return invalid("the edited answer is too long"),
        _ => {}
    }
    if submission.comment.len() > MAX_TEXT {
        return invalid("the comment is too long");
    }
    if submission.tags.len() > MAX_TAGS {
        return invalid("there are too many tags");
    }
    let fits = |tag: &String| !tag.trim().is_empty() && tag.len() <= MAX_TAG;
    if !submission.tags.iter().all(fits) {
        return invalid("a tag is blank or too long");
    }
    if !(0.0..=MAX_SECONDS).contains(&submission.seconds) {
        return invalid("the time is negative or longer than thirty days");
    }
    Ok(())
}

/// The keys of the items that a reviewer has decided, in the order of the last
/// decision on each.
fn reviewed_keys(reviews: &Reviews, reviewer: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    let own: Vec<&Review> = reviews.iter().filter(|review| review.reviewer == reviewer).collect();
    for review in own.into_iter().rev() {
        if seen.insert(&review.key) {
            keys.push(review.key.clone());
        }
    }
    keys.reverse();
    keys
}

/// The items of these keys, in their order.
fn tasks(run: &RunDir, rules: &Rules, keys: &[String]) -> Result<Vec<Task>, RunError> {
    let places: HashMap<&str, usize> =
        keys.iter().enumerate().map(|(at, key)| (key.as_str(), at)).collect();
    let mut tasks: Vec<(usize, Task)> = Vec::new();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        if let Some(&place) = places.get(trajectory.item.key.as_str())
            && let Some(task) =
                Task::from_trajectory(&trajectory, rules, &run.manifest().constitution.value)
        {
            tasks.push((place, task));
        }
    }
    tasks.sort_by_key(|&(place, _)| place);
    Ok(tasks.into_iter().map(|(_, task)| task).collect())
}

impl Task {
    fn from_trajectory(
        trajectory: &Trajectory,
        rules: &Rules,
        constitution: &Constitution,
    ) -> Option<Self> {
        let (answers, pair) = reviewable(trajectory, rules).ok()?;
        let judgement = rules.on(&trajectory.steps, answers);
        let principles = pair.principles.iter();
        let opinion = ModelsOpinion {
            better: answers[0],
            principles: principles
                .map(|id| PrincipleOpinion::new(id, constitution, judgement.as_ref()))
                .collect(),
            critique: pair.reason().map(str::to_owned),
            margin: judgement.as_ref().map(|judgement| judgement.decisive.margin),
            tied: judgement.as_ref().is_some_and(|judgement| judgement.decisive.tied),
            undecided: judgement.as_ref().is_some_and(|judgement| judgement.decisive.undecided),
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

impl PrincipleOpinion {
    fn new(id: &str, constitution: &Constitution, judgement: Option<&Judgement>) -> Self {
        let mut verdicts = judgement.into_iter().flat_map(|judgement| &judgement.principles);
        let margin = verdicts.find(|(other, _)| other == id).map(|(_, verdict)| verdict.margin);
        let (title, category, principle) = match constitution.principle(id) {
            Some(found) => (found.title.clone(), found.category.clone(), found.principle.clone()),
            None => (id.to_owned(), String::new(), String::new()),
        };
        Self { title, category, principle, margin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::record::{Outcome, StepKind, Stop};
    use amend_data::store::journal::Record;
    use amend_data::testing::{item, manifest, review, step};

    /// A run of items that each have an answer and a revision.
    fn run(folder: &std::path::Path, keys: &[&str]) -> RunDir {
        let mut run = RunDir::create(folder, &manifest()).unwrap();
        for key in keys {
            for (kind, text) in [(StepKind::Generate, "one"), (StepKind::Revise, "two")] {
                let step = step(kind, Some("kind"), text);
                run.append(&Record::Step { item: (*key).to_owned(), step }).unwrap();
            }
            let outcome = Outcome::Done { stop: Stop::Rounds };
            run.append(&Record::End { item: item(key), outcome }).unwrap();
        }
        run.dir().clone()
    }

    fn open(run: &RunDir) -> ReviewSession {
        let options = ReviewOptions {
            reviewer: "ada".to_owned(),
            order: Order::Random,
            limit: None,
            overlap: 1.0,
            seed: 1,
        };
        ReviewSession::open(run, &options).unwrap()
    }

    /// Decides the current item and returns its key.
    fn decide(session: &mut ReviewSession) -> String {
        let view = session.view();
        let shown = view.item.expect("an undecided item");
        let key = shown.key.to_owned();
        let submission = ReviewSubmission {
            counter: view.counter,
            key: key.clone(),
            left: shown.left,
            right: shown.right,
            choice: Choice::Left,
            edited: None,
            tags: Vec::new(),
            comment: String::new(),
            seconds: 1.0,
        };
        session.decide(submission).unwrap();
        key
    }

    fn undo(session: &mut ReviewSession) -> Option<String> {
        let counter = session.view().counter;
        session.undo(counter).unwrap().map(|review| review.key)
    }

    #[test]
    fn progress_follows_decisions_and_undos() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path(), &["a", "b", "c"]);
        let mut session = open(&run);
        assert_eq!((session.progress(), undo(&mut session)), ((0, 3), None));
        let first = decide(&mut session);
        let second = decide(&mut session);
        assert_eq!(session.progress(), (2, 3));
        assert_eq!(undo(&mut session), Some(second.clone()));
        assert_eq!(undo(&mut session), Some(first.clone()));
        assert_eq!(session.progress(), (0, 3));
        assert_eq!([decide(&mut session), decide(&mut session)], [first.clone(), second.clone()]);
        let third = decide(&mut session);
        assert_eq!((session.progress(), session.view().item), ((3, 3), None));
        drop(session);

        // The next session starts with the decided items in the order of decision.
        let mut session = open(&run);
        assert_eq!(session.progress(), (3, 3));
        assert_eq!(undo(&mut session), Some(third.clone()));
        assert_eq!(decide(&mut session), third);
        let keys: Vec<&String> = session.tasks.iter().map(|task| &task.key).collect();
        assert_eq!(keys, [&first, &second, &third]);
    }

    #[test]
    fn reviewed_keys_are_in_the_order_of_the_last_decision() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ReviewsWriter::open(&run(folder.path(), &[])).unwrap();
        for (key, reviewer) in
            [("a", "ada"), ("b", "ada"), ("c", "bob"), ("d", "ada"), ("a", "ada")]
        {
            writer.add(review(key, reviewer, Choice::Tie)).unwrap();
        }
        assert_eq!(reviewed_keys(writer.reviews(), "ada"), ["b", "d", "a"]);
        assert_eq!(reviewed_keys(writer.reviews(), "bob"), ["c"]);
    }
}
