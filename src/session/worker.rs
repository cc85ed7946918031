//! A process that answers rows as they arrive on standard input, for as long as there are any.
//! A thread reads the rows into a bounded queue. The driver takes one whenever an item ends, and
//! [`Records`] prints the records.

use std::cell::RefCell;
use std::io::{self, BufReader, Write};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::interrupt;
use super::records::Records;
use crate::cli::args::input_args::print_notes;
use crate::cli::output::error::{CommandError, Kind};
use crate::cli::output::record::ItemRecord;
use crate::cli::output::terminal::Output;
use amend_core::driver::{Ended, Engines, Job, NextWork, Observer, Work, WorkSource, drive_source};
use amend_core::procedure::ItemLoop;
use amend_core::record::{Outcome, Step};
use amend_data::items::{ItemOptions, StreamEnd, StreamedRow, read_stream};
use amend_data::store::governance_log::GovernanceLog;

/// How long an idle worker waits for a row before it checks for an interrupt.
const IDLE: Duration = Duration::from_millis(50);

/// How many bytes are read at once.
const BUFFER: usize = 64 << 10;

/// What a worker does with rows and records.
#[derive(Debug)]
pub struct WorkerOptions {
    /// How rows become items.
    pub items: ItemOptions,
    /// Whether a record is printed as soon as its item ends, rather than in the order of the
    /// rows.
    pub unordered: bool,
}

/// Runs the job over the rows of standard input as they arrive, and prints a record of each.
///
/// # Errors
/// An engine fails or can't do what the job needs, the input can't be read, stdout can't be
/// written to, the user interrupts the command, or rows failed or were at fault:
/// [`CommandError::reported`]. If the reader closes stdout, this counts as an interrupt, because
/// rows may have no record.
pub fn run_worker<'e>(
    engines: impl Into<Engines<'e>>,
    job: &Job,
    options: WorkerOptions,
    governance_log: Option<GovernanceLog>,
) -> Result<(), CommandError> {
    let mut engines = engines.into();
    engines.probe(job, None)?;
    let (output, skips) = (Output::stdout(), options.items.skip_bad);
    let answers = RefCell::new(Answers {
        records: Records::new(io::stdout().lock(), options.unordered),
        output,
        constitution: &job.constitution.name,
        skips,
        has_failures: false,
    });
    let mut queue = RowQueue::start(options.items, engines.width(), &answers)?;
    let mut printer = Printer { governance_log, answers: &answers };
    let ended = drive_source(&mut engines, job, &mut queue, &mut printer);
    let RowQueue { error, reader, .. } = queue;
    // What has ended is printed, however the rest ends.
    let printed = answers.borrow_mut().records.print_waiting().map_err(CommandError::output);
    let ended = ended.map_err(CommandError::from);
    let ended = ended.and_then(|ended| match error {
        Some(error) => Err(error),
        None => printed.map(|()| ended),
    });
    let ended = ended.map_err(closed_is_interrupt)?;
    if ended == Ended::Stopped {
        // The thread may wait for a row for ever.
        return Err(CommandError::interrupted());
    }
    let end = reader
        .join()
        .map_err(|_| CommandError::failed("read standard input", "its thread has ended"))?;
    print_notes(&end.notes);
    match end.faults {
        Some(faults) => Err(faults.into()),
        None if answers.borrow().has_failures => Err(CommandError::reported()),
        None => Ok(()),
    }
}

/// Makes a closed stdout an interrupt.
fn closed_is_interrupt(error: CommandError) -> CommandError {
    match error.kind {
        Kind::BrokenPipe => CommandError { kind: Kind::Interrupted, ..error },
        _ => error,
    }
}

/// What is answered, for the source of the rows, which finds bad ones, and for the observer of
/// the items.
struct Answers<'a, W> {
    records: Records<W>,
    output: Output,
    constitution: &'a str,
    /// Whether a bad row has no record and is no failure.
    skips: bool,
    /// Whether an item failed or a row is bad.
    has_failures: bool,
}

impl<W: Write> Answers<'_, W> {
    fn row(&mut self, row: u64, record: &ItemRecord<'_>) -> io::Result<()> {
        let line = record.line(self.output)?;
        self.records.add(row, line)
    }
}

/// The rows that a thread reads from standard input.
struct RowQueue<'a, W> {
    rows: mpsc::Receiver<StreamedRow>,
    reader: JoinHandle<StreamEnd>,
    answers: &'a RefCell<Answers<'a, W>>,
    /// Why the record of a bad row could not be printed.
    error: Option<CommandError>,
}

impl<'a, W: Write> RowQueue<'a, W> {
    /// Starts to read. At most `length` rows wait in the queue.
    fn start(
        options: ItemOptions,
        length: usize,
        answers: &'a RefCell<Answers<'a, W>>,
    ) -> Result<Self, CommandError> {
        let (sender, rows) = mpsc::sync_channel(length);
        let read = move || {
            let stdin = BufReader::with_capacity(BUFFER, io::stdin());
            read_stream("standard input", stdin, &options, |row| sender.send(row).is_ok())
        };
        let reader = std::thread::Builder::new().name("rows".to_owned()).spawn(read);
        let reader = reader
            .map_err(|error| CommandError::failed("start the thread that reads rows", error))?;
        Ok(Self { rows, reader, answers, error: None })
    }

    fn receive(&self, may_wait: bool) -> Result<StreamedRow, RecvTimeoutError> {
        if may_wait {
            return self.rows.recv_timeout(IDLE);
        }
        self.rows.try_recv().map_err(|error| match error {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }
}

impl<W: Write> WorkSource for RowQueue<'_, W> {
    fn next(&mut self, may_wait: bool) -> NextWork {
        loop {
            if self.answers.borrow().records.is_full() {
                // An item in flight is due before all records that wait.
                return NextWork::Wait;
            }
            let bad = match self.receive(may_wait) {
                Ok(StreamedRow::Item(item)) => {
                    return NextWork::Item(Box::new(Work { item, steps: Vec::new() }));
                }
                Ok(StreamedRow::Bad(bad)) => bad,
                Err(RecvTimeoutError::Timeout) => return NextWork::Wait,
                Err(RecvTimeoutError::Disconnected) => return NextWork::End,
            };
            let answers = &mut *self.answers.borrow_mut();
            let printed = if answers.skips {
                answers.records.skip(bad.row)
            } else {
                answers.has_failures = true;
                answers.row(bad.row, &ItemRecord::of_bad_row(&bad, answers.constitution))
            };
            if let Err(error) = printed {
                self.error = Some(CommandError::output(error));
                return NextWork::End;
            }
        }
    }
}

/// Prints the records of items that end, and stops at an interrupt.
struct Printer<'a, W> {
    governance_log: Option<GovernanceLog>,
    answers: &'a RefCell<Answers<'a, W>>,
}

impl<W: Write> Observer for Printer<'_, W> {
    type Error = CommandError;

    fn stops(&mut self) -> bool {
        interrupt::requested()
    }

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), CommandError> {
        Ok(())
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), CommandError> {
        if let Some(log) = &mut self.governance_log {
            log.add(trajectory, &outcome)?;
        }
        let mut answers = self.answers.borrow_mut();
        answers.has_failures |= matches!(outcome, Outcome::Failed { .. });
        let record = ItemRecord::new(trajectory, &outcome);
        answers.row(trajectory.item().row, &record).map_err(CommandError::output)
    }
}
