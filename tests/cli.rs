//! The command line without a model: help, bad input, checks.

mod common;

use std::process::{Command, Stdio};

use common::{Place, Ran, model_path};

/// A command that is given bytes on stdin.
fn fed(place: &Place, command: &mut Command, input: &[u8]) -> Ran {
    place.write("stdin", input);
    command.stdin(std::fs::File::open(place.path("stdin")).unwrap());
    place.run(command)
}

/// What a terminal would show, and the exit code.
fn told(line: &str, ran: &Ran) -> String {
    let code = ran.code.map_or("none".to_owned(), |code| code.to_string());
    format!("$ {line}\n{}{}[exit code {code}]\n\n", ran.out, ran.err)
}

#[test]
fn help_is_this() {
    let place = Place::new();
    let all = [
        "",
        "run",
        "export",
        "judge",
        "eval",
        "score",
        "review",
        "audit",
        "diff",
        "report",
        "check",
        "lint",
        "render",
        "bench",
        "schema",
        "completions",
        "man",
    ];
    for command in all {
        let ran = place.run(&mut place.amend(&format!("{command} --help")));
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
        let name = if command.is_empty() { "amend" } else { command };
        insta::assert_snapshot!(format!("help-{name}"), ran.out);
    }
    let version = place.run(&mut place.amend("--version"));
    assert_eq!(version.out, format!("amend {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_mistake_in_the_call_is_said_with_its_remedy() {
    let place = Place::new();
    place.write("one.jsonl", "\"Why?\"\n");
    std::fs::create_dir_all(place.path("full")).unwrap();
    place.write("full/thesis.tex", "");
    let all: String = [
        "hi",
        "hi --frobnicate",
        "hi --json --show",
        "hi -c harmles",
        "hi -c zebra",
        "hi -c nowhere.toml",
        "hi --prompts nowhere",
        "hi --rounds 0",
        "hi --temp 9",
        "hi -m nowhere.gguf",
        "hi -m one.jsonl",
        "hi -m .",
        "run one.jsonl",
        "run one.jsonl --out full",
        "run one.jsonl --out new --resume",
        "run one.jsonl --out new --retry-errors",
        "run one.jsonl --out new --limit 0",
        "run one.jsonl --dry-run",
        "run nowhere.jsonl --out new",
        "run one.jsonl --out new --field question",
        "export nowhere",
        "export full --format csv",
        "render",
        "render hi --principle harmful",
        "render hi -c small.toml --principle zebra",
        "render --input one.jsonl --row 2",
    ]
    .iter()
    .map(|line| told(&format!("amend {line}"), &place.run(&mut place.amend(line))))
    .collect();
    insta::assert_snapshot!("mistakes", all);
    assert!(!place.path("new").exists(), "a refused run leaves no folder");
}

#[test]
fn bad_input_is_named_by_file_line_and_byte() {
    let place = Place::new();
    let long = vec![b'a'; 10_000_000];
    let mut told_all = String::new();
    for (name, content) in [
        ("bytes.jsonl", b"\"fine\"\n{\"prompt\": \"caf\xe9\"}\n".as_slice()),
        ("bytes.txt", b"fine\ncaf\xe9\n"),
        ("long.txt", &long),
        ("empty.jsonl", b""),
        ("blank.txt", b" \n\n\t\n"),
        ("array.json", b"[\n\"a\",\n\"b\"\n]\n"),
        ("wrong.jsonl", b"{\"prompt\": \"a\"\n{\"text\": 7}\n[]\n{\"messages\": []}\n\"\"\n"),
    ] {
        place.write(name, content);
        let line = format!("run {name} --out new");
        told_all += &told(&format!("amend {line}"), &place.run(&mut place.amend(&line)));
    }
    for (name, line, content) in [
        ("not UTF-8", "", b"one\ncaf\xe9\n".as_slice()),
        ("10 MB", "", &long),
        ("nothing", "", b""),
        ("blanks", "-", b" \n"),
        ("not UTF-8", "--jsonl", b"\"one\"\n\"caf\xe9\"\n"),
        ("10 MB", "--jsonl", &long),
        ("nothing", "--jsonl", b""),
        ("not JSON", "--jsonl", b"{\"prompt\": \n"),
        ("nothing", "run - --out new", b""),
    ] {
        let ran = fed(&place, &mut place.amend(line), content);
        told_all += &told(&format!("({name}) | amend {line}"), &ran);
    }
    insta::assert_snapshot!("bad-input", told_all);
    assert!(!place.path("new").exists());
}

#[test]
fn a_model_that_was_cut_short_is_refused() {
    let place = Place::new();
    let model = std::fs::read(model_path()).unwrap();
    for length in [10, 1 << 20, model.len() / 2] {
        place.write("cut.gguf", &model[..length]);
        let ran = place.run(&mut place.amend("hi -m cut.gguf"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{}", ran.err);
        let error = "error: failed to load model cut.gguf: ";
        assert!(ran.err.contains(error), "{length}: {}", ran.err);
        assert!(ran.err.contains("\nhelp: "), "{length}: {}", ran.err);
    }
}

#[test]
fn the_config_file_names_a_model_and_is_checked() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("config/amend")).unwrap();
    place.write("config/amend/config.toml", "model = \"mine.gguf\"\n");
    let ran = place.run(&mut place.amend("hi"));
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("PLACE/config/amend/mine.gguf: no such file"), "{}", ran.err);
    place.write("config/amend/config.toml", "modle = \"mine.gguf\"\n");
    insta::assert_snapshot!("config", told("amend hi", &place.run(&mut place.amend("hi"))));
}

#[test]
fn check_finds_everything_wrong_at_once() {
    let place = Place::new();
    place.write(
        "bad.toml",
        "[constitution]\nname = \"x\"\nversoin = \"1\"\n\n[[principle]]\nid = \"a\"\n",
    );
    std::fs::create_dir(place.path("set")).unwrap();
    place.write("set/critique.j2", "{% call turn(\"user\") %}{{ respnse }}{% endcall %}\n");
    place.write("in.jsonl", "\"a\"\n{}\n");
    let line = "check small.toml bad.toml set prompts in.jsonl nowhere.toml honest";
    let ran = place.run(&mut place.amend(line));
    insta::assert_snapshot!("check", told(&format!("amend {line}"), &ran));
    // What a check finds is a finding; what can't be used is a wrong call.
    let used = place.run(&mut place.amend("hi -c bad.toml"));
    assert_eq!((ran.code, used.code), (Some(1), Some(2)));
}

#[test]
fn what_is_shipped_is_clean() {
    let place = Place::new();
    let mut command = place.amend("check examples/prompts.jsonl prompts");
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir("constitutions").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            command.arg(path);
        }
    }
    let ran = place.run(&mut command);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(command.get_args().count() >= 7, "{}", ran.out);

    let schema = place.run(&mut place.amend("schema"));
    assert_eq!(schema.out, std::fs::read_to_string("constitutions/schema.json").unwrap());
}

