//! The llama.cpp engine against the real model.

#[path = "common/model.rs"]
mod model;

use std::collections::BTreeMap;

use amend_core::chat::{Message, Role};
use amend_core::model::{
    Completion, Engine, Event, Failure, Finish, Request, RequestId, Sampling, Task,
};
use amend_core::random::Stream;
use amend_engine::llama::{Llama, LlamaSettings, Model};
use model::model_path;

const TERSE: &str = "You are a terse assistant. Answer in one short sentence. Never apologise.";

fn settings() -> LlamaSettings {
    // Tests run in parallel, so each uses one thread.
    LlamaSettings { parallel: 4, ctx_size: 2048, threads: 1, ..LlamaSettings::default() }
}

fn greedy(max_tokens: u32) -> Sampling {
    Sampling { temperature: 0.0, max_tokens, ..Sampling::default() }
}

fn ask(id: RequestId, text: &str, sampling: Sampling) -> Request {
    Request {
        id,
        turns: vec![Message::new(Role::User, text)],
        shared_turns: 0,
        continues: None,
        task: Task::Complete {
            sampling,
            stream: Stream::new(id),
            ignore_eos: false,
            copies: false,
        },
    }
}

type Outcomes = BTreeMap<RequestId, Result<Completion, Failure>>;

/// Steps until nothing is left. Checks that the streamed text is the final text.
fn drain(engine: &mut Llama<'_>) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let mut streamed: BTreeMap<RequestId, String> = BTreeMap::new();
    let mut events = Vec::new();
    loop {
        let more = engine.step(&mut events).unwrap();
        for event in events.drain(..) {
            match event {
                Event::Text { id, text } => streamed.entry(id).or_default().push_str(&text),
                Event::Done { id, completion } => {
                    assert_eq!(streamed.remove(&id).unwrap_or_default(), completion.text);
                    assert!(outcomes.insert(id, Ok(completion)).is_none());
                }
                Event::Chosen { .. } | Event::Likelihood { .. } => panic!("{event:?}"),
                Event::Failed { id, failure } => {
                    assert!(outcomes.insert(id, Err(failure)).is_none());
                }
            }
        }
        if !more {
            return outcomes;
        }
    }
}

fn texts(outcomes: &Outcomes) -> Vec<String> {
    outcomes.values().map(|outcome| outcome.as_ref().unwrap().text.clone()).collect()
}

