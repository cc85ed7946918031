//! Flags that say which model runs, and how: the names llama.cpp's users know.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::config::Config;
use super::one_of;

use crate::cli::output::error::CliError;
use crate::session::measured_costs as calibration;
use amend_engine::http;
use amend_engine::http::{API_KEY, Address, Key};
use amend_engine::llama::{CacheType, Settings, Switch};
use amend_engine::{Loaded, Source};

/// The variable that holds the key of the server that judges. The other key is
/// not sent to a server that it may not be meant for.
const JUDGE_API_KEY: &str = "AMEND_JUDGE_API_KEY";

/// The model and its engine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    // First: what is read of a value takes its source away.
    #[command(flatten)]
    typed: Typed,
    /// The model's GGUF file, or the address of an OpenAI-compatible server
    /// (http://HOST:PORT/v1; its key goes in AMEND_API_KEY)
    #[arg(short, long, env = "AMEND_MODEL", value_name = "FILE|URL")]
    model: Option<PathBuf>,
    /// Another model to judge: a GGUF file, or a server's address (its key goes
    /// in AMEND_JUDGE_API_KEY)
    #[arg(long, env = "AMEND_JUDGE_MODEL", value_name = "FILE|URL")]
    judge_model: Option<PathBuf>,
    /// What a server calls the model that judges [default: the first it has]
    #[arg(long, value_name = "NAME")]
    judge_endpoint_model: Option<String>,
    /// Sequences decoded together, 124 at most, or requests to the server at
    /// once, 1024 at most [default: as measured, 8 otherwise; 16 of a server]
    /// (also -np)
    #[arg(long, env = "AMEND_PARALLEL", value_name = "N")]
    parallel: Option<usize>,
    /// Tokens of context for all sequences together [default: 2048 a sequence
    /// where each has its own part, 1024 otherwise]
    #[arg(long, env = "AMEND_CTX_SIZE", value_name = "N")]
    ctx_size: Option<u32>,
    /// One KV cache for all sequences, which needs less memory, or a part for
    /// each, which is faster on a CPU
    #[arg(long, value_parser = one_of(&Switch::ALL, Switch::as_str, &SWITCH_HELP), default_value_t = Settings::default().kv_unified)]
    kv_unified: Switch,
    /// Threads [default: one a core]
    #[arg(short, long, env = "AMEND_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Threads that prefill [default: as --threads] (also -tb)
    #[arg(long, value_name = "N")]
    threads_batch: Option<usize>,
    /// Layers held by the GPU [default: 0] (also -ngl)
    #[arg(long, env = "AMEND_N_GPU_LAYERS", value_name = "N")]
    n_gpu_layers: Option<u32>,
    /// The most tokens of a batch
    #[arg(short, long, default_value_t = Settings::default().batch_size, value_name = "N")]
    batch_size: u32,
    /// The most tokens computed at once (also -ub)
    #[arg(long, default_value_t = Settings::default().ubatch_size, value_name = "N")]
    ubatch_size: u32,
    /// Flash attention (also -fa)
    #[arg(long, value_parser = one_of(&Switch::ALL, Switch::as_str, &SWITCH_HELP), default_value_t = Settings::default().flash_attention)]
    flash_attn: Switch,
    /// Type of the cached keys (also -ctk)
    #[arg(long, value_parser = one_of(&CacheType::ALL, CacheType::as_str, &[]), default_value_t = Settings::default().cache_type_k, value_name = "TYPE")]
    cache_type_k: CacheType,
    /// Type of the cached values; a quantised one needs flash attention (also -ctv)
    #[arg(long, value_parser = one_of(&CacheType::ALL, CacheType::as_str, &[]), default_value_t = Settings::default().cache_type_v, value_name = "TYPE")]
    cache_type_v: CacheType,
    /// Guess the next tokens of texts that repeat their prompt: of revisions,
    /// where it pays; of every text; of none
    #[arg(long, env = "AMEND_SPECULATE", value_parser = one_of(&Switch::ALL, Switch::as_str, &SWITCH_HELP))]
    speculate: Option<Switch>,
    /// The most tokens of a batch in which some sequences decode and others
    /// prefill, in one KV cache; prefill goes alone past it [default: as
    /// measured, 63 otherwise]
    #[arg(long, value_name = "N")]
    mixed_rows: Option<usize>,
    /// Read the model into memory instead of mapping its file
    #[arg(long)]
    no_mmap: bool,
    /// A chat template (Jinja) to use instead of the model's own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// Which of the server's models [default: the first it names]
    #[arg(long, env = "AMEND_ENDPOINT_MODEL", value_name = "NAME")]
    endpoint_model: Option<String>,
    /// How long a request to the server may take, in seconds
    #[arg(long, default_value_t = 600, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    endpoint_timeout: u64,
}

/// Which models were named on the command line, rather than by a variable.
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

/// Flags of llama.cpp with one dash and several letters, which the parser of
/// arguments doesn't know, and what they stand for.
const SHORT: &[(&str, &str)] = &[
    ("-np", "--parallel"),
    ("-tb", "--threads-batch"),
    ("-ngl", "--n-gpu-layers"),
    ("-ub", "--ubatch-size"),
    ("-fa", "--flash-attn"),
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
];

/// Writes llama.cpp's multi-letter flags out in full.
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
const SWITCH_HELP: [&str; 3] = ["As the engine sees fit", "Always", "Never"];

