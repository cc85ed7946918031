//! Flags that choose the model and its engine's settings, with llama.cpp's names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::config::Config;
use super::fleet_args::{self, FleetArgs};
use super::hub_args::HubArgs;
use super::one_of;
use super::placement_args::PlacementArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::progress::{announced, download_bar};
use crate::measured_costs as calibration;
use amend_core::model::EngineError;
use amend_engine::http::{self, API_KEY, Address, Key};
use amend_engine::hub::HubModel;
use amend_engine::llama::{CacheType, LlamaSettings, Lora, Switch};
use amend_engine::{FetchedModel, LoadedModel, ModelSource};

/// Downloads a model if it is not on this machine, and loads it. Shows what takes long.
///
/// # Errors
/// It can't be downloaded or loaded.
pub fn load(source: ModelSource) -> Result<LoadedModel, EngineError> {
    let fetched = source.fetch(&mut download_bar())?;
    let name = match &fetched {
        FetchedModel::File { path, .. } => path.file_name().unwrap_or_default().to_string_lossy(),
        FetchedModel::Endpoint(_) => return fetched.load(),
    };
    let what = format!("loading the model {name}");
    announced(&what, || fetched.load())
}

/// The environment variable of the key for the judge's server.
const JUDGE_API_KEY: &str = "AMEND_JUDGE_API_KEY";

/// What is different for a model beside the one that writes.
#[derive(Debug, Clone, Copy)]
pub struct SeparateModel<'a> {
    /// The name of the model on its server.
    pub endpoint_model: Option<&'a String>,
    /// The environment variable of the key for its server. It is separate from
    /// [`API_KEY`], so that no key is sent to a server that it is not meant for.
    pub key_variable: &'static str,
}

/// The model and its engine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    // First, because reading a value discards its source.
    #[command(flatten)]
    typed: Typed,
    /// The model's GGUF file, or the address of an OpenAI-compatible server
    /// (http://HOST:PORT/v1; its key goes in AMEND_API_KEY). Several servers of the
    /// same model share the work
    #[arg(short, long, env = "AMEND_MODEL", value_name = "FILE|URL")]
    model: Vec<PathBuf>,
    #[command(flatten)]
    fleet: FleetArgs,
    /// A different model for judging: a GGUF file, or a server's address (its key
    /// goes in AMEND_JUDGE_API_KEY). Several form a panel, in amend judge only
    #[arg(long, env = "AMEND_JUDGE_MODEL", value_name = "FILE|URL")]
    judge_model: Vec<PathBuf>,
    #[command(flatten)]
    hub: HubArgs,
    /// The name of the judge model on its server [default: the first that it lists]
    #[arg(long, value_name = "NAME")]
    judge_endpoint_model: Option<String>,
    /// Sequences decoded together (124 at most), or concurrent requests to each
    /// server (1024 at most; fewer while it is busy) [default: as measured, otherwise
    /// 8; for a server, 16] (also -np)
    #[arg(long, env = "AMEND_PARALLEL", value_name = "N")]
    parallel: Option<usize>,
    /// Context size of all sequences together, in tokens [default: room for the longest
    /// request of the job, as far as memory allows]
    #[arg(long, env = "AMEND_CTX_SIZE", value_name = "N")]
    ctx_size: Option<u32>,
    /// Use one KV cache for all sequences, which needs less memory, or a part for
    /// each, which is faster on a CPU
    #[arg(long, value_parser = one_of(&Switch::ALL, Switch::as_str, &SWITCH_HELP), default_value_t = LlamaSettings::default().kv_unified)]
    kv_unified: Switch,
    /// Threads [default: one per core]
    #[arg(short, long, env = "AMEND_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Threads for prefill [default: as --threads] (also -tb)
    #[arg(long, value_name = "N")]
    threads_batch: Option<usize>,
    #[command(flatten)]
    placement: PlacementArgs,
    /// The maximum size of a logical batch, in tokens
    #[arg(short, long, default_value_t = LlamaSettings::default().batch_size, value_name = "N")]
    batch_size: u32,
    /// The maximum size of a physical batch, in tokens (also -ub)
    #[arg(long, default_value_t = LlamaSettings::default().ubatch_size, value_name = "N")]
    ubatch_size: u32,
    /// Flash attention (also -fa)
    #[arg(long, value_parser = one_of(&Switch::ALL, Switch::as_str, &SWITCH_HELP), default_value_t = LlamaSettings::default().flash_attention)]
    flash_attn: Switch,
    /// Type of the cached keys (also -ctk)
    #[arg(long, value_parser = one_of(&CacheType::ALL, CacheType::as_str, &[]), default_value_t = LlamaSettings::default().cache_type_k, value_name = "TYPE")]
    cache_type_k: CacheType,
    /// Type of the cached values; quantised types need flash attention (also -ctv)
    #[arg(long, value_parser = one_of(&CacheType::ALL, CacheType::as_str, &[]), default_value_t = LlamaSettings::default().cache_type_v, value_name = "TYPE")]
    cache_type_v: CacheType,
    /// Use prompt lookup, which drafts tokens by copying from the prompt: for
    /// revisions where it is faster (auto), for every text (on), or never (off)
    #[arg(long, env = "AMEND_SPECULATE", value_parser = one_of(&Switch::ALL, Switch::as_str, &SWITCH_HELP))]
    speculate: Option<Switch>,
    /// The maximum size, in tokens, of a batch that mixes decoding and prefill in
    /// one KV cache; longer prefills get their own batch [default: as measured,
    /// otherwise 63]
    #[arg(long, value_name = "N")]
    mixed_rows: Option<usize>,
    /// Read the model into memory instead of memory-mapping its file
    #[arg(long)]
    no_mmap: bool,
    /// A LoRA adapter (GGUF) for the model, and how strongly to apply it [default
    /// SCALE: 1]. A separate judge or reference model does not get it
    #[arg(long, value_name = "FILE[:SCALE]")]
    lora: Option<Lora>,
    /// A chat template (Jinja) to use instead of the model's own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// The name of the model on the server [default: the first that it lists]
    #[arg(long, env = "AMEND_ENDPOINT_MODEL", value_name = "NAME")]
    endpoint_model: Option<String>,
    /// The timeout of a request to the server, in seconds
    #[arg(long, default_value_t = 600, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    endpoint_timeout: u64,
}

