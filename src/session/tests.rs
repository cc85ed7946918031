//! Tests of whole sessions on the scripted engine.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::cli::output::error::Kind;
use amend_core::chat::{Message, Role};
use amend_core::driver::Observer;
use amend_core::model::{Failure, Request, Scripted};
use amend_core::procedure::ItemLoop;
use amend_core::prompt::Delimiter;
use amend_core::record::{Keys, Outcome, StepKind};

/// One round of critique and revision.
fn job() -> Job {
    let mut constitution = amend_core::constitution::load("harmless").unwrap().constitution;
    constitution.plan.rounds = 1;
    constitution.plan.principles_per_round = 1;
    let fence = Delimiter::new("3f9c2a81").unwrap();
    Job::new(Procedure::Revise { judging: false }, constitution, None, fence, 7).unwrap()
}

fn source(count: u64) -> ItemSource {
    ItemSource::from_items(vec!["in.jsonl".to_owned()], items(count))
}

/// Items with different questions.
fn items(count: u64) -> Vec<Item> {
    let mut keys = Keys::default();
    let item = |row| {
        let messages = vec![Message::new(Role::User, format!("Question {row}?"))];
        let key = keys.next(&messages, None, None);
        let metadata = serde_json::Map::new();
        Item { key, row, id: None, messages, response: None, response_b: None, metadata }
    };
    (1..=count).map(item).collect()
}

fn args(out: &Path) -> RecordArgs {
    RecordArgs {
        out: Some(out.to_owned()),
        limit: None,
        resume: false,
        retry_errors: false,
        reproducible: false,
        max_errors: None,
    }
}

fn resumed(out: &Path) -> RecordArgs {
    RecordArgs { resume: true, ..args(out) }
}

fn session(args: &RecordArgs, count: u64) -> Session<'_> {
    Session::prepare(args, "run", source(count)).with_job(job()).unwrap()
}

fn is_about(request: &Request, question: &str) -> bool {
    request.turns.iter().any(|turn| turn.content.contains(question))
}

/// An engine that answers every request.
fn engine() -> Scripted {
    Scripted::new(|_| Ok("A text.".to_owned()))
}

/// An engine that fails at the requests about one question.
fn failing_at(question: &'static str) -> Scripted {
    Scripted::new(move |request| match is_about(request, question) {
        true => Err(Failure::NotFinite),
        false => Ok("A text.".to_owned()),
    })
}

/// An engine that must not be asked.
fn unused() -> Scripted {
    Scripted::new(|request| panic!("unexpected request {request:?}"))
}

/// The rows of the items that ended, in order, and whether each is done.
fn ended(finished: &Finished) -> Vec<(u64, bool)> {
    let row = |trajectory: &Trajectory| {
        [(trajectory.item.row, matches!(trajectory.outcome, Outcome::Done { .. }))]
    };
    let mut rows = finished.rows(row).unwrap();
    rows.sort_unstable();
    rows
}

fn kind<T>(result: Result<T, CommandError>) -> Option<Kind> {
    result.err().map(|error| error.kind)
}

#[test]
fn session_records_every_item_and_finishes_without_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let finished = session(&args(&out), 2).run(&mut engine(), None).unwrap();
    assert_eq!(finished.dir().path(), out);
    assert_eq!(finished.dir().manifest().command, "run");
    assert_eq!(ended(&finished), [(1, true), (2, true)]);
    finished.derive("rows.jsonl", &[1, 2], &"figures").unwrap();
    finished.derive_document("value.json", &3).unwrap();
    for (file, text) in
        [("rows.jsonl", "1\n2\n"), (FIGURES, "\"figures\"\n"), ("value.json", "3\n")]
    {
        assert_eq!(std::fs::read_to_string(out.join(file)).unwrap(), text);
    }
    finished.finish(None).unwrap();
}

