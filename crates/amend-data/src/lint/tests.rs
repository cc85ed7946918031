//! Lints runs as they are exported.

use std::path::Path;

use super::{Background, LintFilter, LintOptions, TrainerSettings, lint};
use crate::export::{self, ExportOptions};
use crate::store::journal::Record;
use crate::store::reviews::{Choice, ReviewsWriter};
use crate::store::run_dir::RunDir;
use crate::testing::{item, judged, manifest, review, step};
use amend_core::constitution::{Judge, Policy};
use amend_core::record::{Outcome, StepKind, Stop};

/// Writes a run of two items whose revision the judge finds worse.
fn worse(path: &Path, policy: Policy) -> RunDir {
    let mut described = manifest();
    // The verdicts of tests have little mass.
    described.constitution.value.judge = Judge { mass_floor: 0.0, policy, ..Judge::default() };
    let mut writer = RunDir::create(path, &described).unwrap();
    for key in ["a", "b"] {
        let steps = [
            step(StepKind::Generate, None, "No."),
            step(StepKind::Revise, Some("kind"), "No, sorry."),
            judged([1, 0], None, -2.0),
        ];
        for step in steps {
            writer.append(&Record::Step { item: key.to_owned(), step }).unwrap();
        }
        let outcome = Outcome::Done { stop: Stop::Rounds };
        writer.append(&Record::End { item: item(key), outcome }).unwrap();
    }
    writer.dir().clone()
}

#[test]
fn a_run_without_pairs_is_an_error_with_the_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let run = worse(&folder.path().join("run"), Policy::Drop);
    let error = lint(run.path(), &LintOptions::default()).unwrap_err().to_string();
    let expected = "run has no pairs to check: an export leaves out all 2 (2: the judge prefers \
                    the other side)";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn a_review_against_the_judge_is_not_label_noise() {
    let folder = tempfile::tempdir().unwrap();
    let run = worse(&folder.path().join("run"), Policy::KeepWithLabel);

    // The number of rows that lint reports, and that an export leaves out.
    let noise = || {
        let report = lint(run.path(), &LintOptions::default()).unwrap();
        let finding = report.findings.iter().find(|finding| finding.rule.name == "label-noise");
        let rules = ["label-noise".to_owned()];
        let filter =
            LintFilter::new(&rules, TrainerSettings::default(), Background::shipped()).unwrap();
        let export = ExportOptions { filter: Some(&filter), ..ExportOptions::pairs() };
        let counts = export::count(&run, &export).unwrap();
        (finding.map_or(0, |finding| finding.count), counts.filtered.values().sum::<u64>())
    };
    assert_eq!(noise(), (2, 2));
    // The revision is on the left, and the judge prefers the other answer.
    ReviewsWriter::open(&run).unwrap().add(review("a", "ada", Choice::Left)).unwrap();
    assert_eq!(noise(), (1, 1));
}

/// The report on a file, without the name of its folder.
fn linted(text: &str, options: &LintOptions) -> Result<super::report::LintReport, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    std::fs::write(&path, text).unwrap();
    let named = |text: &str| text.replace(&format!("{}/", folder.path().display()), "");
    let mut report = lint(&path, options).map_err(|error| named(&error.to_string()))?;
    report.input = report.input.iter().map(|line| named(line)).collect();
    Ok(report)
}

const ROWS: &str = "{\"goal\": \"Why?\", \"chosen\": \"So.\", \"rejected\": \"No.\", \"label\": null}\n\
                    7\n\
                    {\"goal\": \"How?\", \"chosen\": \"Well.\", \"rejected\": \"Badly.\"}\n";

#[test]
fn rows_are_read_as_other_commands_read_them() {
    let map = vec![("prompt".to_owned(), "goal".to_owned())];
    let refused = linted(ROWS, &LintOptions { map: map.clone(), ..LintOptions::default() });
    assert!(refused.unwrap_err().starts_with("in.jsonl:2: a row must be"));
    let options = LintOptions { map, skip_bad: true, ..LintOptions::default() };
    let report = linted(ROWS, &options).unwrap();
    assert_eq!(report.rows, 2);
    assert_eq!(
        report.input,
        [
            "in.jsonl: JSON Lines, 3 rows, prompt column: goal, chosen column: chosen, rejected \
             column: rejected",
            "1 row skipped",
            "  1: a row must be a JSON string or object, not a number",
        ]
    );
    let map = vec![("label".to_owned(), "better".to_owned())];
    let missing = linted(ROWS, &LintOptions { map, skip_bad: true, ..LintOptions::default() });
    assert!(missing.unwrap_err().contains("--map names the column \"better\""));
}

#[test]
fn rows_of_different_shapes_are_a_finding() {
    let pair = "{\"prompt\": \"Why?\", \"chosen\": \"So.\", \"rejected\": \"No.\"}\n";
    let answer = "{\"prompt\": \"How?\", \"completion\": \"Well.\"}\n";
    let mixed = |text: &str| {
        let report = linted(text, &LintOptions::default()).unwrap();
        let finding = report.findings.into_iter().find(|it| it.rule.name == "mixed-shapes");
        finding.map(|it| (it.count, it.examples[0].place.number()))
    };
    let other = pair.replace("Why?", "Who?");
    assert_eq!(mixed(&format!("{pair}{answer}{other}")), Some((1, 2)));
    assert_eq!(mixed(&format!("{pair}{other}")), None);
    let prompts = linted("{\"prompt\": \"Why?\"}\n", &LintOptions::default()).unwrap();
    assert!(prompts.notes.iter().any(|note| note.starts_with("the rows have no answers")));
}
