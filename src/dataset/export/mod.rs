//! Exports: what a run's trajectories give, in the formats trainers read. One
//! file a format.

mod trl;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::atomic;
use super::journal::JournalError;
use super::pairs::{Categories, DropReason};
use super::run_dir::RunDir;
use super::trajectories::Trajectory;

/// What an export writes.
pub trait Format: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Writes what a trajectory gives. The inner result is the reason why it
    /// gives nothing.
    ///
    /// # Errors
    /// `out` can't be written to.
    fn write(
        &self,
        run: &Provenance<'_>,
        trajectory: &Trajectory,
        out: &mut dyn Write,
    ) -> io::Result<Result<(), DropReason>>;
}

/// Every format.
pub const FORMATS: &[&dyn Format] = &[&trl::Trl];

/// The format of a name.
#[must_use]
pub fn format(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.name() == name)
}

/// What records say about the run they come from.
#[derive(Debug)]
pub struct Provenance<'a> {
    /// The run's hash.
    pub run: &'a str,
    /// The categories of its constitution.
    pub categories: Categories,
}

/// What an export came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records written.
    pub written: u64,
    /// Trajectories left out, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The run can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The output can't be written.
    #[error("failed to write the export")]
    Write(#[from] io::Error),
    /// The output file can't be written.
    #[error("failed to write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes a run's records to `out`, in the order its items ended.
///
/// # Errors
/// The journal is damaged, or `out` can't be written to.
pub fn write(
    run: &RunDir,
    format: &dyn Format,
    out: &mut dyn Write,
) -> Result<Counts, ExportError> {
    let provenance = Provenance {
        run: run.hash(),
        categories: Categories::new(&run.manifest().constitution.value),
    };
    let mut counts = Counts::default();
    for trajectory in run.trajectories()? {
        match format.write(&provenance, &trajectory?, out)? {
            Ok(()) => counts.written += 1,
            Err(reason) => *counts.dropped.entry(reason).or_default() += 1,
        }
    }
    out.flush()?;
    Ok(counts)
}

/// Writes a run's records to a file, which is replaced whole or not at all.
/// What is no regular file (a pipe, a terminal) is written to as it is.
///
/// # Errors
/// The journal is damaged, or the file can't be written.
pub fn write_file(run: &RunDir, format: &dyn Format, path: &Path) -> Result<Counts, ExportError> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let counts = match fs::metadata(&target) {
        Ok(metadata) if !metadata.is_file() => {
            let file = File::options().write(true).open(&target);
            file.map_err(ExportError::Write)
                .and_then(|file| write(run, format, &mut io::BufWriter::new(file)))
        }
        _ => atomic::write(&target, |out| write(run, format, out)),
    };
    counts.map_err(|error| match error {
        ExportError::Write(source) => ExportError::File { path: path.to_owned(), source },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::{Message, Role};
    use crate::dataset::item::Item;
    use crate::dataset::journal::{Outcome, Record};
    use crate::dataset::testing::{failed, item, manifest, step};
    use crate::trajectory::{StepKind, Stop};

    /// A run of four items: two pairs, one failure, one unchanged answer.
    fn run(folder: &Path) -> RunDir {
        let rich = Item {
            id: Some("q-1".to_owned()),
            messages: vec![
                Message::new(Role::System, "Be brief."),
                Message::new(Role::User, "Hello\n\"you\""),
            ],
            metadata: json!({"source": "letters", "score": 0.1}).as_object().unwrap().clone(),
            ..item("a")
        };
        let mut run = RunDir::create(folder, &manifest()).unwrap();
        let mut ended = |item: &Item, steps: &[(StepKind, Option<&str>, &str)]| {
            for &(kind, principle, text) in steps {
                let step = step(kind, principle, text);
                run.append(&Record::Step { item: item.key.clone(), step }).unwrap();
            }
            let outcome = Outcome::Done { stop: Stop::Rounds };
            run.append(&Record::End { item: item.clone(), outcome }).unwrap();
        };
        use StepKind::{Critique, Generate, Revise};
        ended(
            &rich,
            &[
                (Generate, None, "Go away."),
                (Critique, Some("polite"), "It is rude."),
                (Revise, Some("polite"), "Good day — welcome."),
                (Critique, Some("true"), "It isn't day."),
                (Revise, Some("true"), "Good evening."),
            ],
        );
        ended(&item("b"), &[(Generate, None, "No."), (Revise, Some("kind"), "No, sorry.")]);
        ended(&item("c"), &[(Generate, None, "Yes."), (Revise, Some("kind"), "Yes.")]);
        run.append(&failed("d")).unwrap();
        run.dir().clone()
    }

    fn counts() -> Counts {
        let dropped = BTreeMap::from([(DropReason::Failed, 1), (DropReason::Same, 1)]);
        Counts { written: 2, dropped }
    }

    #[test]
    fn trl_lines_are_these() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut out = Vec::new();
        assert_eq!(write(&run, format("trl").unwrap(), &mut out).unwrap(), counts());
        let text = String::from_utf8(out).unwrap().replace(run.hash(), "HASH");
        insta::assert_snapshot!(text, @r#"
        {"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello\n\"you\""}],"chosen":[{"role":"assistant","content":"Good evening."}],"rejected":[{"role":"assistant","content":"Go away."}],"id":"q-1","category":["manners","honesty"],"reason":"It isn't day.","principles":["polite","true"],"run":"HASH","metadata":{"source":"letters","score":0.1}}
        {"prompt":[{"role":"user","content":"Why b?\nReally \"é\"?"}],"chosen":[{"role":"assistant","content":"No, sorry."}],"rejected":[{"role":"assistant","content":"No."}],"id":"b","category":["manners"],"reason":null,"principles":["kind"],"run":"HASH","metadata":{}}
        "#);
    }

    #[test]
    fn a_file_gets_what_a_stream_gets() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(&folder.path().join("run"));
        let (path, link) = (folder.path().join("pairs.jsonl"), folder.path().join("link"));
        let trl = format("trl").unwrap();
        let mut out = Vec::new();
        write(&run, trl, &mut out).unwrap();
        assert_eq!(write_file(&run, trl, &path).unwrap(), counts());
        assert_eq!(fs::read(&path).unwrap(), out);

        // Written anew through a link, the link stays and its target is replaced.
        #[cfg(unix)]
        {
            fs::write(&path, "old").unwrap();
            std::os::unix::fs::symlink(&path, &link).unwrap();
            write_file(&run, trl, &link).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read(&path).unwrap(), out);
        }

        let missing = folder.path().join("no/such/folder.jsonl");
        let error = write_file(&run, trl, &missing).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to write {}", missing.display()));
    }

    #[test]
    fn a_device_is_written_to_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let device = Path::new("/dev/full");
        if !device.exists() {
            return; // not every system has one
        }
        let error = write_file(&run, format("trl").unwrap(), device).unwrap_err();
        let ExportError::File { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(!fs::metadata(device).unwrap().is_file());
    }

    #[test]
    fn a_damaged_journal_gives_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(&folder.path().join("run"));
        let journal = run.path().join("journal.jsonl");
        let text = fs::read_to_string(&journal).unwrap();
        fs::write(&journal, text.replace("Good evening.", "Good morning.")).unwrap();
        let out = folder.path().join("pairs.jsonl");
        let error = write_file(&run, format("trl").unwrap(), &out).unwrap_err();
        assert!(
            matches!(error, ExportError::Journal(JournalError::Damaged { line: 5, .. })),
            "{error:?}"
        );
        assert!(!out.exists());
    }

    #[test]
    fn formats_are_found_by_name() {
        assert!(FORMATS.iter().all(|known| format(known.name()).is_some()));
        assert!(format("csv").is_none());
    }
}
