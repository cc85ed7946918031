//! Which pairs of a run an export without flags has.

use crate::cli::output::counts;
use crate::cli::output::error::CommandError;
use amend_data::export::{self, Counts, ExportError, ExportOptions};
use amend_data::lint::check::{self, Needs};
use amend_data::lint::{Background, LintFilter, TrainerSettings};
use amend_data::store::manifest::Manifest;
use amend_data::store::run_dir::RunDir;

/// The filter of spoilt pairs and of the findings that the run's constitution names, except
/// those that need flags of the export.
///
/// # Errors
/// There is no rule of a name.
pub(super) fn filter(manifest: &Manifest) -> Result<LintFilter, CommandError> {
    let mut rules: Vec<String> = manifest.constitution.value.export.drop.clone();
    rules.retain(|name| check::filters().any(|rule| rule.name == name && rule.needs == Needs::Row));
    rules.extend(check::SPOILT.iter().map(|rule| rule.name.to_owned()));
    let background = Background::from_manifest(manifest);
    Ok(LintFilter::new(&rules, TrainerSettings::default(), background)?)
}

/// An export without flags, with its filter.
pub(super) fn export(filter: &LintFilter) -> ExportOptions<'_> {
    ExportOptions { filter: Some(filter), ..ExportOptions::pairs() }
}

/// Counts the pairs that an export of the run has, and what it leaves out. `None` if reviews
/// are missing that the constitution requires.
///
/// # Errors
/// The run can't be read.
pub(super) fn count(run: &RunDir) -> Result<Option<Counts>, CommandError> {
    match export::count(run, &export(&filter(run.manifest())?)) {
        Ok(counts) => Ok(Some(counts)),
        Err(ExportError::Unreviewed { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The counts in words. `None` if no item has ended.
pub(super) fn in_words(counts: &Counts) -> Option<String> {
    let left_out = counts::left_out(counts);
    if counts.written == 0 && left_out.is_empty() {
        return None;
    }
    let pairs = ExportOptions::pairs().in_words(counts.written);
    Some(format!("{pairs} to export{left_out}\n"))
}
