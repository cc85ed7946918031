//! Tests of whole runs on the scripted engine, into real run directories.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::path::Path;

use proptest::prelude::*;

use super::left;
use crate::store::journal::{Record, State};
use crate::store::manifest::Manifest;
use crate::store::run_dir::{RunDir, RunWriter};
use crate::store::trajectories::Trajectory as Recorded;
use crate::testing::manifest;
use amend_core::chat::{Message, Role};
use amend_core::constitution::Constitution;
use amend_core::driver::{DriveError, Ended, Engines, Job, Observer, Work, drive};
use amend_core::model::{Engine, Failure, Scripted};
use amend_core::procedure::{ItemLoop, Procedure};
use amend_core::prompt::Delimiter;
use amend_core::record::{Item, Keys, Outcome, Step, StepKind, Stop};
use std::sync::Arc;

fn job(rounds: u32, critique: bool) -> Job {
    let mut constitution = amend_core::constitution::load("harmless").unwrap().constitution;
    constitution.plan.rounds = rounds;
    constitution.plan.critique = critique;
    constitution.plan.few_shot = 0;
    let fence = Delimiter::new("3f9c2a81").unwrap();
    Job::new(Procedure::Revise { judging: false }, constitution, None, fence, 7).unwrap()
}

/// Items with different questions. The rows in `given` come with an answer.
fn items(count: u64, given: &[u64]) -> Vec<Item> {
    let mut keys = Keys::default();
    (1..=count)
        .map(|row| {
            let messages = vec![Message::new(Role::User, format!("Question {row}?"))];
            let response = given.contains(&row).then(|| format!("An answer to {row}."));
            let key = keys.next(&messages, response.as_deref(), None);
            let metadata = serde_json::Map::new();
            Item { key, row, id: None, messages, response, response_b: None, metadata }
        })
        .collect()
}

/// An engine whose answers are a pure function of the prompt. There are few different
/// texts, so that some revisions change nothing. If `failing` is not 0, one of `failing`
/// requests fails.
fn engine(failing: u64) -> Scripted {
    Scripted::new(move |request| {
        let mut hasher = DefaultHasher::new();
        for turn in &request.turns {
            turn.content.hash(&mut hasher);
        }
        let number = hasher.finish();
        if failing != 0 && number.is_multiple_of(failing) {
            return Err(Failure::NotFinite);
        }
        Ok(format!("Text number {}.", number % 5))
    })
}

/// The process is killed before the next record, as by a signal.
#[derive(Debug)]
struct Killed;

/// Writes the journal until the process is "killed".
struct Recorder {
    run: RunWriter,
    /// The number of records until then.
    left: usize,
}

impl Recorder {
    fn append(&mut self, record: &Record) -> Result<(), Killed> {
        self.left = self.left.checked_sub(1).ok_or(Killed)?;
        self.run.append(record).unwrap();
        Ok(())
    }
}

impl Observer for Recorder {
    type Error = Killed;

    fn step(&mut self, trajectory: &ItemLoop, step: &Step) -> Result<(), Killed> {
        let item = trajectory.item().key.clone();
        self.append(&Record::Step { item, step: step.clone() })
    }

    fn cohort(&mut self) -> Result<(), Killed> {
        self.append(&Record::Cohort {})
    }

    fn settled(&mut self) -> Result<(), Killed> {
        self.run.commit().unwrap();
        Ok(())
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), Killed> {
        let item = Item::clone(trajectory.item());
        self.append(&Record::End { item, outcome })
    }
}

/// One process's part of a run: creates or resumes the directory and continues to the
/// end, or until `records` records are written. Returns whether it reached the end.
fn part(path: &Path, job: &Job, items: &[Item], engine: &mut Scripted, records: usize) -> bool {
    let manifest = Manifest { reproducible: job.cohorts, ..manifest() };
    let (run, mut state) = if path.exists() {
        RunDir::resume(path, &manifest).unwrap()
    } else {
        (RunDir::create(path, &manifest).unwrap(), State::default())
    };
    let work = left(items.to_vec(), &mut state, false);
    let mut recorder = Recorder { run, left: records };
    match drive(engine, job, work, &mut recorder) {
        Ok(Ended::Done) => true,
        Err(DriveError::Observer(Killed)) => false,
        result => panic!("{result:?}"),
    }
}

