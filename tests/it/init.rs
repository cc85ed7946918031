//! `amend init` and the settings of a folder, and what amend says to those who begin.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::server::{Server, says};
use crate::common::{Place, Ran, tiny_model_path};

/// Runs lines in one shell, as a reader would paste them.
fn run_in_shell(place: &Place, lines: &str) -> Ran {
    let binary = Path::new(env!("CARGO_BIN_EXE_amend")).parent().unwrap();
    let search = [binary.to_owned(), PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
    let mut shell = Command::new("bash");
    shell
        .args(["-e", "-c", lines])
        .current_dir(place.path(""))
        .env_clear()
        .env("PATH", std::env::join_paths(search).unwrap())
        .env("HOME", place.path(""))
        .env("XDG_CONFIG_HOME", place.path("config"))
        .env("AMEND_MODEL", tiny_model_path("words"))
        .env("AMEND_THREADS", "1");
    place.run(&mut shell)
}

#[test]
fn the_commands_that_init_prints_work() {
    let place = Place::new();
    let ran = place.run(place.amend("init").arg("my rules"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    for name in ["constitution.toml", "prompts.jsonl", "amend.toml"] {
        assert!(ran.out.contains(&format!("wrote my rules/{name}: ")), "{}", ran.out);
    }
    let (_, next) = ran.out.split_once("next:\n").unwrap();
    let commands: Vec<&str> = next.lines().map(str::trim).collect();
    assert_eq!((commands.len(), commands[0]), (4, "cd 'my rules'"));
    let ran = run_in_shell(&place, next);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    // The check has no remarks, and the run uses the constitution of the folder.
    assert!(ran.out.starts_with("constitution.toml: a constitution of 3 principles\n"), "{ran:?}");
    assert!(ran.out.contains("prompts.jsonl: 20 input rows\n"), "{ran:?}");
    assert!(ran.err.contains("amend.toml: the constitution is constitution.toml\n"), "{ran:?}");
    assert!(ran.err.contains("20 of 20 items done"), "{ran:?}");
    assert!(place.path("my rules/runs/first/report.html").exists());
}

#[test]
fn init_overwrites_nothing() {
    let place = Place::new();
    std::fs::create_dir(place.path("mine")).unwrap();
    place.write("mine/prompts.jsonl", "\"mine\"\n");
    let ran = place.run(&mut place.amend("init mine"));
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("error: mine/prompts.jsonl exists\n"), "{}", ran.err);
    assert_eq!(std::fs::read_dir(place.path("mine")).unwrap().count(), 1);
    place.write("file", "");
    let ran = place.run(&mut place.amend("init file/folder"));
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("failed to create the folder file/folder"), "{}", ran.err);
    // In the current folder, the next commands need no `cd`.
    let ran = place.run(&mut place.amend("init ."));
    assert_eq!((ran.code, ran.out.contains("cd ")), (Some(0), false), "{}", ran.out);
}

#[test]
fn a_folder_chooses_the_constitution_and_never_the_model() {
    let place = Place::new();
    let server = Server::start(|_| says("Tea."));
    place.write("amend.toml", "constitution = \"small.toml\"\nprompts = \"prompts\"\n");
    let own = format!("model = {:?}\nconstitution = \"honest\"\n", server.url);
    std::fs::create_dir_all(place.path("config/amend")).unwrap();
    place.write("config/amend/config.toml", own);
    let ran = place.run(&mut place.amend("hi"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("amend.toml: the constitution is small.toml\n"), "{}", ran.err);
    // The templates are those of the folder.
    let asked = server.asked();
    assert!(asked.iter().any(|asked| asked.last().contains("Say it better.")), "{asked:?}");
    // A flag and a variable take precedence.
    let flag = place.run(&mut place.amend("render hi -c small.toml"));
    let variable = place.run(place.amend("render hi").env("AMEND_CONSTITUTION", "small.toml"));
    assert_eq!((flag.err.as_str(), variable.err.as_str()), ("", ""));

    let before = server.asked().len();
    place.write("amend.toml", format!("model = {:?}\n", server.url));
    let ran = place.run(&mut place.amend("hi"));
    assert_eq!((ran.code, server.asked().len()), (Some(2), before));
    assert!(ran.err.contains(" --> amend.toml:1:1\n"), "{}", ran.err);
    assert!(ran.err.contains("can't choose the model"), "{}", ran.err);
}

#[test]
fn a_folder_chooses_no_constitution_that_appends_to_a_log() {
    let place = Place::new();
    let logging = "[constitution]\nname = 'l'\nextends = ['small.toml']\n[governance]\n\
                   log = ['manners']\nlog_file = 'secret.txt'\n";
    place.write("logging.toml", logging);
    place.write("amend.toml", "constitution = 'logging.toml'\n");
    let ran = place.run(&mut place.amend("render hi"));
    assert_eq!(ran.code, Some(2), "{}", ran.out);
    assert!(ran.err.contains("with a governance log\nhelp: read it, then"), "{}", ran.err);
    let ran = place.run(&mut place.amend("render hi -c logging.toml"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn a_command_without_a_model_says_in_five_lines_how_to_get_one() {
    let place = Place::new();
    place.write("one.jsonl", "\"Why?\"\n");
    for line in ["Why?", "run one.jsonl --out new", "prompts"] {
        let ran = place.run(&mut place.amend(line));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{line}");
        let (_, help) = ran.err.split_once("error: no model is given\n").unwrap();
        assert_eq!(help.lines().filter(|line| line.starts_with("help: ")).count(), 5, "{help}");
        for way in ["-hf ", "-m MODEL.gguf", "-m http://", "examples/fetch-model", "AMEND_MODEL"] {
            assert!(help.contains(way), "{way}: {help}");
        }
        assert!(help.contains("`model` in PLACE/config/amend/config.toml"), "{help}");
    }
}
