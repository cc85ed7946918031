//! `amend init`: a folder to start from, with a constitution, prompts and settings.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::config::PROJECT_FILE;
use crate::cli::output::error::CommandError;
use crate::cli::output::{next, print};

/// The files, what each is, and their texts.
const FILES: [(&str, &str, &str); 3] = [
    (
        "constitution.toml",
        "three principles, with comments that explain every part",
        include_str!("init/constitution.toml"),
    ),
    ("prompts.jsonl", "twenty prompts to replace", include_str!("init/prompts.jsonl")),
    (PROJECT_FILE, "settings of the folder", include_str!("init/amend.toml")),
];

/// Write a constitution, prompts and settings to start from
///
/// The files are examples with comments, to be changed. Nothing is overwritten.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder to write them to. It is created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the files.
///
/// # Errors
/// A file of one of the names exists, or can't be written.
pub fn run(args: &InitArgs) -> Result<(), CommandError> {
    let folder = &args.folder;
    let exists = |name: &str| folder.join(name).symlink_metadata().is_ok();
    if let Some((name, ..)) = FILES.iter().find(|(name, ..)| exists(name)) {
        return Err(CommandError::usage(
            format!("{} exists", folder.join(name).display()),
            "name another folder: amend init does not overwrite files",
        ));
    }
    fs::create_dir_all(folder).map_err(|error| {
        CommandError::failed(format!("create the folder {}", folder.display()), error)
    })?;
    let mut text = String::new();
    for (name, what, content) in FILES {
        let path = folder.join(name);
        let opened = OpenOptions::new().write(true).create_new(true).open(&path);
        opened
            .and_then(|mut file| file.write_all(content.as_bytes()))
            .map_err(|error| CommandError::failed(format!("write {}", path.display()), error))?;
        text.push_str(&format!("wrote {}: {what}\n", path.display()));
    }
    text.push_str("next:\n");
    if folder != Path::new(".") {
        let name = folder.display().to_string();
        // `cd` would take the name for a flag.
        let name = if name.starts_with('-') { format!("./{name}") } else { name };
        text.push_str(&format!("  cd {}\n", next::quoted(&name)));
    }
    text.push_str(
        "  amend check --lint constitution.toml prompts.jsonl\n  \
           amend run prompts.jsonl --out runs/first\n  \
           amend report runs/first\n",
    );
    print::text(&text)
}