/// Whether each model was given on the command line, rather than by the environment.
#[derive(Debug)]
struct Typed {
    model: bool,
    judge_model: bool,
}

impl FromArgMatches for Typed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        Ok(Self { model: typed("model"), judge_model: typed("judge_model") })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Typed {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// llama.cpp's flags with one dash and several letters, which clap does not support,
/// and the flags that they stand for.
const SHORT: &[(&str, &str)] = &[
    ("-hf", "--hf-repo"),
    ("-hfr", "--hf-repo"),
    ("-hff", "--hf-file"),
    ("-np", "--parallel"),
    ("-tb", "--threads-batch"),
    ("-ngl", "--n-gpu-layers"),
    ("-sm", "--split-mode"),
    ("-mg", "--main-gpu"),
    ("-cmoe", "--cpu-moe"),
    ("-ncmoe", "--n-cpu-moe"),
    ("-ot", "--override-tensor"),
    ("-ub", "--ubatch-size"),
    ("-fa", "--flash-attn"),
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
];

/// Replaces llama.cpp's multi-letter flags by the long flags.
pub fn expand_short_flags(
    arguments: impl Iterator<Item = std::ffi::OsString>,
) -> Vec<std::ffi::OsString> {
    let mut literal = false;
    arguments
        .map(|argument| {
            literal |= argument == "--";
            let Some(text) = argument.to_str().filter(|_| !literal) else { return argument };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            };
            match (SHORT.iter().find(|(short, _)| *short == name), value) {
                (Some((_, long)), None) => long.into(),
                (Some((_, long)), Some(value)) => format!("{long}={value}").into(),
                (None, _) => argument,
            }
        })
        .collect()
}

/// The help of each value of a [`Switch`].
const SWITCH_HELP: [&str; 3] = ["The engine chooses", "Always", "Never"];

