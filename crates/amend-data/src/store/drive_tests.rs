//! Whole runs on the scripted engine, into real run directories.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::path::Path;

use proptest::prelude::*;

use super::left;
use crate::store::journal::Record;
use crate::store::journal::State;
use crate::store::manifest::Manifest;
use crate::store::run_dir::{RunDir, RunWriter};
use crate::store::trajectories::Trajectory as Recorded;
use crate::testing::manifest;
use amend_core::chat::{Message, Role};
use amend_core::constitution::Constitution;
use amend_core::driver::{DriveError, Ended, Engines, Job, Observer, drive};
use amend_core::model::Scripted;
use amend_core::model::{Engine, Failure};
use amend_core::procedure::{Procedure, Trajectory};
use amend_core::prompt::{Fence, Templates};
use amend_core::random::Stream;
use amend_core::record::Keys;
use amend_core::record::Stop;
use amend_core::record::{Item, Outcome, Step, StepKind};
use std::sync::Arc;

fn job(rounds: u32, critique: bool) -> Job {
    let mut constitution = amend_core::constitution::load("harmless").unwrap().constitution;
    constitution.plan.rounds = rounds;
    constitution.plan.critique = critique;
    constitution.plan.few_shot = 0;
    let fence = Fence::new("3f9c2a81").unwrap();
    Job {
        procedure: Procedure::Revise { judging: false },
        constitution: Arc::new(constitution),
        templates: Arc::new(Templates::load(None, &fence).unwrap()),
        fence,
        seed: 7,
        stream: Stream::new(7),
        ignore_eos: false,
        cohorts: false,
    }
}

/// Items that ask different things; those of `given` come with their answers.
fn items(count: u64, given: &[u64]) -> Vec<Item> {
    let mut keys = Keys::default();
    (1..=count)
        .map(|row| {
            let messages = vec![Message::new(Role::User, format!("Question {row}?"))];
            let response = given.contains(&row).then(|| format!("An answer to {row}."));
            let key = keys.next(&messages, response.as_deref(), None);
            let metadata = serde_json::Map::new();
            Item { key, row, id: None, messages, response, rival: None, metadata }
        })
        .collect()
}

/// The answer is a pure function of the prompt. Few different texts, so that
/// some revisions change nothing; one call of `failing` fails, if not 0.
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

/// As by a signal, before the next record.
#[derive(Debug)]
struct Killed;

/// Journals what happens until the process is "killed".
struct Recorder {
    run: RunWriter,
    /// Records until then.
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

    fn step(&mut self, trajectory: &Trajectory, step: &Step) -> Result<(), Killed> {
        let item = trajectory.item().key.clone();
        self.append(&Record::Step { item, step: step.clone() })
    }

    fn cohort(&mut self) -> Result<(), Killed> {
        self.append(&Record::Cohort {})
    }

    fn end(&mut self, trajectory: &Trajectory, outcome: Outcome) -> Result<(), Killed> {
        let item = Item::clone(trajectory.item());
        self.append(&Record::End { item, outcome })
    }
}

/// One process's part of a run: opens or resumes the directory and goes on
/// until the end or until `records` records are written. Whether it was the end.
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
        other => panic!("{other:?}"),
    }
}

/// What a run's journal holds, by item; each ended once.
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

    /// Killed between any two records, as often as it may be, and resumed, a
    /// run comes to the items, steps and ends of the unbroken one.
    #[test]
    fn a_killed_and_resumed_run_is_the_unbroken_one(
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

        let broken = folder.path().join("broken");
        for records in kills {
            part(&broken, &job, &items, &mut engine(failing), records);
        }
        prop_assert!(part(&broken, &job, &items, &mut engine(failing), usize::MAX));
        prop_assert_eq!(recorded(&broken), whole);
        // Nothing is left, and asking again adds nothing.
        let length = std::fs::metadata(broken.join("journal.jsonl")).unwrap().len();
        prop_assert!(part(&broken, &job, &items, &mut engine(1), 0));
        prop_assert_eq!(std::fs::metadata(broken.join("journal.jsonl")).unwrap().len(), length);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In cohorts, the journal's bytes are those of the unbroken run.
    #[test]
    fn in_cohorts_a_resumed_run_is_the_unbroken_one_byte_for_byte(
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
        let broken = folder.path().join("broken");
        for records in kills {
            part(&broken, &job, &items, &mut engine(failing), records);
        }
        prop_assert!(part(&broken, &job, &items, &mut engine(failing), usize::MAX));
        prop_assert!(bytes(&broken) == bytes(&whole));
        let cohorts = count.div_ceil(engine(0).width() as u64) as usize;
        let text = String::from_utf8(bytes(&whole)).unwrap();
        prop_assert_eq!(text.matches(r#""type":"cohort""#).count(), cohorts);
    }
}

#[test]
fn one_items_failure_leaves_the_others_and_can_be_retried() {
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

    // The answer that came with the input is the first step, and no call's.
    let first = &before[&items[1].key].steps[0];
    assert_eq!((first.text.as_str(), first.finish), ("An answer to 2.", None));
    assert_eq!(first.usage, amend_core::model::Usage::default());

    // Without a retry, what failed has ended like the rest.
    let (mut run, mut state) = RunDir::resume(&path, &manifest()).unwrap();
    assert!(left(items.clone(), &mut state, false).is_empty());
    let work = left(items.clone(), &mut state, true);
    let rows: Vec<u64> = work.iter().map(|work| work.item.row).collect();
    assert_eq!(rows, [3, 5]);
    for work in &work {
        run.append(&Record::Retry { item: work.item.key.clone() }).unwrap();
    }
    // Killed in the middle of the second attempt, it is taken up once more.
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
fn steps_of_another_loop_are_refused() {
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
