use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::Arc;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::*;
use crate::items::{ItemOptions, ItemSource, Purpose};
use crate::lint::{LintOptions, lint};
use crate::rows::Input;
use crate::store::journal::Record;
use crate::store::manifest::{Hashed, Manifest};
use crate::testing::{failed, item, judged, manifest, step};
use amend_core::chat::{Message, Role};
use amend_core::constitution::{Judge, Policy};
use amend_core::model::{Finish, Sampling, Usage};
use amend_core::random::Stream;
use amend_core::record::{Outcome, Step, StepKind, Stop};

/// A judge that decides with little mass, as in tests, and whose policy keeps pairs that
/// were not judged.
fn judge() -> Judge {
    Judge { mass_floor: 0.0, policy: Policy::KeepWithLabel, ..Judge::default() }
}

/// The sample manifest with requests and sampling settings in its constitution.
fn full_manifest() -> Manifest {
    let mut constitution = manifest().constitution.value;
    constitution.plan.principles_per_round = 2;
    let sampling = Sampling { temperature: 0.7, max_tokens: 256, ..Sampling::default() };
    constitution.sampling.generate = sampling.clone();
    constitution.sampling.critique = sampling.clone();
    constitution.sampling.revise = sampling;
    for principle in &mut constitution.principles {
        let id = &principle.id;
        principle.principle = format!("Be {id} | always.");
        principle.critique = format!("Is it {id}?");
        principle.revise = format!("Make it {id}.");
    }
    Manifest { constitution: Hashed::constitution(constitution), ..manifest() }
}

/// Writes the steps and the end of an item.
fn write_item(run: &mut crate::store::run_dir::RunWriter, item: &Item, steps: &[Step]) {
    for step in steps {
        run.append(&Record::Step { item: item.key.clone(), step: step.clone() }).unwrap();
    }
    let outcome = Outcome::Done { stop: Stop::Rounds };
    run.append(&Record::End { item: item.clone(), outcome }).unwrap();
}

/// A run of five items: a conversation with a system turn, a single question, an
/// unchanged answer, a failure, and a conversation of several turns.
pub(super) fn run(folder: &Path) -> RunDir {
    use StepKind::{Critique, Generate, Revise};
    let rich = Item {
        id: Some("q-1".to_owned()),
        messages: vec![
            Message::new(Role::System, "Be brief."),
            Message::new(Role::User, "Hello\n\"you\""),
        ],
        metadata: json!({"source": "letters", "score": 0.1}).as_object().unwrap().clone(),
        ..item("a")
    };
    let long = Item {
        messages: vec![
            Message::new(Role::User, "One?"),
            Message::new(Role::Assistant, "Two."),
            Message::new(Role::User, "Three?"),
        ],
        response: Some("Three".to_owned()),
        ..item("e")
    };
    let mut run = RunDir::create(folder, &full_manifest()).unwrap();
    write_item(
        &mut run,
        &rich,
        &[
            step(Generate, None, "Go away."),
            step(Critique, Some("polite"), "It is rude."),
            step(Revise, Some("polite"), "Good day — welcome."),
            step(Critique, Some("true"), "It isn't day."),
            step(Revise, Some("true"), "Good evening."),
        ],
    );
    let asked = [
        step(Generate, None, "No."),
        step(Critique, Some("kind"), "It is curt."),
        Step { raw: Some("\nNo, sorry.".to_owned()), ..step(Revise, Some("kind"), "No, sorry.") },
    ];
    write_item(&mut run, &item("b"), &asked);
    write_item(
        &mut run,
        &item("c"),
        &[step(Generate, None, "Yes."), step(Revise, Some("kind"), "Yes.")],
    );
    run.append(&failed("d")).unwrap();
    let given = Step { finish: None, usage: Usage::default(), ..step(Generate, None, "Three") };
    let cut = Step { finish: Some(Finish::Length), ..step(Critique, Some("true"), "It sho") };
    write_item(&mut run, &long, &[given, cut, step(Revise, Some("true"), "Four.")]);
    run.dir().clone()
}

pub(super) fn export(name: &str) -> ExportOptions<'static> {
    let format = ExportFormat::named(name).unwrap();
    ExportOptions { format, ..ExportOptions::pairs() }
}

/// The lines of an export, with the hash of the run replaced.
fn lines(run: &RunDir, export: &ExportOptions<'_>) -> String {
    let mut out = Vec::new();
    write(run, export, &mut out).unwrap();
    String::from_utf8(out).unwrap().replace(run.hash(), "HASH")
}

/// The rows of an export with only the columns of the format itself.
fn own_columns(run: &RunDir, name: &str) -> String {
    let export = export(name);
    let schema = export.schema(&export.provenance(run).unwrap());
    let own = (schema.fields().iter())
        .map(|field| field.name().clone())
        .take_while(|name| name != "id")
        .collect::<Vec<_>>();
    let mut text = String::new();
    for line in lines(run, &export).lines() {
        let row: ExportRow = serde_json::from_str(line).unwrap();
        let row: ExportRow = row.into_iter().filter(|(name, _)| own.contains(name)).collect();
        text.push_str(&serde_json::to_string(&row).unwrap());
        text.push('\n');
    }
    text
}

fn counts(written: u64, dropped: &[(DropReason, u64)]) -> Counts {
    Counts { written, dropped: BTreeMap::from_iter(dropped.iter().copied()), ..Counts::default() }
}