#[test]
fn a_watcher_receives_each_item_when_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = args(&out);
    let mut ends = Vec::new();
    let mut watch = |item: &ItemLoop, outcome: &Outcome| {
        ends.push((item.item().row, matches!(outcome, Outcome::Done { .. })));
        Ok(())
    };
    let mut engine = failing_at("Question 2?");
    let finished = session(&args, 3).run(&mut engine, Some(&mut watch)).unwrap();
    ends.sort_unstable();
    assert_eq!(ends, ended(&finished));

    let mut fail = |_: &ItemLoop, _: &Outcome| Err(CommandError::reported());
    let again = RecordArgs { retry_errors: true, ..resumed(&out) };
    let ran = session(&again, 3).run(&mut self::engine(), Some(&mut fail));
    assert_eq!(kind(ran), Some(Kind::Reported));
}

#[test]
fn what_to_do_next_depends_on_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("my run");
    let args = RecordArgs { max_errors: Some(1), ..args(&out) };
    let stopped = session(&args, 3).run(&mut failing_at("Question 1?"), None).unwrap();
    assert_eq!(stopped.next_call("report"), None);
    assert!(matches!(&stopped.next, Next::Call(call) if call.to_string().ends_with(" --resume")));
    drop(stopped);
    let complete = session(&resumed(&out), 3).run(&mut engine(), None).unwrap();
    let next = complete.next_call("report").unwrap().to_string();
    assert_eq!(next, format!("amend report '{}'", out.display()));
}

#[test]
fn interrupted_session_keeps_finished_items_and_can_be_resumed() {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = args(&out);
    let mut first = session(&args, 5);
    first.is_interrupted = || INTERRUPTED.load(Ordering::SeqCst);
    let mut interrupting = Scripted::new(|request| {
        // Four items run at once, so that some have ended before the last one starts.
        INTERRUPTED.store(is_about(request, "Question 5?"), Ordering::SeqCst);
        Ok("A text.".to_owned())
    });
    assert_eq!(kind(first.run(&mut interrupting, None)), Some(Kind::Interrupted));
    let before = RunDir::open(&out).unwrap().trajectories().unwrap().count();
    assert!((1..5).contains(&before), "{before}");

    let requests = Arc::new(AtomicU64::new(0));
    let counted = requests.clone();
    let mut counting = Scripted::new(move |request| {
        assert!(!is_about(request, "Question 1?"), "item 1 is done");
        counted.fetch_add(1, Ordering::SeqCst);
        Ok("A text.".to_owned())
    });
    let finished = session(&resumed(&out), 5).run(&mut counting, None).unwrap();
    assert_eq!(ended(&finished), [1, 2, 3, 4, 5].map(|row| (row, true)));
    assert!(requests.load(Ordering::SeqCst) > 0);
    finished.finish(None).unwrap();
}

#[test]
fn session_with_failed_items_ends_with_reported() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let finished = session(&args(&out), 3).run(&mut failing_at("Question 2?"), None).unwrap();
    assert_eq!(ended(&finished), [(1, true), (2, false), (3, true)]);
    assert_eq!(kind(finished.finish(None)), Some(Kind::Reported));

    // A resumed session reports the failure again, but retries the item only if asked to.
    let finished = session(&resumed(&out), 3).run(&mut unused(), None).unwrap();
    assert_eq!(kind(finished.finish(None)), Some(Kind::Reported));
    let retrying = RecordArgs { retry_errors: true, ..resumed(&out) };
    let finished = session(&retrying, 3).run(&mut engine(), None).unwrap();
    assert_eq!(ended(&finished), [(1, true), (2, true), (3, true)]);
    finished.finish(None).unwrap();
}

#[test]
fn session_stops_at_the_maximum_number_of_errors() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = RecordArgs { max_errors: Some(1), ..args(&out) };
    let finished = session(&args, 3).run(&mut failing_at("Question 1?"), None).unwrap();
    assert_eq!(ended(&finished), [(1, false)]);
    assert_eq!(kind(finished.finish(None)), Some(Kind::Reported));
}

