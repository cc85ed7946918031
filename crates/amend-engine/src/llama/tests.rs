//! Compares the engine with the simplest use of llama.cpp: one sequence in one context,
//! the prompt in one batch, then one token at a time.

use llama_cpp_2::context::params::KvCacheType;
use llama_cpp_2::llama_batch::LlamaBatch;

use super::*;
use crate::llama::kv::trie::Token;
use amend_core::chat::{NextTurn, Reasoning, Role};
use amend_core::model::{Sampling, Task};
use amend_core::random::Stream;

/// The file passes the check of the header, so that llama.cpp itself rejects it.
#[test]
fn a_rejected_file_keeps_the_error_of_llama_cpp_as_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truncated.gguf");
    std::fs::write(&path, b"GGUF\x03\x00\x00\x00").unwrap();
    let errors = [
        Model::load(&path, &settings()).err().unwrap(),
        GgufVocabulary::load(&path).err().unwrap(),
    ];
    for error in errors {
        let source = std::error::Error::source(&error).expect("the library's error").to_string();
        assert!(error.to_string().ends_with(": llama.cpp rejected it"), "{error}");
        assert!(!error.to_string().contains(&source), "{error} repeats {source}");
    }
}

#[test]
fn a_rejected_context_keeps_the_error_of_llama_cpp_as_its_source() {
    let model = load("llama");
    // llama.cpp quantises values only with flash attention.
    let settings = LlamaSettings { cache_type_v: CacheType::Q8_0, ..settings() };
    let error = Llama::new(&model, &settings).err().unwrap();
    assert!(error.message.starts_with("failed to create a context"), "{error}");
    assert!(error.source.is_some());
}

/// Manifests of runs and keys of calibrations contain the constant.
#[test]
fn the_version_of_the_bindings_is_the_one_that_cargo_pins() {
    let manifest: toml::Table = include_str!("../../../../Cargo.toml").parse().unwrap();
    let requirement =
        manifest["workspace"]["dependencies"]["llama-cpp-2"]["version"].as_str().unwrap();
    assert_eq!(requirement, format!("={LLAMA_CPP_2}"));
}

fn settings() -> LlamaSettings {
    LlamaSettings {
        parallel: 3,
        ctx_size: 2048,
        batch_size: 48,
        ubatch_size: 32,
        threads: 1,
        // With flash attention llama.cpp rounds keys and values to F16.
        flash_attention: Switch::Off,
        cache_type_k: CacheType::F32,
        cache_type_v: CacheType::F32,
        ..LlamaSettings::default()
    }
}

fn load(family: &str) -> Model {
    Model::load(&crate::models::tiny_model_path(family), &settings()).unwrap()
}

/// The logits after each token from index `first` on.
fn logits(model: &Model, tokens: &[Token], first: usize) -> Vec<Vec<f32>> {
    // The defaults of llama.cpp: separate sequences, and a pruned window.
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(2048))
        .with_n_threads(1)
        .with_n_threads_batch(1)
        .with_flash_attention_policy(0)
        .with_type_k(KvCacheType::F32)
        .with_type_v(KvCacheType::F32)
        .with_swa_full(false);
    let mut context = model.inner.new_context(model::backend().unwrap(), params).unwrap();
    let mut batch = LlamaBatch::new(tokens.len(), 1);
    let mut rows = Vec::new();
    for (start, tokens) in std::iter::once((0, &tokens[..=first]))
        .chain((first + 1..tokens.len()).map(|at| (at, &tokens[at..=at])))
    {
        batch.clear();
        for (position, &token) in (start..).zip(tokens) {
            batch.add(LlamaToken(token), position as i32, &[0], position >= first).unwrap();
        }
        context.decode(&mut batch).unwrap();
        rows.push(context.get_logits_ith(tokens.len() as i32 - 1).to_vec());
    }
    rows
}

/// How much a logit may differ between batches of different shapes because of rounding.
/// The measured difference is 2e-5 to 4e-5 on these models, whose two most likely tokens
/// differ by about 1 at the median.
const ROUNDING: f32 = 1e-3;

