//! Models in repositories of the Hugging Face Hub: chooses the file, downloads it into
//! the cache, and returns where it is.
//!
//! The cache and the choice are llama.cpp's, so that both programs share their files.
//! `choice` chooses the file of a repository, `cache` knows the folder and its layout,
//! `client` speaks to the Hub, and `download` fetches one file.

mod cache;
mod choice;
mod client;
mod download;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use self::cache::{Cache, RepoCache};
use self::client::{Client, RemoteFile, RequestError};
use crate::http::Key;
use crate::shards::Shard;
use amend_core::model::EngineError;

/// The longest name of a repository, in bytes.
const MAX_REPO: usize = 256;

/// A model in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// The repository, as `ORG/REPO`.
    repo: String,
    /// The quantisation to use, such as `Q4_K_M`. Upper and lower case are equal.
    quant: Option<String>,
    /// The path of the file in the repository. It takes precedence over `quant`.
    file: Option<String>,
}

/// Why a text does not name a model in a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form ORG/REPO or ORG/REPO:QUANT, such as org/model-GGUF:Q4_K_M")]
pub struct HubModelError(String);

impl HubModel {
    /// This model, from the file with this path in the repository.
    #[must_use]
    pub fn with_file(self, file: Option<String>) -> Self {
        Self { file, ..self }
    }
}

impl FromStr for HubModel {
    type Err = HubModelError;

    fn from_str(text: &str) -> Result<Self, HubModelError> {
        let (repo, quant) = match text.split_once(':') {
            Some((repo, quant)) => (repo, Some(quant)),
            None => (text, None),
        };
        let is_quant = |quant: &str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            !quant.is_empty() && quant.bytes().all(is_part)
        };
        if !is_repo(repo) || !quant.is_none_or(is_quant) {
            return Err(HubModelError(text.to_owned()));
        }
        Ok(Self { repo: repo.to_owned(), quant: quant.map(str::to_owned), file: None })
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        match (&self.file, &self.quant) {
            (Some(file), _) => write!(f, "/{file}"),
            (None, Some(quant)) => write!(f, ":{quant}"),
            (None, None) => Ok(()),
        }
    }
}

/// Whether a text is the name of a repository: two parts of letters, digits and `_`, with
/// single `.` and `-` inside.
fn is_repo(text: &str) -> bool {
    let is_part = |part: &str| {
        part.split(['.', '-']).all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    };
    let Some((organisation, name)) = text.split_once('/') else { return false };
    text.len() <= MAX_REPO && is_part(organisation) && is_part(name)
}

/// Where models are downloaded from, and to.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The address of the Hub, such as `https://huggingface.co`.
    pub endpoint: String,
    /// The access token, for repositories that need one.
    pub token: Option<Key>,
    /// The folder of the cache. `None` if the user has no home folder.
    pub cache: Option<PathBuf>,
}

impl HubSettings {
    /// The settings from the values of the variables that llama.cpp reads: `MODEL_ENDPOINT` or
    /// `HF_ENDPOINT` for the address, `HF_TOKEN` for the token, and those of the cache.
    #[must_use]
    pub fn from_variables(value: impl Fn(&str) -> Option<OsString>) -> Self {
        let variable = |name: &str| value(name).filter(|value| !value.is_empty());
        let text = |name: &str| variable(name)?.into_string().ok();
        let endpoint = text("MODEL_ENDPOINT").or_else(|| text("HF_ENDPOINT"));
        Self {
            endpoint: endpoint.unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: text("HF_TOKEN").as_deref().and_then(Key::new),
            cache: cache::folder(variable),
        }
    }
}

/// The progress of downloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownloadEvent<'a> {
    /// A download starts, or continues after `done` bytes.
    Started {
        /// The path of the file in its repository.
        file: &'a str,
        /// The number of bytes that are there already.
        done: u64,
        /// The size of the file in bytes.
        total: u64,
    },
    /// More bytes have arrived.
    Advanced {
        /// The number of bytes so far.
        done: u64,
    },
    /// The file is complete and its checksum is correct.
    Finished,
}

/// Receives the progress of downloads.
pub type DownloadObserver<'a> = dyn FnMut(DownloadEvent<'_>) + 'a;

