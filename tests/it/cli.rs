//! The command line, mostly without a model: help, wrong usage, bad input, checks.

use std::process::{Command, Stdio};

use crate::common::server::{Server, says};
use crate::common::{Place, Ran, tiny_model_path};

/// Runs a command with bytes on stdin.
fn run_with_stdin(place: &Place, command: &mut Command, input: &[u8]) -> Ran {
    place.write("stdin", input);
    command.stdin(std::fs::File::open(place.path("stdin")).unwrap());
    place.run(command)
}

/// What a terminal would show, and the exit code.
fn transcript(line: &str, ran: &Ran) -> String {
    let code = ran.code.map_or("none".to_owned(), |code| code.to_string());
    format!("$ {line}\n{}{}[exit code {code}]\n\n", ran.out, ran.err)
}

#[test]
fn help_texts_match_their_snapshots() {
    let place = Place::new();
    let help = place.run(&mut place.amend("--help"));
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    insta::assert_snapshot!("help-amend", help.out);
    for command in amend::cli::command_names() {
        let ran = place.run(&mut place.amend(&format!("{command} --help")));
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
        insta::assert_snapshot!(format!("help-{command}"), ran.out);
    }
    let version = place.run(&mut place.amend("--version"));
    assert_eq!(version.out, format!("amend {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_errors_have_hints() {
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
    .map(|line| transcript(&format!("amend {line}"), &place.run(&mut place.amend(line))))
    .collect();
    insta::assert_snapshot!("mistakes", all);
    assert!(!place.path("new").exists(), "a refused run creates no folder");
}

#[test]
fn input_errors_name_file_line_and_byte() {
    let place = Place::new();
    let long = vec![b'a'; 10_000_000];
    let mut transcripts = String::new();
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
        transcripts += &transcript(&format!("amend {line}"), &place.run(&mut place.amend(&line)));
    }
    for (name, line, content) in [
        ("not UTF-8", "", b"one\ncaf\xe9\n".as_slice()),
        ("10 MB", "", &long),
        ("nothing", "", b""),
        ("blanks", "-", b" \n"),
        ("nothing", "run - --out new", b""),
    ] {
        let ran = run_with_stdin(&place, &mut place.amend(line), content);
        transcripts += &transcript(&format!("({name}) | amend {line}"), &ran);
    }
    insta::assert_snapshot!("bad-input", transcripts);
    assert!(!place.path("new").exists());
}

#[test]
fn truncated_model_is_refused() {
    let place = Place::new();
    let model = std::fs::read(tiny_model_path("words")).unwrap();
    for length in [10, 1 << 12, model.len() / 2] {
        place.write("cut.gguf", &model[..length]);
        let ran = place.run(&mut place.amend("hi -m cut.gguf"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{}", ran.err);
        let error = "error: failed to load model cut.gguf: ";
        assert!(ran.err.contains(error), "{length}: {}", ran.err);
        assert!(ran.err.contains("\nhelp: "), "{length}: {}", ran.err);
    }
}

#[test]
fn config_file_sets_the_model_and_is_checked() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("config/amend")).unwrap();
    place.write("config/amend/config.toml", "model = \"mine.gguf\"\n");
    let ran = place.run(&mut place.amend("hi"));
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("PLACE/config/amend/mine.gguf: no such file"), "{}", ran.err);
    place.write("config/amend/config.toml", "modle = \"mine.gguf\"\n");
    let ran = place.run(&mut place.amend("hi"));
    insta::assert_snapshot!("config", transcript("amend hi", &ran));
}

#[test]
fn check_reports_all_errors_at_once() {
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
    insta::assert_snapshot!("check", transcript(&format!("amend {line}"), &ran));
    // Errors that a check finds are findings. Using the file is wrong usage.
    let used = place.run(&mut place.amend("hi -c bad.toml"));
    assert_eq!((ran.code, used.code), (Some(1), Some(2)));
}

#[test]
fn shipped_files_are_valid() {
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
    assert_eq!((ran.code, ran.err.lines().count()), (Some(0), 1), "{}", ran.err);
    assert!(ran.err.starts_with("examples/prompts.jsonl: JSON Lines, "), "{}", ran.err);
    assert!(command.get_args().count() >= 7, "{}", ran.out);

    let schema = place.run(&mut place.amend("schema"));
    assert_eq!(schema.out, std::fs::read_to_string("constitutions/schema.json").unwrap());
}

#[test]
fn render_shows_the_turns_without_a_model() {
    let place = Place::new();
    let line = "render Why? -c small.toml --prompts prompts --step revise --response Because.";
    let ran = place.run(&mut place.amend(line));
    insta::assert_snapshot!("render", transcript(&format!("amend {line}"), &ran));
    let json = place.run(&mut place.amend(&format!("{line} --json")));
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let content = value["turns"][0]["content"].as_str().unwrap();
    assert!(ran.out.contains(content), "{content}");
    assert!(value["tokens"].is_null());
}

#[test]
fn parallel_is_lowered_to_the_limit_of_llama_cpp() {
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
    insta::assert_snapshot!("render-tokens", transcript("amend render Why? --step generate", &ran));
    let json = place.run(&mut place.small("render Why? --step generate --json"));
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let texts = value["tokens"]["texts"].as_array().unwrap();
    assert_eq!(value["tokens"]["count"], texts.len());
    assert!(texts.iter().any(|text| text == "W"), "{texts:?}");
}

#[test]
fn closed_stdout_is_no_error() {
    let place = Place::new();
    for line in ["--help", "run --help", "schema", "render hi", "check harmless"] {
        let mut child = place.amend(line).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*err), (Some(0), ""), "{line}");
    }
}