#[test]
fn trl_rows_have_all_columns() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    insta::assert_snapshot!(lines(&run, &export("trl")), @r#"
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}],"chosen":[{"role":"assistant","content":"Good evening."}],"rejected":[{"role":"assistant","content":"Go away."}],"id":"q-1","category":["manners","honesty"],"method":"revise","reason":"It isn't day.","principles":["polite","true"],"verdict":null,"p_chosen":null,"verdict_margin":null,"verdict_mass":null,"log_odds_shown_first":null,"log_odds_shown_second":null,"principle_margins":null,"reviewers":[],"reviewed_at":null,"run":"HASH","metadata":"{\"source\":\"letters\",\"score\":0.1}"}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"chosen":[{"role":"assistant","content":"No, sorry."}],"rejected":[{"role":"assistant","content":"No."}],"id":"b","category":["manners"],"method":"revise","reason":"It is curt.","principles":["kind"],"verdict":null,"p_chosen":null,"verdict_margin":null,"verdict_mass":null,"log_odds_shown_first":null,"log_odds_shown_second":null,"principle_margins":null,"reviewers":[],"reviewed_at":null,"run":"HASH","metadata":"{}"}
    {"prompt":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"}],"chosen":[{"role":"assistant","content":"Four."}],"rejected":[{"role":"assistant","content":"Three"}],"id":"e","category":["honesty"],"method":"revise","reason":"It sho","principles":["true"],"verdict":null,"p_chosen":null,"verdict_margin":null,"verdict_mass":null,"log_odds_shown_first":null,"log_odds_shown_second":null,"principle_margins":null,"reviewers":[],"reviewed_at":null,"run":"HASH","metadata":"{}"}
    "#);
}

