use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::line::sum;
use super::writer::Storage;
use super::*;
use crate::items::MAX_DEPTH;
use crate::store::trajectories::{Trajectories, Trajectory};
use crate::testing::{done, failed, item, records, retry, stepped};
use amend_core::record::Stop;

/// A disk in memory that can fail in all the ways of a real one.
struct Disk {
    bytes: Vec<u8>,
    capacity: usize,
    /// The most bytes that one write accepts.
    chunk: usize,
    truncates: bool,
    syncs: bool,
    sync_calls: usize,
}

impl Disk {
    fn with_capacity(capacity: usize) -> Self {
        let bytes = Vec::new();
        Self { bytes, capacity, chunk: 7, truncates: true, syncs: true, sync_calls: 0 }
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.chunk).min(self.capacity - self.bytes.len());
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Storage for Disk {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_calls += 1;
        if self.syncs { Ok(()) } else { Err(io::Error::other("lost contact")) }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if !self.truncates {
            return Err(io::Error::other("read-only"));
        }
        self.bytes.truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}

fn on<S: Storage>(storage: S) -> Journal<S> {
    Journal::start(storage, Path::new("journal.jsonl"))
}

fn reader(bytes: &[u8]) -> Reader<&[u8]> {
    Reader::new(bytes, PathBuf::from("journal.jsonl"))
}

/// The bytes of a journal with these records, and the end of each line.
fn encoded(records: &[Record]) -> (Vec<u8>, Vec<usize>) {
    let mut journal = on(Disk::with_capacity(usize::MAX));
    let mut ends = Vec::new();
    for record in records {
        journal.append(record).unwrap();
        ends.push(journal.storage.bytes.len());
    }
    (journal.storage.bytes, ends)
}

/// The progress of an item, with its steps if it is unfinished.
#[derive(Debug, PartialEq)]
enum Progress {
    Unfinished(Vec<Step>),
    Done,
    Failed,
}

/// The progress of each item, computed in the simplest way: only the records after an
/// item's last retry count.
fn expected(records: &[Record]) -> BTreeMap<String, Progress> {
    let mut items = BTreeMap::new();
    for key in records.iter().filter_map(Record::key) {
        let retried = |record: &Record| matches!(record, Record::Retry { item } if item == key);
        let from = records.iter().rposition(retried).map_or(0, |at| at + 1);
        let current: Vec<&Record> =
            records[from..].iter().filter(|record| record.key() == Some(key)).collect();
        let steps = current.iter().filter_map(|record| match record {
            Record::Step { step, .. } => Some(step.clone()),
            _ => None,
        });
        let progress = match current.last() {
            None => continue,
            Some(Record::End { outcome: Outcome::Done { .. }, .. }) => Progress::Done,
            Some(Record::End { outcome: Outcome::Failed { .. }, .. }) => Progress::Failed,
            Some(_) => Progress::Unfinished(steps.collect()),
        };
        items.insert(key.to_owned(), progress);
    }
    items
}

/// Checks that a state is that after some records, and no other item is in it.
fn assert_state(state: &State, records: &[Record], when: &str) {
    let expected = expected(records);
    for (key, expected) in &expected {
        let progress = match state.get(key) {
            Some(ItemProgress::Unfinished(steps)) => Progress::Unfinished(steps.to_vec()),
            Some(ItemProgress::Done) => Progress::Done,
            Some(ItemProgress::Failed) => Progress::Failed,
            None => panic!("{key} is missing {when}"),
        };
        assert_eq!(&progress, expected, "{key} {when}");
    }
    let done = expected.values().filter(|progress| **progress == Progress::Done).count();
    assert_eq!(state.done(), done as u64, "{when}");
    let failed: Vec<&String> =
        expected.iter().filter(|(_, is)| **is == Progress::Failed).map(|(key, _)| key).collect();
    assert!(state.failed().eq(failed), "{when}");
}

fn replay(bytes: &[u8]) -> Result<State, JournalError> {
    reader(bytes).replay().map(|replayed| replayed.state)
}

#[test]
fn a_line_has_a_number_a_checksum_and_a_record() {
    let (bytes, _) = encoded(&[retry("x"), stepped("a", "one")]);
    // printf '0:{"type":"retry","item":"x"}' | sha256sum
    insta::assert_snapshot!(String::from_utf8(bytes).unwrap(), @r#"
    {"n":0,"sum":"4443e8e027057afa","record":{"type":"retry","item":"x"}}
    {"n":1,"sum":"5ec507dc3dad805c","record":{"type":"step","item":"a","step":{"kind":"generate","round":0,"text":"one","finish":"stop","usage":{"prompt":9,"cached":4,"decoded":3}}}}
    "#);
}

#[test]
fn a_journal_truncated_anywhere_keeps_its_finished_items() {
    let records = records();
    let (bytes, ends) = encoded(&records);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        let (mut journal, state) = Journal::open(&path, false).unwrap();
        assert_state(&state, &records[..whole], &format!("truncated at byte {cut}"));
        let Some(record) = records.get(whole) else { continue };
        journal.append(record).unwrap();
        drop(journal);
        assert_eq!(fs::read(&path).unwrap(), bytes[..ends[whole]], "truncated at byte {cut}");
    }
}

/// Checks that a changed journal is rejected at `line` by all who read it: those who resume the
/// run, those who read its outlines, and those who read its records.
fn assert_rejected_at(bytes: &[u8], line: u64, change: &str) {
    let outlines = |mut reader: Reader<&[u8]>| loop {
        match reader.next_outline() {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => {}
            Err(error) => return Err(error),
        }
    };
    let records = |mut reader: Reader<&[u8]>| {
        while reader.next()?.is_some() {}
        Ok(())
    };
    for read in [replay(bytes).map(drop), outlines(reader(bytes)), records(reader(bytes))] {
        match read {
            Err(JournalError::Damaged { line: found, .. }) => assert_eq!(found, line, "{change}"),
            other => panic!("{change}: {other:?}"),
        }
    }
}

#[test]
fn every_changed_bit_of_a_complete_line_is_detected() {
    let (bytes, ends) = encoded(&records());
    for at in 0..bytes.len() - 1 {
        let line = 1 + ends.iter().filter(|&&end| end <= at).count() as u64;
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert_rejected_at(&changed, line, &format!("bit {bit} of byte {at}"));
        }
    }
}

