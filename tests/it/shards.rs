//! `amend run --shard`, `amend status` and `amend merge`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

use crate::common::{Place, Ran};
use amend_core::random::Stream;
use amend_data::store::run_dir::RunDir;
use amend_data::store::sharded::{RunStatus, shard_folder};

const ITEMS: usize = 24;

/// A folder with prompts, two of which are equal.
fn place() -> Place {
    let place = Place::new();
    let row =
        |row: usize| format!("{{\"id\":\"q{row}\",\"prompt\":\"Question {}?\"}}\n", row.max(2));
    place.write("in.jsonl", (1..=ITEMS).map(row).collect::<String>());
    place
}

/// Works on a shard, as an array job does that is submitted again and again.
fn shard(place: &Place, index: u32, count: u32, out: &str) -> Command {
    place.small(&format!("run in.jsonl --out {out} --shard {index}/{count} --resume"))
}

fn ran(place: &Place, command: &mut Command) -> Ran {
    let ran = place.run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran
}

/// The keys of the items of a run, each of which must be there once.
fn keys(run: &Path) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for trajectory in RunDir::open(run).unwrap().trajectories().unwrap() {
        let key = trajectory.unwrap().item.key;
        assert!(keys.insert(key.clone()), "{key} is there twice");
    }
    keys
}

