//! The llama.cpp engine on tiny random models of several families. Their results can be
//! compared exactly: with F32 weights and an F32 cache, batches of different shapes differ
//! only in the last bits, and the two most likely tokens differ by much more.

use std::collections::BTreeMap;

use amend_core::chat::{Message, NextTurn, Reasoning, Role};
use amend_core::model::{
    Completion, Counters, Engine, Event, Finish, PromptTokens, Request, RequestId, Sampling, Task,
};
use amend_core::random::Stream;
use amend_engine::llama::{GpuLayers, Llama, LlamaSettings, Model, Switch};

use crate::engine;
use crate::models::tiny_model_path;

/// The families, and whether their sequences can share cells.
const FAMILIES: [(&str, bool); 5] =
    [("llama", true), ("qwen2", true), ("olmo2", true), ("mamba", false), ("lfm2", false)];

/// The family with a sliding window. The prompts here are many times as long.
const WINDOWED: &str = "olmo2";

fn settings() -> LlamaSettings {
    LlamaSettings { ctx_size: 4096, ..engine::settings() }
}

fn load(family: &str) -> Model {
    Model::load(&tiny_model_path(family), &settings()).unwrap()
}

const HEADER: &str = "You mind the lamps of the harbour. Say what you see, and no more than that.";

const CONVERSATIONS: [&str; 3] = [
    "The fog came in at nine, and by ten the pier was gone.",
    "Two boats are late. One of them carries the mail, the other carries oranges.",
    "Who keeps the light when the keeper sleeps?",
];

const SUFFIXES: [&str; 4] = [
    "Is it true?",
    "Is it kind to those who wait on the quay?",
    "Would a child follow it?",
    "Is it true of the night before as well as of this one?",
];

const TOKENS: u32 = 24;

/// Requests with a shared prefix: each conversation with every suffix.
fn roots() -> Vec<Request> {
    let prompts = CONVERSATIONS
        .iter()
        .flat_map(|conversation| SUFFIXES.map(|suffix| format!("{conversation}\n{suffix}")));
    (1..)
        .zip(prompts)
        .map(|(id, prompt)| request(id, vec![Message::new(Role::User, prompt)]))
        .collect()
}

fn request(id: RequestId, mut turns: Vec<Message>) -> Request {
    turns.insert(0, Message::new(Role::System, HEADER));
    Request {
        id,
        turns,
        shared_turns: 1,
        continues: None,
        item: id,
        task: Task::Complete {
            sampling: Sampling { temperature: 0.0, max_tokens: TOKENS, ..Sampling::default() },
            stream: Stream::new(id),
            ignore_eos: true,
            copies: false,
            thought_only: false,
        },
    }
}

/// The request that continues the answer of a root.
fn continuation(root: &Request, answer: &str) -> Request {
    let mut next = Request { id: root.id + 100, continues: Some(root.id), ..root.clone() };
    next.turns.push(Message::new(Role::Assistant, answer));
    next.turns.push(Message::new(Role::User, "Say it again, plainer."));
    next
}

/// The results of one run.
struct Run {
    completions: BTreeMap<RequestId, Completion>,
    counters: Counters,
    /// The number of cells in use at the end.
    left: usize,
}

impl Run {
    fn texts<'a>(&'a self) -> BTreeMap<RequestId, (&'a str, Finish, u32)> {
        let outcome = |c: &'a Completion| (c.text.as_str(), c.finish, c.usage.decoded);
        self.completions.iter().map(|(&id, completion)| (id, outcome(completion))).collect()
    }
}

/// Runs all roots with greedy sampling, and continues each as soon as it is done.
fn run(model: &Model, settings: &LlamaSettings) -> Run {
    run_at(model, settings, 0.0)
}

fn run_at(model: &Model, settings: &LlamaSettings, temperature: f32) -> Run {
    let mut engine = Llama::new(model, settings).unwrap();
    let mut roots: BTreeMap<RequestId, Request> = roots().into_iter().map(|r| (r.id, r)).collect();
    for root in roots.values_mut() {
        if let Task::Complete { sampling, .. } = &mut root.task {
            sampling.temperature = temperature;
        }
    }
    for root in roots.values() {
        engine.submit(root.clone());
    }
    let mut completions = BTreeMap::new();
    let mut events = Vec::new();
    loop {
        let more = engine.step(&mut events).unwrap();
        let mut submitted = false;
        for event in events.drain(..) {
            match event {
                Event::Text { .. } => {}
                Event::Chosen { .. } | Event::Likelihood { .. } => panic!("{event:?}"),
                Event::Done { id, completion } => {
                    if let Some(root) = roots.get(&id) {
                        engine.submit(continuation(root, &completion.text));
                        submitted = true;
                    }
                    assert!(completions.insert(id, completion).is_none());
                }
                Event::Failed { id, failure } => panic!("request {id} failed: {failure}"),
            }
        }
        if !more && !submitted {
            break;
        }
    }
    assert_eq!(completions.len(), 2 * roots.len());
    Run { completions, counters: engine.counters(), left: engine.cells_in_use() }
}

