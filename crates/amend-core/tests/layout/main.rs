//! Checks the layout of the code: which crate and which module may use which. Every crate
//! has its modules in an order, from the lowest floor to the highest, and a module uses
//! only modules on lower floors. The tests read the sources as text and build nothing.
//!
//! To see the modules and what each uses:
//! `cargo test -p amend-core --test layout floors -- --nocapture`

mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use scan::Token;

/// A crate's name, its folder, and its modules from the lowest floor to the highest.
struct Floors {
    name: &'static str,
    folder: &'static str,
    modules: &'static [&'static str],
}

/// A module that is split (`cli`) lists all its parts; its own file is the highest of them.
const CRATES: [Floors; 5] = [
    Floors {
        name: "amend-core",
        folder: "crates/amend-core",
        modules: &[
            "hash",
            "random",
            "document",
            "text",
            "stats",
            "chat",
            "model",
            "judge",
            "record",
            "constitution",
            "prompt",
            "procedure",
            "driver",
        ],
    },
    Floors {
        name: "amend-engine",
        folder: "crates/amend-engine",
        modules: &["network", "shards", "llama", "http", "hub", "source"],
    },
    Floors {
        name: "amend-data",
        folder: "crates/amend-data",
        modules: &["rows", "eval_set", "store", "pairs", "format", "items", "export", "lint"],
    },
    Floors {
        name: "amend-analysis",
        folder: "crates/amend-analysis",
        modules: &[
            "agreement",
            "judge_quality",
            "preference",
            "evaluation",
            "diff",
            "trend",
            "audit",
        ],
    },
    Floors {
        name: "amend",
        folder: "",
        modules: &[
            "review",
            "report",
            "bench",
            "cli::output",
            "measured_costs",
            "cli::args",
            "session",
            "cli::commands",
            "cli",
        ],
    },
];

/// The crates of the project that each crate depends on.
const EDGES: [(&str, &[&str]); 5] = [
    ("amend-core", &[]),
    ("amend-engine", &["amend-core"]),
    ("amend-data", &["amend-core"]),
    ("amend-analysis", &["amend-core", "amend-data"]),
    ("amend", &["amend-analysis", "amend-core", "amend-data", "amend-engine"]),
];

/// Dependencies that would turn the logic into a program, a file format or an engine.
const NOT_IN_CORE: [&str; 4] = ["clap", "arrow", "parquet", "llama-cpp"];

/// Public types that share their name. Rename one and remove the name from the list; never
/// add to it.
const SHARED_NAMES: &[&str] = &[];

/// Enums that every match lists in full, so that the compiler finds every place that a new
/// variant concerns.
const CLOSED: [&str; 2] = ["Failure", "StepKind"];

/// Files that still have a `_` arm in a match over a closed enum, and how many. Shrinks to
/// nothing; never add to it.
const WILDCARDS: &[(&str, usize)] = &[];

