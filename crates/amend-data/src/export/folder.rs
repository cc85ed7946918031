//! Exports to a folder: a file for each split, and the files that describe them to
//! loaders and people. The folder is written atomically.

use std::io::BufWriter;
use std::path::Path;

use fs_err::{self as fs, File};
use serde_json::{Map, Value, json};

use super::card::DatasetCard;
use super::filter::{self, Log};
use super::sink::Sink;
use super::split::{Assignment, Prompts, Splits};
use super::statistics::ExportStatistics;
use super::{Counts, ExportError, ExportOptions};
use crate::format::cells;
use crate::format::origin::Provenance;
use crate::format::write::ExportFormat;
use crate::store::atomic;
use crate::store::run_dir::RunDir;
use amend_core::text::format::json_document;

/// The layout of an export folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// The splits; each one is a file.
    pub splits: Splits,
    /// The seed that assigns prompts to splits.
    pub seed: u64,
    /// The licence of the dataset, for the dataset card (`README.md`). `None` writes
    /// no card.
    pub licence: Option<String>,
}

/// Writes the rows of a run to a folder that does not exist or is empty.
///
/// # Errors
/// The errors of [`super::write`]. Also: the folder is not empty, a split would be
/// empty, or the licence is not a licence identifier.
pub fn write_folder(
    run: &RunDir,
    export: &ExportOptions<'_>,
    folder: &Folder,
    path: &Path,
) -> Result<Counts, ExportError> {
    let provenance = export.provenance(run)?;
    if let Some(licence) = &folder.licence {
        check_licence(licence)?;
    }
    let failed = |source| ExportError::File { path: path.to_owned(), source };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let exists = target.exists();
    if exists && fs::read_dir(&target).map_err(failed)?.next().is_some() {
        return Err(ExportError::Occupied { path: path.to_owned() });
    }
    fs::create_dir_all(atomic::parent(&target)).map_err(failed)?;
    let counts = filter::logged(&target, export.filter.is_some(), |log| {
        let staged = stage(run, export, &provenance, folder, &target, log)?;
        if exists {
            fs::remove_dir(&target)?;
        }
        fs::rename(staged.folder.path(), &target)?;
        // The folder has moved, so the guard must not delete it.
        let _ = staged.folder.keep();
        atomic::sync_folder(atomic::parent(&target))?;
        Ok(staged.counts)
    });
    counts.map_err(|error| error.at(path))
}

/// A complete export in a temporary folder, ready to be renamed.
struct Staged {
    folder: tempfile::TempDir,
    counts: Counts,
}

fn stage(
    run: &RunDir,
    export: &ExportOptions<'_>,
    provenance: &Provenance<'_>,
    layout: &Folder,
    target: &Path,
    log: &mut Log<'_>,
) -> Result<Staged, ExportError> {
    let folder = temporary_folder(target)?;
    let schema = export.schema(provenance);
    let names: Vec<String> = layout.splits.names().map(str::to_owned).collect();
    let files: Vec<String> =
        names.iter().map(|name| format!("{name}.{}", export.file_format)).collect();
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for file in &files {
        let file = BufWriter::new(File::create(folder.path().join(file))?);
        sinks.push(export.sink(&schema, file)?);
    }

    let assignment = assign(run, layout)?;
    let mut statistics = ExportStatistics::default();
    let mut rows = vec![0; names.len()];
    let mut bytes = vec![0; names.len()];
    let mut counts = export.each_row(run, provenance, log, |item, row| {
        let split = assignment.as_ref().map_or(0, |assignment| assignment.split(item));
        rows[split] += 1;
        bytes[split] += cells::size(&row);
        statistics.add(&row);
        sinks[split].write(row)
    })?;
    sinks.into_iter().try_for_each(|sink| sink.finish())?;
    if let Some(empty) = rows.iter().position(|&rows| rows == 0) {
        return Err(ExportError::EmptySplit { name: names[empty].clone() });
    }
    counts.splits = names.into_iter().zip(rows).collect();

    let name = target.file_name().map_or_else(|| "amend".into(), |name| name.to_string_lossy());
    if let Some(info) = dataset_info(export.format, &name, &counts, &files)? {
        fs::write(folder.path().join("dataset_info.json"), info)?;
    }
    if let Some(licence) = &layout.licence {
        let card = DatasetCard {
            name: &name,
            licence,
            run,
            export,
            splits: &layout.splits,
            seed: layout.seed,
            files: &files,
            bytes: &bytes,
            download: size(folder.path(), &files)?,
            schema: &schema,
            thoughts: &provenance.thoughts,
            counts: &counts,
            statistics: &statistics,
        };
        fs::write(folder.path().join("README.md"), card.render()?)?;
    }
    sync(folder.path())?;
    Ok(Staged { folder, counts })
}

/// Creates a temporary folder beside `target`.
fn temporary_folder(target: &Path) -> Result<tempfile::TempDir, ExportError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(atomic::TEMPORARY_PREFIX);
    // A temporary folder is private by default; this one becomes an ordinary one.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    Ok(builder.tempdir_in(atomic::parent(target))?)
}

/// The splits of the run's prompts. `None` if there is only one split.
fn assign(run: &RunDir, layout: &Folder) -> Result<Option<Assignment>, ExportError> {
    if layout.splits.is_whole() {
        return Ok(None);
    }
    let mut prompts = Prompts::default();
    for trajectory in run.trajectories()? {
        prompts.add(&trajectory?.item);
    }
    Ok(Some(prompts.assign(&layout.splits, layout.seed)))
}

/// Writes a folder and its files through to the disk.
fn sync(folder: &Path) -> Result<(), ExportError> {
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    atomic::sync_folder(folder)?;
    Ok(())
}

/// The total size of the files, in bytes.
fn size(folder: &Path, files: &[String]) -> Result<u64, ExportError> {
    let mut size = 0;
    for file in files {
        size += fs::metadata(folder.join(file))?.len();
    }
    Ok(size)
}

/// The text of LLaMA-Factory's `dataset_info.json`: an entry for each split, named
/// `FOLDER_SPLIT`. `None` if the format has no such file.
fn dataset_info(
    format: &ExportFormat,
    name: &str,
    counts: &Counts,
    files: &[String],
) -> Result<Option<String>, ExportError> {
    let Some(info) = format.dataset_info else { return Ok(None) };
    let mut entries = Map::new();
    for ((split, _), file) in counts.splits.iter().zip(files) {
        let mut entry = Map::from_iter([("file_name".to_owned(), json!(file))]);
        entry.extend(info());
        entries.insert(format!("{name}_{split}"), Value::Object(entry));
    }
    Ok(Some(json_document(&entries).map_err(std::io::Error::from)?))
}

/// Checks that a licence has the form of a Hugging Face licence identifier.
fn check_licence(licence: &str) -> Result<(), ExportError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    if !licence.is_empty() && licence.chars().all(fits) {
        Ok(())
    } else {
        Err(ExportError::Licence { licence: licence.to_owned() })
    }
}