/// Every token that the engine decodes in mixed batches and after shared prefixes is the
/// most likely one when llama.cpp evaluates the tokens before it alone.
#[test]
fn greedy_tokens_are_the_most_likely_ones_when_evaluated_alone() {
    for family in ["llama", "qwen2", "olmo2", "mamba", "lfm2"] {
        let model = load(family);
        let mut engine = Llama::new(&model, &settings()).unwrap();
        let header = "You mind the lamps of the harbour, and write down what you see.";
        let turns = |question: &str| {
            vec![Message::new(Role::System, header), Message::new(Role::User, question)]
        };
        let questions = [
            "Who comes in at night, with the mail and the oranges?",
            "Who comes in at night, with nothing at all?",
            "Where is the pier?",
            "Who comes in by day?",
        ];
        for (id, question) in (0..).zip(questions) {
            engine.submit(Request {
                id,
                turns: turns(question),
                shared_turns: 1,
                continues: None,
                item: 0,
                task: Task::Complete {
                    sampling: Sampling { temperature: 0.0, max_tokens: 40, ..Sampling::default() },
                    stream: Stream::new(id),
                    ignore_eos: true,
                    copies: false,
                    thought_only: false,
                },
            });
        }
        let mut checked = 0;
        let mut events = Vec::new();
        let mut more = true;
        while more {
            more = engine.step(&mut events).unwrap();
            for event in events.drain(..) {
                let Event::Done { id, completion } = event else { continue };
                let prompt = engine
                    .prepare(
                        &turns(questions[id as usize]),
                        0,
                        &Reasoning::default(),
                        NextTurn::Reply,
                    )
                    .unwrap();
                let answer = &engine.ended[&id].decoded[0];
                assert_eq!(answer.text, completion.text);
                let mut tokens: Vec<Token> = prompt.tokens.iter().map(|&(t, _)| t).collect();
                let first = tokens.len() - 1;
                tokens.extend(&answer.tokens);
                for (row, &taken) in logits(&model, &tokens, first).iter().zip(&answer.tokens) {
                    // The engine bans tokens that end a turn here.
                    let is_allowed = |&(token, _): &(usize, &f32)| {
                        !engine.turn_tokens.ends.contains(&(token as Token))
                    };
                    let allowed =
                        row.iter().enumerate().filter(is_allowed).map(|(_, &logit)| logit);
                    let behind = allowed.fold(f32::MIN, f32::max) - row[taken as usize];
                    assert!(behind < ROUNDING, "{family} {id}: {behind} in {:?}", answer.text);
                    checked += 1;
                }
            }
        }
        assert!(checked >= 120, "{family}: {checked}");
        assert_eq!(engine.counters().cached > 0, model.can_share(), "{family}");
    }
}

/// llama.cpp computes streams in one pass only if their ids are contiguous. They must be,
/// whichever request ends first and whichever prefixes are kept. Prefixes are shared as
/// in a unified cache.
#[test]
fn decoding_streams_have_contiguous_ids() {
    let model = load("llama");
    let header = "You mind the lamps of the harbour, and write down what you see.";
    let run = |kv_unified| {
        let settings = LlamaSettings {
            parallel: 4,
            ctx_size: 8 * 1024,
            batch_size: 512,
            kv_unified,
            ..settings()
        };
        let mut engine = Llama::new(&model, &settings).unwrap();
        let request = |id: u64, text: String, continues| Request {
            id,
            turns: vec![Message::new(Role::System, header), Message::new(Role::User, text)],
            shared_turns: 1,
            continues,
            item: 0,
            task: Task::Complete {
                sampling: Sampling {
                    temperature: 0.0,
                    // They end one after another, some long before the last.
                    max_tokens: 3 + 7 * (id as u32 % 5),
                    ..Sampling::default()
                },
                stream: Stream::new(id),
                ignore_eos: true,
                copies: false,
                thought_only: false,
            },
        };
        let text = |id: u64| format!("Day {}. {}", id % 3, "The fog came in at nine. ".repeat(9));
        for id in 0..14 {
            engine.submit(request(id, format!("{}{id}", text(id)), None));
        }
        let mut events = Vec::new();
        let mut texts = std::collections::BTreeMap::new();
        let mut decoded = 0;
        while engine.step(&mut events).unwrap() {
            for event in events.drain(..) {
                if let Event::Done { id, completion } = event {
                    if id < 14 {
                        engine.submit(request(id + 100, format!("{}{id} again", text(id)), None));
                    }
                    texts.insert(id, completion.text);
                }
            }
            if kv_unified == Switch::On {
                continue;
            }
            assert!(engine.active.iter().all(|active| (active.seq as usize) < 4));
            // The computed batch, without the requests that ended with it.
            let rows = engine.batch.len();
            let decoding = engine.active.iter().filter(|active| active.next().is_some()).count();
            if rows <= 4 && decoding == engine.active.len() {
                decoded += 1;
                assert!(engine.active.iter().all(|active| (active.seq as usize) < rows));
            }
        }
        assert_eq!(texts.len(), 28);
        assert!(kv_unified == Switch::On || decoded > 20, "{decoded}");
        (texts, engine.counters().prefilled)
    };
    let ((streams, in_streams), (one, in_one)) = (run(Switch::Off), run(Switch::On));
    assert_eq!(streams, one);
    // Streams keep fewer prefixes, but those that are used.
    assert!(in_streams <= in_one * 11 / 10, "{in_streams} against {in_one}");
}
