use serde_json::{Value, json};

use super::*;
use crate::store::reviews::{Choice, Review, ReviewsWriter};
use crate::store::run_dir::RunDir;
use crate::testing::{injection_steps, item, manifest, review, step, verdict};
use amend_core::model::Failure;
use amend_core::record::Stop;

fn trajectory(steps: &[Step]) -> Trajectory {
    let outcome = Outcome::Done { stop: Stop::Rounds };
    Trajectory { item: item("a"), steps: steps.to_vec(), outcome }
}

/// Rules of a run without a judge.
fn unjudged() -> Rules {
    Rules::from_constitution(&manifest().constitution.value)
}

fn generate(text: &str) -> Step {
    step(StepKind::Generate, None, text)
}

fn critique(principle: &str, text: &str) -> Step {
    step(StepKind::Critique, Some(principle), text)
}

fn revise(principle: &str, text: &str) -> Step {
    step(StepKind::Revise, Some(principle), text)
}

fn cut(step: Step) -> Step {
    Step { finish: Some(Finish::Length), ..step }
}

/// Each pair as `chosen>rejected reason principles`, or the reason why it is dropped.
fn described(steps: &[Step], which: Which) -> Vec<String> {
    let describe = |pair: Result<Pair<'_>, DropReason>| match pair {
        Ok(pair) => format!(
            "{}>{} {} {}",
            pair.chosen.text,
            pair.rejected.text,
            pair.reason().unwrap_or("-"),
            pair.principles.join("+")
        ),
        Err(reason) => reason.as_str().to_owned(),
    };
    pairs(&trajectory(steps), which, &unjudged()).into_iter().map(describe).collect()
}

fn guide(principles: &[&str], text: &str) -> Step {
    let principles = principles.iter().map(|&id| id.to_owned()).collect();
    Step { principles, ..step(StepKind::Guide, None, text) }
}

#[test]
fn a_guided_response_is_paired_with_the_first_one_whatever_was_revised() {
    let both = [
        generate("r0"),
        critique("kind", "rude"),
        revise("kind", "r1"),
        revise("true", "r2"),
        guide(&["kind", "true"], "g"),
    ];
    assert_eq!(described(&both, Which::Last), ["g>r0 - kind+true", "r2>r0 rude kind+true"]);
    let adjacent = ["g>r0 - kind+true", "r1>r0 rude kind", "r2>r1 - true"];
    assert_eq!(described(&both, Which::Adjacent), adjacent);
    let methods = |steps: &[Step]| -> Vec<PairMethod> {
        let trajectory = trajectory(steps);
        let pairs = pairs(&trajectory, Which::Last, &unjudged());
        pairs.into_iter().map(|pair| pair.unwrap().method).collect()
    };
    assert_eq!(methods(&both), [PairMethod::Contrast, PairMethod::Revise]);
    assert_eq!(described(&both[..1], Which::Last), ["no_revision"]);

    let contrast = [generate("r0"), guide(&["kind"], "g")];
    for which in Which::ALL {
        assert_eq!(described(&contrast, which), ["g>r0 - kind"], "{}", which.as_str());
    }
    assert_eq!(described(&[generate("same"), guide(&["kind"], " same\n")], Which::Last), ["same"]);
    let answered = trajectory(&contrast);
    let answer = answer(&answered, &unjudged()).unwrap();
    assert_eq!((answer.step.text.as_str(), answer.revised), ("g", None));
    // People review the revision; without one, the guided response.
    let reviewed = |steps: &[Step]| {
        let trajectory = trajectory(steps);
        reviewable(&trajectory, &unjudged()).unwrap().0
    };
    assert_eq!((reviewed(&both), reviewed(&contrast)), ([2, 0], [1, 0]));
}

#[test]
fn the_verdict_on_a_guided_response_decides_its_pair_alone() {
    let constitution = manifest().constitution.value;
    let judge = json!({"policy": "flip", "mass_floor": 0.0, "min_margin": 0.0});
    let judge =
        amend_core::constitution::Judge { enabled: true, ..serde_json::from_value(judge).unwrap() };
    let rules =
        Rules::from_constitution(&amend_core::constitution::Constitution { judge, ..constitution });
    let steps = [
        generate("r0"),
        revise("kind", "r1"),
        guide(&["kind"], "g"),
        verdict(None, [1, 0], 2.0, 0.9),
        verdict(None, [2, 0], -2.0, 0.9),
    ];
    let trajectory = trajectory(&steps);
    let texts: Vec<(String, String)> = pairs(&trajectory, Which::Last, &rules)
        .into_iter()
        .map(|pair| pair.unwrap())
        .map(|pair| (pair.chosen.text.clone(), pair.rejected.text.clone()))
        .collect();
    let pair = |chosen: &str, rejected: &str| (chosen.to_owned(), rejected.to_owned());
    assert_eq!(texts, [pair("r0", "g"), pair("r1", "r0")]);
}

