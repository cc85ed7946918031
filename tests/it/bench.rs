//! The benchmark through the command line, and the calibration that runs use.

use std::path::PathBuf;
use std::process::Command;

use crate::common::Place;
use serde_json::Value;

#[test]
fn the_benchmark_counts_tokens_and_draws_a_chart() {
    let place = Place::new();
    let flags =
        "bench --quick --workload fan-out --width 2 --ctx-size 32768 --json --plot plot.svg";
    let ran = place.run(&mut place.small(flags));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let measured = &report["measured"][0];
    assert_eq!((&measured["workload"], &measured["width"]), (&"fan-out".into(), &2.into()));
    // Two conversations under four principles, five tokens each.
    assert_eq!(measured["counters"]["decoded"], 40);
    // Each conversation and the header are prefilled once.
    assert_eq!(measured["prefill_ratio"], 1.0, "{measured}");
    assert!(measured["counters"]["cached"].as_u64() > Some(2 * 3 * 500), "{measured}");
    assert!(measured["share_of_limit"].as_f64() > Some(0.0));
    assert!(measured["share_of_bare_decode"].as_f64() > Some(0.0));
    assert!(std::fs::read_to_string(place.path("plot.svg")).unwrap().starts_with("<svg"));
}

/// The small loop with the default width.
fn tiny(place: &Place, arguments: &str) -> Command {
    let mut command = place.small(arguments);
    command.env_remove("AMEND_PARALLEL");
    command
}

fn calibration(place: &Place) -> Vec<PathBuf> {
    std::fs::read_dir(place.path(".cache/amend/calibration"))
        .map(|files| files.map(|file| file.unwrap().path()).collect())
        .unwrap_or_default()
}

#[test]
fn a_calibration_is_stored_and_a_reproducible_run_keeps_its_costs() {
    let place = Place::new();
    place.write("two.jsonl", "\"Why?\"\n\"How?\"\n");
    let run = |arguments: &str| place.run(&mut tiny(&place, arguments));
    let begun = run("run two.jsonl --out begun --reproducible");
    assert_eq!(begun.code, Some(0), "{}", begun.err);
    // Two items are not worth a measurement.
    assert!(calibration(&place).is_empty());

    let measured = run("bench --calibrate --json");
    assert_eq!(measured.code, Some(0), "{}", measured.err);
    let report: Value = serde_json::from_str(&measured.out).unwrap();
    let rows = report["costs"]["rows"].as_array().unwrap();
    assert_eq!((&rows[0][0], rows.len()), (&1.into(), 13), "{report}");
    let files = calibration(&place);
    let [file] = &files[..] else { panic!("{files:?}") };
    let kept: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(kept["costs"], report["costs"]);

    let costs = |run: &str| -> Value {
        let text = std::fs::read(place.path(run).join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&text).unwrap();
        manifest["settings"]["settings"]["costs"].clone()
    };
    // The run that began without the calibration continues without it; a new one uses it.
    let resumed = run("run two.jsonl --out begun --reproducible --resume");
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert_ne!(costs("begun"), report["costs"]);
    assert_eq!(run("run two.jsonl --out new --reproducible").code, Some(0));
    assert_eq!(costs("new"), report["costs"]);

    // A damaged file is ignored.
    std::fs::write(file, "{\"key\":").unwrap();
    assert_eq!(run("run two.jsonl --out third").code, Some(0));
    assert_eq!(costs("third"), costs("begun"));
}

#[cfg(unix)]
#[test]
fn an_unwritable_cache_is_not_an_error() {
    let place = Place::new();
    place.write(".cache", "a file where a folder would be");
    let ran = place.run(&mut tiny(&place, "bench --calibrate"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(ran.out.contains("--parallel "), "{}", ran.out);
}

#[test]
fn revisions_are_measured_with_and_without_prompt_lookup() {
    let place = Place::new();
    place.write("one.jsonl", "\"Why?\"\n");
    let ran = place.run(&mut tiny(&place, "bench --revisions one.jsonl --json"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let revisions = &report["revisions"];
    let kept: Vec<u64> = revisions["constructed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|revision| {
            assert!(revision["accepted"].as_u64() <= revision["drafted"].as_u64(), "{revision}");
            revision["kept_percent"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(kept, [60, 80, 95]);
    assert_eq!(revisions["real"][0]["drafted"], 0);
}

/// The prompts of an item continue one another, so that nothing is computed twice. If the
/// cells do not suffice, fewer items are in flight; only the first items, whose growth is not
/// known when they start, may lose cells to one another.
#[test]
fn nothing_is_computed_twice_unless_cells_are_scarce() {
    let place = Place::new();
    let measured = |ctx_size: u32| -> Value {
        let ran = place.run(&mut tiny(
            &place,
            &format!(
                "bench --quick --workload loop --width 4 --speculate off --kv-unified on \
                 --ctx-size {ctx_size} --json"
            ),
        ));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        report["measured"][0].clone()
    };
    let enough = measured(8192);
    assert_eq!(enough["prefill_ratio"], 1.0, "{enough}");
    let half = enough["peak_cells"].as_u64().unwrap() / 2;
    let scarce = measured(u32::try_from(half).unwrap());
    assert!(scarce["peak_cells"].as_u64() > Some(half * 4 / 5), "not scarce: {scarce}");
    assert!(scarce["prefill_ratio"].as_f64() < Some(1.3), "{scarce}");
}
