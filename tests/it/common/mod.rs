//! Runs the program in a temporary folder, isolated from the user's settings.

pub mod browser;
pub mod http;
pub mod hub;
pub mod made;
pub mod models;
pub mod server;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use amend_core::record::Step;
use amend_data::store::run_dir::RunDir;

pub use models::{example_model_path, tiny_model_path};

/// A constitution whose loop is cheap: one principle, short steps, short prompts. It
/// needs the templates below.
const SMALL: &str = r#"
[constitution]
name = "small"
version = "1.0.0"

[loop]
rounds = 1
few_shot = 0

[sampling.generate]
max_tokens = 6

[sampling.critique]
max_tokens = 4

[sampling.revise]
max_tokens = 6

[[principle]]
id = "kind"
title = "Kindness"
category = "manners"
principle = "The answer is kind."
"#;

const CRITIQUE: &str = r#"{% call turn("user") %}{{ fence(response, "answer") }}
What is wrong?{% endcall %}"#;

const REVISE: &str = r#"{% call turn("user") %}{{ fence(response, "answer") }}
Say it better.{% endcall %}"#;

/// The variables that decide which GPU there is, and how many layers it gets.
const GPU_VARIABLES: [&str; 3] =
    ["AMEND_N_GPU_LAYERS", "GGML_VK_VISIBLE_DEVICES", "VK_DRIVER_FILES"];

/// A temporary folder to run the program in.
pub struct Place {
    folder: tempfile::TempDir,
}

/// Whether a text has words of thoughts. Those of the tiny models that think differ from the
/// words of their answers.
pub fn has_thoughts(text: &str) -> bool {
    ["mull", "ponder", "weigh", "doubt"].iter().any(|word| text.contains(word))
}

/// Whether a line of stderr reports progress: `3 of 8 items, …` or `loading the model x …`.
fn is_progress(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let is_number = |word: &str| word.parse::<u64>().is_ok();
    let counts_items = match words[..] {
        [ended, "of", all, "item" | "items"] => is_number(ended) && is_number(all),
        [ended, "of", all, "item," | "items,", ..] => is_number(ended) && is_number(all),
        _ => false,
    };
    let takes_long = ["loading the model ", "measuring ", "computing the checksum "];
    counts_items || (line.ends_with(" …") && takes_long.iter().any(|what| line.starts_with(what)))
}

/// The result of a run of the program.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    /// A folder with `small.toml` and, in `prompts`, its templates.
    pub fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.path("prompts")).unwrap();
        place.write("small.toml", SMALL);
        place.write("prompts/critique.j2", CRITIQUE);
        place.write("prompts/revise.j2", REVISE);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The steps of all items of a run.
    pub fn steps(&self, run: &str) -> Vec<Step> {
        let run = RunDir::open(&self.path(run)).unwrap();
        run.trajectories().unwrap().flat_map(|trajectory| trajectory.unwrap().steps).collect()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// The program without a model. The arguments are separated by blanks. Of the user's
    /// variables it gets only those of [`GPU_VARIABLES`].
    pub fn amend(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amend"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| GPU_VARIABLES.iter().any(|of| name == of)))
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The program with a tiny model and the small loop.
    pub fn small(&self, arguments: &str) -> Command {
        let mut command = self.amend(arguments);
        command
            .env("AMEND_MODEL", tiny_model_path("words"))
            .env("AMEND_CONSTITUTION", "small.toml")
            .env("AMEND_PROMPTS", "prompts")
            // Tests run in parallel, so each uses one thread.
            .env("AMEND_THREADS", "1")
            .env("AMEND_PARALLEL", "4");
        command
    }

    /// The program with the example model and the small loop, for a test that needs a
    /// model which understands text.
    pub fn understanding(&self, arguments: &str) -> Command {
        let mut command = self.small(arguments);
        command.env("AMEND_MODEL", example_model_path());
        command
    }

    /// Runs a command until it exits. The folder's path is replaced by PLACE, and what is only
    /// printed if the machine is slow is left out: progress, and what takes long.
    pub fn run(&self, command: &mut Command) -> Ran {
        let output = command.output().unwrap();
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&self.folder.path().display().to_string(), "PLACE")
        };
        let mut err = text(output.stderr);
        if err.lines().any(is_progress) {
            let lines = err.split_inclusive('\n').filter(|line| !is_progress(line.trim_end()));
            err = lines.collect();
        }
        Ran { code: output.status.code(), out: text(output.stdout), err }
    }
}
