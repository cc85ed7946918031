//! Runs the commands of the documentation as a reader would type them.
//!
//! Each document gets a sandbox with `examples`, `constitutions`, `prompts` and the
//! files that its commands mention: a made-up run, pairs, a constitution. The test runs
//! commands that need no model, and single prompts on a tiny model with a small loop.
//! All other commands (runs, judgements, audits, evaluations, servers, the review page)
//! would take minutes. For them, `documented_calls_parse` (`src/cli/mod.rs`) checks the
//! flags, and the tests of each command run it. Of `SKILL.md`, every command is run: an agent
//! types them as they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Place, made, tiny_model_path};

/// The commands of amend that need no model.
const WITHOUT_MODEL: [&str; 9] =
    ["check", "completions", "diff", "export", "init", "lint", "man", "report", "schema"];
/// Other programs' commands that prepare files for amend.
const PREPARING: [&str; 3] = ["cp", "mkdir", "sed"];

/// A command in a document, and the output that the document shows.
struct Documented {
    line: String,
    prints: Vec<String>,
}

/// The README, the skill for agents, the documents in `docs`, and the pages on sets, clusters and training.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = [
        "README.md",
        "SKILL.md",
        "examples/sets/README.md",
        "examples/cluster/README.md",
        "examples/train/README.md",
    ];
    let mut documents = pages.map(|page| root.join(page)).to_vec();
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(docs.filter(|path| path.extension().is_some_and(|name| name == "md")));
    documents
}

/// The commands in a document's console blocks, with continued lines joined.
fn commands(document: &str) -> Vec<Documented> {
    let joined = document.replace("\\\n", " ");
    let mut all: Vec<Documented> = Vec::new();
    let mut inside = false;
    for line in joined.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let (true, Some(line)) = (inside, line.strip_prefix("$ ")) {
            all.push(Documented { line: line.to_owned(), prints: Vec::new() });
        } else if let (true, Some(command)) = (inside, all.last_mut()) {
            command.prints.push(line.to_owned());
        }
    }
    all
}

/// Whether the command is run here: see the module.
fn is_run(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |flag: &str| words.contains(&flag);
    match words.as_slice() {
        ["amend", "render", ..] => !has("-m"),
        ["amend", "score", ..] => has("--loss"),
        ["amend", "review", ..] => has("--summary"),
        // Verdicts that a later command of the document uses.
        ["amend", "judge", "runs/mine", ..] => has("--name"),
        ["amend", "judge", "pairs.jsonl", ..] => has("--out"),
        ["amend", command, ..] if WITHOUT_MODEL.contains(command) => true,
        // A prompt, with flags for the output only.
        ["amend", first, ..] if first.starts_with(['"', '-']) => {
            !has("-m") && !has("-hf") && !has("-c") && !has("-ngl")
        }
        ["echo", ..] => line.contains("| amend") && !has("-c"),
        [first, ..] => PREPARING.contains(first),
        [] => false,
    }
}

/// Whether a documented command may end with this exit code. Checks may have findings.
fn may_end_with(line: &str, code: Option<i32>) -> bool {
    // The tiny model writes few lists, or none.
    let is_check = ["amend lint", "amend check --lint", "amend prompts"]
        .iter()
        .any(|command| line.starts_with(command));
    code == Some(0) || (is_check && code == Some(1))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A folder with the files that documents mention.
fn sandbox(readme: &str) -> Place {
    let place = Place::new();
    let small = std::fs::read_to_string(place.path("small.toml")).unwrap();
    // The small loop's templates make room for the documented ones.
    std::fs::rename(place.path("prompts"), place.path("small-prompts")).unwrap();
    for folder in ["examples", "constitutions", "prompts"] {
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &place.path(folder));
    }
    let runs = [
        "runs/mine",
        "runs/before",
        "runs/after",
        "runs/all",
        "runs/gated",
        "runs/audit",
        "audit",
        "DIR",
        "made-up",
    ];
    let words: Vec<_> = (1..=20).map(made::ordinary).collect();
    for run in runs {
        made::write(&place.path(run), "", &words);
    }
    let (_, support) = readme.split_once("```toml\n").expect("a constitution in the README");
    place.write("support.toml", support.split_once("```").unwrap().0);
    for name in ["my.toml", "mine.toml"] {
        place.write(name, &small);
    }
    for judge in ["strong.gguf", "a.gguf", "b.gguf"] {
        std::fs::copy(tiny_model_path("words"), place.path(judge)).unwrap();
    }
    place.write("prompts.jsonl", "\"Why is it dark?\"\n\"Why is it cold?\"\n");
    place.write("benchmark.jsonl", "{\"prompt\": \"Which planet is the largest?\"}\n");
    let exported = place.run(&mut place.amend("export runs/mine --out pairs.jsonl"));
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    std::fs::create_dir(place.path("dataset")).unwrap();
    std::fs::copy(place.path("pairs.jsonl"), place.path("dataset/train.jsonl")).unwrap();
    place.write(
        "tokenizer.json",
        r#"{"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"}}"#,
    );
    place
}

