//! Tests from text to constitution. Each error has a file in `testdata/bad/` and its
//! expected rendering next to it; `UPDATE_EXPECT=1` rewrites the renderings.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::constitution::Thresholds;
use crate::document::diagnostic::{Diagnostic, Diagnostics};
use crate::model::Sampling;

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn check_file(path: &Path, actual: &str, advice: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, actual).unwrap();
    }
    let expect = fs::read_to_string(path).unwrap_or_default();
    assert!(actual == expect, "{} differs; {advice}. Now:\n{actual}", path.display());
}

/// Renders the errors of loading `path`, with paths relative to its folder.
fn errors(path: &Path) -> String {
    let folder = format!("{}{}", path.parent().unwrap().display(), std::path::MAIN_SEPARATOR);
    match load(path.to_str().unwrap()) {
        Ok(loaded) => panic!("{} has no error: {loaded:?}", path.display()),
        Err(ConstitutionError::Wrong(diagnostics)) => {
            let shorten = |diagnostic: Diagnostic| Diagnostic {
                file: diagnostic.file.replace(&folder, ""),
                message: diagnostic.message.replace(&folder, ""),
                ..diagnostic
            };
            Diagnostics(diagnostics.0.into_iter().map(shorten).collect()).render(false)
        }
        Err(error) => format!("{error}\n").replace(&folder, ""),
    }
}

