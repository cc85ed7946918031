use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use amend_core::chat::{Message, Reasoning, Role};
use amend_core::model::{Sampling, Task};
use amend_core::random::Stream;

/// An exchange in memory.
#[derive(Default)]
struct Memory {
    results: BTreeMap<String, Value>,
    /// The requests that are due, by id.
    due: BTreeMap<String, Value>,
    refused: Vec<String>,
}

impl BatchExchange for Memory {
    fn result(&mut self, custom_id: &str) -> Result<Option<BatchResult>, EngineError> {
        let line = self.results.get(custom_id).cloned();
        Ok(line.map(|line| BatchResult { line, is_new: true }))
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn add(&mut self, custom_id: &str, line: &str) -> Result<(), EngineError> {
        self.due.insert(custom_id.to_owned(), serde_json::from_str(line).unwrap());
        Ok(())
    }

    fn remove(&mut self, custom_id: &str) {
        self.due.remove(custom_id);
    }

    fn refused(&self) -> &[String] {
        &self.refused
    }

    fn learn(&mut self, refused: Vec<String>) -> Result<(), EngineError> {
        self.refused = refused;
        Ok(())
    }
}

fn settings() -> BatchSettings {
    BatchSettings {
        model: "tiny".to_owned(),
        server: BatchServer::Vllm,
        choices: None,
        thinks: false,
        without: Vec::new(),
        parallel: 4,
    }
}

/// A request for a text. Its stream is that of `seed`.
fn complete(id: RequestId, says: &str, seed: u64, reasoning: ReasoningMode) -> Request {
    let reasoning = Reasoning { mode: reasoning, ..Reasoning::default() };
    let task = Task::Complete {
        sampling: Sampling { reasoning, ..Sampling::default() },
        stream: Stream::new(seed),
        ignore_eos: false,
        copies: false,
        thought_only: false,
    };
    let turns = vec![Message::new(Role::User, says)];
    Request { id, turns, shared_turns: 0, continues: None, item: id, task }
}

fn text(id: RequestId, seed: u64) -> Request {
    complete(id, "Tea?", seed, ReasoningMode::Auto)
}

/// Submits requests, takes a step, and cancels `cancelled` before it.
fn events(
    memory: &mut Memory,
    settings: BatchSettings,
    requests: Vec<Request>,
    cancelled: &[RequestId],
) -> Vec<Event> {
    let mut engine = BatchEngine::new(settings, memory).unwrap();
    for request in requests {
        engine.submit(request);
    }
    for id in cancelled {
        engine.cancel(*id);
    }
    let mut events = Vec::new();
    engine.step(&mut events).unwrap();
    events.retain(|event| !matches!(event, Event::Text { .. }));
    events
}

/// The id of the only request that is due.
fn due_id(memory: &Memory) -> &str {
    assert_eq!(memory.due.len(), 1);
    memory.due.keys().next().unwrap()
}

fn says(content: &str) -> Value {
    json!({"response": {"body": {"choices": [{"message": {"content": content}}]}}})
}

fn error(status: u16, message: &str) -> Value {
    json!({"response": {"status_code": status}, "error": message})
}

#[test]
fn an_id_depends_on_the_request_and_not_on_what_is_refused() {
    let id = |request: Request, without: &[&str]| {
        let mut memory = Memory::default();
        let without = without.iter().map(|&field| field.to_owned()).collect();
        events(&mut memory, BatchSettings { without, ..settings() }, vec![request], &[]);
        due_id(&memory).to_owned()
    };
    let first = id(text(1, 7), &[]);
    assert_eq!(first.len(), DIGITS + 2);
    assert!(first.ends_with("-1"));
    assert_eq!(id(text(9, 7), &["seed", "top_k"]), first);
    assert_ne!(id(text(1, 8), &["seed"]), first);
    assert_ne!(id(complete(1, "Ice?", 7, ReasoningMode::Auto), &[]), first);
}

#[test]
fn a_failed_request_has_a_new_id_until_its_tries_are_used_up() {
    let mut memory = Memory::default();
    for number in 1..=MAX_TRIES {
        assert_eq!(events(&mut memory, settings(), vec![text(1, 7)], &[]), []);
        let id = due_id(&memory).to_owned();
        assert!(id.ends_with(&format!("-{number}")), "{id}");
        memory.due.clear();
        memory.results.insert(id, error(429, "busy"));
    }
    let failed = events(&mut memory, settings(), vec![text(1, 7)], &[]);
    assert!(matches!(&failed[..], [Event::Failed { id: 1, .. }]), "{failed:?}");
    assert!(memory.due.is_empty());
}

#[test]
fn a_refused_field_is_learnt_from_all_results_that_name_it() {
    let mut memory = Memory::default();
    events(&mut memory, settings(), vec![text(1, 7), text(2, 8)], &[]);
    let ids: Vec<String> = memory.due.keys().cloned().collect();
    assert_eq!(ids.len(), 2);
    memory.due.clear();
    for id in ids {
        memory.results.insert(id, error(400, "unknown field: top_k"));
    }
    assert_eq!(events(&mut memory, settings(), vec![text(1, 7), text(2, 8)], &[]), []);
    assert_eq!(memory.refused, ["top_k"]);
    assert_eq!(memory.due.len(), 2);
    for (id, line) in &memory.due {
        assert!(id.ends_with("-2"), "{id}");
        assert_eq!(line["body"].get("top_k"), None);
    }
}

#[test]
fn a_request_is_cancelled_before_the_standstill_and_stays_due_after_it() {
    let mut memory = Memory::default();
    events(&mut memory, settings(), vec![text(1, 7), text(2, 8)], &[1]);
    assert_eq!(memory.due.len(), 1);

    let mut memory = Memory::default();
    let mut engine = BatchEngine::new(settings(), &mut memory).unwrap();
    let standstill = engine.standstill();
    engine.submit(text(1, 7));
    assert!(!standstill.get());
    assert!(!engine.step(&mut Vec::new()).unwrap());
    assert!(standstill.get());
    engine.cancel(1);
    drop(engine);
    assert_eq!(memory.due.len(), 1);
}

/// The chat template wrote the mark of the thought into the prompt. The reply that is cut off
/// shows none; another one of the same batch does.
#[test]
fn where_thoughts_begin_is_learnt_from_the_whole_batch() {
    let requests = || [1, 2].map(|id| complete(id, "Tea?", id, ReasoningMode::On)).to_vec();
    let mut memory = Memory::default();
    let mut ids = Vec::new();
    for request in requests() {
        events(&mut memory, settings(), vec![request], &[]);
        ids.push(due_id(&memory).to_owned());
        memory.due.clear();
    }
    let mut cut = says("I think of tea, and of");
    cut["response"]["body"]["choices"][0]["finish_reason"] = "length".into();
    memory.results.insert(ids[0].clone(), cut);
    memory.results.insert(ids[1].clone(), says("I think.\n</think>\n\nTea."));
    let events = events(&mut memory, settings(), requests(), &[]);
    let [Event::Failed { id: 1, failure }, Event::Done { id: 2, completion }] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(matches!(failure, Failure::NoAnswer { .. }), "{failure}");
    assert_eq!(completion.text, "Tea.");
}
