//! Models behind a server: tests the engine and the program with a small server inside the
//! test.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use crate::common::http::{choose, complete, engine, failure, request, result, results, settings};
use crate::common::server::{Asked, Reply, Server, labels, models, plays, says};
use crate::common::{Place, Ran};
use amend_core::chat::{NextTurn, Reasoning};
use amend_core::model::{
    Completion, Engine, EngineError, Event, Failure, Finish, PromptTokens, Task, Usage,
};
use amend_core::random::Stream;
use amend_data::store::run_dir::RunDir;
use amend_engine::http::{EndpointSettings, Http, Key, Retry};
use serde_json::{Value, json};

#[test]
fn each_response_belongs_to_its_request() {
    let server = Server::start(|asked| says(&format!("{} – ja, 東京 🐝", asked.last())));
    let mut engine = engine(&server.url);
    assert_eq!(engine.width(), 3);
    for id in 0..20 {
        engine.submit(complete(id, &format!("Grüße {id}?")));
    }
    let completions: BTreeMap<u64, Completion> = results(&mut engine)
        .unwrap()
        .into_iter()
        .map(|event| match event {
            Event::Done { id, completion } => (id, completion),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = (0..20).map(|id| {
        let usage = Usage { prompt: 10, cached: 4, decoded: 6, ..Usage::default() };
        let text = format!("Grüße {id}? – ja, 東京 🐝");
        (id, Completion { text, reasoning: None, finish: Finish::Stop, usage })
    });
    assert_eq!(completions, expected.collect());
    let counters = engine.counters();
    assert_eq!(
        [counters.prefilled, counters.cached, counters.decoded, counters.batches],
        [20 * 6, 20 * 4, 20 * 6, 20]
    );
    assert!(counters.compute_seconds > 0.0);
    assert!(!engine.step(&mut Vec::new()).unwrap(), "nothing is left");

    let asked = server.asked();
    let request = asked.iter().find(|request| request.last() == "Grüße 3?").unwrap();
    assert_eq!((request.line.as_str(), &request.key), ("POST /v1/chat/completions", &None));
    // The server's list of models identifies it as llama-server.
    assert_eq!(
        request.body,
        json!({
            "model": "tiny", "messages": [{"role": "user", "content": "Grüße 3?"}],
            "temperature": 0.5, "top_p": 0.95, "max_tokens": 7, "top_k": 40, "min_p": 0.05,
            "repeat_penalty": 1.0, "repeat_last_n": 64, "cache_prompt": true,
            "chat_template_kwargs": {"enable_thinking": false, "thinking": false},
            "seed": Stream::new(3).bits(0) >> 33,
        })
    );
}

#[test]
fn probabilities_are_read_from_the_most_likely_tokens() {
    let server = Server::start(|_| {
        let top = [("A", 0.5_f64), (" A", 0.25), ("B", 0.125), ("!", 0.0625)];
        let top = top.map(|(token, p)| json!({"token": token, "logprob": p.ln()}));
        Reply::Json(json!({
            "choices": [{"message": {"content": "A"}, "finish_reason": "length",
                         "logprobs": {"content": [{"token": "A", "top_logprobs": top}]}}],
            "usage": {"prompt_tokens": 30, "completion_tokens": 1},
        }))
    });
    match result(&server.url, choose(1)) {
        Event::Chosen { id: 1, log_probs, usage } => {
            assert_eq!(usage, Usage { prompt: 30, decoded: 1, ..Usage::default() });
            assert_eq!(log_probs.len(), 2);
            for (log_prob, p) in log_probs.iter().zip([0.75_f64, 0.125]) {
                assert!((log_prob - p.ln()).abs() < 1e-12, "{log_probs:?}");
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn unsupported_tasks_fail_with_a_specific_failure() {
    let server = Server::start(|_| says("A"));
    assert_eq!(failure(&server.url, choose(1)), Failure::NoLogProbs);
    let score = request(
        1,
        "Why?",
        Task::Likelihood { response: "Because.".to_owned(), reasoning: Reasoning::default() },
    );
    assert_eq!(failure(&server.url, score), Failure::CannotScore);
    let engine = engine(&server.url);
    assert_eq!(
        engine.prepare(&[], 0, &Reasoning::default(), NextTurn::Reply),
        Err(Failure::TokensUnknown)
    );
    let capabilities = engine.capabilities();
    assert!(!capabilities.scores_texts && !capabilities.knows_tokens, "{capabilities:?}");
}

#[test]
fn transient_errors_are_retried() {
    let mut before = 0;
    let server = Server::start(move |_| {
        before += 1;
        match before {
            1 => Reply::Status(500, "oh".to_owned()),
            2 => Reply::Head(429, "Retry-After: 0".to_owned()),
            _ => says("here"),
        }
    });
    match result(&server.url, complete(1, "Why?")) {
        Event::Done { completion, .. } => assert_eq!(completion.text, "here"),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.asked().len(), 3);
}

/// The pauses are longer than the rest of the test takes.
#[test]
fn a_request_cancelled_during_a_retry_pause_is_not_sent_again() {
    let server = Server::start(|asked| match asked.last() {
        "Busy." => Reply::Status(500, "oh".to_owned()),
        _ => says("yes"),
    });
    let pause = Duration::from_secs(30);
    let retry = Retry { tries: 3, first_pause: pause, longest_pause: pause };
    let settings = EndpointSettings { parallel: 1, retry, ..settings(&server.url) };
    let mut engine = Http::connect(&settings).unwrap();
    engine.submit(complete(1, "Busy."));
    while server.asked().is_empty() {
        engine.step(&mut Vec::new()).unwrap();
    }
    engine.cancel(1);
    // The only thread is free again.
    engine.submit(complete(2, "Answer."));
    let events = results(&mut engine).unwrap();
    assert!(matches!(&*events, [Event::Done { id: 2, .. }]), "{events:?}");
    let prompts: Vec<String> = server.asked().iter().map(|asked| asked.last().to_owned()).collect();
    assert_eq!(prompts, ["Busy.", "Answer."]);
}

/// A server that accepts one connection per response and then stops. It closes the
/// connection without a response if there is `None`.
fn one_response_per_connection(
    answers: Vec<Option<Value>>,
) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut vec![0; 16 << 10]).unwrap() > 0);
            let Some(answer) = answer else { continue };
            let answer = answer.to_string();
            let length = answer.len();
            let head = format!("Content-Length: {length}\r\nConnection: close");
            write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n{answer}").unwrap();
        }
    });
    (url, thread)
}

