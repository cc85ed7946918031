//! A model loaded from a GGUF file.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

use llama_cpp_2::gguf::GgufContext;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{LlamaCppError, LogOptions, send_logs_to_tracing};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::cells::{self, CacheCells};
use super::log::{self, Cause};
use super::lora::Adapter;
use super::memory::ModelMemory;
use super::placement::{GpuLayers, Placement};
use super::template_source::TemplateSource;
use super::{LlamaSettings, tokenize};
use crate::llama::kv::trie::Token;
use crate::shards::{self, ShardError};
use amend_core::chat::{ChatTemplate, Message, NextTurn, Reasoning, ReasoningFormat};
use amend_core::hash;
use amend_core::model::{EngineError, Failure, Prepared, PromptTokens};

/// A loaded model and its chat template.
pub struct Model {
    pub(super) inner: LlamaModel,
    pub(super) template: ChatTemplate,
    pub(super) adapter: Option<Adapter>,
    /// The number of layers on the GPUs.
    gpu_layers: GpuLayers,
    /// The names of the GPUs that have layers.
    gpus: Vec<String>,
    /// The file, or all shards in order, with the SHA-256 of each once it is known.
    files: Vec<(PathBuf, OnceCell<String>)>,
    template_source: String,
    /// The tokens of each piece of text, computed on first use.
    pieces: OnceCell<HashMap<Vec<u8>, Vec<Token>>>,
}

/// The process-wide state of llama.cpp, which can be initialised only once.
pub(super) fn backend() -> Result<&'static LlamaBackend, EngineError> {
    static LOGS: Once = Once::new();
    static BACKEND: OnceLock<Result<LlamaBackend, LlamaCppError>> = OnceLock::new();
    LOGS.call_once(|| send_logs_to_tracing(LogOptions::default()));
    #[cfg(feature = "portable")]
    super::portable::load_libraries()?;
    BACKEND
        .get_or_init(LlamaBackend::init)
        .as_ref()
        .map_err(|error| EngineError::new("failed to start llama.cpp").caused_by(error))
}

/// Loads the GGUF file at `path` with llama.cpp. `fail` receives the cause of a failure:
/// the first error that llama.cpp logged.
pub(super) fn load_file(
    path: &Path,
    params: &LlamaModelParams,
    fail: impl FnOnce(Cause) -> EngineError,
) -> Result<LlamaModel, EngineError> {
    let backend = backend()?;
    log::with_cause(|| LlamaModel::load_from_file(backend, path, params)).map_err(fail)
}

impl Model {
    /// Loads the GGUF file at `path`.
    ///
    /// # Errors
    /// The file is missing, unreadable, truncated or not a GGUF file; llama.cpp does not
    /// support the model; the model has no usable chat template.
    pub fn load(path: &Path, settings: &LlamaSettings) -> Result<Self, EngineError> {
        let fail = |message: &str, hint: &str| {
            EngineError::new(format!("failed to load model {}: {message}", path.display()))
                .hinted(hint)
        };
        let files = check_files(path).map_err(|(message, hint)| fail(&message, &hint))?;
        let named_template = TemplateSource::named(settings)?;
        let placement = Placement::new(path, settings)?;
        let mut inner = load_file(path, placement.params(), |error| {
            let hint = rejection_hint(path, &error.to_string(), settings);
            fail("llama.cpp rejected it", hint).caused_by(error)
        })?;

        // llama.cpp aborts the process when these decode without having encoded.
        const ENCODERS: [&str; 4] = ["t5", "t5encoder", "eagle3", "dflash"];
        let architecture = inner.meta_val_str("general.architecture").unwrap_or_default();
        if ENCODERS.contains(&architecture.as_str()) {
            return Err(fail(
                &format!("models of the family {architecture} encode one text into another"),
                "use a model that generates text from left to right",
            ));
        }
        let adapter = match &settings.lora {
            Some(lora) => Some(Adapter::load(&mut inner, lora)?),
            None => None,
        };
        let source =
            named_template.or_else(|| TemplateSource::in_model(&inner)).ok_or_else(|| {
                fail(
                    "it has no chat template",
                    "use an instruction-tuned model, or pass --chat-template FILE",
                )
            })?;
        // The message of the error contains its cause.
        let template = source
            .compile(&inner)
            .map_err(|error| fail(&error.to_string(), "pass another one: --chat-template FILE"))?;
        let (gpu_layers, gpus) = placement.placed(&inner);
        Ok(Self {
            gpu_layers,
            gpus,
            inner,
            template,
            adapter,
            files: files.into_iter().map(|file| (file, OnceCell::new())).collect(),
            template_source: source.0,
            pieces: OnceCell::new(),
        })
    }

