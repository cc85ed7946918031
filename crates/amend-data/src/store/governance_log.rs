//! The governance log: a JSON line for each output under a principle of a logged category.
//!
//! The log is append-only. An output is synced to the log before its item's end is written to
//! the journal.
//! The log has times and the journal has none, so that a reproducible run always writes
//! the same journal.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::run_dir::RunError;
use super::run_dir::files::GOVERNANCE_LOG;
use super::time::utc;
use amend_core::constitution::Constitution;
use amend_core::hash;
use amend_core::procedure::ItemLoop;
use amend_core::record::Outcome;

/// The governance log, open for appending.
pub struct GovernanceLog {
    path: PathBuf,
    file: File,
    model: Value,
    has_unsynced_entry: bool,
}

/// An entry of the log: one output.
#[derive(Serialize)]
struct Entry<'a> {
    /// The time of the output, in UTC.
    time: String,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    /// The model, as its engine describes it.
    model: &'a Value,
    constitution: &'a str,
    constitution_version: &'a str,
    /// The logged categories of the applied principles.
    categories: Vec<&'a str>,
    /// The ids of the applied principles.
    principles: Vec<&'a str>,
    outcome: &'a Outcome,
    /// The SHA-256 of the response, to verify a text later.
    response_sha256: Option<String>,
}

