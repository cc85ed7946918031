//! Where a model is, and how an engine is made of it: one way for whatever
//! model a command needs, the one that writes or the one that judges.

use std::path::PathBuf;

use super::llama::{Llama, Model};
use crate::{http, llama};
use amend_core::model::{Engine, EngineError};

/// Where a model is, and how it is to be run.
#[derive(Debug, Clone)]
pub enum Source {
    /// A GGUF file, run in this process.
    File {
        /// The file.
        path: PathBuf,
        /// How llama.cpp runs it.
        settings: Box<llama::Settings>,
    },
    /// A server.
    Endpoint(Box<http::Settings>),
}

impl Source {
    /// How many requests are under way at once, where the user named no number.
    pub fn set_default_parallel(&mut self, width: usize) {
        let parallel = match self {
            Self::File { settings, .. } => &mut settings.parallel,
            Self::Endpoint(settings) => &mut settings.parallel,
        };
        if *parallel == 0 {
            *parallel = width;
        }
    }

    /// Loads the file. An endpoint is asked for nothing yet.
    ///
    /// # Errors
    /// See [`Model::load`].
    pub fn load(self) -> Result<Loaded, EngineError> {
        match self {
            Self::File { path, settings } => {
                Ok(Loaded::File { model: Box::new(Model::load(&path, &settings)?), settings })
            }
            Self::Endpoint(settings) => Ok(Loaded::Endpoint(settings)),
        }
    }
}

/// What engines are made of, and must outlive them.
pub enum Loaded {
    /// A model in memory.
    File {
        /// The model.
        model: Box<Model>,
        /// How llama.cpp runs it.
        settings: Box<llama::Settings>,
    },
    /// A server.
    Endpoint(Box<http::Settings>),
}

impl Loaded {
    /// For one that judges: a file's as [`llama::Settings::for_reading`].
    #[must_use]
    pub fn for_reading(self) -> Self {
        match self {
            Self::File { model, settings } => {
                Self::File { model, settings: Box::new(settings.for_reading()) }
            }
            Self::Endpoint(_) => self,
        }
    }

    /// An engine.
    ///
    /// # Errors
    /// A context that can't be made; a server that can't be used.
    pub fn engine(&self) -> Result<Box<dyn Engine + '_>, EngineError> {
        Ok(match self {
            Self::File { model, settings } => Box::new(Llama::new(model, settings)?),
            Self::Endpoint(settings) => Box::new(http::Http::connect(settings)?),
        })
    }
}