impl ModelArgs {
    /// The words that choose the same model in another call, if flags chose it.
    pub fn words(&self) -> Vec<String> {
        let files = self.model.iter().filter(|_| self.typed.model);
        let files = files.map(|model| ("-m", model.display().to_string()));
        let hub = self.hub.model().map(|model| ("-hf", model.to_string()));
        files.chain(hub).flat_map(|(flag, model)| [flag.to_owned(), model]).collect()
    }

    /// The model given by flag, environment or config file, if any.
    ///
    /// # Errors
    /// An address is malformed, two models are given, the file of addresses can't be used, or
    /// an adapter or a chat template is given for a model behind a server.
    pub fn named(&self, config: &Config) -> Result<Option<ModelSource>, CommandError> {
        if self.typed.model && self.fleet.is_given() {
            return Err(two_models("-m", "--endpoints"));
        }
        if let Some(model) = self.hub.model() {
            for (is_given, flag) in
                [(self.typed.model, "-m"), (self.fleet.is_given(), "--endpoints")]
            {
                if is_given {
                    return Err(two_models(flag, "-hf"));
                }
            }
            return Ok(Some(self.hub_source(model, config)));
        }
        let source = match (self.fleet.open()?, self.model.as_slice(), &config.model) {
            (Some((file, addresses)), ..) => {
                let fleet = self.endpoints(addresses, config);
                let fleet = http::EndpointSettings { file: Some(file), ..fleet };
                ModelSource::Endpoint(Box::new(fleet))
            }
            (None, [], None) => return Ok(None),
            (None, [], Some(name)) | (None, [name], _) => self.at(name, config)?,
            (None, names, _) => {
                let fleet = self.endpoints(fleet_args::addresses(names)?, config);
                ModelSource::Endpoint(Box::new(fleet))
            }
        };
        if matches!(source, ModelSource::Endpoint(_)) {
            self.check_for_server()?;
        }
        Ok(Some(source))
    }

    /// Refuses what would change the answers and can't reach a server.
    fn check_for_server(&self) -> Result<(), CommandError> {
        let refuse = |flag: &str, file: &Path, what: &str| {
            Err(CommandError::usage(
                format!("{flag} {} has no effect on a server", file.display()),
                format!("start the server with the {what}, or use a model file: -m MODEL.gguf"),
            ))
        };
        if let Some(lora) = &self.lora {
            return refuse("--lora", &lora.file, "adapter");
        }
        if let Some(file) = &self.chat_template {
            return refuse("--chat-template", file, "chat template");
        }
        Ok(())
    }

    /// The separate judge model, if one is given.
    ///
    /// # Errors
    /// An address is malformed, or two judge models are given.
    pub fn judge(&self, config: &Config) -> Result<Option<ModelSource>, CommandError> {
        if self.judge_model.len() > 1 {
            return Err(CommandError::usage(
                format!(
                    "{} judge models are given, but this command has one",
                    self.judge_model.len()
                ),
                "pass one --judge-model; afterwards, a panel can judge the run again: amend judge \
                 DIR --judge-model A --judge-model B",
            ));
        }
        self.judge_named(self.judge_model.first(), config)
    }

    /// The judge models of a panel: those of `--judge-model`, if there are several.
    ///
    /// # Errors
    /// As [`ModelArgs::judge`].
    pub fn panel(&self, config: &Config) -> Result<Vec<ModelSource>, CommandError> {
        if self.judge_model.len() < 2 {
            return Ok(Vec::new());
        }
        let mut judges = Vec::new();
        for name in &self.judge_model {
            judges.extend(self.judge_named(Some(name), config)?);
        }
        Ok(judges)
    }

