//! A file that lists the addresses of servers and may change during a run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::address::{Address, AddressError};

/// How often the file is read again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why a file is no list of addresses.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsError {
    /// It can't be read.
    #[error("failed to read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A line is not an address.
    #[error("{}:{line}: {source}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: AddressError,
    },
    /// An address is listed twice.
    #[error("{}:{line}: {address} is listed twice", .path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The number of the second line, from 1.
        line: usize,
        /// The address.
        address: Address,
    },
}

/// A file with one address on each line. Blank lines are ignored, and so is what follows `#` at
/// the beginning of a line or after a space.
#[derive(Debug, Clone)]
pub struct EndpointsFile {
    path: PathBuf,
    /// What it contained, or why it could not be read.
    last: Result<String, String>,
    /// When it is read again.
    due: Option<Instant>,
}

impl EndpointsFile {
    /// Reads a file and the addresses in it, of which there may be none.
    ///
    /// # Errors
    /// See [`EndpointsError`].
    pub fn open(path: &Path) -> Result<(Self, Vec<Address>), EndpointsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| EndpointsError::Read { path: path.to_owned(), source })?;
        let addresses = parse(path, &text)?;
        Ok((Self { path: path.to_owned(), last: Ok(text), due: None }, addresses))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again if it is time to. Returns its addresses, or what is wrong with it,
    /// if it has changed.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Result<Vec<Address>, EndpointsError>> {
        let due = *self.due.get_or_insert(now + INTERVAL);
        if now < due {
            return None;
        }
        self.due = Some(now + INTERVAL);
        // Its contents are compared: times are too coarse, and it is small.
        let text = std::fs::read_to_string(&self.path);
        let seen = text.as_ref().map(String::clone).map_err(ToString::to_string);
        if seen == self.last {
            return None;
        }
        self.last = seen;
        Some(match text {
            Ok(text) => parse(&self.path, &text),
            Err(source) => Err(EndpointsError::Read { path: self.path.clone(), source }),
        })
    }
}

/// The addresses in the text of a file.
fn parse(path: &Path, text: &str) -> Result<Vec<Address>, EndpointsError> {
    let mut addresses: Vec<Address> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (path, line_number) = (path.to_owned(), at + 1);
        let comment = if line.trim_start().starts_with('#') { Some(0) } else { line.find(" #") };
        let line = line[..comment.unwrap_or(line.len())].trim();
        if line.is_empty() {
            continue;
        }
        let address: Address = line.parse().map_err(|source| EndpointsError::Line {
            path: path.clone(),
            line: line_number,
            source,
        })?;
        if addresses.contains(&address) {
            return Err(EndpointsError::Duplicate { path, line: line_number, address });
        }
        addresses.push(address);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(addresses: &[Address]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn comments_and_blank_lines_are_ignored() {
        let text = "# rack 1\nhttp://a:8000\n\n  http://b:8000/v1  # slow\n\t# http://c\n";
        let addresses = parse(Path::new("list"), text).unwrap();
        assert_eq!(urls(&addresses), ["http://a:8000/v1", "http://b:8000/v1"]);
        assert_eq!(parse(Path::new("list"), "\n# none\n").unwrap(), []);
    }

    #[test]
    fn faulty_lines_are_named() {
        let error = |text| parse(Path::new("list"), text).unwrap_err().to_string();
        let form = error("http://a\nb:8000\n");
        assert!(form.starts_with("list:2: \"b:8000\" is not an address of the form"), "{form}");
        let twice = error("http://a\n\nhttp://a/v1/\n");
        assert_eq!(twice, "list:3: http://a/v1 is listed twice");
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        std::fs::write(&path, "http://a\n").unwrap();
        let (mut file, addresses) = EndpointsFile::open(&path).unwrap();
        assert_eq!(urls(&addresses), ["http://a/v1"]);
        let mut now = Instant::now();
        let mut poll = || {
            now += INTERVAL;
            let result = file.poll(now)?;
            Some(result.map(|list| urls(&list)).map_err(|error| error.to_string()))
        };
        assert_eq!(poll(), None, "the first interval begins");
        assert_eq!(poll(), None);
        std::fs::write(&path, "http://b\n").unwrap();
        assert_eq!(poll(), Some(Ok(vec!["http://b/v1".to_owned()])));
        assert_eq!(poll(), None);
        std::fs::write(&path, "b\n").unwrap();
        assert!(poll().unwrap().unwrap_err().contains("list:1"));
        assert_eq!(poll(), None, "an error is reported once");
        std::fs::remove_file(&path).unwrap();
        assert!(poll().unwrap().unwrap_err().contains("failed to read"));
        assert_eq!(poll(), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(poll(), Some(Ok(Vec::new())));
    }
}