#[test]
fn a_pair_has_the_critique_and_principles_between_its_responses() {
    let steps = [
        generate("r0"),
        critique("kind", "rude"),
        revise("kind", "r1"),
        critique("true", "wrong"),
        revise("true", "r2"),
        critique("kind", "curt"),
        revise("kind", "r3"),
        critique("late", "never answered"),
    ];
    for (which, expected) in [
        (Which::Last, &["r3>r0 curt kind+true"][..]),
        (Which::Adjacent, &["r1>r0 rude kind", "r2>r1 wrong true", "r3>r2 curt kind"]),
        (
            Which::All,
            &[
                "r1>r0 rude kind",
                "r2>r0 wrong kind+true",
                "r2>r1 wrong true",
                "r3>r0 curt kind+true",
                "r3>r1 curt true+kind",
                "r3>r2 curt kind",
            ],
        ),
    ] {
        assert_eq!(described(&steps, which), expected, "{}", which.as_str());
    }
    assert_eq!(described(&[generate("r0"), revise("kind", "r1")], Which::Last), ["r1>r0 - kind"]);
}

/// Rules of a run with a judge.
fn judged(judge: &Value) -> Rules {
    let mut constitution = manifest().constitution.value;
    constitution.judge = serde_json::from_value(judge.clone()).unwrap();
    constitution.principles[0].id = "k".to_owned();
    constitution.principles[0].weight = 3.0;
    Rules::from_constitution(&constitution)
}