/// Runs amend in a pseudo-terminal, which `script` provides.
#[cfg(target_os = "linux")]
fn run_in_terminal(place: &Place, arguments: &str, variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new("script");
    command
        .args(["-qec", &format!("{} {arguments}", env!("CARGO_BIN_EXE_amend")), "/dev/null"])
        .current_dir(place.path(""))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", place.path(""))
        .env("XDG_CONFIG_HOME", place.path("config"))
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    place.run(&mut command)
}

#[cfg(target_os = "linux")]
#[test]
fn control_characters_are_escaped_on_a_terminal_only() {
    const HIDDEN: &str = "Hi \u{1b}[8mhidden\u{1b}[0m \u{9b}2J";
    const VISIBLE: &str = "Hi \\u{1b}[8mhidden\\u{1b}[0m \\u{9b}2J";
    let place = Place::new();
    place.write("in.jsonl", format!("{}\n", serde_json::Value::from(HIDDEN)));
    let no_color = [("NO_COLOR", "1")];
    let plain =
        "[constitution]\nname = \"p\"\nextends = [\"small.toml\"]\n[judge]\nenabled = false\n";
    place.write("plain.toml", plain);
    let server = Server::start(|_| says(HIDDEN));
    let model = format!("-c plain.toml --prompts prompts -m {}", server.url);
    for arguments in [
        format!("hi {model}"),
        format!("hi --show {model}"),
        format!("run in.jsonl --preview 1 {model}"),
        "render --input in.jsonl --step generate".to_owned(),
    ] {
        let shown = run_in_terminal(&place, &arguments, &no_color).out;
        assert!(shown.contains(VISIBLE), "{arguments}: {shown:?}");
        assert!(!shown.contains(['\u{1b}', '\u{9b}']), "{arguments}: {shown:?}");
        let piped = place.run(&mut place.amend(&arguments)).out;
        assert!(piped.contains(HIDDEN), "{arguments}: {piped:?}");
    }
    let shown = run_in_terminal(&place, &format!("check '{HIDDEN}'"), &no_color).out;
    assert!(!shown.contains(['\u{1b}', '\u{9b}']), "an error: {shown:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn amend_alone_on_a_terminal_says_what_to_do() {
    let place = Place::new();
    let shown = run_in_terminal(&place, "", &[("NO_COLOR", "1")]);
    assert_eq!(shown.code, Some(2), "{}", shown.out);
    let said = ["error: no prompt is given", "amend \"", "amend init", "amend run", "amend --help"];
    for text in said {
        assert!(shown.out.contains(text), "{text}: {}", shown.out);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn colour_is_used_on_terminals_unless_no_color_is_set() {
    let place = Place::new();
    place.write("bad.toml", "nonsense\n");
    let colored = |no_color: &str| {
        let ran = run_in_terminal(&place, "check bad.toml", &[("NO_COLOR", no_color)]);
        assert!(ran.out.contains("bad.toml"), "{}", ran.out);
        ran.out.contains('\u{1b}')
    };
    assert!(colored(""));
    assert!(!colored("1"));
    let piped = place.run(&mut place.amend("check bad.toml"));
    assert!(!piped.err.contains('\u{1b}'));
}

#[test]
fn check_lint_reports_vague_wording() {
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
        "vague.toml: a constitution of 1 principle\n  tone: its `judge` question contains the \
         vague word \"appropriate\"; say what the better response does\n"
    );
    let sound = place.run(&mut place.amend("check --lint small.toml"));
    assert_eq!(sound.code, Some(0), "{}", sound.out);
}

#[test]
fn completions_exist_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = place.run(&mut place.amend(&format!("completions {shell}")));
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{shell}");
        for word in amend::cli::command_names().iter().map(String::as_str).chain(["retry-errors"]) {
            assert!(ran.out.contains(word), "{shell}: {word}");
        }
    }
    // Bash completes a command with its script.
    place.write("script", place.run(&mut place.amend("completions bash")).out);
    let script = "source ./script; COMP_WORDS=(amend exp); COMP_CWORD=1; _amend amend exp amend; \
                 echo ${COMPREPLY[@]}";
    let ran = place.run(Command::new("bash").arg("-c").arg(script).current_dir(place.path("")));
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
    let commands = amend::cli::command_names();
    let mut expected = vec!["amend.1".to_owned()];
    expected.extend(commands.iter().map(|command| format!("amend-{command}.1")));
    expected.sort();
    assert_eq!(pages, expected);
    assert_eq!(ran.out, format!("new/man1: {} manual pages\n", expected.len()));
    let page = std::fs::read_to_string(place.path("new/man1/amend-export.1")).unwrap();
    assert!(page.contains(".TH amend-export 1") && page.contains("licence"), "{page}");
    place.write("file", "");
    let ran = place.run(&mut place.amend("man file/man1"));
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("failed to create the folder file/man1"), "{}", ran.err);
}

#[test]
fn constitution_reference_is_current() {
    let place = Place::new();
    let ran = place.run(&mut place.amend("schema --markdown"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/constitution-reference.md");
    let reference = std::fs::read_to_string(path).unwrap_or_default();
    let (_, tables) = reference.split_once("-->\n\n").unwrap_or_default();
    let advice = "replace what follows its comment by the output of amend schema --markdown";
    assert!(tables == ran.out, "{path} is stale: {advice}");
    let sets = place.run(&mut place.amend("schema --set --markdown"));
    assert!(sets.out.contains("### `[item.checks]`\n"), "{}", sets.out);
}
