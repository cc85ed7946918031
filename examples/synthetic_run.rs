//! Writes a run with generated items through the library's own writer, to test exports
//! with any number of pairs and without a model.
//!
//! ```console
//! $ cargo run --release --example synthetic_run -- DIR ITEMS [REVIEWS]
//! ```
//!
//! Most items give a pair. As in a real run, a few fail, are cut off, change nothing or
//! announce their revision. The first REVIEWS items that succeed are reviewed, with every
//! kind of decision. Some items have a system turn or earlier turns, some have a prompt
//! that nearly repeats another, and the keys of their metadata differ. The model thinks
//! before its first answers, and its chat template has a switch for that.

use std::path::Path;
use std::process::ExitCode;

use amend_core::chat::{Message, ReasoningFormat, ReasoningSwitch, Role};
use amend_core::constitution::{self, Constitution};
use amend_core::model::{Failure, Finish, Usage};
use amend_core::random::Stream;
use amend_core::record::Outcome;
use amend_core::record::{Item, Keys};
use amend_core::record::{Step, StepKind, Stop};
use amend_data::store::journal::Record;
use amend_data::store::manifest::{FORMAT, Hashed, InputSummary, Manifest};
use amend_data::store::reviews::{Choice, Review, ReviewsWriter};
use amend_data::store::run_dir::RunDir;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, items, reviews) = match arguments.as_slice() {
        [folder, items] => (folder, items.parse(), Ok(0)),
        [folder, items, reviews] => (folder, items.parse(), reviews.parse()),
        _ => {
            eprintln!("usage: synthetic_run DIR ITEMS [REVIEWS]");
            return ExitCode::from(2);
        }
    };
    let (Ok(items), Ok(reviews)) = (items, reviews) else {
        eprintln!("ITEMS and REVIEWS must be numbers");
        return ExitCode::from(2);
    };
    match write(Path::new(folder), items, reviews) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

fn write(folder: &Path, items: u64, reviews: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut run = RunDir::create(folder, &manifest(items))?;
    let mut reviewed = Vec::new();
    let mut keys = Keys::default();
    for row in 1..=items {
        let random = Stream::new(0).child(&row.to_string());
        let item = item(row, random, &mut keys);
        let (steps, outcome) = steps(row, random);
        for step in steps {
            run.append(&Record::Step { item: item.key.clone(), step })?;
        }
        if (reviewed.len() as u64) < reviews && matches!(outcome, Outcome::Done { .. }) {
            reviewed.push(item.key.clone());
        }
        run.append(&Record::End { item, outcome })?;
    }
    if !reviewed.is_empty() {
        let mut reviews = ReviewsWriter::open(run.dir())?;
        for (at, key) in reviewed.into_iter().enumerate() {
            reviews.add(review(at, key))?;
        }
    }
    Ok(())
}

/// A review of an item's last revision and first answer.
fn review(at: usize, key: String) -> Review {
    let choice = [Choice::Left, Choice::Right, Choice::Left, Choice::Tie, Choice::BothBad][at % 5];
    let edited = (at % 5 == 2).then(|| format!("Edited by hand, number {at}."));
    Review {
        key,
        left: 2,
        right: 0,
        choice,
        edited,
        tags: Vec::new(),
        comment: String::new(),
        reviewer: ["ann", "bob"][at % 2].to_owned(),
        time: String::new(),
        seconds: 9.5,
    }
}

fn item(row: u64, random: Stream, keys: &mut Keys) -> Item {
    // Every sixteenth prompt differs from the one before it in one word.
    let again = row % 16 == 4;
    let source = if again { row - 1 } else { row };
    let words = sentence(Stream::new(0).child(&source.to_string()).child("prompt"), 25);
    let user = |text: String| Message::new(Role::User, text);
    let question = format!("Question {source}: {words} {}?", if again { "please" } else { "then" });
    let messages = match row % 8 {
        0 => vec![Message::new(Role::System, "Be brief."), user(question)],
        1 => {
            let before = Message::new(Role::Assistant, sentence(random.child("before"), 20));
            vec![user(sentence(random.child("first"), 10)), before, user(question)]
        }
        _ => vec![user(question)],
    };
    let metadata: Value = match row % 3 {
        0 => json!({"source": "made up", "score": row as f64 / 4.0}),
        1 => json!({"source": row, "tags": ["a", "b"]}),
        _ => json!({}),
    };
    let metadata = metadata.as_object().cloned().unwrap_or_default();
    let key = keys.next(&messages, None, None);
    Item {
        key,
        row,
        id: Some(format!("item-{row}")),
        messages,
        response: None,
        response_b: None,
        metadata,
    }
}

