//! Runs through batch files. A function of the request plays both the live server and the
//! batch, so that a run of one must equal a run of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::common::server::{Asked, Reply, Server};
use crate::common::{Place, Ran};
use amend_core::hash;
use amend_core::record::{Outcome, Step};
use amend_data::store::run_dir::RunDir;
use serde_json::{Value, json};

/// A number from 0 to 1 that depends on a text.
fn draw(text: &str) -> f64 {
    let digits = u32::from_str_radix(&hash::sha256(text.as_bytes())[..8], 16).unwrap();
    f64::from(digits) / f64::from(u32::MAX)
}

/// The reply to a body: a text, a thought before it, or probabilities of labels.
fn reply(body: &Value) -> Value {
    let text = body.to_string();
    let name = &hash::sha256(text.as_bytes())[..12];
    let thinks = body["chat_template_kwargs"]["enable_thinking"] == true;
    let is_choice = body["logprobs"] == true;
    let mut choice = json!({
        "index": 0,
        "finish_reason": if is_choice { "length" } else { "stop" },
        "message": {"role": "assistant", "content": format!("This is answer {name}.")},
    });
    if thinks && !is_choice {
        choice["message"]["reasoning"] = format!("I think of {name}.").into();
    }
    if is_choice {
        let share = 0.05 + 0.85 * draw(&text);
        // Labels of every kind: only those that are asked for count.
        let pairs = [[" A", " B"], ["A", "B"], ["yes", "no"], ["Yes", "No"]];
        let mut top = Vec::new();
        for [first, second] in pairs {
            for (token, p) in [(first, share), (second, 0.95 - share)] {
                top.push(json!({"token": token, "logprob": (p / 2.0_f64).ln()}));
            }
        }
        choice["message"]["content"] = "A".into();
        choice["logprobs"] = json!({"content": [{"token": "A", "top_logprobs": top}]});
    }
    json!({
        "choices": [choice],
        "usage": {"prompt_tokens": text.len() / 4, "completion_tokens": 7},
    })
}

/// A live vLLM.
fn server() -> Server {
    Server::bare(|asked: &Asked| match asked.line.as_str() {
        "GET /v1/models" => Reply::Json(json!({"data": [{"id": "tiny", "owned_by": "vllm"}]})),
        _ => Reply::Json(reply(&asked.body)),
    })
}

/// The results of a batch.
fn answered(requests: &[Value]) -> Vec<Value> {
    let result = |request: &Value| {
        assert_eq!(request["method"], "POST");
        assert_eq!(request["url"], "/v1/chat/completions");
        json!({"id": "vllm-1", "custom_id": request["custom_id"], "error": null,
               "response": {"status_code": 200, "request_id": "r", "body": reply(&request["body"])}})
    };
    requests.iter().map(result).collect()
}

fn failed(request: &Value, status: u16, message: &str) -> Value {
    json!({"id": "vllm-1", "custom_id": request["custom_id"],
           "response": {"status_code": status, "request_id": "r", "body": null},
           "error": {"error": {"message": message, "code": status}}})
}

const PROMPTS: &str = "Why is tea hot?\nWhy is ice cold?\nWhy is tea hot?\nWhat is a cat?\n";

const CONSTITUTION: &str = r#"
[constitution]
name = "small"
version = "1.0.0"

[loop]
rounds = 2
few_shot = 0
LOOP

[judge]
JUDGE

[[principle]]
id = "kind"
category = "manners"
principle = "The answer is kind."

[[principle]]
id = "true"
category = "facts"
principle = "The answer is true."
"#;

/// A folder with prompts, of which two are equal, and a constitution with these settings.
fn place(plan: &str, judge: &str) -> Place {
    let place = Place::new();
    place.write("prompts.txt", PROMPTS);
    place.write("c.toml", CONSTITUTION.replace("LOOP", plan).replace("JUDGE", judge));
    place
}

/// Reads a file of JSON Lines; empty if there is none.
fn lines(place: &Place, name: &str) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(place.path(name)) else { return Vec::new() };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn write_lines(place: &Place, name: &str, values: &[Value]) {
    let lines: Vec<String> = values.iter().map(|value| format!("{value}\n")).collect();
    place.write(name, lines.concat());
}

