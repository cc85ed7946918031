//! Where a model is, and how to create an engine for it. Commands use it for the model
//! that writes and for the one that judges.

use std::path::PathBuf;

use super::llama::{Llama, Model};
use crate::hub::{DownloadObserver, HubModel, HubSettings};
use crate::{http, hub, llama};
use amend_core::model::{Capabilities, Engine, EngineError, PromptTokens};

/// Where a model is, and the settings to run it with.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// A GGUF file, run in this process.
    File {
        /// The file.
        path: PathBuf,
        /// The settings of llama.cpp.
        settings: Box<llama::LlamaSettings>,
    },
    /// A GGUF file in a repository of the Hugging Face Hub, run in this process.
    Hub {
        /// The model in its repository.
        model: HubModel,
        /// Where it is downloaded from, and to.
        hub: HubSettings,
        /// The settings of llama.cpp.
        settings: Box<llama::LlamaSettings>,
    },
    /// A server.
    Endpoint(Box<http::EndpointSettings>),
}

impl ModelSource {
    /// What an engine over this model can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Self::File { .. } | Self::Hub { .. } => llama::CAPABILITIES,
            Self::Endpoint(_) => http::CAPABILITIES,
        }
    }

    /// Sets how many requests are in flight at once, unless the user chose a number.
    pub fn set_default_parallel(&mut self, width: usize) {
        let parallel = match self {
            Self::File { settings, .. } | Self::Hub { settings, .. } => &mut settings.parallel,
            Self::Endpoint(settings) => &mut settings.parallel,
        };
        if *parallel == 0 {
            *parallel = width;
        }
    }

    /// The settings of llama.cpp, if the model runs in this process.
    pub fn llama_settings_mut(&mut self) -> Option<&mut llama::LlamaSettings> {
        match self {
            Self::File { settings, .. } | Self::Hub { settings, .. } => Some(&mut **settings),
            Self::Endpoint(_) => None,
        }
    }

    /// Downloads a model of the Hub that is not in the cache. `observer` receives the
    /// progress. Sends nothing to a server yet.
    ///
    /// # Errors
    /// The download fails.
    pub fn fetch(self, observer: &mut DownloadObserver<'_>) -> Result<FetchedModel, EngineError> {
        Ok(match self {
            Self::Hub { model, hub, settings } => {
                let files = hub::fetch(&model, &hub, observer)?;
                FetchedModel::File { path: files.path, sha256: files.sha256, settings }
            }
            Self::File { path, settings } => {
                FetchedModel::File { path, sha256: Vec::new(), settings }
            }
            Self::Endpoint(settings) => FetchedModel::Endpoint(settings),
        })
    }
}

/// A model whose files are on this machine, or a server.
pub enum FetchedModel {
    /// A GGUF file.
    File {
        /// The file; of a split model, the first one.
        path: PathBuf,
        /// The known SHA-256 of each of its files, in order.
        sha256: Vec<Option<String>>,
        /// The settings of llama.cpp.
        settings: Box<llama::LlamaSettings>,
    },
    /// A server.
    Endpoint(Box<http::EndpointSettings>),
}

impl FetchedModel {
    /// Loads the model file. Sends nothing to a server yet.
    ///
    /// # Errors
    /// See [`Model::load`].
    pub fn load(self) -> Result<LoadedModel, EngineError> {
        match self {
            Self::File { path, sha256, settings } => {
                let model = Box::new(Model::load(&path, &settings)?.with_hashes(sha256));
                Ok(LoadedModel::File { model, settings })
            }
            Self::Endpoint(settings) => Ok(LoadedModel::Endpoint(settings)),
        }
    }
}

/// A model that engines can be created from. It must outlive them.
pub enum LoadedModel {
    /// A model in memory.
    File {
        /// The model.
        model: Box<Model>,
        /// The settings of llama.cpp.
        settings: Box<llama::LlamaSettings>,
    },
    /// A server.
    Endpoint(Box<http::EndpointSettings>),
}

impl LoadedModel {
    /// The model and settings of llama.cpp, if it runs in this process.
    #[must_use]
    pub fn llama(&self) -> Option<(&Model, &llama::LlamaSettings)> {
        match self {
            Self::File { model, settings } => Some((model.as_ref(), settings.as_ref())),
            Self::Endpoint(_) => None,
        }
    }

    /// As [`LoadedModel::llama`], with settings that can be changed.
    pub fn llama_mut(&mut self) -> Option<(&Model, &mut llama::LlamaSettings)> {
        match self {
            Self::File { model, settings } => Some((&**model, &mut **settings)),
            Self::Endpoint(_) => None,
        }
    }

    /// Adapts the settings of a model file for a judge: see
    /// [`llama::LlamaSettings::for_judging`].
    #[must_use]
    pub fn for_judging(self) -> Self {
        match self {
            Self::File { model, settings } => {
                Self::File { model, settings: Box::new(settings.for_judging()) }
            }
            Self::Endpoint(_) => self,
        }
    }

    /// The prompts of the model. `None` if its tokens are not known.
    #[must_use]
    pub fn prompts(&self) -> Option<&dyn PromptTokens> {
        match self {
            Self::File { model, .. } => Some(&**model),
            Self::Endpoint(_) => None,
        }
    }

    /// Makes the KV cache of engines fit requests of at most `longest_request` tokens, answers
    /// included. If `is_repeatable`, another engine on this machine gets the same layout.
    pub fn fit(&mut self, longest_request: Option<u32>, is_repeatable: bool) {
        if let Some((_, settings)) = self.llama_mut() {
            settings.longest_request = longest_request;
            settings.is_repeatable = is_repeatable;
        }
    }

    /// Creates an engine.
    ///
    /// # Errors
    /// llama.cpp can't create a context, or the server can't be used.
    pub fn engine(&self) -> Result<Box<dyn Engine + '_>, EngineError> {
        Ok(match self {
            Self::File { model, settings } => Box::new(Llama::new(model, settings)?),
            Self::Endpoint(settings) => Box::new(http::Http::connect(settings)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reports_the_capabilities_of_its_engine() {
        let path = crate::models::tiny_model_path("llama");
        let settings = llama::LlamaSettings { parallel: 1, ctx_size: 256, ..Default::default() };
        let file = ModelSource::File { path, settings: Box::new(settings) };
        let capabilities = file.capabilities();
        assert!(capabilities.scores_texts && capabilities.is_deterministic);
        let loaded = file.fetch(&mut |_| {}).unwrap().load().unwrap();
        assert!(loaded.llama().is_some());
        assert_eq!(loaded.engine().unwrap().capabilities(), capabilities);

        let settings = http::EndpointSettings::new("http://localhost:1".parse().unwrap());
        let server = ModelSource::Endpoint(Box::new(settings));
        let capabilities = server.capabilities();
        assert!(!capabilities.scores_texts && !capabilities.is_deterministic);
        let fetched = server.fetch(&mut |_| {}).unwrap();
        assert!(fetched.load().unwrap().llama().is_none());
    }
}
