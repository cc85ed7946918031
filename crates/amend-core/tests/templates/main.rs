//! Compares chat templates with the reference renderer, text with text, and checks what is
//! detected about the thoughts of each model.
//!
//! `tests/chat-templates` fetches the templates and writes what the reference makes of them to
//! `target/chat-templates/expected.json`. Without that file, which needs a network, the tests
//! print a note and pass.

use std::collections::BTreeMap;
use std::path::Path;

use amend_core::chat::{
    ChatTemplate, Message, NextTurn, Reasoning, ReasoningMode, RenderedChat, ReplyPart, Role,
    ThoughtSplitter, TurnStart,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The shapes of conversations to compare.
const SHAPES: [&str; 8] = [
    "user",
    "system and user",
    "three turns",
    "system and five turns",
    "spaces",
    "a thought",
    "developer and user",
    "a tool call",
];

/// The template that writes an argument in another way if it contains certain characters. In
/// amend no text can influence a template.
const LOOKS_AT_TEXT: (&str, &str) = ("openbmb-MiniCPM5-1B", "a tool call");

/// A template of the reference.
#[derive(Deserialize)]
struct Template {
    source: String,
    cases: Vec<Case>,
}

/// What the reference makes of a conversation.
#[derive(Deserialize)]
struct Case {
    shape: String,
    messages: Vec<Message>,
    variables: Map<String, Value>,
    /// `None` if the template fails.
    text: Option<String>,
}

impl Template {
    fn compile(&self) -> ChatTemplate {
        ChatTemplate::new(&self.source, "<s>", "</s>").expect("a template that compiles")
    }

    /// The case of a shape with these variables. The reference leaves out those that make no
    /// difference.
    fn case(&self, shape: &str, variables: &Map<String, Value>) -> &Case {
        let cases = || self.cases.iter().filter(|case| case.shape == shape);
        let case = cases().find(|case| case.variables == *variables);
        case.or_else(|| cases().find(|case| case.variables.is_empty())).expect("a case")
    }
}

/// The templates by name. `None` if they could not be fetched.
fn templates() -> Option<BTreeMap<String, Template>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("target/chat-templates/expected.json");
    match std::fs::read_to_string(path) {
        Ok(text) => Some(serde_json::from_str(&text).expect("the file of tests/chat-templates")),
        Err(_) => {
            eprintln!("SKIPPED: tests/chat-templates has not fetched the chat templates");
            None
        }
    }
}

/// Where two texts differ, with what stands around.
fn difference(expected: &str, found: &str) -> String {
    let same = expected.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let from = (0..=same.saturating_sub(30)).rev().find(|&at| text.is_char_boundary(at));
        let to = (same + 50..text.len()).find(|&at| text.is_char_boundary(at));
        text[from.unwrap_or(0)..to.unwrap_or(text.len())].to_owned()
    };
    format!("at byte {same}\n    expected {:?}\n    found    {:?}", around(expected), around(found))
}

