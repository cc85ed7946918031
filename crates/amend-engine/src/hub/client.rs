//! Requests to the Hub: the commit of a branch, the files of a commit, and their contents.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::HubSettings;
use super::cache::{is_commit, is_hash, is_inside};
use crate::http::Key;
use crate::network;
use amend_core::model::EngineError;

/// The maximum size of a list of files, in bytes.
const MAX_LIST: u64 = 16 << 20;

/// The most pages of a list of files that are read.
const MAX_PAGES: usize = 100;

/// The timeout for the next bytes of a response.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The Hub can't be reached, or the connection broke.
    #[error("failed to reach {url}: {source}")]
    Unreachable {
        /// The URL of the request.
        url: String,
        /// The network error.
        source: Box<ureq::Error>,
    },
    /// The Hub responded with an error status.
    #[error("{url} responded with status {code}: {message}")]
    Status {
        /// The URL of the request.
        url: String,
        /// The status code.
        code: u16,
        /// The Hub's own name of the error, such as `GatedRepo`.
        name: Option<String>,
        /// The Hub's message.
        message: String,
    },
    /// The response is not what was asked for.
    #[error("failed to read the response of {url}: {message}")]
    Malformed {
        /// The URL of the request.
        url: String,
        /// What is wrong with it.
        message: String,
    },
}

impl RequestError {
    /// Why the Hub refused the request, if it did.
    pub fn refusal(&self) -> Option<Refusal> {
        let Self::Status { code, name, .. } = self else { return None };
        match (code, name.as_deref()) {
            (401 | 403, Some("GatedRepo")) => Some(Refusal::Gated),
            (404, _) | (401, Some("RepoNotFound")) => Some(Refusal::NotFound),
            (401 | 403, _) => Some(Refusal::Denied),
            _ => None,
        }
    }

    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { code, .. } => *code == 429 || *code >= 500,
            Self::Malformed { .. } => false,
        }
    }
}

/// Why the Hub refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The user has to accept the conditions of the repository.
    Gated,
    /// The repository does not exist, or it is private.
    NotFound,
    /// There is no token, or it has no access.
    Denied,
}

impl Refusal {
    /// The error of a repository.
    pub fn error(self, repo: &str, has_token: bool) -> EngineError {
        let (message, hint) = match (self, has_token) {
            (Self::Gated, false) => (
                format!("access to {repo} is restricted"),
                format!(
                    "accept its conditions at https://huggingface.co/{repo}, and set HF_TOKEN to \
                     an access token of your account"
                ),
            ),
            (Self::Gated, true) => (
                format!("access to {repo} is restricted, and the token in HF_TOKEN has none"),
                format!(
                    "accept its conditions at https://huggingface.co/{repo} with the account of \
                     the token, which must be allowed to read gated repositories"
                ),
            ),
            (Self::NotFound, false) => (
                format!("there is no repository {repo}, or it is private"),
                "check its name; for a private repository, set HF_TOKEN to an access token"
                    .to_owned(),
            ),
            (Self::NotFound, true) => (
                format!("there is no repository {repo} that the token in HF_TOKEN can read"),
                "check its name and the rights of the token".to_owned(),
            ),
            (Self::Denied, false) => (
                format!("{repo} needs an access token"),
                "set HF_TOKEN to an access token of your account".to_owned(),
            ),
            (Self::Denied, true) => (
                format!("the token in HF_TOKEN can't read {repo}"),
                "check that the token is valid and what it may read".to_owned(),
            ),
        };
        EngineError::new(message).hinted(hint)
    }
}

/// A branch of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Branch {
    pub name: String,
    pub commit: String,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// The repository, as `ORG/REPO`.
    pub repo: String,
    /// The path in the repository.
    pub path: String,
    /// The URL of the content.
    pub url: String,
    /// The size of the content in bytes.
    pub size: u64,
    /// The hash that names the content in the cache.
    pub oid: String,
    /// The SHA-256 of the content in hexadecimal. The Hub states it for files in large file
    /// storage, which has all but the smallest models.
    pub sha256: Option<String>,
}

/// A client of the Hub.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    /// The address, without a slash at its end.
    endpoint: String,
    token: Option<Key>,
}

impl Client {
    pub fn new(settings: &HubSettings) -> Self {
        let endpoint = settings.endpoint.trim_end_matches('/').to_owned();
        // An address that is no URL is reported by the first request.
        let proxy = network::proxy(&endpoint.parse().unwrap_or_default());
        let agent = network::agent(&endpoint, proxy)
            .timeout_per_read(Some(READ_TIMEOUT))
            // Contents come from another host, which must not see the token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .build()
            .new_agent();
        Self { agent, endpoint, token: settings.token.clone() }
    }

    /// Whether requests have a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The branch `main` of a repository or, without one, the first branch.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn branch(&self, repo: &str) -> Result<Branch, RequestError> {
        #[derive(Deserialize)]
        struct Refs {
            branches: Vec<Ref>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Ref {
            name: String,
            target_commit: String,
        }
        let url = format!("{}/api/models/{repo}/refs", self.endpoint);
        let (refs, _): (Refs, _) = self.page(&url)?;
        let mut branches = refs.branches;
        branches.retain(|branch| is_commit(&branch.target_commit) && is_inside(&branch.name));
        let main = branches.iter().position(|branch| branch.name == "main").unwrap_or(0);
        if branches.is_empty() {
            return Err(RequestError::Malformed { url, message: "it has no branch".to_owned() });
        }
        let Ref { name, target_commit } = branches.swap_remove(main);
        Ok(Branch { name, commit: target_commit })
    }