#[test]
fn each_format_writes_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    insta::assert_snapshot!(own_columns(&run, "trl-standard"), @r#"
    {"prompt":"Why b?\nReally \"é\"?","chosen":"No, sorry.","rejected":"No."}
    "#);
    insta::assert_snapshot!(own_columns(&run, "kto"), @r#"
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}],"completion":[{"role":"assistant","content":"Good evening."}],"label":true}
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}],"completion":[{"role":"assistant","content":"Go away."}],"label":false}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"No, sorry."}],"label":true}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"No."}],"label":false}
    {"prompt":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"}],"completion":[{"role":"assistant","content":"Four."}],"label":true}
    {"prompt":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"}],"completion":[{"role":"assistant","content":"Three"}],"label":false}
    "#);
    insta::assert_snapshot!(own_columns(&run, "sft"), @r#"
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}],"completion":[{"role":"assistant","content":"Good evening."}]}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"No, sorry."}]}
    {"prompt":[{"role":"user","content":"Why c?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"Yes."}]}
    {"prompt":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"}],"completion":[{"role":"assistant","content":"Four."}]}
    "#);
    insta::assert_snapshot!(own_columns(&run, "sft-steps"), @r#"
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}],"completion":[{"role":"assistant","content":"Go away."}],"step":"generate","round":0,"principle":null}
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""},{"role":"assistant","content":"Go away."},{"role":"user","content":"Is it polite?"}],"completion":[{"role":"assistant","content":"It is rude."}],"step":"critique","round":1,"principle":"polite"}
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""},{"role":"assistant","content":"Go away."},{"role":"user","content":"Is it polite?"},{"role":"assistant","content":"It is rude."},{"role":"user","content":"Make it polite."}],"completion":[{"role":"assistant","content":"Good day — welcome."}],"step":"revise","round":1,"principle":"polite"}
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""},{"role":"assistant","content":"Good day — welcome."},{"role":"user","content":"Is it true?"}],"completion":[{"role":"assistant","content":"It isn't day."}],"step":"critique","round":1,"principle":"true"}
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""},{"role":"assistant","content":"Good day — welcome."},{"role":"user","content":"Is it true?"},{"role":"assistant","content":"It isn't day."},{"role":"user","content":"Make it true."}],"completion":[{"role":"assistant","content":"Good evening."}],"step":"revise","round":1,"principle":"true"}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"No."}],"step":"generate","round":0,"principle":null}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No."},{"role":"user","content":"Is it kind?"}],"completion":[{"role":"assistant","content":"It is curt."}],"step":"critique","round":1,"principle":"kind"}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No."},{"role":"user","content":"Is it kind?"},{"role":"assistant","content":"It is curt."},{"role":"user","content":"Make it kind."}],"completion":[{"role":"assistant","content":"No, sorry."}],"step":"revise","round":1,"principle":"kind"}
    {"prompt":[{"role":"user","content":"Why c?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"Yes."}],"step":"generate","round":0,"principle":null}
    {"prompt":[{"role":"user","content":"Why c?\nReally \"é\"?"},{"role":"assistant","content":"Yes."},{"role":"user","content":"Make it kind."}],"completion":[{"role":"assistant","content":"Yes."}],"step":"revise","round":1,"principle":"kind"}
    {"prompt":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"},{"role":"assistant","content":"Three"},{"role":"user","content":"Is it true?"},{"role":"assistant","content":"It sho"},{"role":"user","content":"Make it true."}],"completion":[{"role":"assistant","content":"Four."}],"step":"revise","round":1,"principle":"true"}
    "#);
    insta::assert_snapshot!(own_columns(&run, "reward"), @r#"
    {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}],"chosen":[{"role":"assistant","content":"Good evening."}],"rejected":[{"role":"assistant","content":"Go away."}],"margin":0.0}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"chosen":[{"role":"assistant","content":"No, sorry."}],"rejected":[{"role":"assistant","content":"No."}],"margin":0.0}
    {"prompt":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"}],"chosen":[{"role":"assistant","content":"Four."}],"rejected":[{"role":"assistant","content":"Three"}],"margin":0.0}
    "#);
    insta::assert_snapshot!(own_columns(&run, "axolotl-chatml-intel"), @r#"
    {"system":"Be brief.","question":"Hello\n\"you\"","chosen":"Good evening.","rejected":"Go away."}
    {"system":null,"question":"Why b?\nReally \"é\"?","chosen":"No, sorry.","rejected":"No."}
    "#);
    insta::assert_snapshot!(own_columns(&run, "axolotl-chatml-ultra"), @r#"
    {"system":"Be brief.","prompt":"Hello\n\"you\"","chosen":[{"role":"user","content":"Hello\n\"you\""},{"role":"assistant","content":"Good evening."}],"rejected":[{"role":"user","content":"Hello\n\"you\""},{"role":"assistant","content":"Go away."}]}
    {"system":null,"prompt":"Why b?\nReally \"é\"?","chosen":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No, sorry."}],"rejected":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No."}]}
    "#);
    insta::assert_snapshot!(own_columns(&run, "axolotl-chat-template"), @r#"
    {"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}],"chosen":{"role":"assistant","content":"Good evening."},"rejected":{"role":"assistant","content":"Go away."}}
    {"messages":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"chosen":{"role":"assistant","content":"No, sorry."},"rejected":{"role":"assistant","content":"No."}}
    {"messages":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"}],"chosen":{"role":"assistant","content":"Four."},"rejected":{"role":"assistant","content":"Three"}}
    "#);
    insta::assert_snapshot!(own_columns(&run, "llamafactory-alpaca"), @r#"
    {"instruction":"Hello\n\"you\"","input":"","chosen":"Good evening.","rejected":"Go away.","system":"Be brief.","history":[]}
    {"instruction":"Why b?\nReally \"é\"?","input":"","chosen":"No, sorry.","rejected":"No.","system":"","history":[]}
    {"instruction":"Three?","input":"","chosen":"Four.","rejected":"Three","system":"","history":[["One?","Two."]]}
    "#);
    insta::assert_snapshot!(own_columns(&run, "llamafactory-sharegpt"), @r#"
    {"conversations":[{"from":"human","value":"Hello\n\"you\""}],"chosen":{"from":"gpt","value":"Good evening."},"rejected":{"from":"gpt","value":"Go away."},"system":"Be brief."}
    {"conversations":[{"from":"human","value":"Why b?\nReally \"é\"?"}],"chosen":{"from":"gpt","value":"No, sorry."},"rejected":{"from":"gpt","value":"No."},"system":""}
    {"conversations":[{"from":"human","value":"One?"},{"from":"gpt","value":"Two."},{"from":"human","value":"Three?"}],"chosen":{"from":"gpt","value":"Four."},"rejected":{"from":"gpt","value":"Three"},"system":""}
    "#);
    insta::assert_snapshot!(own_columns(&run, "llamafactory-kto"), @r#"
    {"conversations":[{"from":"human","value":"Hello\n\"you\""},{"from":"gpt","value":"Good evening."}],"kto_tag":true,"system":"Be brief."}
    {"conversations":[{"from":"human","value":"Hello\n\"you\""},{"from":"gpt","value":"Go away."}],"kto_tag":false,"system":"Be brief."}
    {"conversations":[{"from":"human","value":"Why b?\nReally \"é\"?"},{"from":"gpt","value":"No, sorry."}],"kto_tag":true,"system":""}
    {"conversations":[{"from":"human","value":"Why b?\nReally \"é\"?"},{"from":"gpt","value":"No."}],"kto_tag":false,"system":""}
    {"conversations":[{"from":"human","value":"One?"},{"from":"gpt","value":"Two."},{"from":"human","value":"Three?"},{"from":"gpt","value":"Four."}],"kto_tag":true,"system":""}
    {"conversations":[{"from":"human","value":"One?"},{"from":"gpt","value":"Two."},{"from":"human","value":"Three?"},{"from":"gpt","value":"Three"}],"kto_tag":false,"system":""}
    "#);
    insta::assert_snapshot!(own_columns(&run, "openrlhf"), @r#"
    {"chosen":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""},{"role":"assistant","content":"Good evening."}],"rejected":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""},{"role":"assistant","content":"Go away."}]}
    {"chosen":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No, sorry."}],"rejected":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No."}]}
    {"chosen":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"},{"role":"assistant","content":"Four."}],"rejected":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"},{"role":"assistant","content":"Three"}]}
    "#);
    insta::assert_snapshot!(own_columns(&run, "nemo"), @r#"
    {"context":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}],"completions":[{"rank":0,"completion":[{"role":"assistant","content":"Good evening."}]},{"rank":1,"completion":[{"role":"assistant","content":"Go away."}]}]}
    {"context":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completions":[{"rank":0,"completion":[{"role":"assistant","content":"No, sorry."}]},{"rank":1,"completion":[{"role":"assistant","content":"No."}]}]}
    {"context":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"}],"completions":[{"rank":0,"completion":[{"role":"assistant","content":"Four."}]},{"rank":1,"completion":[{"role":"assistant","content":"Three"}]}]}
    "#);
    insta::assert_snapshot!(own_columns(&run, "openai-preference"), @r#"
    {"input":{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}]},"preferred_output":[{"role":"assistant","content":"Good evening."}],"non_preferred_output":[{"role":"assistant","content":"Go away."}]}
    {"input":{"messages":[{"role":"user","content":"Why b?\nReally \"é\"?"}]},"preferred_output":[{"role":"assistant","content":"No, sorry."}],"non_preferred_output":[{"role":"assistant","content":"No."}]}
    {"input":{"messages":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"}]},"preferred_output":[{"role":"assistant","content":"Four."}],"non_preferred_output":[{"role":"assistant","content":"Three"}]}
    "#);
    insta::assert_snapshot!(own_columns(&run, "ms-swift"), @r#"
    {"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""},{"role":"assistant","content":"Good evening."}],"rejected_response":"Go away."}
    {"messages":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No, sorry."}],"rejected_response":"No."}
    {"messages":[{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"},{"role":"assistant","content":"Four."}],"rejected_response":"Three"}
    "#);
    insta::assert_snapshot!(own_columns(&run, "annotated-pairs"), @r#"
    {"prompt":"Why b?\nReally \"é\"?","text_a":"No, sorry.","text_b":"No.","preferred_text":"text_a","preferred_by_kind":null,"preferred_by_true":null,"preferred_by_polite":null}
    "#);
    insta::assert_snapshot!(own_columns(&run, "hh-rlhf"), @r#"
    {"chosen":"\n\nHuman: Why b?\nReally \"é\"?\n\nAssistant: No, sorry.","rejected":"\n\nHuman: Why b?\nReally \"é\"?\n\nAssistant: No."}
    {"chosen":"\n\nHuman: One?\n\nAssistant: Two.\n\nHuman: Three?\n\nAssistant: Four.","rejected":"\n\nHuman: One?\n\nAssistant: Two.\n\nHuman: Three?\n\nAssistant: Three"}
    "#);
    insta::assert_snapshot!(own_columns(&run, "constitutional-ai"), @r#"
    {"init_prompt":"Why b?\nReally \"é\"?","init_response":"No.","critic_prompt":"Is it kind?","critic_response":"It is curt.","revision_prompt":"Make it kind.","revision_response":"No, sorry.","prompt":"Why b?\nReally \"é\"?","messages":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No, sorry."}],"chosen":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No, sorry."}],"rejected":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"No."}]}
    "#);
    insta::assert_snapshot!(own_columns(&run, "plain-sft"), @r#"
    {"prompt":"Why b?\nReally \"é\"?","response":"No, sorry."}
    {"prompt":"Why c?\nReally \"é\"?","response":"Yes."}
    "#);
    insta::assert_snapshot!(own_columns(&run, "plain-preference"), @r#"
    {"prompt":"Why b?\nReally \"é\"?","chosen":"No, sorry.","rejected":"No.","policy":"small@1.2.0","reviewer":{"kind":"model","name":"tiny"}}
    "#);
    insta::assert_snapshot!(lines(&run, &export("trajectories")).lines().nth(4).unwrap(), @r#"
    {"key":"e","id":null,"row":1,"messages":[{"role":"user","content":"One?","reasoning_content":null},{"role":"assistant","content":"Two.","reasoning_content":null},{"role":"user","content":"Three?","reasoning_content":null}],"response":"Three","outcome":"done","stop":"rounds","failure":null,"steps":[{"kind":"generate","round":0,"principle":null,"principles":[],"text":"Three","raw":null,"reasoning":null,"finish":null,"judgement":null,"usage":{"prompt":0,"cached":0,"decoded":0,"reasoning":0,"ideal":null}},{"kind":"critique","round":1,"principle":"true","principles":[],"text":"It sho","raw":null,"reasoning":null,"finish":"length","judgement":null,"usage":{"prompt":9,"cached":4,"decoded":3,"reasoning":0,"ideal":null}},{"kind":"revise","round":1,"principle":"true","principles":[],"text":"Four.","raw":null,"reasoning":null,"finish":"stop","judgement":null,"usage":{"prompt":9,"cached":4,"decoded":3,"reasoning":0,"ideal":null}}],"metadata":"{}","run":"HASH"}
    "#);
    insta::assert_snapshot!(lines(&run, &export("trajectories")).lines().nth(3).unwrap(), @r#"
    {"key":"d","id":null,"row":1,"messages":[{"role":"user","content":"Why d?\nReally \"é\"?","reasoning_content":null}],"response":null,"outcome":"failed","stop":null,"failure":"{\"kind\":\"empty\",\"step\":\"critique\"}","steps":[],"metadata":"{}","run":"HASH"}
    "#);
}

#[test]
fn candidates_are_labelled_once_and_the_best_is_revised() {
    use StepKind::{Critique, Generate, Revise};
    let mut manifest = full_manifest();
    manifest.constitution.value.judge = judge();
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(folder.path(), &manifest).unwrap();
    let item = item("b");
    let steps = [
        step(Generate, None, "worst"),
        step(Generate, None, "best"),
        step(Generate, None, "fair"),
        judged([0, 1], None, -2.0),
        judged([0, 2], None, -1.0),
        judged([1, 2], None, 1.0),
        step(Critique, Some("kind"), "It is curt."),
        step(Revise, Some("kind"), "kinder"),
    ];
    write_item(&mut run, &item, &steps);
    let run = run.dir().clone();
    // "best" is better than "worst", and worse than its revision.
    insta::assert_snapshot!(own_columns(&run, "kto"), @r#"
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"worst"}],"label":false}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"kinder"}],"label":true}
    "#);
    insta::assert_snapshot!(own_columns(&run, "sft-steps"), @r#"
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"worst"}],"step":"generate","round":0,"principle":null}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"best"}],"step":"generate","round":0,"principle":null}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"completion":[{"role":"assistant","content":"fair"}],"step":"generate","round":0,"principle":null}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"best"},{"role":"user","content":"Is it kind?"}],"completion":[{"role":"assistant","content":"It is curt."}],"step":"critique","round":1,"principle":"kind"}
    {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"best"},{"role":"user","content":"Is it kind?"},{"role":"assistant","content":"It is curt."},{"role":"user","content":"Make it kind."}],"completion":[{"role":"assistant","content":"kinder"}],"step":"revise","round":1,"principle":"kind"}
    "#);
    // The pair of candidates has no revision.
    insta::assert_snapshot!(own_columns(&run, "constitutional-ai"), @r#"
    {"init_prompt":"Why b?\nReally \"é\"?","init_response":"best","critic_prompt":"Is it kind?","critic_response":"It is curt.","revision_prompt":"Make it kind.","revision_response":"kinder","prompt":"Why b?\nReally \"é\"?","messages":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"kinder"}],"chosen":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"kinder"}],"rejected":[{"role":"user","content":"Why b?\nReally \"é\"?"},{"role":"assistant","content":"best"}]}
    "#);
    let mut counted = Vec::new();
    for name in ["kto", "constitutional-ai"] {
        counted.push(write(&run, &export(name), std::io::sink()).unwrap());
    }
    // The revision was not judged, and one of the two items has not ended.
    assert_eq!(
        counted,
        [counts(2, &[(DropReason::Mixed, 2)]), counts(1, &[(DropReason::NoRevision, 1)])]
            .map(|counts| Counts { unchecked: 1, unended: 1, ..counts })
    );
}

