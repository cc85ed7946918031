//! What amend finds out about a server before the first item, and what it makes of it.

use crate::common::http::{choose, complete, engine, results, settings};
use crate::common::server::{Asked, Reply, Server, labels, says};
use crate::common::{Place, Ran};
use amend_core::chat::{Message, Reasoning, ReasoningMode, Role};
use amend_core::judge::labels::answers;
use amend_core::model::{ChoiceNeeds, Engine, Event, ProbeError, ProbeNeeds, Request, Task};
use amend_engine::http::Http;
use serde_json::{Value, json};

fn needs(mode: ReasoningMode) -> ProbeNeeds {
    let reasoning = Reasoning { mode, ..Reasoning::default() };
    let question = Message::new(Role::User, "A or B?");
    let mut opening = Message::new(Role::Assistant, "The answer is");
    let follows_thought = mode == ReasoningMode::On;
    if follows_thought {
        opening.reasoning = Some("(a thought)".to_owned());
    }
    let choices = ChoiceNeeds {
        turns: vec![question.clone(), opening],
        labels: answers(&["A", "B"]),
        reasoning: reasoning.clone(),
        thought_turns: follows_thought.then(|| vec![question]),
        mass_floor: 0.5,
        recorded_way: None,
    };
    ProbeNeeds { texts: Some(reasoning), choices: Some(choices) }
}

