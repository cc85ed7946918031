//! A folder of splits: a file each, and what tells loaders and people about
//! them. It appears whole or not at all.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::card::Card;
use super::filter::{self, Log};
use super::sink::Sink;
use super::split::{Prompts, Splits};
use super::statistics::Statistics;
use super::{Counts, Export, ExportError};
use crate::format::cells;
use crate::format::origin::Provenance;
use crate::format::write::Format;
use crate::store::atomic;
use crate::store::run_dir::RunDir;

/// How a folder is laid out.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// Its splits: a file each.
    pub splits: Splits,
    /// What decides, with the prompts, which split a prompt is in.
    pub seed: u64,
    /// The data set's licence, for the card (`README.md`); without one there is
    /// no card.
    pub licence: Option<String>,
}

/// Writes a run's rows to a folder that is not there yet, or empty.
///
/// # Errors
/// As [`super::write`]; and there is something in the folder, a split would be
/// empty, or the licence is none.
pub fn write_folder(
    run: &RunDir,
    export: &Export<'_>,
    folder: &Folder,
    path: &Path,
) -> Result<Counts, ExportError> {
    let provenance = export.provenance(run)?;
    if let Some(licence) = &folder.licence {
        check_licence(licence)?;
    }
    let failed = |source| ExportError::File { path: path.to_owned(), source };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let there = target.exists();
    if there && fs::read_dir(&target).map_err(failed)?.next().is_some() {
        return Err(ExportError::Occupied { path: path.to_owned() });
    }
    fs::create_dir_all(atomic::parent(&target)).map_err(failed)?;
    let counts = filter::logged(&target, export.filter.is_some(), |log| {
        let made = make(run, export, &provenance, folder, &target, log)?;
        if there {
            fs::remove_dir(&target)?;
        }
        fs::rename(made.place.path(), &target)?;
        // Moved away: there is nothing left to remove.
        let _ = made.place.keep();
        atomic::sync_folder(atomic::parent(&target))?;
        Ok(made.counts)
    });
    counts.map_err(|error| error.at(path))
}

/// A folder under another name, to be renamed.
struct Made {
    place: tempfile::TempDir,
    counts: Counts,
}

fn make(
    run: &RunDir,
    export: &Export<'_>,
    provenance: &Provenance,
    folder: &Folder,
    target: &Path,
    log: &mut Log<'_>,
) -> Result<Made, ExportError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(atomic::TEMPORARY_PREFIX);
    // A temporary folder is private by default; this one becomes an ordinary one.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let place = builder.tempdir_in(atomic::parent(target))?;

    let schema = export.format.schema();
    let names: Vec<String> = folder.splits.names().map(str::to_owned).collect();
    let files: Vec<String> =
        names.iter().map(|name| format!("{name}.{}", export.file_format)).collect();
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for file in &files {
        let file = BufWriter::new(File::create(place.path().join(file))?);
        sinks.push(export.sink(&schema, folder.licence.is_some(), file)?);
    }

    let assignment = if folder.splits.is_whole() {
        None
    } else {
        let mut prompts = Prompts::default();
        for trajectory in run.trajectories()? {
            prompts.add(&trajectory?.item);
        }
        Some(prompts.assign(&folder.splits, folder.seed))
    };
    let mut statistics = Statistics::default();
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
        fs::write(place.path().join("dataset_info.json"), info)?;
    }
    if let Some(licence) = &folder.licence {
        let card = Card {
            name: &name,
            licence,
            run,
            export,
            splits: &folder.splits,
            seed: folder.seed,
            files: &files,
            bytes: &bytes,
            download: size(place.path(), &files)?,
            schema: &schema,
            counts: &counts,
            statistics: &statistics,
        };
        fs::write(place.path().join("README.md"), card.render()?)?;
    }
    for entry in fs::read_dir(place.path())? {
        File::open(entry?.path())?.sync_all()?;
    }
    atomic::sync_folder(place.path())?;
    Ok(Made { place, counts })
}

/// The files' size, all together.
fn size(folder: &Path, files: &[String]) -> Result<u64, ExportError> {
    let mut size = 0;
    for file in files {
        size += fs::metadata(folder.join(file))?.len();
    }
    Ok(size)
}

/// LLaMA-Factory's `dataset_info.json`: an entry a split, by the folder's name
/// and the split's.
fn dataset_info(
    format: &Format,
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
    let text = serde_json::to_string_pretty(&entries).map_err(std::io::Error::from)?;
    Ok(Some(text + "\n"))
}

/// Checks that a licence has the form of the hub's identifiers.
fn check_licence(licence: &str) -> Result<(), ExportError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    if !licence.is_empty() && licence.chars().all(fits) {
        Ok(())
    } else {
        Err(ExportError::Licence { licence: licence.to_owned() })
    }
}