#[test]
fn every_changed_byte_of_a_line_is_detected() {
    let (bytes, ends) = encoded(&records()[..3]);
    for at in ends[0]..ends[1] {
        for value in (0..=255).filter(|&value| value != bytes[at]) {
            let mut changed = bytes.clone();
            changed[at] = value;
            assert_rejected_at(&changed, 2, &format!("byte {at} set to {value}"));
        }
    }
}

#[test]
fn missing_swapped_and_repeated_lines_are_detected() {
    let (bytes, ends) = encoded(&records()[..3]);
    let [a, b, c] = [&bytes[..ends[0]], &bytes[ends[0]..ends[1]], &bytes[ends[1]..]];
    for (name, lines, line) in [
        ("first missing", vec![b, c], 1),
        ("second missing", vec![a, c], 2),
        ("swapped", vec![a, c, b], 2),
        ("repeated", vec![a, a, b, c], 2),
        ("blank line", vec![a, b"\n", b, c], 2),
    ] {
        assert_rejected_at(&lines.concat(), line, name);
    }
}

/// A line with any record and a correct checksum.
fn line_of(n: u64, record: &str) -> String {
    format!("{{\"n\":{n},\"sum\":\"{}\",\"record\":{record}}}\n", sum(n, record.as_bytes()))
}