impl GovernanceLog {
    /// Opens the governance log: the file that the constitution names, or
    /// [`GOVERNANCE_LOG`] in `folder`. `None` if the constitution logs no category.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(
        constitution: &Constitution,
        folder: &Path,
        model: Value,
    ) -> Result<Option<Self>, RunError> {
        let governance = &constitution.governance;
        if governance.log.is_empty() {
            return Ok(None);
        }
        let path =
            governance.log_file.as_ref().map_or_else(|| folder.join(GOVERNANCE_LOG), PathBuf::from);
        let io = |action| {
            let path = path.clone();
            move |source| RunError::Io { action, path, source }
        };
        let mut file =
            File::options().read(true).append(true).create(true).open(&path).map_err(io("open"))?;
        // A crash may leave a partial line. Keep it, and start a new line after it.
        let end = file.seek(SeekFrom::End(0)).map_err(io("read"))?;
        if end > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(end - 1)).map_err(io("read"))?;
            file.read_exact(&mut last).map_err(io("read"))?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(io("write"))?;
            }
        }
        super::atomic::sync_folder(super::atomic::parent(&path))
            .map_err(io("sync the folder of"))?;
        Ok(Some(Self { path, file, model, has_unsynced_entry: false }))
    }

    /// The path of the log.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an output if a principle of a logged category was applied to it. [`Self::commit`]
    /// syncs the entry to the disk.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn add(&mut self, trajectory: &ItemLoop, outcome: &Outcome) -> Result<(), RunError> {
        self.add_at(trajectory, outcome, SystemTime::now())
    }

    fn add_at(
        &mut self,
        trajectory: &ItemLoop,
        outcome: &Outcome,
        time: SystemTime,
    ) -> Result<(), RunError> {
        let constitution = trajectory.constitution();
        let mut principles: Vec<&str> = Vec::new();
        let applied = trajectory.steps().iter().filter(|step| step.kind.is_text());
        for id in applied.flat_map(|step| step.applied()) {
            if !principles.contains(&id) {
                principles.push(id);
            }
        }
        let is_applied = |category: &&String| {
            constitution.principles.iter().any(|principle| {
                principle.category == **category && principles.contains(&principle.id.as_str())
            })
        };
        let logged = constitution.governance.log.iter();
        let categories: Vec<&str> = logged.filter(is_applied).map(String::as_str).collect();
        if categories.is_empty() {
            return Ok(());
        }
        let item = trajectory.item();
        let entry = Entry {
            time: utc(time),
            key: &item.key,
            id: item.id.as_deref(),
            model: &self.model,
            constitution: &constitution.name,
            constitution_version: &constitution.version,
            categories,
            principles,
            outcome,
            response_sha256: trajectory.answer().map(|answer| hash::sha256(answer.as_bytes())),
        };
        let path = &self.path;
        let io = |action| move |source| RunError::Io { action, path: path.clone(), source };
        let line = serde_json::to_string(&entry).map_err(|error| io("write")(error.into()))? + "\n";
        self.file.write_all(line.as_bytes()).map_err(io("write"))?;
        self.has_unsynced_entry = true;
        Ok(())
    }

    /// Syncs the entries to the disk that are not synced.
    ///
    /// # Errors
    /// The file can't be synced.
    pub fn commit(&mut self) -> Result<(), RunError> {
        if !std::mem::take(&mut self.has_unsynced_entry) {
            return Ok(());
        }
        let io = |source| RunError::Io { action: "sync", path: self.path.clone(), source };
        self.file.sync_data().map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;
    use amend_core::constitution::parse;
    use amend_core::model::{Completion, Finish, Usage};
    use amend_core::procedure::{Next, Procedure, StepResult};
    use amend_core::prompt::Delimiter;
    use amend_core::random::Stream;
    use amend_core::record::{Item, Stop};

    /// A trajectory under a principle of `category`.
    fn applied(category: &str, log: &str) -> ItemLoop {
        let text = format!(
            "constitution.name = 'c'\nconstitution.version = '7'\ngovernance = {{ {log} }}\n\
             loop.critique = false\n[[principle]]\nid = 'p'\ncategory = '{category}'\n\
             principle = 'Be right.'\n[[principle]]\nid = 'q'\ncategory = 'courts'\n\
             principle = 'Be just.'\n"
        );
        let mut constitution = parse("c.toml", &text).unwrap();
        constitution.principles.truncate(1);
        let stream = Stream::new(0);
        let mut trajectory = ItemLoop::new(
            Procedure::Revise { judging: false },
            Arc::new(constitution),
            Arc::new(Item::of_prompt("hello")),
            stream,
            Delimiter::from_stream(stream),
        );
        for text in ["one", "two"] {
            assert!(matches!(trajectory.next(), Next::Ask(_)));
            let (finish, usage) = (Finish::Stop, Usage::default());
            let completion = Completion { text: text.to_owned(), reasoning: None, finish, usage };
            trajectory.accept(StepResult::Text(completion)).unwrap();
        }
        trajectory
    }

    const DONE: Outcome = Outcome::Done { stop: Stop::Rounds };

    #[test]
    fn outputs_of_logged_categories_are_appended() {
        let folder = tempfile::tempdir().unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let add = |trajectory: &ItemLoop| {
            let model = json!({"name": "tiny"});
            let constitution = trajectory.constitution();
            let mut log = GovernanceLog::open(constitution, folder.path(), model).unwrap().unwrap();
            log.add_at(trajectory, &DONE, time).unwrap();
            log.commit().unwrap();
        };
        let high = applied("courts", "log = ['courts']");
        let path = folder.path().join(GOVERNANCE_LOG);
        std::fs::write(&path, "{\"time\": \"cut sho").unwrap();
        add(&high);
        add(&applied("manners", "log = ['courts']"));
        add(&high);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "{\"time\": \"cut sho"));
        assert_eq!(lines[1], lines[2]);
        assert_eq!(
            serde_json::from_str::<Value>(lines[1]).unwrap(),
            json!({
                "time": "2023-11-14T22:13:20Z",
                "key": "87b5073bf6a770694c108b9a1546106e",
                "model": {"name": "tiny"},
                "constitution": "c",
                "constitution_version": "7",
                "categories": ["courts"],
                "principles": ["p"],
                "outcome": {"kind": "done", "stop": "rounds"},
                // printf two | sha256sum
                "response_sha256": "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
            })
        );
    }

    #[test]
    fn the_constitution_names_the_log_or_disables_it() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("mine.jsonl");
        let log = format!("log = ['courts'], log_file = '{}'", named.display());
        let trajectory = applied("courts", &log);
        let open = |trajectory: &ItemLoop| {
            GovernanceLog::open(trajectory.constitution(), folder.path(), Value::Null).unwrap()
        };
        assert_eq!(open(&trajectory).unwrap().path(), named);
        assert!(open(&applied("courts", "log = []")).is_none());
        assert!(!folder.path().join(GOVERNANCE_LOG).exists());
    }
}