/// A source file: its path from the workspace's root and its text.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The sources of a crate, in the order of their paths.
fn sources(folder: &str) -> Vec<Source> {
    let root = root();
    let mut folders = vec![root.join(folder).join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a source folder") {
            let path = entry.expect("an entry of a source folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("source text");
                let path = path.strip_prefix(&root).expect("a path in the workspace");
                sources.push(Source { path: path.display().to_string(), text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// A file without its tests.
struct Module<'a> {
    file: &'a str,
    /// The path from the crate's root; empty for `lib.rs`.
    path: Vec<&'a str>,
    tokens: Vec<Token<'a>>,
}

/// The modules of a crate, without `main.rs`, tests and files of tests.
fn modules(sources: &[Source]) -> Vec<Module<'_>> {
    let mut modules = Vec::new();
    let mut tests: Vec<Vec<&str>> = Vec::new();
    for Source { path: file, text } in sources {
        let (_, inner) = file.split_once("src/").expect("a path below src");
        if inner == "main.rs" {
            continue;
        }
        let mut path: Vec<&str> = inner.trim_end_matches(".rs").split('/').collect();
        path.pop_if(|last| matches!(*last, "mod" | "lib"));
        let (tokens, test_modules) = scan::without_tests(&scan::tokens(text));
        for name in test_modules {
            tests.push(path.iter().copied().chain([name]).collect());
        }
        modules.push(Module { file, path, tokens });
    }
    modules.retain(|module| !tests.iter().any(|test| module.path.starts_with(test)));
    modules
}

/// The place of the module's floor: the longest entry of `floors` that `path` starts with.
fn floor(floors: &[&str], path: &[&str]) -> Option<usize> {
    let matches = floors.iter().enumerate().filter_map(|(at, floor)| {
        let segments: Vec<&str> = floor.split("::").collect();
        path.starts_with(&segments).then_some((segments.len(), at))
    });
    matches.max().map(|(_, at)| at)
}

/// What is wrong with the modules of one crate, and which floors each floor uses.
fn check(floors: &[&str], sources: &[Source]) -> (Vec<String>, Vec<BTreeSet<usize>>) {
    let modules = modules(sources);
    let mut problems = Vec::new();
    let mut uses = vec![BTreeSet::new(); floors.len()];
    for entry in floors {
        let path: Vec<&str> = entry.split("::").collect();
        if !modules.iter().any(|module| module.path == path) {
            problems
                .push(format!("`{entry}` is in the list of floors, but there is no such module"));
        }
    }
    for module in &modules {
        let is_split = floors.iter().any(|floor| {
            let segments: Vec<&str> = floor.split("::").collect();
            segments.len() > module.path.len() && segments.starts_with(&module.path)
        });
        if is_split {
            for name in scan::declared_modules(&module.tokens) {
                let path = [&module.path[..], &[name]].concat().join("::");
                let file = module.file;
                if !floors.contains(&path.as_str()) && !is_split_module(floors, &path) {
                    problems.push(format!(
                        "{file} declares `{path}`, which is missing from the list of floors"
                    ));
                }
            }
        }
        let Some(own) = floor(floors, &module.path) else { continue };
        for path in scan::paths(&module.tokens, &module.path) {
            let (file, line, name) = (module.file, path.line, path.segments.join("::"));
            let Some(used) = floor(floors, &path.segments) else {
                problems
                    .push(format!("{file}:{line} names `crate::{name}`: not in a listed module"));
                continue;
            };
            if used > own {
                let from = floors[own];
                let target = file_of(&modules, &path.segments);
                problems.push(format!(
                    "{file}:{line} (`{from}`) imports `{name}` of {target}, on a higher floor"
                ));
            }
            if used != own {
                uses[own].insert(used);
            }
        }
    }
    (problems, uses)
}

/// Whether an entry of `floors` is part of the module at `path`.
fn is_split_module(floors: &[&str], path: &str) -> bool {
    floors.iter().any(|floor| floor.strip_prefix(path).is_some_and(|rest| rest.starts_with("::")))
}

/// The file of the deepest module that `path` leads to.
fn file_of<'a>(modules: &[Module<'a>], path: &[&str]) -> &'a str {
    let leading = modules.iter().filter(|module| path.starts_with(&module.path));
    leading.max_by_key(|module| module.path.len()).map_or("an unknown file", |module| module.file)
}

