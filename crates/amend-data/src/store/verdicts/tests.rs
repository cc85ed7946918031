use std::path::Path;

use super::*;
use crate::pairs::judgement::Rules;
use crate::pairs::{DropReason, Which, pairs, rejudged};
use crate::store::journal::Record;
use crate::store::manifest::SourceRun;
use crate::testing::{item, judged, manifest, step, verdict};
use amend_core::constitution::Policy;
use amend_core::model::Failure;
use amend_core::record::Stop;

/// A constitution with a judge that decides which pairs are exported.
fn judging(policy: Policy) -> Manifest {
    let mut manifest = manifest();
    manifest.constitution.value.judge =
        Judge { enabled: true, policy, mass_floor: 0.0, ..Judge::default() };
    manifest
}

/// Writes a run with these items, each a key and its steps.
fn write(path: &Path, manifest: &Manifest, items: &[(Item, Vec<Step>)]) -> RunDir {
    let mut run = RunDir::create(path, manifest).unwrap();
    for (item, steps) in items {
        for step in steps {
            let step = step.clone();
            run.append(&Record::Step { item: item.key.clone(), step }).unwrap();
        }
        let outcome = Outcome::Done { stop: Stop::Rounds };
        run.append(&Record::End { item: item.clone(), outcome }).unwrap();
    }
    run.dir().clone()
}

/// An answer, its revision, and the run's own verdict for the revision.
fn revised(key: &str) -> (Item, Vec<Step>) {
    let steps = vec![
        step(StepKind::Generate, None, &format!("old {key}")),
        step(StepKind::Revise, Some("kind"), &format!("new {key}")),
        judged([1, 0], None, 2.0),
    ];
    (item(key), steps)
}

/// Writes the verdicts of a judge on comparisons of `run`, each for its first answer.
fn judge(run: &RunDir, folder: &Path, manifest: Manifest, log_odds: &[(Item, f64)]) {
    let mut manifest = Manifest { command: "judge".to_owned(), ..manifest };
    let model = json!({"name": "tiny"});
    manifest.input.run = Some(SourceRun { sha256: run.hash().to_owned(), model });
    let items: Vec<_> = log_odds
        .iter()
        .map(|(item, odds)| {
            let given =
                |text: &Option<String>| step(StepKind::Generate, None, text.as_deref().unwrap());
            let steps =
                vec![given(&item.response), given(&item.response_b), judged([0, 1], None, *odds)];
            (item.clone(), steps)
        })
        .collect();
    write(folder, &manifest, &items);
}

/// The texts chosen in the pairs of a run, or why there is no pair.
fn chosen(run: &RunDir) -> Vec<Result<String, DropReason>> {
    let rules = Rules::from_run(run);
    let mut chosen = Vec::new();
    for trajectory in run.trajectories().unwrap() {
        let trajectory = trajectory.unwrap();
        let made = pairs(&trajectory, Which::Last, &rules);
        chosen.extend(made.into_iter().map(|pair| pair.map(|pair| pair.chosen.text.clone())));
    }
    chosen
}

fn comparisons(run: &RunDir) -> Vec<Item> {
    rejudged::comparisons(run).unwrap().items
}

#[test]
fn other_verdicts_and_their_policy_stand_for_those_of_the_run() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let run = write(&path, &judging(Policy::Drop), &[revised("a"), revised("b")]);
    assert_eq!(chosen(&run), [Ok("new a".to_owned()), Ok("new b".to_owned())]);
    let items = comparisons(&run);
    assert_eq!(items[0].response.as_deref(), Some("new a"));
    assert_eq!(items[0].response_b.as_deref(), Some("old a"));
    let verdicts = [(items[0].clone(), -3.0), (items[1].clone(), 3.0)];
    judge(&run, &folder(&run, "strict"), judging(Policy::Drop), &verdicts);
    judge(&run, &folder(&run, "flips"), judging(Policy::Flip), &verdicts);
    assert_eq!(names(&run).unwrap(), ["flips", "strict"]);
    let strict = run.clone().with_verdicts("strict", None).unwrap();
    assert_eq!(chosen(&strict), [Err(DropReason::NotBetter), Ok("new b".to_owned())]);
    assert_eq!(rejudged::missing(&strict).unwrap(), (2, 0));
    // The hash in exports is still that of the run.
    assert_eq!(strict.hash(), run.hash());
    let flips = run.with_verdicts("flips", None).unwrap();
    assert_eq!(chosen(&flips), [Ok("old a".to_owned()), Ok("new b".to_owned())]);
}

#[test]
fn pairs_without_a_verdict_are_undecided_and_counted() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let run = write(&path, &judging(Policy::Drop), &[revised("a"), revised("b"), revised("c")]);
    let items = comparisons(&run);
    let other_text = Item { response: Some("another answer".to_owned()), ..items[1].clone() };
    judge(
        &run,
        &folder(&run, "some"),
        judging(Policy::Drop),
        &[(items[0].clone(), 3.0), (other_text, 3.0)],
    );
    // A comparison that failed has no verdict.
    let mut writer = RunWriterOf::open(&run, "some");
    writer.fail(&items[2]);
    let some = run.with_verdicts("some", None).unwrap();
    let undecided = Err(DropReason::Undecided);
    assert_eq!(chosen(&some), [Ok("new a".to_owned()), undecided.clone(), undecided]);
    assert_eq!(rejudged::missing(&some).unwrap(), (3, 2));
}

