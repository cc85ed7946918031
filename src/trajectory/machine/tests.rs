//! Whole trajectories on the scripted engine, and their replay.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::chat::{Message, Role};
use crate::constitution::{Example, Plan, Select, StepSampling};
use crate::engine::{Engine, Event, Finish, Request, Scripted, Task};
use crate::template::Templates;

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
        examples: vec![Example {
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
        },
        principles: (1..).zip(ids).map(|(weight, id)| principle(id, f64::from(weight))).collect(),
        dimensions: Vec::new(),
        sampling: StepSampling::default(),
    }
}

fn item(response: Option<&str>) -> Item {
    Item {
        key: "k".into(),
        row: 1,
        id: None,
        messages: vec![Message::new(Role::User, "Hi")],
        response: response.map(str::to_owned),
        metadata: serde_json::Map::new(),
    }
}

fn fence() -> Fence {
    Fence::new("3f9c2a81").unwrap()
}

fn trajectory(constitution: Constitution, item: Item, seed: u64) -> Trajectory {
    let stream = Stream::new(seed).child(&item.key);
    Trajectory::new(Arc::new(constitution), Arc::new(item), stream, fence())
}

/// Drives a trajectory to its end on an engine; returns the calls it asked for
/// and how it stopped.
fn drive(
    trajectory: &mut Trajectory,
    engine: &mut dyn Engine,
) -> Result<(Vec<Ask>, Stop), Failure> {
    let templates = Templates::load(None, &fence()).unwrap();
    let mut asks = Vec::new();
    loop {
        let ask = match trajectory.next() {
            Next::Given => {
                trajectory.accept_given().unwrap();
                continue;
            }
            Next::Done(stop) => return Ok((asks, stop)),
            Next::Ask(ask) => ask,
        };
        let rendered = templates.render(ask.kind, &trajectory.context(&ask))?;
        engine.submit(Request {
            id: ask.step as u64,
            turns: rendered.turns,
            shared_turns: rendered.shared_turns,
            continues: None,
            task: Task::Complete {
                sampling: trajectory.constitution.sampling.revise.clone(),
                stream: ask.stream,
                ignore_eos: false,
            },
        });
        let mut events = Vec::new();
        while engine.step(&mut events).unwrap() {}
        for event in events {
            match event {
                Event::Text { .. } | Event::Chosen { .. } | Event::Scored { .. } => {}
                Event::Done { completion, .. } => {
                    trajectory.accept(completion)?;
                }
                Event::Failed { failure, .. } => return Err(failure),
            }
        }
        asks.push(ask);
    }
}

/// An engine whose answers are all different: the number of the step.
fn counting() -> Scripted {
    Scripted::new(|request| Ok(format!("text {}", request.id)))
}

fn saying(texts: &[&str]) -> Scripted {
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    Scripted::new(move |request| Ok(texts[request.id as usize].clone()))
}

