//! Tests of whole trajectories on the scripted engine, and of their replay.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::chat::{Message, Role};
use crate::constitution::{
    DecideBy, Export, FewShotExample, Governance, Judge, Layout, Method, Plan, Select,
    StepSampling, Thresholds,
};
use crate::judge::{Poll, Reading};
use crate::model::{Engine, Event, Finish, Request, Scripted, Task};
use crate::procedure::standings;
use crate::prompt::Templates;

fn principle(id: &str, weight: f64) -> Principle {
    Principle {
        id: id.into(),
        title: id.into(),
        category: "test".into(),
        weight,
        principle: format!("rule {id}"),
        critique: format!("criticise by {id}"),
        revise: format!("revise by {id}"),
        judge: String::new(),
        applies_when: String::new(),
        paraphrases: Vec::new(),
        labels: None,
        examples: vec![FewShotExample {
            prompt: "p".into(),
            response: "r".into(),
            critique: "c".into(),
            revision: "v".into(),
        }],
    }
}

fn constitution(
    ids: &[&str],
    rounds: u32,
    select: Select,
    principles_per_round: u32,
) -> Constitution {
    Constitution {
        name: "test".into(),
        version: "1".into(),
        description: String::new(),
        language: "en".into(),
        plan: Plan {
            rounds,
            select,
            principles_per_round,
            critique: true,
            stop_unchanged: true,
            few_shot: 0,
            ..Plan::default()
        },
        principles: (1..).zip(ids).map(|(weight, id)| principle(id, f64::from(weight))).collect(),
        dimensions: Vec::new(),
        judge: Judge::default(),
        governance: Governance::default(),
        export: Export::default(),
        audit: Thresholds::default(),
        sampling: StepSampling::default(),
    }
}

#[test]
fn the_most_steps_of_an_item_follow_from_its_plan() {
    let loops = constitution(&["a", "b", "c"], 2, Select::RoundRobin, 2);
    let most = |procedure: Procedure, plan: Plan| {
        procedure.most_steps(&Constitution { plan, ..loops.clone() })
    };
    let revise = Procedure::Revise { judging: true };
    let plan = || loops.plan.clone();
    // An answer, two rounds of two critiques and revisions, and a verdict.
    assert_eq!(most(revise.clone(), plan()), 10);
    assert_eq!(most(revise.clone(), Plan { critique: false, ..plan() }), 6);
    assert_eq!(most(revise.clone(), Plan { rounds: 0, ..plan() }), 1);
    // A gate for each of two principles, then again for the one that is left.
    assert_eq!(most(revise, Plan { gate: Some(0.5), ..plan() }), 10 + 2 * 3);
    let compare = Procedure::Compare { principles: Arc::new([0, 2]), overall: true };
    assert_eq!(most(compare, plan()), 5);
}

fn item(response: Option<&str>) -> Item {
    Item {
        key: "k".into(),
        row: 1,
        id: None,
        messages: vec![Message::new(Role::User, "Hi")],
        response: response.map(str::to_owned),
        response_b: None,
        metadata: serde_json::Map::new(),
    }
}

fn fence() -> Delimiter {
    Delimiter::new("3f9c2a81").unwrap()
}

fn trajectory(constitution: Constitution, item: Item, seed: u64) -> ItemLoop {
    taking(Procedure::Revise { judging: false }, constitution, item, seed)
}

fn taking(procedure: Procedure, constitution: Constitution, item: Item, seed: u64) -> ItemLoop {
    let stream = Stream::new(seed).child(&item.key);
    ItemLoop::new(procedure, Arc::new(constitution), Arc::new(item), stream, fence())
}

/// A judgement that depends only on the step's stream.
fn judged(ask: &StepRequest) -> StepResult {
    let uniform = ask.stream.uniform(0);
    match ask.kind.output() {
        StepOutput::Verdict => verdict(3.0 * (uniform - 0.5)),
        StepOutput::Score => violation(uniform),
        StepOutput::Likelihood
        | StepOutput::Answer
        | StepOutput::Critique
        | StepOutput::Revision => panic!("{ask:?}"),
    }
}

/// A verdict with these log-odds.
fn verdict(log_odds: f64) -> StepResult {
    let poll = Poll {
        template: "judge".into(),
        forward: vec![Reading { first: -1.0, second: -1.0 - log_odds }],
        backward: vec![Reading { first: -1.0 - log_odds, second: -1.0 }],
    };
    StepResult::Verdict(Verdict { polls: vec![poll] }, Usage::default())
}

