//! Every format of pairs, labelled answers and single answers that an export writes is read
//! back as it was.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::Value;

use super::example::{Answers, Example, ExampleTurn, Object};
use super::origin::Provenance;
use super::thoughts::{ReasoningPolicy, Sides, ThoughtPlace, ThoughtWriter};
use super::write::{ExportFormat, ExportRow, FORMATS, Rows};
use super::{Columns, RowKind, SHAPES};
use crate::pairs::judgement::Judgement;
use crate::pairs::{DropReason, Pair, PairMethod};
use crate::store::reviews::Reviews;
use crate::store::run_dir::RunDir;
use crate::testing::{item, manifest, step};
use amend_core::chat::{Message, Role};
use amend_core::judge::Combined;
use amend_core::record::{Item, StepKind};

/// What a text may be made of.
const PARTS: [&str; 18] = [
    "tea",
    "é",
    "\"",
    "'",
    "\\",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\u{2028}",
    "\u{2029}",
    "\u{85}",
    "\u{a0}",
    "<b>",
    "[{\"role\": \"user\", \"content\": \"hi\"}]",
    "Human: ",
    "Assistant: ",
    "🙂",
];

/// A text that is not blank and not a transcript.
fn text() -> impl Strategy<Value = String> {
    let parts = prop::collection::vec(prop::sample::select(&PARTS[..]), 1..6);
    parts.prop_map(|parts| parts.concat()).prop_filter("blank or a transcript", |text| {
        !text.trim().is_empty() && !text.trim_start().starts_with("Human:")
    })
}

/// A conversation that ends with the user's turn.
fn conversation() -> impl Strategy<Value = Vec<Message>> {
    let system = prop::option::of(text());
    let exchanges = prop::collection::vec((text(), text()), 0..2);
    (system, exchanges, text()).prop_map(|(system, exchanges, asked)| {
        let mut messages: Vec<Message> =
            system.into_iter().map(|text| Message::new(Role::System, text)).collect();
        for (asked, answered) in exchanges {
            messages.push(Message::new(Role::User, asked));
            messages.push(Message::new(Role::Assistant, answered));
        }
        messages.push(Message::new(Role::User, asked));
        messages
    })
}

fn run(folder: &std::path::Path) -> RunDir {
    RunDir::create(folder, &manifest()).unwrap().dir().clone()
}

fn provenance(run: &RunDir) -> Provenance<'_> {
    let thoughts = ThoughtWriter::new(ReasoningPolicy::Drop, ThoughtPlace::Nowhere, &Value::Null);
    Provenance::new(run, Reviews::default(), None, thoughts)
}

fn pair<'a>(item: &'a Item, chosen: &str, rejected: &str) -> Pair<'a> {
    Pair {
        item,
        method: PairMethod::Revise,
        chosen: Cow::Owned(step(StepKind::Revise, None, chosen)),
        rejected: Cow::Owned(step(StepKind::Generate, None, rejected)),
        critique: None,
        principles: Vec::new(),
        judgement: None,
        review: None,
        revised: None,
    }
}

/// The row of a pair. `None` if the format is not one of pairs.
fn write(
    format: &ExportFormat,
    pair: &Pair<'_>,
    run: &Provenance<'_>,
) -> Option<Result<ExportRow, DropReason>> {
    let Rows::Pairs(make) = &format.rows else { return None };
    let thoughts = run.thoughts.decide(&[&pair.chosen, &pair.rejected]);
    let sides = Sides {
        chosen: run.thoughts.response(&pair.chosen, thoughts),
        rejected: run.thoughts.response(&pair.rejected, thoughts),
    };
    Some(make(pair, &sides, run))
}

fn read(row: &ExportRow) -> Example {
    let line = Value::Object(row.clone()).to_string();
    let row: Object = serde_json::from_str(&line).unwrap();
    let columns = Columns::default();
    let (shape, _) = columns.recognise(&row).unwrap();
    columns.read(shape, &row).unwrap()
}

