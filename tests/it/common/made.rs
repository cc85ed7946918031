//! Synthetic runs, written with the library's own writer.

use std::collections::BTreeMap;
use std::path::Path;

use amend_core::chat::{Message, Role};
use amend_core::constitution;
use amend_core::judge::{Poll, Reading, Verdict};
use amend_core::model::{Failure, Finish, Usage};
use amend_core::random::Stream;
use amend_core::record::Outcome;
use amend_core::record::{Item, Keys};
use amend_core::record::{Step, StepKind, Stop};
use amend_core::stats::sigmoid;
use amend_data::store::journal::Record;
use amend_data::store::manifest::{FORMAT, Hashed, InputSummary, Manifest};
use amend_data::store::run_dir::RunDir;
use serde_json::json;

/// The id, the title and the category of each principle.
const PRINCIPLES: [(&str, &str, &str); 3] = [
    ("kind", "Kindness", "manners"),
    ("true", "Say what is true", "honesty"),
    ("brief", "Say it briefly", "style"),
];

/// The texts of an item.
pub struct Words {
    pub prompt: String,
    pub answer: String,
    pub critique: String,
    pub revision: String,
    pub category: String,
}

/// Writes a run of items with these texts. Every seventh item has an undecided verdict,
/// and every fiftieth failed.
pub fn write(folder: &Path, title: &str, all: &[Words]) {
    write_governed(folder, title, all, &[]);
}

/// Like [`write`], but items to which a principle of one of these categories was applied
/// require a review.
pub fn write_governed(folder: &Path, title: &str, all: &[Words], require_review: &[&str]) {
    let mut manifest = manifest(title, all.len());
    let governance = &mut manifest.constitution.value.governance;
    governance.require_review = require_review.iter().map(ToString::to_string).collect();
    let mut run = RunDir::create(folder, &manifest).unwrap();
    let mut keys = Keys::default();
    for (row, words) in (1..).zip(all) {
        let messages = vec![Message::new(Role::User, &words.prompt)];
        let key = keys.next(&messages, None, None);
        for step in steps(row, words) {
            run.append(&Record::Step { item: key.clone(), step }).unwrap();
        }
        let metadata = json!({ "category": words.category, "note": words.prompt });
        let item = Item {
            key,
            row,
            id: Some(format!("item {row} {}", words.category)),
            messages,
            response: None,
            response_b: None,
            metadata: metadata.as_object().cloned().unwrap(),
        };
        let outcome = match row % 50 {
            0 => Outcome::Failed { failure: Failure::Template { message: words.prompt.clone() } },
            _ => Outcome::Done { stop: Stop::Rounds },
        };
        run.append(&Record::End { item, outcome }).unwrap();
    }
}

fn steps(row: u64, words: &Words) -> Vec<Step> {
    let principle = PRINCIPLES[row as usize % 3].0;
    let text = |kind, text: &str| Step {
        principle: (kind != StepKind::Generate).then(|| principle.to_owned()),
        text: text.to_owned(),
        finish: Some(Finish::Stop),
        usage: Usage { prompt: 200, cached: 150, decoded: 60, ..Usage::default() },
        ..Step::new(kind, u32::from(kind != StepKind::Generate))
    };
    let verdict = |principle: Option<&str>| {
        let stream = Stream::new(row).child(principle.unwrap_or("overall"));
        let (log_odds, offset) = (4.0 * stream.uniform(0) - 1.5, 2.0 * stream.uniform(1) - 0.5);
        let mass = if row.is_multiple_of(7) { 0.3 } else { 0.9 };
        Step {
            principle: principle.map(str::to_owned),
            about: vec![1, 0],
            verdict: Some(verdict(log_odds, offset, mass)),
            usage: Usage { prompt: 500, cached: 400, ..Usage::default() },
            ..Step::new(StepKind::Judge, 0)
        }
    };
    vec![
        text(StepKind::Generate, &words.answer),
        text(StepKind::Critique, &words.critique),
        text(StepKind::Revise, &words.revision),
        verdict(Some(principle)),
        verdict(None),
    ]
}

fn verdict(log_odds: f64, offset: f64, mass: f64) -> Verdict {
    let reading = |odds: f64| Reading {
        first: (mass * sigmoid(odds)).ln(),
        second: (mass * sigmoid(-odds)).ln(),
    };
    Verdict {
        polls: vec![Poll {
            template: "judge".to_owned(),
            forward: vec![reading(offset + log_odds)],
            backward: vec![reading(offset - log_odds)],
        }],
    }
}

/// The texts of an ordinary item.
pub fn ordinary(number: u64) -> Words {
    let stream = Stream::new(number);
    let answer = sentence(stream.child("answer"), 180);
    // The revision keeps most of the answer.
    let kept: Vec<&str> = answer.split(' ').take(120).collect();
    Words {
        prompt: sentence(stream.child("prompt"), 30),
        critique: sentence(stream.child("critique"), 70),
        revision: format!("{} {}", kept.join(" "), sentence(stream.child("revision"), 50)),
        category: ["cooking", "law", "code"][number as usize % 3].to_owned(),
        answer,
    }
}

/// A text of made-up words with two syllables each.
fn sentence(stream: Stream, words: u64) -> String {
    const SYLLABLES: [&str; 16] = [
        "ba", "lo", "ki", "mer", "tan", "sul", "ve", "dor", "ni", "pa", "rek", "os", "fi", "gal",
        "hu", "wen",
    ];
    let word = |at| {
        let bits = stream.bits(at) as usize;
        format!("{}{}", SYLLABLES[bits % 16], SYLLABLES[(bits >> 8) % 16])
    };
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

fn manifest(title: &str, rows: usize) -> Manifest {
    let mut text = "constitution = { name = 'made-up', version = '1.0.0' }\n".to_owned();
    for (id, ..) in PRINCIPLES {
        text.push_str(&format!("[[principle]]\nid = '{id}'\nprinciple = 'The answer is {id}.'\n"));
    }
    let mut constitution = constitution::parse("made-up.toml", &text).unwrap();
    constitution.name.push_str(&format!(" {title}"));
    for (principle, (_, name, category)) in constitution.principles.iter_mut().zip(PRINCIPLES) {
        principle.title = format!("{name} {title}");
        principle.category = format!("{category} {title}");
        principle.principle.push_str(&format!(" {title}"));
    }
    Manifest {
        format: FORMAT,
        command: "run".to_owned(),
        amend: env!("CARGO_PKG_VERSION").to_owned(),
        model: json!({"name": format!("no model {title}")}),
        judge_model: None,
        student_model: None,
        constitution: Hashed::constitution(constitution),
        templates: BTreeMap::new(),
        input: InputSummary {
            rows: rows as u64,
            ..InputSummary::new(vec![format!("made-up {title}.jsonl")], &[])
        },
        shard: None,
        limit: None,
        seed: 0,
        fence: "none".to_owned(),
        fence_style: "delimiter".to_owned(),
        procedure: json!({"revise": {"judging": true}}),
        reproducible: false,
        settings: json!({}),
    }
}