/// The files of a model in the cache.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HubFiles {
    /// The file, or the first shard.
    pub path: PathBuf,
    /// The SHA-256 of each shard in order, in hexadecimal. `None` unless it was computed by
    /// a download just now.
    pub sha256: Vec<Option<String>>,
}

/// Downloads the files of a model that are not in the cache yet. If the Hub can't be
/// asked for the repository's files, those in the cache are used.
///
/// # Errors
/// The repository or the file does not exist or needs a token; the Hub can't be reached
/// and the model is not in the cache; a download fails, or what arrives has another
/// checksum than the Hub states; the disk is full.
pub(crate) fn fetch(
    model: &HubModel,
    settings: &HubSettings,
    observer: &mut DownloadObserver<'_>,
) -> Result<HubFiles, EngineError> {
    let Some(folder) = &settings.cache else {
        return Err(EngineError::new("there is no folder to download models to")
            .hinted("set HF_HOME to a folder"));
    };
    let cache = Cache::new(folder.clone()).repo(&model.repo);
    let client = Client::new(settings);
    let listing = client.branch(&model.repo).and_then(|branch| {
        let files = client.files(&model.repo, &branch.commit)?;
        Ok((branch, files))
    });
    match listing {
        Ok((branch, files)) => {
            let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
            let chosen = choice::choose(model, &paths)?;
            let files = with_paths(&files, &chosen);
            let fetched = download_all(&client, &cache, &branch.commit, &files, observer)?;
            // Last, so that the branch never points to files that are not there.
            cache.set_branch(&branch.name, &branch.commit).map_err(|error| {
                EngineError::new(format!("failed to write to {}", cache.display())).caused_by(error)
            })?;
            Ok(fetched)
        }
        Err(error) => {
            let cached = cached(model, &cache);
            let Some(files) = cached else { return Err(listing_error(model, settings, error)) };
            tracing::warn!("{error}; using {model} from the cache");
            Ok(files)
        }
    }
}

/// The files with these paths. All of them are in the list that the paths were chosen from.
fn with_paths<'f>(files: &'f [RemoteFile], paths: &[String]) -> Vec<&'f RemoteFile> {
    paths.iter().filter_map(|path| files.iter().find(|file| file.path == *path)).collect()
}

/// Downloads the files that are not in the cache.
fn download_all(
    client: &Client,
    cache: &RepoCache,
    commit: &str,
    files: &[&RemoteFile],
    observer: &mut DownloadObserver<'_>,
) -> Result<HubFiles, EngineError> {
    let mut sha256 = Vec::new();
    let mut paths = Vec::new();
    for file in files {
        let path = cache.snapshot(commit, &file.path);
        let blob = cache.blob(&file.oid);
        let computed = if path.exists() {
            None
        } else {
            let computed = if blob.exists() {
                None
            } else {
                download::download(client, file, &blob, observer)?
            };
            cache::link(&blob, &path).map_err(|error| {
                EngineError::new(format!("failed to create {}", path.display())).caused_by(error)
            })?;
            computed
        };
        sha256.push(computed);
        paths.push(path);
    }
    Ok(HubFiles { path: paths.swap_remove(0), sha256 })
}

/// The files of the model in the cache, if all of them are there.
fn cached(model: &HubModel, cache: &RepoCache) -> Option<HubFiles> {
    let commit = cache.commit()?;
    let paths = cache.files(&commit);
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let chosen = choice::choose(model, &paths).ok()?;
    let first = cache.snapshot(&commit, chosen.first()?);
    Some(HubFiles { path: first, sha256: vec![None; chosen.len()] })
}

/// The error of a repository whose files can't be listed, and that is not in the cache.
fn listing_error(model: &HubModel, settings: &HubSettings, error: RequestError) -> EngineError {
    let HubModel { repo, .. } = model;
    match error.refusal() {
        Some(refusal) => refusal.error(repo, settings.token.is_some()),
        None => EngineError::new(format!("failed to list the files of {repo}"))
            .hinted(
                "the model is not in the cache, so amend needs the network; HF_ENDPOINT names \
                 another address, and -m MODEL.gguf uses a file",
            )
            .caused_by(error),
    }
}

#[cfg(test)]
#[path = "../../../../tests/it/common/hub.rs"]
mod server;
#[cfg(test)]
mod tests;