/// Runs a trajectory to its end on an engine. Returns the steps it asked for and why
/// it stopped.
fn drive(
    trajectory: &mut ItemLoop,
    engine: &mut dyn Engine,
) -> Result<(Vec<StepRequest>, Stop), AcceptError> {
    let layout = trajectory.constitution.plan.layout;
    let templates = Templates::load(None, &fence(), layout).unwrap();
    let mut asks = Vec::new();
    loop {
        let ask = match trajectory.next() {
            Next::Given => {
                trajectory.accept_given().unwrap();
                continue;
            }
            Next::Done(stop) => return Ok((asks, stop)),
            Next::Ask(asks) => asks[0].clone(),
        };
        if !ask.kind.is_text() {
            trajectory.accept(judged(&ask))?;
            asks.push(ask);
            continue;
        }
        let context = trajectory.context(&ask, 0, Reasons::None);
        let rendered = templates.render(ask.kind, &context).unwrap();
        engine.submit(Request {
            id: ask.step as u64,
            turns: rendered.turns,
            shared_turns: rendered.shared_turns,
            continues: None,
            item: 0,
            task: Task::Complete {
                sampling: trajectory.constitution.sampling.revise.clone(),
                stream: ask.stream,
                ignore_eos: false,
                copies: false,
                thought_only: false,
            },
        });
        let mut events = Vec::new();
        while engine.step(&mut events).unwrap() {}
        for event in events {
            match event {
                Event::Text { .. } | Event::Chosen { .. } | Event::Likelihood { .. } => {}
                Event::Done { completion, .. } => {
                    trajectory.accept(StepResult::Text(completion))?;
                }
                Event::Failed { failure, .. } => panic!("{failure}"),
            }
        }
        asks.push(ask);
    }
}

/// An engine that answers each step with its number.
fn counting() -> Scripted {
    Scripted::new(|request| Ok(format!("text {}", request.id)))
}

/// An engine that answers each step with the text of its number.
fn saying(texts: &[&str]) -> Scripted {
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    Scripted::new(move |request| Ok(texts[request.id as usize].clone()))
}

/// A summary of the steps: `generate`, `1 critique a`, `1 revise a`, …
fn order(trajectory: &ItemLoop) -> Vec<String> {
    trajectory
        .steps()
        .iter()
        .map(|step| match &step.principle {
            Some(principle) => format!("{} {} {principle}", step.round, step.kind.as_str()),
            None => step.kind.as_str().to_owned(),
        })
        .collect()
}

/// The principles applied, round by round: `a b | c d`.
fn applied(select: Select, rounds: u32, per_round: u32, seed: u64) -> String {
    let mut plan = constitution(&["a", "b", "c", "d", "e"], rounds, select, per_round);
    plan.plan.critique = false;
    let mut trajectory = trajectory(plan, item(None), seed);
    let (_, stop) = drive(&mut trajectory, &mut counting()).unwrap();
    assert_eq!(stop, Stop::Rounds);
    let rounds = trajectory.steps()[1..].chunk_by(|a, b| a.round == b.round);
    let rounds: Vec<String> = rounds
        .map(|round| {
            let ids: Vec<&str> =
                round.iter().filter_map(|step| step.principle.as_deref()).collect();
            ids.join(" ")
        })
        .collect();
    rounds.join(" | ")
}

