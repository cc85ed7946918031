//! Tests of `amend run`, and of prompts from stdin.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Place, Ran, tiny_model_path};
use amend_core::record::{Outcome, Step};
use amend_data::store::run_dir::RunDir;
use serde_json::Value;

/// The rows of the finished items, and whether they failed.
fn ended(run: &Path) -> Vec<(u64, bool)> {
    let mut rows: Vec<(u64, bool)> = RunDir::open(run)
        .unwrap()
        .trajectories()
        .unwrap()
        .map(|trajectory| {
            let trajectory = trajectory.unwrap();
            (trajectory.item.row, matches!(trajectory.outcome, Outcome::Failed { .. }))
        })
        .collect();
    rows.sort_unstable();
    rows
}

/// The number of finished items in a journal that may be in progress.
fn ends(run: &Path) -> usize {
    let journal = std::fs::read_to_string(run.join("journal.jsonl")).unwrap_or_default();
    journal.matches(r#""record":{"type":"end""#).count()
}

/// Messages without the lines that say how inputs were read.
fn without_notes(err: &str) -> String {
    let is_note = |line: &&str| line.contains(": JSON Lines, ") || line.contains(": plain text, ");
    err.lines().filter(|line| !is_note(line)).map(|line| format!("{line}\n")).collect()
}

/// The messages of a run without its speed.
fn messages(ran: &Ran) -> String {
    let err = without_notes(&ran.err);
    let (tally, rest) = err.split_once("; ").expect("a tally, then figures");
    let (_, rest) = rest.split_once('\n').expect("two lines");
    format!("{tally}\n{rest}")
}

fn questions(count: usize) -> String {
    (1..=count).map(|row| format!("\"Question {row}: why?\"\n")).collect()
}

#[test]
fn a_run_can_only_be_resumed_unchanged_by_one_process() {
    let place = Place::new();
    place.write(
        "in.jsonl",
        "{\"prompt\": \"Why is it dark?\", \"id\": \"dark\", \"source\": \"me\"}\n\
         {\"messages\": [{\"role\": \"user\", \"content\": \"Why is it cold?\"}]}\n\
         {\"prompt\": \"Is it?\", \"response\": \"It is.\"}\n",
    );
    place.write("more.txt", "Why?\n\nWhy not?\n");
    let mut child = place.small("run in.jsonl more.txt --out r").spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    assert_eq!(ended(&place.path("r")), [1, 2, 3, 4, 5].map(|row| (row, false)));
    let run = RunDir::open(&place.path("r")).unwrap();
    let given = run.trajectories().unwrap().map(Result::unwrap).find(|all| all.item.row == 3);
    assert_eq!(given.unwrap().steps[0].text, "It is.");

    // A run is neither overwritten nor resumed with another configuration.
    let again = place.run(&mut place.small("run in.jsonl more.txt --out r"));
    let other = place.run(&mut place.small("run in.jsonl more.txt --out r --resume --seed 5"));
    let fewer = place.run(&mut place.small("run in.jsonl --out r --resume"));
    let same = place.run(&mut place.small("run in.jsonl more.txt --out r --resume"));
    assert_eq!([again.code, other.code, fewer.code, same.code], [2, 2, 2, 0].map(Some));
    insta::assert_snapshot!(
        without_notes(&again.err),
        @"error: r already holds a run: pass --resume to continue it, or choose another folder"
    );
    insta::assert_snapshot!(without_notes(&other.err).replace(&run.manifest().fence, "FENCE"), @r#"
    error: the run in r was started with another configuration:
      seed: was 0, is 5
      fence: was "FENCE", is "b653d86c"
    resume it with the original configuration, or start a new run in another folder
    "#);
    assert!(fewer.err.contains("\n  input.rows: was 5, is 3\n"), "{}", fewer.err);
    insta::assert_snapshot!(without_notes(&same.err), @r"
    5 of 5 items done; there was nothing left to compute
    the run is in r
    next: amend export r --out pairs.jsonl
    ");

    // Nor do two processes write to it. The lock names the last writer.
    let lock = std::fs::File::open(place.path("r/lock")).unwrap();
    lock.try_lock().unwrap();
    let second = place.run(&mut place.small("run in.jsonl more.txt --out r --resume"));
    assert_eq!(second.code, Some(2));
    assert!(!second.err.contains(&format!("pid {pid}")), "resumed since: {}", second.err);
    let holder = std::fs::read_to_string(place.path("r/lock")).unwrap();
    let expected = format!(
        "error: another amend process (pid {}) is writing to r: wait for it, or stop it\n",
        holder.trim()
    );
    assert_eq!(without_notes(&second.err), expected);
}

#[test]
fn exports_report_dropped_rows() {
    let place = Place::new();
    place.write("in.jsonl", "{\"prompt\": \"Is it?\", \"response\": \"It is.\", \"id\": \"x\"}\n");
    // Greedy and long enough to end, so that the result is deterministic.
    let made = place.run(&mut place.small("run in.jsonl --out r -n 100 --temp 0"));
    assert_eq!(made.code, Some(0), "{}", made.err);
    let exported = place.run(&mut place.amend("export r"));
    assert_eq!((exported.code, exported.err.as_str()), (Some(0), "1 pair written\n"));
    let pair: Value = serde_json::from_str(&exported.out).unwrap();
    assert_eq!(pair["id"], "x");
    assert_eq!(pair["prompt"][0]["content"], "Is it?");
    assert_eq!(pair["rejected"][0]["content"], "It is.");
    assert_eq!(pair["principles"], serde_json::json!(["kind"]));
    assert_eq!(pair["category"], serde_json::json!(["manners"]));
    assert!(!pair["chosen"][0]["content"].as_str().unwrap().is_empty());

    let made = place.run(&mut place.small("run in.jsonl --out cut -n 1 --temp 0"));
    assert_eq!(made.code, Some(0), "{}", made.err);
    place.write("pairs.jsonl", "old");
    let exported = place.run(&mut place.amend("export cut -o pairs.jsonl"));
    let expected = "error: there are no rows to export, 1 left out: a side was cut off by max_tokens\n\
                    help: run with a greater max_tokens (-n), so that answers are not cut off\n";
    assert_eq!((exported.code, exported.err.as_str()), (Some(1), expected));
    assert_eq!(std::fs::read(place.path("pairs.jsonl")).unwrap(), b"old");
    assert!(!place.path("pairs.jsonl.removed.jsonl").exists());
}

/// Neither prompts nor answers of a usual length need another layout of the cache than the one
/// that was chosen first, or fail.
#[test]
fn the_context_has_room_for_the_longest_item() {
    let place = Place::new();
    place.write("in.jsonl", format!("{}\"{}\"\n", questions(3), "Is it so? ".repeat(200)));
    let ran = place.run(&mut place.small("run in.jsonl --out r -v"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!ran.err.contains("switching to a unified cache"), "{}", ran.err);
    assert!(ran.err.contains(" a stream for each of 4 sequences; the longest request takes "));
    let run = RunDir::open(&place.path("r")).unwrap();
    let settings = &run.manifest().settings["settings"];
    assert_eq!(settings["ctx_size"].as_u64().unwrap() % (4 + 2), 0, "{settings}");
    assert!(settings["ctx_size"].as_u64().unwrap() / (4 + 2) > 1825, "{settings}");
}

#[test]
fn a_dry_run_and_a_preview_write_nothing() {
    let place = Place::new();
    place.write("in.jsonl", questions(3) + "{\"prompt\": \"Is it?\", \"response\": \"It is.\"}\n");
    let dry = place.run(&mut place.small("run in.jsonl --dry-run --out r"));
    let note =
        "in.jsonl: JSON Lines, 4 rows, prompt columns: text, prompt, response column: response\n";
    let next = "next: amend run in.jsonl --out r\n";
    assert_eq!((dry.code, dry.err), (Some(0), format!("{note}{next}")));
    insta::assert_snapshot!(dry.out, @r"
    items                  4
    with a given answer    1
    first prompts          102 tokens (min 34, mean 34, max 34)
    steps of an item       answers 1, critiques 1, revisions 1, guided answers 0
    decoded, at most       58 tokens
    per item, about        608 tokens computed, 15 tokens decoded
    longest request        about 552 tokens
    ");
    let tight = place.run(&mut place.small("run in.jsonl --dry-run --ctx-size 40"));
    let expected = "\nlongest request        about ";
    let (_, longest) = tight.out.split_once(expected).unwrap();
    assert!(longest.contains(" tokens, but only 256 fit, so that items may fail: "), "{longest}");
    let preview = place.run(&mut place.small("run in.jsonl --preview 1 --out r"));
    let note = "in.jsonl: JSON Lines, 1 row, prompt column: text\n";
    assert_eq!((preview.code, preview.err), (Some(0), format!("{note}{next}")));
    let headings: Vec<&str> = preview
        .out
        .lines()
        .filter(|line| line.starts_with("row") || line.starts_with("──"))
        .collect();
    assert_eq!(headings[0], "row 1: Question 1: why?");
    assert!(headings[1].starts_with("── answer"), "{headings:?}");
    assert!(headings[2].starts_with("── critique 1: Kindness"), "{headings:?}");
    assert!(headings[3].starts_with("── revision 1: Kindness"), "{headings:?}");
    assert!(!place.path("r").exists());
}

#[test]
fn items_are_shown_as_they_end_with_the_reasons_of_the_export() {
    let place = Place::new();
    place.write("in.jsonl", questions(2) + "{\"prompt\": \"Is it?\", \"response\": \"It is.\"}\n");
    let ran = place.run(&mut place.small("run in.jsonl --out r --show"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let blocks: Vec<&str> = ran.out.split_terminator("\n\n").collect();
    assert_eq!(blocks.len(), 3, "{}", ran.out);
    let given = blocks.iter().find(|block| block.starts_with("row 3     Is it?\n")).unwrap();
    assert!(given.contains("\nbefore    It is.\n"), "{given}");
    for block in &blocks {
        let labels: Vec<&str> = block.lines().filter_map(|line| line.split(' ').next()).collect();
        let labels: Vec<&str> = labels.into_iter().filter(|label| !label.is_empty()).collect();
        assert!(labels.starts_with(&["row", "before", "critique", "after"]), "{block}");
        assert!(block.contains("\ncritique  Kindness: "), "{block}");
        assert!(block.ends_with("\nno pair: a side was cut off by max_tokens"), "{block}");
    }
    let left_out = "0 pairs to export, 3 left out: a side was cut off by max_tokens\n";
    assert!(ran.err.contains(left_out), "{}", ran.err);

    // Only what ends in this call is shown.
    let again = place.run(&mut place.small("run in.jsonl --out r --show --resume"));
    assert_eq!((again.code, again.out.as_str()), (Some(0), ""), "{}", again.err);
}

#[test]
fn rows_come_from_stdin_up_to_a_limit() {
    let place = Place::new();
    place.write("in", questions(5));
    let run = |arguments: &str| {
        let mut command = place.small(arguments);
        place.run(command.stdin(std::fs::File::open(place.path("in")).unwrap()))
    };
    let limited = run("run - --out r --limit 2");
    assert_eq!(limited.code, Some(0), "{}", limited.err);
    insta::assert_snapshot!(messages(&limited), @r"
    2 of 2 items done
    the run is in r
    0 pairs to export, 2 left out: a side was cut off by max_tokens
    next: amend report r
    ");
    assert_eq!(ended(&place.path("r")), [(1, false), (2, false)]);
    let more = run("run - --out r --resume");
    assert_eq!(more.code, Some(2));
    assert!(more.err.contains("\n  limit: was 2, is none\n"), "{}", more.err);
}

#[test]
fn failed_items_are_counted_recorded_and_retried() {
    let place = Place::new();
    place.write("in.jsonl", format!("\"{}\"\n{}", "Is it so? ".repeat(200), questions(2)));
    let run = |flags: &str| place.run(&mut place.small(&format!("run in.jsonl --out r {flags}")));

    let stopped = run("--ctx-size 1536 --max-errors 1");
    assert_eq!(stopped.code, Some(1));
    let failure = "the step needs 1825 tokens of context (prompt 1819 + answer 6), but only 1536 are \
                   available: lower --max-tokens, shorten the prompt, or raise --ctx-size (up to \
                   the context length that the model was trained for)";
    assert!(stopped.err.contains(&format!(" WARN row 1: {failure} key=")), "{}", stopped.err);
    let stopped = without_notes(&stopped.err);
    let (_, stopped) = stopped.split_once('\n').unwrap();
    assert!(stopped.starts_with(
        "0 of 3 items done, 1 failed (--resume --retry-errors retries them), \
         2 left (--resume continues); "
    ));
    let failed = run("--ctx-size 1536 --resume");
    assert_eq!(failed.code, Some(1));
    insta::assert_snapshot!(messages(&failed), @r"
    2 of 3 items done, 1 failed (--resume --retry-errors retries them)
    the run is in r
    0 pairs to export, 3 left out:
      2  a side was cut off by max_tokens
      1  the item failed
    next: amend report r
    ");
    assert_eq!(ended(&place.path("r")), [(1, true), (2, false), (3, false)]);
    let exported = place.run(&mut place.amend("export r"));
    assert!(exported.err.contains("\n  1  the item failed\n"), "{}", exported.err);

    // The context size is a setting, so it may differ on resume.
    let retried = run("--ctx-size 4096 --resume --retry-errors");
    assert_eq!(retried.code, Some(0), "{}", retried.err);
    insta::assert_snapshot!(messages(&retried), @r"
    3 of 3 items done
    the run is in r
    0 pairs to export, 3 left out: a side was cut off by max_tokens
    next: amend report r
    ");
    assert_eq!(ended(&place.path("r")), [(1, false), (2, false), (3, false)]);
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status();
    assert!(sent.unwrap().success());
}

/// Waits until more than `before` items have ended.
fn wait_for_an_end(run: &Path, before: usize) {
    let start = Instant::now();
    while ends(run) <= before {
        assert!(start.elapsed() < Duration::from_secs(120), "no item ends");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupted_run_stops_quickly_and_keeps_finished_items() {
    let place = Place::new();
    place.write("in.jsonl", questions(24));
    let run = place.path("r");
    let mut arguments = "run in.jsonl --out r";
    for (name, times) in [("INT", 1), ("TERM", 1), ("INT", 2)] {
        let before = ends(&run);
        let child = place.small(arguments).spawn().unwrap();
        wait_for_an_end(&run, before);
        let start = Instant::now();
        for _ in 0..times {
            signal(&child, name);
        }
        let output = child.wait_with_output().unwrap();
        let took = start.elapsed();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{name}: {err}");
        assert!(took < Duration::from_millis(2500), "{name}: {took:?}");
        if times == 1 {
            // From the run itself or, if a batch takes too long, from the signal handler.
            let next = "the run is in r\nnext: amend run in.jsonl --out r --resume\n";
            assert!(err.contains(next), "{name}: {err}");
        }
        let now = ended(&run).len();
        assert!((before + 1..24).contains(&now), "{name}: {before}, then {now}");
        arguments = "run in.jsonl --out r --resume";
    }
    let rest = place.run(&mut place.small(arguments));
    assert_eq!(rest.code, Some(0), "{}", rest.err);
    let rows: BTreeSet<u64> = ended(&run).into_iter().map(|(row, _)| row).collect();
    assert_eq!((ended(&run).len(), rows), (24, (1..=24).collect()));
}

/// A small file system in memory.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(folder: std::path::PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(&folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // If it fails, leave the mount.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_run_can_be_resumed_after_a_full_disk() {
    let place = Place::new();
    let Some(disk) = Disk::mount(place.path("disk"), "size=48k") else {
        eprintln!("skipped: no permission to mount a file system");
        return;
    };
    // The record of each finished item has the note.
    let note = "n".repeat(6000);
    let rows: String = (1..=8)
        .map(|row| format!("{{\"prompt\": \"Question {row}?\", \"note\": \"{note}\"}}\n"))
        .collect();
    place.write("in.jsonl", rows);
    let full = place.run(&mut place.small("run in.jsonl --out disk/r"));
    assert_eq!(full.code, Some(3), "{}", full.err);
    let records = std::fs::read_to_string(place.path("disk/r/journal.jsonl")).unwrap();
    assert!(records.ends_with('\n'));
    let expected = format!(
        "error: disk full: disk/r/journal.jsonl is valid up to record {}; free some space, then \
         pass --resume\n",
        records.lines().count()
    );
    assert!(full.err.contains(&expected), "{}", full.err);
    let kept = ended(&place.path("disk/r"));
    assert!((1..8).contains(&kept.len()), "{kept:?}");

    let larger = ["-o", "remount,size=1m"];
    assert!(Command::new("mount").args(larger).arg(&disk.0).status().unwrap().success());
    let resumed = place.run(&mut place.small("run in.jsonl --out disk/r --resume"));
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert_eq!(ended(&place.path("disk/r")), (1..=8).map(|row| (row, false)).collect::<Vec<_>>());
}

#[test]
fn a_pipe_prints_only_the_answer_and_json_all_steps() {
    let place = Place::new();
    let prompt = || {
        let path = place.path("prompt");
        std::fs::write(&path, "Why is the sky blue?\n").unwrap();
        std::fs::File::open(path).unwrap()
    };
    let run = |flags: &str| place.run(place.small(flags).stdin(prompt()));
    let [plain, json, show] = ["-s 3", "-s 3 --json", "-s 3 --show"].map(run);
    for ran in [&plain, &json, &show] {
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    }
    let record: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json.out.lines().count(), 1);
    let steps = record["steps"].as_array().unwrap();
    let kinds: Vec<&Value> = steps.iter().map(|step| &step["kind"]).collect();
    // A revision that changes the answer is judged.
    let text = |at: usize| steps[at]["text"].as_str().unwrap().trim();
    let judged = if text(2) == text(0) { 0 } else { 1 };
    let expected = [&["generate", "critique", "revise"][..], &["judge"; 1][..judged]].concat();
    assert_eq!(kinds, expected);
    let answer = steps[2]["text"].as_str().unwrap();
    assert_eq!(record["response"], answer);
    assert_eq!(plain.out, format!("{answer}\n"));
    for step in &steps[..3] {
        assert!(show.out.contains(step["text"].as_str().unwrap()), "{}", show.out);
    }
    assert!(!show.out.contains('\u{1b}'), "no colour without a terminal");
    // The prompt may also be an argument.
    let argument = place.run(place.small("-s 3").arg("Why is the sky blue?"));
    assert_eq!(argument.out, plain.out);
}

#[test]
fn json_lines_keep_the_order_of_the_input() {
    let place = Place::new();
    let long = "so long ".repeat(40);
    place.write(
        "in",
        format!(
            "\"{long}\"\n{{\"prompt\": \"Hi\", \"id\": 7}}\n\"{}\"\n\"Yes?\"\n",
            long.repeat(20)
        ),
    );
    let mut command = place.small("--jsonl --ctx-size 4096");
    let ran = place.run(command.stdin(std::fs::File::open(place.path("in")).unwrap()));
    // The prompt that does not fit gives a record too, in its place.
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let records: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&Value> = records.iter().map(|record| &record["outcome"]["kind"]).collect();
    assert_eq!(kinds, ["done", "done", "failed", "done"]);
    assert_eq!(records[1]["messages"][0]["content"], "Hi");
    assert_eq!(records[2]["response"], Value::Null);
    assert_eq!(records[3]["messages"][0]["content"], "Yes?");
}

#[test]
fn a_prompt_that_does_not_fit_is_an_error() {
    let place = Place::new();
    let ran = place.run(place.small("--ctx-size 256").arg("so long ".repeat(400)));
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    insta::assert_snapshot!(
        ran.err,
        @"error: the step needs 2425 tokens of context (prompt 2419 + answer 6), but only 256 are \
         available: lower --max-tokens, shorten the prompt, or raise --ctx-size (up to the context \
         length that the model was trained for)"
    );
}

#[test]
fn a_closed_stdout_is_not_an_error() {
    let place = Place::new();
    place.write("in", questions(2));
    for flags in ["", "--json", "--show"] {
        let mut command = place.small(flags);
        command.stdin(std::fs::File::open(place.path("in")).unwrap());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*without_notes(&err)), (Some(0), ""), "{flags}");
    }
}

#[test]
fn a_run_starts_from_the_first_answers_of_another_one() {
    let place = Place::new();
    place.write("prompts.jsonl", "\"Say tea.\"\n\"Say milk.\"\n\"Say sun.\"\n");
    let ran = place.run(&mut place.small("run prompts.jsonl --out first"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    place.write(
        "other.toml",
        "[constitution]\nname = \"other\"\nextends = [\"small.toml\"]\n[[principle]]\nid = \
         \"brief\"\nprinciple = \"The answer is brief.\"\n[loop]\nselect = \"all\"\n",
    );
    let line = "run --answers-from first -c other.toml --out second";
    let ran = place.run(&mut place.small(line));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!ran.err.contains("are by"), "the same model: {}", ran.err);
    let answers = |run: &str| {
        let mut answers: Vec<(u64, Step)> = RunDir::open(&place.path(run))
            .unwrap()
            .trajectories()
            .unwrap()
            .map(Result::unwrap)
            .map(|trajectory| (trajectory.item.row, trajectory.steps[0].clone()))
            .collect();
        answers.sort_by_key(|(row, _)| *row);
        answers
    };
    assert_eq!(answers("second"), answers("first"));
    assert!(place.steps("second").iter().any(|step| step.principle.as_deref() == Some("brief")));
    let [first, second] = ["first", "second"].map(|run| RunDir::open(&place.path(run)).unwrap());
    let source = second.manifest().input.run.as_ref().unwrap();
    assert_eq!(source.sha256, first.hash());
    assert_eq!(source.model, first.manifest().model);
    assert_eq!(second.manifest().input.sha256, first.manifest().input.sha256);
    let resumed = place.run(&mut place.small(&format!("{line} --resume")));
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert!(resumed.err.contains("nothing left to compute"), "{}", resumed.err);

    // Another model wrote the first answers. The report names it.
    let mut command = place.small("run --answers-from first -c other.toml --out third");
    let ran = place.run(command.env("AMEND_MODEL", tiny_model_path("qwen2")));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("the first answers, which become the rejected ones, are by "));
    let report = place.run(&mut place.amend("report third --out -"));
    assert!(report.out.contains("First answers"), "{}", report.err);

    place.write(
        "two.toml",
        "[constitution]\nname = \"two\"\nextends = [\"small.toml\"]\n[loop]\ncandidates = 2\n",
    );
    let ran = place.run(&mut place.small("run --answers-from first -c two.toml --out fourth"));
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("has 1 first answers"), "{}", ran.err);
}
