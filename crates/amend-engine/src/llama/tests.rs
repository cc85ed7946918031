//! The engine against llama.cpp's plainest use: one sequence, one context, the
//! prompt in one batch, then a token at a time.

use std::path::PathBuf;

use llama_cpp_2::context::params::KvCacheType;
use llama_cpp_2::llama_batch::LlamaBatch;

use super::*;
use amend_core::chat::Role;
use amend_core::model::{Sampling, Task};
use amend_core::random::Stream;

#[test]
fn the_manifest_names_the_pinned_bindings() {
    let manifest = include_str!("../../../../Cargo.toml");
    let pin = format!("llama-cpp-2 = {{ version = \"={LLAMA_CPP_2}\"");
    assert!(manifest.contains(&pin), "{pin}");
}

fn settings() -> Settings {
    Settings {
        parallel: 3,
        ctx_size: 2048,
        batch_size: 48,
        ubatch_size: 32,
        threads: 1,
        // With it llama.cpp rounds keys and values to F16.
        flash_attention: Switch::Off,
        cache_type_k: CacheType::F32,
        cache_type_v: CacheType::F32,
        ..Settings::default()
    }
}

fn load(family: &str) -> Model {
    let folder = std::env::var_os("AMEND_TINY_MODELS")
        .map_or_else(|| PathBuf::from("target/tiny-models"), PathBuf::from);
    let path = folder.join(format!("{family}.gguf"));
    assert!(path.exists(), "no model at {}: run tests/tiny-models", path.display());
    Model::load(&path, &settings()).unwrap()
}

/// The logits after each token from the `first` one on.
fn logits(model: &Model, tokens: &[Token], first: usize) -> Vec<Vec<f32>> {
    // llama.cpp's own choices: sequences apart, windows pruned.
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

/// How far a logit moves when a batch of another shape rounds it differently,
/// with room: 2e-5 to 4e-5 was measured on these models, whose likeliest tokens
/// are about 1 apart at the median.
const ROUNDING: f32 = 1e-3;

/// Every token the engine takes, among others and on shared prefixes, is the
/// likeliest by llama.cpp's own evaluation of what came before it.
#[test]
fn greedy_tokens_are_the_likeliest_by_plain_evaluation() {
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
                task: Task::Complete {
                    sampling: Sampling { temperature: 0.0, max_tokens: 40, ..Sampling::default() },
                    stream: Stream::new(id),
                    ignore_eos: true,
                    copies: false,
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
                let prompt = engine.prepare(&turns(questions[id as usize]), 0).unwrap();
                let answer = &engine.ended[&id].decoded;
                assert_eq!(answer.text, completion.text);
                let mut tokens: Vec<Token> = prompt.tokens.iter().map(|&(t, _)| t).collect();
                let first = tokens.len() - 1;
                tokens.extend(&answer.tokens);
                for (row, &taken) in logits(&model, &tokens, first).iter().zip(&answer.tokens) {
                    // The engine bans the ends of turns here.
                    let allowed = |&(token, _): &(usize, &f32)| {
                        !engine.end_tokens.contains(&(token as Token))
                    };
                    let likeliest = row.iter().enumerate().filter(allowed).map(|(_, &logit)| logit);
                    let behind = likeliest.fold(f32::MIN, f32::max) - row[taken as usize];
                    assert!(behind < ROUNDING, "{family} {id}: {behind} in {:?}", answer.text);
                    checked += 1;
                }
            }
        }
        assert!(checked >= 120, "{family}: {checked}");
        assert_eq!(engine.counters().cached > 0, model.can_share(), "{family}");
    }
}

/// Streams are computed in one pass only where they lie side by side, whatever ends
/// first and whatever prefixes are kept; and who shares, shares as in one cache.
#[test]
fn whoever_decodes_lies_side_by_side() {
    let model = load("llama");
    let header = "You mind the lamps of the harbour, and write down what you see.";
    let run = |kv_unified| {
        let settings =
            Settings { parallel: 4, ctx_size: 8 * 1024, batch_size: 512, kv_unified, ..settings() };
        let mut engine = Llama::new(&model, &settings).unwrap();
        let request = |id: u64, text: String, continues| Request {
            id,
            turns: vec![Message::new(Role::System, header), Message::new(Role::User, text)],
            shared_turns: 1,
            continues,
            task: Task::Complete {
                sampling: Sampling {
                    temperature: 0.0,
                    // They end one after another, and some long before the last.
                    max_tokens: 3 + 7 * (id as u32 % 5),
                    ..Sampling::default()
                },
                stream: Stream::new(id),
                ignore_eos: true,
                copies: false,
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
            // The batch just computed, less those that ended with it.
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
    // Fewer prefixes are kept, but those that are wanted.
    assert!(in_streams <= in_one * 11 / 10, "{in_streams} against {in_one}");
}
