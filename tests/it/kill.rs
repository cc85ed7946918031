//! Kills the program at random moments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::Place;
use amend_core::random::Stream;
use amend_data::store::run_dir::RunDir;
use serde_json::Value;

const KILLS: u64 = 30;
const ITEMS: usize = 12;

/// The lines of the journal.
fn records(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("journal.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The number of complete lines in the journal, read while the run may be in progress.
fn lines(run: &Path) -> usize {
    let journal = std::fs::read(run.join("journal.jsonl")).unwrap_or_default();
    journal.iter().filter(|byte| **byte == b'\n').count()
}

/// The finished items, read while the run may be in progress.
fn ended(run: &Path) -> BTreeSet<String> {
    // It may have been killed before it wrote the manifest or the journal.
    if !run.join("journal.jsonl").exists() {
        return BTreeSet::new();
    }
    let all = RunDir::open(run).unwrap().trajectories().unwrap();
    all.map(|trajectory| trajectory.unwrap().item.key).collect()
}

/// Checks the journal of a finished run line by line.
fn check(run: &Path) {
    let mut steps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut ends = BTreeSet::new();
    let mut rows = BTreeSet::new();
    for (at, line) in records(run).iter().enumerate() {
        assert_eq!(line["n"], at, "lines are numbered in order");
        let record = &line["record"];
        match record["type"].as_str().unwrap() {
            "step" => {
                let key = record["item"].as_str().unwrap();
                assert!(!ends.contains(key), "a step after the end of {key}");
                let kind = record["step"]["kind"].as_str().unwrap();
                steps.entry(key.to_owned()).or_default().push(kind.to_owned());
            }
            "end" => {
                let key = record["item"]["key"].as_str().unwrap();
                assert_eq!(record["outcome"]["kind"], "done");
                assert!(ends.insert(key.to_owned()), "{key} ended twice");
                assert!(rows.insert(record["item"]["row"].as_u64().unwrap()));
            }
            other => panic!("a record of type {other}"),
        }
    }
    assert!(rows.iter().copied().eq(1..=ITEMS as u64), "{rows:?}");
    assert_eq!(steps.len(), ITEMS);
    for (key, steps) in &steps {
        let texts = ["generate", "critique", "revise"];
        assert_eq!(steps[..3], texts, "a step of {key} is repeated");
        // Judged overall, unless the revision changes nothing.
        assert!(matches!(&steps[3..], [] | [_]), "{key}: {steps:?}");
        assert!(steps[3..].iter().all(|kind| kind == "judge"), "{key}: {steps:?}");
    }
}

#[test]
fn every_item_of_a_killed_run_ends_exactly_once() {
    let place = Place::new();
    let prompts: String = (1..=ITEMS).map(|row| format!("\"Question {row}: why?\"\n")).collect();
    place.write("in.jsonl", prompts);
    let arguments = |run: usize| {
        // Like a user: pass --resume once there is a run.
        let resume = place.path(&format!("run{run}/manifest.json")).exists();
        format!("run in.jsonl --out run{run}{}", if resume { " --resume" } else { "" })
    };

    let whole = place.run(&mut place.small(&arguments(0)));
    assert_eq!(whole.code, Some(0), "{}", whole.err);
    check(&place.path("run0"));

    // Kill at a random moment, some lines of the journal after the start, whatever the
    // speed of the machine. When a run finishes, start the next one.
    let moments = Stream::new(4);
    let (mut run, mut kills, mut draw) = (1, 0, 0);
    let mut before = BTreeSet::new();
    let mut stages = BTreeSet::new();
    while kills < KILLS {
        let folder = place.path(&format!("run{run}"));
        let more_lines = (moments.uniform(2 * draw) * 16.0) as usize;
        let delay = Duration::from_secs_f64(moments.uniform(2 * draw + 1) * 0.02);
        draw += 1;
        let target = lines(&folder) + more_lines;
        let mut child = place.small(&arguments(run)).spawn().unwrap();
        while child.try_wait().unwrap().is_none() && lines(&folder) < target {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(delay);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            None => kills += 1,
            Some(0) => {
                check(&folder);
                run += 1;
                before.clear();
                continue;
            }
            Some(_) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        }
        let now = ended(&folder);
        assert!(now.is_superset(&before), "a finished item is lost");
        stages.insert(now.len());
        before = now;
    }
    eprintln!("numbers of finished items when killed: {stages:?}, in {run} runs");
    assert!(stages.len() >= 2, "all runs were killed at the same stage: {stages:?}");

    let rest = place.run(&mut place.small(&arguments(run)));
    assert_eq!(rest.code, Some(0), "{}", rest.err);
    check(&place.path(&format!("run{run}")));
    // The answers of the random model may all be cut off, so that there is no pair.
    let exported = place.run(&mut place.amend(&format!("export run{run} --policy keep")));
    let pairs = exported.out.lines().count();
    let message = match pairs {
        0 => "error: there are no rows to export, ".to_owned(),
        1 => "1 pair written".to_owned(),
        _ => format!("{pairs} pairs written"),
    };
    assert_eq!(exported.code, Some(if pairs == 0 { 1 } else { 0 }), "{}", exported.err);
    assert!(exported.err.starts_with(&message), "{}", exported.err);
}

#[test]
fn a_killed_reproducible_run_gives_the_same_bytes() {
    const KILLS: u64 = 20;
    // Two cohorts.
    const ITEMS: usize = 8;
    let place = Place::new();
    let prompts: String = (1..=ITEMS).map(|row| format!("\"Question {row}: how?\"\n")).collect();
    place.write("in.jsonl", prompts);
    let run = |name: &str, resume: bool| {
        let resume = if resume { " --resume" } else { "" };
        place.small(&format!("run in.jsonl --out {name} --reproducible{resume}"))
    };
    let start = Instant::now();
    let whole = place.run(&mut run("whole", false));
    assert_eq!(whole.code, Some(0), "{}", whole.err);
    let whole = start.elapsed();

    // Early enough to interrupt cohorts often, late enough for some cohorts to end. When
    // a run is done, start another one in a new folder.
    let moments = Stream::new(5);
    let (mut kills, mut draw, mut finished) = (0, 0, 0);
    let mut name = "broken0".to_owned();
    let started = |name: &str| place.path(name).join("manifest.json").exists();
    while kills < KILLS || !started(&name) {
        let delay = moments.uniform(draw) * whole.as_secs_f64() / 2.0;
        draw += 1;
        let mut child = run(&name, started(&name)).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(delay));
        child.kill().unwrap();
        match child.wait_with_output().unwrap().status.code() {
            None => kills += 1,
            Some(0) => {
                finished += 1;
                assert_same(&place, "whole", &name);
                name = format!("broken{finished}");
            }
            Some(code) => panic!("exit code {code}"),
        }
    }
    let rest = place.run(&mut run(&name, true));
    assert_eq!(rest.code, Some(0), "{}", rest.err);
    assert_same(&place, "whole", &name);
    // A run resumes at the end of a cohort.
    let journal = std::fs::read_to_string(place.path("whole/journal.jsonl")).unwrap();
    let cohorts = journal.matches(r#""record":{"type":"cohort"}"#).count();
    assert_eq!(cohorts, ITEMS.div_ceil(4));

    // Another number of slots would round differently, so it is rejected.
    let other = place.run(run(&name, true).env("AMEND_PARALLEL", "2"));
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("settings.settings.parallel: was 4, is 2"), "{}", other.err);
}

/// Checks that two runs have and export the same bytes.
fn assert_same(place: &Place, a: &str, b: &str) {
    let journal = |run: &str| std::fs::read(place.path(run).join("journal.jsonl")).unwrap();
    assert!(journal(a) == journal(b), "the journals of {a} and {b} differ");
    let export = |run: &str| place.run(&mut place.amend(&format!("export {run}"))).out;
    assert_eq!(export(a), export(b));
}