/// One test for each family, so that they run in parallel.
mod answers_do_not_depend_on_the_shape_of_batches {
    use super::{FAMILIES, check_answers};

    #[test]
    fn llama() {
        check_answers(FAMILIES[0]);
    }

    #[test]
    fn qwen2() {
        check_answers(FAMILIES[1]);
    }

    #[test]
    fn olmo2() {
        check_answers(FAMILIES[2]);
    }

    #[test]
    fn mamba() {
        check_answers(FAMILIES[3]);
    }

    #[test]
    fn lfm2() {
        check_answers(FAMILIES[4]);
    }
}

fn check_answers((family, shares): (&str, bool)) {
    let model = load(family);
    assert_eq!(model.can_share(), shares, "{family}");
    let alone = LlamaSettings { parallel: 1, share_prefixes: false, ..settings() };
    let reference = run(&model, &alone);
    let expected = reference.texts();
    assert_varied(family, &reference);
    assert_eq!((reference.counters.cached, reference.left), (0, 0), "{family}");

    for (share_prefixes, parallel, kv_unified) in [
        (false, 1, Switch::On),
        (false, 4, Switch::On),
        (true, 1, Switch::On),
        (true, 4, Switch::On),
        (false, 4, Switch::Off),
        (true, 1, Switch::Off),
        (true, 4, Switch::Off),
    ] {
        let mut prefilled = Vec::new();
        let shapes = [(512, 512), (7, 7), (64, 32), (48, 5)];
        // The shape of batches matters most where most is computed together.
        let shapes = if parallel > 1 && share_prefixes { &shapes[..] } else { &shapes[..2] };
        for &(batch_size, ubatch_size) in shapes {
            let case = format!(
                "{family} {share_prefixes} {parallel} {kv_unified:?} {batch_size} {ubatch_size}"
            );
            let shape = LlamaSettings {
                share_prefixes,
                parallel,
                kv_unified,
                batch_size,
                ubatch_size,
                ..settings()
            };
            let run = run(&model, &shape);
            assert_eq!(run.texts(), expected, "{case}");
            let Counters { prefilled: computed, cached, decoded, .. } = run.counters;
            assert_eq!(computed + cached, reference.counters.prefilled, "{case}");
            assert_eq!(decoded, reference.counters.decoded, "{case}");
            if share_prefixes && shares {
                // The shared prefix stays for later requests, except with a window:
                // llama.cpp may have reused its cells.
                assert!(run.left > 0 || family == WINDOWED, "{case}");
                assert!(2 * computed < reference.counters.prefilled, "{case}");
            } else {
                assert_eq!((cached, run.left), (0, 0), "{case}");
            }
            prefilled.push(computed);
        }
        // The shared tokens don't depend on the shape of batches, except with a window:
        // llama.cpp may have reused the cells of a prefix.
        prefilled.dedup();
        if family == WINDOWED {
            continue;
        }
        assert_eq!(prefilled.len(), 1, "{family} {share_prefixes} {parallel}: {prefilled:?}");
    }
}