#[test]
fn round_critiques_and_revises_under_each_principle_in_turn() {
    let mut trajectory = trajectory(constitution(&["a", "b"], 2, Select::All, 1), item(None), 0);
    let (asks, stop) = drive(&mut trajectory, &mut counting()).unwrap();
    assert_eq!(stop, Stop::Rounds);
    assert_eq!(
        order(&trajectory),
        [
            "generate",
            "1 critique a",
            "1 revise a",
            "1 critique b",
            "1 revise b",
            "2 critique a",
            "2 revise a",
            "2 critique b",
            "2 revise b",
        ]
    );
    assert_eq!(asks.iter().map(|ask| ask.step).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    let item_stream = Stream::new(0).child("k");
    assert_eq!(asks[0].stream, item_stream.child("0 generate"));
    assert_eq!(asks[4].stream, item_stream.child("4 revise"));
    assert_eq!(trajectory.steps()[0].text, "text 0");
    assert_eq!(trajectory.answer(), Some("text 8"));
}

#[test]
fn each_selection_applies_principles_in_its_order() {
    for (select, rounds, per_round, seed, expected) in [
        (Select::All, 2, 1, 7, "a b c d e | a b c d e"),
        (Select::RoundRobin, 3, 2, 7, "a b | c d | e a"),
        (Select::RoundRobin, 1, 7, 7, "a b c d e a b"),
        (Select::Random, 3, 2, 7, "c e | a b | d b"),
        (Select::Random, 3, 2, 8, "d e | b c | a b"),
        (Select::Weighted, 3, 2, 7, "d e | a b | c c"),
        (Select::Weighted, 3, 2, 8, "e d | b c | a c"),
    ] {
        assert_eq!(applied(select, rounds, per_round, seed), expected, "{select:?} {seed}");
    }
}

#[test]
fn plan_without_critiques_only_revises() {
    let mut plan = constitution(&["a", "b"], 1, Select::All, 1);
    plan.plan.critique = false;
    let mut trajectory = trajectory(plan, item(None), 0);
    drive(&mut trajectory, &mut counting()).unwrap();
    assert_eq!(order(&trajectory), ["generate", "1 revise a", "1 revise b"]);
}

#[test]
fn prompts_show_the_current_answer_and_the_raw_critique() {
    let prompts = Arc::new(Mutex::new(Vec::new()));
    let seen = prompts.clone();
    let texts = ["first", "Critique: bad.", "Revision: second", "fine.", "third"];
    let mut engine = Scripted::new(move |request: &Request| {
        let turns: Vec<String> = request.turns.iter().map(|turn| turn.content.clone()).collect();
        seen.lock().unwrap().push(turns);
        Ok(texts[request.id as usize].to_owned())
    });
    let mut constitution = constitution(&["a", "b"], 1, Select::All, 1);
    constitution.plan.layout = Layout::Quoted;
    let mut trajectory = trajectory(constitution, item(None), 0);
    drive(&mut trajectory, &mut engine).unwrap();
    let prompts = prompts.lock().unwrap();
    assert_eq!(prompts[0], ["Hi"]);
    assert!(prompts[1][1].contains("\nfirst\n") && prompts[1][1].contains("criticise by a"));
    assert_eq!(prompts[2][..2], prompts[1][..]);
    assert_eq!(prompts[2][2], "Critique: bad.");
    assert!(prompts[3][1].contains("\nsecond\n") && prompts[3][1].contains("rule b"));
    assert_eq!(trajectory.steps()[1].text, "bad.");
    assert_eq!(trajectory.steps()[1].raw.as_deref(), Some("Critique: bad."));
    assert_eq!(trajectory.steps()[2].text, "second");
    assert_eq!(trajectory.steps()[4].raw, None);
}

#[test]
fn unchanged_revision_stops_the_loop() {
    for (stop_unchanged, revision, stop, steps) in [
        (true, "Sure, here is the revised answer:\n\none \n two", Stop::Unchanged, 3),
        (false, "one two", Stop::Rounds, 5),
        (true, "One two", Stop::Rounds, 5),
    ] {
        let mut plan = constitution(&["a"], 2, Select::All, 1);
        plan.plan.stop_unchanged = stop_unchanged;
        let mut trajectory = trajectory(plan, item(None), 0);
        let mut engine = saying(&["one two", "one two", revision, "bad", "three"]);
        let (_, stopped) = drive(&mut trajectory, &mut engine).unwrap();
        assert_eq!((stopped, trajectory.steps().len()), (stop, steps), "{revision:?}");
    }
}

#[test]
fn revision_is_compared_with_the_one_before_it() {
    let mut trajectory = trajectory(constitution(&["a"], 3, Select::All, 1), item(None), 0);
    let mut engine = saying(&["one", "bad", "two", "bad", "two"]);
    let (_, stop) = drive(&mut trajectory, &mut engine).unwrap();
    assert_eq!((stop, trajectory.steps().len()), (Stop::Unchanged, 5));
}

#[test]
fn given_answer_replaces_the_first_model_call() {
    let mut trajectory =
        trajectory(constitution(&["a"], 1, Select::All, 1), item(Some(" given\n")), 0);
    assert_eq!(trajectory.next(), Next::Given);
    let step = trajectory.accept_given().unwrap();
    assert_eq!(
        *step,
        Step {
            text: "given".into(),
            raw: Some(" given\n".into()),
            ..Step::new(StepKind::Generate, 0)
        }
    );
    assert_eq!(trajectory.accept_given(), None);
    let (asks, _) = drive(&mut trajectory, &mut counting()).unwrap();
    assert_eq!(asks[0].kind, StepKind::Critique);
    assert_eq!(order(&trajectory), ["generate", "1 critique a", "1 revise a"]);
}

#[test]
fn blank_given_answer_is_ignored() {
    let trajectory = trajectory(constitution(&["a"], 1, Select::All, 1), item(Some(" \n")), 0);
    let Next::Ask(asks) = trajectory.next() else { panic!("{:?}", trajectory.next()) };
    assert_eq!(asks.iter().map(|ask| ask.kind).collect::<Vec<_>>(), [StepKind::Generate]);
}

#[test]
fn empty_text_fails_and_records_nothing() {
    let mut trajectory = trajectory(constitution(&["a"], 1, Select::All, 1), item(None), 0);
    let error = drive(&mut trajectory, &mut saying(&["one", " \n"])).unwrap_err();
    assert_eq!(error, AcceptError::Failed(Failure::Empty { step: "critique".into() }));
    assert_eq!(order(&trajectory), ["generate"]);
}

#[test]
fn answer_cut_off_by_length_is_marked_and_stays_current() {
    let mut trajectory = trajectory(constitution(&["a"], 1, Select::All, 1), item(None), 0);
    let cut = "word ".repeat(600);
    drive(&mut trajectory, &mut saying(&["one", "bad", &cut])).unwrap();
    let ends: Vec<_> = trajectory.steps().iter().map(|step| step.finish).collect();
    assert_eq!(ends, [Some(Finish::Stop), Some(Finish::Stop), Some(Finish::Length)]);
    assert_eq!(trajectory.answer(), Some(cut.trim()));
}

#[test]
fn loop_without_principles_ends_after_the_first_answer() {
    for select in [Select::All, Select::Random, Select::RoundRobin, Select::Weighted] {
        let mut trajectory = trajectory(constitution(&[], 2, select, 1), item(None), 0);
        let (asks, stop) = drive(&mut trajectory, &mut counting()).unwrap();
        assert_eq!((asks.len(), stop), (1, Stop::Rounds));
    }
}

#[test]
fn result_that_was_not_asked_for_is_refused() {
    let mut given = trajectory(constitution(&["a"], 1, Select::All, 1), item(Some("x")), 0);
    let error = given.accept(text("y")).unwrap_err();
    assert_eq!(error, AcceptError::NotAsked { found: "a text" });
    assert_eq!(given.steps(), []);

    let mut generated = trajectory(constitution(&["a"], 1, Select::All, 1), item(None), 0);
    let error = generated.accept(violation(0.5)).unwrap_err();
    let expected = AcceptError::WrongForm { kind: StepKind::Generate, found: "a score" };
    assert_eq!(error, expected);
    assert_eq!(error.to_string(), "the result of the generate step cannot be a score");
    assert_eq!(generated.steps(), []);
}

#[test]
fn replay_refuses_steps_that_do_not_come_next() {
    let mut whole = trajectory(constitution(&["a", "b"], 1, Select::All, 1), item(None), 0);
    let fresh = whole.clone();
    drive(&mut whole, &mut counting()).unwrap();
    let steps = whole.steps().to_vec();
    // Replays the steps before `at`, then a changed one.
    let refusal = |at: usize, change: fn(&mut Step)| {
        let mut resumed = fresh.clone();
        for step in &steps[..at] {
            resumed.replay(step.clone()).unwrap();
        }
        let mut step = steps.get(at).unwrap_or(&steps[0]).clone();
        change(&mut step);
        let error = resumed.replay(step).unwrap_err().to_string();
        assert_eq!(resumed.steps().len(), at);
        error
    };
    assert_eq!(
        refusal(1, |step| step.principle = Some("b".into())),
        "step 1 should be the critique of round 1 under `a`, not the critique of round 1 under `b`"
    );
    assert_eq!(
        refusal(2, |step| step.kind = StepKind::Critique),
        "step 2 should be the revision of round 1 under `a`, not the critique of round 1 under `a`"
    );
    assert_eq!(
        refusal(0, |step| step.round = 1),
        "step 0 should be the answer of round 0, not the answer of round 1"
    );
    assert_eq!(
        refusal(0, |step| step.finish = None),
        "step 0 should be an answer from the model, but is not"
    );
    assert_eq!(
        refusal(3, |step| step.text = " ".into()),
        "step 3, the critique of round 1 under `b`, is empty"
    );
    assert_eq!(refusal(5, |_| {}), "the loop ends before step 5, the answer of round 0");
}

#[test]
fn given_answer_is_replayed_only_for_the_same_item() {
    let plan = constitution(&["a"], 1, Select::All, 1);
    let mut whole = trajectory(plan.clone(), item(Some(" given ")), 0);
    let step = whole.accept_given().unwrap().clone();
    trajectory(plan.clone(), item(Some(" given ")), 0).replay(step.clone()).unwrap();
    assert_eq!(
        trajectory(plan.clone(), item(Some("other")), 0).replay(step.clone()),
        Err(ReplayError::Origin { step: 0, given: true })
    );
    assert_eq!(
        trajectory(plan, item(None), 0).replay(step),
        Err(ReplayError::Origin { step: 0, given: false })
    );
}

/// A summary of the steps, with the answers that judgements are about.
fn judgements(trajectory: &ItemLoop) -> Vec<String> {
    let short = |step: &Step| {
        let about: String = step.about.iter().map(|number| format!(" {number}")).collect();
        let applied: Vec<&str> = step.applied().collect();
        let applied = if applied.is_empty() { "-".to_owned() } else { applied.join("+") };
        format!("{} {applied}{about}", step.kind.as_str())
    };
    trajectory.steps().iter().map(short).collect()
}

/// Runs a trajectory to its end with the results of `answer`. Returns the number of
/// steps that were due at once, each time, and why the loop stopped.
fn walk(
    trajectory: &mut ItemLoop,
    mut answer: impl FnMut(&StepRequest) -> StepResult,
) -> (Vec<usize>, Stop) {
    let mut batches = Vec::new();
    loop {
        match trajectory.next() {
            Next::Given => drop(trajectory.accept_given().unwrap()),
            Next::Done(stop) => return (batches, stop),
            Next::Ask(asks) => {
                batches.push(asks.len());
                for ask in &asks {
                    trajectory.accept(answer(ask)).unwrap();
                }
            }
        }
    }
}

fn text(text: impl Into<String>) -> StepResult {
    let usage = Usage::default();
    StepResult::Text(Completion { text: text.into(), reasoning: None, finish: Finish::Stop, usage })
}

/// A text with the number of the step.
fn numbered(ask: &StepRequest) -> StepResult {
    text(format!("text {}", ask.step))
}

fn violation(value: f64) -> StepResult {
    StepResult::Score(RubricScore { value, mass: 0.9 }, Usage::default())
}

#[test]
fn gate_skips_kept_principles_and_measures_again_after_a_revision() {
    let mut plan = constitution(&["a", "b", "c"], 1, Select::All, 1);
    plan.plan.gate = Some(0.5);
    let mut trajectory = trajectory(plan, item(None), 0);
    // The first answer breaks b and c; the revision breaks nothing.
    let broken = |ask: &StepRequest| match (ask.about[0], ask.principle) {
        (0, Some(1 | 2)) => 0.5,
        _ => 0.49,
    };
    let (batches, stop) = walk(&mut trajectory, |ask| {
        if ask.kind.is_text() { numbered(ask) } else { violation(broken(ask)) }
    });
    assert_eq!(stop, Stop::Rounds);
    assert_eq!(
        judgements(&trajectory),
        ["generate -", "gate a 0", "gate b 0", "gate c 0", "critique b", "revise b", "gate c 1"]
    );
    assert_eq!(batches, [1, 3, 1, 1, 1]);
    assert_eq!(trajectory.answer(), Some("text 5"));
}

#[test]
fn answer_below_every_threshold_ends_the_loop() {
    for (select, stop) in
        [(Select::All, Stop::Passed), (Select::Worst, Stop::Passed), (Select::Random, Stop::Rounds)]
    {
        let mut plan = constitution(&["a", "b"], 3, select, 1);
        plan.plan.gate = Some(0.5);
        let mut trajectory = trajectory(plan, item(Some("given")), 0);
        let (_, stopped) = walk(&mut trajectory, |_| violation(0.1));
        assert_eq!(stopped, stop, "{select:?}");
        assert_eq!(trajectory.answer(), Some("given"));
    }
}

#[test]
fn principle_with_the_greatest_violation_is_applied_first() {
    let mut plan = constitution(&["a", "b", "c"], 1, Select::Worst, 2);
    plan.plan.critique = false;
    let mut trajectory = trajectory(plan, item(None), 0);
    walk(&mut trajectory, |ask| {
        if ask.kind.is_text() {
            numbered(ask)
        } else {
            violation([0.2, 0.9, 0.4][ask.principle.unwrap()])
        }
    });
    assert_eq!(
        judgements(&trajectory),
        [
            "generate -",
            "gate a 0",
            "gate b 0",
            "gate c 0",
            "revise b",
            "gate a 1",
            "gate c 1",
            "revise c",
        ]
    );
}

#[test]
fn only_the_verdicts_that_decide_are_asked_for() {
    let procedure = Procedure::Revise { judging: true };
    let mut plan = constitution(&["a", "b", "c"], 2, Select::RoundRobin, 1);
    for (decide_by, expected) in [
        (DecideBy::Overall, &["judge - 2 0"][..]),
        (DecideBy::Principles, &["judge a 2 0", "judge b 2 0"]),
        (DecideBy::All, &["judge a 2 0", "judge b 2 0", "judge - 2 0"]),
    ] {
        plan.judge.decide_by = decide_by;
        let mut whole = taking(procedure.clone(), plan.clone(), item(None), 0);
        let (batches, stop) =
            walk(&mut whole, |ask| if ask.kind.is_text() { numbered(ask) } else { verdict(1.0) });
        assert_eq!(stop, Stop::Rounds);
        assert_eq!(judgements(&whole)[5..], *expected);
        // They are asked for together, so that they share a prefix.
        assert_eq!(batches.last(), Some(&expected.len()));
    }
    // Without a change, there is nothing to judge.
    let mut same = taking(procedure, plan, item(None), 0);
    walk(&mut same, |_| text("the same"));
    assert_eq!(judgements(&same), ["generate -", "critique a", "revise a"]);
}

#[test]
fn best_candidate_is_revised() {
    let mut plan = constitution(&["a"], 1, Select::All, 1);
    plan.plan.candidates = 3;
    plan.plan.critique = false;
    let mut trajectory = taking(Procedure::Revise { judging: true }, plan, item(None), 0);
    // The second candidate beats both others, the third one narrowly.
    let odds = |about: &[usize]| match about {
        [0, 1] => -1.0,
        [1, 2] => 0.1,
        _ => 0.5,
    };
    let (batches, _) = walk(&mut trajectory, |ask| {
        if ask.kind.is_text() { numbered(ask) } else { verdict(odds(&ask.about)) }
    });
    assert_eq!(batches, [3, 3, 1, 1]);
    assert_eq!(
        judgements(&trajectory)[3..],
        ["judge - 0 1", "judge - 0 2", "judge - 1 2", "revise a", "judge - 3 1"]
    );
    let standings =
        standings(3, &trajectory.steps()[3..6], &trajectory.constitution().judge.standing());
    let expected = [-0.5, 1.1, -0.6];
    for (actual, expected) in standings.into_iter().zip(expected) {
        assert!((actual - expected).abs() < 1e-12, "{actual}, expected {expected}");
    }
}

#[test]
fn contrast_answers_again_under_the_principles_and_judges_both() {
    let mut plan = constitution(&["a", "b", "c"], 3, Select::RoundRobin, 2);
    plan.plan.method = Method::Contrast;
    let procedure = || Procedure::Revise { judging: true };
    let most = procedure().most_steps(&plan);
    let answer = |ask: &StepRequest| if ask.kind.is_text() { numbered(ask) } else { verdict(1.0) };
    let mut whole = taking(procedure(), plan.clone(), item(None), 0);
    let (_, stop) = walk(&mut whole, answer);
    assert_eq!(stop, Stop::Guided);
    assert_eq!(judgements(&whole), ["generate -", "guide a+b", "judge - 1 0"]);
    assert_eq!(most, 3);
    assert_eq!(whole.answer(), Some("text 1"));

    // A supplied answer is the rejected side.
    let mut given = taking(procedure(), plan.clone(), item(Some("given")), 0);
    walk(&mut given, answer);
    assert_eq!(judgements(&given), ["generate -", "guide a+b", "judge - 1 0"]);
    assert_eq!(given.steps()[0].text, "given");

    // The same text needs no verdict.
    let mut same = taking(procedure(), plan.clone(), item(None), 0);
    walk(&mut same, |_| text("the same"));
    assert_eq!(judgements(&same), ["generate -", "guide a+b"]);

    // More principles than there are guide the answer once each.
    plan.plan.principles_per_round = 7;
    let mut each = taking(procedure(), plan, item(None), 0);
    walk(&mut each, answer);
    assert_eq!(judgements(&each)[1], "guide a+b+c");
}

#[test]
fn only_principles_that_the_first_answer_breaks_guide_the_second() {
    let mut plan = constitution(&["a", "b", "c"], 1, Select::All, 1);
    plan.plan.method = Method::Contrast;
    plan.plan.gate = Some(0.5);
    let steps = |plan: &Constitution, violations: [f64; 3]| {
        let mut whole = trajectory(plan.clone(), item(None), 0);
        let (_, stop) = walk(&mut whole, |ask| {
            let principle = ask.principle.unwrap_or_default();
            if ask.kind.is_text() { numbered(ask) } else { violation(violations[principle]) }
        });
        (judgements(&whole).split_off(4), stop)
    };
    let guided = |ids: &str| (vec![format!("guide {ids}")], Stop::Guided);
    assert_eq!(steps(&plan, [0.5, 0.4, 0.9]), guided("a+c"));
    assert_eq!(steps(&plan, [0.1, 0.2, 0.3]), (Vec::new(), Stop::Passed));
    plan.plan.select = Select::Worst;
    assert_eq!(steps(&plan, [0.6, 0.4, 0.9]), guided("c"));
    plan.plan.gate = None;
    assert_eq!(steps(&plan, [0.1, 0.3, 0.3]), guided("b"));
}

#[test]
fn both_methods_start_from_one_first_answer_and_apply_the_same_principles() {
    let mut plan = constitution(&["a", "b"], 2, Select::RoundRobin, 1);
    plan.plan.method = Method::Both;
    plan.plan.critique = false;
    plan.judge.decide_by = DecideBy::Principles;
    let mut whole = taking(Procedure::Revise { judging: true }, plan, item(None), 0);
    let (_, stop) =
        walk(&mut whole, |ask| if ask.kind.is_text() { numbered(ask) } else { verdict(1.0) });
    assert_eq!(stop, Stop::Rounds);
    assert_eq!(
        judgements(&whole),
        [
            "generate -",
            "revise a",
            "revise b",
            "guide a+b",
            "judge a 2 0",
            "judge b 2 0",
            "judge a 3 0",
            "judge b 3 0",
        ]
    );
    // The answer for people is the revision.
    assert_eq!(whole.answer(), Some("text 2"));
}

#[test]
fn a_guided_answer_sees_the_rules_and_keeps_the_system_turn_of_the_item() {
    let mut plan = constitution(&["a", "b"], 1, Select::All, 1);
    plan.plan.method = Method::Contrast;
    let mut with_system = item(Some("given"));
    with_system.messages.insert(0, Message::new(Role::System, "Be a pirate."));
    let templates = Templates::load(None, &fence(), Layout::Conversation).unwrap();
    let rendered = |item| {
        let mut trajectory = trajectory(plan.clone(), item, 0);
        trajectory.accept_given().unwrap();
        let Next::Ask(asks) = trajectory.next() else { panic!("it has ended") };
        let context = trajectory.context(&asks[0], 0, Reasons::None);
        templates.render(asks[0].kind, &context).unwrap().turns
    };
    let turns = rendered(with_system);
    assert_eq!(turns.len(), 2);
    assert_eq!(turns[0].role, Role::System);
    let system = &turns[0].content;
    assert!(system.starts_with("Be a pirate.\n\nKeep these rules"), "{system}");
    assert!(system.ends_with("\n- rule a\n- rule b"), "{system:?}");
    assert_eq!(turns[1], Message::new(Role::User, "Hi"));
    let turns = rendered(item(Some("given")));
    assert!(turns[0].content.starts_with("Keep these rules"), "{turns:?}");
}

#[test]
fn two_given_answers_are_compared() {
    let procedure = Procedure::Compare { principles: [1, 0].into(), overall: true };
    let item = Item { response_b: Some("b".into()), ..item(Some("a")) };
    let mut trajectory = taking(procedure, constitution(&["a", "b"], 1, Select::All, 1), item, 0);
    let (batches, stop) = walk(&mut trajectory, |_| verdict(0.5));
    assert_eq!((batches, stop), (vec![3], Stop::Judged));
    assert_eq!(
        judgements(&trajectory),
        ["generate -", "generate -", "judge - 0 1", "judge b 0 1", "judge a 0 1"]
    );
}

#[test]
fn last_answer_is_marked_before_it_is_written() {
    let mut plan = constitution(&["a", "b"], 2, Select::All, 1);
    plan.plan.gate = Some(0.5);
    let mut trajectory = trajectory(plan, item(None), 0);
    let mut last = Vec::new();
    walk(&mut trajectory, |ask| {
        if ask.last {
            last.push(ask.step);
        }
        if ask.kind.is_text() { numbered(ask) } else { violation(1.0) }
    });
    assert_eq!(last, [trajectory.steps().len() - 1]);
}

fn plans() -> impl Strategy<Value = Constitution> {
    (
        1_usize..6,
        1_u32..4,
        prop::sample::select(vec![
            Select::All,
            Select::Random,
            Select::RoundRobin,
            Select::Weighted,
            Select::Worst,
        ]),
        1_u32..8,
        any::<bool>(),
        any::<bool>(),
        0_u32..3,
        prop::sample::select(vec![None, Some(0.3), Some(0.7)]),
        1_u32..4,
    )
        .prop_map(
            |(count, rounds, select, per_round, critique, stop, few_shot, gate, candidates)| {
                let ids = &["a", "b", "c", "d", "e"][..count];
                let mut plan = constitution(ids, rounds, select, per_round);
                plan.plan.critique = critique;
                plan.plan.stop_unchanged = stop;
                plan.plan.few_shot = few_shot;
                plan.plan.gate = gate;
                plan.plan.candidates = candidates;
                plan
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A loop that is killed after any step and replayed from its journal asks for the
    /// same steps with the same streams, and has the same results.
    #[test]
    fn resumed_loop_equals_the_uninterrupted_one(
        plan in plans(),
        response in prop::option::of("[a-c ]{1,3}"),
        seed in any::<u64>(),
        variety in 1_u64..6,
        judging in any::<bool>(),
    ) {
        // With few different texts, some revisions change nothing.
        let engine = || Scripted::new(move |request: &Request| {
            let Task::Complete { stream, .. } = request.task else { panic!("{request:?}") };
            Ok(format!("Revised answer: text {}", stream.bits(0) % variety))
        });
        let procedure = Procedure::Revise { judging };
        let fresh = taking(procedure, plan, item(response.as_deref()), seed);
        let mut whole = fresh.clone();
        let (asks, stop) = drive(&mut whole, &mut engine()).unwrap();
        for kept in 0..=whole.steps().len() {
            let mut resumed = fresh.clone();
            for step in &whole.steps()[..kept] {
                let line = serde_json::to_string(step).unwrap();
                resumed.replay(serde_json::from_str(&line).unwrap()).unwrap();
            }
            let (rest, resumed_stop) = drive(&mut resumed, &mut engine()).unwrap();
            prop_assert_eq!(resumed.steps(), whole.steps());
            prop_assert_eq!(resumed_stop, stop);
            let left: Vec<StepRequest> = asks.iter().filter(|ask| ask.step >= kept).cloned().collect();
            prop_assert_eq!(rest, left);
        }
    }
}

/// The turns of every request of a loop in the layout `conversation`.
fn conversation(history: bool, critique: bool, texts: &[&str]) -> Vec<Vec<Message>> {
    let mut constitution = constitution(&["a", "b"], 2, Select::RoundRobin, 1);
    constitution.plan.layout = Layout::Conversation;
    constitution.plan.history = history;
    constitution.plan.critique = critique;
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = requests.clone();
    let mut engine = Scripted::new(move |request| {
        log.lock().unwrap().push(request.turns.clone());
        Ok(texts[request.id as usize].clone())
    });
    let mut trajectory = trajectory(constitution, item(None), 1);
    assert_eq!(drive(&mut trajectory, &mut engine).unwrap().1, Stop::Rounds);
    std::mem::take(&mut requests.lock().unwrap())
}

/// Each prompt consists of the one before it, the text that answered it, and a request. A
/// cleaned revision replaces what the model wrote.
#[test]
fn a_conversation_goes_on_from_step_to_step() {
    let written = ["r0 ", " c1\n", "Revised answer: r1", "c2", "r2"];
    let kept = ["r0", " c1\n", "r1", "c2"];
    let requests = conversation(true, true, &written);
    assert_eq!(requests.len(), 5);
    for (step, pair) in requests.windows(2).enumerate() {
        let (before, rest) = pair[1].split_at(pair[0].len());
        assert_eq!(before, pair[0], "step {step}");
        assert_eq!(rest[0], Message::new(Role::Assistant, kept[step]));
        assert_eq!((rest.len(), rest[1].role), (2, Role::User));
    }
    // Without critiques.
    let requests = conversation(true, false, &["r0", "r1", "r2"]);
    for pair in requests.windows(2) {
        assert_eq!(pair[1].len(), pair[0].len() + 2);
        assert!(pair[1].starts_with(&pair[0]));
    }
}

#[test]
fn without_history_a_round_follows_the_prompt_and_the_current_answer() {
    let requests = conversation(false, true, &["r0", "c1", "Revised answer: r1", "c2", "r2"]);
    let [first, .., second_critique, second_revision] = &requests[..] else { panic!() };
    assert_eq!(second_critique[..first.len()], first[..]);
    assert_eq!(second_critique[first.len()], Message::new(Role::Assistant, "r1"));
    assert_eq!(second_critique.len(), first.len() + 2);
    assert!(second_revision.starts_with(second_critique));
}