/// The steps in short: `generate`, `1 critique a`, `1 revise a`, …
fn order(trajectory: &Trajectory) -> Vec<String> {
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
fn a_round_criticises_and_revises_by_one_principle_after_another() {
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
    assert_eq!(trajectory.first_answer(), Some("text 0"));
    assert_eq!(trajectory.answer(), Some("text 8"));
}

#[test]
fn each_selection_has_its_order() {
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
fn without_critiques_each_principle_revises_alone() {
    let mut plan = constitution(&["a", "b"], 1, Select::All, 1);
    plan.plan.critique = false;
    let mut trajectory = trajectory(plan, item(None), 0);
    drive(&mut trajectory, &mut counting()).unwrap();
    assert_eq!(order(&trajectory), ["generate", "1 revise a", "1 revise b"]);
}

#[test]
fn prompts_show_the_current_answer_and_the_critique_as_written() {
    let prompts = Arc::new(Mutex::new(Vec::new()));
    let seen = prompts.clone();
    let texts = ["first", "Critique: bad.", "Revision: second", "fine.", "third"];
    let mut engine = Scripted::new(move |request: &Request| {
        let turns: Vec<String> = request.turns.iter().map(|turn| turn.content.clone()).collect();
        seen.lock().unwrap().push(turns);
        Ok(texts[request.id as usize].to_owned())
    });
    let mut trajectory = trajectory(constitution(&["a", "b"], 1, Select::All, 1), item(None), 0);
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
fn an_unchanged_revision_stops_the_loop() {
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
fn a_second_revision_is_compared_with_the_first() {
    let mut trajectory = trajectory(constitution(&["a"], 3, Select::All, 1), item(None), 0);
    let mut engine = saying(&["one", "bad", "two", "bad", "two"]);
    let (_, stop) = drive(&mut trajectory, &mut engine).unwrap();
    assert_eq!((stop, trajectory.steps().len()), (Stop::Unchanged, 5));
}

#[test]
fn an_item_with_an_answer_needs_no_first_call() {
    let mut trajectory =
        trajectory(constitution(&["a"], 1, Select::All, 1), item(Some(" given\n")), 0);
    assert_eq!(trajectory.next(), Next::Given);
    let step = trajectory.accept_given().unwrap();
    assert_eq!(
        *step,
        Step {
            kind: StepKind::Generate,
            round: 0,
            principle: None,
            text: "given".into(),
            raw: Some(" given\n".into()),
            finish: None,
            usage: Usage::default(),
        }
    );
    assert_eq!(trajectory.accept_given(), None);
    let (asks, _) = drive(&mut trajectory, &mut counting()).unwrap();
    assert_eq!(asks[0].kind, StepKind::Critique);
    assert_eq!(order(&trajectory), ["generate", "1 critique a", "1 revise a"]);
}

#[test]
fn a_blank_given_answer_is_none() {
    let trajectory = trajectory(constitution(&["a"], 1, Select::All, 1), item(Some(" \n")), 0);
    assert!(matches!(trajectory.next(), Next::Ask(Ask { kind: StepKind::Generate, .. })));
}

#[test]
fn an_empty_text_fails_and_records_nothing() {
    let mut trajectory = trajectory(constitution(&["a"], 1, Select::All, 1), item(None), 0);
    let failure = drive(&mut trajectory, &mut saying(&["one", " \n"])).unwrap_err();
    assert_eq!(failure, Failure::Empty { step: "critique".into() });
    assert_eq!(order(&trajectory), ["generate"]);
}

#[test]
fn an_answer_cut_off_is_marked_and_stays_current() {
    let mut trajectory = trajectory(constitution(&["a"], 1, Select::All, 1), item(None), 0);
    let cut = "word ".repeat(600);
    drive(&mut trajectory, &mut saying(&["one", "bad", &cut])).unwrap();
    let ends: Vec<_> = trajectory.steps().iter().map(|step| step.finish).collect();
    assert_eq!(ends, [Some(Finish::Stop), Some(Finish::Stop), Some(Finish::Length)]);
    assert_eq!(trajectory.answer(), Some(cut.trim()));
}

#[test]
fn no_principles_end_the_loop_after_the_first_answer() {
    for select in [Select::All, Select::Random, Select::RoundRobin, Select::Weighted] {
        let mut trajectory = trajectory(constitution(&[], 2, select, 1), item(None), 0);
        let (asks, stop) = drive(&mut trajectory, &mut counting()).unwrap();
        assert_eq!((asks.len(), stop), (1, Stop::Rounds));
    }
}

#[test]
#[should_panic(expected = "asked for none")]
fn a_completion_nobody_asked_for_is_the_drivers_mistake() {
    let mut trajectory = trajectory(constitution(&["a"], 1, Select::All, 1), item(Some("x")), 0);
    let completion = Completion { text: "y".into(), finish: Finish::Stop, usage: Usage::default() };
    let _ = trajectory.accept(completion);
}

#[test]
fn steps_that_do_not_belong_are_refused() {
    let mut whole = trajectory(constitution(&["a", "b"], 1, Select::All, 1), item(None), 0);
    let fresh = whole.clone();
    drive(&mut whole, &mut counting()).unwrap();
    let steps = whole.steps().to_vec();
    // Replays the steps before `at`, then the changed one.
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
        "step 2 should be the revise of round 1 under `a`, not the critique of round 1 under `a`"
    );
    assert_eq!(
        refusal(0, |step| step.round = 1),
        "step 0 should be the generate of round 0, not the generate of round 1"
    );
    assert_eq!(
        refusal(0, |step| step.finish = None),
        "step 0 should be an answer of the model's, and is not"
    );
    assert_eq!(
        refusal(3, |step| step.text = " ".into()),
        "step 3, the critique of round 1 under `b`, is empty"
    );
    assert_eq!(refusal(5, |_| {}), "the loop ends before step 5, the generate of round 0");
}

#[test]
fn a_given_answer_is_replayed_only_for_the_item_that_brought_it() {
    let plan = constitution(&["a"], 1, Select::All, 1);
    let mut whole = trajectory(plan.clone(), item(Some(" given ")), 0);
    let step = whole.accept_given().unwrap().clone();
    trajectory(plan.clone(), item(Some(" given ")), 0).replay(step.clone()).unwrap();
    assert_eq!(
        trajectory(plan.clone(), item(Some("other")), 0).replay(step.clone()),
        Err(ReplayError::Origin { given: true })
    );
    assert_eq!(
        trajectory(plan, item(None), 0).replay(step),
        Err(ReplayError::Origin { given: false })
    );
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
        ]),
        1_u32..8,
        any::<bool>(),
        any::<bool>(),
        0_u32..3,
    )
        .prop_map(|(count, rounds, select, per_round, critique, stop_unchanged, few_shot)| {
            let ids = &["a", "b", "c", "d", "e"][..count];
            let mut plan = constitution(ids, rounds, select, per_round);
            plan.plan.critique = critique;
            plan.plan.stop_unchanged = stop_unchanged;
            plan.plan.few_shot = few_shot;
            plan
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Killed after any step and replayed from its journal, a loop asks for the
    /// same calls with the same streams and comes to the same steps.
    #[test]
    fn a_resumed_loop_is_the_unbroken_one(
        plan in plans(),
        response in prop::option::of("[a-c ]{1,3}"),
        seed in any::<u64>(),
        variety in 1_u64..6,
    ) {
        // A small variety makes some revisions equal what they revise.
        let engine = || Scripted::new(move |request: &Request| {
            let Task::Complete { stream, .. } = request.task else { panic!("{request:?}") };
            Ok(format!("Revised answer: text {}", stream.bits(0) % variety))
        });
        let fresh = trajectory(plan, item(response.as_deref()), seed);
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
            let left: Vec<Ask> = asks.iter().filter(|ask| ask.step >= kept).cloned().collect();
            prop_assert_eq!(rest, left);
        }
    }
}