/// Prints the floors of a crate and what each uses, lowest first.
fn print_table(floors: &Floors, uses: &[BTreeSet<usize>]) {
    let arrows: usize = uses.iter().map(BTreeSet::len).sum();
    println!("{} ({} modules, {arrows} arrows)", floors.name, floors.modules.len());
    for (at, module) in floors.modules.iter().enumerate() {
        let used: Vec<&str> = uses[at].iter().map(|&used| floors.modules[used]).collect();
        let arrow = if used.is_empty() { "" } else { "-> " };
        println!("{:4} {module:14} {arrow}{}", at + 1, used.join(", "));
    }
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn modules_use_only_lower_floors() {
    let mut problems = Vec::new();
    for crate_floors in &CRATES {
        let sources = sources(crate_floors.folder);
        let (found, uses) = check(crate_floors.modules, &sources);
        print_table(crate_floors, &uses);
        problems.extend(found);
    }
    report(&problems);
}

/// The manifest of a crate.
fn manifest(folder: &str) -> toml::Table {
    let text = std::fs::read_to_string(root().join(folder).join("Cargo.toml"));
    text.expect("a manifest").parse().expect("a manifest in TOML")
}

/// The names under the keys of a manifest, those for single platforms included.
fn dependencies(manifest: &toml::Table, keys: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let platforms = platforms.into_iter().flat_map(|platforms| platforms.values());
    let tables = platforms.filter_map(toml::Value::as_table).chain([manifest]);
    for table in tables {
        for key in keys {
            let listed = table.get(*key).and_then(toml::Value::as_table);
            names.extend(listed.into_iter().flat_map(|listed| listed.keys().cloned()));
        }
    }
    names
}

#[test]
fn crates_depend_on_lower_crates_only() {
    let mut problems = Vec::new();
    for (crate_floors, (name, edges)) in CRATES.iter().zip(EDGES) {
        assert_eq!(crate_floors.name, name);
        let names = dependencies(&manifest(crate_floors.folder), &["dependencies"]);
        let used: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| name.starts_with("amend")).collect();
        if used != edges {
            problems.push(format!("{name} depends on {used:?}, not on {edges:?}"));
        }
        println!("{name} -> {}", used.join(", "));
    }
    let members = std::fs::read_dir(root().join("crates")).expect("the folder of crates").count();
    if members + 1 != CRATES.len() {
        problems.push(format!("{members} crates in crates/: add the new one to this file"));
    }
    report(&problems);
}

#[test]
fn heavy_dependencies_stay_in_their_crates() {
    let mut problems = Vec::new();
    for Floors { name, folder, .. } in &CRATES {
        let manifest = manifest(folder);
        let keys = ["dependencies", "build-dependencies", "dev-dependencies"];
        for dependency in dependencies(&manifest, &keys) {
            let is_llama = dependency.starts_with("llama-cpp");
            if is_llama && *name != "amend-engine" {
                problems.push(format!("{name} names {dependency}: only amend-engine may"));
            }
            let barred = NOT_IN_CORE.iter().any(|prefix| dependency.starts_with(prefix));
            if barred && *name == "amend-core" {
                problems.push(format!("amend-core depends on {dependency}"));
            }
        }
    }
    report(&problems);
}

#[test]
fn public_type_names_are_unique() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for crate_floors in &CRATES {
        for module in modules(&sources(crate_floors.folder)) {
            for name in scan::public_types(&module.tokens) {
                let place = format!("{}:{}", module.file, name.line);
                places.entry(name.text.to_owned()).or_default().push(place);
            }
        }
    }
    let mut problems = Vec::new();
    for (name, places) in &places {
        let allowed = SHARED_NAMES.contains(&name.as_str());
        if places.len() > 1 && allowed {
            println!("shared so far: {name} ({})", places.join(", "));
        } else if places.len() > 1 {
            problems.push(format!("`{name}` is defined in {}", places.join(", ")));
        }
    }
    for name in SHARED_NAMES {
        if places.get(*name).is_none_or(|places| places.len() < 2) {
            problems.push(format!("`{name}` is unique now: remove it from SHARED_NAMES"));
        }
    }
    report(&problems);
}

#[test]
fn matches_over_closed_enums_have_no_wildcard_arm() {
    let mut problems = Vec::new();
    let mut allowed: BTreeMap<&str, usize> = WILDCARDS.iter().copied().collect();
    for crate_floors in &CRATES {
        for module in modules(&sources(crate_floors.folder)) {
            let file = module.file;
            let mut left = allowed.remove(file).unwrap_or(0);
            for (name, line) in scan::wildcards(&module.tokens, &CLOSED) {
                if left > 0 {
                    left -= 1;
                    println!("allowed so far: {file}:{line} (a match over {name})");
                } else {
                    problems.push(format!(
                        "{file}:{line}: `_` in a match over {name}: list the variants"
                    ));
                }
            }
            if left > 0 {
                problems.push(format!("{file} has {left} fewer `_` arms now: correct WILDCARDS"));
            }
        }
    }
    problems.extend(allowed.keys().map(|file| format!("{file} is gone: remove it from WILDCARDS")));
    report(&problems);
}

