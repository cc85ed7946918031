//! Rows that are left out although the format could hold them, and the log that
//! says which they were: the run keeps them, an export is no place to look for
//! them.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Counts, ExportError};
use crate::store::atomic;
use amend_core::record::Item;

/// Why a row can't be looked at.
pub type Unfit = Box<dyn Error + Send + Sync>;

/// Looks at the rows of one export, in order: what is wrong with a row that is
/// to be left out, none where it stays.
pub type Examine<'a> = Box<dyn FnMut(&Map<String, Value>) -> Result<Option<Fault>, Unfit> + 'a>;

/// Knows which rows are left out.
pub trait Filter {
    /// Begins an export.
    ///
    /// # Errors
    /// What it compares rows with can't be read.
    fn begin(&self) -> Result<Examine<'_>, Unfit>;
}

/// Why a row is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The name of the rule that it breaks.
    pub rule: &'static str,
    /// What the rule is about.
    pub about: &'static str,
    /// What shows it, on one line.
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

/// Where it is said what was left out; nowhere, of an export to a stream.
#[derive(Default)]
pub(super) struct Log<'a>(Option<&'a mut (dyn Write + Send)>);

impl Log<'_> {
    /// Says that a row of an item's was left out.
    pub fn tell(&mut self, item: &Item, fault: &Fault) -> Result<(), ExportError> {
        let Some(out) = &mut self.0 else { return Ok(()) };
        let id = item.id.as_deref().unwrap_or(&item.key);
        let entry = Entry { id, row: item.row, finding: fault.rule, excerpt: &fault.excerpt };
        serde_json::to_writer(&mut **out, &entry).map_err(io::Error::from)?;
        Ok(out.write_all(b"\n")?)
    }
}

/// Where the log of an export to `path` lies: beside it.
fn log_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(".removed.jsonl");
    path.with_file_name(name)
}

/// Writes an export, and the log beside its `target` where rows are `filtered`.
/// Where they are not, the log of an earlier export goes: it would tell of rows
/// that are there.
pub(super) fn logged(
    target: &Path,
    filtered: bool,
    export: impl FnOnce(&mut Log<'_>) -> Result<Counts, ExportError>,
) -> Result<Counts, ExportError> {
    let path = log_path(target);
    if filtered {
        let counts = atomic::write(&path, |out| export(&mut Log(Some(out))))?;
        return Ok(Counts { log: Some(path), ..counts });
    }
    let counts = export(&mut Log::default())?;
    match remove(&path) {
        Ok(()) => Ok(counts),
        Err(source) => Err(ExportError::File { path, source }),
    }
}

/// Removes a log, if there is one.
fn remove(log: &Path) -> io::Result<()> {
    // A log is written as a regular file; what is none is somebody's own.
    if !fs::symlink_metadata(log).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    fs::remove_file(log)?;
    atomic::sync_folder(atomic::parent(log))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{export, run, whole};
    use super::super::{Export, write, write_file, write_folder};
    use super::*;
    use crate::pairs::Which;

    /// Leaves out the rows of one item, and may fail at another's.
    struct Item {
        left_out: &'static str,
        fails_at: &'static str,
    }

    impl Filter for Item {
        fn begin(&self) -> Result<Examine<'_>, Unfit> {
            Ok(Box::new(|row| {
                if row["id"] == self.fails_at {
                    return Err("no".into());
                }
                let fault = Fault { rule: "dull", about: "it | bores", excerpt: "yawn".to_owned() };
                Ok((row["id"] == self.left_out).then_some(fault))
            }))
        }
    }

    const COUNTED: ((&str, &str), u64) = (("dull", "it | bores"), 1);

    #[test]
    fn rows_left_out_are_counted_and_logged_beside_the_export() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(&folder.path().join("run"));
        let filter = Item { left_out: "b", fails_at: "" };
        let export = Export { filter: Some(&filter), ..export("trl") };
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
        assert!(card.contains("\n| left out by the filter `dull`: it \\| bores | 1 |\n"), "{card}");
    }

    #[test]
    fn a_log_stays_no_longer_than_the_export_that_it_tells_of() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(&folder.path().join("run"));
        let filter = Item { left_out: "b", fails_at: "" };
        let path = folder.path().join("pairs.jsonl");
        let log = log_path(&path);
        let filtered = Export { filter: Some(&filter), ..export("trl") };
        let counts = write_file(&run, &filtered, &path).unwrap();
        assert_eq!(counts.log.as_deref(), Some(log.as_path()));
        assert!(log.exists());

        // What fails leaves the export as it was, and so its log.
        let refused = Export { which: Which::All, ..export("kto") };
        write_file(&run, &refused, &path).unwrap_err();
        assert!(log.exists());
        let counts = write_file(&run, &export("trl"), &path).unwrap();
        assert_eq!((counts.log, log.exists()), (None, false));

        // No log has the form of a folder: it is left alone.
        fs::create_dir(&log).unwrap();
        write_file(&run, &export("trl"), &path).unwrap();
        assert!(log.exists());
    }

    #[test]
    fn a_filter_that_fails_leaves_no_file_and_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(&folder.path().join("run"));
        let filter = Item { left_out: "q-1", fails_at: "e" };
        let export = Export { filter: Some(&filter), ..export("trl") };
        let file = write_file(&run, &export, &folder.path().join("pairs.jsonl"));
        assert!(matches!(file, Err(ExportError::Filter(_))));
        let data = write_folder(&run, &export, &whole(None), &folder.path().join("data"));
        assert!(matches!(data, Err(ExportError::Filter(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the run alone");
    }
}