const START: &str = "--input prompts.txt -c c.toml --endpoint-model tiny";

/// Runs `amend step run` and expects success.
fn step(place: &Place, flags: &str) -> Ran {
    let ran = place.run(&mut place.amend(&format!("step run {flags}")));
    assert_eq!(ran.code, Some(0), "{flags}: {}", ran.err);
    ran
}

/// Takes a run through batches until nothing is due. `change` makes the results of the batch
/// with this number. Returns the bodies of all requests, and what the last call printed.
fn through_batches(
    place: &Place,
    flags: &str,
    mut change: impl FnMut(usize, &[Value]) -> Vec<Value>,
) -> (Vec<Value>, Ran) {
    let mut bodies = Vec::new();
    let mut ran = step(place, &format!("{START} {flags} --emit requests-0.jsonl"));
    for number in 0..100 {
        let requests = lines(place, &format!("requests-{number}.jsonl"));
        if requests.is_empty() {
            return (bodies, ran);
        }
        let ids: BTreeSet<String> =
            requests.iter().map(|request| request["custom_id"].to_string()).collect();
        assert_eq!(ids.len(), requests.len(), "an id is used twice");
        bodies.extend(requests.iter().map(|request| request["body"].clone()));
        write_lines(place, &format!("results-{number}.jsonl"), &change(number, &requests));
        let next = number + 1;
        let call = format!("step run --take results-{number}.jsonl --emit requests-{next}.jsonl");
        ran = place.run(&mut place.amend(&call));
        assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.err);
    }
    panic!("the run does not end: {}", ran.err);
}

/// The steps and outcome of each item, by its key.
fn trajectories(place: &Place, run: &str) -> BTreeMap<String, (Vec<Step>, Outcome)> {
    let run = RunDir::open(&place.path(run)).unwrap();
    let of_item = |trajectory: amend_data::store::trajectories::Trajectory| {
        (trajectory.item.key.clone(), (trajectory.steps, trajectory.outcome))
    };
    run.trajectories().unwrap().map(|trajectory| of_item(trajectory.unwrap())).collect()
}

/// Runs the items live. Returns the bodies of all requests.
fn live(place: &Place, flags: &str) -> Vec<Value> {
    let server = server();
    let call = format!("run prompts.txt --out live -c c.toml -m {} {flags}", server.url);
    let ran = place.run(&mut place.amend(&call));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    server.asked().into_iter().map(|asked| asked.body).collect()
}

fn assert_equal_runs(place: &Place) {
    let (batch, live) = (trajectories(place, "run"), trajectories(place, "live"));
    assert_eq!(live.len(), 4);
    assert!(batch.keys().eq(live.keys()));
    for ((steps, outcome), (live_steps, live_outcome)) in batch.values().zip(live.values()) {
        for (step, live_step) in steps.iter().zip(live_steps) {
            assert_eq!(step, live_step);
        }
        assert_eq!((steps.len(), outcome), (live_steps.len(), live_outcome));
    }
}

#[test]
fn a_run_through_batches_equals_a_live_one() {
    for (plan, judge, flags, most) in [
        ("", "enabled = false", "", 5),
        ("", "", "", 6),
        ("candidates = 3", "pairs = \"all\"", "", 7),
        ("", "reasons = 2\n[sampling.judge]\ntemperature = 0.7", "", 7),
        ("gate = 0.4", "", "", 10),
        ("", "", "--reasoning on --reasoning-budget 20", 6),
        ("", "reasons = 1", "--reasoning on --reasoning-budget 20", 7),
        (
            "layout = \"quoted\"\nselect = \"all\"",
            "labels = [\"1\", \"2\"]\nenabled = false",
            "",
            20,
        ),
    ] {
        let place = place(plan, judge);
        let asked = live(&place, flags);
        let mut batches = 0;
        let (bodies, ran) = through_batches(&place, flags, |number, requests| {
            batches = number + 1;
            // The order of results is arbitrary.
            let mut results = answered(requests);
            results.reverse();
            results
        });
        assert_equal_runs(&place);
        assert!(batches <= most, "{plan} {judge} {flags}: {batches} batches");
        for body in bodies {
            assert!(asked.contains(&body), "not asked live: {body}");
        }
        assert!(ran.err.contains("4 of 4 items done; "), "{}", ran.err);
        assert!(
            ran.err.ends_with("the run is done\nnext: amend export run --out pairs.jsonl\n"),
            "{}",
            ran.err
        );
        assert!(!place.path("run/batch-replies.jsonl").exists());
    }
}

