//! What a GGUF file is, for people who choose a model: read without its weights.

use std::path::Path;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use serde::Serialize;

use super::LlamaSettings;
use super::cells::{CacheCells, can_share};
use super::layout::Layout;
use super::memory::{ModelMemory, cache_budget};
use super::model::{check_files, load_file, rejection_hint};
use super::placement::{GpuLayers, free_gpu_memory};
use super::settings::Switch;
use super::template_source::TemplateSource;
use amend_core::chat::{ChatTemplate, ReasoningFormat};
use amend_core::model::EngineError;

/// What a model file contains, and what it needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelFacts {
    /// The name of the file, or of the first shard.
    pub file: String,
    /// The number of files.
    pub files: usize,
    /// The name in the metadata.
    pub name: Option<String>,
    /// The family.
    pub architecture: Option<String>,
    /// The licence in the metadata.
    pub license: Option<String>,
    /// The number of parameters.
    pub parameters: u64,
    /// The name of the quantisation.
    pub quantisation: Option<&'static str>,
    /// The size of the weights in bytes.
    pub bytes: u64,
    /// The number of layers.
    pub layers: u32,
    /// The context length that the model was trained for, in tokens.
    pub trained_context: u32,
    /// The number of tokens of the vocabulary.
    pub vocabulary: i32,
    /// The chat template.
    pub chat_template: TemplateFacts,
    /// The memory that an engine takes.
    pub memory: MemoryFacts,
}

/// What is known about a chat template.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TemplateFacts {
    /// The file has none, and none is given.
    Missing,
    /// It can't be used.
    Broken {
        /// Why.
        message: String,
    },
    /// It can be used.
    Usable {
        /// Whether it has system turns. Otherwise the text of a system turn is put before the
        /// first turn of the user.
        has_system: bool,
        /// How the model marks its thoughts. `None` if it does not think.
        reasoning: Option<Box<ReasoningFormat>>,
    },
}

/// The memory that an engine with some settings takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryFacts {
    /// The weights.
    pub weights: u64,
    /// The KV cache. `None` for recurrent models, whose state has another size.
    pub cache: Option<u64>,
    /// The buffers of computations, estimated.
    pub buffers: u64,
    /// The number of sequences.
    pub parallel: usize,
    /// The number of cells of the KV cache.
    pub ctx_size: u32,
    /// Whether each sequence has a separate stream of the KV cache.
    pub has_streams: bool,
}

impl ModelFacts {
    /// Reads the facts about the GGUF file at `path`.
    ///
    /// # Errors
    /// The file is missing, unreadable, truncated or not a model; llama.cpp does not support it;
    /// the file of another chat template can't be read.
    pub fn read(path: &Path, settings: &LlamaSettings) -> Result<Self, EngineError> {
        let fail = |message: &str, hint: &str| {
            EngineError::new(format!("failed to read model {}: {message}", path.display()))
                .hinted(hint)
        };
        let files = check_files(path).map_err(|(message, hint)| fail(&message, &hint))?;
        // The sizes of a model are known once its tensors are laid out, without their values.
        let params = LlamaModelParams::default().with_no_alloc(true);
        let model = load_file(path, &params, |error| {
            let hint = rejection_hint(path, &error.to_string(), settings);
            fail("llama.cpp rejected it", hint).caused_by(error)
        })?;
        let meta = |key: &str| model.meta_val_str(key).ok();
        Ok(Self {
            file: files
                .first()
                .and_then(|file| file.file_name())
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            files: files.len(),
            name: meta("general.name"),
            architecture: meta("general.architecture"),
            license: meta("general.license"),
            parameters: model.n_params(),
            quantisation: meta("general.file_type").and_then(|number| quantisation(&number)),
            bytes: model.size(),
            layers: model.n_layer(),
            trained_context: model.n_ctx_train(),
            vocabulary: model.n_vocab(),
            chat_template: TemplateFacts::read(&model, settings)?,
            memory: MemoryFacts::new(&model, settings),
        })
    }
}

impl TemplateFacts {
    fn read(model: &LlamaModel, settings: &LlamaSettings) -> Result<Self, EngineError> {
        let source = TemplateSource::named(settings)?.or_else(|| TemplateSource::in_model(model));
        let Some(source) = source else { return Ok(Self::Missing) };
        Ok(match source.compile(model) {
            Ok(template) => Self::of(&template),
            Err(error) => Self::Broken { message: error.to_string() },
        })
    }