/// Roles and texts. Transcripts lose white space around texts.
fn shown(turns: &[ExampleTurn], trims: bool) -> Vec<(&str, &str)> {
    let text = |text| if trims { str::trim(text) } else { text };
    turns.iter().map(|turn| (turn.role.as_str(), text(&turn.text))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_written_pair_is_read_back(
        messages in conversation(),
        chosen in text(),
        rejected in text(),
        key in "[0-9a-f]{32}",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let run = provenance(&run);
        let item = Item { messages, ..item(&key) };
        let pair = pair(&item, &chosen, &rejected);
        for format in FORMATS {
            let row = match write(format, &pair, &run) {
                None | Some(Err(DropReason::Conversation)) => continue,
                Some(row) => row.unwrap(),
            };
            let example = read(&row);
            let trims = format.name == "hh-rlhf";
            let text = |text| if trims { str::trim(text) } else { text };
            let asked: Vec<(&str, &str)> = item
                .messages
                .iter()
                .map(|turn| (turn.role.as_str(), text(&turn.content)))
                .collect();
            prop_assert_eq!(shown(&example.prompt, trims), asked, "{}", format.name);
            let [first, second] = example.pair().unwrap();
            prop_assert_eq!(shown(first, trims), [("assistant", text(&chosen))], "{}", format.name);
            prop_assert_eq!(shown(second, trims), [("assistant", text(&rejected))], "{}", format.name);
            prop_assert_eq!(example.mismatch, None);
        }
    }
}

/// The row of an answer with a label. `None` if the format is one of pairs or steps.
fn write_answer(
    format: &ExportFormat,
    item: &Item,
    text: &str,
    label: bool,
    run: &Provenance<'_>,
) -> Option<Result<ExportRow, DropReason>> {
    let answer = step(StepKind::Revise, None, text);
    let response = run.thoughts.response(&answer, run.thoughts.decide(&[&answer]));
    match &format.rows {
        Rows::Labels(make) => Some(make(item, &response, label)),
        Rows::Answers(make) => Some(make(item, &response)),
        Rows::Pairs(_) | Rows::Steps(_) | Rows::Trajectories(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_written_answer_is_read_back_with_its_label(
        messages in conversation(),
        answer in text(),
        chosen in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let run = provenance(&run);
        let item = Item { messages, ..item("a") };
        for format in FORMATS {
            let row = match write_answer(format, &item, &answer, chosen, &run) {
                None | Some(Err(DropReason::Conversation)) => continue,
                Some(row) => row.unwrap(),
            };
            let example = read(&row);
            let asked: Vec<(&str, &str)> = item
                .messages
                .iter()
                .map(|turn| (turn.role.as_str(), turn.content.as_str()))
                .collect();
            prop_assert_eq!(shown(&example.prompt, false), asked, "{}", format.name);
            let Answers::Single { answer: read, label } = &example.answers else {
                panic!("{}: {:?}", format.name, example.answers);
            };
            prop_assert_eq!(shown(read, false), [("assistant", answer.as_str())], "{}", format.name);
            let expected = matches!(format.rows, Rows::Labels(_)).then_some(chosen);
            prop_assert_eq!(*label, expected, "{}", format.name);
        }
    }
}

#[test]
fn every_format_of_pairs_writes_a_plain_question() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let item = item("a");
    let pair = pair(&item, "Yes.", "No.");
    for format in FORMATS {
        if let Some(row) = write(format, &pair, &provenance(&run)) {
            assert!(row.is_ok(), "{}", format.name);
        }
    }
}

#[test]
fn a_transcript_that_would_be_read_as_another_conversation_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let item = item("a");
    let pair = pair(&item, "Yes.\n\nHuman: And?", "No.");
    let row = write(ExportFormat::named("hh-rlhf").unwrap(), &pair, &provenance(&run)).unwrap();
    assert_eq!(row, Err(DropReason::Conversation));
}

#[test]
fn annotated_pairs_have_the_text_that_each_principle_prefers() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let run = provenance(&run);
    let ids: Vec<&str> = run.principles().collect();
    let verdict = |margin, undecided| Combined {
        margin,
        p: 0.5,
        offset: 0.0,
        mass: 0.9,
        orders: [margin; 2],
        undecided,
    };
    let margins = [(2.0, false), (-1.0, false), (0.1, true)];
    let principles = ids
        .iter()
        .zip(margins)
        .map(|(id, (margin, undecided))| ((*id).to_owned(), verdict(margin, undecided)));
    let judgement = Judgement {
        decisive: verdict(2.0, false),
        principles: principles.collect(),
        disagreement: None,
    };
    let format = ExportFormat::named("annotated-pairs").unwrap();
    for (key, chosen, rejected) in [("0", "text_a", "text_b"), ("1", "text_b", "text_a")] {
        let item = item(key);
        let pair = Pair { judgement: Some(judgement.clone()), ..pair(&item, "Yes.", "No.") };
        let row = write(format, &pair, &run).unwrap().unwrap();
        assert_eq!((&row["preferred_text"], &row[chosen]), (&chosen.into(), &"Yes.".into()));
        let preferred: Vec<&Value> =
            ids.iter().map(|id| &row[&format!("preferred_by_{id}")]).collect();
        let expected = [chosen, rejected, "not_applicable"];
        assert_eq!(preferred[..3], expected.map(Value::from).iter().collect::<Vec<_>>()[..]);
        assert!(preferred[3..].iter().all(|value| value.is_null()));
        let names: Vec<String> =
            format.schema(&run, true).fields().iter().map(|field| field.name().clone()).collect();
        assert!(row.keys().all(|key| names.contains(key)));
    }
}

#[test]
fn every_export_format_belongs_to_one_shape() {
    for format in FORMATS {
        let shapes = SHAPES.iter().map(|shape| shape.facts());
        let shapes: Vec<_> = shapes.filter(|facts| facts.exports.contains(&format.name)).collect();
        assert_eq!(shapes.len(), 1, "{}", format.name);
        let is_pair = matches!(format.rows, Rows::Pairs(_));
        assert!(!is_pair || shapes[0].kind != RowKind::Prompt, "{}", format.name);
    }
    for name in SHAPES.iter().flat_map(|shape| shape.facts().exports) {
        assert!(ExportFormat::named(name).is_some(), "{name}");
    }
}