/// Runs the commands of a document in order. Returns the failures and the number of
/// commands that were run.
fn run_document(path: &Path, readme: &str) -> (Vec<String>, usize) {
    let place = sandbox(readme);
    let binary = Path::new(env!("CARGO_BIN_EXE_amend")).parent().unwrap();
    let search = std::env::join_paths(
        [binary.to_owned(), "/usr/bin".into(), "/bin".into()].iter().map(PathBuf::as_path),
    );
    let search = search.unwrap();
    let is_skill = path.ends_with("SKILL.md");
    let mut failures = Vec::new();
    let mut runs = 0;
    for Documented { line, prints } in commands(&std::fs::read_to_string(path).unwrap()) {
        if !(is_skill || is_run(&line)) {
            continue;
        }
        runs += 1;
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &line])
            .current_dir(place.path(""))
            .env_clear()
            .env("PATH", &search)
            .env("HOME", place.path(""))
            .env("AMEND_THREADS", "1");
        if !WITHOUT_MODEL.iter().any(|command| line.starts_with(&format!("amend {command}")))
            && !line.starts_with("amend render")
        {
            shell.env("AMEND_MODEL", tiny_model_path("words"));
            if !is_skill {
                shell.env("AMEND_CONSTITUTION", "small.toml").env("AMEND_PROMPTS", "small-prompts");
            }
        }
        let ran = place.run(&mut shell);
        let place_in_docs = format!("{}: $ {line}", path.display());
        if !may_end_with(&line, ran.code) {
            failures.push(format!(
                "{place_in_docs}\nended with {:?}: {}{}",
                ran.code, ran.out, ran.err
            ));
        }
        let printed = ran.out + &ran.err;
        for expected in prints.iter().filter(|text| !text.is_empty()) {
            if !printed.contains(expected.as_str()) {
                failures.push(format!("{place_in_docs}\nshould print {expected:?}: {printed}"));
            }
        }
    }
    (failures, runs)
}

#[test]
fn documented_commands_work() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let mut failures = Vec::new();
    let mut runs = 0;
    for path in documents() {
        let (document_failures, document_runs) = run_document(&path, &readme);
        failures.extend(document_failures);
        runs += document_runs;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(runs >= 40, "only {runs} commands were run");
}

#[test]
fn the_skill_has_the_front_matter_that_agents_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("SKILL.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (front, _) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let value = |key: &str| {
        let line = front.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
        line.unwrap_or_else(|| panic!("{key} is missing: {front}")).to_owned()
    };
    assert_eq!(value("name"), "amend");
    let description = value("description");
    // The limit of the Agent Skills format. A colon and a space would end a plain YAML value.
    assert!(description.len() <= 1024 && description.contains("Use when"), "{description}");
    assert!(!description.contains(": ") && !description.contains(" #"), "{description}");
    assert!(text.lines().count() <= 150, "{} lines", text.lines().count());
}

#[test]
fn links_between_documents_are_valid() {
    let mut links = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            let to = path.parent().unwrap().join(target);
            assert!(to.exists(), "{} links to {target}, which does not exist", path.display());
        }
    }
    assert!(links > 60, "only {links} links were found");
}
