//! Models that think before they answer. In these tiny models, the next token depends only
//! on the last one, and the words of thoughts and of answers differ.

use amend_core::chat::{Message, NextTurn, Reasoning, ReasoningMode, Role};
use amend_core::model::{
    Completion, Engine, Event, Failure, Finish, PromptTokens, Request, RequestId, Sampling, Task,
};
use amend_engine::llama::{Llama, LlamaSettings, Model, Switch};

use crate::engine::{after, ask, base, complete_and_submit, drain};
use crate::models::tiny_model_path;

const THOUGHTS: [&str; 4] = ["mull", "ponder", "weigh", "doubt"];
const ANSWERS: [&str; 8] = ["lamp", "tea", "warm", "rain", "wool", "moss", "Yes", "No"];
const THINKING: [&str; 3] = ["thinks", "opened", "channels"];

fn load(name: &str) -> Model {
    Model::load(&tiny_model_path(name), &settings()).unwrap()
}

fn settings() -> LlamaSettings {
    LlamaSettings { ctx_size: 4096, ..base() }
}

fn thinking(mode: ReasoningMode, budget: u32) -> Sampling {
    let reasoning = Reasoning { mode, budget, ..Reasoning::default() };
    Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        max_tokens: 24,
        reasoning,
        ..Sampling::default()
    }
}

/// The outcomes of `count` completions of one question.
fn complete(
    name: &str,
    sampling: &Sampling,
    count: RequestId,
    change: impl Fn(&mut Request),
) -> Vec<Result<Completion, Failure>> {
    let model = load(name);
    let mut engine = Llama::new(&model, &settings()).unwrap();
    for id in 0..count {
        let mut request = ask(id, "Why is the sky blue?", sampling.clone());
        change(&mut request);
        engine.submit(request);
    }
    drain(&mut engine).into_values().collect()
}

fn consists_of(text: &str, words: &[&str]) -> bool {
    text.split_whitespace().all(|word| words.contains(&word))
}