#[test]
fn plain_columns_leave_out_those_about_verdicts_and_the_judge_is_the_reviewer() {
    use crate::export::{self, ColumnSet, ExportFormat, ExportOptions};
    let place = tempfile::tempdir().unwrap();
    let run = write_run(&place.path().join("run"));
    let items = comparisons(&run);
    judge(&run, &folder(&run, "other"), named("strict"), &[(items[0].clone(), 3.0)]);
    let other = run.with_verdicts("other", None).unwrap();
    let row = |columns| -> Value {
        let format = ExportFormat::named("plain-preference").unwrap();
        let mut out = Vec::new();
        let options = ExportOptions { format, columns, ..ExportOptions::pairs() };
        export::write(&other, &options, &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    };
    assert_eq!(row(ColumnSet::All)["verdicts"], "other");
    let plain = row(ColumnSet::Plain);
    let keys: Vec<&String> = plain.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["prompt", "chosen", "rejected", "policy", "reviewer"]);
    assert_eq!(plain["reviewer"], json!({"kind": "model", "name": "strict"}));
}

/// Writes a run with one revised answer.
fn write_run(path: &Path) -> RunDir {
    write(path, &judging(Policy::Drop), &[revised("a")])
}

/// The manifest of a judge model with this name.
fn named(name: &str) -> Manifest {
    Manifest { model: json!({"name": name}), ..judging(Policy::Drop) }
}

#[test]
fn judges_of_a_panel_with_the_same_name_are_numbered() {
    let place = tempfile::tempdir().unwrap();
    let run = write_run(&place.path().join("run"));
    let items = comparisons(&run);
    let panel = folder(&run, "panel");
    create_panel(&panel, 3).unwrap();
    assert_eq!(names(&run).unwrap(), [""; 0], "no judge has begun");
    for (place, name) in judge_folders(&panel, 3).iter().zip(["tiny", "tiny", "large"]) {
        judge(&run, place, named(name), &[(items[0].clone(), 1.0)]);
    }
    assert_eq!(names(&run).unwrap(), ["panel"]);
    let run = run.with_verdicts("panel", None).unwrap();
    assert_eq!(run.verdicts().unwrap().judge_names(), ["tiny", "tiny (2)", "large"]);
}

#[test]
fn a_panel_that_has_not_begun_may_get_fewer_judges() {
    let place = tempfile::tempdir().unwrap();
    create_panel(place.path(), 3).unwrap();
    create_panel(place.path(), 2).unwrap();
    assert!(is_panel(place.path()));
}

#[test]
fn a_comparison_keeps_the_metadata_of_its_item() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let (mut row, steps) = revised("a");
    row.metadata.insert("item".to_owned(), json!("chair"));
    row.metadata.insert("answers".to_owned(), json!(3));
    let run = write(&path, &judging(Policy::Drop), &[(row, steps)]);
    let items = comparisons(&run);
    assert_eq!(
        (&items[0].metadata["item"], &items[0].metadata["answers"]),
        (&json!("chair"), &json!(3))
    );
    judge(&run, &folder(&run, "other"), judging(Policy::Drop), &[(items[0].clone(), -3.0)]);
    let other = run.with_verdicts("other", None).unwrap();
    assert_eq!(chosen(&other), [Err(DropReason::NotBetter)]);
}

/// Writes to the verdicts of a run after their start.
struct RunWriterOf(crate::store::run_dir::RunWriter);

impl RunWriterOf {
    fn open(run: &RunDir, name: &str) -> Self {
        let path = folder(run, name);
        let manifest = RunDir::open(&path).unwrap().manifest().clone();
        Self(RunDir::resume(&path, &manifest).unwrap().0)
    }

    fn fail(&mut self, item: &Item) {
        let outcome = Outcome::Failed { failure: Failure::NotFinite };
        self.0.append(&Record::End { item: item.clone(), outcome }).unwrap();
    }
}

#[test]
fn the_rounds_of_several_candidates_begin_where_they_began() {
    let place = tempfile::tempdir().unwrap();
    let steps = vec![
        step(StepKind::Generate, None, "plain"),
        step(StepKind::Generate, None, "better"),
        judged([0, 1], None, -2.0),
        step(StepKind::Revise, Some("kind"), "best"),
        judged([2, 1], None, 2.0),
    ];
    let path = place.path().join("run");
    let run = write(&path, &judging(Policy::Drop), &[(item("a"), steps)]);
    let items = comparisons(&run);
    let answers: Vec<&Value> =
        items.iter().map(|item| &item.metadata[COMPARED]["answers"]).collect();
    assert_eq!(answers, [&json!([0, 1]), &json!([2, 1])]);
    // The other judge prefers the first candidate to the second.
    let verdicts = [(items[0].clone(), 2.0), (items[1].clone(), 2.0)];
    judge(&run, &folder(&run, "other"), judging(Policy::Drop), &verdicts);
    let other = run.with_verdicts("other", None).unwrap();
    let rules = Rules::from_run(&other);
    let trajectory = other.trajectories().unwrap().next().unwrap().unwrap();
    let texts: Vec<_> = pairs(&trajectory, Which::Last, &rules)
        .into_iter()
        .map(|pair| pair.map(|pair| (pair.chosen.text.clone(), pair.rejected.text.clone())))
        .collect();
    let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
    assert_eq!(texts, [pair("plain", "better"), pair("best", "better")]);
}