    /// The judge model with this name or, if there is none, that of `--judge-hf-repo`.
    fn judge_named(
        &self,
        name: Option<&PathBuf>,
        config: &Config,
    ) -> Result<Option<ModelSource>, CommandError> {
        let judge = SeparateModel {
            endpoint_model: self.judge_endpoint_model.as_ref(),
            key_variable: JUDGE_API_KEY,
        };
        match (self.hub.judge(), name) {
            (Some(_), Some(_)) if self.typed.judge_model => {
                Err(two_models("--judge-model", "--judge-hf-repo"))
            }
            (Some(model), _) => {
                self.separated(self.hub_source(model, config), &judge, config).map(Some)
            }
            (None, Some(name)) => self.separate(name, &judge, config).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The model with this file or address, beside the one that writes.
    ///
    /// # Errors
    /// An address is malformed.
    pub fn separate(
        &self,
        name: &Path,
        model: &SeparateModel<'_>,
        config: &Config,
    ) -> Result<ModelSource, CommandError> {
        self.separated(self.at(name, config)?, model, config)
    }

    /// Removes the settings of the writing model, which do not apply to another one.
    fn separated(
        &self,
        mut source: ModelSource,
        model: &SeparateModel<'_>,
        config: &Config,
    ) -> Result<ModelSource, CommandError> {
        match &mut source {
            ModelSource::Endpoint(settings) => {
                settings.model = model.endpoint_model.cloned();
                settings.key = self.separate_key(model, &settings.addresses, config)?;
                settings.key_variable = model.key_variable;
            }
            ModelSource::File { settings, .. } | ModelSource::Hub { settings, .. } => {
                settings.chat_template = None;
                settings.lora = None;
            }
        }
        Ok(source)
    }

    /// The model with this file or address.
    ///
    /// # Errors
    /// An address is malformed, or -m or -hf name a model too.
    pub fn of_file(&self, file: &Path, config: &Config) -> Result<ModelSource, CommandError> {
        for (is_given, flag) in [(self.typed.model, "-m"), (self.hub.model().is_some(), "-hf")] {
            if is_given {
                return Err(CommandError::usage(
                    format!("{} and {flag} both name a model", file.display()),
                    "pass only one of them",
                ));
            }
        }
        self.at(file, config)
    }

    /// The reference model with this file. It does not get the adapter, because it is most
    /// often the model that the adapter was trained on.
    ///
    /// # Errors
    /// It is a malformed address.
    pub fn reference(&self, file: &Path, config: &Config) -> Result<ModelSource, CommandError> {
        let mut source = self.at(file, config)?;
        if let Some(settings) = source.llama_settings_mut() {
            settings.lora = None;
        }
        Ok(source)
    }

    /// The judge model of a command that writes nothing. `None` if the main model
    /// judges: -m or -hf on the command line takes precedence over AMEND_JUDGE_MODEL.
    ///
    /// # Errors
    /// An address is malformed.
    pub fn sole_judge(&self, config: &Config) -> Result<Option<ModelSource>, CommandError> {
        let has_model = self.typed.model || self.fleet.is_given() || self.hub.model().is_some();
        let has_judge = self.typed.judge_model || self.hub.judge().is_some();
        if has_model && !has_judge { Ok(None) } else { self.judge(config) }
    }

    /// The key for the server of a separate model: its own, or the main model's if both models
    /// are on one server.
    fn separate_key(
        &self,
        model: &SeparateModel<'_>,
        addresses: &[Address],
        config: &Config,
    ) -> Result<Option<Key>, CommandError> {
        if let Some(key) = key(model.key_variable) {
            return Ok(Some(key));
        }
        let is_same_server = match self.named(config)? {
            Some(ModelSource::Endpoint(writer)) => addresses
                .iter()
                .all(|other| writer.addresses.iter().any(|address| address.is_of_server(other))),
            _ => false,
        };
        Ok(if is_same_server { key(API_KEY) } else { None })
    }

    /// The model with this file or address.
    ///
    /// # Errors
    /// An address is malformed.
    fn at(&self, name: &Path, config: &Config) -> Result<ModelSource, CommandError> {
        Ok(match name.to_str().filter(|name| Address::is_meant(name)) {
            Some(address) => {
                ModelSource::Endpoint(Box::new(self.endpoint(parse(address)?, config)))
            }
            None => ModelSource::File {
                path: name.to_owned(),
                settings: Box::new(self.settings(config)),
            },
        })
    }

    /// The model of a repository.
    fn hub_source(&self, model: HubModel, config: &Config) -> ModelSource {
        ModelSource::Hub {
            model,
            hub: HubArgs::settings(),
            settings: Box::new(self.settings(config)),
        }
    }

    /// The model given by flag, environment or config file.
    ///
    /// # Errors
    /// No model is given, or its address is malformed.
    pub fn source(&self, config: &Config) -> Result<ModelSource, CommandError> {
        self.named(config)?.ok_or_else(no_model)
    }

    /// Loads the model. If the costs of its batches were measured before, they are
    /// set.
    ///
    /// # Errors
    /// No model is given, or it can't be loaded.
    pub fn load(&self, config: &Config) -> Result<LoadedModel, CommandError> {
        let mut loaded = load(self.source(config)?)?;
        if let Some((model, settings)) = loaded.llama_mut()
            && let Some(costs) = calibration::known(model, settings)
        {
            settings.costs = costs;
        }
        Ok(loaded)
    }

    /// The settings of requests to a server.
    #[must_use]
    pub fn endpoint(&self, address: Address, config: &Config) -> http::EndpointSettings {
        self.endpoints(vec![address], config)
    }

    /// The settings of requests to several servers.
    fn endpoints(&self, addresses: Vec<Address>, config: &Config) -> http::EndpointSettings {
        http::EndpointSettings {
            key: key(API_KEY),
            model: self.endpoint_model.clone(),
            parallel: self.parallel.or(config.parallel).unwrap_or(0),
            timeout: Duration::from_secs(self.endpoint_timeout),
            ..http::EndpointSettings::of_fleet(addresses)
        }
    }

    /// The settings of a local engine.
    fn settings(&self, config: &Config) -> LlamaSettings {
        let defaults = LlamaSettings::default();
        LlamaSettings {
            parallel: self.parallel.or(config.parallel).unwrap_or(defaults.parallel),
            ctx_size: self.ctx_size.or(config.ctx_size).unwrap_or(defaults.ctx_size),
            kv_unified: self.kv_unified,
            batch_size: self.batch_size,
            ubatch_size: self.ubatch_size,
            threads: self.threads.or(config.threads).unwrap_or(defaults.threads),
            threads_batch: self.threads_batch.unwrap_or(defaults.threads_batch),
            flash_attention: self.flash_attn,
            cache_type_k: self.cache_type_k,
            cache_type_v: self.cache_type_v,
            mmap: !self.no_mmap,
            speculate: self.speculate.or(config.speculate).unwrap_or(defaults.speculate),
            mixed_rows: self.mixed_rows,
            chat_template: self.chat_template.clone(),
            lora: self.lora.clone(),
            ..self.placement.applied(defaults, config)
        }
    }
}

/// The error of a command without a model: how to get one.
fn no_model() -> CommandError {
    let file = match super::config::path() {
        Some(path) => format!(" or as `model` in {}", path.display()),
        None => String::new(),
    };
    CommandError::usage(
        "no model is given",
        "-hf Qwen/Qwen3-4B-GGUF: a model of the Hugging Face Hub, downloaded once (2.5 GB)",
    )
    .hinted("-m MODEL.gguf: a model file")
    .hinted("-m http://localhost:8080/v1: a server that speaks the OpenAI API")
    .hinted(
        "-m $(examples/fetch-model): the small example model (93 MB), in a copy of amend's source",
    )
    .hinted(format!("to keep the choice of -m, set it in AMEND_MODEL{file}"))
}

/// The error of two flags that each name the same model.
fn two_models(one: &str, other: &str) -> CommandError {
    CommandError::usage(
        format!("{one} and {other} both name a model"),
        "pass -m for a file or servers, --endpoints for a file that lists servers, or -hf for a \
         repository",
    )
}

/// The key in an environment variable.
fn key(variable: &str) -> Option<Key> {
    std::env::var(variable).ok().as_deref().and_then(Key::new)
}

fn parse(address: &str) -> Result<Address, CommandError> {
    Ok(address.parse::<Address>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_cpp_flags_are_expanded() {
        let given = ["amend", "-hf", "o/m", "-ngl", "99", "-fa=on", "-n", "5", "--", "-np"];
        let expanded = expand_short_flags(given.iter().map(Into::into));
        let expected = "amend --hf-repo o/m --n-gpu-layers 99 --flash-attn=on -n 5 -- -np";
        assert_eq!(expanded.join(std::ffi::OsStr::new(" ")), expected);
    }
}
