//! Tests of the engine with the example model, whose answers have a meaning and whose
//! vocabulary is trained.

use amend_core::chat::{Message, NextTurn, Reasoning, Role};
use amend_core::model::{Engine, Finish, PromptTokens};
use amend_engine::llama::{Llama, LlamaSettings, Model};

use crate::engine::{ask, base, drain, greedy, texts};
use crate::models::example_model_path;

fn settings() -> LlamaSettings {
    base()
}

const TERSE: &str = "You are a terse assistant. Answer in one short sentence. Never apologise.";

#[test]
fn answers_and_stops_at_the_end_of_the_turn() {
    let model = Model::load(&example_model_path(), &settings()).unwrap();
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
    let model = Model::load(&example_model_path(), &settings()).unwrap();
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

/// Every special token of the model, as whole and half texts, in every place for content:
/// none becomes a control token.
#[test]
fn content_never_becomes_a_control_token() {
    let model = Model::load(&example_model_path(), &settings()).unwrap();
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
        let prepared = engine.prepare(turns, 0, &Reasoning::default(), NextTurn::Reply).unwrap();
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
                let written =
                    engine.prepare(&turns, 0, &Reasoning::default(), NextTurn::Reply).unwrap();
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
