//! Compares chat templates with the reference renderer, text with text, and checks what is
//! detected about the thoughts of each model.
//!
//! `tests/chat-templates` fetches the templates and writes what the reference makes of them to
//! `target/chat-templates/expected.json`. Without that file, which needs a network, the tests
//! print a note and pass.

use std::collections::BTreeMap;
use std::path::Path;

use amend_core::chat::{
    ChatTemplate, Message, NextTurn, Reasoning, ReasoningMode, Role, Segment, TurnStart,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

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

fn joined(segments: &[Segment]) -> String {
    let texts = segments.iter().map(|segment| match segment {
        Segment::Scaffold(text) | Segment::Content(_, text) | Segment::Thought(_, text) => {
            text.as_str()
        }
    });
    texts.collect()
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
        let mut shapes: Vec<&str> = reference.cases.iter().map(|case| &*case.shape).collect();
        shapes.dedup();
        for shape in shapes {
            for (mode, value) in &modes {
                let variables =
                    switch.zip(*value).map(|(it, value)| (it.name.clone(), value.clone()));
                let variables = variables.into_iter().collect();
                let case = reference.case(shape, &variables);
                let Some(expected) = &case.text else { continue };
                if case.messages[0].role == Role::Developer
                    && !reference.source.contains("developer")
                {
                    // The template would write the name of a role that it does not know.
                    continue;
                }
                let reasoning = Reasoning { mode: *mode, ..Reasoning::default() };
                compared += 1;
                match template.render(&case.messages, &reasoning, NextTurn::Reply) {
                    Ok(rendered) => {
                        let found = joined(&rendered.segments);
                        // After a closed thought, amend also writes what begins the answer.
                        let answer = format.and_then(|format| format.answer_starts.first());
                        let is_same = found == *expected
                            || answer.is_some_and(|it| found == format!("{expected}{it}"));
                        if !is_same {
                            let difference = difference(expected, &found);
                            problems.push(format!("{name}, {shape}, {mode}: {difference}"));
                        }
                    }
                    Err(error) => problems.push(format!("{name}, {shape}, {mode}: {error}")),
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}\n{} problems", problems.join("\n"), problems.len());
    println!("{compared} renderings of {} templates are those of the reference", templates.len());
}