#[test]
fn a_finished_run_is_exported_and_reported_as_any_other() {
    let place = place("", "");
    through_batches(&place, "", |_, requests| answered(requests));
    for call in ["export run --out pairs.jsonl --policy keep --allow all", "report run"] {
        let ran = place.run(&mut place.amend(call));
        assert_eq!(ran.code, Some(0), "{call}: {}", ran.err);
    }
    assert_eq!(lines(&place, "pairs.jsonl").len(), 4);
    // Nothing is due any more, and no file is written.
    let ran = step(&place, "--emit more.jsonl");
    assert!(ran.err.contains("the run is done"), "{}", ran.err);
    assert!(!place.path("more.jsonl").exists());
}

#[test]
fn requests_without_results_are_due_again() {
    let place = place("", "reasons = 1");
    live(&place, "");
    let mut asked: BTreeMap<String, u32> = BTreeMap::new();
    let mut answers: BTreeMap<String, u32> = BTreeMap::new();
    through_batches(&place, "", |number, requests| {
        let mut results = answered(requests);
        for request in requests {
            *asked.entry(request["custom_id"].to_string()).or_default() += 1;
        }
        if number % 2 == 0 {
            let mut kept = 0;
            results.retain(|_| {
                kept += 1;
                kept % 3 != 0
            });
        }
        for result in &results {
            *answers.entry(result["custom_id"].to_string()).or_default() += 1;
        }
        results
    });
    assert_equal_runs(&place);
    assert!(asked.values().any(|count| *count > 1), "nothing was left out");
    // No request was asked again once it was answered.
    assert!(answers.values().all(|count| *count == 1), "{answers:?}");
}

#[test]
fn failed_requests_are_tried_three_times() {
    let place = place("", "");
    live(&place, "");
    let fails_at_first = |request: &Value| draw(&request["body"].to_string()) < 0.4;
    let mut failures = 0;
    through_batches(&place, "", |_, requests| {
        let mut results = answered(requests);
        for (request, result) in requests.iter().zip(&mut results) {
            let number = request["custom_id"].as_str().unwrap().rsplit_once('-').unwrap().1;
            if fails_at_first(request) && number != "3" {
                failures += 1;
                *result = failed(request, 503, "busy");
            }
        }
        results
    });
    assert!(failures > 2);
    assert_equal_runs(&place);
}

#[test]
fn items_whose_requests_keep_failing_fail_and_are_retried_on_request() {
    let place = place("", "");
    live(&place, "");
    let is_about_ice = |request: &Value| request["body"]["messages"][0].to_string().contains("ice");
    let mut batches = 0;
    let (_, ran) = through_batches(&place, "", |number, requests| {
        batches = number + 1;
        let mut results = answered(requests);
        for (request, result) in requests.iter().zip(&mut results) {
            if is_about_ice(request) {
                *result = failed(request, 500, "no luck");
            }
        }
        results
    });
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("3 of 4 items done, 1 failed; "), "{}", ran.err);
    let mut messages = Vec::new();
    for (_, outcome) in trajectories(&place, "run").into_values() {
        if let Outcome::Failed { failure } = outcome {
            messages.push(failure.to_string());
        }
    }
    assert_eq!(
        messages,
        ["the endpoint failed: the batch has status 500 for the request: no luck"]
    );

    let mut last = step(&place, "--retry-errors --emit again-0.jsonl").err;
    assert!(last.contains("3 of 4 items done, 1 left\n1 request is due, in again-0"), "{last}");
    for number in 0..9 {
        let requests = lines(&place, &format!("again-{number}.jsonl"));
        if requests.is_empty() {
            break;
        }
        write_lines(&place, "results.jsonl", &answered(&requests));
        let next = number + 1;
        last = step(&place, &format!("--take results.jsonl --emit again-{next}.jsonl")).err;
    }
    assert!(last.contains("4 of 4 items done; "), "{last}");
    assert_equal_runs(&place);
}