#[test]
fn the_policy_decides_the_effect_of_verdicts() {
    let steps = |overall: f64, mass: f64| {
        [
            generate("old"),
            critique("k", "rude"),
            revise("k", "new"),
            verdict(Some("k"), [1, 0], 1.0, 0.9),
            verdict(None, [1, 0], overall, mass),
        ]
    };
    let describe = |judge: Value, steps: &[Step]| match &pairs(
        &trajectory(steps),
        Which::Last,
        &judged(&judge),
    )[..]
    {
        [Ok(pair)] => {
            let margin = pair.judgement.as_ref().map(|found| found.decisive.margin);
            let margin = margin.map_or("-".into(), |margin| format!("{margin:.2}"));
            format!(
                "{}>{} {margin} {}",
                pair.chosen.text,
                pair.rejected.text,
                pair.reason().unwrap_or("-")
            )
        }
        [Err(reason)] => reason.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    for (policy, odds, mass, expected) in [
        ("keep", -2.0, 0.9, "new>old - rude"),
        ("keep-with-label", -2.0, 0.9, "new>old -2.00 rude"),
        ("keep-with-label", -2.0, 0.3, "new>old -2.00 rude"),
        ("flip", -2.0, 0.9, "old>new 2.00 -"),
        ("flip", 2.0, 0.9, "new>old 2.00 rude"),
        ("flip", -2.0, 0.3, "undecided"),
        ("flip", 2.0, 0.3, "undecided"),
        ("drop", 2.0, 0.9, "new>old 2.00 rude"),
        ("drop", -2.0, 0.9, "not_better"),
        ("drop", 2.0, 0.3, "undecided"),
    ] {
        assert_eq!(
            describe(json!({"policy": policy}), &steps(odds, mass)),
            expected,
            "{policy} {odds} {mass}"
        );
    }
    // The principle has weight 3 and margin 1.0, overall has weight 1 and margin −2.0.
    for (decide_by, expected) in [
        ("overall", "new>old -2.00 rude"),
        ("principles", "new>old 1.00 rude"),
        ("all", "new>old 0.25 rude"),
    ] {
        let judge = json!({"decide_by": decide_by, "policy": "keep-with-label"});
        assert_eq!(describe(judge, &steps(-2.0, 0.9)), expected);
    }
    // A verdict below the least margin is undecided.
    let strict = json!({"policy": "drop", "min_margin": 2.5});
    assert_eq!(describe(strict, &steps(2.0, 0.9)), "undecided");
    // There is no verdict, as after an interrupted run of a judge.
    for (policy, expected) in [
        ("drop", "undecided"),
        ("flip", "undecided"),
        ("keep-with-label", "new>old - rude"),
        ("keep", "new>old - rude"),
    ] {
        let unjudged = &steps(2.0, 0.9)[..3];
        assert_eq!(describe(json!({"policy": policy}), unjudged), expected, "{policy}");
    }
}

#[test]
fn reviews_override_verdicts() {
    let steps = [
        generate("old"),
        critique("k", "rude"),
        revise("k", "new"),
        verdict(None, [1, 0], -2.0, 0.9),
    ];
    let trajectory = trajectory(&steps);
    let key = trajectory.item.key.clone();
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path(), &manifest()).unwrap().dir().clone();
    let describe = |choices: &[(Choice, Option<&str>)]| {
        let mut writer = ReviewsWriter::open(&run).unwrap();
        for (number, &(choice, edited)) in choices.iter().enumerate() {
            let edited = edited.map(str::to_owned);
            let name = format!("reviewer {number}");
            writer.add(Review { edited, ..review(&key, &name, choice) }).unwrap();
        }
        let reviews = writer.reviews().clone();
        for number in 0..choices.len() {
            writer.undo(&format!("reviewer {number}")).unwrap();
        }
        let rules = judged(&json!({"policy": "flip"})).with_reviews(reviews);
        let answer = match answer(&trajectory, &rules) {
            Ok(answer) => {
                format!("{} {}", answer.step.text, answer.review.unwrap().reviewers.len())
            }
            Err(reason) => reason.as_str().to_owned(),
        };
        let pair = match &pairs(&trajectory, Which::Last, &rules)[..] {
            [Ok(pair)] => format!(
                "{}>{} {:.0} {} {}",
                pair.chosen.text,
                pair.rejected.text,
                pair.judgement.as_ref().unwrap().decisive.margin,
                pair.reason().unwrap_or("-"),
                pair.review.as_ref().unwrap().reviewers.len()
            ),
            [Err(reason)] => reason.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        [pair, answer]
    };
    // The revision is on the left; the judge prefers the other response.
    for (choices, expected) in [
        (&[(Choice::Left, None)][..], ["new>old -2 rude 1", "new 1"]),
        (&[(Choice::Right, None)], ["old>new 2 - 1", "old 1"]),
        (&[(Choice::Left, Some("newer"))], ["newer>old -2 rude 1", "newer 1"]),
        (&[(Choice::Left, Some("old "))], ["same", "old  1"]),
        (&[(Choice::Tie, None)], ["tie", "new 1"]),
        (&[(Choice::BothBad, None)], ["both_bad", "both_bad"]),
        (&[(Choice::Left, None), (Choice::Right, None)], ["disputed", "disputed"]),
        (
            &[(Choice::Left, None), (Choice::Right, None), (Choice::Right, Some("older"))],
            ["older>new 2 - 3", "older 3"],
        ),
    ] {
        assert_eq!(describe(choices), expected, "{choices:?}");
    }
}

#[test]
fn a_required_review_blocks_pairs_and_answers() {
    let steps = [generate("old"), revise("k", "new"), revise("l", "newer")];
    let trajectory = trajectory(&steps);
    let rules = |category: &str| {
        let mut constitution = manifest().constitution.value;
        for (principle, (id, category)) in
            constitution.principles.iter_mut().zip([("l", "courts"), ("m", "x")])
        {
            principle.id = id.to_owned();
            principle.category = category.to_owned();
        }
        constitution.governance.require_review = vec![category.to_owned()];
        Rules::from_constitution(&constitution)
    };
    assert!(rules("courts").require_reviews() && !rules("y").require_reviews());
    let pairs_without = pairs(&trajectory, Which::Last, &rules("x"));
    assert!(matches!(pairs_without[..], [Ok(_)]), "{pairs_without:?}");
    let required = rules("courts");
    let unreviewed = vec![Err(DropReason::Unreviewed); 3];
    assert_eq!(pairs(&trajectory, Which::All, &required), unreviewed);
    assert_eq!(answer(&trajectory, &required), Err(DropReason::Unreviewed));
    // The last pair can still be reviewed.
    let (numbers, pair) = reviewable(&trajectory, &required).unwrap();
    assert_eq!((numbers, pair.chosen.text.as_str()), ([2, 0], "newer"));
}

#[test]
fn candidates_are_paired_by_their_verdicts() {
    let steps = [
        generate("a"),
        generate("b"),
        generate("c"),
        verdict(None, [0, 1], -1.0, 0.9),
        verdict(None, [0, 2], 0.4, 0.9),
        verdict(None, [1, 2], 2.0, 0.2),
        revise("k", "d"),
    ];
    // Standings: a −0.6, b 1, c −0.4; b against c is undecided.
    let describe = |judge: Value| -> Vec<String> {
        let texts = |pair: Result<Pair<'_>, DropReason>| match pair {
            Ok(pair) => format!("{}>{}", pair.chosen.text, pair.rejected.text),
            Err(reason) => reason.as_str().to_owned(),
        };
        pairs(&trajectory(&steps), Which::Last, &judged(&judge)).into_iter().map(texts).collect()
    };
    // The revision d was not judged, so it is in no pair.
    assert_eq!(describe(json!({})), ["b>a", "undecided"]);
    assert_eq!(describe(json!({"policy": "keep-with-label"})), ["b>a", "d>b"]);
    assert_eq!(describe(json!({"pairs": "all"})), ["b>a", "a>c", "undecided", "undecided"]);
    // Candidates are judged overall, even if principles decide about revisions.
    let principles = json!({"pairs": "all", "decide_by": "principles"});
    assert_eq!(describe(principles), ["b>a", "a>c", "undecided", "undecided"]);
    // An offset applies to the response that the step names first.
    let offset = json!({"pairs": "all", "calibration": {"temperature": 1.0, "offset": -1.0}});
    assert_eq!(describe(offset), ["b>a", "c>a", "undecided", "undecided"]);
}

