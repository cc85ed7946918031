//! The user's config file: defaults for flags.
//!
//! It is `amend/config.toml` in the user's config folder (`~/.config` on Linux).
//! Flags take precedence over environment variables, and those over the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcetera::BaseStrategy;
use serde::Deserialize;

use crate::cli::output::error::CommandError;
use amend_core::document::diagnostic::{Diagnostic, Diagnostics};
use amend_engine::http::Address;
use amend_engine::llama::{GpuLayers, Switch};

/// The settings of the config file.
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
}

/// The path of the config file. `None` if there is no home folder.
#[must_use]
pub fn path() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.config_dir().join("amend").join("config.toml"))
}

impl Config {
    /// Reads the user's config file. Without a file, the config is empty.
    ///
    /// # Errors
    /// The file can't be read or is invalid.
    pub fn load() -> Result<Self, CommandError> {
        let Some(path) = path() else { return Ok(Self::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(CommandError::failed(format!("read {}", path.display()), source)),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CommandError> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let name = path.display().to_string();
            let source: Arc<str> = text.into();
            Diagnostics(vec![Diagnostic::new(name, &source, span, error.message())])
        })?;
        // Paths in the file are relative to its folder.
        let folder = path.parent().unwrap_or(Path::new(""));
        for file in [&mut config.model, &mut config.prompts].into_iter().flatten() {
            if !file.to_str().is_some_and(Address::is_meant) {
                *file = folder.join(&file);
            }
        }
        // A bare name is that of a shipped constitution.
        if let Some(reference) = &mut config.constitution
            && (reference.ends_with(".toml") || reference.contains('/'))
        {
            *reference = folder.join(&reference).to_string_lossy().into_owned();
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
