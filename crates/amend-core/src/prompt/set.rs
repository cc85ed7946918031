//! A set of templates: the built-in files of a layout, which files of a folder can replace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::TemplatesError;
use super::diagnose::{about, did_you_mean};
use crate::constitution::Layout;
use crate::document::diagnostic::{Diagnostic, Diagnostics};
use crate::record::StepKind;

/// A template's text, and the file name to use in messages.
#[derive(Debug, Clone)]
pub(super) struct TemplateSource {
    pub(super) text: Arc<str>,
    pub(super) shown: String,
}

macro_rules! built_in {
    ($folder:literal: $($name:literal),+) => {
        [$(($name, include_str!(concat!("../../../../prompts/", $folder, $name)))),+]
    };
}

/// The templates of every layout.
const COMMON: [(&str, &str); 6] =
    built_in!["": "gate.j2", "generate.j2", "guide.j2", "judge.j2", "macros.j2", "rubric.j2"];

/// The templates of [`Layout::Conversation`].
const CONVERSATION: [(&str, &str); 3] =
    built_in!["conversation/": "critique.j2", "review.j2", "revise.j2"];

/// The templates of [`Layout::Quoted`].
const QUOTED: [(&str, &str); 3] = built_in!["quoted/": "critique.j2", "review.j2", "revise.j2"];

/// The wording of both layouts. A set contains both, so that a copy of any built-in template
/// works in either layout.
const WORDING: [[(&str, &str); 1]; 2] =
    [built_in!["conversation/": "conversation.j2"], built_in!["quoted/": "quoted.j2"]];

/// The template of requests for prompts, which is no part of a run.
pub(super) const WRITING: [(&str, &str); 1] = built_in!["": "write-prompts.j2"];

/// The file names and texts of the built-in set of a layout.
pub(super) fn built_in(
    layout: Layout,
) -> impl Iterator<Item = (&'static str, &'static str)> + Clone {
    let own = match layout {
        Layout::Conversation => CONVERSATION,
        Layout::Quoted => QUOTED,
    };
    COMMON.into_iter().chain(WORDING.into_iter().flatten()).chain(own)
}

/// The texts of all built-in templates; those of both layouts occur twice.
pub fn built_in_texts() -> impl Iterator<Item = &'static str> {
    [Layout::Conversation, Layout::Quoted].into_iter().flat_map(built_in).map(|(_, text)| text)
}

/// The prefix of the names of additional judge templates.
pub(super) const JUDGES: &str = "judge-";

/// Reads a set: these built-in files, replaced or extended by those of the folder.
///
/// Hidden files, folders, notes (`*.md`), backup copies (`*~`) and templates of other commands
/// are ignored. Any other file that no template of the set can reach is an error, since it would have
/// no effect.
pub(super) fn read(
    overlay: Option<&Path>,
    built_in: impl Iterator<Item = (&'static str, &'static str)> + Clone,
) -> Result<BTreeMap<String, TemplateSource>, TemplatesError> {
    let mut set: BTreeMap<String, TemplateSource> = built_in
        .clone()
        .map(|(name, text)| {
            let shown = format!("{name} (built in)");
            (name.to_owned(), TemplateSource { text: text.into(), shown })
        })
        .collect();
    let Some(folder) = overlay else {
        return Ok(set);
    };
    let mut files = BTreeSet::new();
    let unreadable = |source| TemplatesError::Folder { folder: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ignored = name.starts_with('.') || name.ends_with(".md") || name.ends_with('~');
        if ignored || path.is_dir() {
            continue;
        }
        let is_elsewhere =
            WRITING.iter().any(|(other, _)| *other == name) && !set.contains_key(&name);
        if name.ends_with(".j2") && !is_elsewhere {
            let text = fs::read_to_string(&path)
                .map_err(|source| TemplatesError::File { path: path.clone(), source })?;
            let shown = path.display().to_string();
            set.insert(name.clone(), TemplateSource { text: text.into(), shown });
        }
        files.insert(name);
    }

    let mut known = reachable(&set);
    // A folder may serve several layouts and commands.
    let elsewhere = WORDING.into_iter().flatten().chain(WRITING);
    known.extend(elsewhere.map(|(name, _)| name.to_owned()));
    let unused: Vec<Diagnostic> = files
        .difference(&known)
        .map(|name| Diagnostic {
            hint: did_you_mean(name, built_in.clone().map(|(known, _)| known)),
            ..about(
                &folder.join(name).display().to_string(),
                Arc::from(""),
                0..0,
                "unused file: the set has no template of this name, and none includes it"
                    .to_owned(),
            )
        })
        .collect();
    if unused.is_empty() { Ok(set) } else { Err(TemplatesError::Invalid(Diagnostics(unused))) }
}

/// The templates that steps render, the additional judges, and all templates whose names
/// they quote, directly or indirectly, since an include could load those.
fn reachable(set: &BTreeMap<String, TemplateSource>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut pending: Vec<&str> = StepKind::ALL.map(StepKind::template).to_vec();
    pending.extend(WRITING.map(|(name, _)| name));
    pending.extend(set.keys().map(String::as_str).filter(|name| name.starts_with(JUDGES)));
    while let Some(name) = pending.pop() {
        if let Some(source) = set.get(name)
            && reached.insert(name.to_owned())
        {
            pending.extend(set.keys().map(String::as_str).filter(|other| {
                source.text.contains(&format!("\"{other}\""))
                    || source.text.contains(&format!("'{other}'"))
            }));
        }
    }
    reached
}