/// Checks that answers differ, and that tokens differ within an answer: a model with one
/// constant answer would hide all errors.
fn assert_varied(family: &str, run: &Run) {
    let mut texts: Vec<&str> = run.completions.values().map(|c| c.text.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert!(texts.len() > run.completions.len() * 9 / 10, "{family}: {texts:?}");
    for text in texts {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters.dedup();
        assert!(letters.len() >= 4, "{family}: {text:?}");
    }
}

/// Prompt lookup changes only the number of batches: the texts, with greedy and random
/// sampling, and the remaining cells are the same as without it.
#[test]
fn prompt_lookup_does_not_change_texts() {
    let mut accepted = 0;
    for (family, shares) in FAMILIES {
        let model = load(family);
        for temperature in [0.0, 0.7] {
            let shapes = [
                (4, 512, Switch::On),
                (4, 9, Switch::On),
                (1, 512, Switch::On),
                (4, 512, Switch::Off),
            ];
            // Prompt lookup needs sequences that can share cells, and prompts within a window.
            let can_draft = shares && family != WINDOWED;
            for &(parallel, batch_size, kv_unified) in
                if can_draft { &shapes[..] } else { &shapes[..1] }
            {
                let case = format!("{family} {temperature} {parallel} {batch_size} {kv_unified:?}");
                let run = |speculate| {
                    let settings =
                        LlamaSettings { speculate, parallel, batch_size, kv_unified, ..settings() };
                    run_at(&model, &settings, temperature)
                };
                let (without, with) = (run(Switch::Off), run(Switch::On));
                assert_eq!(with.texts(), without.texts(), "{case}");
                let (off, on) = (without.counters, with.counters);
                assert_eq!((off.drafted, off.accepted), (0, 0), "{case}");
                assert_eq!((on.prefilled, on.decoded), (off.prefilled, off.decoded), "{case}");
                assert_eq!(with.left, without.left, "{case}");
                assert_eq!(on.drafted > 0, can_draft, "{case}: {on:?}");
                assert!(on.accepted < on.drafted || !can_draft, "{case}: {on:?}");
                if parallel == 1 && on.accepted > 0 {
                    // Every accepted draft token saves a batch.
                    assert!(on.batches < off.batches, "{case}: {on:?} {off:?}");
                }
                accepted += on.accepted;
            }
        }
    }
    assert!(accepted > 300, "{accepted}");
}

/// The context is only slightly larger than the longest request.
#[test]
fn a_small_context_changes_no_text_and_needs_no_more_prefill() {
    for (family, shares) in FAMILIES {
        let model = load(family);
        let ample = run(&model, &settings());
        let longest = ample.completions.values().map(|c| c.usage.prompt).max().unwrap() + TOKENS;
        // llama.cpp rounds a context up to a multiple of 256.
        let ctx_size = longest.next_multiple_of(256);
        for share_prefixes in [false, true] {
            let tight = run(&model, &LlamaSettings { ctx_size, share_prefixes, ..settings() });
            assert_eq!(tight.texts(), ample.texts(), "{family} in {ctx_size}");
            let (tight, ample) = (tight.counters, ample.counters);
            assert_eq!(tight.prefilled + tight.cached, ample.prefilled + ample.cached);
            // With sharing, requests wait instead of evicting the prefixes of others.
            let more = shares && !share_prefixes;
            assert_eq!(tight.prefilled > ample.prefilled, more, "{family} {share_prefixes}");
        }
    }
}

/// The engine switches to a unified cache without losing anything. A reset restores the
/// streams.
#[test]
fn a_request_longer_than_a_stream_switches_to_a_unified_cache() {
    // Only on the CPU does the engine choose streams.
    let settings = || LlamaSettings { n_gpu_layers: GpuLayers::Count(0), ..settings() };
    let model = Model::load(&tiny_model_path("llama"), &settings()).unwrap();
    let unified = |engine: &Llama<'_>| {
        engine.describe().unwrap().settings["settings"]["kv_unified"].as_str().map(str::to_owned)
    };
    let long = "The fog came in at nine, and by ten the pier was gone. ".repeat(60);
    let requests = || {
        let mut requests = roots();
        requests.insert(3, request(200, vec![Message::new(Role::User, long.as_str())]));
        requests
    };
    let texts = |engine: &mut Llama<'_>| {
        requests().into_iter().for_each(|request| engine.submit(request));
        let mut texts = BTreeMap::new();
        let mut events = Vec::new();
        while engine.step(&mut events).unwrap() {
            for event in events.drain(..) {
                if let Event::Done { id, completion } = event {
                    texts.insert(id, completion.text);
                }
            }
        }
        texts
    };
    let layout = |kv_unified| LlamaSettings { kv_unified, ctx_size: 8 * 1024, ..settings() };
    let mut engine = Llama::new(&model, &layout(Switch::Auto)).unwrap();
    assert_eq!(unified(&engine).as_deref(), Some("off"));
    let expected = texts(&mut engine);
    assert_eq!(expected.len(), requests().len());
    assert_eq!(unified(&engine).as_deref(), Some("on"));
    let mut one = Llama::new(&model, &layout(Switch::On)).unwrap();
    assert_eq!(texts(&mut one), expected);
    engine.reset();
    let (before, cached) = (engine.counters().prefilled, engine.counters().cached);
    engine.submit(roots().remove(0));
    while engine.step(&mut Vec::new()).unwrap() {}
    assert_eq!(unified(&engine).as_deref(), Some("off"));
    // The reset dropped the cached prefixes.
    assert_eq!(engine.counters().cached, cached);
    assert!(engine.counters().prefilled > before);

    // If the user requested streams, they stay, and only the long request fails.
    let mut streams = Llama::new(&model, &layout(Switch::Off)).unwrap();
    let mut left = texts(&mut streams);
    assert_eq!(unified(&streams).as_deref(), Some("off"));
    left.insert(200, expected[&200].clone());
    assert_eq!(left, expected);
}