/// An item's steps and outcome.
fn steps(row: u64, random: Stream) -> (Vec<Step>, Outcome) {
    let principle = ["kind", "true", "brief"][row as usize % 3];
    let step = |kind, round, principle: Option<&str>, text| Step {
        principle: principle.map(str::to_owned),
        text,
        finish: Some(Finish::Stop),
        usage: Usage { prompt: 200, cached: 150, decoded: 60, ..Usage::default() },
        ..Step::new(kind, round)
    };
    let first = sentence(random.child("first answer"), 60);
    let thought = Some(sentence(random.child("thought"), 5));
    let answered = step(StepKind::Generate, 0, None, first.clone());
    let mut steps = vec![Step { reasoning: thought, ..answered }];
    if row % 200 == 7 {
        return (steps, Outcome::Failed { failure: Failure::NotFinite });
    }
    let mut answer = first;
    for round in 1..=2 {
        let random = random.child(&round.to_string());
        let critique = sentence(random.child("critique"), 25);
        steps.push(step(StepKind::Critique, round, Some(principle), critique));
        if row % 200 != 13 {
            answer = sentence(random.child("revision"), 40 + random.bits(0) % 50);
            if row % 200 == 31 {
                answer.insert_str(0, "Sure! Here is the revised answer:\n\n");
            }
        }
        steps.push(step(StepKind::Revise, round, Some(principle), answer.clone()));
    }
    if let (19, Some(last)) = (row % 200, steps.last_mut()) {
        last.finish = Some(Finish::Length);
    }
    (steps, Outcome::Done { stop: Stop::Rounds })
}

/// Random words of two syllables each.
fn sentence(random: Stream, words: u64) -> String {
    const SYLLABLES: [&str; 16] = [
        "ba", "lo", "ki", "mer", "tan", "sul", "ve", "dor", "ni", "pa", "rek", "os", "fi", "gal",
        "hu", "wen",
    ];
    let mut text = String::new();
    for at in 0..words {
        let bits = random.bits(at);
        text.push_str(if at == 0 { "" } else { " " });
        text.push_str(SYLLABLES[bits as usize % 16]);
        text.push_str(SYLLABLES[(bits >> 8) as usize % 16]);
    }
    text
}

/// The constitution: three principles, and no judge.
fn constitution() -> Constitution {
    let mut text = "constitution = { name = 'made-up', version = '1.0.0' }\nloop.rounds = 2\n\
                    judge.enabled = false\n"
        .to_owned();
    for (id, category) in [("kind", "manners"), ("true", "honesty"), ("brief", "style")] {
        text.push_str(&format!(
            "[[principle]]\nid = '{id}'\ncategory = '{category}'\n\
             principle = 'The answer is {id}.'\ncritique = 'Is the answer {id}?'\n\
             revise = 'Make the answer {id}.'\n"
        ));
    }
    constitution::parse("made-up.toml", &text).expect("the text is fixed")
}

fn manifest(items: u64) -> Manifest {
    let switch =
        ReasoningSwitch { name: "enable_thinking".to_owned(), on: true.into(), off: false.into() };
    let reasoning = ReasoningFormat { switch: Some(switch), ..ReasoningFormat::think() };
    Manifest {
        format: FORMAT,
        command: "run".to_owned(),
        amend: env!("CARGO_PKG_VERSION").to_owned(),
        model: json!({
            "name": "no model", "sha256": "00",
            "reasoning": reasoning,
        }),
        judge_model: None,
        student_model: None,
        constitution: Hashed::constitution(constitution()),
        templates: Default::default(),
        input: InputSummary { rows: items, ..InputSummary::new(Vec::new(), &[]) },
        shard: None,
        limit: None,
        seed: 0,
        fence: "none".to_owned(),
        fence_style: "delimiter".to_owned(),
        procedure: json!({"revise": {"judging": false}}),
        reproducible: false,
        settings: json!({}),
    }
}