#[test]
fn a_candidate_whose_direct_verdict_is_for_the_other_is_not_better() {
    // The sums say a > b > c, the direct verdict prefers c to a.
    let steps = [
        generate("a"),
        generate("b"),
        generate("c"),
        verdict(None, [0, 1], 3.0, 0.9),
        verdict(None, [0, 2], -1.0, 0.9),
        verdict(None, [1, 2], 3.0, 0.9),
    ];
    let trajectory = trajectory(&steps);
    let found = pairs(&trajectory, Which::Last, &judged(&json!({})));
    assert_eq!(found, [Err(DropReason::NotBetter)]);
}

#[test]
fn without_revisions_the_best_candidate_is_the_answer() {
    let steps = [generate("a"), generate("b"), verdict(None, [0, 1], 1.0, 0.9)];
    let trajectory = trajectory(&steps);
    let step = answer(&trajectory, &judged(&json!({}))).unwrap().step;
    assert_eq!(step.text, "a");
}

#[test]
fn a_flipped_pair_keeps_its_absolute_margin() {
    let steps = [
        generate("old"),
        critique("k", "rude"),
        revise("k", "new"),
        verdict(None, [1, 0], 1.0, 0.9),
    ];
    let rules = judged(&json!({
        "policy": "flip", "calibration": {"temperature": 2.0, "offset": -2.0},
    }));
    let trajectory = trajectory(&steps);
    let [Ok(pair)] = &pairs(&trajectory, Which::Last, &rules)[..] else { panic!("no pair") };
    let decisive = pair.judgement.as_ref().unwrap().decisive;
    assert_eq!(pair.chosen.text, "old");
    // (1 − 2) / 2 for the revision.
    assert!((decisive.margin - 0.5).abs() < 1e-9 && decisive.p > 0.6, "{decisive:?}");
}

#[test]
fn equal_pairs_are_written_once() {
    let steps = [generate("a"), revise("k", "b"), revise("k", "b "), revise("k", "c")];
    assert_eq!(
        described(&steps, Which::All),
        ["b>a - k", "repeated", "same", "c>a - k", "c>b - k", "repeated"]
    );
    assert_eq!(described(&steps, Which::Adjacent), ["b>a - k", "same", "c>b  - k"]);
}