#[test]
fn errors_say_what_is_wrong_with_a_line() {
    let good = line_of(0, r#"{"type":"retry","item":"x"}"#);
    let done = serde_json::to_string(&done("a")).unwrap();
    for (line, message) in [
        ("\n".to_owned(), "not a journal line"),
        ("{\"n\":1,\"sum\":\"\"}\n".to_owned(), "not a journal line"),
        (line_of(5, "{}"), "found record 5, expected record 1"),
        (good.replace("\"n\":0", "\"n\":1"), "the checksum does not match"),
        (
            line_of(1, r#"{"type":"verdict","item":"x"}"#),
            "this version of amend does not know the record (unknown variant `verdict`, expected one \
             of `step`, `end`, `retry`, `cohort` at line 1 column 17)",
        ),
        (line_of(1, &done) + &line_of(2, &done), "item a has already ended"),
    ] {
        let error = replay((good.clone() + &line).as_bytes()).unwrap_err();
        let JournalError::Damaged { fault, .. } = &error else { panic!("{error:?}") };
        assert_eq!(fault.to_string(), message);
    }
    let error = replay((good + "?\n").as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "journal.jsonl, line 2: not a journal line; to continue without this line and all later \
         lines, keep the lines before it: head -n 1 journal.jsonl > journal.jsonl.kept && \
         mv journal.jsonl.kept journal.jsonl"
    );
}

#[test]
fn a_line_without_end_is_rejected_at_the_limit() {
    let endless = io::BufReader::new(io::repeat(b' '));
    let error = Reader::new(endless, PathBuf::from("j")).next().unwrap_err();
    assert!(
        matches!(
            error,
            JournalError::Damaged {
                line: 1,
                fault: JournalFault::Length { limit: MAX_RECORD },
                ..
            }
        ),
        "{error:?}"
    );
    let text = "x".repeat(MAX_RECORD);
    let error = on(Disk::with_capacity(0)).append(&stepped("a", &text)).unwrap_err();
    assert!(
        matches!(error, JournalError::Refused { fault: JournalFault::Length { .. }, .. }),
        "{error:?}"
    );
}

#[test]
fn a_full_disk_at_any_byte_leaves_the_journal_valid() {
    let records = records();
    let (bytes, ends) = encoded(&records);
    for truncates in [true, false] {
        for capacity in 0..bytes.len() {
            let mut journal = on(Disk { truncates, ..Disk::with_capacity(capacity) });
            let error = records.iter().find_map(|record| journal.append(record).err()).unwrap();
            let whole = ends.iter().filter(|&&end| end <= capacity).count();
            let JournalError::Full { records: count, .. } = error else { panic!("{error:?}") };
            assert_eq!(count, whole as u64, "full at byte {capacity}");

            let error = journal.append(&records[whole]).unwrap_err();
            assert!(matches!(error, JournalError::Poisoned { .. }), "{error:?}");

            let kept =
                if truncates { ends[..whole].last().copied().unwrap_or(0) } else { capacity };
            assert_eq!(journal.storage.bytes, bytes[..kept], "full at byte {capacity}");
            let state = replay(&journal.storage.bytes).unwrap();
            assert_state(&state, &records[..whole], &format!("full at byte {capacity}"));
        }
    }
}

#[test]
fn only_a_full_disk_is_reported_as_full() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Storage for Broken {
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn truncate(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
    assert_eq!(
        on(Broken).append(&done("a")).unwrap_err().to_string(),
        "failed to write to journal.jsonl: it is valid up to record 0; fix the cause, then pass \
         --resume"
    );
    assert_eq!(
        on(Disk::with_capacity(10)).append(&done("a")).unwrap_err().to_string(),
        "disk full: journal.jsonl is valid up to record 0; free some space, then pass --resume"
    );
}

#[test]
fn a_failed_sync_is_not_retried() {
    let mut journal = on(Disk { syncs: false, ..Disk::with_capacity(usize::MAX) });
    journal.append(&stepped("a", "one")).unwrap();
    journal.append(&done("a")).unwrap();
    assert_eq!(
        journal.commit().unwrap_err().to_string(),
        "failed to sync journal.jsonl: the last of its 2 records may be lost; \
         check the disk, then pass --resume"
    );
    let length = journal.storage.bytes.len();
    let error = journal.append(&done("b")).unwrap_err();
    assert_eq!(error.to_string(), "refused to write to journal.jsonl: an earlier write failed");
    journal.commit().unwrap();
    assert_eq!((journal.storage.sync_calls, journal.storage.bytes.len()), (1, length));
}

#[test]
fn ends_are_synced_together_and_only_once() {
    let mut journal = on(Disk::with_capacity(usize::MAX));
    let mut syncs = |records: &[Record]| {
        for record in records {
            journal.append(record).unwrap();
        }
        journal.commit().unwrap();
        std::mem::take(&mut journal.storage.sync_calls)
    };
    assert_eq!(syncs(&[]), 0);
    assert_eq!(syncs(&[stepped("a", "one"), stepped("b", "one"), retry("z")]), 0);
    assert_eq!(syncs(&[done("a"), stepped("c", "one"), failed("b"), done("c")]), 1);
    assert_eq!(syncs(&[stepped("d", "one")]), 0);
    // A cohort is synced at once.
    assert_eq!(syncs(&[done("d"), Record::Cohort {}]), 1);
}

#[test]
fn a_full_disk_does_not_keep_earlier_ends_from_the_disk() {
    let (bytes, _) = encoded(&[done("a")]);
    let mut journal = on(Disk::with_capacity(bytes.len()));
    journal.append(&done("a")).unwrap();
    journal.append(&done("b")).unwrap_err();
    journal.commit().unwrap();
    assert_eq!((journal.storage.sync_calls, &journal.storage.bytes), (1, &bytes));
}

#[test]
fn the_digest_is_that_of_the_file_in_any_number_of_sessions() {
    let records = records();
    let (bytes, ends) = encoded(&records);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let expected = JournalDigest {
        records: records.len() as u64,
        bytes: bytes.len() as u64,
        sha256: amend_core::hash::sha256(&bytes),
    };
    for whole in 0..=records.len() {
        // The last line is cut off.
        let cut = ends.get(whole).map_or(bytes.len(), |end| end - 1);
        fs::write(&path, &bytes[..cut]).unwrap();
        let (mut journal, _) = Journal::open(&path, false).unwrap();
        for record in &records[whole..] {
            journal.append(record).unwrap();
        }
        assert_eq!(journal.digest(), expected, "resumed after {whole} records");
    }
}

#[test]
fn the_digest_of_a_repeated_cohort_leaves_out_the_first_try() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let (mut journal, _) = Journal::open(&path, true).unwrap();
    for record in [done("a"), Record::Cohort {}, done("b")] {
        journal.append(&record).unwrap();
    }
    let (mut journal, state) = Journal::open(&path, true).unwrap();
    assert_eq!((state.done(), state.get("b")), (1, None));
    journal.append(&done("c")).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(journal.digest().sha256, amend_core::hash::sha256(&bytes));
    assert_eq!(journal.digest().records, 3);
}

#[test]
fn an_item_that_ended_in_an_earlier_session_accepts_only_a_retry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let session = || Journal::open(&path, false).unwrap().0;
    session().append(&failed("a")).unwrap();
    let mut journal = session();
    journal.append(&stepped("a", "late")).unwrap_err();
    journal.append(&retry("a")).unwrap();
    journal.append(&done("a")).unwrap();
    journal.append(&stepped("a", "late")).unwrap_err();
    let mut journal = session();
    journal.append(&done("a")).unwrap_err();
    // A retry of a retried item.
    journal.append(&retry("a")).unwrap();
    journal.append(&failed("a")).unwrap();
    journal.append(&done("a")).unwrap_err();
    journal.append(&retry("a")).unwrap();
    journal.append(&done("a")).unwrap();
}

#[test]
fn steps_that_are_unknown_are_an_error_only_where_they_are_needed() {
    let step = r#"{"type":"step","item":"a","step":{"kind":"dream"}}"#;
    let done = serde_json::to_string(&done("a")).unwrap();
    let lines = [line_of(0, r#"{"type":"cohort"}"#), line_of(1, step), line_of(2, &done)];
    let error = replay(lines[..2].concat().as_bytes()).unwrap_err();
    let JournalError::Damaged { line: 2, fault: JournalFault::Record { message }, .. } = &error
    else {
        panic!("{error:?}")
    };
    assert!(message.starts_with("unknown variant `dream`"), "{message}");
    assert_eq!(replay(lines.concat().as_bytes()).unwrap().done(), 1);
}

#[test]
fn the_full_device_is_reported_as_full() {
    let Ok(file) = File::options().write(true).open("/dev/full") else {
        return; // not every system has one
    };
    let error = on(file).append(&done("a")).unwrap_err();
    assert!(matches!(error, JournalError::Full { records: 0, .. }), "{error:?}");
}

#[test]
fn an_ended_item_accepts_only_a_retry() {
    let mut journal = on(Disk::with_capacity(usize::MAX));
    journal.append(&failed("a")).unwrap();
    for record in [stepped("a", "late"), done("a")] {
        assert_eq!(
            journal.append(&record).unwrap_err().to_string(),
            "refused to write to journal.jsonl: item a has already ended"
        );
    }
    for record in [retry("a"), stepped("a", "again"), done("a")] {
        journal.append(&record).unwrap();
    }
    assert_eq!(replay(&journal.storage.bytes).unwrap().get("a"), Some(ItemProgress::Done));
}

#[test]
fn the_deepest_allowed_metadata_survives_a_round_trip() {
    let nested = (0..MAX_DEPTH).fold(json!(0.1), |value, _| json!([value]));
    let values = json!({"deep": nested, "big": u64::MAX, "small": i64::MIN, "float": 1e-7});
    let metadata = values.as_object().unwrap().clone();
    let item = Item { metadata, ..item("a") };
    let record = Record::End { item, outcome: Outcome::Done { stop: Stop::Unchanged } };
    let (bytes, _) = encoded(std::slice::from_ref(&record));
    assert_eq!(reader(&bytes).next().unwrap(), Some(record));
}

#[test]
fn a_resumed_item_continues_from_its_steps() {
    let (bytes, _) = encoded(&[stepped("a", "one"), stepped("a", "two"), done("b")]);
    let mut state = replay(&bytes).unwrap();
    let texts = |steps: Vec<Step>| steps.into_iter().map(|step| step.text).collect::<Vec<_>>();
    assert_eq!(texts(state.take_steps("a")), ["one", "two"]);
    assert_eq!(texts(state.take_steps("b")), Vec::<String>::new());
    assert_eq!(texts(state.take_steps("never seen")), Vec::<String>::new());
}

/// An event of a run.
#[derive(Debug, Clone)]
enum Event {
    /// The next record of an unfinished item.
    Advance(usize),
    /// A retry of a failed item.
    Retry(usize),
    /// The engines' step has ended.
    Commit,
    /// The process dies. Of the unsynced bytes, this share of 255 is left.
    Kill(u8),
}

const ITEMS: usize = 5;

/// The next record of item `at` after `steps` steps. An item has `at + 1` steps and an
/// end. Every third item fails on the first try.
fn next(at: usize, steps: usize, tried: bool) -> Record {
    let key = format!("item {at}");
    match (steps <= at, at % 3 == 2 && !tried) {
        (true, _) => stepped(&key, &format!("step {steps} of {key}")),
        (false, true) => failed(&key),
        (false, false) => done(&key),
    }
}

/// A run that may die, and the records that it has written.
struct Run {
    path: PathBuf,
    journal: Journal<File>,
    log: Vec<Record>,
    synced_records: usize,
    synced_bytes: u64,
}

impl Run {
    fn new(folder: &Path) -> Self {
        let path = folder.join("journal.jsonl");
        let (journal, _) = Journal::open(&path, false).unwrap();
        Self { path, journal, log: Vec::new(), synced_records: 0, synced_bytes: 0 }
    }

    fn append(&mut self, record: Record) {
        self.journal.append(&record).unwrap();
        self.log.push(record);
    }

    fn commit(&mut self) {
        self.journal.commit().unwrap();
        self.synced_bytes = self.journal.length;
        self.synced_records = self.log.len();
    }

    /// Appends the next record of item `at`. Returns false if the item has ended.
    fn advance(&mut self, at: usize) -> bool {
        let key = format!("item {at}");
        let steps = match expected(&self.log).get(&key) {
            None => 0,
            Some(Progress::Unfinished(steps)) => steps.len(),
            Some(_) => return false,
        };
        let tried = self.log.contains(&retry(&key));
        self.append(next(at, steps, tried));
        true
    }

    fn kill(mut self, share: u8) -> Self {
        let loose = self.journal.length - self.synced_bytes;
        let left = self.synced_bytes + loose * u64::from(share) / 255;
        drop(self.journal);
        File::options().write(true).open(&self.path).unwrap().set_len(left).unwrap();
        let (journal, state) = Journal::open(&self.path, false).unwrap();
        let kept = usize::try_from(journal.records).unwrap();
        assert!(kept >= self.synced_records, "a finished item was lost");
        self.log.truncate(kept);
        assert_state(&state, &self.log, "after a kill");
        Self { journal, ..self }
    }
}

/// The finished items of the run, sorted by key.
fn ended(path: &Path) -> Vec<Trajectory> {
    let mut ended: Vec<_> =
        Trajectories::open(&[path.to_owned()]).unwrap().map(Result::unwrap).collect();
    ended.sort_by(|a, b| a.item.key.cmp(&b.item.key));
    ended
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..ITEMS).prop_map(Event::Advance),
        1 => (0..ITEMS).prop_map(Event::Retry),
        2 => Just(Event::Commit),
        2 => any::<u8>().prop_map(Event::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_killed_and_resumed_run_equals_an_uninterrupted_one(
        events in prop::collection::vec(event(), 0..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new(folder.path());
        for event in events {
            match event {
                Event::Advance(at) => {
                    run.advance(at);
                }
                Event::Retry(at) => {
                    let key = format!("item {at}");
                    if matches!(expected(&run.log).get(&key), Some(Progress::Failed)) {
                        run.append(retry(&key));
                    }
                }
                Event::Commit => run.commit(),
                Event::Kill(share) => run = run.kill(share),
            }
        }
        for at in 0..ITEMS {
            while run.advance(at) {}
            let key = format!("item {at}");
            if matches!(expected(&run.log).get(&key), Some(Progress::Failed)) {
                run.append(retry(&key));
                while run.advance(at) {}
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let mut uninterrupted = Run::new(folder.path());
        for at in 0..ITEMS {
            for steps in 0..at + 2 {
                uninterrupted.append(next(at, steps, true));
            }
        }
        prop_assert_eq!(ended(&run.path), ended(&uninterrupted.path));
    }
}