/// The rows of a Parquet file, with all keys.
fn parquet_rows(path: &Path) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let mut out = Vec::new();
    let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, arrow_json::writer::LineDelimited>(&mut out);
    for batch in reader.build().unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of every format of pairs, with the columns of their origin, are read by the
/// commands that compare answers and by lint, and are measured for the card.
#[test]
fn every_format_of_pairs_is_measured_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"));
    let sides = |source: &ItemSource| -> Vec<[String; 2]> {
        let side = |item: Arc<Item>| {
            let label = item.metadata["label"].as_str().unwrap().to_owned();
            let [a, b] = [&item.response, &item.response_b].map(|side| side.clone().unwrap());
            if label == "a" { [a, b] } else { [b, a] }
        };
        source.items().map(|item| side(item.unwrap())).collect()
    };
    let open = |path: &Path| {
        let purpose = Purpose::Comparisons(Stream::new(3));
        ItemSource::open(&[Input::from(path.to_owned())], purpose, &ItemOptions::default()).unwrap()
    };
    let reference = folder.path().join("reference.jsonl");
    write_file(&run, &export("trl"), &reference).unwrap();
    let expected = sides(&open(&reference));
    assert!(!expected.is_empty());
    for format in FORMATS.iter().filter(|format| format.nouns()[0] == "pair") {
        for file_format in [FileFormat::Jsonl, FileFormat::Parquet] {
            let out = folder.path().join(format!("{}-{file_format}", format.name));
            let export = ExportOptions { file_format, ..export(format.name) };
            write_folder(&run, &export, &whole(Some("other")), &out).unwrap();
            let card = fs::read_to_string(out.join("README.md")).unwrap();
            assert!(card.contains("the chosen response is the longer one"), "{}", format.name);
            let path = out.join(format!("train.{file_format}"));
            let read = sides(&open(&path));
            // Some formats have no place for a conversation or a system text.
            assert!(!read.is_empty(), "{}", format.name);
            assert!(read.iter().all(|pair| expected.contains(pair)), "{}: {read:?}", format.name);
            let report = lint(&path, &LintOptions::default()).unwrap();
            assert_eq!(report.rows, read.len() as u64, "{}", format.name);
        }
    }
}

