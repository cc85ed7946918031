//! A server of canned replies: what each form of reply that servers send must come to.

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant, SystemTime};

use crate::common::Place;
use crate::common::http::{choose, complete, engine, failure, result, results, settings};
use crate::common::server::{Asked, Reply, Server, labels, says};
use amend_core::chat::ReasoningMode;
use amend_core::model::{Completion, Engine, Event, Failure, Finish, Task, Usage};
use amend_engine::http::{EndpointSettings, Http, Retry};
use serde_json::{Value, json};

/// A server that replies with these choices.
fn replying(choice: Value) -> Server {
    Server::start(move |_| {
        Reply::Json(
            json!({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 9}}),
        )
    })
}

/// The completion of a reply with a message.
fn completion(choice: Value) -> Result<Completion, Failure> {
    let server = replying(choice);
    match result(&server.url, complete(1, "Tea?")) {
        Event::Done { completion, .. } => Ok(completion),
        Event::Failed { failure, .. } => Err(failure),
        other => panic!("{other:?}"),
    }
}

fn message(message: Value, finish_reason: &str) -> Value {
    json!({"message": message, "finish_reason": finish_reason})
}

#[test]
fn thoughts_in_the_content_are_separated() {
    for content in [
        "<think>\nTea?\n</think>\n\nTea.",
        "Tea?\n</think>\n\nTea.",
        "[THINK]Tea?[/THINK]Tea.",
        "<|channel|>analysis<|message|>Tea?<|end|><|start|>assistant<|channel|>final<|message|>Tea.",
        "<|channel>thought\nTea?<channel|>Tea.",
        "◁think▷Tea?◁/think▷Tea.",
    ] {
        let found = completion(message(json!({"content": content}), "stop")).unwrap();
        assert_eq!((found.text.as_str(), found.reasoning.as_deref()), ("Tea.", Some("Tea?")));
        assert_eq!(found.finish, Finish::Stop);
    }
}

#[test]
fn the_token_that_ends_a_turn_is_no_part_of_a_text() {
    for (content, thought) in [
        ("Tea.<|im_end|>", None),
        ("<think>\nTea?\n</think>\n\nTea.<|im_end|>", Some("Tea?")),
        (
            "<|channel|>analysis<|message|>Tea?<|end|><|start|>assistant<|channel|>final<|message|>\
             Tea.<|return|>",
            Some("Tea?"),
        ),
    ] {
        let found = completion(message(json!({"content": content}), "stop")).unwrap();
        assert_eq!((found.text.as_str(), found.reasoning.as_deref()), ("Tea.", thought));
    }
}

#[test]
fn channels_without_marks_are_a_failure_that_names_the_switch() {
    let choice = message(json!({"content": "analysisThey want tea.assistantfinalTea."}), "stop");
    let failure = completion(choice).unwrap_err().to_string();
    assert!(failure.contains("gpt-oss without the marks"), "{failure}");
    assert!(failure.contains("start llama-server with --jinja and"), "{failure}");
}

#[test]
fn a_thought_without_an_answer_is_a_failure_of_its_own() {
    for choice in [
        message(json!({"content": "<think>Let me"}), "length"),
        message(json!({"content": null, "reasoning_content": "Let me"}), "length"),
        message(json!({"content": "", "reasoning_content": "Let me"}), "stop"),
        message(json!({"content": null, "reasoning": "Let me"}), "length"),
        message(json!({"content": "\n", "reasoning": "Let me"}), "stop"),
        message(json!({"content": [{"type": "thinking", "thinking": "Let me"}]}), "length"),
        // A server that hides thoughts.
        message(json!({"content": ""}), "length"),
    ] {
        assert_eq!(completion(choice.clone()), Err(Failure::NoAnswer { tokens: 9 }), "{choice}");
    }
    let text = Failure::NoAnswer { tokens: 9 }.to_string();
    assert!(text.contains("--reasoning-budget") && text.contains("--reasoning off"), "{text}");
}

