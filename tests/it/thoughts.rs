//! What commands show and export of a model's thoughts.

use amend_core::chat::{Message, Role};
use amend_core::model::{Finish, Usage};
use amend_core::record::{Item, Outcome, Step, StepKind, Stop};
use amend_data::store::journal::Record;
use amend_data::store::run_dir::RunDir;
use amend_data::testing;
use serde_json::{Value, json};

use crate::common::Place;
use crate::common::server::{Reply, Server};

/// A place with a run `r` of two items: an answer that was revised, and one that was not.
fn place() -> Place {
    let place = Place::new();
    let mut manifest = testing::manifest();
    manifest.model["reasoning"] = json!({
        "starts": ["<think>"], "ends": ["</think>"], "answer_starts": [],
        "open": "<think>\n", "close": "\n</think>\n\n", "empty": "<think>\n\n</think>\n\n",
        "switch": {"name": "enable_thinking", "on": true, "off": false},
        "thinks_by_default": true, "key": "thinking", "has_effort": false,
    });
    let mut run = RunDir::create(&place.path("r"), &manifest).unwrap();
    let step = |kind, text: &str| Step {
        principle: (kind != StepKind::Generate).then(|| "kind".to_owned()),
        text: text.to_owned(),
        reasoning: Some(format!("Why {text}?")),
        finish: Some(Finish::Stop),
        usage: Usage { decoded: 9, reasoning: 5, ..Usage::default() },
        ..Step::new(kind, u32::from(kind != StepKind::Generate))
    };
    let revised = [StepKind::Generate, StepKind::Critique, StepKind::Revise]
        .map(|kind| step(kind, kind.as_str()));
    for (key, steps) in [("a", &revised[..]), ("b", &revised[..1])] {
        for step in steps {
            run.append(&Record::Step { item: key.to_owned(), step: step.clone() }).unwrap();
        }
        let messages = vec![Message::new(Role::User, "Tea?")];
        let item = Item { messages, ..testing::item(key) };
        let outcome = Outcome::Done { stop: Stop::Rounds };
        run.append(&Record::End { item, outcome }).unwrap();
    }
    place
}

#[test]
fn the_flag_decides_which_thoughts_are_exported_and_the_summary_counts_them() {
    let place = place();
    let export = |arguments: &str| place.run(&mut place.amend(&format!("export r {arguments}")));
    let ran = export("--format sft");
    assert_eq!(ran.err, "2 answers written\n");
    assert!(!ran.out.contains("Why") && ran.out.contains(r#"{"enable_thinking":false}"#));
    let ran = export("--format sft --reasoning field --out rows.jsonl --json");
    assert_eq!(
        ran.err,
        "2 answers written, 1 of them with thoughts, 1 without: an answer is a revision or has no \
         thought\nnext: amend lint rows.jsonl\n"
    );
    let record: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(record["reasoning"], "field");
    assert_eq!((&record["with_thoughts"], &record["without_thoughts"]), (&json!(1), &json!(1)));
    let rows = std::fs::read_to_string(place.path("rows.jsonl")).unwrap();
    assert!(rows.contains(r#""thinking":"Why generate?"#) && !rows.contains("Why revise?"));
    // Revisions have no thoughts to write. The default applies to every format.
    let ran = export("--format trl --reasoning field");
    assert!(
        ran.err.starts_with("1 pair written, 0 of them with thoughts, 1 without: an answer")
            && ran
                .err
                .contains("help: only thoughts of first and guided answers can be exported: pass"),
        "{}",
        ran.err
    );
    assert_eq!(export("--format trajectories --reasoning drop").code, Some(0));
    let ran = export("--format plain-sft --reasoning inline");
    assert!(ran.out.contains(r#""response":"<think>\nWhy generate?\n</think>\n\ngenerate""#));
    // The critique's and the revision's thoughts are in the record of the run only.
    let ran = export("--format trajectories");
    assert!(ran.out.contains(r#""reasoning":"Why critique?""#), "{}", ran.out);
}

#[test]
fn contradictory_flags_are_rejected() {
    let place = place();
    for (arguments, message) in [
        (
            "--format hh-rlhf --reasoning field",
            "error: the format hh-rlhf has no place for thoughts (--reasoning field): use one of \
             trl, kto, ",
        ),
        (
            "--format trajectories --reasoning inline",
            "error: --reasoning does not apply to trajectories: it has all thoughts\n\
             help: omit --reasoning, or export in a trainer's format\n",
        ),
        (
            "--format llamafactory-kto --reasoning field --drop thoughts-left",
            "error: this export writes thoughts into the texts of llamafactory-kto, but \
             thoughts-left drops such rows\nhelp: omit --reasoning, or pass --drop without",
        ),
    ] {
        let ran = place.run(&mut place.amend(&format!("export r {arguments} --out x")));
        assert_eq!(ran.code, Some(2), "{arguments}");
        assert!(ran.err.starts_with(message), "{}", ran.err);
        assert!(!place.path("x").exists(), "{arguments}");
    }
}

#[test]
fn the_report_shows_thoughts_apart_from_the_answers() {
    let place = place();
    let ran = place.run(&mut place.amend("report r"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let page = std::fs::read_to_string(place.path("r/report.html")).unwrap();
    assert!(
        page.contains("<summary>thought <small>5 tokens with its marks</small></summary>"),
        "{page}"
    );
    assert!(page.contains("Why critique?") && page.contains("in thoughts"), "{page}");
}

#[test]
fn a_pipe_prints_answers_only() {
    let server = Server::start(|asked| {
        let top = [("A", 0.75_f64), ("B", 0.25)]
            .map(|(token, p)| json!({"token": token, "logprob": p.ln()}));
        let text = if asked.last().contains("Say it better.") { "Have tea." } else { "Tea." };
        Reply::Json(json!({"choices": [{
            "message": {"content": text, "reasoning_content": "What about tea?"},
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "A", "logprob": -0.3, "top_logprobs": top}]},
        }]}))
    });
    let place = Place::new();
    let ran = place.run(place.small("Why?").env("AMEND_MODEL", &server.url));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "Have tea.\n"), "{}", ran.err);
}