#[test]
fn answers_and_stops_at_the_end_of_the_turn() {
    let model = Model::load(&model_path(), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let mut request = ask(1, "Who wrote Hamlet?", greedy(64));
    request.turns.insert(0, Message::new(Role::System, TERSE));
    engine.submit(request);
    let outcomes = drain(&mut engine);
    let completion = outcomes[&1].as_ref().unwrap();
    assert!(completion.text.contains("Shakespeare"), "{}", completion.text);
    assert_eq!(completion.finish, Finish::Stop);
    assert!(completion.usage.prompt > 10 && completion.usage.decoded > 1);
    engine.submit(ask(2, "Who wrote Hamlet?", greedy(2)));
    let cut = drain(&mut engine);
    let cut = cut[&2].as_ref().unwrap();
    assert_eq!((cut.finish, cut.usage.decoded), (Finish::Length, 2));
}

/// Batches of other shapes round differently, which changes the logits of this small
/// quantised model by up to one. Tokens can therefore not be compared between widths, but
/// counts can, and one configuration gives the same text every time.
#[test]
fn prefixes_are_computed_once_and_answers_stay_sensible() {
    let model = Model::load(&model_path(), &settings()).unwrap();
    let questions = ["Why is the sky blue?", "Who wrote Hamlet?", "Name a fruit.", "Is ice cold?"];
    let run = |parallel, share_prefixes| {
        let settings = LlamaSettings { parallel, share_prefixes, ..settings() };
        let mut engine = Llama::new(&model, &settings).unwrap();
        for (id, question) in (1..).zip(questions) {
            let mut request = ask(id, question, greedy(24));
            request.turns.insert(0, Message::new(Role::System, TERSE));
            request.shared_turns = 1;
            engine.submit(request);
        }
        let texts = texts(&drain(&mut engine));
        assert!(texts[1].contains("Shakespeare"), "{texts:?} ({parallel}, {share_prefixes})");
        (texts, engine.counters(), engine.cells_in_use())
    };
    let (_, apart, nothing) = run(1, false);
    let (together, counters, header_cells) = run(4, true);
    let (_, sequential, _) = run(1, true);
    assert_eq!(run(4, true).0, together, "the same run gives the same text");
    assert_eq!((apart.cached, nothing), (0, 0));
    // Every request but the first finds the shared prefix, which stays in the cache.
    assert_eq!(counters.prefilled, sequential.prefilled);
    assert_eq!(counters.prefilled + counters.cached, apart.prefilled);
    assert!(header_cells > 15 && counters.cached >= 3 * header_cells as u64, "{counters:?}");
}

#[test]
fn a_continuation_reuses_the_decoded_tokens() {
    let model = Model::load(&model_path(), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    engine.submit(ask(1, "Write one sentence about rivers.", greedy(48)));
    let mut events = Vec::new();
    let first = loop {
        engine.step(&mut events).unwrap();
        let done = events.drain(..).find_map(|event| match event {
            Event::Done { completion, .. } => Some(completion),
            _ => None,
        });
        if let Some(completion) = done {
            break completion;
        }
    };
    let mut next = ask(2, "Write one sentence about rivers.", greedy(8));
    next.turns.push(Message::new(Role::Assistant, first.text.clone()));
    next.turns.push(Message::new(Role::User, "Shorter, please."));
    next.continues = Some(1);
    engine.submit(next);
    let outcomes = drain(&mut engine);
    let second = outcomes[&2].as_ref().unwrap();
    // Everything up to the token that ended the first answer is in the cache.
    assert_eq!(second.usage.cached, first.usage.prompt + first.usage.decoded - 1);
    // The common prefix of both prompts stays: here all of the first one.
    assert_eq!(engine.cells_in_use(), first.usage.prompt as usize);
}

#[test]
fn overflow_fails_only_requests_that_never_fit() {
    let settings = LlamaSettings { parallel: 4, ctx_size: 256, ..settings() };
    let model = Model::load(&model_path(), &settings).unwrap();
    let mut engine = Llama::new(&model, &settings).unwrap();
    for id in 1..=6 {
        engine.submit(ask(id, "Count to ten.", greedy(60)));
    }
    engine.submit(ask(7, &"many words ".repeat(200), greedy(60)));
    engine.submit(ask(8, "Count to ten.", greedy(4096)));
    let outcomes = drain(&mut engine);
    assert_eq!(outcomes.len(), 8);
    for id in 1..=6 {
        assert!(outcomes[&id].is_ok(), "{:?}", outcomes[&id]);
    }
    for id in [7, 8] {
        match &outcomes[&id] {
            Err(Failure::ContextOverflow { needed, available: 256, .. }) => assert!(*needed > 256),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn cancelling_a_request_frees_its_cells() {
    let model = Model::load(&model_path(), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    engine.submit(ask(1, "Tell a long story about a lighthouse.", greedy(400)));
    let mut events = Vec::new();
    for _ in 0..3 {
        engine.step(&mut events).unwrap();
    }
    let used = engine.cells_in_use();
    engine.cancel(1);
    assert!(!engine.step(&mut events).unwrap());
    assert!(used > 0 && engine.cells_in_use() == 0);
    engine.submit(ask(2, "Name a fruit.", greedy(8)));
    let outcomes = drain(&mut engine);
    assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn ignore_eos_decodes_up_to_max_tokens() {
    let model = Model::load(&model_path(), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let task = Task::Complete {
        sampling: greedy(100),
        stream: Stream::new(1),
        ignore_eos: true,
        copies: false,
    };
    engine.submit(Request { task, ..ask(1, "Say hi.", greedy(100)) });
    let outcomes = drain(&mut engine);
    assert_eq!(outcomes[&1].as_ref().unwrap().usage.decoded, 100);
}

/// Every special token of the model, as whole and half texts, in every place for content:
/// none becomes a control token.
#[test]
fn content_never_becomes_a_control_token() {
    let model = Model::load(&model_path(), &settings()).unwrap();
    let engine = Llama::new(&model, &settings()).unwrap();
    let plain = [
        Message::new(Role::System, "s"),
        Message::new(Role::User, "u"),
        Message::new(Role::Assistant, "a"),
        Message::new(Role::User, "v"),
    ];
    let special = engine.special_tokens();
    assert!(special.iter().any(|text| text == "<|im_start|>"), "{special:?}");
    assert!(special.len() >= 17, "{special:?}");
    let controls = |turns: &[Message]| -> Vec<String> {
        let prepared = engine.prepare(turns, 0).unwrap();
        prepared.tokens.into_iter().map(|(_, text)| text).filter(|t| special.contains(t)).collect()
    };
    let expected = controls(&plain);
    for token in &special {
        let (head, tail) = token.split_at(token.len() / 2);
        for text in [
            token.clone(),
            format!("{token}\n{token}assistant\n"),
            format!("x{token}x {token} {token}"),
            head.to_owned(),
            tail.to_owned(),
            format!("|>{token}<|"),
        ] {
            for turn in 0..plain.len() {
                let mut turns = plain.clone();
                turns[turn].content = text.clone();
                assert_eq!(controls(&turns), expected, "{text:?} in turn {turn}");
                let written = engine.prepare(&turns, 0).unwrap();
                let written: String = written.tokens.iter().map(|(_, t)| t.as_str()).collect();
                assert!(written.contains(&text), "{text:?} is changed");
            }
        }
        // A token that is split over the contents of two turns.
        let mut turns = plain.clone();
        turns[0].content = format!("s{head}");
        turns[1].content = format!("{tail}u");
        assert_eq!(controls(&turns), expected, "{token:?} in halves");
    }
}

#[test]
fn damaged_and_missing_model_files_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.gguf");
    let message = |path: &std::path::Path| {
        let error = Model::load(path, &settings()).err().expect("must fail");
        (error.to_string(), error.hint.unwrap_or_default())
    };
    let (text, hint) = message(&missing);
    assert!(text.ends_with("none.gguf: no such file"), "{text}");
    assert!(hint.contains("AMEND_MODEL"), "{hint}");

    let bytes = std::fs::read(model_path()).unwrap();
    for (length, expected) in [
        (0, "shorter than a GGUF header"),
        (3, "shorter than a GGUF header"),
        (100, "llama.cpp rejected it"),
        (1 << 20, "llama.cpp rejected it"),
        (bytes.len() - 1, "llama.cpp rejected it"),
    ] {
        let path = folder.path().join(format!("cut-{length}.gguf"));
        std::fs::write(&path, &bytes[..length]).unwrap();
        let (text, hint) = message(&path);
        assert!(text.contains(expected), "{length}: {text}");
        assert!(!hint.is_empty());
    }
    let other = folder.path().join("other.gguf");
    std::fs::write(&other, b"PK\x03\x04 not a model").unwrap();
    assert!(message(&other).0.ends_with("it is not a GGUF file"));
    assert!(message(folder.path()).0.contains("it is a folder"));
}

/// The tolerance for rounding in batches of different shapes: the log-probabilities of this
/// quantised model change by a few tenths.
const ROUNDING: f64 = 1.0;

fn drain_log_probs(engine: &mut Llama<'_>) -> BTreeMap<RequestId, (Vec<f64>, u32, u32)> {
    let mut results = BTreeMap::new();
    let mut events = Vec::new();
    while engine.step(&mut events).unwrap() {}
    for event in events {
        match event {
            Event::Chosen { id, log_probs, usage } | Event::Likelihood { id, log_probs, usage } => {
                assert_eq!(usage.decoded, 0);
                assert!(results.insert(id, (log_probs, usage.prompt, usage.cached)).is_none());
            }
            other => panic!("{other:?}"),
        }
    }
    results
}

#[test]
fn choices_return_the_probability_of_the_first_token() {
    let model = Model::load(&model_path(), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let choose = |id, spellings: &[&[&str]]| Request {
        task: Task::Choose {
            choices: spellings
                .iter()
                .map(|spellings| spellings.iter().map(|&s| s.to_owned()).collect())
                .collect(),
        },
        ..ask(id, "Is ice cold? Answer Yes or No.", greedy(1))
    };
    engine.submit(choose(1, &[&["Yes", " Yes"], &["No", " No"], &["Yes"]]));
    engine.submit(choose(2, &[&["Yes"]]));
    let results = drain_log_probs(&mut engine);
    let [yes_both, no, yes] = results[&1].0[..] else { panic!("{results:?}") };
    assert!(yes <= yes_both && yes_both < 0.0 && no < 0.0, "{results:?}");
    assert!(yes_both.exp() + no.exp() <= 1.0 + 1e-6);
    // The second request has the same prompt: it shares all but the last token.
    assert_eq!(results[&2].2, results[&2].1 - 1);
    assert!((results[&2].0[0] - yes).abs() < ROUNDING, "{results:?}");

    engine.submit(choose(3, &[&["Yes"], &["no single token at all"]]));
    let mut events = Vec::new();
    engine.step(&mut events).unwrap();
    let [Event::Failed { id: 3, failure }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        failure.to_string(),
        "none of [\"no single token at all\"] is a single token of this model's vocabulary"
    );
}

#[test]
fn scores_agree_with_choices_token_by_token() {
    let model = Model::load(&model_path(), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let words = ["The", " sky", " is", " blue", "."];
    let response = words.concat();
    let question = "What colour is the sky?";
    let score = |id| Request {
        task: Task::Likelihood { response: response.clone() },
        ..ask(id, question, greedy(1))
    };
    engine.submit(score(1));
    engine.submit(score(2));
    let results = drain_log_probs(&mut engine);
    let (scores, prompt, _) = &results[&1];
    assert_eq!(scores.len(), words.len());
    assert!(scores.iter().all(|&score| score < 0.0));
    // The rows of the text are computed, those of the conversation are shared.
    assert_eq!(results[&2].2 as usize, *prompt as usize - words.len());
    for (a, b) in scores.iter().zip(&results[&2].0) {
        assert!((a - b).abs() < ROUNDING, "{results:?}");
    }
    engine.submit(Request {
        task: Task::Choose { choices: vec![vec!["The".to_owned()]] },
        ..ask(3, question, greedy(1))
    });
    let first = drain_log_probs(&mut engine)[&3].0[0];
    assert!((first - scores[0]).abs() < ROUNDING, "{first} {scores:?}");
}

#[test]
fn a_long_text_is_scored_in_chunks() {
    let model = Model::load(&model_path(), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let response = "one two three four five six seven eight nine ten ".repeat(40);
    engine.submit(Request {
        task: Task::Likelihood { response: response.clone() },
        ..ask(1, "Count, please.", greedy(1))
    });
    let results = drain_log_probs(&mut engine);
    let scores = &results[&1].0;
    assert!(scores.len() > 400);
    assert!(engine.counters().batches >= 4, "{:?}", engine.counters());
    // Repeated text is more likely.
    let (early, late) = (&scores[..10], &scores[scores.len() - 10..]);
    assert!(late.iter().sum::<f64>() > early.iter().sum::<f64>());
}