#[test]
fn every_template_renders_as_the_reference_does() {
    let Some(templates) = templates() else { return };
    let (mut compared, mut problems) = (0, Vec::new());
    for (name, reference) in &templates {
        let template = reference.compile();
        let format = template.reasoning();
        let switch = format.and_then(|format| format.switch.as_ref());
        let mut modes = vec![(ReasoningMode::Auto, switch.map(|switch| &switch.off))];
        modes.extend(switch.map(|switch| (ReasoningMode::On, Some(&switch.on))));
        for shape in SHAPES {
            for (mode, value) in &modes {
                let variables =
                    switch.zip(*value).map(|(switch, value)| (switch.name.clone(), value.clone()));
                let variables = variables.into_iter().collect();
                let case = reference.case(shape, &variables);
                let mut expected = vec![case];
                match shape {
                    // A template that does not know the role gets a system turn.
                    "developer and user" => {
                        expected.push(reference.case("system and user", &variables))
                    }
                    // One that reads no key may read a block.
                    "a thought" => {
                        expected.push(reference.case("a thought in a block", &variables))
                    }
                    _ => {}
                }
                let texts: Vec<&String> =
                    expected.iter().filter_map(|case| case.text.as_ref()).collect();
                let loses_call =
                    |text: &&String| shape == "a tool call" && !text.contains("look_up");
                if texts.is_empty() || texts.iter().any(loses_call) {
                    continue;
                }
                if (name.as_str(), shape) == LOOKS_AT_TEXT {
                    continue;
                }
                let reasoning = Reasoning { mode: *mode, ..Reasoning::default() };
                compared += 1;
                let rendered = template.render(&case.messages, &reasoning, NextTurn::Reply);
                let found = match rendered {
                    Ok(rendered) => rendered.text(),
                    Err(error) => {
                        problems.push(format!("{name}, {shape}, {mode}: {error}"));
                        continue;
                    }
                };
                // After a closed thought, amend also writes what begins the answer.
                let answer = format.and_then(|format| format.answer_starts.first());
                let answer = answer.map_or("", String::as_str);
                let is_same = |text: &String| found == *text || found == format!("{text}{answer}");
                if !texts.iter().any(|text| is_same(text)) {
                    let difference = difference(texts[0], &found);
                    problems.push(format!("{name}, {shape}, {mode}: {difference}"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}\n{} problems", problems.join("\n"), problems.len());
    println!("{compared} renderings of {} templates are those of the reference", templates.len());
}

/// Where the reference raises an exception, amend puts the system turn elsewhere or goes without
/// tools.
#[test]
fn templates_that_the_reference_refuses_render_too() {
    // It needs a variable that only its own application gives.
    const NEEDS_A_VARIABLE: &str = "fireworks-ai-llama-3-firefunction-v2";
    let Some(templates) = templates() else { return };
    for (name, reference) in &templates {
        let template = reference.compile();
        let refused = reference.cases.iter().filter(|case| case.text.is_none());
        for case in refused.filter(|case| case.shape != "a tool call") {
            let reasoning = Reasoning::default();
            let rendered = template.render(&case.messages, &reasoning, NextTurn::Reply);
            assert_eq!(rendered.is_err(), name == NEEDS_A_VARIABLE, "{name}, {}", case.shape);
            let Ok(rendered) = rendered else { continue };
            let text = rendered.text();
            for message in &case.messages {
                assert!(text.contains(message.content.trim()), "{name}, {}", case.shape);
            }
        }
    }
}

/// What is detected for every template, as written in `formats.json`, one template a line.
#[test]
fn thoughts_are_detected_as_listed() {
    let Some(templates) = templates() else { return };
    let found = templates.iter().map(|(name, reference)| {
        let format = json!(reference.compile().reasoning());
        format!("{}: {format}", json!(name))
    });
    let found: Vec<String> = found.collect();
    let listed = include_str!("formats.json");
    let listed: Vec<&str> = listed.lines().map(|line| line.trim_end_matches(',')).collect();
    let listed = &listed[1..listed.len() - 1];
    let lines = |only: &[&str], not: &[&str]| -> Vec<String> {
        only.iter().filter(|line| !not.contains(line)).map(|line| (*line).to_owned()).collect()
    };
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    let (missing, new) = (lines(listed, &found), lines(&found, listed));
    assert!(
        missing.is_empty() && new.is_empty(),
        "formats.json says\n{}\nbut this is detected\n{}",
        missing.join("\n"),
        new.join(",\n")
    );
}

/// The prompt of one user turn.
fn prompt(template: &ChatTemplate, mode: ReasoningMode, next: NextTurn) -> Option<RenderedChat> {
    let reasoning = Reasoning { mode, ..Reasoning::default() };
    template.render(&[Message::new(Role::User, "u")], &reasoning, next).ok()
}

#[test]
fn a_prompt_for_the_answer_has_no_open_thought() {
    let Some(templates) = templates() else { return };
    for (name, reference) in &templates {
        let template = reference.compile();
        let Some(format) = template.reasoning() else { continue };
        for mode in ReasoningMode::ALL {
            let rendered = prompt(&template, mode, NextTurn::Answer).expect("a prompt");
            assert_eq!(rendered.start, TurnStart::Answer, "{name}, {mode}");
            let text = rendered.text();
            let last = |marks: &[String]| marks.iter().filter_map(|mark| text.rfind(&**mark)).max();
            let closes = last(&format.ends).max(last(&format.answer_starts));
            assert!(last(&format.starts) <= closes, "{name}, {mode}: {text}");
        }
    }
}

/// A given thought continues the prompt with which the model would have thought.
#[test]
fn a_given_thought_continues_the_prompt_of_a_thought() {
    let Some(templates) = templates() else { return };
    for (name, reference) in &templates {
        let template = reference.compile();
        let Some(format) = template.reasoning() else { continue };
        let free = prompt(&template, ReasoningMode::On, NextTurn::Reply).expect("a prompt");
        let mut answer = Message::new(Role::Assistant, "An answer.");
        answer.reasoning = Some("A thought.".to_owned());
        let turns = [Message::new(Role::User, "u"), answer];
        let reasoning = Reasoning { mode: ReasoningMode::On, ..Reasoning::default() };
        let given = template.render(&turns, &reasoning, NextTurn::Reply).expect("a prompt");
        let open = if free.start == TurnStart::Thinking { "" } else { &format.open };
        let close = &format.close;
        let expected = format!("{}{open}A thought.{close}An answer.", free.text());
        assert_eq!(given.text(), expected, "{name}");

        // The splitter finds in it what was given.
        let written = &expected[free.text().len()..];
        let mut splitter = ThoughtSplitter::new(format.clone(), free.start);
        let (mut thought, mut text) = (String::new(), String::new());
        for part in splitter.push(written).into_iter().chain(splitter.finish()) {
            match part {
                ReplyPart::Thought(part) => thought.push_str(&part),
                ReplyPart::Answer(part) => text.push_str(&part),
            }
        }
        assert_eq!((thought.trim(), &*text), ("A thought.", "An answer."), "{name}");
    }
}