#[test]
fn every_bad_file_renders_its_errors() {
    let mut cases: Vec<PathBuf> = fs::read_dir(in_crate("src/constitution/testdata/bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 35, "{} cases", cases.len());
    for case in cases {
        let advice = "UPDATE_EXPECT=1 rewrites it";
        check_file(&case.with_extension("txt"), &errors(&case), advice);
    }
}

#[test]
fn the_printed_schema_is_current() {
    let text = format!("{:#}\n", schema());
    let advice = "regenerate it: amend schema > constitutions/schema.json";
    check_file(&in_crate("../../constitutions/schema.json"), &text, advice);
}

#[test]
fn shipped_constitutions_load() {
    for (name, text) in SHIPPED {
        let loaded = load(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(loaded.files[0].name, format!("shipped:{name}"));
        assert_eq!(loaded.files[0].text, *text);
        assert_eq!(load(&format!("{name}.toml")).unwrap(), loaded);
        assert!(text.starts_with("#:schema schema.json\n"), "{name}");
    }
}

#[test]
fn shipped_constitutions_round_trip_through_json() {
    for (name, _) in SHIPPED {
        let constitution = load(name).unwrap().constitution;
        let text = serde_json::to_string(&constitution).unwrap();
        let read: Constitution = serde_json::from_str(&text).unwrap();
        assert_eq!(read, constitution, "{name}");
        let value = constitution.to_json();
        assert_eq!(value.to_string(), text, "{name}");
        assert_eq!(serde_json::from_value::<Constitution>(value).unwrap(), constitution, "{name}");
    }
}

#[test]
fn every_key_round_trips_through_json() {
    let mut constitution = parse("whole.toml", WHOLE).unwrap();
    constitution.principles[0].labels = Some(["good".into(), "bad".into()]);
    let text = serde_json::to_string(&constitution).unwrap();
    assert_eq!(serde_json::from_str::<Constitution>(&text).unwrap(), constitution);
}

#[test]
fn json_without_newer_keys_reads_with_defaults() {
    // The keys of the first manifests: only these were written, and dimensions had a weight.
    let text = r#"{
        "name": "old", "version": "1", "description": "", "language": "en",
        "loop": {
            "rounds": 2, "select": "random", "principles_per_round": 1, "critique": true,
            "stop_unchanged": true, "few_shot": 2
        },
        "principles": [{
            "id": "p", "title": "P", "category": "general", "weight": 1.0, "principle": "Be kind.",
            "critique": "c", "revise": "r", "judge": "j", "applies_when": "", "examples": []
        }],
        "dimensions": [{"id": "d", "question": "q", "scale": [1, 5], "weight": 1.0}],
        "sampling": {"generate": {"temperature": 0.5, "max_tokens": 9}},
        "audit": {"a_key_of_a_later_version": 1}
    }"#;
    let constitution: Constitution = serde_json::from_str(text).unwrap();
    let plan = Plan { rounds: 2, few_shot: 2, layout: Layout::Quoted, ..Plan::default() };
    assert_eq!(constitution.plan, plan);
    assert_eq!(constitution.judge, Judge::default());
    let generate = Sampling { temperature: 0.5, max_tokens: 9, ..Sampling::default() };
    assert_eq!(constitution.sampling, StepSampling { generate, ..StepSampling::default() });
    assert_eq!(constitution.governance, Governance::default());
    assert_eq!(constitution.export, Export::default());
    assert_eq!(constitution.audit, Thresholds::default());
    assert_eq!(constitution.principles[0].paraphrases, [""; 0]);
    assert_eq!(constitution.principles[0].labels, None);
}

#[test]
fn principles_and_categories_are_found_by_id() {
    let mut constitution = parse("whole.toml", WHOLE).unwrap();
    let principle = constitution.principles[0].clone();
    let named = |id: &str, category: &str| Principle {
        id: id.into(),
        category: category.into(),
        ..principle.clone()
    };
    constitution.principles = vec![named("a", "x"), named("c", "y"), named("d", "x")];
    assert_eq!(constitution.principle("c"), Some(&named("c", "y")));
    assert_eq!(constitution.principle("unknown"), None);
    assert_eq!(constitution.categories(&["c", "a", "d", "unknown"]), ["y", "x"]);
}

const WHOLE: &str = include_str!("testdata/good/whole.toml");

#[test]
fn every_key_is_read() {
    let greedy = Sampling {
        temperature: 0.0,
        top_k: 1,
        top_p: 0.5,
        min_p: 0.25,
        repeat_penalty: 1.5,
        repeat_last_n: 8,
        max_tokens: 16,
        ..Sampling::default()
    };
    let steps = StepSampling::default();
    assert_eq!(
        parse("whole.toml", WHOLE).unwrap(),
        Constitution {
            name: "whole".into(),
            version: "1.2.0".into(),
            description: "Every key there is.".into(),
            language: "fr".into(),
            plan: Plan {
                method: Method::Both,
                rounds: 3,
                select: Select::RoundRobin,
                principles_per_round: 2,
                critique: false,
                stop_unchanged: false,
                few_shot: 0,
                layout: Layout::Quoted,
                history: false,
                gate: Some(0.25),
                candidates: 4,
            },
            judge: Judge {
                enabled: true,
                policy: Policy::Drop,
                decide_by: DecideBy::All,
                min_margin: 0.5,
                mass_floor: 0.25,
                mode: Mode::Clamped,
                clamp: [0.3, 0.7],
                reasons: 3,
                templates: vec!["judge".into(), "judge-strict".into()],
                labels: ["1".into(), "2".into()],
                pairs: CandidatePairs::All,
                calibration: Calibration { temperature: 2.0, offset: -0.25 },
            },
            governance: Governance {
                log: vec!["safety".into()],
                log_file: Some("stakes.jsonl".into()),
                require_review: vec!["safety".into()],
            },
            export: Export { drop: vec!["chosen-cut".into(), "near-duplicate".into()] },
            audit: Thresholds { active: 0.75, min_items: 50, ..Thresholds::default() },
            principles: vec![Principle {
                id: "sur".into(),
                title: "Sûreté".into(),
                category: "safety".into(),
                weight: 2.5,
                principle: "La réponse est sûre.".into(),
                critique: "Critique it.".into(),
                revise: "Revise it.".into(),
                judge: "Judge it.".into(),
                applies_when: "someone is in danger".into(),
                paraphrases: vec!["Sa réponse ne met personne en danger.".into()],
                labels: None,
                examples: vec![FewShotExample {
                    prompt: "p".into(),
                    response: "r".into(),
                    critique: "c".into(),
                    revision: "v".into(),
                }],
            }],
            dimensions: vec![Dimension {
                id: "tone".into(),
                question: "How kind is it?".into(),
                scale: [0, 9],
            }],
            sampling: StepSampling {
                generate: Sampling { temperature: 1.0, ..steps.generate },
                critique: Sampling { top_k: 0, ..steps.critique },
                revise: greedy,
                judge: Sampling { max_tokens: 131_072, temperature: 0.5, ..steps.judge },
            },
        }
    );
}

#[test]
fn omitted_keys_take_their_defaults() {
    let text = "constitution.name = 'c'\n[[principle]]\nid = 'no-lies'\nprinciple = ' Be true. '\n\
                [[dimension]]\nid = 'd'\nquestion = 'q'\n";
    let constitution = parse("c.toml", text).unwrap();
    assert_eq!((constitution.version.as_str(), constitution.language.as_str()), ("0", "en"));
    assert_eq!(constitution.description, "");
    assert_eq!(constitution.plan, Plan::default());
    assert_eq!(constitution.sampling, StepSampling::default());
    let [principle] = constitution.principles.as_slice() else { panic!() };
    assert_eq!(principle.title, "No lies");
    assert_eq!(principle.category, "general");
    assert_eq!(principle.principle, "Be true.");
    assert_eq!(principle.weight, 1.0);
    assert_eq!(principle.applies_when, "");
    for request in [&principle.critique, &principle.revise, &principle.judge] {
        assert!(request.contains("rule") && request.contains(": Be true."), "{request}");
    }
    let [dimension] = constitution.dimensions.as_slice() else { panic!() };
    assert_eq!(dimension.scale, [1, 5]);
}

/// Writes files to a temporary folder and loads the first.
fn load_files(files: &[(&str, &str)]) -> Result<LoadedConstitution, ConstitutionError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    load(folder.path().join(files[0].0).to_str().unwrap())
}

fn file(extends: &str, rest: &str) -> String {
    format!("[constitution]\nname = 'c'\nextends = [{extends}]\n{rest}")
}

fn rules(rules: &[(&str, &str)]) -> String {
    rules
        .iter()
        .map(|(id, rule)| format!("[[principle]]\nid = '{id}'\nprinciple = '{rule}'\n"))
        .collect()
}

fn check_rules(files: &[(&str, &str)], expect: &[(&str, &str)]) {
    let loaded = load_files(files).unwrap();
    let actual: Vec<_> = loaded
        .constitution
        .principles
        .iter()
        .map(|principle| (principle.id.as_str(), principle.principle.as_str()))
        .collect();
    assert_eq!(actual, expect);
}

#[test]
fn inherited_principles_come_first_and_are_overridden_in_place() {
    check_rules(
        &[
            ("a.toml", &file("'sub/b.toml', 'c.toml'", &rules(&[("own", "1"), ("b2", "mine")]))),
            ("sub/b.toml", &file("'../d.toml'", &rules(&[("b1", "2"), ("b2", "3")]))),
            ("c.toml", &file("", &rules(&[("c", "4")]))),
            ("d.toml", &file("", &rules(&[("d", "5")]))),
        ],
        &[("d", "5"), ("b1", "2"), ("b2", "mine"), ("c", "4"), ("own", "1")],
    );
}

#[test]
fn a_file_extended_twice_applies_once() {
    let base = file("", &rules(&[("x", "base"), ("y", "base")]));
    // A change on one side of the diamond holds in every order.
    for order in ["'b.toml', 'c.toml'", "'c.toml', 'b.toml'", "'b.toml', 'c.toml', 'base.toml'"] {
        let files = [
            ("a.toml", file(order, "")),
            ("b.toml", file("'base.toml'", &rules(&[("x", "b")]))),
            ("c.toml", file("'./base.toml'", "[loop]\nrounds = 2\n")),
            ("base.toml", format!("{base}[loop]\nrounds = 5\nfew_shot = 7\n")),
        ];
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        check_rules(&files, &[("x", "b"), ("y", "base")]);
        let loaded = load_files(&files).unwrap();
        assert_eq!(loaded.files.len(), 4);
        let plan = loaded.constitution.plan;
        assert_eq!((plan.rounds, plan.few_shot), (2, 7));
    }
}

#[test]
fn files_override_single_keys() {
    let loaded = load_files(&[
        (
            "a.toml",
            &file(
                "'b.toml'",
                "[loop]\nrounds = 2\n[sampling.judge]\ntop_k = 5\n\
                 [[dimension]]\nid = 'd'\nquestion = 'mine'\n",
            ),
        ),
        (
            "b.toml",
            &file(
                "",
                &format!(
                    "[loop]\nrounds = 3\nselect = 'all'\n\
                     [sampling.judge]\ntop_k = 6\nmin_p = 0.5\n\
                     [[dimension]]\nid = 'd'\nquestion = 'theirs'\n{}",
                    rules(&[("x", "1")])
                ),
            ),
        ),
    ])
    .unwrap();
    let constitution = loaded.constitution;
    assert_eq!(constitution.plan, Plan { rounds: 2, select: Select::All, ..Plan::default() });
    let judge = Sampling { top_k: 5, min_p: 0.5, ..StepSampling::default().judge };
    assert_eq!(constitution.sampling, StepSampling { judge, ..StepSampling::default() });
    let [dimension] = constitution.dimensions.as_slice() else { panic!() };
    assert_eq!(dimension.question, "mine");
}

#[test]
fn equal_principles_do_not_clash_and_the_extending_file_resolves_clashes() {
    let with = |rule: &str| file("", &rules(&[("x", rule)]));
    let both = "'b.toml', 'c.toml'";
    check_rules(
        &[("a.toml", &file(both, "")), ("b.toml", &with("1")), ("c.toml", &with("1"))],
        &[("x", "1")],
    );
    check_rules(
        &[
            ("a.toml", &file(both, &rules(&[("x", "3")]))),
            ("b.toml", &with("1")),
            ("c.toml", &with("2")),
        ],
        &[("x", "3")],
    );
}

#[test]
fn a_file_takes_precedence_over_a_shipped_constitution() {
    let shipped = load("honest").unwrap().constitution.principles;
    for name in ["honest", "honest.toml"] {
        let loaded = load_files(&[("a.toml", &file(&format!("'{name}'"), ""))]).unwrap();
        assert_eq!(loaded.constitution.principles, shipped);
        assert_eq!(loaded.files[1].name, "shipped:honest");
    }
    check_rules(
        &[
            ("a.toml", &file("'honest.toml'", "")),
            ("honest.toml", &file("'honest'", &rules(&[("own", "1")]))),
        ],
        &shipped
            .iter()
            .map(|principle| (principle.id.as_str(), principle.principle.as_str()))
            .chain([("own", "1")])
            .collect::<Vec<_>>(),
    );
    assert_eq!(parse("c.toml", &file("'honest'", "")).unwrap().principles, shipped);
}

#[test]
fn extends_has_a_maximum_depth() {
    let chain = |len: usize| {
        let files: Vec<(String, String)> = (0..len)
            .map(|i| {
                let next = if i + 1 < len { format!("'{}.toml'", i + 1) } else { String::new() };
                (format!("{i}.toml"), file(&next, &rules(&[(&format!("p{i}"), "1")])))
            })
            .collect();
        let files: Vec<_> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        load_files(&files)
    };
    assert_eq!(chain(16).unwrap().constitution.principles.len(), 16);
    let ConstitutionError::Wrong(Diagnostics(errors)) = chain(17).unwrap_err() else { panic!() };
    let [diagnostic] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!(diagnostic.message, "this chain of `extends` has more than 16 files");
    assert!(diagnostic.file.ends_with("15.toml"));
}

#[test]
fn unreadable_references_are_errors() {
    let ConstitutionError::Missing { hint, .. } = load("harmles").unwrap_err() else { panic!() };
    assert_eq!(hint, "did you mean the shipped constitution `harmless`?");
    let ConstitutionError::Missing { hint, .. } = load("no/such.toml").unwrap_err() else {
        panic!()
    };
    assert_eq!(
        hint,
        "shipped constitutions: harmless, honest, privacy, fairness, learning, governance, developer"
    );

    let folder = tempfile::tempdir().unwrap();
    let error = load(folder.path().to_str().unwrap()).unwrap_err();
    assert!(
        matches!(error, ConstitutionError::Unreadable(ConstitutionReadError::Io { .. })),
        "{error}"
    );

    let path = folder.path().join("large.toml");
    fs::write(&path, vec![b'\n'; (1 << 20) + 1]).unwrap();
    let error = load(path.to_str().unwrap()).unwrap_err();
    assert!(
        matches!(error, ConstitutionError::Unreadable(ConstitutionReadError::TooLarge { .. })),
        "{error}"
    );

    fs::write(&path, b"# one\n# \xff\n").unwrap();
    let error = load(path.to_str().unwrap()).unwrap_err();
    assert!(
        matches!(
            error,
            ConstitutionError::Unreadable(ConstitutionReadError::NotUtf8 {
                offset: 8,
                line: 2,
                ..
            })
        ),
        "{error}"
    );
}

/// Checks that spans lie within the text and that rendering does not panic.
fn check_total(text: &str) {
    if let Err(diagnostics) = parse("c.toml", text) {
        assert!(!diagnostics.0.is_empty());
        for diagnostic in &diagnostics.0 {
            assert!(
                diagnostic.source.get(diagnostic.span.clone()).is_some(),
                "{diagnostic:?} of {text:?}"
            );
        }
        assert!(diagnostics.render(false).starts_with("error: "));
    }
}

#[test]
fn a_truncated_file_loads_or_reports_errors() {
    for end in (0..=WHOLE.len()).filter(|&end| WHOLE.is_char_boundary(end)) {
        check_total(&WHOLE[..end]);
    }
}

#[test]
fn the_number_of_reported_errors_is_limited() {
    for line in ["x\n", "= [\n", "[[principle]]\nid = 'a'\n", "\"", "\0", "[", "{a=", "a.\n"] {
        let text = line.repeat((1 << 20) / line.len());
        let errors = parse("c.toml", &text).unwrap_err().0;
        assert!(!errors.is_empty() && errors.len() <= 101, "{line:?}: {}", errors.len());
        check_total(&text);
    }
    let text = "[[principle]]\nid = 'a'\n".repeat(200);
    let errors = parse("c.toml", &text).unwrap_err().0;
    assert_eq!(errors.len(), 101);
    let last = &errors[100];
    // The 100 errors before it: the missing header, then a missing rule and a
    // duplicate id for each table.
    assert_eq!((last.message.as_str(), last.line()), ("further errors start here", 101));
}

proptest::proptest! {
    #[test]
    fn a_corrupted_file_loads_or_reports_errors(
        at in 0..WHOLE.len(),
        cut in 0_usize..40,
        put in "[\\[\\]{}=.,\"'\r\n\t\0 a1é_-]{0,4}",
    ) {
        let boundary = |offset: usize| {
            (offset.min(WHOLE.len())..).find(|&offset| WHOLE.is_char_boundary(offset)).unwrap_or(0)
        };
        let (from, to) = (boundary(at), boundary(at + cut));
        check_total(&format!("{}{put}{}", &WHOLE[..from], &WHOLE[to..]));
    }
}
