//! Series with and without planted changes.

use super::permutation::{Contrast, PairedValues, changes};
use super::*;
use crate::evaluation::EvaluatedItem;
use amend_core::constitution::Dimension;
use amend_core::judge::RubricScore;
use amend_data::eval_set as set;
use amend_data::store::manifest::InputSummary;
use amend_data::testing;

/// An evaluation of a set with 20 items, `change` of them different.
fn manifest(items: usize, change: usize) -> Manifest {
    let mut text = "[set]\nname = \"planted\"\nversion = \"1\"\n".to_owned();
    for item in 0..items {
        let word = if item < change { "Shout" } else { "Say" };
        let kind = if item % 2 == 0 { "normal" } else { "privacy" };
        text += &format!(
            "[[item]]\nid = \"i{item:02}\"\nkind = \"{kind}\"\ncategory = \"talk\"\n\
             prompt = \"{word} {item}.\"\ngood = \"Does.\"\nbad = \"Doesn't.\"\n\
             expect = \"answer\"\n"
        );
    }
    let set = set::parse("planted.toml", &text).unwrap().set;
    let mut input = InputSummary::new(Vec::new(), &set.items(None));
    input.set = Some(set);
    let mut manifest = Manifest { command: "eval".to_owned(), input, ..testing::manifest() };
    manifest.constitution.value.dimensions =
        vec![Dimension { id: "warmth".to_owned(), question: String::new(), scale: [1, 5] }];
    manifest
}

/// Noise with mean 0 and standard deviation 1: the sum of 12 uniform numbers.
fn noise(stream: Stream) -> f64 {
    (0..12).map(|at| stream.uniform(at)).sum::<f64>() - 6.0
}

/// The results of a run in which `warmth` has the mean `shift` more than 3, and items fail
/// the form with probability `refuses`. Every item has a level of its own.
fn results(manifest: &Manifest, seed: u64, shift: f64, refuses: f64) -> Results {
    let stream = Stream::new(seed).child("run");
    let set = manifest.input.set.as_ref().unwrap();
    let answer = |probe: &amend_data::eval_set::Probe| {
        let own = stream.child(&probe.id);
        let level = noise(Stream::new(0).child(&probe.id));
        let value = 3.0 + level + shift + 0.3 * noise(own);
        EvaluatedItem {
            key: probe.id.clone(),
            item: probe.id.clone(),
            variant: None,
            kind: probe.kind,
            category: probe.category.clone(),
            response: Some(format!("{}", own.bits(0))),
            failure: None,
            scores: [("warmth".to_owned(), RubricScore { value, mass: 1.0 })].into(),
            injected: Default::default(),
            checks: Vec::new(),
            followed: None,
            expected: Some(own.uniform(99) >= refuses),
        }
    };
    let answers: Vec<EvaluatedItem> = set.probes.iter().map(answer).collect();
    Results {
        format: 1,
        set: set.name.clone(),
        set_version: set.version.clone(),
        constitution: "c".to_owned(),
        answered: answers.len(),
        failed: 0,
        mass_floor: 0.5,
        unsure: 0,
        figures: Vec::new(),
        variants: None,
        thresholds: Vec::new(),
        answers,
    }
}

fn input(manifest: &Manifest, seed: u64, shift: f64) -> TrendInput<'_> {
    TrendInput {
        name: format!("run{seed}"),
        manifest,
        results: results(manifest, seed, shift, 0.1),
    }
}

/// The trend of runs with these shifts.
fn trend(manifest: &Manifest, shifts: &[f64]) -> Trend {
    let runs: Vec<_> =
        shifts.iter().zip(1..).map(|(&shift, seed)| input(manifest, seed, shift)).collect();
    Trend::new(&runs, &TrendOptions::default()).unwrap()
}

fn measure<'a>(trend: &'a Trend, name: &str) -> &'a MeasureTrend {
    trend.measures.iter().find(|measure| measure.measure == name).unwrap()
}