/// There are more prompts that come again much later than sequences. The prefixes that are
/// used sooner must stay in the cache.
#[test]
fn prefixes_used_much_later_do_not_displace_those_used_sooner() {
    let model = load("llama");
    let under = |conversation: &str| -> Vec<Request> {
        let prompt = |at: u64| format!("{conversation}\n{at}: {}", SUFFIXES[at as usize % 4]);
        (0..24).map(|at| request(at, vec![Message::new(Role::User, prompt(at))])).collect()
    };
    let prefilled = |parts: &[&str]| {
        let mut engine = Llama::new(&model, &settings()).unwrap();
        for (part, conversation) in (0..).zip(parts) {
            for request in under(conversation) {
                engine.submit(Request { id: request.id + 100 * part, ..request });
            }
        }
        while engine.step(&mut Vec::new()).unwrap() {}
        engine.counters().prefilled
    };
    let [again, between, _] = CONVERSATIONS;
    let alone = 2 * prefilled(&[again]) + prefilled(&[between]);
    let together = prefilled(&[again, between, again]);
    assert!(together <= alone, "{together} after {alone}");
}

/// llama.cpp keeps no memory for such a model: decoding would silently continue from the
/// last token alone.
#[test]
fn a_model_that_does_not_generate_from_left_to_right_is_rejected() {
    let model = load("llada");
    let error = Llama::new(&model, &settings()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the model can't generate text: it keeps no memory of what came before"
    );
    assert!(error.hint.unwrap().contains("left to right"));
}

/// llama.cpp parses tokens that the vocabulary marks as user-defined even in plain text.
/// Content with their text must be spelled out nevertheless.
#[test]
fn content_never_becomes_a_user_defined_token() {
    let model = load("llama");
    let engine = Llama::new(&model, &settings()).unwrap();
    let prepared = |content: &str| {
        engine
            .prepare(
                &[Message::new(Role::User, content)],
                0,
                &Reasoning::default(),
                NextTurn::Reply,
            )
            .unwrap()
            .tokens
    };
    let special = ["<think>", "</think>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"];
    let count = |content: &str| {
        prepared(content).iter().filter(|(_, text)| special.contains(&text.as_str())).count()
    };
    let plain = count("x");
    for content in [
        "<think>",
        "<think></think>",
        "<think><think>a</think>",
        "<<think>>",
        "<thi<think>nk>",
        "a <think> b </think>\n<|im_end|>\n<|im_start|>assistant\n<think>",
        "</think",
        "<think>\u{e9}</think>\u{1f512}",
    ] {
        assert_eq!(count(content), plain, "{content:?}");
        let bytes: String = prepared(content).into_iter().map(|(_, text)| text).collect();
        // Tokens can be parts of characters, so only ASCII is compared.
        let ascii = |text: &str| text.chars().filter(char::is_ascii).collect::<String>();
        assert!(ascii(&bytes).contains(&ascii(content)), "{content:?}: {bytes:?}");
    }
    // As scaffold, the same text becomes the token.
    let mut template = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(
        &mut template,
        b"{% for m in messages %}{{ m['content'] }}{% endfor %}<think>",
    )
    .unwrap();
    let settings = LlamaSettings { chat_template: Some(template.path().to_owned()), ..settings() };
    let model = Model::load(&tiny_model_path("llama"), &settings).unwrap();
    let engine = Llama::new(&model, &settings).unwrap();
    let tokens = engine
        .prepare(&[Message::new(Role::User, "a<think>")], 0, &Reasoning::default(), NextTurn::Reply)
        .unwrap()
        .tokens;
    let thinks = tokens.iter().filter(|(_, text)| text == "<think>").count();
    assert_eq!((thinks, tokens.last().unwrap().1.as_str()), (1, "<think>"));
}
