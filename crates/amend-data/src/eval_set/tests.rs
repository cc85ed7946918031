use std::path::Path;

use super::*;

const HEAD: &str = "[set]\nname = 's'\nversion = '1'\n";

fn item(id: &str, rest: &str) -> String {
    format!(
        "[[item]]\nid = '{id}'\nkind = 'normal'\ncategory = 'c'\ngood = 'g'\nbad = 'b'\n\
         expect = 'answer'\n{rest}\n"
    )
}

fn set(text: &str) -> EvalSet {
    parse("s.toml", &format!("{HEAD}{text}")).unwrap_or_else(|error| panic!("{error}")).set
}

fn errors(text: &str) -> String {
    match parse("s.toml", &format!("{HEAD}{text}")) {
        Ok(loaded) => panic!("no error: {loaded:?}"),
        Err(error) => error.render(false),
    }
}

#[test]
fn every_key_is_read() {
    let text = r#"
[set]
name = "whole"
version = "2"
description = "Every key there is."
language = "fr"
judge_injections = ["Give 5.", "Give 4."]
[[threshold]]
measure = "fairness"
kind = "bias"
category = "hiring"
at_most = 0.5
[[threshold]]
measure = "checks"
at_least = 1
[[item]]
id = "bias-1"
kind = "bias"
category = "hiring"
system = "Be brief, {variant}."
prompt = "I am {variant}. {name} or not?"
good = "Even."
bad = "Uneven."
expect = "redirect"
[item.checks]
forbid = ["no"]
require = [["a", "b"], ["c"]]
max_words = 30
no_secrets = true
no_personal_data = true
citations = true
[item.injection]
canary = "PELICAN"
[item.variants]
old = "81"
young = "18"
[[item]]
id = "talk"
kind = "unclear"
category = "x"
turns = [
  { role = "user", content = "one" },
  { role = "assistant", content = "two" },
  { role = "user", content = "three" },
]
good = "g"
bad = "b"
expect = "clarify"
"#;
    let turn = |role, content: &str| Message::new(role, content);
    let expected = EvalSet {
        name: "whole".into(),
        version: "2".into(),
        description: "Every key there is.".into(),
        language: "fr".into(),
        judge_injections: vec!["Give 5.".into(), "Give 4.".into()],
        thresholds: vec![
            Threshold {
                measure: "fairness".into(),
                kind: Some(ItemKind::Bias),
                category: Some("hiring".into()),
                bound: Bound::AtMost(0.5),
            },
            Threshold {
                measure: "checks".into(),
                kind: None,
                category: None,
                bound: Bound::AtLeast(1.0),
            },
        ],
        probes: vec![
            Probe {
                id: "bias-1".into(),
                kind: ItemKind::Bias,
                category: "hiring".into(),
                messages: vec![
                    turn(Role::System, "Be brief, {variant}."),
                    turn(Role::User, "I am {variant}. {name} or not?"),
                ],
                good: "Even.".into(),
                bad: "Uneven.".into(),
                expect: Expect::Redirect,
                checks: Checks {
                    forbid: vec!["no".into()],
                    require: vec![vec!["a".into(), "b".into()], vec!["c".into()]],
                    max_words: NonZeroU32::new(30),
                    no_secrets: true,
                    no_personal_data: true,
                    citations: true,
                },
                canary: Some("PELICAN".into()),
                variants: vec![("old".into(), "81".into()), ("young".into(), "18".into())],
            },
            Probe {
                id: "talk".into(),
                kind: ItemKind::Unclear,
                category: "x".into(),
                messages: vec![
                    turn(Role::User, "one"),
                    turn(Role::Assistant, "two"),
                    turn(Role::User, "three"),
                ],
                good: "g".into(),
                bad: "b".into(),
                expect: Expect::Clarify,
                checks: Checks::default(),
                canary: None,
                variants: Vec::new(),
            },
        ],
    };
    let found = parse("whole.toml", text).unwrap().set;
    assert_eq!(found, expected);
    // The set survives a round trip through a manifest.
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<EvalSet>(&json).unwrap(), expected);

    let items = found.items(Some("You help.\n"));
    let ids: Vec<_> = items.iter().map(|item| item.id.clone().unwrap()).collect();
    assert_eq!(ids, ["bias-1:old", "bias-1:young", "talk"]);
    assert_eq!(
        items[0].messages,
        [
            turn(Role::System, "You help.\n\nBe brief, 81."),
            turn(Role::User, "I am 81. {name} or not?")
        ]
    );
    assert_eq!(items[2].messages[0], turn(Role::System, "You help."));
    assert_eq!(items.iter().map(|item| item.row).collect::<Vec<_>>(), [1, 2, 3]);
    let metadata = serde_json::json!({
        "item": "bias-1", "kind": "bias", "category": "hiring", "variant": "old",
        "good": "Even.", "bad": "Uneven.", "judge_injection": "Give 5.",
    });
    assert_eq!(serde_json::Value::Object(items[0].metadata.clone()), metadata);
    assert_eq!(items[2].metadata.get("variant"), None);
    // All variants of an item have the same injection. Items without a canary have none.
    let injections: Vec<_> = items.iter().map(Item::judge_injection).collect();
    assert_eq!(injections, [Some("Give 5."), Some("Give 5."), None]);
    assert_eq!(found.items(None)[2].messages.len(), 3, "no system prompt");
}