#[test]
fn render_shows_the_turns_without_a_model() {
    let place = Place::new();
    let line = "render Why? -c small.toml --prompts prompts --step revise --response Because.";
    let ran = place.run(&mut place.amend(line));
    insta::assert_snapshot!("render", told(&format!("amend {line}"), &ran));
    let json = place.run(&mut place.amend(&format!("{line} --json")));
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let content = value["turns"][0]["content"].as_str().unwrap();
    assert!(ran.out.contains(content), "{content}");
    assert!(value["tokens"].is_null());
}

#[test]
fn more_sequences_than_llama_cpp_has_are_said_to_be_fewer() {
    let place = Place::new();
    let line = "render Why? --step generate --ctx-size 4096 --parallel";
    for (parallel, is_lowered) in [("124", false), ("125", true)] {
        let ran = place.run(place.small(line).arg(parallel));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(ran.err.contains("--parallel 125 is lowered to 124"), is_lowered, "{}", ran.err);
    }
}

#[test]
fn render_shows_the_tokens_of_a_model() {
    let place = Place::new();
    let ran = place.run(&mut place.small("render Why? --step generate"));
    insta::assert_snapshot!("render-tokens", told("amend render Why? --step generate", &ran));
    let json = place.run(&mut place.small("render Why? --step generate --json"));
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let texts = value["tokens"]["texts"].as_array().unwrap();
    assert_eq!(value["tokens"]["count"], texts.len());
    assert!(texts.iter().any(|text| text == "Why"), "{texts:?}");
}

#[test]
fn nobody_reading_is_no_error() {
    let place = Place::new();
    for line in ["--help", "run --help", "schema", "render hi", "check harmless"] {
        let mut child = place.amend(line).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*err), (Some(0), ""), "{line}");
    }
}