/// A server with an owner that amend does not know.
fn unknown(mut reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Server {
    owned_by("unlisted", move |asked| reply(asked))
}

fn owned_by(
    owner: &'static str,
    mut reply: impl FnMut(&Asked) -> Reply + Send + 'static,
) -> Server {
    Server::bare(move |asked| match asked.line.as_str() {
        "GET /v1/models" => Reply::Json(json!({"data": [{"id": "tiny", "owned_by": owner}]})),
        _ => reply(asked),
    })
}

/// Connects and probes, and returns the engine with what it found.
fn probed(server: &Server, needs: &ProbeNeeds) -> Result<(Http, Value), (String, String)> {
    let mut engine = Http::connect(&settings(&server.url)).unwrap();
    match engine.probe(needs) {
        Ok(()) => {
            let found = engine.describe().unwrap().settings["probe"].clone();
            Ok((engine, found))
        }
        Err(ProbeError::Unfit { message, hint }) => {
            Err((message.replace(&server.url, "URL"), hint))
        }
        Err(ProbeError::Engine(error)) => panic!("{error}"),
    }
}

fn refusal(message: &str) -> Reply {
    Reply::Status(400, json!({"error": {"message": message}}).to_string())
}

fn chooses(asked: &Asked) -> bool {
    asked.body["logprobs"] == true
}

fn is_begun(asked: &Asked) -> bool {
    asked.body["messages"].as_array().unwrap().last().unwrap()["role"] == "assistant"
}

/// The body of the request for a choice after the probe.
fn next_choice(engine: &mut Http, server: &Server) -> (Vec<f64>, Value) {
    let mut request = choose(1);
    request.turns.push(Message::new(Role::Assistant, "The answer is"));
    engine.submit(request);
    match &results(engine).unwrap()[..] {
        [Event::Chosen { log_probs, .. }] => {
            (log_probs.clone(), server.asked().last().unwrap().body.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_server_is_asked_twice() {
    let server =
        Server::start(|asked| if chooses(asked) { labels(&[(" A", 0.9)]) } else { says("OK") });
    let (_, found) = probed(&server, &needs(ReasoningMode::Auto)).unwrap();
    assert_eq!(found, json!({"thinks_anyway": false, "choices": "begun", "refused": []}));
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn refused_fields_are_learnt_once() {
    let server = unknown(|asked| {
        let has = |field: &str| asked.body.get(field).is_some();
        if has("max_tokens") {
            refusal(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                 'max_completion_tokens' instead.",
            )
        } else if has("temperature") {
            refusal("Unsupported value: 'temperature' does not support 0.5 with this model.")
        } else if has("top_k") {
            refusal("Unrecognized request argument supplied: top_k")
        } else if asked.body["top_logprobs"].as_u64() > Some(5) {
            refusal("top_logprobs must be <= 5")
        } else if chooses(asked) {
            labels(&[(" A", 0.9)])
        } else {
            says("OK")
        }
    });
    let (mut engine, found) = probed(&server, &needs(ReasoningMode::Auto)).unwrap();
    assert_eq!(found["refused"], json!(["temperature", "top_k", "max_tokens", "top_logprobs"]));
    let before = server.asked().len();
    engine.submit(complete(1, "Tea?"));
    results(&mut engine).unwrap();
    let (_, choice) = next_choice(&mut engine, &server);
    assert_eq!(server.asked().len(), before + 2, "nothing is refused any more");
    assert_eq!(choice["top_logprobs"], 5);
    let text = &server.asked()[before].body;
    assert_eq!(text["max_completion_tokens"], 7);
}

#[test]
fn a_field_that_is_refused_without_a_probe_is_learnt_too() {
    let server = unknown(|asked| match asked.body.get("min_p") {
        Some(_) => refusal("min_p: Extra inputs are not permitted"),
        None => says("Tea."),
    });
    let mut engine = engine(&server.url);
    for id in 0..8 {
        engine.submit(complete(id, "Tea?"));
    }
    let events = results(&mut engine).unwrap();
    assert!(events.iter().all(|event| matches!(event, Event::Done { .. })), "{events:?}");
}

/// The way in which verdicts are read from a server that refuses some begun replies.
fn way(owner: &'static str, reply: fn(&Asked) -> Reply) -> Result<Value, (String, String)> {
    let server = owned_by(owner, reply);
    let (mut engine, found) = probed(&server, &needs(ReasoningMode::Auto))?;
    let (log_probs, _) = next_choice(&mut engine, &server);
    assert!((log_probs[0].exp() - 0.9).abs() < 1e-9, "{log_probs:?}");
    Ok(found["choices"].clone())
}

#[test]
fn a_refused_begun_reply_is_continued_explicitly() {
    let found = way("llamacpp", |asked| match chooses(asked) {
        true if asked.body["continue_final_message"] == "content" => {
            assert_eq!(asked.body["add_generation_prompt"], false);
            labels(&[(" A", 0.9)])
        }
        true => refusal("Assistant response prefill is incompatible with enable_thinking."),
        false => says("OK"),
    });
    assert_eq!(found, Ok(json!("continued")));
}

#[test]
fn a_begun_reply_inside_a_thought_is_asked_for_with_thoughts_off() {
    let found = way("unlisted", |asked| match chooses(asked) {
        true if asked.body["reasoning_effort"] == "none" => labels(&[(" A", 0.9)]),
        true => labels(&[("Okay", 0.9), (",", 0.1)]),
        false => says("OK"),
    });
    assert_eq!(found, Ok(json!("unthinking")));
}

#[test]
fn a_begun_reply_that_is_repeated_is_replaced_by_the_label() {
    let found = way("vllm", |asked| match chooses(asked) {
        true if is_begun(asked) && asked.body["continue_final_message"] == true => refusal(
            "continue_final_message is set but the final message does not appear in the chat",
        ),
        // The server starts a new turn.
        true if is_begun(asked) => labels(&[("The", 0.9), (" right", 0.1)]),
        true => {
            assert!(asked.last().ends_with("Reply with A or B and nothing else."), "{asked:?}");
            labels(&[("A", 0.9)])
        }
        false => says("OK"),
    });
    assert_eq!(found, Ok(json!("label")));
}

#[test]
fn a_label_is_read_after_a_thought() {
    let server = unknown(|asked| {
        if !chooses(asked) {
            return Reply::Json(json!({"choices": [{
                "message": {"content": "OK", "reasoning": "Hm."}, "finish_reason": "stop"}]}));
        }
        if is_begun(asked) {
            return labels(&[("<think>", 1.0)]);
        }
        assert_eq!(asked.body["max_tokens"], 16 + 1024);
        let position = |(token, p): &(&str, f64)| {
            json!({"token": token, "top_logprobs": [
                {"token": "A", "logprob": p.ln()}, {"token": "B", "logprob": (1.0 - p).ln()}]})
        };
        let tokens = [
            ("<think>", 0.5),
            ("A", 0.5),
            ("?", 0.5),
            ("</think>", 0.5),
            ("\n\n", 0.5),
            ("A", 0.9),
        ];
        let positions: Vec<Value> = tokens.iter().map(position).collect();
        Reply::Json(json!({"choices": [{
            "message": {"content": "<think>A?</think>\n\nA"}, "finish_reason": "stop",
            "logprobs": {"content": positions}}]}))
    });
    // A server that only judges, or writes with thoughts, is asked for a text without thoughts
    // as well.
    let on = Reasoning { mode: ReasoningMode::On, ..Reasoning::default() };
    for texts in [Some(Reasoning::default()), None, Some(on)] {
        let needs = ProbeNeeds { texts, ..needs(ReasoningMode::Auto) };
        let (mut engine, found) = probed(&server, &needs).unwrap();
        assert_eq!((&found["choices"], &found["thinks_anyway"]), (&json!("label"), &json!(true)));
        let (log_probs, _) = next_choice(&mut engine, &server);
        assert!((log_probs[0].exp() - 0.9).abs() < 1e-9, "{log_probs:?}");
    }
}

#[test]
fn a_server_that_can_give_no_verdict_is_reported() {
    let refuses: fn(&Asked) -> Reply = |asked| match chooses(asked) {
        true => refusal("this model can't do that"),
        false => says("OK"),
    };
    let mut errors = String::new();
    for (owner, reply) in [
        ("llamacpp", refuses),
        ("vllm", refuses),
        ("library", |_| says("OK")),
        ("unlisted", |_| says("OK")),
    ] {
        let (message, hint) = way(owner, reply).unwrap_err();
        errors += &format!("{message}\n  {hint}\n");
    }
    insta::assert_snapshot!(errors, @r"
    verdicts can't be read from the server: URL/v1/chat/completions responded with status 400: this model can't do that
      start llama-server with --reasoning off and without --no-prefill-assistant, or update it; or set `enabled = false` in `[judge]`
    verdicts can't be read from the server: URL/v1/chat/completions responded with status 400: this model can't do that
      use a chat template that keeps the content of a final assistant turn as it is; or set `enabled = false` in `[judge]`
    URL/v1 reports no log-probabilities (logprobs, top_logprobs), from which verdicts are read
      update Ollama: versions before 0.12.11 report none. Otherwise judge with another server or a model file (--judge-model), or set `enabled = false` in `[judge]`
    URL/v1 reports no log-probabilities (logprobs, top_logprobs), from which verdicts are read
      judge with another server or a model file (--judge-model), or set `enabled = false` in `[judge]`
    ");
}

#[test]
fn a_switch_of_an_unknown_server_is_found() {
    for field in ["reasoning_effort", "chat_template_kwargs"] {
        let server = unknown(move |asked| match asked.body.get(field) {
            Some(_) => says("OK"),
            None => says("<think>Hm.</think>OK"),
        });
        let texts = Some(Reasoning::default());
        let (mut engine, found) = probed(&server, &ProbeNeeds { texts, choices: None }).unwrap();
        assert_eq!(found["thinks_anyway"], false, "{field}");
        engine.submit(complete(1, "Tea?"));
        results(&mut engine).unwrap();
        assert!(server.asked().last().unwrap().body.get(field).is_some(), "{field}");
    }
}

#[test]
fn a_model_that_always_thinks_gets_a_budget() {
    let server = owned_by("vllm", |asked| match asked.body.get("thinking_token_budget") {
        Some(_) => refusal("thinking_token_budget is set but reasoning_config is not configured."),
        None => says("<think>Hm.</think>OK"),
    });
    let texts = Some(Reasoning::default());
    let (mut engine, found) = probed(&server, &ProbeNeeds { texts, choices: None }).unwrap();
    assert_eq!(
        (&found["thinks_anyway"], &found["refused"]),
        (&json!(true), &json!(["thinking_token_budget"]))
    );
    engine.submit(complete(1, "Tea?"));
    results(&mut engine).unwrap();
    // The answer's seven tokens and the budget of the thought.
    assert_eq!(server.asked().last().unwrap().body["max_tokens"], 7 + 1024);
}

/// What a run reports about a server.
fn reports(server: &Server, arguments: &str) -> String {
    let place = Place::new();
    place.write("in.jsonl", "\"Why?\"\n\"Who?\"\n");
    small(&place, server, &format!("run in.jsonl --out r {arguments}")).err
}

#[test]
fn a_server_that_does_not_limit_thoughts_is_reported_once() {
    let unlimited = |_: &Asked| {
        Reply::Json(json!({"choices": [{
            "message": {"content": "<think>Let me"}, "finish_reason": "length"}]}))
    };
    let ignores = owned_by("llamacpp", move |asked| match chooses(asked) {
        true => labels(&[(" A", 0.9)]),
        false => unlimited(asked),
    });
    for arguments in ["", "--reasoning off", "--reasoning on"] {
        let err = reports(&ignores, arguments);
        let warning = "does not enforce the budget of thoughts";
        assert_eq!(err.matches(warning).count(), 1, "{arguments}: {err}");
        assert!(err.contains("--chat-template-file"), "{err}");
    }
    let refuses = owned_by("vllm", |asked| {
        let has = |field: &str| asked.body.get(field).is_some();
        if has("thinking_token_budget") {
            refusal("thinking_token_budget is set but reasoning_config is not configured.")
        } else if has("min_p") {
            refusal("min_p: Extra inputs are not permitted")
        } else if chooses(asked) {
            labels(&[(" A", 0.9)])
        } else {
            says("<think>Hm.</think>OK")
        }
    });
    let err = reports(&refuses, "--reasoning on");
    assert!(err.contains("min_p is no longer sent"), "{err}");
    assert_eq!(err.matches("does not enforce the budget of thoughts").count(), 1, "{err}");
    assert!(err.contains("--reasoning-config"), "{err}");
}

/// A request for the thought before an answer.
fn thought(id: u64) -> Request {
    let mut request = complete(id, "A or B?");
    if let Task::Complete { sampling, thought_only, .. } = &mut request.task {
        *thought_only = true;
        sampling.reasoning =
            Reasoning { mode: ReasoningMode::On, budget: 50, ..Reasoning::default() };
    }
    request
}

#[test]
fn a_verdict_follows_the_judges_thought() {
    let server = owned_by("vllm", |asked| {
        if !chooses(asked) {
            return Reply::Json(json!({"choices": [{
                "message": {"content": "", "reasoning": "A is shorter."}, "finish_reason": "length"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 20}}));
        }
        let last = asked.body["messages"].as_array().unwrap().last().unwrap();
        assert_eq!(last["reasoning"], "A is shorter.");
        assert_eq!(asked.body["continue_final_message"], true);
        labels(&[(" A", 0.9)])
    });
    let (mut engine, found) = probed(&server, &needs(ReasoningMode::On)).unwrap();
    assert_eq!(found["choices"], "begun");
    engine.submit(thought(1));
    match &results(&mut engine).unwrap()[..] {
        [Event::Done { completion, .. }] => {
            assert_eq!((completion.text.as_str(), completion.usage.reasoning), ("", 20));
            assert_eq!(completion.reasoning.as_deref(), Some("A is shorter."));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.asked().last().unwrap().body["max_tokens"], 50 + 16);
    // A model without thoughts can't be asked for them.
    let plain =
        owned_by("vllm", |asked| if chooses(asked) { labels(&[(" A", 0.9)]) } else { says("OK") });
    let (message, hint) = probed(&plain, &needs(ReasoningMode::On)).err().unwrap();
    assert!(message.starts_with("URL/v1 returns no thought"), "{message}");
    assert!(hint.contains("--reasoning-parser"), "{hint}");
}

fn small(place: &Place, server: &Server, arguments: &str) -> Ran {
    place.run(place.small(arguments).env("AMEND_MODEL", &server.url))
}

#[test]
fn a_run_stops_before_its_first_item_if_the_server_can_give_no_verdict() {
    let (place, server) = (Place::new(), Server::start(|_| says("OK")));
    place.write("in.jsonl", "\"Why?\"\n");
    let ran = small(&place, &server, "run in.jsonl --out r");
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("reports no log-probabilities"), "{}", ran.err);
    assert!(ran.err.contains("set `enabled = false` in `[judge]`"), "{}", ran.err);
    assert!(!place.path("r").exists());
    assert!(server.asked().iter().all(|asked| !asked.last().contains("Why?")), "{ran:?}");
    // Neither a dry run nor a rendered prompt asks the server for anything.
    let before = server.asked().len();
    for arguments in ["run in.jsonl --dry-run", "render Why? --step generate"] {
        assert_eq!(small(&place, &server, arguments).code, Some(0), "{arguments}");
    }
    assert_eq!(server.asked().len(), before);
}

/// A server whose begun replies work only sometimes.
fn fickle(continues: bool) -> Server {
    owned_by("unlisted", move |asked| match chooses(asked) {
        true if is_begun(asked) == continues => labels(&[(" A", 0.75), (" B", 0.25)]),
        true => labels(&[("The", 1.0)]),
        false => says("Tea."),
    })
}

#[test]
fn a_resumed_run_keeps_its_way_to_read_verdicts() {
    let place = Place::new();
    place.write("in.jsonl", "\"Why?\"\n\"Who?\"\n");
    let first = fickle(false);
    // One item only, so that the run can be resumed.
    let failing = owned_by("unlisted", |asked| match chooses(asked) {
        true if !is_begun(asked) => labels(&[("A", 0.75), ("B", 0.25)]),
        true => labels(&[("The", 1.0)]),
        false if asked.last() == "Who?" => Reply::Status(400, "no".to_owned()),
        false => says("Tea."),
    });
    let ran = small(&place, &failing, "run in.jsonl --out r");
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let manifest = std::fs::read_to_string(place.path("r/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["settings"]["probe"]["choices"], "label");
    // Another server would be asked in another way, which would mix two kinds of verdicts.
    let changed = fickle(true);
    let ran = small(&place, &changed, "run in.jsonl --out r --resume --retry-errors");
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("all verdicts would be undecided"), "{}", ran.err);
    let ran = small(&place, &first, "run in.jsonl --out r --resume --retry-errors");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}