/// The texts between backticks in a Markdown file.
fn code_in(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(file)).expect("a document");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// All Rust files below `folder`, those of tests included, but not build output.
fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn documents_name_tests_and_files_that_exist() {
    let mut files = Vec::new();
    for folder in ["crates", "src", "tests", "examples"] {
        rust_files(&root().join(folder), &mut files);
    }
    let mut functions = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("source text");
        for pair in
            scan::tokens(&text).windows(2).filter(|pair| ["fn", "mod"].contains(&pair[0].text))
        {
            functions.insert(pair[1].text.to_owned());
        }
    }
    let mut problems = Vec::new();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for code in code_in(document) {
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let is_test = code.chars().all(is_word) && code.matches('_').count() >= 3;
            if is_test && !functions.contains(&code) {
                problems.push(format!("{document} names the test `{code}`, which does not exist"));
            }
            let folders = ["crates/", "src/", "tests/", "docs/", "prompts/", "examples/", ".ci/"];
            let is_path = folders.iter().any(|folder| code.starts_with(folder))
                && !code.contains([' ', '*', '<', '{', '…']);
            if is_path && !root().join(&code).exists() {
                problems.push(format!("{document} names `{code}`, which does not exist"));
            }
        }
    }
    report(&problems);
}

/// A crate with the floors `low`, `mid::part`, `mid`, for tests of the checks.
fn example(low: &str, part: &str, mid: &str) -> Vec<String> {
    let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let sources = [
        file("src/lib.rs", "pub mod low; pub mod mid;"),
        file("src/low/mod.rs", low),
        file("src/mid/mod.rs", mid),
        file("src/mid/part.rs", part),
    ];
    check(&["low", "mid::part", "mid"], &sources).0
}

#[test]
fn an_upward_import_is_reported_with_both_files() {
    let expected =
        ["src/low/mod.rs:2 (`low`) imports `mid::part::X` of src/mid/part.rs, on a higher floor"];
    assert_eq!(example("\nuse crate::mid::part::X;", "", "pub mod part;"), expected);
    assert_eq!(example("\nuse super::mid::{part::X};", "", "pub mod part;"), expected);
    assert_eq!(example("\nfn f(_: crate::mid::part::X) {}", "", "pub mod part;"), expected);
    assert_eq!(
        example("\nmod a { use super::super::mid::part::X; }", "", "pub mod part;"),
        expected
    );
    let up_to_parent = example("", "use super::Y;", "pub mod part;");
    assert_eq!(
        up_to_parent,
        ["src/mid/part.rs:1 (`mid::part`) imports `mid::Y` of src/mid/mod.rs, on a higher floor"]
    );
}

#[test]
fn downward_imports_tests_comments_and_strings_are_fine() {
    let low = "#[cfg(test)] mod tests { use crate::mid::part::X; }\n\
               #[cfg(any(test, feature = \"a\"))] use crate::mid::{part::X};\n\
               // use crate::mid::X;\n\
               const A: &str = r#\"\" crate::mid::X\"#; fn f<'a>(x: &'a str) -> char { '\"' }";
    let none: [&str; 0] = [];
    assert_eq!(example(low, "use crate::low::A;", "pub mod part; use part::B;"), none);
}

#[test]
fn a_module_that_is_not_listed_is_reported() {
    assert_eq!(
        example("", "", "pub mod part; mod extra;"),
        ["src/mid/mod.rs declares `mid::extra`, which is missing from the list of floors"]
    );
    let sources = [Source { path: "src/lib.rs".into(), text: "mod other;".into() }];
    assert_eq!(
        check(&["low"], &sources).0,
        [
            "`low` is in the list of floors, but there is no such module",
            "src/lib.rs declares `other`, which is missing from the list of floors"
        ]
    );
}

#[test]
fn a_wildcard_is_reported_only_in_a_match_over_the_enum() {
    let wildcards = |text| scan::wildcards(&scan::tokens(text), &["StepKind"]);
    let code =
        "match f(x, { 1 }) {\n StepKind::A if x => { a(); }\n StepKind::B { .. } => b,\n _ => c }";
    assert_eq!(wildcards(code), [("StepKind", 4)]);
    let nested = "match x { StepKind::A => match y { Some(_) => 1, _ => 2 }, StepKind::B => 3 }";
    assert_eq!(wildcards(nested), []);
    assert_eq!(wildcards("match x { Other::A => StepKind::A, _ => StepKind::B }"), []);
}
