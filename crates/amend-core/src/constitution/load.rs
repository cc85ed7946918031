//! Loads a constitution and the files it extends.

use std::collections::HashMap;
use std::error::Error as _;
use std::fs;
use std::io;
use std::path::PathBuf;

use toml::Spanned;

use super::Constitution;
use super::merge::{Node, merge};
use super::parse::read_form;
use super::place::{Place, ReadError, SHIPPED, shipped};
use crate::document::diagnostic::{Diagnostic, Diagnostics, closest};
use crate::document::schema::Source;

/// How many files one `extends` may lead through.
const MAX_DEPTH: usize = 16;

/// A constitution and the files it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The checked constitution.
    pub constitution: Constitution,
    /// The files: the one asked for, then those it extends, as they were met.
    pub files: Vec<SourceFile>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, or `shipped:` and the name of a shipped constitution.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

/// Why there is no constitution.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The reference is neither a file nor a shipped constitution.
    #[error("there is no constitution {reference:?}: no such file, and none shipped by that name")]
    Missing {
        /// What was asked for.
        reference: String,
        /// What was meant, perhaps, or what there is.
        hint: String,
    },
    /// The file can't be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The files were read and are wrong.
    #[error(transparent)]
    Wrong(#[from] Diagnostics),
}

/// Loads a constitution by its path or, when there is no such file, by the name
/// of a shipped one (`harmless`), and whatever it extends.
///
/// # Errors
/// When the file can't be read, or with everything that is wrong in it.
pub fn load(reference: &str) -> Result<Loaded, LoadError> {
    let place = find(reference)?;
    let text = place.read()?;
    Ok(load_all(place, text)?)
}

/// Checks a constitution's text. It may extend shipped constitutions only.
///
/// # Errors
/// Everything that is wrong in it.
pub fn parse(file_name: &str, text: &str) -> Result<Constitution, Diagnostics> {
    let place = Place::Text(file_name.to_owned(), text.to_owned());
    load_all(place, text.to_owned()).map(|loaded| loaded.constitution)
}

fn find(reference: &str) -> Result<Place, LoadError> {
    let path = PathBuf::from(reference);
    let is_folder = match fs::metadata(&path) {
        Ok(metadata) => metadata.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return shipped(reference).ok_or_else(|| missing(reference));
        }
        Err(source) => return Err(ReadError::Io { path, source }.into()),
    };
    match shipped(reference) {
        Some(place) if is_folder => Ok(place),
        _ => Ok(Place::File(path)),
    }
}

fn missing(reference: &str) -> LoadError {
    let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    let hint = match closest(reference, names.iter().copied()) {
        Some(near) => format!("did you mean the shipped constitution `{near}`?"),
        None => format!("shipped constitutions: {}", names.join(", ")),
    };
    LoadError::Missing { reference: reference.to_owned(), hint }
}

fn load_all(place: Place, text: String) -> Result<Loaded, Diagnostics> {
    let mut loader = Loader::default();
    loader.enter(place, text);
    if !loader.found.is_empty() {
        return Err(Diagnostics(loader.found));
    }
    let constitution = merge(&loader.nodes).map_err(Diagnostics)?;
    Ok(Loaded { constitution, files: loader.files })
}

/// Walks the files that extend one another, each once, depth first.
#[derive(Default)]
struct Loader {
    /// The files that are right, each after all that it extends.
    nodes: Vec<Node>,
    /// By canonical place, the node made of it; none when it is wrong.
    done: HashMap<Place, Option<usize>>,
    /// From the first file to the one being read: place and name.
    stack: Vec<(Place, String)>,
    files: Vec<SourceFile>,
    found: Vec<Diagnostic>,
}

impl Loader {
    fn enter(&mut self, place: Place, text: String) -> Option<usize> {
        let canonical = place.canonical();
        let source = Source { name: place.name(), text: text.as_str().into() };
        self.files.push(SourceFile { name: source.name.clone(), text });
        self.stack.push((canonical.clone(), source.name.clone()));
        let node = self.node(&place, source);
        self.stack.pop();
        let index = node.map(|node| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        self.done.insert(canonical, index);
        index
    }

    fn node(&mut self, place: &Place, source: Source) -> Option<Node> {
        let file = match read_form(&source) {
            Ok(file) => file,
            Err(found) => {
                self.found.extend(found);
                return None;
            }
        };
        // Every entry is followed before one that failed counts.
        let bases: Vec<_> = file
            .constitution
            .get_ref()
            .extends
            .iter()
            .map(|entry| Some((self.follow(place, &source, entry)?, entry.span())))
            .collect();
        let extends = bases.into_iter().collect::<Option<_>>()?;
        Some(Node { source, file, extends })
    }

    fn follow(&mut self, place: &Place, source: &Source, entry: &Spanned<String>) -> Option<usize> {
        let name = entry.get_ref();
        let error = |message: String| source.error(entry.span(), message);
        let Some(target) = place.follow(name) else {
            let diagnostic = error(format!("there is no constitution {name:?} to extend"))
                .with_label("neither a file nor a shipped constitution")
                .with_hint(place.near(name).map_or_else(
                    || "a path is relative to the file that names it".to_owned(),
                    |near| format!("did you mean \"{near}\"?"),
                ));
            self.found.push(diagnostic);
            return None;
        };
        let canonical = target.canonical();
        if let Some(at) = self.stack.iter().position(|(open, _)| *open == canonical) {
            let round = self.stack[at..].iter().chain([&self.stack[at]]);
            let names: Vec<&str> = round.map(|(_, name)| name.as_str()).collect();
            let mut diagnostic =
                error(format!("`extends` goes in a circle: {}", names.join(" → ")))
                    .with_label("back to where it began");
            if let Some(Place::Shipped(name, _)) = shipped(name) {
                diagnostic =
                    diagnostic.with_hint(format!("for the shipped constitution write \"{name}\""));
            }
            self.found.push(diagnostic);
            return None;
        }
        if let Some(&done) = self.done.get(&canonical) {
            return done;
        }
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("`extends` leads through more than {MAX_DEPTH} files");
            self.found.push(error(message));
            return None;
        }
        match target.read() {
            Ok(text) => self.enter(target, text),
            Err(failure) => {
                let cause = failure.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                self.found.push(error(format!("{failure}{cause}")));
                None
            }
        }
    }
}