#[test]
fn thoughts_beside_the_content_and_blocks_are_separated() {
    for content in [
        json!({"content": "Tea.", "reasoning_content": "Tea?"}),
        json!({"content": "Tea.", "reasoning": "Tea?"}),
        json!({"content": [{"type": "thinking", "thinking": "Tea?"}, {"type": "text", "text": "Tea."}]}),
        json!({"content": [{"type": "output_text", "text": "Te"}, {"type": "text", "text": "a."}],
               "reasoning_content": "Tea?"}),
    ] {
        let found = completion(message(content, "stop")).unwrap();
        assert_eq!((found.text.as_str(), found.reasoning.as_deref()), ("Tea.", Some("Tea?")));
    }
}

#[test]
fn an_incomplete_text_fails_with_the_servers_reason() {
    for reason in ["content_filter", "tool_calls", "abort", "error"] {
        let failure = completion(message(json!({"content": "Tea."}), reason)).unwrap_err();
        assert_eq!(failure, Failure::Incomplete { reason: reason.to_owned() });
    }
    let null = json!({"message": {"content": "Tea."}, "finish_reason": null});
    assert_eq!(completion(null), Err(Failure::Incomplete { reason: "null".to_owned() }));
    // A minimal server leaves the field out.
    let absent = completion(json!({"message": {"content": "Tea."}})).unwrap();
    assert_eq!((absent.text.as_str(), absent.finish), ("Tea.", Finish::Stop));
}

#[test]
fn a_refusal_is_an_answer_that_is_marked() {
    for (content, finish_reason) in [
        (json!({"content": null, "refusal": "I can't."}), "stop"),
        (json!({"content": [{"type": "refusal", "refusal": "I can't."}]}), "stop"),
        (json!({"content": "I can't."}), "refusal"),
    ] {
        let found = completion(message(content, finish_reason)).unwrap();
        assert_eq!((found.text.as_str(), found.finish), ("I can't.", Finish::Refusal));
    }
}

#[test]
fn unknown_counts_lose_no_answer() {
    for (usage, prompt, decoded) in [
        (json!(null), 0, 0),
        (json!({"prompt_tokens": null, "completion_tokens": null}), 0, 0),
        (json!({"prompt_tokens": 5.0, "completion_tokens": 3.0}), 5, 3),
        (json!({}), 0, 0),
    ] {
        let server = Server::start(move |_| {
            Reply::Json(json!({"choices": [message(json!({"content": "Tea."}), "stop")],
                               "usage": usage}))
        });
        match result(&server.url, complete(1, "Tea?")) {
            Event::Done { completion, .. } => {
                assert_eq!(completion.text, "Tea.");
                assert_eq!(completion.usage, Usage { prompt, decoded, ..Usage::default() });
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The probabilities of A and B in a choice with these `logprobs`.
fn chosen(logprobs: &str) -> Result<[f64; 2], Failure> {
    let body =
        format!(r#"{{"choices": [{{"message": {{"content": "A"}}, "logprobs": {logprobs}}}]}}"#);
    let server = Server::start(move |_| Reply::Bytes(body.clone().into_bytes()));
    match result(&server.url, choose(1)) {
        Event::Chosen { log_probs, .. } => Ok([log_probs[0].exp(), log_probs[1].exp()]),
        Event::Failed { failure, .. } => Err(failure),
        other => panic!("{other:?}"),
    }
}

#[test]
fn log_probabilities_are_read_in_every_form() {
    let likely = |b: &str| {
        format!(
            r#"{{"content": [{{"token": "A", "top_logprobs": [
                {{"token": "A", "logprob": -0.5}}, {{"token": "B", "logprob": {b}}}]}}]}}"#
        )
    };
    for b in ["null", "NaN", "-Infinity", "-9999", "-9999.0"] {
        assert_eq!(chosen(&likely(b)), Ok([(-0.5_f64).exp(), 0.0]), "{b}");
    }
    let legacy = r#"{"tokens": ["A"], "token_logprobs": [-0.5],
                     "top_logprobs": [{"A": -0.5, " B": -1.0}]}"#;
    assert_eq!(chosen(legacy), Ok([(-0.5_f64).exp(), (-1.0_f64).exp()]));
    for none in ["null", "{}", r#"{"content": null}"#, r#"{"content": []}"#] {
        assert_eq!(chosen(none), Err(Failure::NoLogProbs), "{none}");
    }
}