    /// The files of a commit, in the order of the Hub, from all pages of its list.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn files(&self, repo: &str, commit: &str) -> Result<Vec<RemoteFile>, RequestError> {
        #[derive(Deserialize)]
        struct Entry {
            r#type: String,
            path: String,
            #[serde(default)]
            size: u64,
            #[serde(default)]
            oid: String,
            lfs: Option<Lfs>,
        }
        #[derive(Deserialize)]
        struct Lfs {
            oid: String,
            size: u64,
        }
        let list = format!("{}/api/models/{repo}/tree/{commit}", self.endpoint);
        let mut entries: Vec<Entry> = Vec::new();
        let mut query = Some("recursive=true".to_owned());
        for _ in 0..MAX_PAGES {
            let Some(current) = query.take() else { break };
            let (page, next): (Vec<Entry>, _) = self.page(&format!("{list}?{current}"))?;
            entries.extend(page);
            query = next;
        }
        if query.is_some() {
            let message = format!("the repository has more files than fit on {MAX_PAGES} pages");
            return Err(RequestError::Malformed { url: list, message });
        }
        let mut files = Vec::new();
        for Entry { r#type, path, size, oid, lfs } in entries {
            let (oid, size, is_sha256) = match lfs {
                Some(lfs) => (lfs.oid.to_ascii_lowercase(), lfs.size, true),
                None => (oid, size, false),
            };
            if r#type != "file" || !is_inside(&path) || !is_hash(&oid) {
                continue;
            }
            let url = format!("{}/{repo}/resolve/{commit}/{}", self.endpoint, escaped(&path));
            let sha256 = if is_sha256 { Some(oid.clone()) } else { None };
            files.push(RemoteFile { repo: repo.to_owned(), path, url, size, oid, sha256 });
        }
        Ok(files)
    }

    /// Requests a content from byte `from` on.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn open(&self, url: &str, from: u64) -> Result<Response<Body>, RequestError> {
        let range = (from > 0).then(|| format!("bytes={from}-"));
        self.get(url, range.as_deref())
    }

    /// Requests a page of JSON. Returns its value, and the query of the next page if there is
    /// one.
    fn page<T: DeserializeOwned>(&self, url: &str) -> Result<(T, Option<String>), RequestError> {
        let mut response = self.get(url, None)?;
        let link = response.headers().get("Link").and_then(|link| link.to_str().ok());
        let next = link.and_then(next_query);
        let bytes = response.body_mut().with_config().limit(MAX_LIST).read_to_vec();
        let bytes = bytes.map_err(|error| unreachable(url, error))?;
        let value = serde_json::from_slice(&bytes).map_err(|error| RequestError::Malformed {
            url: url.to_owned(),
            message: error.to_string(),
        })?;
        Ok((value, next))
    }

    fn get(&self, url: &str, range: Option<&str>) -> Result<Response<Body>, RequestError> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", token.header());
        }
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        let mut response = request.call().map_err(|error| unreachable(url, error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let name = response.headers().get("X-Error-Code").and_then(|name| name.to_str().ok());
        let name = name.map(str::to_owned);
        let code = response.status().as_u16();
        let page = response.body_mut().with_config().limit(1 << 16).read_to_string();
        let message = self.message(&page.unwrap_or_default());
        Err(RequestError::Status { url: url.to_owned(), code, name, message })
    }

    /// The message of an error page, shortened and without the token.
    fn message(&self, page: &str) -> String {
        #[derive(Deserialize)]
        struct Page {
            error: String,
        }
        let text = match serde_json::from_str::<Page>(page) {
            Ok(page) => page.error,
            Err(_) => page.to_owned(),
        };
        let text = match &self.token {
            Some(token) => token.hide_in(&text),
            None => text,
        };
        network::shorten(&text)
    }
}

/// The query of the next page, from a `Link` header. Its host is ignored: a mirror may pass
/// on the address of the Hub, and the token must not be sent elsewhere.
fn next_query(link: &str) -> Option<String> {
    for link in link.split(',') {
        if let Some((target, parameters)) = link.split_once('>')
            && parameters.contains("rel=\"next\"")
        {
            return target.split_once('?').map(|(_, query)| query.to_owned());
        }
    }
    None
}

fn unreachable(url: &str, error: ureq::Error) -> RequestError {
    RequestError::Unreachable { url: url.to_owned(), source: Box::new(error) }
}

/// A path as a part of a URL.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escaped("Q8_0/my model+é.gguf"), "Q8_0/my%20model%2B%C3%A9.gguf");
    }

    #[test]
    fn refusals_are_told_apart() {
        let refusal = |code, name: Option<&str>| {
            let name = name.map(str::to_owned);
            let (url, message) = (String::new(), String::new());
            RequestError::Status { url, code, name, message }.refusal()
        };
        for (code, name, expected) in [
            (404, Some("RepoNotFound"), Some(Refusal::NotFound)),
            (401, Some("RepoNotFound"), Some(Refusal::NotFound)),
            (401, Some("GatedRepo"), Some(Refusal::Gated)),
            (403, Some("GatedRepo"), Some(Refusal::Gated)),
            (401, None, Some(Refusal::Denied)),
            (403, None, Some(Refusal::Denied)),
            (503, None, None),
        ] {
            assert_eq!(refusal(code, name), expected, "{code} {name:?}");
        }
    }
}