#[test]
fn a_measure_that_the_latest_run_lacks_is_a_finding() {
    let manifest = manifest(20, 0);
    let mut runs: Vec<_> = (1..=3).map(|seed| input(&manifest, seed, 0.0)).collect();
    // A judge that gives no usable score.
    for answer in &mut runs[2].results.answers {
        answer.scores.insert("warmth".to_owned(), RubricScore { value: 3.0, mass: 0.1 });
    }
    let trend = Trend::new(&runs, &TrendOptions::default()).unwrap();
    assert_eq!((trend.missing, trend.findings.len()), (vec!["warmth".to_owned()], 0));
    let whole = Trend::new(&runs[..2], &TrendOptions::default()).unwrap();
    assert_eq!(whole.finding_count(), whole.findings.len());
}

#[test]
fn a_shift_is_found_and_nothing_else() {
    let manifest = manifest(20, 0);
    let trend = trend(&manifest, &[0.0, 0.0, 0.0, -0.5]);
    let [finding] = &trend.findings[..] else { panic!("{:?}", trend.findings) };
    assert_eq!((finding.kind, &*finding.measure), (TrendFindingKind::Shift, "warmth"));
    assert_eq!(finding.is_worse, Some(true));
    assert_eq!(finding.change.earlier, [0, 1, 2]);
    assert!((finding.change.change + 0.5).abs() < 0.2, "{finding:?}");
    let warmth = measure(&trend, "warmth");
    assert_eq!(warmth.points.len(), 4);
    // The last point is the compared mean, and outside the band.
    let change = warmth.shift.as_ref().unwrap();
    assert!((warmth.points[3].mean.value - change.latest).abs() < 1e-12);
    assert!(change.latest < change.band()[0], "{change:?}");
    assert!(change.p <= ALPHA && (change.latest - change.before - change.change).abs() < 1e-12);
    assert!(finding.message.starts_with("warmth fell to "), "{}", finding.message);
    assert!(finding.message.ends_with("of the earlier runs, for the worse"), "{}", finding.message);
    assert!(!measure(&trend, "expected").shift.as_ref().unwrap().is_out());
}

