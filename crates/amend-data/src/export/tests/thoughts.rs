//! Exports of runs whose model thinks.

use super::*;
use crate::lint::{LintOptions, lint};
use crate::store::reviews::{Choice, Review, ReviewsWriter};
use crate::testing::review;

/// A step with a thought.
fn thinking(step: Step, thought: &str) -> Step {
    let usage = Usage { reasoning: 2, ..step.usage };
    Step { reasoning: Some(thought.to_owned()), usage, ..step }
}

/// The sample manifest with a model that thinks unless a switch is off.
fn thinking_manifest(thinks_by_default: bool) -> Manifest {
    let mut manifest = full_manifest();
    manifest.constitution.value.judge = judge();
    manifest.model["reasoning"] = json!({
        "starts": ["<think>"], "ends": ["</think>"], "answer_starts": [],
        "open": "<think>\n", "close": "\n</think>\n\n", "empty": "<think>\n\n</think>\n\n",
        "switch": {"name": "enable_thinking", "on": true, "off": false},
        "thinks_by_default": thinks_by_default,
        "key": "reasoning_content", "has_effort": false,
    });
    manifest
}

/// A run with two compared candidates and a revision of the better one (`a`), an answer
/// that was not revised (`b`), and candidates of which one has no thought (`c`).
fn thinking_run(folder: &Path, manifest: &Manifest) -> RunDir {
    use StepKind::{Critique, Generate, Revise};
    let mut run = RunDir::create(folder, manifest).unwrap();
    let generated = |text, thought| thinking(step(Generate, None, text), thought);
    let steps = [
        generated("Go.", "Be curt. "),
        generated("Hello.", "\nGreet.\n"),
        judged([1, 0], None, 2.0),
        thinking(step(Critique, Some("kind"), "It is curt."), "What is wrong?"),
        thinking(step(Revise, Some("kind"), "Welcome."), "The critique is right."),
    ];
    write_item(&mut run, &item("a"), &steps);
    write_item(&mut run, &item("b"), &[generated("Yes.", "Agree.")]);
    let steps =
        [step(Generate, None, "No."), generated("Now.", "Soon?"), judged([1, 0], None, 2.0)];
    write_item(&mut run, &item("c"), &steps);
    run.dir().clone()
}

fn with(name: &str, reasoning: ReasoningPolicy) -> ExportOptions<'static> {
    ExportOptions { reasoning, ..export(name) }
}

/// The values under a key of every row.
fn column(run: &RunDir, export: &ExportOptions<'_>, key: &str) -> Vec<Value> {
    let rows = lines(run, export);
    let value = |line| serde_json::from_str::<Value>(line).unwrap()[key].take();
    rows.lines().map(value).collect()
}

#[test]
fn answers_are_exported_without_thoughts_and_the_template_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = thinking_run(folder.path(), &thinking_manifest(true));
    for format in FORMATS {
        let text = lines(&run, &export(format.name));
        let found = ["Be curt.", "Greet.", "Agree.", "What is wrong", "The critique is right"]
            .map(|thought| text.contains(thought));
        assert_eq!(found, [format.name == "trajectories"; 5], "{}", format.name);
        let rows = column(&run, &export(format.name), "chat_template_kwargs");
        let is_told = ["trl", "kto", "sft", "sft-steps", "reward"].contains(&format.name);
        let expected = if is_told { json!({"enable_thinking": false}) } else { Value::Null };
        assert!(!rows.is_empty() && rows.iter().all(|row| *row == expected), "{}", format.name);
    }
    // Nothing switches the thoughts of this model on.
    let folder = tempfile::tempdir().unwrap();
    let run = thinking_run(folder.path(), &thinking_manifest(false));
    assert!(!lines(&run, &export("trl")).contains("chat_template_kwargs"));
}

