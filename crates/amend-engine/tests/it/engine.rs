//! Tests of the llama.cpp engine with a tiny model, where the content does not matter.

use std::collections::BTreeMap;

use amend_core::chat::{Message, NextTurn, Reasoning, Role};
use amend_core::model::{
    Completion, Engine, Event, Failure, PromptTokens, Request, RequestId, Sampling, Task,
};
use amend_core::random::Stream;
use amend_engine::llama::{CacheType, GpuLayers, Llama, LlamaSettings, Model, Switch};

use crate::models::tiny_model_path;

/// The settings that all tests start from. `AMEND_N_GPU_LAYERS` has the meaning that it has
/// for the program.
pub fn base() -> LlamaSettings {
    let layers = std::env::var("AMEND_N_GPU_LAYERS");
    LlamaSettings {
        parallel: 4,
        ctx_size: 2048,
        // Tests run in parallel, so each uses one thread.
        threads: 1,
        n_gpu_layers: layers.map_or(GpuLayers::Auto, |layers| layers.parse().unwrap()),
        ..LlamaSettings::default()
    }
}

pub fn settings() -> LlamaSettings {
    LlamaSettings {
        // Flash attention rounds keys and values to F16.
        flash_attention: Switch::Off,
        cache_type_k: CacheType::F32,
        cache_type_v: CacheType::F32,
        ..base()
    }
}

pub fn greedy(max_tokens: u32) -> Sampling {
    Sampling { temperature: 0.0, max_tokens, ..Sampling::default() }
}

pub fn ask(id: RequestId, text: &str, sampling: Sampling) -> Request {
    Request {
        id,
        turns: vec![Message::new(Role::User, text)],
        shared_turns: 0,
        continues: None,
        item: id,
        task: Task::Complete {
            sampling,
            stream: Stream::new(id),
            ignore_eos: false,
            copies: false,
            thought_only: false,
        },
    }
}

pub type Outcomes = BTreeMap<RequestId, Result<Completion, Failure>>;