#[test]
fn recorded_steps_of_another_loop_end_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = args(&out);
    let mut first = session(&args, 1);
    // A step that is not the first one of the loop.
    let wrong = Step { text: "A text.".to_owned(), ..Step::new(StepKind::Revise, 1) };
    let key = items(1)[0].key.clone();
    let mut engine = engine();
    let mut engines = Engines::from(&mut engine);
    first.start_with(&mut engines, |_| Ok(vec![(key, vec![wrong])])).unwrap();
    assert_eq!(kind(first.run(engines, None)), Some(Kind::Environment));
}

#[test]
fn session_continues_from_the_steps_that_it_starts_with() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = args(&out);
    let mut first = session(&args, 1);
    let answer = Step {
        text: "The reused answer.".to_owned(),
        finish: Some(amend_core::model::Finish::Stop),
        ..Step::new(StepKind::Generate, 0)
    };
    let key = items(1)[0].key.clone();
    let mut engine = engine();
    let mut engines = Engines::from(&mut engine);
    first
        .start_with(&mut engines, |manifest| {
            assert_eq!(manifest.command, "run");
            Ok(vec![(key, vec![answer])])
        })
        .unwrap();
    let finished = first.run(engines, None).unwrap();
    let texts = |trajectory: &Trajectory| [trajectory.steps[0].text.clone()];
    assert_eq!(finished.rows(texts).unwrap(), ["The reused answer."]);

    // A resumed run has the steps already.
    let resumed = resumed(&out);
    let mut second = session(&resumed, 1);
    let mut unused = unused();
    let mut engines = Engines::from(&mut unused);
    second.start_with(&mut engines, |_| panic!("the steps are not needed")).unwrap();
    second.run(engines, None).unwrap().finish(None).unwrap();
}

#[test]
fn run_directory_is_checked_before_a_model_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let prepare =
        |args: &RecordArgs| kind(Session::prepare(args, "run", source(1)).with_job(job()));
    assert_eq!(prepare(&resumed(&out)), Some(Kind::Usage));
    assert_eq!(prepare(&args(&out)), None);
    session(&args(&out), 1).run(&mut engine(), None).unwrap();
    assert_eq!(prepare(&args(&out)), Some(Kind::Usage));
    assert_eq!(prepare(&resumed(&out)), None);
}

#[test]
fn other_items_are_refused_on_resume() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    session(&args(&out), 2).run(&mut engine(), None).unwrap();
    assert_eq!(kind(session(&resumed(&out), 1).run(&mut unused(), None)), Some(Kind::Usage));
}

#[test]
fn temporary_run_exists_until_the_session_is_finished() {
    let args = RecordArgs { out: None, ..args(Path::new("")) };
    let finished = session(&args, 1).run(&mut engine(), None).unwrap();
    let path = finished.dir().path().to_owned();
    assert!(path.join("journal.jsonl").is_file());
    finished.finish(None).unwrap();
    assert!(!path.exists());
}

/// Counts the items that ended.
#[derive(Default)]
struct Counter(usize);

impl Observer for Counter {
    type Error = CommandError;

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), CommandError> {
        Ok(())
    }

    fn end(&mut self, _: &ItemLoop, _: Outcome) -> Result<(), CommandError> {
        self.0 += 1;
        Ok(())
    }
}

#[test]
fn unrecorded_items_reach_the_observer_and_failures_are_reported() {
    let items = || items(3).into_iter().map(|item| Ok(Arc::new(item)));
    let mut counter = Counter::default();
    run_unrecorded(&mut engine(), &job(), items(), None, &mut counter).unwrap();
    assert_eq!(counter.0, 3);
    let mut counter = Counter::default();
    let result =
        run_unrecorded(&mut failing_at("Question 3?"), &job(), items(), None, &mut counter);
    assert_eq!((kind(result), counter.0), (Some(Kind::Reported), 3));
}
