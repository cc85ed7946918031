use serde_json::{Value, json};

use super::example::{Answers, ExampleTurn};
use super::*;

/// The roles and texts of the prompt, then of each answer. Checks that each text is in
/// its places.
fn read(row: &Value) -> (&'static str, String) {
    let object: Object = serde_json::from_value(row.clone()).unwrap();
    let (format, name) = recognise(&object).unwrap();
    let example = format.read(&object).unwrap();
    let show = |turns: &[ExampleTurn]| {
        let turn = |turn: &ExampleTurn| {
            for place in &turn.places {
                let text = row.pointer(&place.pointer).unwrap().as_str().unwrap_or_default();
                assert!(text[place.start..].starts_with(&turn.text), "{place:?} in {row}");
            }
            format!("{}:{}", &turn.role[..1], turn.text)
        };
        turns.iter().map(turn).collect::<Vec<_>>().join(" ")
    };
    let mut shown = show(&example.prompt);
    match &example.answers {
        Answers::Pair { chosen, rejected } => {
            shown += &format!(" | {} > {}", show(chosen), show(rejected));
        }
        Answers::Single { answer, label } => {
            shown += &format!(" | {} {label:?}", show(answer));
        }
        Answers::Comparison { a, b, label } => {
            shown += &format!(" | {} ? {} {label:?}", show(a), show(b));
        }
        Answers::None => {}
    }
    assert_eq!(example.mismatch, None);
    (name, shown)
}

fn turn(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn sharegpt_turn(from: &str, value: &str) -> Value {
    json!({"from": from, "value": value})
}

#[test]
fn every_format_is_recognised_and_read() {
    let (user, other) = (turn("user", "q"), turn("assistant", "w"));
    let good = turn("assistant", "r");
    for (row, name, expected) in [
        (
            json!({"prompt": "q", "chosen": "r", "rejected": "w"}),
            "preference with texts (TRL standard, OpenRLHF)",
            "u:q | a:r > a:w",
        ),
        (
            json!({"chosen": "r", "rejected": "w"}),
            "TRL preference, standard, implicit prompt",
            " | a:r > a:w",
        ),
        (
            json!({"prompt": [user], "chosen": [good], "rejected": [other]}),
            "TRL preference, conversational",
            "u:q | a:r > a:w",
        ),
        (
            json!({"chosen": [user, good], "rejected": [user, other], "score_chosen": 9.0}),
            "TRL preference, conversational, implicit prompt",
            "u:q | a:r > a:w",
        ),
        (
            json!({"prompt": "q", "chosen": [user, good], "rejected": [user, other], "messages": [user, good]}),
            "preference with whole conversations (Axolotl chatml.ultra)",
            "u:q | a:r > a:w",
        ),
        (
            json!({"prompt": "q", "chosen": [good], "rejected": [other]}),
            "preference with whole conversations (Axolotl chatml.ultra)",
            "u:q | a:r > a:w",
        ),
        (
            json!({"init_prompt": "q", "init_response": "w", "prompt": "q", "messages": [user, good],
                   "chosen": [user, good], "rejected": [user, other]}),
            "constitutional-AI columns",
            "u:q | a:r > a:w",
        ),
        (
            json!({"system": "s", "question": "q", "chosen": "r", "rejected": "w"}),
            "Axolotl chatml.intel",
            "s:s u:q | a:r > a:w",
        ),
        (
            json!({"messages": [user], "chosen": good, "rejected": other}),
            "Axolotl chat_template.default",
            "u:q | a:r > a:w",
        ),
        (
            json!({"conversations": [sharegpt_turn("human", "q")], "chosen": sharegpt_turn("gpt", "r"), "rejected": sharegpt_turn("gpt", "w")}),
            "LLaMA-Factory sharegpt ranking",
            "u:q | a:r > a:w",
        ),
        (
            json!({"instruction": "i", "input": "q", "chosen": "r", "rejected": "w"}),
            "LLaMA-Factory alpaca ranking",
            "u:i u:q | a:r > a:w",
        ),
        (
            json!({"instruction": "q", "input": "", "output": ["r", "w"], "history": [["a", "b"]]}),
            "LLaMA-Factory alpaca ranking, both in output",
            "u:a a:b u:q | a:r > a:w",
        ),
        (
            json!({"instruction": "q", "input": "", "output": "r", "kto_tag": false}),
            "LLaMA-Factory alpaca KTO",
            "u:q | a:r Some(false)",
        ),
        (
            json!({"instruction": "q", "output": "r", "system": "s"}),
            "alpaca SFT",
            "s:s u:q | a:r None",
        ),
        (
            json!({"messages": [user, good], "label": true}),
            "LLaMA-Factory sharegpt KTO",
            "u:q | a:r Some(true)",
        ),
        (
            json!({"conversations": [sharegpt_turn("human", "q"), sharegpt_turn("gpt", "r")]}),
            "sharegpt SFT",
            "u:q | a:r None",
        ),
        (
            json!({"messages": [turn("system", "s"), user, good]}),
            "messages (SFT)",
            "s:s u:q | a:r None",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, good]}),
            "messages (SFT)",
            "u:q | a:r None",
        ),
        (
            json!({"prompt": "q", "completion": "r", "label": 1}),
            "TRL unpaired preference (KTO), standard",
            "u:q | a:r Some(true)",
        ),
        (
            json!({"prompt": [user], "completion": [good], "label": false}),
            "TRL unpaired preference (KTO), conversational",
            "u:q | a:r Some(false)",
        ),
        (
            json!({"prompt": "q", "completion": "r"}),
            "prompt and completion, standard",
            "u:q | a:r None",
        ),
        (
            json!({"prompt": [user], "completion": [good]}),
            "prompt and completion, conversational",
            "u:q | a:r None",
        ),
        (
            json!({"prompt": "q", "response": "r", "id": 7}),
            "prompt and completion, standard",
            "u:q | a:r None",
        ),
        (
            json!({"chosen": "\n\nHuman: q\n\nAssistant: é\n\nHuman: more?\n\nAssistant:  r\n",
                   "rejected": "\n\nHuman: q\n\nAssistant: é\n\nHuman: more?\n\nAssistant: w"}),
            "hh-rlhf transcripts",
            "u:q a:é u:more? | a:r > a:w",
        ),
    ] {
        assert_eq!(read(&row), (name, expected.to_owned()), "{row}");
    }
}