#[test]
fn parquet_has_the_same_rows_as_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    for format in FORMATS {
        let export = export(format.name);
        let parquet = ExportOptions { file_format: FileFormat::Parquet, ..export };
        let path = folder.path().join("rows.parquet");
        let counts = write_file(&run, &parquet, &path).unwrap();
        let rows = parquet_rows(&path);
        let schema = format.schema(&export.provenance(&run).unwrap(), true);
        let columns: Vec<&str> =
            schema.fields().iter().map(|field| field.name().as_str()).collect();
        let mut expected = Vec::new();
        for line in lines(&run, &export).replace("HASH", run.hash()).lines() {
            let row: ExportRow = serde_json::from_str(line).unwrap();
            assert_eq!(row.keys().collect::<Vec<_>>(), columns, "{}", format.name);
            expected.push(Value::Object(row));
        }
        assert!(!rows.is_empty(), "{}", format.name);
        assert_eq!(rows, expected, "{}", format.name);
        assert_eq!(counts.written, rows.len() as u64);
    }
}

#[test]
fn dropped_rows_are_counted_by_reason() {
    use DropReason::{Conversation, Cut, Failed, Same};
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    for (name, which, expected) in [
        ("trl", Which::Last, counts(3, &[(Failed, 1), (Same, 1)])),
        ("trl", Which::Adjacent, counts(4, &[(Failed, 1), (Same, 1)])),
        ("trl", Which::All, counts(5, &[(Failed, 1), (Same, 1)])),
        ("trl-standard", Which::Last, counts(1, &[(Failed, 1), (Same, 1), (Conversation, 2)])),
        ("hh-rlhf", Which::Last, counts(2, &[(Failed, 1), (Same, 1), (Conversation, 1)])),
        (
            "axolotl-chatml-intel",
            Which::Last,
            counts(2, &[(Failed, 1), (Same, 1), (Conversation, 1)]),
        ),
        ("kto", Which::Last, counts(6, &[(Failed, 1), (Same, 1)])),
        ("sft", Which::Last, counts(4, &[(Failed, 1)])),
        ("sft-steps", Which::Last, counts(11, &[(Failed, 1), (Cut, 1)])),
        ("trajectories", Which::Last, counts(5, &[])),
    ] {
        let export = ExportOptions { which, ..export(name) };
        let counts = write(&run, &export, io::sink()).unwrap();
        // The constitution disables the judge.
        let unchecked = if export.format.has_pairs() { counts.written } else { 0 };
        assert_eq!(counts, Counts { unchecked, ..expected }, "{name} {which:?}");
    }
    let error = write(&run, &ExportOptions { which: Which::All, ..export("kto") }, io::sink());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the format kto supports only `--which last`, not `all`"
    );
}

/// A run with a judge: the revision of `a` is better, that of `b` is worse, `c` has a margin
/// of exactly 0 and `d` was not judged.
fn judged_run(folder: &Path) -> RunDir {
    let mut manifest = full_manifest();
    manifest.constitution.value.judge = Judge { mass_floor: 0.0, ..Judge::default() };
    let mut run = RunDir::create(folder, &manifest).unwrap();
    for (key, odds) in [("a", Some(1.0)), ("b", Some(-1.0)), ("c", Some(0.0)), ("d", None)] {
        let mut steps = vec![
            step(StepKind::Generate, None, "No."),
            step(StepKind::Revise, Some("kind"), "No, sorry."),
        ];
        steps.extend(odds.map(|odds| judged([1, 0], None, odds)));
        write_item(&mut run, &item(key), &steps);
    }
    run.dir().clone()
}