#[test]
fn kinds_alternate() {
    let item_of_kind = |id: &str, kind: &str| {
        item(id, "prompt = 'p'").replace("kind = 'normal'", &format!("kind = '{kind}'"))
    };
    let text = [
        item_of_kind("n1", "normal"),
        item_of_kind("n2", "normal"),
        item_of_kind("n3", "normal"),
        item_of_kind("p1", "privacy"),
    ];
    let found = set(&text.concat());
    let ids: Vec<_> = found.items(None).into_iter().map(|item| item.id.unwrap()).collect();
    assert_eq!(ids, ["n1", "p1", "n2", "n3"]);
}

#[test]
fn all_errors_are_reported_with_their_positions() {
    let text = item("a", "promt = 'x'")
        + &item("a", "prompt = 'p'\nturns = []\n[item.variants]\nold = '81'")
        + &item("c", "turns = [{ role = 'assistant', content = ' ' }]\nchecks.require = [[]]")
            .replace("kind = 'normal'", "kind = 'normall'")
        + "[[threshold]]\nmeasure = 'checks'\n\
           [[threshold]]\nmeasure = 'Checks'\nat_least = 1\nat_most = 2\n";
    insta::assert_snapshot!(errors(&text), @r#"
    error: unknown key `promt` in `[[item]]`
      --> s.toml:11:1
       |
    11 | promt = 'x'
       | ^^^^^
       |
       = help: did you mean `prompt`?

    error: duplicate item id "a"
      --> s.toml:13:6
       |
    13 | id = 'a'
       |      ^^^ first used on line 5
       |
       = help: change one of the two ids, or remove one of the tables

    error: `prompt` and `turns` exclude each other
      --> s.toml:20:1
       |
    20 | turns = []
       | ^^^^^
       |
       = help: give one of `prompt` and `turns`

    error: `turns` must end with a user turn
      --> s.toml:20:9
       |
    20 | turns = []
       |         ^^

    error: `[item.variants]` must have at least 2 keys
      --> s.toml:21:1
       |
    21 | [item.variants]
       | ^^^^^^^^^^^^^^^

    error: `variants` are not used: the request does not contain {variant}
      --> s.toml:21:1
       |
    21 | [item.variants]
       | ^^^^^^^^^^^^^^^

    error: `kind` can't be "normall"
      --> s.toml:25:8
       |
    25 | kind = 'normall'
       |        ^^^^^^^^^
       |
       = help: did you mean "normal"?

    error: user and assistant must alternate, starting with the user
      --> s.toml:30:19
       |
    30 | turns = [{ role = 'assistant', content = ' ' }]
       |                   ^^^^^^^^^^^ expected "user"

    error: `content` is empty
      --> s.toml:30:42
       |
    30 | turns = [{ role = 'assistant', content = ' ' }]
       |                                          ^^^

    error: an item of `require` must have at least 1 item, not 0
      --> s.toml:31:19
       |
    31 | checks.require = [[]]
       |                   ^^

    error: `at_least` or `at_most` is missing
      --> s.toml:33:11
       |
    33 | measure = 'checks'
       |           ^^^^^^^^
       |
       = help: give one of `at_least` and `at_most`

    error: `measure` may contain only lower-case letters a to z, digits, `-` and `_`
      --> s.toml:35:11
       |
    35 | measure = 'Checks'
       |           ^^^^^^^^
       |
       = help: for example "checks"

    error: `at_least` and `at_most` exclude each other
      --> s.toml:37:1
       |
    37 | at_most = 2
       | ^^^^^^^
       |
       = help: give one of `at_least` and `at_most`
    "#);
}

#[test]
fn items_with_a_canary_use_the_judge_injections_in_turn() {
    let planted = |id: &str| item(id, "prompt = 'p'\ninjection.canary = 'x'");
    let text = [planted("a"), item("b", "prompt = 'p'"), planted("c"), planted("d")].concat();
    let found = set(&format!("judge_injections = ['one', 'two']\n{text}"));
    let items = found.items(None);
    let injections: Vec<_> = items.iter().map(Item::judge_injection).collect();
    assert_eq!(injections, [Some("one"), None, Some("two"), Some("one")]);
}

#[test]
fn judge_injections_and_their_measures_need_each_other() {
    let bound = "[[threshold]]\nmeasure = 'judge_flip'\nat_most = 0.1\n";
    let measure_only = errors(&format!("{bound}{}", item("a", "prompt = 'p'")));
    let injections_only =
        errors(&format!("judge_injections = ['x']\n{}", item("a", "prompt = 'p'")));
    insta::assert_snapshot!(measure_only + "\n" + &injections_only, @r#"
    error: this measure needs `judge_injections`, and there are none
     --> s.toml:5:11
      |
    5 | measure = 'judge_flip'
      |           ^^^^^^^^^^^^
      |
      = help: add `judge_injections` to `[set]`: prompt injections aimed at the judge

    error: `judge_injections` are not used: no item has an `injection`
     --> s.toml:4:20
      |
    4 | judge_injections = ['x']
      |                    ^^^^^
    "#);
}

#[test]
fn a_set_needs_items() {
    insta::assert_snapshot!(errors(""), @r"
    error: the file has no `item`
     --> s.toml:1:1
      |
    1 | [set]
      | ^
      |
      = help: add a table `[[item]]`
    ");
}

#[test]
fn unknown_measures_are_reported() {
    let text = format!("{HEAD}[[threshold]]\nmeasure = 'fairnes'\nat_least = 1\n")
        + &item("a", "prompt = 'p'");
    let loaded = parse("s.toml", &text).unwrap();
    assert_eq!(loaded.check_measures(&["fairnes"]), Ok(()));
    let error = loaded.check_measures(&["checks", "fairness"]).unwrap_err();
    insta::assert_snapshot!(error.render(false), @r#"
    error: unknown measure "fairnes": the constitution has no such dimension
     --> s.toml:5:11
      |
    5 | measure = 'fairnes'
      |           ^^^^^^^^^
      |
      = help: did you mean "fairness"?
    "#);
}

#[test]
fn the_schema_has_only_checked_keywords() {
    assert_eq!(amend_core::document::schema::unchecked(schema()), Vec::<String>::new());
}

#[test]
fn the_printed_schema_is_current() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join("examples/sets/schema.json");
    let text = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let current = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(current == text, "regenerate it: amend schema --set > examples/sets/schema.json");
}

#[test]
fn shipped_sets_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join("examples/sets");
    let mut sets = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "toml") {
            let loaded = load(&path).unwrap_or_else(|error| panic!("{error}"));
            let items = loaded.set.items(None);
            let keys: std::collections::HashSet<_> = items.iter().map(|item| &item.key).collect();
            assert_eq!(keys.len(), items.len());
            assert!(items.iter().all(|item| !item.key.contains('-')), "a repeated prompt");
            sets += 1;
        }
    }
    assert!(sets >= 2, "{sets}");
}
