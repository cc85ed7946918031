//! Loads a constitution and the files it extends.

use std::collections::HashMap;
use std::error::Error as _;
use std::path::PathBuf;
use std::{fs, io};

use toml::Spanned;

use super::Constitution;
use super::merge::{Node, merge};
use super::parse::read_form;
use super::place::{ConstitutionPlace, ConstitutionReadError, SHIPPED, shipped};
use crate::document::diagnostic::{Diagnostic, Diagnostics, closest};
use crate::document::schema::SourceText;

/// The maximum number of files in one chain of `extends`.
const MAX_DEPTH: usize = 16;

/// A constitution and the files it was loaded from.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedConstitution {
    /// The checked constitution.
    pub constitution: Constitution,
    /// The files: the requested one, then those it extends, in the order of reading.
    pub files: Vec<SourceFile>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The path, or `shipped:` and the name of a shipped constitution.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// An error loading a constitution.
#[derive(Debug, thiserror::Error)]
pub enum ConstitutionError {
    /// The reference is neither a file nor a shipped constitution.
    #[error(
        "no constitution {reference:?}: there is no such file and no shipped constitution of that name"
    )]
    Missing {
        /// The requested path or name.
        reference: String,
        /// A likely correction, or the list of shipped constitutions.
        hint: String,
    },
    /// The file can't be read.
    #[error(transparent)]
    Unreadable(#[from] ConstitutionReadError),
    /// The files were read, but contain errors.
    #[error(transparent)]
    Wrong(#[from] Diagnostics),
}

/// Loads a constitution and all files it extends. `reference` is a path or, if there
/// is no such file, the name of a shipped constitution such as `harmless`.
///
/// # Errors
/// The file can't be read, or contains errors; all of them are reported at once.
pub fn load(reference: &str) -> Result<LoadedConstitution, ConstitutionError> {
    let place = find(reference)?;
    let text = place.read()?;
    Ok(load_all(place, text)?)
}

/// Parses and checks a constitution's text. It can extend shipped constitutions only.
///
/// # Errors
/// All errors in the text.
pub fn parse(file_name: &str, text: &str) -> Result<Constitution, Diagnostics> {
    let place = ConstitutionPlace::Text(file_name.to_owned(), text.to_owned());
    load_all(place, text.to_owned()).map(|loaded| loaded.constitution)
}

fn find(reference: &str) -> Result<ConstitutionPlace, ConstitutionError> {
    let path = PathBuf::from(reference);
    let is_folder = match fs::metadata(&path) {
        Ok(metadata) => metadata.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return shipped(reference).ok_or_else(|| missing(reference));
        }
        Err(source) => return Err(ConstitutionReadError::Io { path, source }.into()),
    };
    match shipped(reference) {
        Some(place) if is_folder => Ok(place),
        _ => Ok(ConstitutionPlace::File(path)),
    }
}

fn missing(reference: &str) -> ConstitutionError {
    let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    let hint = match closest(reference, names.iter().copied()) {
        Some(near) => format!("did you mean the shipped constitution `{near}`?"),
        None => format!("shipped constitutions: {}", names.join(", ")),
    };
    ConstitutionError::Missing { reference: reference.to_owned(), hint }
}

fn load_all(place: ConstitutionPlace, text: String) -> Result<LoadedConstitution, Diagnostics> {
    let mut loader = Loader::default();
    loader.enter(place, text);
    if !loader.errors.is_empty() {
        return Err(Diagnostics(loader.errors));
    }
    let constitution = merge(&loader.nodes).map_err(Diagnostics)?;
    Ok(LoadedConstitution { constitution, files: loader.files })
}

/// Visits a file and all files it extends, each once, depth first.
#[derive(Default)]
struct Loader {
    /// The files without errors, each after all files it extends.
    nodes: Vec<Node>,
    /// The node index of each canonical place; `None` if the file contains errors.
    done: HashMap<ConstitutionPlace, Option<usize>>,
    /// The place and name of each file from the first to the one being read.
    stack: Vec<(ConstitutionPlace, String)>,
    files: Vec<SourceFile>,
    errors: Vec<Diagnostic>,
}

impl Loader {
    fn enter(&mut self, place: ConstitutionPlace, text: String) -> Option<usize> {
        let canonical = place.canonical();
        let source = SourceText { name: place.name(), text: text.as_str().into() };
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

    fn node(&mut self, place: &ConstitutionPlace, source: SourceText) -> Option<Node> {
        let file = match read_form(&source) {
            Ok(file) => file,
            Err(errors) => {
                self.errors.extend(errors);
                return None;
            }
        };
        // Follow every entry before failing, so that all errors are reported.
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

    fn follow(
        &mut self,
        place: &ConstitutionPlace,
        source: &SourceText,
        entry: &Spanned<String>,
    ) -> Option<usize> {
        let name = entry.get_ref();
        let error = |message: String| source.error(entry.span(), message);
        let Some(target) = place.follow(name) else {
            let hint = match place.near(name) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "paths are relative to the file that contains them".to_owned(),
            };
            let diagnostic =
                error(format!("cannot extend {name:?}: there is no such constitution"))
                    .with_label("neither a file nor a shipped constitution")
                    .with_hint(hint);
            self.errors.push(diagnostic);
            return None;
        };
        let canonical = target.canonical();
        if let Some(start) = self.stack.iter().position(|(open, _)| *open == canonical) {
            let cycle = self.stack[start..].iter().chain([&self.stack[start]]);
            let names: Vec<&str> = cycle.map(|(_, name)| name.as_str()).collect();
            let mut diagnostic = error(format!("circular `extends`: {}", names.join(" → ")))
                .with_label("this entry closes the cycle");
            if let Some(ConstitutionPlace::Shipped(name, _)) = shipped(name) {
                diagnostic = diagnostic
                    .with_hint(format!("to extend the shipped constitution, write \"{name}\""));
            }
            self.errors.push(diagnostic);
            return None;
        }
        if let Some(&done) = self.done.get(&canonical) {
            return done;
        }
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("this chain of `extends` has more than {MAX_DEPTH} files");
            self.errors.push(error(message));
            return None;
        }
        match target.read() {
            Ok(text) => self.enter(target, text),
            Err(failure) => {
                let cause = failure.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                self.errors.push(error(format!("{failure}{cause}")));
                None
            }
        }
    }
}
