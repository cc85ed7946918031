//! Filters, which remove rows from an export, and the log of the removed rows. The
//! run still has the removed rows; the log says which ones the export lacks.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Counts, ExportError};
use crate::pairs::RevisedFrom;
use crate::rows::json_lines;
use crate::store::atomic;
use amend_core::record::Item;

/// Why a filter fails.
pub type Unfit = Box<dyn Error + Send + Sync>;

/// Examines the rows of one export, in order, each with what led to its answer if that is
/// a revision. Returns the fault of a row to remove, or `None` to keep the row.
pub type Examine<'a> = Box<
    dyn FnMut(&Map<String, Value>, Option<&RevisedFrom>) -> Result<Option<DropFault>, Unfit> + 'a,
>;

/// Decides which rows an export leaves out.
pub trait RowFilter {
    /// Begins an export.
    ///
    /// # Errors
    /// The data that the filter compares rows with can't be read.
    fn begin(&self) -> Result<Examine<'_>, Unfit>;
}

/// Why a filter removes a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropFault {
    /// The name of the rule that the row breaks.
    pub rule: &'static str,
    /// What the rule detects.
    pub about: &'static str,
    /// The offending text, on one line.
    pub excerpt: String,
}

/// A line of the log.
#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    row: u64,
    finding: &'a str,
    excerpt: &'a str,
}

/// The log of removed rows. Empty for an export to a stream, which has no log.
#[derive(Default)]
pub(super) struct Log<'a>(Option<&'a mut (dyn Write + Send)>);

impl Log<'_> {
    /// Records that a row of an item was removed.
    pub fn record(&mut self, item: &Item, fault: &DropFault) -> Result<(), ExportError> {
        let Some(out) = &mut self.0 else { return Ok(()) };
        let id = item.id.as_deref().unwrap_or(&item.key);
        let entry = Entry { id, row: item.row, finding: fault.rule, excerpt: &fault.excerpt };
        Ok(json_lines::write(&mut **out, &entry)?)
    }
}

/// The path of the log of an export to `path`: next to it.
fn log_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(".removed.jsonl");
    path.with_file_name(name)
}

/// Writes an export with `export`. If rows are `filtered`, also writes the log next
/// to `target`. Otherwise removes the log of an earlier export: it would list rows
/// that the new export has.
pub(super) fn logged(
    target: &Path,
    filtered: bool,
    export: impl FnOnce(&mut Log<'_>) -> Result<Counts, ExportError>,
) -> Result<Counts, ExportError> {
    let path = log_path(target);
    let counts = if filtered {
        atomic::write(&path, |out| export(&mut Log(Some(out))))?
    } else {
        export(&mut Log::default())?
    };
    if !counts.filtered.is_empty() {
        return Ok(Counts { log: Some(path), ..counts });
    }
    // No log is left for an export that removed nothing.
    match remove(&path) {
        Ok(()) => Ok(counts),
        Err(source) => Err(ExportError::File { path, source }),
    }
}

/// Removes a log, if there is one.
fn remove(log: &Path) -> io::Result<()> {
    // Logs are regular files. Anything else with this name is not ours.
    if !fs::symlink_metadata(log).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    fs::remove_file(log)?;
    atomic::sync_folder(atomic::parent(log))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{export, run, whole};
    use super::super::{ExportOptions, write, write_file, write_folder};
    use super::*;
    use crate::pairs::Which;

    /// Removes the rows of one item, and fails at the rows of another.
    struct ById {
        removed: &'static str,
        fails_at: &'static str,
    }

    impl RowFilter for ById {
        fn begin(&self) -> Result<Examine<'_>, Unfit> {
            Ok(Box::new(|row, _| {
                if row["id"] == self.fails_at {
                    return Err("no".into());
                }
                let fault =
                    DropFault { rule: "dull", about: "it | bores", excerpt: "yawn".to_owned() };
                Ok((row["id"] == self.removed).then_some(fault))
            }))
        }
    }

    const COUNTED: ((&str, &str), u64) = (("dull", "it | bores"), 1);

    #[test]
    fn removed_rows_are_counted_and_logged_next_to_the_export() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(&folder.path().join("run"));
        let filter = ById { removed: "b", fails_at: "" };
        let export = ExportOptions { filter: Some(&filter), ..export("trl") };
        let path = |name: &str| folder.path().join(name);

        let mut stream = Vec::new();
        let counts = write(&run, &export, &mut stream).unwrap();
        assert_eq!(counts.written, 2);
        assert!(counts.filtered.into_iter().eq([COUNTED]));
        let ids = String::from_utf8(stream.clone()).unwrap();
        assert!(!ids.contains("\"id\":\"b\"") && ids.contains("\"id\":\"e\""), "{ids}");

        let logged = "{\"id\":\"b\",\"row\":1,\"finding\":\"dull\",\"excerpt\":\"yawn\"}\n";
        let counts = write_file(&run, &export, &path("pairs.jsonl")).unwrap();
        assert!(counts.filtered.into_iter().eq([COUNTED]));
        assert_eq!(fs::read(path("pairs.jsonl")).unwrap(), stream);
        assert_eq!(fs::read_to_string(path("pairs.jsonl.removed.jsonl")).unwrap(), logged);

        write_folder(&run, &export, &whole(Some("mit")), &path("data/")).unwrap();
        assert_eq!(fs::read_to_string(path("data.removed.jsonl")).unwrap(), logged);
        let card = fs::read_to_string(path("data/README.md")).unwrap();
        assert!(card.contains("\n| train | 2 |\n"), "{card}");
        assert!(card.contains("\n| removed by the filter `dull`: it \\| bores | 1 |\n"), "{card}");
    }

    #[test]
    fn an_export_without_a_filter_removes_the_old_log() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(&folder.path().join("run"));
        let filter = ById { removed: "b", fails_at: "" };
        let path = folder.path().join("pairs.jsonl");
        let log = log_path(&path);
        let filtered = ExportOptions { filter: Some(&filter), ..export("trl") };
        let counts = write_file(&run, &filtered, &path).unwrap();
        assert_eq!(counts.log.as_deref(), Some(log.as_path()));
        assert!(log.exists());

        // A filter that removes nothing leaves no log.
        let idle = ById { removed: "", fails_at: "" };
        let unfiltered = ExportOptions { filter: Some(&idle), ..export("trl") };
        let other = folder.path().join("other.jsonl");
        assert_eq!(write_file(&run, &unfiltered, &other).unwrap().log, None);
        assert!(!log_path(&other).exists());

        // A failed export keeps the old file, and so its log.
        let refused = ExportOptions { which: Which::All, ..export("kto") };
        write_file(&run, &refused, &path).unwrap_err();
        assert!(log.exists());
        let counts = write_file(&run, &export("trl"), &path).unwrap();
        assert_eq!((counts.log, log.exists()), (None, false));

        // A folder is no log, so it stays.
        fs::create_dir(&log).unwrap();
        write_file(&run, &export("trl"), &path).unwrap();
        assert!(log.exists());
    }

    #[test]
    fn a_failed_filter_leaves_no_file_and_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(&folder.path().join("run"));
        let filter = ById { removed: "q-1", fails_at: "e" };
        let export = ExportOptions { filter: Some(&filter), ..export("trl") };
        let file = write_file(&run, &export, &folder.path().join("pairs.jsonl"));
        assert!(matches!(file, Err(ExportError::Filter(_))));
        let data = write_folder(&run, &export, &whole(None), &folder.path().join("data"));
        assert!(matches!(data, Err(ExportError::Filter(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the run alone");
    }
}