#[test]
fn a_slow_drift_is_found_where_no_step_is_one() {
    let manifest = manifest(20, 0);
    let drifting: Vec<f64> = (0..6).map(|step| -0.07 * f64::from(step)).collect();
    let run = |step: usize| input(&manifest, 100 + step as u64, drifting[step]);
    let compare = |runs: &[TrendInput<'_>]| Trend::new(runs, &TrendOptions::default()).unwrap();
    let runs: Vec<_> = (0..drifting.len()).map(run).collect();
    let whole = compare(&runs);
    let found: Vec<_> = whole.findings.iter().map(|finding| &finding.measure).collect();
    assert_eq!(found, ["warmth"]);
    let drift = measure(&whole, "warmth").drift.as_ref().unwrap();
    assert!(drift.is_out() && drift.earlier == [0], "{drift:?}");
    for step in 1..drifting.len() {
        let two = compare(&[run(step - 1), run(step)]);
        assert_eq!(two.findings, [], "step {step}");
        assert_eq!(measure(&two, "warmth").drift, None);
    }
    // A least change between that from the earlier runs and that from the first one leaves
    // the drift.
    let shift = measure(&whole, "warmth").shift.as_ref().unwrap();
    let least = (shift.change.abs() + drift.change.abs()) / 2.0;
    let options = TrendOptions { min_changes: vec![(None, least)], ..TrendOptions::default() };
    let found = Trend::new(&runs, &options).unwrap().findings;
    assert_eq!(found[0].kind, TrendFindingKind::Drift);
    assert!(found[0].message.starts_with("warmth fell from "), "{}", found[0].message);
    assert!(found[0].message.contains(" in run100 to "), "{}", found[0].message);
}

/// The measures of a series that doesn't change: one with levels of items, one that seldom
/// fails, and one of a few items.
fn stable(seed: u64, items: usize, runs: usize) -> Vec<Vec<PairedValues>> {
    let stream = Stream::new(seed).child("stable");
    let values = |of: &dyn Fn(Stream, f64) -> f64, items: usize, name: &str| {
        let answer = |group: usize| {
            let own = stream.child(&format!("{name} {group}"));
            let level = own.uniform(0);
            let value = |run: usize| Some(of(own.child(&run.to_string()), level));
            PairedValues { group, weight: 1.0, means: (0..runs).map(value).collect() }
        };
        (0..items).map(answer).collect()
    };
    let failing = |own: Stream, _: f64| f64::from(u8::from(own.uniform(0) > 0.05));
    vec![
        values(&|own, level| 4.0 * level + noise(own), items, "score"),
        values(&failing, items, "check"),
        values(&failing, 8, "few"),
    ]
}

/// How many of 300 series that do not change have a contrast out of its band.
fn false_alarms(runs: usize, items: usize, with_drift: bool) -> usize {
    let is_alarm = |seed: u64| {
        let mut contrasts = Vec::new();
        for values in stable(seed, items, runs) {
            let all: Vec<usize> = (0..runs - 1).collect();
            contrasts.extend(Contrast::new(&values, &all));
            if with_drift {
                contrasts.extend(Contrast::new(&values, &[0]));
            }
        }
        let stream = Stream::new(seed).child("permutations");
        changes(contrasts, items, runs, stream, 399).iter().any(TrendChange::is_out)
    };
    (0..300).filter(|&seed| is_alarm(seed)).count()
}

#[test]
fn a_stable_series_has_few_false_alarms() {
    // Binomial(300, 0.05): at most 27, except in 1 case of 500. With two runs and checks
    // that seldom fail, the test is conservative.
    let alarms = [false_alarms(2, 25, false), false_alarms(4, 25, true), false_alarms(6, 25, true)];
    assert!(alarms.iter().all(|&count| (1..=27).contains(&count)), "{alarms:?}");
}

#[test]
fn permutations_by_hand() {
    // Six items that all fell by 1: of 2^6 sign flips, two are as extreme.
    let fell = |group: usize| PairedValues {
        group,
        weight: 1.0,
        means: vec![Some(2.0 + group as f64), Some(1.0 + group as f64)],
    };
    let values: Vec<PairedValues> = (0..6).map(fell).collect();
    let change = |values: &[PairedValues]| {
        let contrast = Contrast::new(values, &[0]).unwrap();
        changes(vec![contrast], values.len(), 2, Stream::new(1), 1999).remove(0)
    };
    let six = change(&values);
    assert_eq!((six.before, six.latest, six.n, six.groups), (4.5, 3.5, 6, 6));
    assert!((six.change + 1.0).abs() < 1e-12);
    assert!((six.p - 2.0 / 64.0).abs() < 0.01, "{six:?}");
    assert!(six.is_out());
    // Of five items, 2 of 32 are: more than 0.05.
    assert!(!change(&values[..5]).is_out());
    // Variants of one item count once.
    let variants: Vec<PairedValues> =
        values.iter().map(|value| PairedValues { group: 0, ..value.clone() }).collect();
    let one = change(&variants);
    assert_eq!((one.n, one.groups, one.p), (6, 1, 1.0));
    // Runs without any difference have a band without width, and no finding.
    let same: Vec<PairedValues> = (0..9)
        .map(|group| PairedValues { group, weight: 1.0, means: vec![Some(0.1), Some(0.1)] })
        .collect();
    assert_eq!((change(&same).change, change(&same).bound, change(&same).p), (0.0, 0.0, 1.0));
}

#[test]
fn an_answer_counts_in_the_runs_that_have_it() {
    let values = [
        PairedValues { group: 0, weight: 3.0, means: vec![Some(1.0), None, Some(2.0)] },
        PairedValues { group: 1, weight: 1.0, means: vec![Some(0.0), Some(4.0), Some(2.0)] },
        PairedValues { group: 2, weight: 1.0, means: vec![Some(9.0), Some(9.0), None] },
        PairedValues { group: 3, weight: 1.0, means: vec![None, None, Some(9.0)] },
    ];
    let contrast = Contrast::new(&values, &[0, 1]).unwrap();
    let change = changes(vec![contrast], 4, 3, Stream::new(1), 99).remove(0);
    // Weights 3 and 1: (3 · 1 + 1 · 2) / 4, and 2.
    assert_eq!((change.before, change.latest, change.change), (1.25, 2.0, 0.75));
    assert_eq!((change.n, change.groups), (2, 2));
    assert_eq!(Contrast::new(&values[2..], &[0, 1]), None);
}

#[test]
fn changed_items_and_failed_ones_are_left_out() {
    let (old, new) = (manifest(20, 5), manifest(20, 0));
    let mut latest = input(&new, 2, 0.0);
    latest.results.answers[19].scores.clear();
    latest.results.failed = 1;
    let trend = Trend::new(&[input(&old, 1, 0.0), latest], &TrendOptions::default()).unwrap();
    let warmth = measure(&trend, "warmth").shift.as_ref().unwrap();
    assert_eq!(warmth.n, 14);
    assert_eq!(measure(&trend, "warmth").points.iter().map(|p| p.mean.n).max(), Some(14));
    let notes = trend.notes.join("\n");
    assert!(notes.contains("run1: 5 answers left out"), "{notes}");
    assert!(notes.contains("run2: 1 item failed"), "{notes}");
}

#[test]
fn scores_of_another_judge_are_not_compared() {
    let ours = manifest(20, 0);
    let judge = |name: &str| Manifest {
        judge_model: Some(serde_json::json!({ "name": name })),
        ..ours.clone()
    };
    let [a, b] = [judge("a"), judge("b")];
    let runs = [input(&a, 1, 2.0), input(&b, 2, 0.0), input(&b, 3, 0.0)];
    let trend = Trend::new(&runs, &TrendOptions::default()).unwrap();
    let warmth = measure(&trend, "warmth");
    assert_eq!(warmth.shift.as_ref().unwrap().earlier, [1]);
    assert_eq!(warmth.drift, None);
    let compared: Vec<bool> = warmth.points.iter().map(|point| point.is_compared).collect();
    assert_eq!(compared, [false, true, true]);
    assert_eq!(measure(&trend, "expected").shift.as_ref().unwrap().earlier, [0, 1]);
    let note = "run1: warmth not compared, because its judge model is another than that of run3";
    assert_eq!(trend.notes, [note]);
    // Without a judge of its own, the model that answers is the judge.
    let model = Manifest { model: serde_json::json!({ "name": "new" }), ..ours.clone() };
    let runs = [input(&ours, 1, 0.0), input(&model, 2, 0.0)];
    let trend = Trend::new(&runs, &TrendOptions::default()).unwrap();
    assert_eq!(measure(&trend, "warmth").shift, None);
    assert_eq!(trend.runs[1].changed, ["model.name", "model.sha256"]);
    // If nothing else is measured, nothing can be compared.
    let runs = runs.map(|mut run| {
        run.results.answers.iter_mut().for_each(|answer| answer.expected = None);
        run
    });
    let error = Trend::new(&runs, &TrendOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("nothing of run2 can be compared with an earlier run\n"), "{error}");
    assert!(error.contains("its judge model is another"), "{error}");
}

#[test]
fn earlier_runs_with_the_same_answers_count_once() {
    let manifest = manifest(20, 0);
    let same = |name: &str| TrendInput { name: name.to_owned(), ..input(&manifest, 1, 0.0) };
    let runs =
        [same("a"), same("b"), input(&manifest, 3, 0.0), same("d"), input(&manifest, 4, 0.0)];
    let trend = Trend::new(&runs, &TrendOptions::default()).unwrap();
    let warmth = measure(&trend, "warmth");
    assert_eq!(warmth.shift.as_ref().unwrap().earlier, [2, 3]);
    assert_eq!(warmth.drift.as_ref().unwrap().earlier, [0]);
    assert_eq!(warmth.points.len(), 5);
    assert_eq!(trend.notes.len(), 2, "{:?}", trend.notes);
    assert!(trend.notes[0].starts_with("a: most answers are those of d"), "{:?}", trend.notes);
    // The latest run always counts.
    let trend = Trend::new(&[same("a"), same("b")], &TrendOptions::default()).unwrap();
    assert_eq!((trend.findings.len(), trend.notes.len()), (0, 0));
    assert_eq!(measure(&trend, "warmth").shift.as_ref().unwrap().change, 0.0);
}

#[test]
fn options_limit_what_is_a_finding() {
    let manifest = manifest(20, 0);
    let runs: Vec<_> =
        [0.0, 0.0, 0.5].iter().zip(1..).map(|(&s, seed)| input(&manifest, seed, s)).collect();
    let found = |options: TrendOptions| Trend::new(&runs, &options).unwrap().findings.len();
    let least = |name: Option<&str>, least| {
        let min_changes = vec![(name.map(str::to_owned), least)];
        found(TrendOptions { min_changes, ..TrendOptions::default() })
    };
    assert_eq!(found(TrendOptions::default()), 1);
    assert_eq!(found(TrendOptions { only_worse: true, ..TrendOptions::default() }), 0);
    assert_eq!([least(None, 0.2), least(None, 1.0)], [1, 0]);
    assert_eq!([least(Some("expected"), 1.0), least(Some("warmth"), 1.0)], [1, 0]);
    let by_kind = TrendOptions { by_kind: true, ..TrendOptions::default() };
    let trend = Trend::new(&runs, &by_kind).unwrap();
    let names: Vec<String> = trend.measures.iter().map(MeasureTrend::name).collect();
    assert_eq!(names[..3], ["warmth", "warmth of normal items", "warmth of privacy items"]);
    assert_eq!(trend.measures[1].shift.as_ref().unwrap().n, 10);
}

#[test]
fn the_worse_direction_is_that_of_the_threshold() {
    let mut manifest = manifest(2, 0);
    let set = manifest.input.set.as_mut().unwrap();
    let worse = |name: &str, set: &EvalSet| WorseDirection::of_measure(&Measure::named(name), set);
    use WorseDirection::{Higher, Lower};
    for (name, expected) in [
        ("warmth", Some(Lower)),
        ("checks", Some(Lower)),
        ("injection", Some(Higher)),
        ("judge_flip", Some(Higher)),
        ("judge_shift", None),
    ] {
        assert_eq!(worse(name, set), expected, "{name}");
    }
    let text = "[set]\nname = \"s\"\nversion = \"1\"\n[[threshold]]\nmeasure = \"warmth\"\n\
                at_most = 2\n[[item]]\nid = \"i\"\nkind = \"normal\"\ncategory = \"c\"\n\
                prompt = \"p\"\ngood = \"g\"\nbad = \"b\"\nexpect = \"answer\"\n";
    let bounded = set::parse("bounded.toml", text).unwrap().set;
    assert_eq!(worse("warmth", &bounded), Some(Higher));
}

#[test]
fn runs_that_are_no_series_are_refused() {
    let manifest = manifest(20, 0);
    let run = |seed| input(&manifest, seed, 0.0);
    let error = |runs: &[TrendInput<'_>]| {
        Trend::new(runs, &TrendOptions::default()).unwrap_err().to_string()
    };
    assert_eq!(error(&[run(1)]), "a trend needs 2 to 200 runs, not 1");
    let mut unfinished = run(2);
    unfinished.results.answered = 3;
    assert_eq!(error(&[run(1), unfinished]), "run2 is not finished: 3 of 20 items are done");
    let mut other = manifest.clone();
    other.input.set.as_mut().unwrap().name = "other".to_owned();
    let text = error(&[input(&other, 1, 0.0), run(2)]);
    assert_eq!(text, "run1 evaluates the set other, and run2 evaluates planted");
    other.input.set = None;
    let none = TrendInput { manifest: &other, ..run(2) };
    assert_eq!(error(&[run(1), none]), "run2 is no evaluation");
}

#[test]
fn few_items_are_noted() {
    for (items, runs, noted) in [(5, 2, true), (6, 2, false), (2, 3, true), (3, 3, false)] {
        let manifest = manifest(items, 0);
        let trend = trend(&manifest, &vec![0.0; runs]);
        let is_noted = trend.notes.iter().any(|note| note.ends_with("too few for a finding"));
        assert_eq!(is_noted, noted, "{items} items, {runs} runs: {:?}", trend.notes);
    }
}