#[test]
fn thoughts_are_written_where_both_sides_are_first_answers() {
    let folder = tempfile::tempdir().unwrap();
    let run = thinking_run(folder.path(), &thinking_manifest(true));
    let turn = |content: &str, thought: Option<&str>| json!([{"role": "assistant", "content": content, "reasoning_content": thought}]);
    let field = with("trl", ReasoningPolicy::Field);
    assert_eq!(
        column(&run, &field, "chosen"),
        [turn("Hello.", Some("Greet.")), turn("Welcome.", None), turn("Now.", None)]
    );
    assert_eq!(
        column(&run, &field, "rejected"),
        [turn("Go.", Some("Be curt.")), turn("Hello.", None), turn("No.", None)]
    );
    assert_eq!(
        column(&run, &field, "chat_template_kwargs"),
        [true, false, false].map(|on| json!({"enable_thinking": on}))
    );
    let inline = with("llamafactory-alpaca", ReasoningPolicy::Field);
    assert_eq!(
        column(&run, &inline, "chosen"),
        ["<think>\nGreet.\n</think>\n\nHello.", "Welcome.", "Now."]
    );
    assert_eq!(
        column(&run, &with("hh-rlhf", ReasoningPolicy::Inline), "rejected")[0],
        "\n\nHuman: Why a?\nReally \"é\"?\n\nAssistant: <think>\nBe curt.\n</think>\n\nGo."
    );
    for export in [field, inline] {
        let counts = write(&run, &export, io::sink()).unwrap();
        assert_eq!((counts.with_thoughts, counts.without_thoughts), (1, 2));
    }
}

#[test]
fn single_answers_have_their_thoughts_and_labels_all_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let run = thinking_run(folder.path(), &thinking_manifest(true));
    let thoughts = |name| {
        let rows = column(&run, &with(name, ReasoningPolicy::Field), "completion");
        rows.iter().map(|row| row[0]["reasoning_content"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(thoughts("sft"), [Value::Null, json!("Agree."), json!("Soon?")]);
    // The two candidates of `a`, its critique and its revision; `b`; the candidates of `c`.
    let steps = json!(["Be curt.", "Greet.", null, null, "Agree.", null, "Soon?"]);
    assert_eq!(json!(thoughts("sft-steps")), steps);
    // The revision of `a` is chosen and has none, so neither has the rejected candidate.
    assert_eq!(json!(thoughts("kto")), json!([null, null, null, null]));
}

#[test]
fn lint_never_finds_one_sided_thoughts_in_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let run = thinking_run(&folder.path().join("run"), &thinking_manifest(true));
    for format in FORMATS.iter().filter(|format| format.trains()) {
        for reasoning in ReasoningPolicy::ALL {
            let path = folder.path().join("rows.jsonl");
            let export = with(format.name, reasoning);
            match write_file(&run, &export, &path) {
                Err(ExportError::Reasoning { .. }) => continue,
                result => result.unwrap(),
            };
            let report = lint(&path, &LintOptions::default()).unwrap();
            let found: Vec<&str> = report
                .findings
                .iter()
                .map(|finding| finding.rule.name)
                .filter(|name| name.starts_with("thoughts"))
                .collect();
            let in_text = reasoning == ReasoningPolicy::Inline
                || (reasoning == ReasoningPolicy::Field
                    && format.has_thoughts_in_texts(ReasoningPolicy::Field));
            let has_any = in_text && format.name != "llamafactory-kto" && format.name != "kto";
            let expected: &[&str] = if has_any { &["thoughts-left"] } else { &[] };
            assert_eq!(found, expected, "{} {reasoning}", format.name);
        }
    }
}

#[test]
fn formats_without_a_place_for_thoughts_name_those_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = thinking_run(folder.path(), &thinking_manifest(true));
    let error = write(&run, &with("trl-standard", ReasoningPolicy::Field), io::sink());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the format trl-standard has no place for thoughts (--reasoning field): use one of trl, \
         kto, sft, sft-steps, reward, llamafactory-alpaca, llamafactory-sharegpt, \
         llamafactory-kto, openrlhf, ms-swift"
    );
    let refused = with("constitutional-ai", ReasoningPolicy::Inline);
    assert!(matches!(write(&run, &refused, io::sink()), Err(ExportError::Reasoning { .. })));
}