#[test]
fn an_error_in_a_good_response_is_treated_as_the_status_it_names() {
    for (body, tries, told) in [
        (r#"{"choices": null, "error": {"message": "oh", "code": 502}}"#, 3, "status 502: oh"),
        (r#"{"error": {"code": 502}}"#, 3, r#"status 502: {"code":502}"#),
        (r#"{"error": {"message": "no", "code": 400}}"#, 1, "status 400: no"),
        (r#"{"error": "gone"}"#, 3, "status 502: gone"),
        (r#"{"choices": [{"error": {"message": "up", "code": 503}}]}"#, 3, "status 503: up"),
        (r#"{"choices": []}"#, 3, "responded without choices"),
        (r#"{"choices": null}"#, 3, "responded without choices"),
    ] {
        let server = Server::start(move |_| Reply::Bytes(body.as_bytes().to_vec()));
        let failure = failure(&server.url, complete(1, "Tea?")).to_string();
        assert!(failure.contains(told), "{failure}");
        assert_eq!(server.asked().len(), tries, "{body}");
    }
    // A rate limit is waited for.
    let mut before = 0;
    let server = Server::start(move |_| {
        before += 1;
        match before {
            1..=5 => {
                Reply::Json(json!({"choices": null, "error": {"message": "busy", "code": 429}}))
            }
            _ => says("Tea."),
        }
    });
    assert!(matches!(result(&server.url, complete(1, "Tea?")), Event::Done { .. }));
}

#[test]
fn what_is_no_text_is_replaced() {
    for content in [
        &b"\"T\\ud83dea.\""[..],
        b"\"T\\udc1dea.\"",
        b"\"T\xffea.\"",
        b"\"T\\u0000ea.\"",
        b"\"T\0ea.\"",
    ] {
        let body = [
            br#"{"choices": [{"finish_reason": "stop", "message": {"content": "#,
            content,
            b"}}]}",
        ]
        .concat();
        let server = Server::start(move |_| Reply::Bytes(body.clone()));
        match result(&server.url, complete(1, "Tea?")) {
            Event::Done { completion, .. } => assert_eq!(completion.text, "T\u{fffd}ea."),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn transient_statuses_are_retried() {
    for code in [408, 409, 425, 500, 502, 503, 529] {
        let mut before = 0;
        let server = Server::start(move |_| {
            before += 1;
            if before == 1 { Reply::Status(code, "oh".to_owned()) } else { says("Tea.") }
        });
        assert!(matches!(result(&server.url, complete(1, "Tea?")), Event::Done { .. }), "{code}");
    }
}

/// Runs requests against a server that answers the first ones with a rate limit. Returns the
/// times at which requests arrived, in order.
fn limited(limits: usize, limit: fn() -> Reply, requests: u64, retry: Retry) -> Vec<Instant> {
    let times = Arc::new(Mutex::new(Vec::new()));
    let arrived = Arc::clone(&times);
    let server = Server::start(move |_| {
        let mut arrived = arrived.lock().unwrap();
        arrived.push(Instant::now());
        if arrived.len() <= limits { limit() } else { says("Tea.") }
    });
    let settings = EndpointSettings { retry, ..settings(&server.url) };
    let mut engine = Http::connect(&settings).unwrap();
    for id in 0..requests {
        engine.submit(complete(id, "Tea?"));
    }
    let events = results(&mut engine).unwrap();
    assert_eq!(events.len() as u64, requests);
    assert!(events.iter().all(|event| matches!(event, Event::Done { .. })), "{events:?}");
    let times = times.lock().unwrap();
    times.clone()
}

fn short(tries: u32) -> Retry {
    Retry { tries, first_pause: Duration::from_millis(2), longest_pause: Duration::from_millis(8) }
}

#[test]
fn a_rate_limit_uses_up_no_tries() {
    // Far more limits than tries.
    let times = limited(60, || Reply::Status(429, "slow down".to_owned()), 4, short(2));
    assert_eq!(times.len(), 64);
}

#[test]
fn all_requests_pause_as_long_as_the_server_says() {
    for header in ["Retry-After: 1", "Retry-After: 0.4", "retry-after-ms: 400"] {
        let limit = match header {
            "Retry-After: 1" => || Reply::Head(429, "Retry-After: 1".to_owned()),
            "Retry-After: 0.4" => || Reply::Head(503, "Retry-After: 0.4".to_owned()),
            _ => || Reply::Head(429, "retry-after-ms: 400".to_owned()),
        };
        // Three threads meet the limit, or one of them meets it again after its pause.
        let times = limited(3, limit, 9, short(2));
        assert_eq!(times.len(), 12, "{header}");
        let pause = times[3].duration_since(times[0]);
        assert!(pause >= Duration::from_millis(400), "{header}: {pause:?}");
    }
}

#[test]
fn a_date_is_honoured() {
    // The date has whole seconds.
    let date = SystemTime::now() + Duration::from_secs(2);
    let header = format!("Retry-After: {}", httpdate::fmt_http_date(date));
    let mut requests = 0;
    let (sender, receiver) = mpsc::channel();
    let server = Server::start(move |_| {
        requests += 1;
        if requests == 1 {
            return Reply::Head(429, header.clone());
        }
        sender.send(SystemTime::now()).unwrap();
        says("Tea.")
    });
    assert!(matches!(result(&server.url, complete(1, "Tea?")), Event::Done { .. }));
    let retried = receiver.recv().unwrap();
    let early = date.duration_since(retried).unwrap_or_default();
    assert!(early < Duration::from_secs(1), "{early:?} too early");
}

#[test]
fn a_pause_ends_when_its_requests_are_cancelled() {
    let server = Server::start(|_| Reply::Head(429, "Retry-After: 3600".to_owned()));
    let mut engine = engine(&server.url);
    for id in 0..20 {
        engine.submit(complete(id, "Tea?"));
    }
    while server.asked().is_empty() {
        engine.step(&mut Vec::new()).unwrap();
    }
    for id in 0..20 {
        engine.cancel(id);
    }
    assert!(!engine.step(&mut Vec::new()).unwrap());
    // Each thread sent one request at most, and nothing waits for the rest of the hour.
    assert!(server.asked().len() <= 3, "{}", server.asked().len());
}

#[test]
fn an_account_without_credit_ends_the_engine() {
    let quota = r#"{"error": {"message": "pay first", "type": "insufficient_quota"}}"#;
    for (code, page) in [(429, quota), (402, "pay first")] {
        let server = Server::start(move |_| Reply::Status(code, page.to_owned()));
        let mut engine = engine(&server.url);
        engine.submit(complete(1, "Tea?"));
        let error = results(&mut engine).unwrap_err();
        assert!(error.hint.unwrap().contains("credit"), "{code}");
    }
}

/// A server that leaves thoughts in the content and truncates prompts to 300 tokens.
fn thinking(asked: &Asked) -> Reply {
    if asked.body["logprobs"] == true {
        return labels(&[(" A", 0.75), (" B", 0.25)]);
    }
    let answer = match asked.last() {
        last if last.contains("What is wrong?") => "It is cold.",
        last if last.contains("Say it better.") => "Yes, dear.",
        _ => "No.",
    };
    Reply::Json(json!({
        "choices": [message(json!({"content": format!("<think>SECRET</think>\n\n{answer}")}), "stop")],
        "usage": {"prompt_tokens": 300, "completion_tokens": 9},
    }))
}

#[test]
fn no_thought_is_exported_or_shown_to_another_step() {
    let (place, server) = (Place::new(), Server::start(thinking));
    let prompts: Vec<Value> = (1..5).map(|n| json!("Why? ".repeat(400 * n))).collect();
    let lines: Vec<String> = prompts.iter().map(Value::to_string).collect();
    place.write("in.jsonl", lines.join("\n"));
    let mut command = place.small("run in.jsonl --out r");
    let ran = place.run(command.env("AMEND_MODEL", &server.url));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let truncated = "llama-server truncates prompts: it counts 300 tokens";
    assert_eq!(ran.err.matches(truncated).count(), 1, "{}", ran.err);
    // This judge follows the position, so it is undecided.
    let undecided = place.run(&mut place.amend("export r"));
    assert_eq!((undecided.code, undecided.out.as_str()), (Some(1), ""), "{}", undecided.err);
    let exported = place.run(&mut place.amend("export r --policy keep-with-label"));
    assert_eq!((exported.code, exported.out.lines().count()), (Some(0), 4), "{}", exported.err);
    assert!(!exported.out.contains("SECRET"), "{}", exported.out);
    assert!(exported.out.contains("Yes, dear."));
    for asked in server.asked() {
        assert!(!asked.body["messages"].to_string().contains("SECRET"), "{asked:?}");
    }
}

#[test]
fn a_thought_that_was_cut_off_without_any_mark_is_no_answer() {
    let reply = |content: &str, finish: &str| {
        Reply::Json(json!({"choices": [message(json!({"content": content}), finish)]}))
    };
    let server = Server::start(move |asked| match asked.last() {
        "cut" => reply("Let me think about", "length"),
        _ => reply("Tea?\n</think>\n\nTea.", "stop"),
    });
    let mut engine = engine(&server.url);
    let mut ask = |id, prompt| {
        let mut request = complete(id, prompt);
        if let Task::Complete { sampling, .. } = &mut request.task {
            sampling.reasoning.mode = ReasoningMode::On;
        }
        engine.submit(request);
        results(&mut engine).unwrap().remove(0)
    };
    assert!(matches!(ask(1, "whole"), Event::Done { .. }));
    let Event::Failed { failure: Failure::NoAnswer { .. }, .. } = ask(2, "cut") else { panic!() };
}

#[test]
fn a_refused_prompt_that_names_a_setting_changes_no_other_request() {
    let server = Server::start(|asked| match asked.last() {
        prompt @ "What temperature does bread need?" => Reply::Status(
            400,
            json!({"error": {"message": format!("unsupported content: {prompt}")}}).to_string(),
        ),
        _ => says("Tea."),
    });
    let mut engine = engine(&server.url);
    for (id, prompt) in [(1, "What temperature does bread need?"), (2, "Tea?")] {
        engine.submit(complete(id, prompt));
        let result = results(&mut engine).unwrap().remove(0);
        assert_eq!(matches!(result, Event::Failed { .. }), id == 1, "{result:?}");
    }
    let bodies: Vec<Value> = server.asked().into_iter().map(|asked| asked.body).collect();
    assert!(bodies.last().unwrap()["temperature"].is_number(), "{bodies:?}");
}

#[test]
fn a_redirect_ends_the_engine_and_names_the_address() {
    let server = Server::start(|_| Reply::Head(307, "Location: http://other/v1".into()));
    let mut engine = engine(&server.url);
    engine.submit(complete(1, "Tea?"));
    let error = results(&mut engine).unwrap_err();
    assert!(error.message.contains("redirects to http://other/v1"), "{error}");
}