fn lines(file: &Path) -> usize {
    let bytes = std::fs::read(file).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn one_shard_equals_the_run_without_shards() {
    let place = place();
    ran(&place, &mut place.small("run in.jsonl --out whole --reproducible"));
    ran(&place, shard(&place, 0, 1, "one").arg("--reproducible"));
    let journal = |run: &str| std::fs::read(place.path(run).join("journal.jsonl")).unwrap();
    assert!(journal("whole") == journal("one/shards/00000"));
    let rows = |run: &str| {
        let exported =
            ran(&place, &mut place.amend(&format!("export {run} --format trajectories")));
        let row = |line: &str| {
            let mut row: Value = serde_json::from_str(line).unwrap();
            row["run"] = Value::Null;
            row
        };
        exported.out.lines().map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows("whole"), rows("one"));
}

#[test]
fn shards_that_are_killed_and_submitted_again_end_complete() {
    const KILLS: usize = 50;
    const SHARDS: u32 = 4;
    let place = place();
    ran(&place, &mut place.small("run in.jsonl --out whole"));
    let expected = keys(&place.path("whole"));
    assert_eq!(expected.len(), ITEMS);

    let moments = Stream::new(11);
    let (mut kills, mut draw, mut run) = (0, 0, 0);
    let mut name = "run0".to_owned();
    let mut had_begun = 0;
    loop {
        let folder = place.path(&name);
        let status = match folder.join("plan.json").exists() {
            true => RunStatus::read(&folder).unwrap(),
            false => None,
        };
        let is_done = status.as_ref().is_some_and(RunStatus::is_done);
        if is_done {
            assert_eq!(keys(&folder), expected, "{name}");
            assert_eq!(status.unwrap().ended(), (ITEMS as u64, 0));
            if kills >= KILLS {
                break;
            }
            run += 1;
            name = format!("run{run}");
            continue;
        }
        // Blindly: shards that are done are submitted too.
        let mut children: Vec<(u32, Child)> = Vec::new();
        for index in [0, 1, 2, 3] {
            children.push((index, shard(&place, index, SHARDS, &name).spawn().unwrap()));
        }
        for (index, mut child) in children {
            let journal = shard_folder(&folder, index).join("journal.jsonl");
            let target = lines(&journal) + (moments.uniform(2 * draw) * 16.0) as usize;
            let delay = Duration::from_secs_f64(moments.uniform(2 * draw + 1) * 0.02);
            draw += 1;
            while child.try_wait().unwrap().is_none() && lines(&journal) < target {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(delay);
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            match output.status.code() {
                None => {
                    kills += 1;
                    had_begun += usize::from(lines(&journal) > 0);
                }
                Some(0) => {}
                Some(_) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            }
        }
    }
    assert!(had_begun > KILLS / 4, "only {had_begun} shards were killed after a record");

    let merged = ran(&place, &mut place.amend(&format!("merge {name} --out merged")));
    assert!(merged.err.starts_with("24 items done, 0 failed\n"), "{}", merged.err);
    assert_eq!(keys(&place.path("merged")), expected);
    // The merged run is the one that never was in shards.
    let resumed = ran(&place, &mut place.small("run in.jsonl --out merged --resume"));
    assert!(resumed.err.contains("there was nothing left to compute"), "{}", resumed.err);
}

#[test]
fn what_does_not_belong_to_the_run_is_refused_by_name() {
    let place = place();
    ran(&place, &mut shard(&place, 0, 2, "run"));
    place.write("other.jsonl", "\"Another question?\"\n");
    let refused = |command: &mut Command, expected: &str| {
        let ran = place.run(command);
        assert_eq!(ran.code, Some(2), "{expected}: {}", ran.err);
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
        assert!(!place.path("run/shards/00001").exists(), "{expected}");
    };
    let other = |arguments: &str| place.small(&format!("run {arguments} --resume"));
    refused(&mut shard(&place, 1, 3, "run"), "shards: was 2, is 3");
    refused(shard(&place, 1, 2, "run").args(["--seed", "5"]), "seed: was 0, is 5");
    refused(shard(&place, 1, 2, "run").args(["-c", "harmless"]), "constitution");
    refused(&mut other("other.jsonl --out run --shard 1/2"), "input.rows: was 24, is 1");
    refused(&mut other("in.jsonl --out run"), "is in shards: pass --shard I/N");
    refused(&mut place.small("run in.jsonl --out run"), "is in shards: pass --shard I/N");
    refused(&mut place.small("run in.jsonl --out run --shard 0/2"), "pass --resume to continue it");
    refused(&mut other("in.jsonl --out run --shard 2/2"), "there is no shard 2 of 2");
    refused(&mut other("in.jsonl --out run --shard auto"), "--shard auto finds no shard");
    let model = crate::common::tiny_model_path("llama");
    refused(shard(&place, 1, 2, "run").env("AMEND_MODEL", model), "model.sha256: was ");
}

#[test]
fn a_shard_has_one_process() {
    let place = place();
    let limited = "run in.jsonl --out run --shard 0/2 --max-errors 1 --resume";
    ran(&place, &mut place.small(limited));
    let folder = shard_folder(&place.path("run"), 0);
    std::fs::remove_file(folder.join("done.json")).unwrap();
    let manifest = RunDir::open(&folder).unwrap().manifest().clone();
    let (writer, _) = RunDir::resume(&folder, &manifest).unwrap();
    let status = place.run(&mut place.amend("status run"));
    assert!(
        status.out.starts_with("shards  0 done, 1 running, 1 missing of 2\n"),
        "{}",
        status.out
    );
    let second = place.run(&mut place.small(limited));
    assert_eq!(second.code, Some(2));
    let pid = std::process::id();
    let expected = format!("another amend process (pid {pid}) is writing to run/shards/00000");
    assert!(second.err.contains(&expected), "{}", second.err);
    drop(writer);
    ran(&place, &mut place.small(limited));
}

#[test]
fn a_shard_that_is_done_needs_no_model() {
    let place = place();
    let first = ran(&place, &mut shard(&place, 1, 3, "run"));
    assert!(first.err.contains("next: amend status run"), "{}", first.err);
    let items = lines(&place.path("run/shards/00001/journal.jsonl"));
    assert!(items > 0);
    let again = ran(&place, shard(&place, 1, 3, "run").env("AMEND_MODEL", "missing.gguf"));
    assert!(again.err.contains("the shard is done: "), "{}", again.err);
    let done: Value =
        serde_json::from_slice(&std::fs::read(place.path("run/shards/00001/done.json")).unwrap())
            .unwrap();
    let journal = std::fs::read(place.path("run/shards/00001/journal.jsonl")).unwrap();
    assert_eq!(done["bytes"], journal.len());
    assert_eq!(done["records"], items);
    assert_eq!(done["sha256"], amend_core::hash::sha256(&journal));
}

#[test]
fn status_says_what_is_left_until_all_shards_are_done() {
    let place = place();
    ran(&place, &mut shard(&place, 1, 4, "run"));
    let status = place.run(&mut place.amend("status run"));
    assert_eq!(status.code, Some(1));
    let expected =
        "shards  1 done, 3 missing of 4\nitems   5 done, 0 failed of 24\nto do   --array=0,2,3\n";
    assert_eq!(status.out, expected);
    let array = ran(&place, &mut place.amend("status run --array"));
    assert_eq!(array.out, "0,2,3\n");
    // An array job is submitted for the rest.
    for index in ["0", "2", "3"] {
        let mut task = place.small("run in.jsonl --out run --shard auto --resume");
        task.env("SLURM_ARRAY_TASK_ID", index).env("SLURM_ARRAY_TASK_COUNT", "3");
        task.env("SLURM_ARRAY_TASK_MIN", "0").env("SLURM_ARRAY_TASK_MAX", "3");
        ran(&place, &mut task);
    }
    let status = ran(&place, &mut place.amend("status run"));
    assert_eq!(status.out, "shards  4 done of 4\nitems   24 done, 0 failed of 24\n");
    assert_eq!(ran(&place, &mut place.amend("status run --array")).out, "");
    let json: Value =
        serde_json::from_str(&ran(&place, &mut place.amend("status run --json")).out).unwrap();
    assert_eq!((&json["done"], &json["items_done"]), (&4.into(), &24.into()));
    assert_eq!(json["shards"].as_array().unwrap().len(), 4);
}

#[test]
fn commands_read_a_sharded_run_as_a_single_one() {
    let place = place();
    ran(&place, &mut place.small("run in.jsonl --out whole --reproducible"));
    for index in 0..3 {
        ran(&place, shard(&place, index, 3, "run").arg("--reproducible"));
    }
    let export = "export run --policy keep --allow all --which trajectory";
    let exported = place.run(&mut place.amend(export));
    assert_eq!(exported.code, Some(2), "{}", exported.err);
    let rows = ran(&place, &mut place.amend("export run --format trajectories"));
    assert_eq!(rows.out.lines().count(), ITEMS);
    let splits = "export run --format trajectories --split train=0.5,test=0.5 --out data";
    ran(&place, &mut place.amend(splits));
    let split = |name: &str| lines(&place.path(&format!("data/{name}.jsonl")));
    assert_eq!(split("train") + split("test"), ITEMS);
    // Equal prompts, which may be in different shards only if files decide, share a split.
    ran(&place, &mut place.amend("report run"));
    let page = std::fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(page.contains("q24"), "the report has the items of all shards");
    let diff = ran(&place, &mut place.amend("diff whole run"));
    assert!(diff.out.contains("24 items in both"), "{}", diff.out);
    let judged = ran(&place, &mut place.small("judge run --name second"));
    assert!(judged.err.contains("24 of 24 items done"), "{}", judged.err);
    ran(&place, &mut place.amend("export run --format trajectories --verdicts second"));
    let lint = place.run(&mut place.amend("lint run"));
    assert!(matches!(lint.code, Some(0..=2)), "{}", lint.err);
    let from = "run --answers-from run --out again --shard 1/2 --resume";
    let again = ran(&place, &mut place.small(from));
    assert!(again.err.contains("next: amend status again"), "{}", again.err);
}

#[test]
fn whole_files_are_shards_of_their_own() {
    let place = Place::new();
    std::fs::create_dir(place.path("in")).unwrap();
    for file in 0..3 {
        // One prompt is in all files.
        let rows = format!("\"Question {file}?\"\n\"Shared?\"\n");
        place.write(&format!("in/part-{file}.jsonl"), rows);
    }
    let shard = |index: u32, more: &str| {
        let arguments =
            format!("run in --out run --shard {index}/3 --shard-by file --resume{more}");
        place.small(&arguments)
    };
    ran(&place, &mut shard(0, ""));
    let status = place.run(&mut place.amend("status run"));
    assert!(status.out.contains("shards that have not started are not counted"), "{}", status.out);
    for index in [1, 2] {
        ran(&place, &mut shard(index, ""));
    }
    assert_eq!(keys(&place.path("run")).len(), 6);
    let status = ran(&place, &mut place.amend("status run"));
    assert_eq!(status.out, "shards  3 done of 3\nitems   6 done, 0 failed of 6\n");
    let limited = place.run(&mut shard(0, " --limit 2"));
    assert!(limited.err.contains("--limit counts the rows of all files"), "{}", limited.err);
    let by_key = place.run(&mut place.small("run in --out run --shard 0/3 --resume"));
    assert!(by_key.err.contains("by: was file, is key"), "{}", by_key.err);
}