    fn of(template: &ChatTemplate) -> Self {
        Self::Usable {
            has_system: template.takes_system(),
            reasoning: template.reasoning().cloned().map(Box::new),
        }
    }
}

impl MemoryFacts {
    fn new(model: &LlamaModel, settings: &LlamaSettings) -> Self {
        let cells = CacheCells::new(model, settings);
        let mut settings = settings.clone();
        if free_gpu_memory(&settings).is_none() {
            settings.n_gpu_layers = GpuLayers::Count(0);
        }
        let budget = cache_budget(ModelMemory::new(model), &settings);
        let layout = Layout::choose(&settings, &cells, budget);
        let settings = layout.applied(settings);
        Self {
            weights: model.size(),
            cache: if can_share(model) { Some(layout.bytes) } else { None },
            buffers: buffers(model, &settings),
            parallel: layout.parallel,
            ctx_size: layout.ctx_size,
            has_streams: layout.kv_unified == Switch::Off,
        }
    }
}

/// An estimate of the buffers of computations in bytes: the logits of a physical batch, which
/// are the largest, and some intermediate results.
fn buffers(model: &LlamaModel, settings: &LlamaSettings) -> u64 {
    let numbers = u64::from(model.n_vocab().unsigned_abs())
        + INTERMEDIATE * u64::from(model.n_embd().unsigned_abs());
    u64::from(settings.ubatch_size) * numbers * size_of::<f32>() as u64
}

/// How many vectors of a row are in the buffers of computations at once, about.
const INTERMEDIATE: u64 = 8;

/// llama.cpp's name for the number of a quantisation (`general.file_type`).
fn quantisation(number: &str) -> Option<&'static str> {
    Some(match number.parse::<u32>().ok()? {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4_MOE",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tiny_model_path;

    fn read(family: &str, settings: &LlamaSettings) -> ModelFacts {
        ModelFacts::read(&tiny_model_path(family), settings).unwrap()
    }

    fn settings() -> LlamaSettings {
        LlamaSettings { parallel: 4, ctx_size: 2048, ..LlamaSettings::default() }
    }

    #[test]
    fn facts_are_those_of_the_loaded_model() {
        for family in ["llama", "split-00001-of-00003", "mamba", "lfm2", "thinks"] {
            let path = tiny_model_path(family);
            let facts = read(family, &settings());
            let model = super::super::Model::load(&path, &settings()).unwrap();
            let described = model.describe().unwrap();
            assert_eq!(described["parameters"], facts.parameters, "{family}");
            assert_eq!(described["bytes"], facts.bytes, "{family}");
            assert_eq!(described["vocabulary"], facts.vocabulary, "{family}");
            assert_eq!(described["trained_context"], facts.trained_context, "{family}");
            let TemplateFacts::Usable { reasoning, .. } = &facts.chat_template else {
                panic!("{family}: {facts:?}")
            };
            assert_eq!(described["reasoning"], serde_json::json!(reasoning), "{family}");
        }
        assert_eq!(read("split-00001-of-00003", &settings()).files, 3);
    }

    #[test]
    fn the_memory_is_that_of_the_settings() {
        let memory = |parallel, ctx_size| {
            read("llama", &LlamaSettings { parallel, ctx_size, ..settings() }).memory
        };
        let (small, large) = (memory(2, 1024), memory(4, 4096));
        assert_eq!((small.parallel, small.ctx_size), (2, 1024));
        assert_eq!(large.cache, small.cache.map(|bytes| 4 * bytes));
        assert_eq!(small.weights, large.weights);
        assert!(small.cache > Some(0) && small.buffers > 0, "{small:?}");
        assert_eq!(read("mamba", &settings()).memory.cache, None);
    }

    #[test]
    fn a_chat_template_that_fails_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chat.jinja");
        std::fs::write(&file, "{% if %}").unwrap();
        let settings = LlamaSettings { chat_template: Some(file), ..settings() };
        let facts = read("llama", &settings);
        assert!(matches!(facts.chat_template, TemplateFacts::Broken { .. }), "{facts:?}");
    }

    #[test]
    fn quantisations_have_the_names_of_llama_cpp() {
        assert_eq!(quantisation("15"), Some("Q4_K_M"));
        assert_eq!((quantisation("4"), quantisation("x")), (None, None));
    }
}