/// `script` gives the program a terminal.
#[cfg(target_os = "linux")]
#[test]
fn colour_is_for_terminals_and_not_under_no_color() {
    let place = Place::new();
    place.write("bad.toml", "nonsense\n");
    let colored = |no_color: &str| {
        let program = env!("CARGO_BIN_EXE_amend");
        let mut command = Command::new("script");
        command
            .args(["-qec", &format!("{program} check bad.toml"), "/dev/null"])
            .current_dir(place.path(""))
            .env("NO_COLOR", no_color)
            .stdin(Stdio::null());
        let ran = place.run(&mut command);
        assert!(ran.out.contains("bad.toml"), "{}", ran.out);
        ran.out.contains('\u{1b}')
    };
    assert!(colored(""));
    assert!(!colored("1"));
    let piped = place.run(&mut place.amend("check bad.toml"));
    assert!(!piped.err.contains('\u{1b}'));
}

#[test]
fn wording_is_remarked_on_where_that_is_asked_for() {
    let place = Place::new();
    place.write(
        "vague.toml",
        "constitution.name = 'v'\n[[principle]]\nid = 'tone'\nprinciple = 'A good tone.'\n\
         judge = 'Which answer has an appropriate tone?'\n",
    );
    let plain = place.run(&mut place.amend("check vague.toml"));
    assert_eq!(
        (plain.code, plain.out.as_str()),
        (Some(0), "vague.toml: a constitution of 1 principle\n")
    );
    let linted = place.run(&mut place.amend("check --lint vague.toml"));
    assert_eq!(linted.code, Some(1));
    assert_eq!(
        linted.out,
        "vague.toml: a constitution of 1 principle\n  tone: \"appropriate\" in its `judge` question \
         can mean anything; say what the better answer does\n"
    );
    let sound = place.run(&mut place.amend("check --lint small.toml"));
    assert_eq!(sound.code, Some(0), "{}", sound.out);
}

#[test]
fn every_shell_gets_a_script_that_names_every_command() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = place.run(&mut place.amend(&format!("completions {shell}")));
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{shell}");
        for word in ["judge", "completions", "retry-errors"] {
            assert!(ran.out.contains(word), "{shell}: {word}");
        }
    }
    // A shell that is there reads its script, and completes by it.
    place.write("script", place.run(&mut place.amend("completions bash")).out);
    let asked = "source ./script; COMP_WORDS=(amend exp); COMP_CWORD=1; _amend amend exp amend; \
                 echo ${COMPREPLY[@]}";
    let ran = place.run(Command::new("bash").arg("-c").arg(asked).current_dir(place.path("")));
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("export\n", ""));
    let ran = place.run(&mut place.amend("completions tcsh"));
    assert_eq!(ran.code, Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    let ran = place.run(&mut place.amend("man new/man1"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let mut pages: Vec<String> = std::fs::read_dir(place.path("new/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let expected = [
        "",
        "-audit",
        "-bench",
        "-check",
        "-completions",
        "-diff",
        "-eval",
        "-export",
        "-judge",
        "-lint",
        "-man",
        "-render",
        "-report",
        "-review",
        "-run",
        "-schema",
        "-score",
    ];
    let mut named = expected.map(|name| format!("amend{name}.1"));
    named.sort();
    assert_eq!(pages, named);
    assert_eq!(ran.out, format!("new/man1: {} manual pages\n", expected.len()));
    let page = std::fs::read_to_string(place.path("new/man1/amend-export.1")).unwrap();
    assert!(page.contains(".TH amend-export 1") && page.contains("licence"), "{page}");
    place.write("file", "");
    let ran = place.run(&mut place.amend("man file/man1"));
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("failed to make the folder file/man1"), "{}", ran.err);
}

#[test]
fn the_reference_of_constitutions_is_current() {
    let place = Place::new();
    let ran = place.run(&mut place.amend("schema --markdown"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/constitution-reference.md");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let (_, tables) = kept.split_once("-->\n\n").unwrap_or_default();
    let advice = "make it anew below its comment: amend schema --markdown";
    assert!(tables == ran.out, "{path} is stale; {advice}");
    let sets = place.run(&mut place.amend("schema --set --markdown"));
    assert!(sets.out.contains("### `[item.checks]`\n"), "{}", sets.out);
}
