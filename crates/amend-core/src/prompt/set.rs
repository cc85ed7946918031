//! A set of templates: the files built in, overlaid one by one by a folder's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::diagnose::{about, did_you_mean};
use super::{LoadError, template_name};
use crate::document::diagnostic::{Diagnostic, Diagnostics};
use crate::record::StepKind;

/// A template's text, and its file as messages name it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) text: Arc<str>,
    pub(super) shown: String,
}

macro_rules! built_in {
    ($($name:literal),+) => {
        [$(($name, include_str!(concat!("../../../../prompts/", $name)))),+]
    };
}

const BUILT_IN: [(&str, &str); 8] = built_in![
    "critique.j2",
    "gate.j2",
    "generate.j2",
    "judge.j2",
    "macros.j2",
    "review.j2",
    "revise.j2",
    "rubric.j2"
];

/// What the name of a further judge template begins with.
pub(super) const JUDGES: &str = "judge-";

/// Reads a set: the built-in files, and in their stead those of the folder.
///
/// Hidden files, folders, notes (`*.md`) and editors' copies (`*~`) are passed
/// over; any other file that no template of the set could reach is an error,
/// since it has no effect.
pub(super) fn read(overlay: Option<&Path>) -> Result<BTreeMap<String, Source>, LoadError> {
    let mut set: BTreeMap<String, Source> = BUILT_IN
        .iter()
        .map(|&(name, text)| {
            let shown = format!("{name} (built in)");
            (name.to_owned(), Source { text: text.into(), shown })
        })
        .collect();
    let Some(folder) = overlay else {
        return Ok(set);
    };
    let mut given = BTreeSet::new();
    let unreadable = |source| LoadError::Folder { folder: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ignored = name.starts_with('.') || name.ends_with(".md") || name.ends_with('~');
        if ignored || path.is_dir() {
            continue;
        }
        if name.ends_with(".j2") {
            let text = fs::read_to_string(&path)
                .map_err(|source| LoadError::File { path: path.clone(), source })?;
            let shown = path.display().to_string();
            set.insert(name.clone(), Source { text: text.into(), shown });
        }
        given.insert(name);
    }

    let reached = reachable(&set);
    let stray: Vec<Diagnostic> = given
        .difference(&reached)
        .map(|name| Diagnostic {
            hint: did_you_mean(name, BUILT_IN.iter().map(|&(known, _)| known)),
            ..about(
                &folder.join(name).display().to_string(),
                Arc::from(""),
                0..0,
                "no template of the set is called so or includes this file".to_owned(),
            )
        })
        .collect();
    if stray.is_empty() { Ok(set) } else { Err(LoadError::Invalid(Diagnostics(stray))) }
}

/// The templates that steps render, further judges, and those whose names these quote, and so
/// on: what an include could reach.
fn reachable(set: &BTreeMap<String, Source>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&str> = StepKind::ALL.map(template_name).to_vec();
    waiting.extend(set.keys().map(String::as_str).filter(|name| name.starts_with(JUDGES)));
    while let Some(name) = waiting.pop() {
        if let Some(source) = set.get(name)
            && reached.insert(name.to_owned())
        {
            waiting.extend(set.keys().map(String::as_str).filter(|other| {
                source.text.contains(&format!("\"{other}\""))
                    || source.text.contains(&format!("'{other}'"))
            }));
        }
    }
    reached
}