    /// This model, with the SHA-256 of its file or shards in hexadecimal, as far as they
    /// are known. They are not computed again.
    #[must_use]
    pub(crate) fn with_hashes(self, sha256: Vec<Option<String>>) -> Self {
        for ((_, known), sha256) in self.files.iter().zip(sha256) {
            if let Some(sha256) = sha256 {
                known.get_or_init(|| sha256);
            }
        }
        self
    }

    /// The number of layers on the GPUs, including the output.
    #[must_use]
    pub fn gpu_layers(&self) -> GpuLayers {
        self.gpu_layers
    }

    /// The names of the GPUs that have layers.
    #[must_use]
    pub fn gpus(&self) -> &[String] {
        &self.gpus
    }

    /// The context length that the model was trained for, in tokens.
    pub fn trained_context(&self) -> u32 {
        self.inner.n_ctx_train()
    }

    /// Whether sequences can share and drop ranges of cells.
    pub fn can_share(&self) -> bool {
        cells::can_share(&self.inner)
    }

    /// The size of the sliding attention window in tokens, if the metadata names one.
    pub(super) fn window(&self) -> Option<usize> {
        cells::window(&self.inner)
    }

    /// The cells of the model's KV cache.
    pub(super) fn cache_cells(&self, settings: &LlamaSettings) -> CacheCells {
        CacheCells::new(&self.inner, settings)
    }

    /// The memory of the model.
    pub(super) fn memory(&self) -> ModelMemory {
        ModelMemory::new(&self.inner)
    }

    /// The tokens whose text is one of `spellings`, without control tokens.
    ///
    /// # Errors
    /// [`Failure::NoSuchToken`] if there is none.
    pub(super) fn tokens_of(&self, spellings: &[String]) -> Result<Vec<Token>, Failure> {
        let pieces = self.pieces.get_or_init(|| {
            let vocab = self.inner.vocab();
            let mut pieces: HashMap<Vec<u8>, Vec<Token>> = HashMap::new();
            for token in (0..vocab.n_tokens()).map(LlamaToken) {
                if !vocab.is_control(token) {
                    let piece = vocab.token_to_piece(token, false, None);
                    pieces.entry(piece).or_default().push(token.0);
                }
            }
            pieces
        });
        let mut tokens: Vec<Token> = spellings
            .iter()
            .filter_map(|spelling| pieces.get(spelling.as_bytes()))
            .flatten()
            .copied()
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        if tokens.is_empty() {
            return Err(Failure::NoSuchToken { spellings: spellings.to_vec() });
        }
        Ok(tokens)
    }

    /// Identifies the model by the name, size and modification time of its file, without
    /// reading the whole file. The size and time of a split model are those of all shards.
    #[must_use]
    pub fn fingerprint(&self) -> Value {
        let files: Option<Vec<_>> =
            self.files.iter().map(|(path, _)| std::fs::metadata(path).ok()).collect();
        let bytes = files.as_ref().map(|files| files.iter().map(|file| file.len()).sum::<u64>());
        let changed =
            files.unwrap_or_default().iter().filter_map(|file| file.modified().ok()).max();
        let since = changed.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let mut fingerprint = json!({
            "file": self.file_name(),
            "bytes": bytes,
            "changed": since.map(|since| since.as_secs_f64()),
        });
        if let Some(adapter) = &self.adapter {
            fingerprint["lora"] = adapter.fingerprint();
        }
        fingerprint
    }

    /// The name of the model file, or of its first shard.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        let (path, _) = self.files.first()?;
        path.file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// Identifies the model by the hash of its file and its metadata. The hash of a split
    /// model is the SHA-256 of the hashes of its shards in order, each in hexadecimal and
    /// followed by a newline; `shards` lists them. `bytes` is the size of all weights. An
    /// adapter has the hash of its own file.
    ///
    /// # Errors
    /// A file can no longer be read.
    pub fn describe(&self) -> Result<Value, EngineError> {
        let mut hashes = Vec::new();
        for (path, known) in &self.files {
            hashes.push(hash_of(path, known)?);
        }
        let sha256 = match hashes.as_slice() {
            [sha256] => sha256.clone(),
            _ => hash::sha256(
                hashes.iter().map(|sha256| format!("{sha256}\n")).collect::<String>().as_bytes(),
            ),
        };
        let meta = |key: &str| self.inner.meta_val_str(key).ok();
        let mut description = json!({
            "sha256": sha256,
            "name": meta("general.name"),
            "architecture": meta("general.architecture"),
            "parameters": self.inner.n_params(),
            "bytes": self.inner.size(),
            "trained_context": self.inner.n_ctx_train(),
            "vocabulary": self.inner.n_vocab(),
            "license": meta("general.license"),
            "chat_template_sha256": hash::sha256(self.template_source.as_bytes()),
            "reasoning": self.template.reasoning(),
        });
        if hashes.len() > 1 {
            description["shards"] = json!(hashes);
        }
        if let Some(adapter) = &self.adapter {
            description["lora"] = adapter.describe()?;
        }
        Ok(description)
    }
}

