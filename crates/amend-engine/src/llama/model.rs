//! A model loaded from a GGUF file.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{LlamaCppError, LogOptions, send_logs_to_tracing};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::LlamaSettings;
use super::log::{self, Cause};
use crate::llama::kv::trie::Token;
use amend_core::chat::ChatTemplate;
use amend_core::hash;
use amend_core::model::{EngineError, Failure};

/// A loaded model and its chat template.
pub struct Model {
    pub(super) inner: LlamaModel,
    pub(super) template: ChatTemplate,
    path: PathBuf,
    template_source: String,
    sha256: OnceCell<String>,
    /// The tokens of each piece of text, computed on first use.
    pieces: OnceCell<HashMap<Vec<u8>, Vec<Token>>>,
}

/// The process-wide state of llama.cpp, which can be initialised only once.
pub(super) fn backend() -> Result<&'static LlamaBackend, EngineError> {
    static BACKEND: OnceLock<Result<LlamaBackend, LlamaCppError>> = OnceLock::new();
    BACKEND
        .get_or_init(|| {
            send_logs_to_tracing(LogOptions::default());
            LlamaBackend::init()
        })
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
        check_header(path).map_err(|(message, hint)| fail(&message, hint))?;
        let template_override = settings
            .chat_template
            .as_ref()
            .map(|file| {
                std::fs::read_to_string(file).map_err(|error| {
                    EngineError::new(format!("failed to read chat template {}", file.display()))
                        .caused_by(error)
                })
            })
            .transpose()?;

        let params = LlamaModelParams::default()
            .with_n_gpu_layers(settings.n_gpu_layers)
            .with_use_mmap(settings.mmap);
        let inner = load_file(path, &params, |error| {
            let hint = "the usual cause is an incomplete download; \
                        to see the log of llama.cpp, run with -vv";
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
        let template_source = match template_override {
            Some(source) => source,
            None => inner
                .chat_template(None)
                .ok()
                .and_then(|template| template.to_string().ok())
                .ok_or_else(|| {
                fail(
                    "it has no chat template",
                    "use an instruction-tuned model, or pass --chat-template FILE",
                )
            })?,
        };
        let text = |token| {
            let piece = inner.vocab().token_to_piece(token, true, None);
            String::from_utf8_lossy(&piece).into_owned()
        };
        let known = |token: llama_cpp_2::token::LlamaToken| token.0 >= 0;
        let (bos, eos) = (inner.vocab().bos(), inner.vocab().eos());
        let bos = if known(bos) { text(bos) } else { String::new() };
        let eos = if known(eos) { text(eos) } else { String::new() };
        // The message of the error contains its cause.
        let template = ChatTemplate::new(&template_source, &bos, &eos)
            .map_err(|error| fail(&error.to_string(), "pass another one: --chat-template FILE"))?;
        Ok(Self {
            inner,
            template,
            path: path.to_owned(),
            template_source,
            sha256: OnceCell::new(),
            pieces: OnceCell::new(),
        })
    }

    /// The context length that the model was trained for, in tokens.
    pub fn trained_context(&self) -> u32 {
        self.inner.n_ctx_train()
    }

    /// Whether sequences can share and drop ranges of cells. Recurrent and hybrid models
    /// keep one state per sequence, which can't be truncated.
    pub fn can_share(&self) -> bool {
        !self.inner.is_recurrent() && !self.inner.is_hybrid()
    }

    /// The size of the sliding attention window in tokens, if the metadata names one.
    /// `usize::MAX` for chunked attention, which a number of tokens can't describe.
    pub(super) fn window(&self) -> Option<usize> {
        if self.attention("chunk_size").is_some() {
            return Some(usize::MAX);
        }
        match self.attention("sliding_window")?.parse::<usize>() {
            Ok(0) | Err(_) => None,
            Ok(window) => Some(window),
        }
    }

    /// A value of the metadata about the attention of the model's family.
    fn attention(&self, key: &str) -> Option<String> {
        let architecture = self.inner.meta_val_str("general.architecture").ok()?;
        self.inner.meta_val_str(&format!("{architecture}.attention.{key}")).ok()
    }

    /// The size of a KV cache cell in bytes. `None` if sequences can't have separate
    /// streams: a stream is copied as a whole, which is not possible with recurrent
    /// state or a sliding window.
    pub(super) fn stream_cell_bytes(&self, settings: &LlamaSettings) -> Option<u64> {
        if !self.can_share() || self.window().is_some() {
            return None;
        }
        let length = |key: &str| self.attention(key)?.parse().ok();
        let head = self.inner.n_embd() as u64 / u64::from(self.inner.n_head().max(1));
        let bits = length("key_length").unwrap_or(head) * settings.cache_type_k.bits()
            + length("value_length").unwrap_or(head) * settings.cache_type_v.bits();
        Some(u64::from(self.inner.n_layer()) * u64::from(self.inner.n_head_kv()) * bits / 8)
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
    /// reading the whole file.
    #[must_use]
    pub fn fingerprint(&self) -> Value {
        let file = std::fs::metadata(&self.path).ok();
        let changed = file.as_ref().and_then(|file| file.modified().ok());
        let since = changed.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        json!({
            "file": self.file_name(),
            "bytes": file.map(|file| file.len()),
            "changed": since.map(|since| since.as_secs_f64()),
        })
    }

    /// The name of the model file.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// Identifies the model by the hash of its file and its metadata.
    ///
    /// # Errors
    /// The file can no longer be read.
    pub fn describe(&self) -> Result<Value, EngineError> {
        let sha256 = match self.sha256.get() {
            Some(sha256) => sha256.clone(),
            None => {
                let sha256 = file_hash(&self.path).map_err(|error| {
                    EngineError::new(format!("failed to hash model {}", self.path.display()))
                        .caused_by(error)
                })?;
                self.sha256.get_or_init(|| sha256).clone()
            }
        };
        let meta = |key: &str| self.inner.meta_val_str(key).ok();
        Ok(json!({
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
        }))
    }
}

/// Checks for mistakes that llama.cpp would only log, or abort on. Returns the message
/// and hint of an error.
pub(super) fn check_header(path: &Path) -> Result<(), (String, &'static str)> {
    const HINT: &str = "pass a GGUF file: -m MODEL.gguf, or set AMEND_MODEL";
    let mut file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ("no such file".to_owned(), HINT),
        _ => (error.to_string(), HINT),
    })?;
    if path.is_dir() {
        return Err(("it is a folder".to_owned(), HINT));
    }
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"GGUF" => Ok(()),
        Ok(()) => Err(("it is not a GGUF file".to_owned(), HINT)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(("it is shorter than a GGUF header".to_owned(), HINT))
        }
        Err(error) => Err((error.to_string(), HINT)),
    }
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
