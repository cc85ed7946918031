//! Config files: defaults for flags.
//!
//! The user's is `amend/config.toml` in the user's config folder (`~/.config` on Linux). A
//! project's is `amend.toml` in the current folder, and takes precedence. Flags take precedence
//! over environment variables, and those over the files.
//!
//! A project may come from another person, so its file sets only what can't send data anywhere:
//! the constitution and the prompt templates.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcetera::BaseStrategy;
use serde::Deserialize;

use crate::cli::output::error::CommandError;
use amend_core::document::diagnostic::Diagnostic;
use amend_engine::http::Address;
use amend_engine::llama::{GpuLayers, Switch};

/// The name of a project's config file.
pub const PROJECT_FILE: &str = "amend.toml";

/// The settings of the config files.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The model's GGUF file, or the address of a server.
    pub model: Option<PathBuf>,
    /// The constitution: a file, or the name of a shipped one.
    pub constitution: Option<String>,
    /// A folder of prompt templates.
    pub prompts: Option<PathBuf>,
    /// Sequences decoded together.
    pub parallel: Option<usize>,
    /// Size of the KV cache, in tokens.
    pub ctx_size: Option<u32>,
    /// Threads.
    pub threads: Option<usize>,
    /// Layers on the GPU: a number, `auto` or `all`.
    pub n_gpu_layers: Option<GpuLayers>,
    /// Which texts are decoded with prompt lookup: `auto`, `on` or `off`.
    pub speculate: Option<Switch>,
    /// The constitution of the project.
    #[serde(skip)]
    pub project_constitution: Option<String>,
}

/// The settings of a project's config file.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ProjectConfig {
    constitution: Option<String>,
    prompts: Option<PathBuf>,
}

/// The path of the config file. `None` if there is no home folder.
#[must_use]
pub fn path() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.config_dir().join("amend").join("config.toml"))
}

impl Config {
    /// Reads the config files of the user and of the project. A file that does not exist sets
    /// nothing.
    ///
    /// # Errors
    /// A file can't be read or is invalid.
    pub fn load() -> Result<Self, CommandError> {
        let user = match path() {
            Some(path) => read(&path)?.map(|text| Self::parse(&path, &text)).transpose()?,
            None => None,
        };
        let project = Path::new(PROJECT_FILE);
        let project = match read(project)? {
            Some(text) => ProjectConfig::parse(project, &text)?,
            None => ProjectConfig::default(),
        };
        let user = user.unwrap_or_default();
        Ok(Self {
            prompts: project.prompts.or(user.prompts),
            project_constitution: project.constitution,
            ..user
        })
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CommandError> {
        let mut config: Self = toml::from_str(text).map_err(|error| mistake(path, text, &error))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for file in [&mut config.model, &mut config.prompts].into_iter().flatten() {
            if !file.to_str().is_some_and(Address::is_meant) {
                *file = folder.join(&file);
            }
        }
        resolve_constitution(&mut config.constitution, folder);
        Ok(config)
    }
}

impl ProjectConfig {
    fn parse(path: &Path, text: &str) -> Result<Self, CommandError> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let mistake = mistake(path, text, &error);
            mistake.with_hint(
                "this file sets only `constitution` and `prompts`, so that a folder from another \
                 person can't choose the model; other settings belong in your own config file",
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if let Some(prompts) = &mut config.prompts {
            *prompts = folder.join(&prompts);
        }
        resolve_constitution(&mut config.constitution, folder);
        Ok(config)
    }
}

/// The text of a file; `None` if it does not exist.
fn read(path: &Path) -> Result<Option<String>, CommandError> {
    let failed = |error| CommandError::failed(format!("read {}", path.display()), error);
    // A link to nowhere is a mistake, not a missing file.
    if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    // A pipe or a device might never end.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(failed(ErrorKind::InvalidInput.into()).hinted("it is not a file"));
    }
    std::fs::read_to_string(path).map(Some).map_err(failed)
}

/// A mistake in a config file.
fn mistake(path: &Path, text: &str, error: &toml::de::Error) -> Diagnostic {
    let source: Arc<str> = text.into();
    let span = error.span().unwrap_or(0..0);
    Diagnostic::new(path.display().to_string(), &source, span, error.message())
}

/// Makes a path relative to the folder of the config file. A bare name is that of a shipped
/// constitution.
fn resolve_constitution(constitution: &mut Option<String>, folder: &Path) {
    if let Some(reference) = constitution
        && (reference.ends_with(".toml") || reference.contains('/'))
    {
        *reference = folder.join(&reference).to_string_lossy().into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::document::diagnostic::Diagnostics;

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "model = \"m.gguf\"\nprompts = \"/p\"\nparallel = 4\n";
        let config = Config::parse(Path::new("/home/a/.config/amend/config.toml"), text).unwrap();
        assert_eq!(config.model, Some(PathBuf::from("/home/a/.config/amend/m.gguf")));
        assert_eq!(config.prompts, Some(PathBuf::from("/p")));
        assert_eq!(config.parallel, Some(4));
        let text = "model = \"http://localhost:8080/v1\"";
        let config = Config::parse(Path::new("/c/config.toml"), text).unwrap();
        assert_eq!(config.model, Some(PathBuf::from("http://localhost:8080/v1")));
        let constitution = |written: &str| {
            let text = format!("constitution = {written:?}");
            Config::parse(Path::new("/c/config.toml"), &text).unwrap().constitution.unwrap()
        };
        assert_eq!(constitution("mine.toml"), "/c/mine.toml");
        assert_eq!(constitution("honest"), "honest");
    }

    #[test]
    fn unknown_settings_are_underlined() {
        let error = Config::parse(Path::new("c.toml"), "threads = 2\nmodle = \"x\"\n").unwrap_err();
        let diagnostics = error.error.downcast_ref::<Diagnostics>().unwrap();
        assert_eq!(diagnostics.0[0].line(), 2);
        assert!(diagnostics.0[0].message.contains("modle"), "{}", diagnostics.0[0].message);
    }

    #[test]
    fn a_project_chooses_no_model() {
        let parse = |text| ProjectConfig::parse(Path::new(PROJECT_FILE), text);
        let config = parse("constitution = 'mine.toml'\nprompts = 'templates'\n").unwrap();
        assert_eq!(config.constitution.as_deref(), Some("mine.toml"));
        assert_eq!(config.prompts, Some(PathBuf::from("templates")));
        for text in ["model = 'http://example.com/v1'\n", "parallel = 2\n"] {
            let error = parse(text).unwrap_err();
            let diagnostics = error.error.downcast_ref::<Diagnostics>().unwrap();
            let hint = diagnostics.0[0].hint.as_deref().unwrap();
            assert!(hint.contains("can't choose the model"), "{hint}");
        }
    }

    #[test]
    fn only_a_missing_file_sets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("amend.toml");
        assert_eq!(read(&path).unwrap(), None);
        std::fs::create_dir(&path).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("amend.toml"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nowhere_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("amend.toml");
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("amend.toml"));
    }
}