#[test]
fn only_pairs_decided_for_their_chosen_side_are_exported_unless_a_policy_says_otherwise() {
    use DropReason::{NotBetter, Undecided};
    let folder = tempfile::tempdir().unwrap();
    let run = judged_run(folder.path());
    for (policy, written, dropped, unchecked) in [
        (None, 1, vec![(NotBetter, 1), (Undecided, 2)], 0),
        (Some(Policy::Drop), 1, vec![(NotBetter, 1), (Undecided, 2)], 0),
        (Some(Policy::Flip), 2, vec![(Undecided, 2)], 0),
        (Some(Policy::KeepWithLabel), 4, vec![], 1),
        (Some(Policy::Keep), 4, vec![], 4),
    ] {
        let counted = count(&run, &ExportOptions { policy, ..export("trl") }).unwrap();
        assert_eq!(counted, Counts { unchecked, ..counts(written, &dropped) }, "{policy:?}");
    }
}

#[test]
fn plain_columns_are_those_of_the_format_in_both_files() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let plain = ExportOptions { columns: ColumnSet::Plain, ..export("trl") };
    for line in lines(&run, &plain).lines() {
        let row: ExportRow = serde_json::from_str(line).unwrap();
        assert_eq!(row.keys().collect::<Vec<_>>(), ["prompt", "chosen", "rejected"]);
    }
    let path = folder.path().join("plain.parquet");
    let parquet = ExportOptions { file_format: FileFormat::Parquet, ..plain };
    assert_eq!(write_file(&run, &parquet, &path).unwrap().written, 3);
    let rows = parquet_rows(&path);
    assert!(rows.iter().all(|row| row.as_object().unwrap().len() == 3), "{rows:?}");
    // The card describes the columns that there are.
    write_folder(&run, &plain, &whole(Some("mit")), &folder.path().join("data")).unwrap();
    let card = fs::read_to_string(folder.path().join("data/README.md")).unwrap();
    assert!(!card.contains("| `id` |") && card.contains("| `rejected` |"), "{card}");
}

#[test]
fn an_export_without_rows_fails_and_keeps_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(&folder.path().join("run"), &full_manifest()).unwrap();
    run.append(&failed("a")).unwrap();
    let run = run.dir().clone();
    let path = folder.path().join("pairs.jsonl");
    fs::write(&path, "old").unwrap();
    // The manifest has two items.
    let expected = Counts { unended: 1, ..counts(0, &[(DropReason::Failed, 1)]) };
    let target = folder.path().join("data");
    for error in [
        write(&run, &export("trl"), io::sink()),
        write_file(&run, &export("trl"), &path),
        write_folder(&run, &export("trl"), &whole(None), &target),
    ] {
        let Err(ExportError::NoRows(counts)) = error else { panic!("{error:?}") };
        assert_eq!(*counts, expected);
    }
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert!(!target.exists());
    assert_eq!(count(&run, &export("trl")).unwrap(), expected);
}

#[test]
fn ids_that_several_items_have_are_counted_with_the_first_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(folder.path(), &full_manifest()).unwrap();
    for (key, id, revision) in [
        ("a", Some("x"), "Yes!"),
        ("b", Some("x"), "Yes!"),
        ("c", Some("y"), "Yes!"),
        ("d", Some("x"), "Yes!"),
        // No row, and no id.
        ("e", Some("y"), "No."),
        ("f", None, "Yes!"),
        ("g", None, "Yes!"),
    ] {
        let item = Item { id: id.map(str::to_owned), ..item(key) };
        let steps =
            [step(StepKind::Generate, None, "No."), step(StepKind::Revise, Some("kind"), revision)];
        write_item(&mut run, &item, &steps);
    }
    // The two rows of an item have one id.
    for name in ["trl", "kto"] {
        let counts = count(run.dir(), &export(name)).unwrap();
        let expected = DuplicateIds { items: 2, example: "x".to_owned() };
        assert_eq!(counts.duplicate_ids, Some(expected), "{name}");
    }
}

#[test]
fn separators_of_lines_are_escaped_in_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(folder.path(), &full_manifest()).unwrap();
    let revision = "one\u{2028}two\u{2029}three\u{85}four";
    let steps =
        [step(StepKind::Generate, None, "No."), step(StepKind::Revise, Some("kind"), revision)];
    write_item(&mut run, &item("a"), &steps);
    let text = lines(run.dir(), &export("trl"));
    assert!(!text.contains(['\u{2028}', '\u{2029}', '\u{85}']), "{text}");
    let row: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(row["chosen"][0]["content"], revision);
}

#[test]
fn batches_and_row_groups_lose_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunDir::create(folder.path(), &full_manifest()).unwrap();
    // More rows than a batch, and one row larger than a batch.
    for at in 0..2100 {
        let text = "x".repeat(if at == 7 { 9 << 20 } else { 3 });
        let steps = [
            step(StepKind::Generate, None, &format!("a{at}")),
            step(StepKind::Revise, Some("kind"), &format!("{at}{text}")),
        ];
        write_item(&mut writer, &item(&at.to_string()), &steps);
    }
    let export = ExportOptions { file_format: FileFormat::Parquet, ..export("trl") };
    let path = folder.path().join("rows.parquet");
    let counts = write_file(&writer.dir().clone(), &export, &path).unwrap();
    assert_eq!(counts.written, 2100);
    for (at, row) in parquet_rows(&path).iter().enumerate() {
        assert_eq!(row["rejected"][0]["content"], format!("a{at}"));
    }
}