#[test]
fn a_thought_left_in_an_answer_or_before_it_is_never_exported() {
    use StepKind::{Critique, Generate, Revise};
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(folder.path(), &full_manifest()).unwrap();
    let answer = step(Generate, None, "<think>\nTea?\n</think>\n\nTea.");
    write_item(&mut run, &item("a"), &[answer, step(Revise, Some("kind"), "Have tea.")]);
    let critique = step(Critique, Some("kind"), "It is curt?\n</think>\n\nIt is curt.");
    let steps = [step(Generate, None, "No."), critique, step(Revise, Some("kind"), "No, sorry.")];
    write_item(&mut run, &item("b"), &steps);
    let run = run.dir().clone();
    for format in FORMATS.iter().filter(|format| format.trains()) {
        // Fails where the format has no other row.
        let mut text = Vec::new();
        let _ = write(&run, &export(format.name), &mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains("think>"), "{}: {text}", format.name);
    }
    let counted = |name| count(&run, &export(name)).unwrap();
    let unchecked = Counts { unchecked: 1, ..counts(1, &[(DropReason::Thought, 1)]) };
    assert_eq!(counted("trl"), unchecked);
    // The revision of `a` continues its answer, and that of `b` its critique.
    assert_eq!(counted("sft-steps"), counts(1, &[(DropReason::Thought, 4)]));
    assert_eq!(counted("constitutional-ai"), counts(0, &[(DropReason::Thought, 2)]));
}

#[test]
fn an_edited_answer_has_no_thought() {
    let folder = tempfile::tempdir().unwrap();
    let run = thinking_run(folder.path(), &thinking_manifest(true));
    let edit = |key: &str, left, text: &str| Review {
        left,
        right: left - 1,
        edited: Some(text.to_owned()),
        ..review(key, "ada", Choice::Left)
    };
    let mut writer = ReviewsWriter::open(&run).unwrap();
    writer.add(edit("a", 2, "<think>Hm")).unwrap();
    writer.add(edit("c", 1, "Right now.")).unwrap();
    drop(writer);
    let export = with("sft", ReasoningPolicy::Field);
    assert_eq!(
        column(&run, &export, "completion")[1],
        json!([{"role": "assistant", "content": "Right now.", "reasoning_content": null}])
    );
    assert_eq!(write(&run, &export, io::sink()).unwrap().dropped[&DropReason::Thought], 1);
}

#[test]
fn thoughts_survive_in_parquet_under_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let run = thinking_run(&folder.path().join("run"), &thinking_manifest(true));
    for name in ["trl", "kto", "sft", "sft-steps", "reward", "openrlhf", "trajectories"] {
        let reasoning =
            if name == "trajectories" { ReasoningPolicy::Drop } else { ReasoningPolicy::Field };
        let export = ExportOptions { file_format: FileFormat::Parquet, ..with(name, reasoning) };
        let path = folder.path().join("rows.parquet");
        write_file(&run, &export, &path).unwrap();
        let rows = json!(parquet_rows(&path)).to_string();
        let has_any = rows.contains("Greet.") || rows.contains("Agree.");
        assert_eq!(has_any, name != "kto", "{name}");
        assert!(rows.contains("reasoning_content"), "{name}");
    }
}

#[test]
fn the_card_and_the_marks_follow_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = thinking_manifest(true);
    manifest.model["reasoning"]["key"] = json!("thinking");
    manifest.model["reasoning"]["open"] = json!("[THINK]");
    manifest.model["reasoning"]["close"] = json!("[/THINK]");
    let run = thinking_run(&folder.path().join("run"), &manifest);
    let inline = with("plain-sft", ReasoningPolicy::Inline);
    assert_eq!(column(&run, &inline, "response")[1], "[THINK]Agree.[/THINK]Yes.");
    let card = |name: &str, reasoning| {
        let layout =
            Folder { splits: Splits::train(), seed: 0, licence: Some("cc0-1.0".to_owned()) };
        let path = folder.path().join(format!("{name}-{reasoning}"));
        write_folder(&run, &with(name, reasoning), &layout, &path).unwrap();
        fs::read_to_string(path.join("README.md")).unwrap()
    };
    let field = card("trl", ReasoningPolicy::Field);
    for expected in [
        "| thoughts | of answers to the prompt, under the key `thinking` of their turns |",
        "| with the thoughts of the answers | 1 |",
        "| without them, because an answer is a revision or has no thought | 2 |",
    ] {
        assert!(field.contains(expected), "{expected}\n{field}");
    }
    let dropped = card("trl", ReasoningPolicy::Drop);
    assert!(dropped.contains("`chat_template_kwargs` switches them off"), "{dropped}");
    assert!(!dropped.contains("| thoughts |"), "{dropped}");
    let inline = card("trl", ReasoningPolicy::Inline);
    assert!(inline.contains("| thoughts | of answers to the prompt, in their texts |"), "{inline}");
}