#[test]
fn a_request_that_is_refused_for_good_fails_its_item_at_once() {
    let place = place("", "");
    let (_, ran) = through_batches(&place, "", |number, requests| {
        let mut results = answered(requests);
        if number == 0 {
            results[1] = failed(&requests[1], 400, "the prompt is too long");
        }
        results
    });
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("3 of 4 items done, 1 failed"), "{}", ran.err);
}

#[test]
fn a_refused_field_is_learnt_and_remembered() {
    let place = place("", "");
    let refusal = "Unrecognized request argument supplied: min_p";
    let mut refused = 0;
    let (bodies, ran) = through_batches(&place, "", |_, requests| {
        let mut results = answered(requests);
        for (request, result) in requests.iter().zip(&mut results) {
            if request["body"].get("min_p").is_some() {
                refused += 1;
                *result = failed(request, 400, refusal);
            }
        }
        results
    });
    assert_eq!(refused, 4, "only the first batch has the field");
    assert!(bodies.len() > 8 && ran.err.contains("4 of 4 items done"), "{}", ran.err);

    let place = self::place("", "");
    let (bodies, _) = through_batches(&place, "--without min_p,seed,max_tokens", |_, requests| {
        answered(requests)
    });
    for body in bodies {
        for field in ["min_p", "seed", "max_tokens"] {
            assert_eq!(body.get(field), None, "{body}");
        }
        assert!(body["max_completion_tokens"].is_u64(), "{body}");
    }
}

#[test]
fn openai_gets_its_fields_and_files_of_limited_size() {
    let place = place("", "");
    let flags = "--server openai --max-requests 3 --emit out.jsonl";
    let ran = step(&place, &format!("{START} {flags}"));
    assert!(
        ran.err.contains("4 requests are due, in out.jsonl to out.part2.jsonl (2 files)"),
        "{}",
        ran.err
    );
    let requests = [lines(&place, "out.jsonl"), lines(&place, "out.part2.jsonl")];
    assert_eq!(requests.each_ref().map(Vec::len), [3, 1]);
    let mut fields: Vec<&String> = requests[0][0]["body"].as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        ["max_completion_tokens", "messages", "model", "seed", "temperature", "top_p"]
    );
    // Each file has an output of its own.
    write_lines(&place, "a.jsonl", &answered(&requests[0]));
    write_lines(&place, "b.jsonl", &answered(&requests[1]));
    let ran = step(&place, "--take a.jsonl --take b.jsonl");
    assert!(ran.err.contains("4 results taken"), "{}", ran.err);
    assert!(
        ran.err.contains("4 requests are due\nnext: amend step run --emit FILE"),
        "{}",
        ran.err
    );
}

#[test]
fn results_of_other_requests_and_repeated_ones_do_no_harm() {
    let place = place("", "");
    live(&place, "");
    let mut earlier: Vec<Value> = Vec::new();
    through_batches(&place, "", |_, requests| {
        let results = answered(requests);
        let mut others = answered(requests);
        for other in &mut others {
            // The same requests of another run.
            let id = other["custom_id"].as_str().unwrap();
            other["custom_id"] = format!("{}-1", hash::sha256(id.as_bytes())).into();
        }
        let mut all = [others, results.clone(), earlier.clone(), results.clone()].concat();
        all.rotate_left(2);
        earlier = results;
        all
    });
    assert_equal_runs(&place);

    let place = self::place("", "");
    step(&place, &format!("{START} --emit requests.jsonl"));
    let mut results = answered(&lines(&place, "requests.jsonl"));
    results.push(json!({"custom_id": "another", "response": {"body": reply(&json!({}))}}));
    write_lines(&place, "results.jsonl", &results);
    let ran = step(&place, "--take results.jsonl --emit next.jsonl");
    let warning = "results.jsonl: 1 of 5 results belong to no request that is due";
    assert!(ran.err.contains(warning), "{}", ran.err);
    let requests = lines(&place, "next.jsonl");
    let ran = step(&place, "--take results.jsonl --emit again.jsonl");
    assert!(!ran.err.contains("results taken"), "{}", ran.err);
    assert_eq!(lines(&place, "again.jsonl"), requests);
}

