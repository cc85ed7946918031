//! Tests of judgements on the scripted engine: the requests, and the recorded steps.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::testing::manifest;
use amend_core::constitution::{DecideBy, Policy};
use amend_core::judge::combine;
use amend_core::model::{Event, Request, Task};

/// A writer whose revisions are better, and a judge that recognises them: log-odds 2
/// for the answer with the word "better", and 0.5 for the answer shown first.
fn perceptive() -> Scripted {
    Scripted::new(|request| {
        let asked = &request.turns.last().unwrap().content;
        Ok(if asked.contains("Revision request:") { "A better answer." } else { "An answer." }
            .into())
    })
    .judging(|request| {
        let prompt = &request.turns[1].content;
        let (better, plain) = (prompt.find("A better answer."), prompt.find("An answer."));
        let (Some(better), Some(plain)) = (better, plain) else { panic!("{prompt}") };
        let odds = if better < plain { 2.0 } else { -2.0 } + 0.5;
        // p(first) + p(second) = 0.9
        let first = 0.9 / (1.0 + f64::exp(-odds));
        Ok(vec![first.ln(), (0.9 - first).ln()])
    })
}

/// The log-probabilities that a judge answers a request with.
fn ask(judge: &mut Scripted, request: &Request) -> Vec<f64> {
    let mut events = Vec::new();
    judge.submit(request.clone());
    judge.step(&mut events).unwrap();
    match events.pop() {
        Some(Event::Chosen { log_probs, .. }) => log_probs,
        event => panic!("{event:?}"),
    }
}

/// Judges under the principles used, and overall.
fn judging(rounds: u32) -> Job {
    let job = Job { procedure: Procedure::Revise { judging: true }, ..job(rounds, true) };
    changed(job, |constitution| constitution.judge.decide_by = DecideBy::All)
}

fn changed(job: Job, change: impl FnOnce(&mut Constitution)) -> Job {
    let mut constitution = Constitution::clone(&job.constitution);
    change(&mut constitution);
    Job { constitution: Arc::new(constitution), ..job }
}

/// Runs items into a directory and returns their trajectories, in the order of the
/// items.
fn run<'e>(job: &Job, items: &[Item], engines: impl Into<Engines<'e>>) -> Vec<Recorded> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = RunDir::create(&path, &manifest()).unwrap();
    let mut recorder = Recorder { run, left: usize::MAX };
    let mut state = State::default();
    let work = left(items.to_vec(), &mut state, false);
    assert_eq!(drive(engines, job, work, &mut recorder).unwrap(), Ended::Done);
    let mut all = recorded(&path);
    items.iter().map(|item| all.remove(&item.key).unwrap()).collect()
}

fn verdicts(recorded: &Recorded) -> Vec<&Step> {
    recorded.steps.iter().filter(|step| step.kind == StepKind::Judge).collect()
}

#[test]
fn verdict_is_asked_in_both_orders_so_that_position_bias_cancels() {
    let job = judging(1);
    for recorded in run(&job, &items(3, &[]), &mut perceptive()) {
        let verdicts = verdicts(&recorded);
        assert_eq!(verdicts.len(), 2, "under the principle used, and overall");
        assert!(verdicts[0].principle.is_some() && verdicts[1].principle.is_none());
        for step in verdicts {
            assert_eq!(step.about, [1, 0]);
            let verdict = step.verdict.as_ref().unwrap();
            let standing = job.constitution.judge.standing();
            let combined = combine(&[(verdict, 1.0)], &standing).unwrap();
            for (actual, expected) in [
                (combined.margin, 2.0),
                (combined.offset, 0.5),
                (combined.mass, 0.9),
                (combined.orders[0], 2.5),
                (combined.orders[1], 1.5),
            ] {
                assert!((actual - expected).abs() < 1e-9, "{actual}, expected {expected}");
            }
            assert!(!combined.undecided);
        }
    }
}

#[test]
fn separate_engine_judges() {
    let requests = Arc::new(AtomicU32::new(0));
    let count = requests.clone();
    let mut writer = perceptive().judging(|_| panic!("the writer judges nothing here"));
    let mut inner = perceptive();
    let mut judge = Scripted::new(|_| panic!("the judge writes nothing")).judging(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(ask(&mut inner, request))
    });
    let engines = Engines { writer: &mut writer, judge: Some(&mut judge), student: None };
    let recorded = run(&judging(1), &items(3, &[]), engines);
    assert!(recorded.iter().all(|recorded| verdicts(recorded).len() == 2));
    // Three items with two verdicts each, in two orders.
    assert_eq!(requests.load(Ordering::Relaxed), 12);
}

#[test]
fn reasons_are_sampled_before_each_label_and_shown_to_the_judge() {
    let job = changed(judging(1), |constitution| {
        constitution.judge.reasons = 3;
        constitution.sampling.judge.temperature = 1.0;
    });
    let mut inner = perceptive();
    let mut engine = Scripted::new(|request| {
        let asked = &request.turns.last().unwrap().content;
        let Task::Complete { stream, .. } = &request.task else { panic!("{request:?}") };
        Ok(if asked.contains("what speaks for each") {
            format!("Reason {}.", stream.bits(0))
        } else if asked.contains("Revision request:") {
            "A better answer.".to_owned()
        } else {
            "An answer.".to_owned()
        })
    })
    .judging(move |request: &Request| {
        // System, question, reasons, "now reply", and the beginning of the reply.
        assert_eq!(request.turns.len(), 5, "{request:?}");
        assert!(request.turns[2].content.starts_with("Reason "));
        assert!(request.continues.is_some());
        Ok(ask(&mut inner, request))
    });
    let recorded = run(&job, &items(1, &[]), &mut engine);
    for step in verdicts(&recorded[0]) {
        let verdict = step.verdict.as_ref().unwrap();
        assert_eq!(verdict.polls.len(), 1);
        assert_eq!((verdict.polls[0].forward.len(), verdict.polls[0].backward.len()), (3, 3));
        assert!((verdict.log_odds() - 2.0).abs() < 1e-9);
        // Two words for each reason, three samples, two orders.
        assert_eq!(step.usage.decoded, 12);
    }
}

#[test]
fn failed_judgement_ends_only_its_item() {
    let mut engine = perceptive();
    let mut inner = perceptive();
    engine = engine.judging(move |request| {
        if request.turns[1].content.contains("Question 2?") {
            return Err(Failure::NoSuchToken { spellings: vec!["A".into()] });
        }
        Ok(ask(&mut inner, request))
    });
    let recorded = run(&judging(1), &items(3, &[]), &mut engine);
    let failed = |recorded: &Recorded| matches!(recorded.outcome, Outcome::Failed { .. });
    assert_eq!(recorded.iter().map(failed).collect::<Vec<_>>(), [false, true, false]);
    // The steps before the failure are kept.
    assert_eq!(recorded[1].steps.len(), 3);
}

#[test]
fn run_killed_between_verdicts_asks_only_for_the_remaining_ones() {
    let job = changed(judging(2), |constitution| constitution.judge.policy = Policy::Drop);
    let items = items(2, &[]);
    let whole = run(&job, &items, &mut perceptive());
    let records: usize = whole.iter().map(|recorded| recorded.steps.len() + 1).sum();
    for kept in 1..records {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        assert!(!part(&path, &job, &items, &mut perceptive(), kept));
        assert!(part(&path, &job, &items, &mut perceptive(), usize::MAX));
        let mut all = recorded(&path);
        for (item, whole) in items.iter().zip(&whole) {
            assert_eq!(&all.remove(&item.key).unwrap(), whole, "killed after {kept} records");
        }
    }
}
