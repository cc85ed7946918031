//! The engine of a server, driven from a test.

use std::time::Duration;

use amend_core::chat::{Message, Reasoning, Role};
use amend_core::model::{Engine, EngineError, Event, Failure, Request, Sampling, Task};
use amend_core::random::Stream;
use amend_engine::http::{EndpointSettings, Http, Retry};

/// Settings with short pauses.
pub fn settings(url: &str) -> EndpointSettings {
    EndpointSettings {
        parallel: 3,
        timeout: Duration::from_secs(20),
        retry: Retry {
            tries: 3,
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(200),
        },
        ..EndpointSettings::new(url.parse().unwrap())
    }
}

pub fn engine(url: &str) -> Http {
    Http::connect(&settings(url)).unwrap()
}

pub fn request(id: u64, says: &str, task: Task) -> Request {
    let turns = vec![Message::new(Role::User, says)];
    Request { id, turns, shared_turns: 0, continues: None, item: id, task }
}

pub fn complete(id: u64, says: &str) -> Request {
    let sampling = Sampling { temperature: 0.5, max_tokens: 7, ..Sampling::default() };
    request(
        id,
        says,
        Task::Complete {
            sampling,
            stream: Stream::new(id),
            ignore_eos: false,
            copies: false,
            thought_only: false,
        },
    )
}

pub fn choose(id: u64) -> Request {
    let choices = [vec!["A", " A"], vec!["B", " B"]];
    let choices =
        choices.map(|spellings| spellings.into_iter().map(str::to_owned).collect()).into();
    request(id, "A or B?", Task::Choose { choices, reasoning: Reasoning::default() })
}

/// The results of all requests, without events for partial text.
pub fn results(engine: &mut Http) -> Result<Vec<Event>, EngineError> {
    let mut events = Vec::new();
    while engine.step(&mut events)? {}
    events.retain(|event| !matches!(event, Event::Text { .. }));
    Ok(events)
}

/// The result of one request.
pub fn result(url: &str, request: Request) -> Event {
    let mut engine = engine(url);
    engine.submit(request);
    let mut events = results(&mut engine).unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

pub fn failure(url: &str, request: Request) -> Failure {
    match result(url, request) {
        Event::Failed { failure, .. } => failure,
        other => panic!("{other:?}"),
    }
}