#[test]
fn a_cut_off_file_of_results_changes_nothing() {
    let place = place("", "");
    step(&place, &format!("{START} --emit requests.jsonl"));
    write_lines(&place, "results.jsonl", &answered(&lines(&place, "requests.jsonl")));
    let whole = std::fs::read(place.path("results.jsonl")).unwrap();
    place.write("results.jsonl", &whole[..whole.len() - 20]);
    let ran = place.run(&mut place.amend("step run --take results.jsonl --emit next.jsonl"));
    assert_eq!(ran.code, Some(2));
    assert_eq!(
        ran.err,
        "error: results.jsonl:4 is not a result of a batch: the line is cut off: get the file \
         again; nothing was taken\n"
    );
    assert_eq!(std::fs::read(place.path("run/journal.jsonl")).unwrap(), b"");
    assert!(!place.path("next.jsonl").exists());
}

#[test]
fn requests_are_not_taken_as_results() {
    let place = place("", "");
    step(&place, &format!("{START} --emit requests.jsonl"));
    let ran = place.run(&mut place.amend("step run --take requests.jsonl --emit next.jsonl"));
    assert_eq!(ran.code, Some(2));
    let expected =
        "requests.jsonl:1 is not a result of a batch: it is a request: take the file with";
    assert!(ran.err.contains(expected), "{}", ran.err);
    assert!(!place.path("next.jsonl").exists());
}

#[test]
fn requests_replace_neither_input_nor_results() {
    let place = place("", "");
    step(&place, &format!("{START} --emit requests.jsonl"));
    write_lines(&place, "results.jsonl", &answered(&lines(&place, "requests.jsonl")));
    for (file, read) in [("prompts.txt", "prompts.txt"), ("./results.jsonl", "results.jsonl")] {
        let before = std::fs::read(place.path(read)).unwrap();
        let call = format!("step run --take results.jsonl --emit {file}");
        let ran = place.run(&mut place.amend(&call));
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        assert!(ran.err.contains("would replace or change"), "{}", ran.err);
        assert_eq!(std::fs::read(place.path(read)).unwrap(), before);
    }
    assert_eq!(std::fs::read(place.path("run/journal.jsonl")).unwrap(), b"");
}

/// Copies the files of a run directory.
fn files(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place.path("run")).unwrap() {
        let path = entry.unwrap().path();
        files.push((path.clone(), std::fs::read(&path).unwrap()));
    }
    files
}