#[test]
fn a_panel_averages_its_judges_and_drops_what_they_disagree_on() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let run = write(&path, &judging(Policy::Drop), &[revised("a"), revised("b")]);
    let items = comparisons(&run);
    let panel = folder(&run, "panel");
    create_panel(&panel, 2).unwrap();
    let [one, two] = [0, 1].map(|at| judge_folders(&panel, 2)[at].clone());
    judge(&run, &one, judging(Policy::Drop), &[(items[0].clone(), 4.0), (items[1].clone(), 1.0)]);
    // The second judge has not begun.
    let half = run.clone().with_verdicts("panel", None).unwrap();
    assert_eq!(rejudged::missing(&half).unwrap(), (2, 2));
    // It is a loud one, which its calibration corrects: −12 becomes −3.
    let mut loud = judging(Policy::Drop);
    loud.constitution.value.judge.calibration.temperature = 4.0;
    judge(&run, &two, loud, &[(items[0].clone(), -12.0), (items[1].clone(), 4.0)]);
    let both = run.clone().with_verdicts("panel", None).unwrap();
    assert_eq!(rejudged::missing(&both).unwrap(), (2, 0));
    assert_eq!(chosen(&both), [Ok("new a".to_owned()), Ok("new b".to_owned())]);
    let rules = Rules::from_run(&both);
    let trajectory = both.trajectories().unwrap().next().unwrap().unwrap();
    let judgement = rules.on(&trajectory.steps, [1, 0]).unwrap();
    assert!((judgement.decisive.margin - 0.5).abs() < 1e-9, "{judgement:?}");
    // σ(4) = 0.982 and σ(−3) = 0.047
    assert!((judgement.disagreement.unwrap() - 0.467).abs() < 1e-3, "{judgement:?}");
    let limited = run.with_verdicts("panel", Some(0.3)).unwrap();
    assert_eq!(chosen(&limited), [Err(DropReason::Disagreement), Ok("new b".to_owned())]);
}

#[test]
fn a_panel_may_get_further_judges_and_loses_none() {
    let place = tempfile::tempdir().unwrap();
    let panel = place.path().join("panel");
    for judges in [2, 2, 3] {
        create_panel(&panel, judges).unwrap();
    }
    write(&panel.join("judge-1"), &judging(Policy::Drop), &[]);
    let error = create_panel(&panel, 2).unwrap_err().to_string();
    assert!(error.contains("has 3 judges, but 2 are given"), "{error}");
}

#[test]
fn verdicts_must_exist_and_be_about_the_run() {
    let place = tempfile::tempdir().unwrap();
    let run = write(&place.path().join("run"), &judging(Policy::Drop), &[revised("a")]);
    let mut seeded = judging(Policy::Drop);
    seeded.seed = 8;
    let other = write(&place.path().join("other"), &seeded, &[revised("a")]);
    let message = |name: &str| {
        let error = run.clone().with_verdicts(name, None).unwrap_err().to_string();
        error.replace(&place.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(message("x"), @r#"the run in DIR/run has no verdicts named "x""#);
    judge(&run, &folder(&run, "one"), judging(Policy::Drop), &[]);
    judge(&other, &folder(&run, "two"), judging(Policy::Drop), &[]);
    insta::assert_snapshot!(message("../x"), @r#"the run in DIR/run has no verdicts named "../x": it has one, two"#);
    insta::assert_snapshot!(message("two"), @"the verdicts in DIR/run/verdicts/two are about another run: judge this one under another name");
}

#[test]
fn names_are_names_of_folders() {
    for name in ["qwen3-8b", "a", "A_1.b+c"] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    for name in ["", ".", "..", ".x", "a/b", "a b", "é", &"x".repeat(65)] {
        assert!(check_name(name).is_err(), "{name}");
    }
}

#[test]
fn a_panel_has_a_verdict_only_where_every_judge_has_one() {
    let settings = Judge::default().standing();
    let one = [verdict(None, [0, 1], 1.0, 0.9), verdict(Some("kind"), [0, 1], 1.0, 0.9)];
    let two = [verdict(Some("kind"), [0, 1], 3.0, 0.9)];
    let steps = merge(&[
        JudgeSteps { judge: "one", settings: &settings, steps: &one },
        JudgeSteps { judge: "two", settings: &settings, steps: &two },
    ]);
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].principle.as_deref(), Some("kind"));
    assert!(
        (steps[0].verdict.as_ref().unwrap().odds(settings.samples).log_odds - 2.0).abs() < 1e-9
    );
}