/// The text of a prompt's tokens.
fn prompt(engine: &Llama<'_>, turns: &[Message], mode: ReasoningMode, next: NextTurn) -> String {
    let reasoning = Reasoning { mode, ..Reasoning::default() };
    let prepared = engine.prepare(turns, 0, &reasoning, next).unwrap();
    prepared.tokens.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn thought_and_answer_are_separated() {
    for name in THINKING {
        let outcomes = complete(name, &thinking(ReasoningMode::On, 200), 24, |_| {});
        let mut thoughts = 0;
        for outcome in outcomes {
            let Completion { text, reasoning, finish, usage } = outcome.unwrap();
            assert!(consists_of(&text, &ANSWERS) && !text.is_empty(), "{name}: {text:?}");
            if let Some(thought) = reasoning {
                thoughts += 1;
                assert!(consists_of(&thought, &THOUGHTS), "{name}: {thought:?}");
                let words = thought.split_whitespace().count() as u32;
                assert!(usage.reasoning > words, "{name}: {usage:?} {thought:?}");
            }
            // A word is a token, and so is the end of the turn.
            let words = text.split_whitespace().count() as u32;
            let end = u32::from(finish == Finish::Stop);
            assert_eq!(usage.decoded - usage.reasoning, words + end, "{name}: {text:?}");
        }
        assert!(thoughts > 12, "{name}: {thoughts}");
    }
}

#[test]
fn a_thought_is_closed_at_its_budget_and_the_answer_follows() {
    for (budget, max_tokens) in [(1, 1), (7, 3), (40, 24)] {
        let sampling = Sampling { max_tokens, ..thinking(ReasoningMode::On, budget) };
        for outcome in complete("forgets", &sampling, 6, |_| {}) {
            let Completion { text, reasoning, usage, .. } = outcome.unwrap();
            let words = reasoning.unwrap().split_whitespace().count();
            assert_eq!(words, budget as usize);
            assert!(consists_of(&text, &ANSWERS) && !text.is_empty(), "{text:?}");
            assert!(usage.decoded - usage.reasoning <= max_tokens);
        }
    }
    // The channel of the answer is opened too.
    for outcome in complete("channels", &thinking(ReasoningMode::On, 1), 12, |_| {}) {
        let Completion { text, reasoning, .. } = outcome.unwrap();
        assert!(consists_of(&text, &ANSWERS) && !text.is_empty(), "{text:?}");
        assert!(reasoning.is_none_or(|thought| thought.split_whitespace().count() == 1));
    }
}

#[test]
fn a_thought_without_an_answer_is_a_failure() {
    for outcome in complete("breaks", &thinking(ReasoningMode::On, 100), 4, |_| {}) {
        let Err(Failure::NoAnswer { tokens }) = outcome else { panic!("{outcome:?}") };
        assert!(tokens > 0);
    }
}

#[test]
fn a_model_that_is_told_not_to_think_answers_at_once() {
    for name in ["thinks", "opened", "forgets", "breaks", "channels"] {
        for outcome in complete(name, &thinking(ReasoningMode::Off, 100), 6, |_| {}) {
            let Completion { text, reasoning, usage, .. } = outcome.unwrap();
            assert!(consists_of(&text, &ANSWERS) && !text.is_empty(), "{name}: {text:?}");
            assert_eq!((reasoning, usage.reasoning), (None, 0), "{name}");
        }
    }
}

#[test]
fn the_default_does_not_think_where_there_is_a_switch() {
    for (name, thinks) in [("thinks", false), ("opened", true)] {
        for outcome in complete(name, &thinking(ReasoningMode::Auto, 100), 4, |_| {}) {
            assert_eq!(outcome.unwrap().reasoning.is_some(), thinks, "{name}");
        }
    }
}

#[test]
fn a_model_without_thoughts_rejects_a_request_for_one() {
    for outcome in complete("plain", &thinking(ReasoningMode::On, 100), 1, |_| {}) {
        assert_eq!(outcome, Err(Failure::CannotThink));
    }
    for outcome in complete("plain", &thinking(ReasoningMode::Off, 100), 1, |_| {}) {
        assert!(consists_of(&outcome.unwrap().text, &ANSWERS));
    }
}

/// The probabilities of both labels after the opening of a verdict, which may follow a
/// thought.
fn verdict(name: &str, mode: ReasoningMode, thought: Option<&str>) -> [f64; 2] {
    let model = load(name);
    let mut engine = Llama::new(&model, &settings()).unwrap();
    let mut opening = Message::new(Role::Assistant, "The better answer is Answer");
    opening.reasoning = thought.map(str::to_owned);
    let turns = vec![Message::new(Role::User, "Which one?"), opening];

    let text = prompt(&engine, &turns, mode, NextTurn::Answer);
    assert!(text.ends_with("The better answer is Answer"), "{text}");
    let before = text.trim_end_matches("The better answer is Answer");
    match name {
        "plain" => assert!(before.ends_with("assistant\n"), "{text}"),
        "channels" => assert!(before.ends_with("final<|message|>"), "{text}"),
        _ => assert!(before.ends_with("</think>\n\n"), "{text}"),
    }
    if let Some(thought) = thought {
        assert!(before.contains(thought), "{text}");
    }

    let spellings = |label: &str| vec![label.to_owned(), format!(" {label}")];
    let reasoning = Reasoning { mode, ..Reasoning::default() };
    engine.submit(Request {
        turns,
        task: Task::Choose { choices: vec![spellings("A"), spellings("B")], reasoning },
        ..ask(1, "", Sampling::default())
    });
    let mut events = Vec::new();
    while engine.step(&mut events).unwrap() {}
    let [Event::Chosen { log_probs, .. }] = &events[..] else { panic!("{events:?}") };
    [log_probs[0].exp(), log_probs[1].exp()]
}

#[test]
fn the_label_is_read_where_the_answer_begins() {
    let plain = verdict("plain", ReasoningMode::Auto, None);
    assert!((plain[0] - 0.7).abs() < 0.01 && (plain[1] - 0.3).abs() < 0.01, "{plain:?}");
    for name in THINKING {
        for mode in ReasoningMode::ALL {
            for thought in [None, Some("ponder weigh")] {
                let found = verdict(name, mode, thought);
                for (found, expected) in found.iter().zip(plain) {
                    assert!((found - expected).abs() < 0.01, "{name} {mode} {found}");
                }
            }
        }
    }
}

#[test]
fn a_judge_can_think_before_the_label() {
    for name in THINKING {
        let only = |request: &mut Request| {
            if let Task::Complete { thought_only, .. } = &mut request.task {
                *thought_only = true;
            }
        };
        let mut thoughts = 0;
        for outcome in complete(name, &thinking(ReasoningMode::On, 12), 12, only) {
            let Completion { text, reasoning, .. } = outcome.unwrap();
            assert_eq!(text, "");
            let thought = reasoning.unwrap_or_default();
            assert!(consists_of(&thought, &THOUGHTS), "{name}: {thought:?}");
            assert!(thought.split_whitespace().count() <= 12, "{name}: {thought:?}");
            thoughts += u32::from(!thought.is_empty());
        }
        assert!(thoughts > 6, "{name}: {thoughts}");
    }
}

/// A critique continues its answer in the cache, and a revision its critique, both without
/// their thoughts.
#[test]
fn a_continuation_contains_no_thought() {
    for name in THINKING {
        for (mode, kv_unified) in
            [(ReasoningMode::On, Switch::On), (ReasoningMode::Off, Switch::Off)]
        {
            let model = load(name);
            let settings = LlamaSettings { kv_unified, ctx_size: 16_384, ..settings() };
            let mut engine = Llama::new(&model, &settings).unwrap();
            engine.count_ideal();
            let sampling = thinking(mode, 100);
            let question = "What is wrong with it?";
            let first = ask(1, "Why is the sky blue?", sampling);
            engine.submit(first.clone());
            let answer = complete_and_submit(&mut engine, |completion| {
                Some(after(&first, &completion.text, question))
            });
            let next = after(&first, &answer.text, question);
            let text = prompt(&engine, &next.turns, mode, NextTurn::Reply);
            assert!(THOUGHTS.iter().all(|word| !text.contains(word)), "{name}: {text}");
            let critique = drain(&mut engine).remove(&2).unwrap().unwrap();
            // An unlimited cache would have kept as much.
            let usage = critique.usage;
            assert_eq!(Some(usage.prefilled()), usage.ideal, "{name} {mode}: {usage:?}");
            assert!(consists_of(&critique.text, &ANSWERS), "{name}: {:?}", critique.text);
        }
    }
}