/// Steps until nothing is left. Checks that the streamed text is the final text.
pub fn drain(engine: &mut Llama<'_>) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let mut streamed: BTreeMap<RequestId, String> = BTreeMap::new();
    let mut events = Vec::new();
    loop {
        let more = engine.step(&mut events).unwrap();
        eprintln!("{more} {events:?} {:?}", engine.counters());
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

pub fn texts(outcomes: &Outcomes) -> Vec<String> {
    outcomes.values().map(|outcome| outcome.as_ref().unwrap().text.clone()).collect()
}

#[test]
fn a_continuation_reuses_the_decoded_tokens() {
    let model = Model::load(&tiny_model_path("llama"), &settings()).unwrap();
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

/// Runs a request and submits the one that `then` makes of its completion before the next
/// step of the engine. Returns the completion.
pub fn complete_and_submit(
    engine: &mut Llama<'_>,
    then: impl FnOnce(&Completion) -> Option<Request>,
) -> Completion {
    let mut events = Vec::new();
    loop {
        assert!(engine.step(&mut events).unwrap());
        for event in events.drain(..) {
            match event {
                Event::Text { .. } => {}
                Event::Done { completion, .. } => {
                    if let Some(request) = then(&completion) {
                        engine.submit(request);
                    }
                    return completion;
                }
                Event::Chosen { .. } | Event::Likelihood { .. } | Event::Failed { .. } => {
                    panic!("{event:?}")
                }
            }
        }
    }
}

/// The request that goes on with a conversation after an answer.
pub fn after(request: &Request, answer: &str, question: &str) -> Request {
    let mut next = Request { id: request.id + 1, continues: Some(request.id), ..request.clone() };
    next.turns.push(Message::new(Role::Assistant, answer));
    next.turns.push(Message::new(Role::User, question));
    next
}

/// Random tokens are hardly ever those that their text has when it is tokenised again. Every
/// request of a chain has to find those of all completions before it.
#[test]
fn a_chain_of_continuations_reuses_all_decoded_tokens() {
    let model = Model::load(&tiny_model_path("llama"), &settings()).unwrap();
    for kv_unified in [Switch::On, Switch::Off] {
        let settings = LlamaSettings { ctx_size: 6144, kv_unified, ..settings() };
        let mut engine = Llama::new(&model, &settings).unwrap();
        engine.count_ideal();
        let sampling = Sampling { temperature: 3.0, max_tokens: 24, ..Sampling::default() };
        let mut request = ask(1, "Write about rivers.", sampling);
        if let Task::Complete { ignore_eos, .. } = &mut request.task {
            *ignore_eos = true;
        }
        engine.submit(request.clone());
        let mut held = 0;
        for step in 0..5 {
            let mut next = None;
            let completion = complete_and_submit(&mut engine, |completion| {
                let asked = after(&request, completion.text.trim(), "Shorter, please.");
                next = (step < 4).then_some(asked);
                next.clone()
            });
            let usage = completion.usage;
            // All but the last decoded token, whose successor was never computed.
            assert_eq!(usage.cached, held, "step {step}, {kv_unified:?}");
            assert_eq!(usage.ideal, Some(usage.prompt - usage.cached));
            held = usage.prompt + usage.decoded - 1;
            request = next.unwrap_or(request);
        }
    }
}

/// Some chat templates open the model's turn with tokens that an earlier turn does not have,
/// such as an empty thought. The prompts then share less, and answers stay the same.
#[test]
fn a_history_that_is_rendered_differently_shares_what_its_tokens_share() {
    let template = tempfile::NamedTempFile::new().unwrap();
    let text = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
                {{ message.content }}<|im_end|>\n{% endfor %}\
                {% if add_generation_prompt %}<|im_start|>assistant\n(no thought)\n{% endif %}";
    std::fs::write(template.path(), text).unwrap();
    let settings = LlamaSettings { chat_template: Some(template.path().to_owned()), ..settings() };
    let model = Model::load(&tiny_model_path("llama"), &settings).unwrap();
    let first = ask(1, "Write about rivers.", greedy(24));
    let mut engine = Llama::new(&model, &settings).unwrap();
    engine.submit(first.clone());
    let mut next = None;
    let answer = complete_and_submit(&mut engine, |completion| {
        next = Some(after(&first, &completion.text, "Shorter, please."));
        next.clone()
    });
    let next = next.unwrap();
    let tokens = |request: &Request| {
        engine.prepare(&request.turns, 0, &Reasoning::default(), NextTurn::Reply).unwrap().tokens
    };
    let shared = tokens(&first).iter().zip(&tokens(&next)).take_while(|(a, b)| a == b).count();
    assert!(shared < tokens(&first).len());
    let continued = drain(&mut engine).remove(&2).unwrap().unwrap();
    assert_eq!(continued.usage.cached as usize, shared);
    assert!(continued.usage.prompt > answer.usage.prompt + answer.usage.decoded);
    let mut fresh = Llama::new(&model, &settings).unwrap();
    fresh.submit(Request { continues: None, ..next });
    assert_eq!(drain(&mut fresh).remove(&2).unwrap().unwrap().text, continued.text);
}

/// A text that was shortened shares its beginning with what was decoded.
#[test]
fn a_cleaned_text_shares_its_beginning() {
    let model = Model::load(&tiny_model_path("llama"), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let first = ask(1, "Write about rivers.", greedy(40));
    engine.submit(first.clone());
    let answer = complete_and_submit(&mut engine, |completion| {
        let half: String =
            completion.text.chars().take(completion.text.chars().count() / 2).collect();
        Some(after(&first, &half, "Shorter, please."))
    });
    let continued = drain(&mut engine).remove(&2).unwrap().unwrap();
    let held = answer.usage.prompt + answer.usage.decoded - 1;
    assert!(continued.usage.cached > answer.usage.prompt, "{:?}", continued.usage);
    assert!(continued.usage.cached < held, "{:?}", continued.usage);
}

#[test]
fn overflow_fails_only_requests_that_never_fit() {
    let settings = LlamaSettings { parallel: 4, ctx_size: 256, ..settings() };
    let model = Model::load(&tiny_model_path("llama"), &settings).unwrap();
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
    let model = Model::load(&tiny_model_path("llama"), &settings()).unwrap();
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
    let model = Model::load(&tiny_model_path("llama"), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let task = Task::Complete {
        sampling: greedy(100),
        stream: Stream::new(1),
        ignore_eos: true,
        copies: false,
        thought_only: false,
    };
    engine.submit(Request { task, ..ask(1, "Say hi.", greedy(100)) });
    let outcomes = drain(&mut engine);
    assert_eq!(outcomes[&1].as_ref().unwrap().usage.decoded, 100);
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

    let bytes = std::fs::read(tiny_model_path("llama")).unwrap();
    for (length, expected) in [
        (0, "shorter than a GGUF header"),
        (3, "shorter than a GGUF header"),
        (100, "llama.cpp rejected it"),
        (1 << 12, "llama.cpp rejected it"),
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

/// The tolerance of a log-probability for rounding in batches of different shapes.
const ROUNDING: f64 = 1e-3;

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
    let model = Model::load(&tiny_model_path("llama"), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let choose = |id, spellings: &[&[&str]]| Request {
        task: Task::Choose {
            choices: spellings
                .iter()
                .map(|spellings| spellings.iter().map(|&s| s.to_owned()).collect())
                .collect(),
            reasoning: Reasoning::default(),
        },
        ..ask(id, "Is ice cold? Answer Yes or No.", greedy(1))
    };
    engine.submit(choose(1, &[&["he", " the"], &["in"], &["he"]]));
    engine.submit(choose(2, &[&["he"]]));
    let results = drain_log_probs(&mut engine);
    let [both, other, one] = results[&1].0[..] else { panic!("{results:?}") };
    assert!(one <= both && both < 0.0 && other < 0.0, "{results:?}");
    assert!(both.exp() + other.exp() <= 1.0 + 1e-6);
    // The second request has the same prompt: it shares all but the last token.
    assert_eq!(results[&2].2, results[&2].1 - 1);
    assert!((results[&2].0[0] - one).abs() < ROUNDING, "{results:?}");

    engine.submit(choose(3, &[&["he"], &["no single token at all"]]));
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
    let model = Model::load(&tiny_model_path("llama"), &settings()).unwrap();
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let words = ["he", " ", "in", " the", " ", "an"];
    let response = words.concat();
    let question = "What colour is the sky?";
    let score = |id| Request {
        task: Task::Likelihood { response: response.clone(), reasoning: Reasoning::default() },
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
        task: Task::Choose {
            choices: vec![vec!["he".to_owned()]],
            reasoning: Reasoning::default(),
        },
        ..ask(3, question, greedy(1))
    });
    let first = drain_log_probs(&mut engine)[&3].0[0];
    assert!((first - scores[0]).abs() < ROUNDING, "{first} {scores:?}");
}

#[test]
fn a_long_text_is_scored_in_chunks() {
    let model = Model::load(&tiny_model_path("llama"), &settings()).unwrap();
    let response = "one two three four five six seven eight nine ten ".repeat(20);
    let scored = |batch_size| {
        let settings = LlamaSettings { batch_size, ubatch_size: batch_size, ..settings() };
        let mut engine = Llama::new(&model, &settings).unwrap();
        engine.submit(Request {
            task: Task::Likelihood { response: response.clone(), reasoning: Reasoning::default() },
            ..ask(1, "Count, please.", greedy(1))
        });
        let scores = drain_log_probs(&mut engine)[&1].0.clone();
        (scores, engine.counters().batches)
    };
    let (whole, batches) = scored(2048);
    let (chunks, more_batches) = scored(100);
    assert!(whole.len() > 800 && more_batches > batches, "{batches} {more_batches}");
    assert_eq!(chunks.len(), whole.len());
    for (a, b) in chunks.iter().zip(&whole) {
        assert!((a - b).abs() < ROUNDING, "{a} {b}");
    }
}
