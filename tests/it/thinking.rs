//! Models that think before they answer, through the program. In these tiny models, the
//! words of thoughts and of answers differ.

use std::process::Command;

use crate::common::{Place, has_thoughts, tiny_model_path};
use amend_core::record::StepKind;

/// The small loop with a model that thinks.
fn with_model(place: &Place, model: &str, arguments: &str) -> Command {
    let mut command = place.small(arguments);
    command.env("AMEND_MODEL", tiny_model_path(model));
    command
}

fn place_with_questions() -> Place {
    let place = Place::new();
    let questions: String = (1..=8).map(|row| format!("\"Question {row}: why?\"\n")).collect();
    place.write("in.jsonl", questions);
    place
}

#[test]
fn thoughts_are_recorded_and_never_part_of_an_answer() {
    for (model, mode) in [("thinks", "on"), ("opened", "auto"), ("channels", "auto")] {
        let place = place_with_questions();
        let arguments = format!("run in.jsonl --out r --reasoning {mode} --reasoning-budget 30");
        let ran = place.run(&mut with_model(&place, model, &arguments));
        assert_eq!(ran.code, Some(0), "{model}: {}", ran.err);

        let steps = place.steps("r");
        for step in &steps {
            assert!(!has_thoughts(&step.text), "{model}: {step:?}");
            assert!(!has_thoughts(step.raw()), "{model}: {step:?}");
            if let Some(thought) = &step.reasoning {
                assert!(step.kind.is_text() && has_thoughts(thought), "{model}: {step:?}");
                assert!((2..=45).contains(&step.usage.reasoning), "{model}: {step:?}");
            }
        }
        let texts = steps.iter().filter(|step| step.kind.is_text()).count();
        let thoughts = steps.iter().filter(|step| step.reasoning.is_some()).count();
        assert!(texts >= 16 && thoughts * 2 > texts, "{model}: {thoughts} of {texts}");

        for format in ["trl", "sft", "kto", "openrlhf", "llamafactory-sharegpt"] {
            // The judge of a random model decides at random.
            let policy = if format == "sft" { "" } else { "--policy keep" };
            let line = format!("export r --format {format} {policy}");
            let exported = place.run(&mut place.amend(&line));
            assert_eq!(exported.code, Some(0), "{}", exported.err);
            assert!(!exported.out.is_empty() && !has_thoughts(&exported.out), "{model} {format}");
        }
        let piped = format!("--reasoning {mode} Why?");
        let piped = place.run(&mut with_model(&place, model, &piped));
        assert_eq!(piped.code, Some(0), "{}", piped.err);
        assert!(!piped.out.trim().is_empty() && !has_thoughts(&piped.out), "{}", piped.out);
    }
}

#[test]
fn models_with_a_switch_do_not_think_unless_asked() {
    let place = place_with_questions();
    let ran = place.run(&mut with_model(&place, "thinks", "run in.jsonl --out r"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for step in place.steps("r") {
        assert_eq!((step.reasoning, step.usage.reasoning), (None, 0));
    }
}

#[test]
fn a_judge_thinks_in_place_of_written_reasons() {
    for model in ["thinks", "channels"] {
        let place = place_with_questions();
        let small = std::fs::read_to_string(place.path("small.toml")).unwrap();
        let judging = small.replace(
            "[[principle]]",
            "[sampling.judge]\nreasoning = \"on\"\nreasoning_budget = 12\ntemperature = 1\n\
             [judge]\nreasons = 2\n[[principle]]",
        );
        place.write("small.toml", judging);
        let ran = place.run(&mut with_model(&place, model, "run in.jsonl --out r"));
        assert_eq!(ran.code, Some(0), "{model}: {}", ran.err);
        let mut verdicts = 0;
        for step in place.steps("r") {
            if step.kind != StepKind::Judge {
                continue;
            }
            verdicts += 1;
            assert!(step.usage.reasoning >= 4, "{model}: {step:?}");
            let verdict = step.verdict.unwrap();
            let readings = verdict.polls.iter().flat_map(|poll| [&poll.forward, &poll.backward]);
            for readings in readings {
                assert_eq!(readings.len(), 2);
                for reading in readings {
                    let mass = reading.first.exp() + reading.second.exp();
                    assert!((mass - 1.0).abs() < 0.01, "{model}: {mass}");
                }
            }
        }
        assert!(verdicts >= 4, "{model}: {verdicts}");
    }
}

#[test]
fn thoughts_that_cannot_be_are_reported() {
    let place = place_with_questions();
    let arguments = "run in.jsonl --out r --reasoning on";
    let ran = place.run(&mut with_model(&place, "plain", arguments));
    assert_eq!(ran.code, Some(2));
    insta::assert_snapshot!(ran.err, @r"
    in.jsonl: JSON Lines, 8 rows, prompt column: text
    error: the chat template of this model marks no thoughts
    help: pass --reasoning auto, or use a model that thinks
    ");

    let arguments = "run in.jsonl --out r --reasoning on --ctx-size 512";
    let ran = place.run(&mut with_model(&place, "thinks", arguments));
    assert_eq!(ran.code, Some(2));
    insta::assert_snapshot!(ran.err, @r"
    in.jsonl: JSON Lines, 8 rows, prompt column: text
    error: a thought of 1024 tokens does not fit in a context of 512
    help: lower --reasoning-budget, or raise --ctx-size
    ");

    place.write("broken.j2", "{{ messages[0].content }}{% include 'other' %}");
    let arguments = "run in.jsonl --out r --reasoning on --chat-template broken.j2";
    let ran = place.run(&mut with_model(&place, "thinks", arguments));
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("\nerror: the model's chat template fails: "), "{}", ran.err);

    let arguments = "run in.jsonl --out s --reasoning on --reasoning-budget 400";
    let ran = place.run(&mut with_model(&place, "breaks", arguments));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("gave no answer: in a new run, pass --reasoning off"), "{}", ran.err);
    assert!(place.steps("s").is_empty());
}