impl PromptTokens for Model {
    fn prepare(
        &self,
        turns: &[Message],
        shared_turns: usize,
        reasoning: &Reasoning,
        next: NextTurn,
    ) -> Result<Prepared, Failure> {
        let vocab = self.inner.vocab();
        let settings = (reasoning, next);
        let prompt = tokenize::prompt(&vocab, &self.template, turns, shared_turns, settings, &[])?;
        let text = |token: Token| {
            let piece = vocab.token_to_piece(LlamaToken(token), true, None);
            String::from_utf8_lossy(&piece).into_owned()
        };
        Ok(Prepared {
            tokens: prompt.tokens.iter().map(|&token| (token, text(token))).collect(),
            shared: prompt.shared,
        })
    }

    /// How the model marks its thoughts. `None` if it does not think.
    fn reasoning_format(&self) -> Option<&ReasoningFormat> {
        self.template.reasoning()
    }
}

/// Checks a model for mistakes that llama.cpp would only log, or abort on. Returns its
/// file or its shards, or the message and hint of an error.
pub(super) fn check_files(path: &Path) -> Result<Vec<PathBuf>, (String, String)> {
    const HINT: &str = "pass a GGUF file: -m MODEL.gguf, or set AMEND_MODEL";
    let files = shards::files(path).map_err(|error| {
        let hint = match &error {
            ShardError::NotFirst { first, .. } => format!("pass the first: {}", first.display()),
            ShardError::Missing { .. } => "put all parts into one folder".to_owned(),
        };
        (error.to_string(), hint)
    })?;
    for file in &files {
        check_header(file).map_err(|message| {
            let message =
                if file == path { message } else { format!("{}: {message}", file.display()) };
            (message, HINT.to_owned())
        })?;
    }
    Ok(files)
}

/// Checks that a file starts as a GGUF file does. Returns the message of an error.
pub(super) fn check_header(path: &Path) -> Result<(), String> {
    let mut file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    })?;
    if path.is_dir() {
        return Err("it is a folder".to_owned());
    }
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"GGUF" => Ok(()),
        Ok(()) => Err("it is not a GGUF file".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err("it is shorter than a GGUF header".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// What to do about a model that llama.cpp rejects for this cause.
pub(super) fn rejection_hint(path: &Path, cause: &str, settings: &LlamaSettings) -> &'static str {
    let is_any = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if is_without_weights(path) {
        "the file has a vocabulary and no weights: pass the model's file with its weights"
    } else if is_adapter(path) {
        "it is a LoRA adapter: pass it as --lora FILE, and its model as -m MODEL.gguf"
    } else if is_any(&["split"]) {
        "the parts of a split model must have their own names, NAME-00001-of-00003.gguf and so \
         on: name them as they were, or download them again"
    } else if is_any(&["file bounds", "incomplete", "remaining file size", "failed to read"]) {
        "the download is incomplete: download the file again"
    } else if is_any(&["unknown model architecture"]) {
        "use a model of a family that llama.cpp supports"
    } else if !settings.cpu_tensors.is_empty() {
        "check that the pattern of --override-tensor is a regular expression; to see the log of \
         llama.cpp, run with -vv"
    } else {
        "check that the file is complete and a language model; to see the log of llama.cpp, run \
         with -vv"
    }
}

/// Whether a GGUF file has the key of a LoRA adapter.
fn is_adapter(path: &Path) -> bool {
    gguf(path).is_some_and(|file| file.find_key("adapter.type") >= 0)
}

/// Whether a GGUF file has no tensors.
fn is_without_weights(path: &Path) -> bool {
    gguf(path).is_some_and(|file| file.n_tensors() == 0)
}

/// The metadata of a GGUF file, if it can be read.
fn gguf(path: &Path) -> Option<GgufContext> {
    log::with_cause(|| GgufContext::from_file(path).ok_or("not a GGUF file")).ok()
}

/// The SHA-256 of the file at `path` in hexadecimal, which is computed at most once.
///
/// # Errors
/// The file can no longer be read.
pub(super) fn hash_of(path: &Path, known: &OnceCell<String>) -> Result<String, EngineError> {
    if let Some(sha256) = known.get() {
        return Ok(sha256.clone());
    }
    let sha256 = file_hash(path).map_err(|error| {
        EngineError::new(format!("failed to hash {}", path.display())).caused_by(error)
    })?;
    Ok(known.get_or_init(|| sha256).clone())
}

fn file_hash(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash::hex(&digest.finalize()));
        }
        digest.update(&buffer[..read]);
    }
}