#[test]
fn a_dropped_pair_has_the_first_reason_that_applies() {
    let given = |step: Step| Step { finish: None, ..step };
    for (steps, expected) in [
        (vec![], Err(DropReason::NoRevision)),
        (vec![generate("x"), critique("k", "c")], Err(DropReason::NoRevision)),
        (vec![revise("k", "x"), revise("k", "y")], Err(DropReason::NoRevision)),
        (vec![generate(" \n"), revise("k", "x")], Err(DropReason::Empty)),
        (vec![cut(generate("x")), revise("k", "")], Err(DropReason::Empty)),
        (vec![cut(generate("x")), revise("k", "y")], Err(DropReason::Cut)),
        (vec![generate("x"), cut(revise("k", "x"))], Err(DropReason::Cut)),
        (vec![generate("<think>a</think>x"), revise("k", "y")], Err(DropReason::Thought)),
        (vec![generate("x"), revise("k", "a</think>\n\ny")], Err(DropReason::Thought)),
        (vec![generate("x"), revise("k", "x \n")], Err(DropReason::Same)),
        (vec![generate("x"), revise("k", "y"), revise("l", "x")], Err(DropReason::Same)),
        // Cut off in between or in the critique: both responses are complete.
        (vec![generate("x"), cut(revise("k", "y")), revise("l", "z")], Ok("z")),
        (vec![generate("x"), cut(critique("k", "c")), revise("k", "y")], Ok("y")),
        (vec![given(generate("x")), revise("k", "y")], Ok("y")),
    ] {
        let trajectory = trajectory(&steps);
        let chosen: Vec<_> = pairs(&trajectory, Which::Last, &unjudged())
            .into_iter()
            .map(|pair| pair.map(|pair| pair.chosen.text.clone()))
            .collect();
        assert_eq!(chosen, [expected.map(str::to_owned)], "{steps:?}");
        let outcome = Outcome::Failed { failure: Failure::NotFinite };
        let failed = Trajectory { outcome, ..trajectory };
        assert_eq!(pairs(&failed, Which::All, &unjudged()), [Err(DropReason::Failed)]);
        assert_eq!(answer(&failed, &unjudged()), Err(DropReason::Failed));
    }
}

#[test]
fn the_answer_is_the_last_response_if_complete() {
    for (steps, expected) in [
        (vec![], Err(DropReason::Empty)),
        (vec![generate("x"), critique("k", "c")], Ok("x")),
        (vec![generate("x"), revise("k", "y"), critique("k", "c")], Ok("y")),
        (vec![generate("x"), revise("k", "x")], Ok("x")),
        (vec![generate("x"), revise("k", " ")], Err(DropReason::Empty)),
        (vec![generate("x"), cut(revise("k", "y"))], Err(DropReason::Cut)),
    ] {
        let trajectory = trajectory(&steps);
        let text = answer(&trajectory, &unjudged()).map(|answer| answer.step.text.clone());
        assert_eq!(text, expected.map(str::to_owned), "{steps:?}");
    }
}

#[test]
fn a_response_with_an_injection_is_ignored() {
    for steps in [
        vec![generate("x")],
        vec![generate("x"), critique("k", "c"), revise("k", "y")],
        vec![generate("x"), revise("k", "y"), revise("l", "z")],
        vec![generate("x"), generate("y"), verdict(None, [0, 1], -2.0, 0.9)],
        vec![generate("x"), generate("y"), verdict(None, [0, 1], -2.0, 0.9), revise("k", "z")],
    ] {
        let clean = trajectory(&steps);
        let count = answer_steps(&steps).count();
        let scored = trajectory(&[&steps[..], &injection_steps(count - 1, "x")[..]].concat());
        for policy in ["keep-with-label", "drop"] {
            let rules = judged(&json!({"policy": policy}));
            for which in Which::ALL {
                assert_eq!(
                    pairs(&scored, which, &rules),
                    pairs(&clean, which, &rules),
                    "{policy} {} {steps:?}",
                    which.as_str()
                );
            }
            assert_eq!(reviewable(&scored, &rules), reviewable(&clean, &rules), "{steps:?}");
            // The answer that `sft` writes.
            let expected = answer(&clean, &rules);
            assert!(expected.is_ok(), "{steps:?}");
            assert_eq!(answer(&scored, &rules), expected, "{steps:?}");
        }
    }
}

#[test]
fn reasons_serialize_to_their_names() {
    for reason in DropReason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
}