#[test]
fn a_request_is_retried_after_its_connection_breaks() {
    let answer = json!({"choices": [{"message": {"content": "here"}}]});
    let (url, thread) = one_response_per_connection(vec![Some(models()), None, Some(answer)]);
    match result(&url, complete(1, "Why?")) {
        Event::Done { completion, .. } => assert_eq!(completion.text, "here"),
        other => panic!("{other:?}"),
    }
    thread.join().unwrap();
}

#[test]
fn permanent_errors_fail_only_their_request() {
    let cases = [
        (503, r#"{"error":{"message":"full"}}"#, 3),
        (400, r#"{"error":{"message":"the prompt is too long"}}"#, 1),
        // The server still lists its models.
        (403, "moderated", 1),
        (200, "<html>", 1),
        (200, r#"{"choices":[]}"#, 3),
        (200, "", 1),
    ];
    let mut failures = String::new();
    for (code, text, tries) in cases {
        let server = Server::start(move |_| Reply::Status(code, text.to_owned()));
        let failure = failure(&server.url, complete(1, "Why?"));
        assert_eq!(server.asked().len(), tries, "{code} {text}");
        failures += &format!("{}\n", failure.to_string().replace(&server.url, "URL"));
    }
    insta::assert_snapshot!(failures, @r#"
    the endpoint failed: URL/v1/chat/completions responded with status 503: full
    the endpoint failed: URL/v1/chat/completions responded with status 400: the prompt is too long
    the endpoint failed: URL/v1/chat/completions responded with status 403: moderated
    the endpoint failed: failed to read the response of URL/v1/chat/completions: it is not valid JSON (expected value at line 1 column 1): <html>
    the endpoint failed: URL/v1/chat/completions responded without choices: {"choices":[]}
    the endpoint failed: failed to read the response of URL/v1/chat/completions: it is not valid JSON (EOF while parsing a value at line 1 column 0): (empty)
    "#);

    // The server has stopped.
    let (url, thread) = one_response_per_connection(vec![Some(models())]);
    let mut engine = engine(&url);
    thread.join().unwrap();
    engine.submit(complete(1, "Why?"));
    let events = results(&mut engine).unwrap();
    let [Event::Failed { id: 1, failure: Failure::Endpoint { message } }] = &*events else {
        panic!("{events:?}");
    };
    assert!(message.starts_with(&format!("failed to reach {url}/v1/chat/completions: ")));
}

#[test]
fn a_server_that_hangs_runs_into_the_timeout() {
    let server = Server::start(|asked| match asked.last() {
        "Hang." => Reply::Hang,
        _ => says("yes"),
    });
    let timeout = Duration::from_millis(300);
    let mut engine = Http::connect(&EndpointSettings { timeout, ..settings(&server.url) }).unwrap();
    engine.submit(complete(1, "Hang."));
    let events = results(&mut engine).unwrap();
    let [Event::Failed { id: 1, failure: Failure::Endpoint { message } }] = &*events else {
        panic!("{events:?}");
    };
    assert!(message.contains("did not respond within 0.3 s"), "{message}");
    assert_eq!(server.asked().len(), 1, "a timeout is not retried");

    // The engine does not wait for a cancelled request, and its id can be reused.
    engine.submit(complete(2, "Hang."));
    assert!(engine.step(&mut Vec::new()).unwrap());
    engine.cancel(2);
    assert!(!engine.step(&mut Vec::new()).unwrap());
    engine.submit(complete(2, "Answer."));
    let events = results(&mut engine).unwrap();
    assert!(matches!(&*events, [Event::Done { id: 2, .. }]), "{events:?}");
}

/// The error and the hint of a server that can't be used.
fn connection_error(settings: &EndpointSettings) -> String {
    match Http::connect(settings) {
        Ok(_) => panic!("the server was accepted"),
        Err(EngineError { message, hint, .. }) => {
            format!("{message}\n  {}\n", hint.unwrap_or_default())
        }
    }
}

#[test]
fn an_unusable_server_is_an_error_at_the_start() {
    let key = Key::new("sk-secret");
    let mut errors = String::new();
    for (code, text) in [
        (401, r#"{"error":{"message":"Incorrect API key: sk-secret"}}"#),
        (404, "Not Found"),
        (200, r#"{"data":[]}"#),
        (200, r#"{"models":7}"#),
    ] {
        let server = Server::bare(move |_| Reply::Status(code, text.to_owned()));
        let settings = EndpointSettings { key: key.clone(), ..settings(&server.url) };
        errors += &connection_error(&settings).replace(&server.url, "URL");
    }
    let server = Server::start(|_| says("yes"));
    let other = EndpointSettings { model: Some("large".to_owned()), ..settings(&server.url) };
    errors += &connection_error(&other).replace(&server.url, "URL");
    insta::assert_snapshot!(errors, @r#"
    URL/v1/models responded with status 401: Incorrect API key: ***
      put the server's key in AMEND_API_KEY
    URL/v1/models responded with status 404: Not Found
      is the address right? The address of an OpenAI-compatible server usually ends in /v1; choose a model with --endpoint-model
    URL/v1 lists no model
      is it an OpenAI-compatible server, with a model loaded?
    URL/v1 lists no model
      is it an OpenAI-compatible server, with a model loaded?
    URL/v1 has no model "large"
      choose one that it has: --endpoint-model tiny
    "#);

    let url = server.url.clone();
    drop(server);
    let error = connection_error(&settings(&url));
    assert!(error.starts_with(&format!("failed to reach {url}/v1/models: ")), "{error}");
}

#[test]
fn a_rejected_key_ends_the_engine() {
    for code in [401, 403] {
        // The key is accepted at the start.
        let mut started = false;
        let server = Server::bare(move |_| match std::mem::replace(&mut started, true) {
            false => Reply::Json(models()),
            true => Reply::Status(code, "no".to_owned()),
        });
        let mut engine = engine(&server.url);
        engine.submit(complete(1, "Why?"));
        let error = results(&mut engine).unwrap_err();
        assert_eq!(error.hint.unwrap(), "put the server's key in AMEND_API_KEY", "{code}");
    }
}

#[test]
fn a_manifest_contains_only_stable_fields_and_no_key() {
    let server = Server::start(|_| says("yes"));
    let settings = EndpointSettings { key: Key::new("sk-secret"), ..settings(&server.url) };
    let description = Http::connect(&settings).unwrap().describe().unwrap();
    assert_eq!(
        description.model,
        json!({"engine": "http", "name": "tiny", "server": {
            "id": "tiny", "object": "model", "owned_by": "llamacpp",
            "meta": {"n_params": 134_515_008},
        }})
    );
    assert_eq!(
        description.settings,
        json!({"endpoint": format!("{}/v1", server.url), "parallel": 3, "timeout_seconds": 20.0})
    );
}

/// Runs the program with the small loop and the server's model.
fn small(place: &Place, url: &str, arguments: &str) -> Ran {
    let mut command = place.small(arguments);
    place.run(command.env("AMEND_MODEL", url).env("AMEND_API_KEY", "sk-secret"))
}

#[test]
fn a_run_with_a_server_can_be_exported_and_resumed() {
    let (place, server) = (Place::new(), plays());
    let ran = small(&place, &server.url, "Why?");
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (Some(0), "Grüße aus 東京 🐝\n", "")
    );

    place.write("in.jsonl", "\"Why?\"\n\"Who?\"\n\"When?\"\n");
    let ran = small(&place, &server.url, "run in.jsonl --out r");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        server.asked().iter().all(|asked| asked.key.as_deref() == Some("Bearer sk-secret")),
        "{:?}",
        server.asked()
    );
    let run = RunDir::open(&place.path("r")).unwrap();
    let mut texts: Vec<Vec<String>> = run
        .trajectories()
        .unwrap()
        .map(|trajectory| trajectory.unwrap().steps)
        .map(|steps| steps.into_iter().take(3).map(|step| step.text).collect())
        .collect();
    texts.sort();
    let expected = ["When?", "Who?", "Why?"].map(|asked| {
        [&*format!("No, {asked}"), "It is cold.", "Grüße aus 東京 🐝"].map(String::from)
    });
    assert_eq!(texts, expected);
    for file in ["manifest.json", "journal.jsonl"] {
        let text = std::fs::read_to_string(place.path("r").join(file)).unwrap();
        assert!(!text.contains("sk-secret"), "{text}");
    }
    let exported = place.run(&mut place.amend("export r"));
    assert_eq!((exported.code, exported.out.lines().count()), (Some(0), 3), "{}", exported.err);
    let pair: Value = serde_json::from_str(exported.out.lines().next().unwrap()).unwrap();
    assert_eq!(pair["chosen"][0]["content"], "Grüße aus 東京 🐝");

    // Another server judges.
    let judge = plays();
    let flags = format!("--json --judge-model {} Why?", judge.url);
    let before = server.asked().len();
    let ran = small(&place, &server.url, &flags);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let judges = |asked: &Asked| asked.body["logprobs"] == true;
    assert_eq!(server.asked()[before..].iter().filter(|asked| judges(asked)).count(), 0);
    let judged = judge.asked();
    assert!(!judged.is_empty() && judged.iter().all(judges), "{judged:?}");

    // A prompt without --json needs no verdict.
    let before = server.asked().len();
    let ran = small(&place, &server.url, "Why?");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "Grüße aus 東京 🐝\n"), "{}", ran.err);
    assert!(!server.asked()[before..].iter().any(judges));

    // The same model at another address can resume the run.
    let again = plays();
    let resumed = small(&place, &again.url, "run in.jsonl --out r --resume");
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert!(resumed.err.contains("\n3 of 3 items done; there was nothing left"), "{}", resumed.err);
    assert_eq!(again.asked(), []);
}

const SET: &str = r#"
set = {name = "one", version = "1"}
[[item]]
id = "colour"
kind = "normal"
category = "facts"
prompt = "Name a colour."
good = "Names one."
bad = "Names none."
expect = "answer"
"#;

#[test]
fn commands_that_need_a_model_file_reject_a_server() {
    let (place, server) = (Place::new(), plays());
    place.write("in.jsonl", "\"Why?\"\n{\"prompt\": \"Is it?\", \"response\": \"It is.\"}\n");
    let dry = small(&place, &server.url, "run in.jsonl --dry-run");
    insta::assert_snapshot!(dry.out, @r"
    items                  2
    with a given answer    1
    first prompts          1 of unknown length: a server does not report token counts
    steps of an item       answers 1, critiques 1, revisions 1, guided answers 0
    decoded, at most       26 tokens
    per item, about        13 tokens decoded
    ");
    let note =
        "in.jsonl: JSON Lines, 2 rows, prompt columns: text, prompt, response column: response\n";
    let next = "next: amend run in.jsonl --out DIR\n";
    assert_eq!((dry.code, dry.err), (Some(0), format!("{note}{next}")));
    let render = small(&place, &server.url, "render Why? --step generate");
    assert!(
        render.out.ends_with("\n\ntoken counts are not available from a server\n"),
        "{render:?}"
    );
    assert_eq!(server.asked(), []);

    place.write("set.toml", SET);
    let judge = format!("-m none.gguf --reproducible --judge-model {}", server.url);
    let errors: String = [
        "run in.jsonl --out r --reproducible",
        "eval set.toml --reproducible",
        &format!("run in.jsonl --out r {judge}"),
        &format!("eval set.toml {judge}"),
        &format!("audit small.toml --on in.jsonl {judge}"),
        "bench",
    ]
    .iter()
    .map(|line| {
        let ran = small(&place, &server.url, line);
        assert_eq!(ran.code, Some(2), "{line}: {}", ran.err);
        // Without the line that says how the input was read.
        let (_, error) = ran.err.split_once("error: ").unwrap();
        format!("error: {error}")
    })
    .chain(["http://", "http://me:pass@host/v1"].map(|url| small(&place, url, "Why?").err))
    .collect();
    insta::assert_snapshot!(errors, @r#"
    error: --reproducible is not supported with a server: amend cannot control how it batches requests
    help: use a model file: -m MODEL.gguf
    error: --reproducible is not supported with a server: amend cannot control how it batches requests
    help: use a model file: -m MODEL.gguf
    error: --reproducible is not supported with a server: amend cannot control how it batches requests
    help: use a model file: --judge-model MODEL.gguf
    error: --reproducible is not supported with a server: amend cannot control how it batches requests
    help: use a model file: --judge-model MODEL.gguf
    error: --reproducible is not supported with a server: amend cannot control how it batches requests
    help: use a model file: --judge-model MODEL.gguf
    error: bench measures a model file, not a server
    help: to compare with a server, pass --peer URL
    error: "http://" is not an address of the form http://HOST[:PORT][/PATH] or https://…
    error: an address must not contain a user name or password: put the server's key in AMEND_API_KEY, or in AMEND_JUDGE_API_KEY for a server that judges
    "#);
}

/// The keys that were sent to a server.
fn keys(server: &Server) -> Vec<Option<String>> {
    let mut keys: Vec<_> = server.asked().into_iter().map(|asked| asked.key).collect();
    keys.dedup();
    keys
}

#[test]
fn a_key_is_only_sent_to_its_server() {
    let place = Place::new();
    place.write("in.jsonl", "\"Why?\"\n");
    let run = |judge: &Server, own: Option<&str>| {
        let writer = plays();
        let _ = std::fs::remove_dir_all(place.path("r"));
        let mut command = place.small("run in.jsonl --out r --judge-model");
        command.arg(&judge.url).envs(own.map(|key| ("AMEND_JUDGE_API_KEY", key)));
        let ran =
            place.run(command.env("AMEND_MODEL", &writer.url).env("AMEND_API_KEY", "sk-writer"));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(keys(&writer), [Some("Bearer sk-writer".to_owned())]);
        keys(judge)
    };
    assert_eq!(run(&plays(), None), [None]);
    assert_eq!(run(&plays(), Some("sk-judge")), [Some("Bearer sk-judge".to_owned())]);

    // Both models behind one server.
    let _ = std::fs::remove_dir_all(place.path("r"));
    let server = plays();
    let arguments = format!("run in.jsonl --out r --judge-model {}/v1", server.url);
    let ran = small(&place, &server.url, &arguments);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(keys(&server), [Some("Bearer sk-secret".to_owned())]);

    let strict = Server::bare(|_| Reply::Status(401, "no".to_owned()));
    let arguments = format!("run in.jsonl --out other --judge-model {}", strict.url);
    let ran = small(&place, &plays().url, &arguments);
    assert_eq!(ran.code, Some(3));
    assert!(
        ran.err.ends_with("help: put the server's key in AMEND_JUDGE_API_KEY\n"),
        "{}",
        ran.err
    );
}

#[test]
fn a_model_flag_takes_precedence_over_a_judge_variable() {
    let place = Place::new();
    place.write("pairs.jsonl", r#"{"prompt": "Why?", "a": "Grüße", "b": "No, why?"}"#);
    let judge = |flags: &[&str], writer: &Server, judge: &Server| {
        let mut command = place.small("judge pairs.jsonl --json");
        command.args(flags).env("AMEND_MODEL", &writer.url).env("AMEND_JUDGE_MODEL", &judge.url);
        let ran = place.run(&mut command);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let row: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(row["judge"], "tiny");
        assert!(ran.err.contains("1 rows judged by tiny, "), "{}", ran.err);
    };
    for flag in ["-m", "--judge-model"] {
        let (named, others) = (plays(), [plays(), plays()]);
        judge(&[flag, &named.url], &others[0], &others[1]);
        assert!(!named.asked().is_empty(), "{flag}");
        assert_eq!(others.map(|other| other.asked().len()), [0, 0], "{flag}");
    }
    let [writer, other] = [plays(), plays()];
    judge(&[], &writer, &other);
    assert_eq!((writer.asked().len(), other.asked().is_empty()), (0, false));
}

#[test]
fn a_proxy_is_not_used_for_this_machine() {
    let (place, server) = (Place::new(), plays());
    // A port on which no server listens.
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let through = |url: &str, direct: &str| {
        let mut command = place.small("Why?");
        command.env("HTTP_PROXY", format!("http://me:secret@{closed}"));
        place.run(command.env("NO_PROXY", direct).env("AMEND_MODEL", url))
    };
    let local = through(&server.url, "");
    assert_eq!((local.code, local.out.as_str()), (Some(0), "Grüße aus 東京 🐝\n"), "{}", local.err);

    let other = through("http://model.example", "");
    assert_eq!(other.code, Some(3));
    assert!(
        other.err.contains("reach http://model.example/v1/models through the proxy in HTTP_PROXY:"),
        "{}",
        other.err
    );
    assert!(other.err.contains("help: is the proxy in HTTP_PROXY right"), "{}", other.err);
    assert!(!other.err.contains("secret"), "{}", other.err);
    // The address is not recognised as this machine, but NO_PROXY excludes it.
    let excepted = through(&format!("http://0.0.0.0:{}", closed.port()), "0.0.0.0");
    assert_eq!(excepted.code, Some(3));
    assert!(!excepted.err.contains("proxy"), "{}", excepted.err);
}

#[test]
fn a_failed_request_fails_its_item() {
    let server = Server::start(|asked| match asked.last() {
        "Hang." => Reply::Hang,
        "Long." => Reply::Status(400, r#"{"error":{"message":"too long"}}"#.to_owned()),
        _ if asked.body["logprobs"] == true => labels(&[("A", 0.5), ("B", 0.5)]),
        _ => says("yes"),
    });
    let place = Place::new();
    place.write("in.jsonl", "\"Hang.\"\n\"Long.\"\n\"Why?\"\n");
    let ran = small(&place, &server.url, "run in.jsonl --out r --endpoint-timeout 1");
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("1 of 3 items done, 2 failed"), "{}", ran.err);
    assert!(ran.err.contains("did not respond within 1 s"), "{}", ran.err);
    let journal = std::fs::read_to_string(place.path("r/journal.jsonl")).unwrap();
    assert!(journal.contains(r#""failure":{"kind":"endpoint","message":"#), "{journal}");
}

#[test]
fn workloads_go_through_a_peer() {
    // Returns as many tokens as requested, and the two labels.
    let server = Server::start(|asked| {
        let tokens = asked.body["max_tokens"].as_u64().unwrap();
        let chooses = asked.body["logprobs"] == true;
        assert!(chooses || asked.body["ignore_eos"] == true, "{asked:?}");
        let top = ["A", "B"].map(|token| json!({"token": token, "logprob": -1.0}));
        Reply::Json(json!({
            "choices": [{"message": {"content": "word ".repeat(tokens as usize)},
                         "logprobs": {"content": [{"top_logprobs": top}]}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": tokens,
                      "prompt_tokens_details": {"cached_tokens": 60}},
        }))
    });
    let place = Place::new();
    let flags = "bench --quick --json --concurrency 3 --peer";
    let ran = place.run(place.amend(flags).arg(&server.url));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["measured"], json!([]));
    let measured: Vec<Value> = report["peer"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| {
            assert!(peer["rows_per_second"].as_f64() > Some(0.0), "{peer}");
            let counters = &peer["counters"];
            json!([
                peer["workload"],
                peer["concurrency"],
                counters["prefilled"],
                counters["decoded"]
            ])
        })
        .collect();
    // Four prompts, each with an answer of 11 tokens and twice a critique of 7 and a
    // revision of 11; two conversations under four principles, five tokens each; the same
    // in both orders, one token each. Each request prefills 40 tokens of its prompt.
    let expected = [("loop", 20, 4 * 47), ("fan-out", 8, 8 * 5), ("verdicts", 16, 16)];
    let expected = expected.map(|(name, asked, decoded)| json!([name, 3, asked * 40, decoded]));
    assert_eq!(measured, expected);
}