impl ModelArgs {
    /// The model named by flag, environment or config file, if any.
    ///
    /// # Errors
    /// A malformed address.
    pub fn named(&self, config: &Config) -> Result<Option<Source>, CliError> {
        let name = self.model.as_ref().or(config.model.as_ref());
        name.map(|name| self.at(name, config)).transpose()
    }

    /// The model that judges, where another one was named.
    ///
    /// # Errors
    /// A malformed address.
    pub fn judge(&self, config: &Config) -> Result<Option<Source>, CliError> {
        let Some(name) = &self.judge_model else { return Ok(None) };
        let mut source = self.at(name, config)?;
        match &mut source {
            // What was said of the model that writes is not meant for this one.
            Source::Endpoint(settings) => {
                settings.model.clone_from(&self.judge_endpoint_model);
                settings.key = self.judge_key(&settings.address, config)?;
                settings.key_variable = JUDGE_API_KEY;
            }
            Source::File { settings, .. } => settings.chat_template = None,
        }
        Ok(Some(source))
    }

    /// The model that judges where nothing is written, unless that is the one that
    /// would write: a flag that names that one goes before the judge's variable.
    ///
    /// # Errors
    /// A malformed address.
    pub fn sole_judge(&self, config: &Config) -> Result<Option<Source>, CliError> {
        match self.typed {
            Typed { model: true, judge_model: false } => Ok(None),
            _ => self.judge(config),
        }
    }

    /// The key for the server that judges: its own, or the one for the model that
    /// writes, where both are of one server.
    fn judge_key(&self, judge: &Address, config: &Config) -> Result<Option<Key>, CliError> {
        let is_one = match self.named(config)? {
            Some(Source::Endpoint(writer)) => writer.address.is_of_server(judge),
            _ => false,
        };
        Ok(key(JUDGE_API_KEY).or_else(|| key(API_KEY).filter(|_| is_one)))
    }

    /// A model by its file or address.
    ///
    /// # Errors
    /// A malformed address.
    pub fn at(&self, name: &Path, config: &Config) -> Result<Source, CliError> {
        Ok(match name.to_str().filter(|name| Address::is_meant(name)) {
            Some(address) => Source::Endpoint(Box::new(self.endpoint(parse(address)?, config))),
            None => {
                Source::File { path: name.to_owned(), settings: Box::new(self.settings(config)) }
            }
        })
    }

    /// The model named by flag, environment or config file.
    ///
    /// # Errors
    /// None is named, or a malformed address.
    pub fn source(&self, config: &Config) -> Result<Source, CliError> {
        self.named(config)?.ok_or_else(|| {
            let file = super::config::path()
                .map_or_else(String::new, |path| format!(", or write it in {}", path.display()));
            CliError::usage(
                "no model was named",
                format!("pass -m MODEL.gguf, set AMEND_MODEL{file}"),
            )
        })
    }

    /// The model, loaded. What batches cost with it is filled in where that was
    /// measured before.
    ///
    /// # Errors
    /// No model is named, or it can't be loaded.
    pub fn load(&self, config: &Config) -> Result<Loaded, CliError> {
        let mut loaded = self.source(config)?.load()?;
        if let Loaded::File { model, settings } = &mut loaded
            && let Some(costs) = calibration::known(model, settings)
        {
            settings.costs = costs;
        }
        Ok(loaded)
    }

    /// How a server is talked to.
    #[must_use]
    pub fn endpoint(&self, address: Address, config: &Config) -> http::Settings {
        http::Settings {
            key: key(API_KEY),
            model: self.endpoint_model.clone(),
            parallel: self.parallel.or(config.parallel).unwrap_or(0),
            timeout: Duration::from_secs(self.endpoint_timeout),
            ..http::Settings::new(address)
        }
    }

    /// The settings of an engine in this process.
    fn settings(&self, config: &Config) -> Settings {
        let defaults = Settings::default();
        Settings {
            parallel: self.parallel.or(config.parallel).unwrap_or(defaults.parallel),
            ctx_size: self.ctx_size.or(config.ctx_size).unwrap_or(defaults.ctx_size),
            kv_unified: self.kv_unified,
            batch_size: self.batch_size,
            ubatch_size: self.ubatch_size,
            threads: self.threads.or(config.threads).unwrap_or(defaults.threads),
            threads_batch: self.threads_batch.unwrap_or(defaults.threads_batch),
            n_gpu_layers: self
                .n_gpu_layers
                .or(config.n_gpu_layers)
                .unwrap_or(defaults.n_gpu_layers),
            flash_attention: self.flash_attn,
            cache_type_k: self.cache_type_k,
            cache_type_v: self.cache_type_v,
            mmap: !self.no_mmap,
            speculate: self.speculate.or(config.speculate).unwrap_or(defaults.speculate),
            mixed_rows: self.mixed_rows,
            chat_template: self.chat_template.clone(),
            ..defaults
        }
    }
}

/// The key in a variable of the environment.
fn key(variable: &str) -> Option<Key> {
    std::env::var(variable).ok().as_deref().and_then(Key::new)
}

fn parse(address: &str) -> Result<Address, CliError> {
    address.parse().map_err(|error: http::AddressError| CliError::Usage {
        message: error.to_string(),
        hint: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llamas_flags_are_written_out() {
        let given = ["amend", "-ngl", "99", "-fa=on", "-n", "5", "--", "-np"];
        let expanded = expand_short_flags(given.iter().map(Into::into));
        let expected = ["amend", "--n-gpu-layers", "99", "--flash-attn=on", "-n", "5", "--", "-np"];
        assert_eq!(expanded, expected.map(std::ffi::OsString::from));
    }
}