#[test]
fn a_file_has_the_same_rows_as_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"));
    let (path, link) = (folder.path().join("pairs.jsonl"), folder.path().join("link"));
    let export = export("trl");
    let mut out = Vec::new();
    let counts = write(&run, &export, &mut out).unwrap();
    assert_eq!(write_file(&run, &export, &path).unwrap(), counts);
    assert_eq!(fs::read(&path).unwrap(), out);

    // A link stays, and its target is replaced.
    #[cfg(unix)]
    {
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_file(&run, &export, &link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), out);
    }

    let missing = folder.path().join("new/folder");
    write_file(&run, &export, &missing.join("rows.jsonl")).unwrap();
    assert_eq!(fs::read(missing.join("rows.jsonl")).unwrap(), out);
    let no_folder = path.join("new");
    let error = write_file(&run, &export, &no_folder.join("rows.jsonl")).unwrap_err();
    assert_eq!(error.to_string(), format!("failed to write {}", no_folder.display()));
}

#[test]
fn a_contradiction_is_reported_before_a_folder_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"));
    let export =
        ExportOptions { reasoning: ReasoningPolicy::Inline, ..export("constitutional-ai") };
    let error = write_file(&run, &export, &folder.path().join("new/rows.jsonl")).unwrap_err();
    assert!(matches!(error, ExportError::Reasoning { .. }), "{error}");
    assert!(!folder.path().join("new").exists());
}

#[test]
fn a_device_is_written_directly() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let device = Path::new("/dev/full");
    if !device.exists() {
        return; // not every system has one
    }
    for file_format in FileFormat::ALL {
        let export = ExportOptions { file_format, ..export("trl") };
        let error = write_file(&run, &export, device).unwrap_err();
        let ExportError::File { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(!fs::metadata(device).unwrap().is_file());
    }
}

#[test]
fn a_damaged_journal_leaves_no_file_and_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"));
    let journal = run.path().join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replace("Good evening.", "Good morning.")).unwrap();
    let out = folder.path().join("pairs");
    for error in [
        write_file(&run, &export("trl"), &out).unwrap_err(),
        write_folder(&run, &export("trl"), &whole(None), &out).unwrap_err(),
    ] {
        assert!(
            matches!(error, ExportError::Journal(JournalError::Damaged { line: 5, .. })),
            "{error:?}"
        );
    }
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["run"]);
}

/// One split, with or without a card.
pub(super) fn whole(licence: Option<&str>) -> Folder {
    Folder { splits: Splits::train(), seed: 0, licence: licence.map(str::to_owned) }
}

#[test]
fn a_folder_has_one_file_per_split_and_must_be_new() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunDir::create(&folder.path().join("run"), &full_manifest()).unwrap();
    for at in 0..40 {
        // Two items of each prompt.
        let item = Item { key: at.to_string(), ..item(&(at / 2).to_string()) };
        let steps =
            [step(StepKind::Generate, None, "a"), step(StepKind::Revise, Some("kind"), "b")];
        write_item(&mut writer, &item, &steps);
    }
    let run = writer.dir().clone();
    let splits: Splits = "train=0.5,test=0.5".parse().unwrap();
    let layout = Folder { splits, seed: 1, licence: None };
    let out = folder.path().join("new/data");
    let counts = write_folder(&run, &export("trl"), &layout, &out).unwrap();
    let prompts = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(out.join(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["prompt"].to_string())
            .collect()
    };
    let [train, test] = ["train.jsonl", "test.jsonl"].map(prompts);
    assert_eq!(
        counts.splits,
        [("train".to_owned(), train.len() as u64), ("test".to_owned(), test.len() as u64)]
    );
    assert_eq!(train.len() + test.len(), 40);
    assert!(train.iter().all(|prompt| !test.contains(prompt)));

    let again = write_folder(&run, &export("trl"), &layout, &out).unwrap_err();
    assert!(matches!(again, ExportError::Occupied { .. }), "{again:?}");
    let splits = "train=0.999999,test=0.000001".parse().unwrap();
    let tiny = Folder { splits, ..layout };
    let out = folder.path().join("other");
    let error = write_folder(&run, &export("trl"), &tiny, &out).unwrap_err();
    assert!(matches!(&error, ExportError::EmptySplit { name } if name == "test"), "{error:?}");
    assert!(!out.exists());
}

#[test]
fn llamafactory_folders_have_dataset_info() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"));
    for (name, expected) in [
        (
            "llamafactory-alpaca",
            json!({"out_train": {
                "file_name": "train.jsonl", "formatting": "alpaca", "ranking": true,
                "columns": {"prompt": "instruction", "query": "input", "chosen": "chosen",
                    "rejected": "rejected", "system": "system", "history": "history"},
            }}),
        ),
        (
            "llamafactory-sharegpt",
            json!({"out_train": {
                "file_name": "train.jsonl", "formatting": "sharegpt", "ranking": true,
                "columns": {"messages": "conversations", "system": "system",
                    "chosen": "chosen", "rejected": "rejected"},
            }}),
        ),
        (
            "llamafactory-kto",
            json!({"out_train": {
                "file_name": "train.jsonl", "formatting": "sharegpt",
                "columns": {"messages": "conversations", "system": "system", "kto_tag": "kto_tag"},
            }}),
        ),
    ] {
        let out = folder.path().join(name).join("out");
        write_folder(&run, &export(name), &whole(None), &out).unwrap();
        let info = fs::read_to_string(out.join("dataset_info.json")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&info).unwrap(), expected);
    }
}