/// The trajectories in a run's journal, by item. Each item has ended once.
fn recorded(path: &Path) -> BTreeMap<String, Recorded> {
    let mut all = BTreeMap::new();
    for trajectory in RunDir::open(path).unwrap().trajectories().unwrap() {
        let trajectory = trajectory.unwrap();
        let key = trajectory.item.key.clone();
        assert!(all.insert(key.clone(), trajectory).is_none(), "{key} ended twice");
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A run that is killed between any two records, any number of times, and resumed
    /// has the items, steps and outcomes of an uninterrupted run.
    #[test]
    fn killed_and_resumed_run_equals_an_uninterrupted_one(
        count in 1_u64..8,
        given in prop::collection::vec(1_u64..8, 0..3),
        rounds in 1_u32..4,
        critique in any::<bool>(),
        failing in prop::sample::select(vec![0_u64, 3, 9]),
        kills in prop::collection::vec(0_usize..12, 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (job, items) = (job(rounds, critique), items(count, &given));
        let keys: BTreeSet<&String> = items.iter().map(|item| &item.key).collect();
        let whole = folder.path().join("whole");
        prop_assert!(part(&whole, &job, &items, &mut engine(failing), usize::MAX));
        let whole = recorded(&whole);
        prop_assert!(whole.keys().eq(keys));

        let resumed = folder.path().join("resumed");
        for records in kills {
            part(&resumed, &job, &items, &mut engine(failing), records);
        }
        prop_assert!(part(&resumed, &job, &items, &mut engine(failing), usize::MAX));
        prop_assert_eq!(recorded(&resumed), whole);
        // Nothing is left to do, so resuming again adds nothing.
        let length = std::fs::metadata(resumed.join("journal.jsonl")).unwrap().len();
        prop_assert!(part(&resumed, &job, &items, &mut engine(1), 0));
        prop_assert_eq!(std::fs::metadata(resumed.join("journal.jsonl")).unwrap().len(), length);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// With cohorts, the journal has the same bytes as that of an uninterrupted run.
    #[test]
    fn resumed_run_in_cohorts_equals_an_uninterrupted_one_byte_for_byte(
        count in 1_u64..12,
        given in prop::collection::vec(1_u64..12, 0..3),
        rounds in 1_u32..3,
        failing in prop::sample::select(vec![0_u64, 3, 9]),
        kills in prop::collection::vec(0_usize..24, 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let job = Job { cohorts: true, ..job(rounds, true) };
        let items = items(count, &given);
        let bytes = |path: &Path| std::fs::read(path.join("journal.jsonl")).unwrap();
        let whole = folder.path().join("whole");
        prop_assert!(part(&whole, &job, &items, &mut engine(failing), usize::MAX));
        let resumed = folder.path().join("resumed");
        for records in kills {
            part(&resumed, &job, &items, &mut engine(failing), records);
        }
        prop_assert!(part(&resumed, &job, &items, &mut engine(failing), usize::MAX));
        prop_assert!(bytes(&resumed) == bytes(&whole));
        let cohorts = count.div_ceil(engine(0).width() as u64) as usize;
        let text = String::from_utf8(bytes(&whole)).unwrap();
        prop_assert_eq!(text.matches(r#""type":"cohort""#).count(), cohorts);
    }
}

#[test]
fn work_shares_the_items_it_is_made_of() {
    let items: Vec<Arc<Item>> = items(3, &[]).into_iter().map(Arc::new).collect();
    let mut state = State::default();
    let work: Vec<Work> = left(items.iter().cloned(), &mut state, false).collect();
    assert!(work.iter().zip(&items).all(|(work, item)| Arc::ptr_eq(&work.item, item)));
}

#[test]
fn failed_item_leaves_the_others_and_can_be_retried() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let (job, items) = (job(1, true), items(6, &[2]));
    let mut failing = Scripted::new(|request| {
        let text = &request.turns.last().unwrap().content;
        if text.contains("Question 3?") || text.contains("Question 5?") {
            return Err(Failure::NotFinite);
        }
        Ok(format!("Text {}.", request.turns.len()))
    });
    assert!(part(&path, &job, &items, &mut failing, usize::MAX));
    let before = recorded(&path);
    let outcomes: Vec<&Outcome> = items.iter().map(|item| &before[&item.key].outcome).collect();
    let done = Outcome::Done { stop: Stop::Rounds };
    let failed = Outcome::Failed { failure: Failure::NotFinite };
    assert_eq!(outcomes, [&done, &done, &failed, &done, &failed, &done]);

    // The answer that came with the input is the first step, without a model call.
    let first = &before[&items[1].key].steps[0];
    assert_eq!((first.text.as_str(), first.finish), ("An answer to 2.", None));
    assert_eq!(first.usage, amend_core::model::Usage::default());

    // Without a retry, failed items count as ended.
    let (mut run, mut state) = RunDir::resume(&path, &manifest()).unwrap();
    assert_eq!(left(items.clone(), &mut state, false).count(), 0);
    let work: Vec<Work> = left(items.clone(), &mut state, true).collect();
    let rows: Vec<u64> = work.iter().map(|work| work.item.row).collect();
    assert_eq!(rows, [3, 5]);
    for work in &work {
        run.append(&Record::Retry { item: work.item.key.clone() }).unwrap();
    }
    // The second attempt is killed, and a third one finishes it.
    drop(run);
    assert!(!part(&path, &job, &items, &mut engine(0), 3));
    assert!(part(&path, &job, &items, &mut engine(0), usize::MAX));
    let after = recorded(&path);
    assert_eq!(after.len(), 6);
    assert!(after.values().all(|trajectory| matches!(trajectory.outcome, Outcome::Done { .. })));
    for item in [&items[0], &items[1], &items[3], &items[5]] {
        assert_eq!(after[&item.key], before[&item.key]);
    }
}

#[test]
fn resume_refuses_steps_of_another_loop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let items = items(1, &[]);
    assert!(!part(&path, &job(1, true), &items, &mut engine(0), 2));
    let (run, mut state) = RunDir::resume(&path, &manifest()).unwrap();
    let work = left(items, &mut state, false);
    let mut recorder = Recorder { run, left: usize::MAX };
    let error = drive(&mut engine(0), &job(1, false), work, &mut recorder).unwrap_err();
    assert!(matches!(error, DriveError::Replay { .. }), "{error:?}");
}

mod judging;
