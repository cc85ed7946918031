//! Pairs by contrast, through the program: `method` in `[loop]`, `--method` and
//! `--student-model`.

use std::collections::BTreeMap;

use crate::common::{Place, Ran, has_thoughts, tiny_model_path};
use amend_core::record::{Step, StepKind};
use amend_data::store::run_dir::RunDir;
use serde_json::Value;

/// A place with four questions, the second with a system turn and the third with an answer.
fn place() -> Place {
    let place = Place::new();
    place.write(
        "in.jsonl",
        concat!(
            "{\"prompt\": \"Why is it dark?\"}\n",
            "{\"messages\": [{\"role\": \"system\", \"content\": \"Be quick.\"}, ",
            "{\"role\": \"user\", \"content\": \"Why is it cold?\"}]}\n",
            "{\"prompt\": \"Is it late?\", \"response\": \"It is late.\"}\n",
            "{\"prompt\": \"Who are you?\"}\n",
        ),
    );
    place
}

fn rows(exported: &Ran) -> Vec<Value> {
    exported.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The steps of each item, by row.
fn by_row(place: &Place, run: &str) -> BTreeMap<u64, Vec<Step>> {
    let run = RunDir::open(&place.path(run)).unwrap();
    run.trajectories()
        .unwrap()
        .map(|trajectory| trajectory.unwrap())
        .map(|trajectory| (trajectory.item.row, trajectory.steps))
        .collect()
}

fn manifest(place: &Place, run: &str) -> Value {
    let text = std::fs::read_to_string(place.path(&format!("{run}/manifest.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn kinds(steps: &[Step]) -> Vec<StepKind> {
    steps.iter().map(|step| step.kind).collect()
}

#[test]
fn contrast_costs_two_calls_and_exports_no_principle() {
    let place = place();
    let ran = place.run(&mut place.small("run in.jsonl --method contrast -n 100 --out r"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for (row, steps) in by_row(&place, "r") {
        assert_eq!(kinds(&steps)[..2], [StepKind::Generate, StepKind::Guide], "{row}");
        assert!(steps[2..].iter().all(|step| step.kind == StepKind::Judge), "{row}");
        assert_eq!(steps[1].principles, ["kind"]);
        // The prompt with the principle is longer.
        assert!(steps[0].finish.is_none() || steps[1].usage.prompt > steps[0].usage.prompt);
    }
    let exported = place.run(&mut place.amend("export r --format trl --policy keep"));
    let rows = rows(&exported);
    assert!(rows.len() >= 3, "{}", exported.err);
    for row in &rows {
        assert_eq!((&row["method"], &row["principles"][0]), (&"contrast".into(), &"kind".into()));
    }
    assert!(!exported.out.contains("The answer is kind."), "{}", exported.out);
    let systems: Vec<&Value> =
        rows.iter().flat_map(|row| row["prompt"].as_array().unwrap()).collect();
    let systems: Vec<&&Value> = systems.iter().filter(|turn| turn["role"] == "system").collect();
    assert!(systems.iter().all(|turn| turn["content"] == "Be quick."), "{systems:?}");

    // Everything that reads a run reads these.
    for arguments in [
        "report r",
        "export r --format sft",
        "export r --format kto --policy keep",
        "export r --format sft-steps",
        "export r --format trajectories",
        "diff r r",
        "review r --summary",
    ] {
        let ran = place.run(&mut place.amend(arguments));
        assert_eq!(ran.code, Some(0), "{arguments}: {}", ran.err);
    }
    let page = std::fs::read_to_string(place.path("r/report.html")).unwrap();
    assert!(page.contains("guided answer over first answer"), "the overview names the pairs");
    assert!(page.contains("Guided answer r1") && page.contains("Kindness"));
}

#[test]
fn both_methods_share_the_first_answer_and_are_judged_again_and_audited() {
    let place = place();
    let ran = place.run(&mut place.small("run in.jsonl --method both -n 100 --out r"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let mut pairs = 0;
    for (row, steps) in by_row(&place, "r") {
        let guided = steps.iter().filter(|step| step.kind == StepKind::Guide).count();
        let first = steps.iter().filter(|step| step.kind == StepKind::Generate).count();
        assert_eq!((first, guided), (1, 1), "{row}");
        assert!(steps.iter().any(|step| step.kind == StepKind::Revise), "{row}");
        // One verdict for each answer that differs from the first one.
        pairs += steps.iter().filter(|step| step.kind == StepKind::Judge).count();
    }
    assert!(pairs >= 4, "{pairs}");
    let exported = place.run(&mut place.amend("export r --policy keep"));
    let mut methods: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows(&exported) {
        *methods.entry(row["method"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(methods["contrast"] >= 2 && methods["revise"] >= 1, "{methods:?}");

    let judged = place.run(&mut place.small("judge r --name again"));
    assert_eq!(judged.code, Some(0), "{}", judged.err);
    let again = place.run(&mut place.amend("export r --verdicts again --policy keep-with-label"));
    let margins = rows(&again).iter().filter(|row| row["verdict_margin"].is_number()).count();
    assert_eq!(margins, rows(&again).len(), "{}", again.err);

    let audited = place.run(&mut place.small("audit small.toml --on r --json"));
    assert_eq!(audited.code, Some(0), "{}", audited.err);
    let report = place.run(&mut place.amend("report r"));
    assert_eq!(report.code, Some(0), "{}", report.err);
    let page = std::fs::read_to_string(place.path("r/report.html")).unwrap();
    assert!(page.contains("By method"), "the report tells the methods apart");
}

#[test]
fn a_student_writes_the_rejected_answers() {
    let place = place();
    let student = tiny_model_path("llama");
    let arguments =
        format!("run in.jsonl --method contrast --out r --student-model {}", student.display());
    let ran = place.run(&mut place.small(&arguments));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let manifest = manifest(&place, "r");
    let (writer, other) = (&manifest["model"]["sha256"], &manifest["student_model"]["sha256"]);
    assert!(writer.is_string() && other.is_string() && writer != other, "{manifest}");

    // The same first answers as those of the student alone.
    let alone = format!("run in.jsonl --method contrast --out s -m {}", student.display());
    let alone = place.run(&mut place.small(&alone));
    assert_eq!(alone.code, Some(0), "{}", alone.err);
    let first = |run| -> Vec<u32> {
        by_row(&place, run).values().map(|steps| steps[0].usage.prompt).collect()
    };
    assert_eq!(first("r"), first("s"));

    // It is the author of the first answers, for a run that starts from them too.
    let from = "run --answers-from r --method contrast --out from";
    let from = place.run(&mut place.small(from));
    assert!(from.err.contains("a preference between them is also one between models"));
    assert_eq!(&self::manifest(&place, "from")["input"]["run"]["model"]["sha256"], other);
    let card = "export from --format trajectories --card --licence mit --out data";
    let card = place.run(&mut place.amend(card));
    assert_eq!(card.code, Some(0), "{}", card.err);
    let card = std::fs::read_to_string(place.path("data/README.md")).unwrap();
    assert!(card.contains("with the principles of a constitution in the system turn"), "{card}");
    assert!(card.contains("model of the first answers") && !card.contains("criticised"), "{card}");

    // It belongs to the run.
    let resumed = place.run(&mut place.small("run in.jsonl --method contrast --out r --resume"));
    assert_eq!(resumed.code, Some(2), "{}", resumed.err);
    assert!(resumed.err.contains("student_model"), "{}", resumed.err);
    let resumed = place.run(&mut place.small(&format!("{arguments} --resume")));
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
}

#[test]
fn a_run_that_stopped_anywhere_and_its_shards_have_the_same_answers() {
    let place = place();
    let task = "in.jsonl --method both --reproducible";
    let whole = place.run(&mut place.small(&format!("run {task} --out whole")));
    assert_eq!(whole.code, Some(0), "{}", whole.err);
    let journal = std::fs::read_to_string(place.path("whole/journal.jsonl")).unwrap();
    let expected = by_row(&place, "whole");
    for kept in [1, 4, 9] {
        let run = format!("cut-{kept}");
        std::fs::create_dir(place.path(&run)).unwrap();
        std::fs::copy(
            place.path("whole/manifest.json"),
            place.path(&format!("{run}/manifest.json")),
        )
        .unwrap();
        let lines: String = journal.lines().take(kept).map(|line| format!("{line}\n")).collect();
        place.write(&format!("{run}/journal.jsonl"), lines);
        let resumed = place.run(&mut place.small(&format!("run {task} --out {run} --resume")));
        assert_eq!(resumed.code, Some(0), "{}", resumed.err);
        assert_eq!(by_row(&place, &run), expected, "after {kept} lines");
    }
    for shard in 0..2 {
        let arguments = format!("run in.jsonl --method both --out parts --shard {shard}/2");
        let ran = place.run(&mut place.small(&arguments));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let parts = by_row(&place, "parts");
    assert_eq!(parts.keys().collect::<Vec<_>>(), [&1, &2, &3, &4]);
    for steps in parts.values() {
        assert_eq!(steps.iter().filter(|step| step.kind == StepKind::Guide).count(), 1);
    }
}

#[test]
fn thoughts_made_under_the_principles_can_be_exported() {
    let place = place();
    let arguments =
        "run in.jsonl --method contrast -n 100 --out r --reasoning on --reasoning-budget 30";
    let mut command = place.small(arguments);
    command.env("AMEND_MODEL", tiny_model_path("thinks"));
    let ran = place.run(&mut command);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let exported = place.run(&mut place.amend("export r --policy keep --reasoning field"));
    let rows = rows(&exported);
    assert!(!rows.is_empty(), "{}", exported.err);
    let with_thoughts = rows
        .iter()
        .filter(|row| {
            let thought = |side: &str| row[side][0]["reasoning_content"].as_str();
            match (thought("chosen"), thought("rejected")) {
                (Some(chosen), Some(rejected)) => has_thoughts(chosen) && has_thoughts(rejected),
                (None, None) => false,
                one => panic!("a thought on one side: {one:?}"),
            }
        })
        .count();
    assert!(with_thoughts >= 1, "{}", exported.out);
}

#[test]
fn a_template_without_the_principles_is_refused() {
    let place = place();
    place.write(
        "prompts/guide.j2",
        "{% call turn(\"user\") %}{{ messages[-1].content }}{% endcall %}",
    );
    let ran = place.run(&mut place.small("run in.jsonl --method contrast --out r"));
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("guide.j2 ignores `principles`"), "{}", ran.err);
    assert!(!place.path("r").exists());
    let ran = place.run(&mut place.small("run in.jsonl --method contrast --rounds 2 --out r"));
    assert!(ran.err.contains("--rounds has no effect"), "{}", ran.err);
    let ran = place.run(&mut place.small("run in.jsonl --out r"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn the_method_both_needs_rounds() {
    let place = place();
    place.write(
        "no-rounds.toml",
        std::fs::read_to_string(place.path("small.toml"))
            .unwrap()
            .replace("rounds = 1", "rounds = 0\nmethod = \"both\""),
    );
    let checked = place.run(&mut place.amend("check no-rounds.toml"));
    assert_eq!(checked.code, Some(1), "{}", checked.err);
    let contrast = std::fs::read_to_string(place.path("no-rounds.toml")).unwrap();
    place.write("contrast.toml", contrast.replace("both", "contrast"));
    let checked = place.run(&mut place.amend("check contrast.toml"));
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    let both = place.run(&mut place.small("run in.jsonl -c contrast.toml --method both --out r"));
    assert_eq!(both.code, Some(2), "{}", both.err);
    assert!(both.err.contains("--rounds 1"), "{}", both.err);
}