/// Wherever a call is killed, it has kept the results before it writes to the journal, and
/// written the journal before it writes requests.
#[test]
fn a_killed_call_loses_nothing() {
    let place = place("candidates = 2", "reasons = 1");
    live(&place, "");
    let cut = |files: &[(PathBuf, Vec<u8>)], name: &str, length: usize| {
        for (path, bytes) in files {
            let length = if path.ends_with(name) { length } else { bytes.len() };
            std::fs::write(path, &bytes[..length]).unwrap();
        }
    };
    let mut checked = 0;
    through_batches(&place, "", |number, requests| {
        write_lines(&place, "results.jsonl", &answered(requests));
        if !(1..=4).contains(&number) {
            return answered(requests);
        }
        let before = files(&place);
        step(&place, "--take results.jsonl --emit due.jsonl");
        let due = lines(&place, "due.jsonl");
        let after = files(&place);
        if place.path("run/batch-replies.jsonl").exists() {
            // Killed after some bytes of the journal, with all results kept.
            let journal = place.path("run/journal.jsonl");
            let length = std::fs::metadata(&journal).unwrap().len() as usize;
            let old = before.iter().find(|(path, _)| *path == journal).unwrap().1.len();
            for at in [old, old + 1, old.midpoint(length), length - 1, length] {
                let at = at.clamp(old, length);
                cut(&after, "journal.jsonl", at);
                step(&place, "--emit again.jsonl");
                assert_eq!(lines(&place, "again.jsonl"), due, "batch {number}, byte {at}");
                checked += 1;
            }
            // Killed while it kept the results, before it wrote to the journal.
            let replies = place.path("run/batch-replies.jsonl");
            let length = |files: &[(PathBuf, Vec<u8>)]| {
                files.iter().find(|(path, _)| *path == replies).unwrap().1.len()
            };
            let (old, new) = (length(&before), length(&after));
            for at in [old, old.midpoint(new), new - 1] {
                cut(&after, "batch-replies.jsonl", at);
                for (path, bytes) in before.iter().filter(|(path, _)| *path != replies) {
                    std::fs::write(path, bytes).unwrap();
                }
                step(&place, "--take results.jsonl --emit again.jsonl");
                assert_eq!(lines(&place, "again.jsonl"), due, "batch {number}, byte {at}");
                checked += 1;
            }
        }
        answered(requests)
    });
    assert!(checked > 10, "{checked}");
    assert_equal_runs(&place);
}

#[test]
fn few_items_in_flight_give_the_same_run_in_more_batches() {
    let place = place("", "");
    live(&place, "");
    through_batches(&place, "--parallel 1", |_, requests| {
        assert!(requests.len() <= 2, "one item has a verdict in two orders at most");
        answered(requests)
    });
    assert_equal_runs(&place);
}

#[test]
fn later_calls_keep_the_task_and_the_input() {
    let place = place("", "");
    let refused = |call: &str, expected: &str| {
        let ran = place.run(&mut place.amend(call));
        assert_eq!(ran.code, Some(2), "{call}: {}", ran.err);
        assert!(ran.err.contains(expected), "{call}: {}", ran.err);
    };
    for (call, expected) in [
        ("step run --emit a.jsonl", "run holds no run yet, and no input is given"),
        ("step run --input prompts.txt --emit a.jsonl", "no model is given"),
        ("step run --input prompts.txt --take a.jsonl", "run holds no run yet, so --take has no"),
        ("step run --input - --endpoint-model m", "standard input can't be read again"),
        ("step run --without messages", "no request can do without \"messages\""),
    ] {
        refused(call, expected);
    }
    step(&place, &format!("{START} --emit a.jsonl"));
    refused(
        "step run --seed 1 -c c.toml --rounds 3",
        "already holds a run, which keeps its settings: --constitution, --seed, --rounds can't",
    );
    refused("step run --retry-errors", "4 items have not ended yet");
    refused("step run --emit run/journal.jsonl", "is a record of the run");
    refused("step run --take none.jsonl", "failed to open none.jsonl");
    refused("run prompts.txt --out run", "already holds a run");
    // The constitution is recorded; the input is read again.
    std::fs::remove_file(place.path("c.toml")).unwrap();
    place.write("moved.txt", PROMPTS);
    place.write("prompts.txt", "Another prompt\n");
    refused("step run --emit b.jsonl", "input.sha256");
    step(&place, "--input moved.txt --emit b.jsonl");
    assert_eq!(lines(&place, "b.jsonl"), lines(&place, "a.jsonl"));

    std::fs::create_dir(place.path("other")).unwrap();
    place.write("other/manifest.json", "{}");
    refused("step other --emit b.jsonl", "is not a manifest");
}

#[test]
fn a_judge_whose_thoughts_have_no_place_is_refused_at_the_start() {
    let place = place("", "reasons = 1");
    let call = format!("step run {START} --server openai --reasoning on --emit a.jsonl");
    let ran = place.run(&mut place.amend(&call));
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("in the way \"label\""), "{}", ran.err);
    assert!(!place.path("run").exists());
}
