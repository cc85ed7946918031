//! llama-server with tiny models that think. Their words of thoughts and of answers differ,
//! and the next token follows from the last one alone.
//!
//! Without the server, which `benches/llama-server` builds, the tests print a note and are
//! skipped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Place, Ran, has_thoughts, tiny_model_path};
use amend_core::record::{Step, StepKind};

/// A chat template with a switch for thoughts.
const TEMPLATE: &str = r"
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' }}
{%- if message.role == 'assistant' and message.reasoning_content %}
{{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}
{%- endif %}
{{- message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and not enable_thinking %}
{{- '<think>\n\n</think>\n\n' }}
{%- endif %}
{%- endif %}";

/// A server that runs until it is dropped.
struct LlamaServer {
    process: Child,
    url: String,
}

impl LlamaServer {
    /// Starts the server. `None` if it is not built.
    fn start(place: &Place, model: &str, flags: &[&str]) -> Option<Self> {
        let program =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peer/build/bin/llama-server");
        if !program.exists() {
            eprintln!("skipped: {} is missing (benches/llama-server builds it)", program.display());
            return None;
        }
        // Free until the listener is dropped.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
            .arg("-m")
            .arg(tiny_model_path(model))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["-c", "8192", "-np", "2", "-t", "1", "--no-webui"])
            .args(flags)
            .current_dir(place.path("."))
            .stdout(Stdio::null())
            .stderr(File::create(place.path("server.log")).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { process, url: format!("http://127.0.0.1:{port}") };
        let start = Instant::now();
        while !is_ready(port) {
            if server.process.try_wait().unwrap().is_some() || start.elapsed().as_secs() > 60 {
                let _ = server.process.kill();
                let log = std::fs::read_to_string(place.path("server.log")).unwrap();
                panic!("llama-server does not start: {log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether the server has loaded its model.
fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut response = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut response).is_ok()
        && response.starts_with("HTTP/1.1 200")
}

/// Runs the small loop over a few questions, and returns its steps.
fn run(place: &Place, server: &LlamaServer, flags: &str) -> (Ran, Vec<Step>) {
    let _ = std::fs::remove_dir_all(place.path("r"));
    place.write("in.jsonl", "\"Why?\"\n\"Who?\"\n\"When?\"\n");
    let mut command = place.small(&format!("run in.jsonl --out r {flags}"));
    let ran = place.run(command.env("AMEND_MODEL", &server.url));
    if ran.code == Some(2) {
        return (ran, Vec::new());
    }
    (ran, place.steps("r"))
}

/// The probability of both labels together, in the verdicts of a run.
fn masses(steps: &[Step]) -> Vec<f64> {
    let verdicts = steps.iter().filter_map(|step| step.verdict.as_ref());
    let polls = verdicts.flat_map(|verdict| &verdict.polls);
    let readings = polls.flat_map(|poll| poll.forward.iter().chain(&poll.backward));
    readings.map(|reading| reading.first.exp() + reading.second.exp()).collect()
}

/// Checks a run whose thoughts are on or off.
fn check((ran, steps): &(Ran, Vec<Step>), thinks: bool) {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let texts: Vec<&Step> = steps.iter().filter(|step| step.kind.is_text()).collect();
    assert!(texts.len() >= 9, "{ran:?}");
    for step in &texts {
        assert!(!has_thoughts(&step.text), "{step:?}");
        if let Some(thought) = &step.reasoning {
            assert!(thinks && has_thoughts(thought), "{step:?}");
            assert!(thought.split_whitespace().count() <= 8, "{step:?}");
        }
    }
    let thoughts = texts.iter().filter(|step| step.reasoning.is_some()).count();
    assert!(!thinks || thoughts * 2 > texts.len(), "{thoughts} of {}", texts.len());
    let masses = masses(steps);
    assert!(masses.len() >= 6, "{masses:?}");
    assert!(masses.iter().all(|mass| (0.99..1.01).contains(mass)), "{masses:?}");
    assert!(steps.iter().any(|step| step.kind == StepKind::Judge));
}

#[test]
fn thoughts_of_a_server_are_switched_and_limited() {
    let place = Place::new();
    place.write("think.jinja", TEMPLATE);
    // The second model never closes its thoughts.
    for model in ["thinks", "forgets"] {
        let flags = ["--jinja", "--chat-template-file", "think.jinja"];
        let Some(server) = LlamaServer::start(&place, model, &flags) else { return };
        check(&run(&place, &server, ""), false);
        check(&run(&place, &server, "--reasoning off"), false);
        check(&run(&place, &server, "--reasoning on --reasoning-budget 8"), true);
    }
}

#[test]
fn thoughts_without_a_switch_get_a_budget_and_can_be_closed() {
    let place = Place::new();
    // The second server continues a begun reply only on request.
    for flags in [&[][..], &["--no-prefill-assistant"]] {
        let Some(server) = LlamaServer::start(&place, "opened", flags) else { return };
        check(&run(&place, &server, "--reasoning-budget 8"), true);
        check(&run(&place, &server, "--reasoning off"), false);
    }
}

/// The templates of these models say nothing about thoughts.
#[test]
fn a_budget_that_the_server_does_not_enforce_is_reported() {
    let place = Place::new();
    let Some(server) = LlamaServer::start(&place, "forgets", &[]) else { return };
    let (ran, _) = run(&place, &server, "--reasoning on --reasoning-budget 8");
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let warning = "does not enforce the budget of thoughts";
    assert_eq!(ran.err.matches(warning).count(), 1, "{}", ran.err);
    assert!(ran.err.contains("gave no answer"), "{}", ran.err);
}

#[test]
fn a_model_that_the_server_fails_to_parse_is_reported_before_the_first_item() {
    let place = Place::new();
    let Some(server) = LlamaServer::start(&place, "channels", &[]) else { return };
    let (ran, _) = run(&place, &server, "");
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("--skip-chat-parsing --special"), "{}", ran.err);
    assert!(ran.err.contains("--judge-model MODEL.gguf"), "{}", ran.err);
}

#[test]
fn a_judge_thinks_before_its_verdicts() {
    let place = Place::new();
    place.write("think.jinja", TEMPLATE);
    let constitution = std::fs::read_to_string(place.path("small.toml")).unwrap();
    let judge = "\n[judge]\nreasons = 2\n\n[sampling.judge]\ntemperature = 0.8\n";
    place.write("small.toml", constitution + judge);
    let flags = ["--jinja", "--chat-template-file", "think.jinja"];
    let Some(server) = LlamaServer::start(&place, "forgets", &flags) else { return };
    let found = run(&place, &server, "--reasoning on --reasoning-budget 8");
    check(&found, true);
    for step in found.1.iter().filter(|step| step.kind == StepKind::Judge) {
        assert!(step.usage.reasoning > 0, "{step:?}");
    }
}