#[test]
fn the_card_describes_the_dataset_and_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"));
    let out = folder.path().join("politeness");
    let export = ExportOptions { file_format: FileFormat::Parquet, ..export("trl") };
    write_folder(&run, &export, &whole(Some("cc-by-4.0")), &out).unwrap();
    let bytes = fs::metadata(out.join("train.parquet")).unwrap().len().to_string();
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    let constitution = &run.manifest().constitution;
    let card = card.replace(run.hash(), "HASH").replace(&constitution.sha256, "SHA256");
    let card = card.replace(&format!("download_size: {bytes}\n"), "download_size: BYTES\n");
    insta::assert_snapshot!(card.split("<details>").next().unwrap(), @r#"
    ---
    license: cc-by-4.0
    language:
    - "en"
    pretty_name: "politeness"
    task_categories:
    - text-generation
    tags:
    - constitutional-ai
    - preference-data
    - synthetic
    size_categories:
    - n<1K
    configs:
    - config_name: default
      data_files:
      - split: train
        path: train.parquet
    dataset_info:
      features:
      - name: prompt
        list:
        - name: role
          dtype: string
        - name: content
          dtype: string
      - name: chosen
        list:
        - name: role
          dtype: string
        - name: content
          dtype: string
      - name: rejected
        list:
        - name: role
          dtype: string
        - name: content
          dtype: string
      - name: id
        dtype: string
      - name: category
        list: string
      - name: method
        dtype: string
      - name: reason
        dtype: string
      - name: principles
        list: string
      - name: verdict
        dtype: string
      - name: p_chosen
        dtype: float64
      - name: verdict_margin
        dtype: float64
      - name: verdict_mass
        dtype: float64
      - name: log_odds_shown_first
        dtype: float64
      - name: log_odds_shown_second
        dtype: float64
      - name: principle_margins
        dtype: string
      - name: reviewers
        list: string
      - name: reviewed_at
        dtype: string
      - name: run
        dtype: string
      - name: metadata
        dtype: string
      splits:
      - name: train
        num_bytes: 480
        num_examples: 3
      download_size: BYTES
      dataset_size: 480
    ---

    # politeness

    3 pairs, made by amend 0.1.0: a language model answered
    prompts, criticised its answers under the principles of a constitution, and revised
    them. The data is synthetic.

    ```python
    from datasets import load_dataset
    data = load_dataset("PATH OR NAME OF THIS DATASET")
    ```

    Format: `trl` (TRL preferences, conversational); pairing: `last`.

    | column | type |
    | --- | --- |
    | `prompt` | list of {role, content} |
    | `chosen` | list of {role, content} |
    | `rejected` | list of {role, content} |
    | `id` | string |
    | `category` | list of string |
    | `method` | string or null |
    | `reason` | string or null |
    | `principles` | list of string |
    | `verdict` | string or null |
    | `p_chosen` | float64 or null |
    | `verdict_margin` | float64 or null |
    | `verdict_mass` | float64 or null |
    | `log_odds_shown_first` | float64 or null |
    | `log_odds_shown_second` | float64 or null |
    | `principle_margins` | string or null |
    | `reviewers` | list of string |
    | `reviewed_at` | string or null |
    | `run` | string |
    | `metadata` | string or null |

    `id` is the id of the input row, `principles` and `category` are the principles of the
    revision and their categories, `reason` is the model's critique, and `run` is the
    SHA-256 of the run's manifest. `metadata` is the rest of the input row, as JSON text.

    ## How it was made

    | | |
    | --- | --- |
    | model | tiny |
    | model's SHA-256 | `00ff` |
    | model's licence, from its file | not stated |
    | constitution | small 1.2.0 |
    | constitution's SHA-256 | `SHA256` |
    | prompts | 2 |
    | rounds | 1 |
    | principles per round | 2, selected by `random` |
    | critiques | yes |
    | seed | 7 |
    | reproducible mode | no |
    | run | `HASH` |

    | step | temperature | top_p | top_k | min_p | max_tokens |
    | --- | --- | --- | --- | --- | --- |
    | generate | 0.7 | 0.95 | 40 | 0.05 | 256 |
    | critique | 0.7 | 0.95 | 40 | 0.05 | 256 |
    | revise | 0.7 | 0.95 | 40 | 0.05 | 256 |

    ### Principles

    - **kind** (`kind`, manners): Be kind \| always.
    - **true** (`true`, honesty): Be true \| always.
    - **polite** (`polite`, manners): Be polite \| always.
    "#);
    insta::assert_snapshot!(card.split("</details>").nth(1).unwrap(), @r#"
    ## Statistics

    | | rows |
    | --- | --- |
    | train | 3 |
    | dropped: the item failed | 1 |
    | dropped: both sides are the same | 1 |

    | length in characters | min | median | 95th percentile | max |
    | --- | --- | --- | --- | --- |
    | `prompt` | 14 | 18 | 20 | 20 |
    | `chosen` | 5 | 10 | 13 | 13 |
    | `rejected` | 3 | 5 | 8 | 8 |

    Lengths are rounded down to three digits.
    In 100.0 % of the pairs whose responses differ in length, the chosen response is the longer one.

    | category | rows |
    | --- | --- |
    | honesty | 2 |
    | manners | 2 |

    ## Known limits

    - No person checked the responses. They can be wrong, unkind or unsafe.
    - The chosen response is the later one. No judge compared the two, so in some pairs
      the rejected response is the better one.
    - The model wrote the critiques. They may name faults that do not exist.
    - The data has the biases of the model and of the prompts. The terms of both apply in
      addition to the licence of this dataset.
    "#);
    // The full constitution is unchanged.
    let full = card.split("```json\n").nth(1).unwrap().split("\n```\n").next().unwrap();
    let full: Value = serde_json::from_str(full).unwrap();
    assert_eq!(full, constitution.value.to_json());

    let error = write_folder(&run, &export, &whole(Some("CC BY")), &folder.path().join("x"));
    assert!(matches!(error, Err(ExportError::Licence { .. })));
    // JSON Lines next to a card have the types in the card.
    let out = folder.path().join("lines");
    let lines = ExportOptions { file_format: FileFormat::Jsonl, ..export };
    write_folder(&run, &lines, &whole(Some("other")), &out).unwrap();
    let first = fs::read_to_string(out.join("train.jsonl")).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(first["metadata"], r#"{"source":"letters","score":0.1}"#);
}

#[test]
fn formats_are_found_by_name() {
    for (at, format) in FORMATS.iter().enumerate() {
        let found = ExportFormat::named(format.name).unwrap();
        assert_eq!((found.name, found.about), (format.name, FORMATS[at].about));
    }
    assert!(ExportFormat::named("csv").is_none());
}

mod thoughts;
