//! Several servers of one model: given one by one, or listed in a file.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::output::error::CommandError;
use amend_engine::http::{Address, EndpointsFile};

/// Servers that are listed in a file.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// A file with the addresses of servers of the same model, one on each line. It is
    /// read again when it changes: servers may join and leave during a run
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
}

impl FleetArgs {
    /// Whether a file is given.
    pub fn is_given(&self) -> bool {
        self.endpoints.is_some()
    }

    /// The file and the addresses in it, if a file is given.
    ///
    /// # Errors
    /// The file can't be read, a line is faulty, or there is no address.
    pub fn open(&self) -> Result<Option<(EndpointsFile, Vec<Address>)>, CommandError> {
        let Some(path) = &self.endpoints else { return Ok(None) };
        let (file, addresses) = EndpointsFile::open(path)?;
        if addresses.is_empty() {
            return Err(CommandError::usage(
                format!("{} lists no server", path.display()),
                "write one address on each line: http://HOST:PORT/v1",
            ));
        }
        Ok(Some((file, addresses)))
    }
}

/// The addresses in several `-m`.
///
/// # Errors
/// One is not an address, or is malformed, or is given twice.
pub fn addresses(names: &[PathBuf]) -> Result<Vec<Address>, CommandError> {
    let mut addresses: Vec<Address> = Vec::new();
    for name in names {
        let address = address(name)?;
        if addresses.contains(&address) {
            return Err(CommandError::usage(
                format!("{address} is given twice"),
                "pass each -m URL once; -np sets how many requests a server gets at once",
            ));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn address(name: &Path) -> Result<Address, CommandError> {
    match name.to_str().filter(|name| Address::is_meant(name)) {
        Some(address) => Ok(address.parse::<Address>()?),
        None => Err(CommandError::usage(
            format!("-m {} is a file, and several -m are servers", name.display()),
            "pass one -m FILE, or -m URL for each server of the same model",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(names: &[&str]) -> String {
        let names: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        addresses(&names).unwrap_err().to_string()
    }

    #[test]
    fn several_models_are_servers_and_each_is_another_one() {
        let names = ["http://a:8000", "http://b:8000/v1"].map(PathBuf::from);
        let written: Vec<String> =
            addresses(&names).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(written, ["http://a:8000/v1", "http://b:8000/v1"]);
        let twice = error(&["http://a:8000", "http://b", "http://a:8000/v1/"]);
        assert!(twice.contains("http://a:8000/v1 is given twice"), "{twice}");
        let file = error(&["http://a:8000", "model.gguf"]);
        assert!(file.contains("-m model.gguf is a file"), "{file}");
        assert!(error(&["http://a", "http://b?x"]).contains("is not an address"));
    }
}