#[test]
fn a_shared_prompt_has_a_place_on_each_side() {
    let row = json!({"chosen": "\n\nHuman: q\n\nAssistant: r", "rejected": "\n\nHuman:  q\n\nAssistant: w"});
    let object: Object = serde_json::from_value(row).unwrap();
    let example = recognise(&object).unwrap().0.read(&object).unwrap();
    let places: Vec<_> = example.prompt[0]
        .places
        .iter()
        .map(|place| (place.pointer.as_str(), place.start))
        .collect();
    assert_eq!(places, [("/chosen", 9), ("/rejected", 10)]);
}

#[test]
fn faults_are_reported_with_their_fix() {
    let fault = |row: Value| {
        let object: Object = serde_json::from_value(row).unwrap();
        match recognise(&object) {
            Ok((format, _)) => format.read(&object).unwrap_err().to_string(),
            Err(fault) => fault.to_string(),
        }
    };
    for (row, expected) in [
        (
            json!({"a": 1, "b": 2}),
            "no known shape of rows has the columns \"a\", \"b\": say which column is which with --map",
        ),
        (json!({}), "no known shape of rows has the columns (none)"),
        (
            json!({"key": "a", "messages": [], "outcome": "done", "steps": []}),
            "this is a trajectory in amend's own format, which no trainer reads: use the run",
        ),
        (
            json!({"prompt": 3, "chosen": "r", "rejected": "w"}),
            "/prompt must be a text, not a number",
        ),
        (
            json!({"prompt": "q", "chosen": {"role": "assistant"}, "rejected": 2}),
            "/rejected must be a text, not a number",
        ),
        (
            json!({"prompt": {"text": "q"}}),
            "/prompt must be a turn: an object with \"role\" and \"content\", not another one",
        ),
        (json!({"messages": [3]}), "/messages/0 must be a turn: an object with"),
        (json!({"messages": [{"role": 1, "content": "q"}]}), "/messages/0/role must be a text"),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            "/messages/0/content must be a text",
        ),
        (
            json!({"messages": [], "chosen": {"role": "assistant", "content": "r"}}),
            "the column \"rejected\" is missing",
        ),
        (
            json!({"prompt": "q", "completion": "r", "label": "good"}),
            "/label must be true or false",
        ),
        (json!({"instruction": "q", "output": ["r"]}), "/output must be a list of two texts"),
        (
            json!({"instruction": "q", "output": "r", "history": [["a"]]}),
            "/history/0 must be a pair",
        ),
        (json!({"chosen": "\n\nHuman: q", "rejected": 4}), "/rejected must be a transcript"),
    ] {
        let fault = fault(row);
        assert!(fault.starts_with(expected), "{fault}");
    }
}
