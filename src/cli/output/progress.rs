//! Progress on stderr: of the items of a run, of downloads, and of other work that takes
//! long. A terminal has a bar; elsewhere, a line is printed from time to time. `--quiet`
//! switches both off.

mod facts;

use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use super::print;
use super::terminal::{self, Output};
use amend_engine::hub::DownloadEvent;

pub use facts::{ProgressFacts, VerdictCounts};

/// The time between two lines of progress, and before the first one.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The time between two changes of a bar.
const BETWEEN_CHANGES: Duration = Duration::from_millis(250);

/// Work that takes longer is announced.
const SLOW: Duration = Duration::from_secs(3);

/// The bar on the screen. Other code that writes to the terminal must suspend it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Runs `write` while the bar is cleared from the screen.
pub fn suspend<T>(write: impl FnOnce() -> T) -> T {
    let shown = SHOWN.lock().ok().and_then(|shown| shown.clone());
    match shown {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A bar on the screen. It is removed when this value is dropped.
struct ShownBar(ProgressBar);

impl ShownBar {
    fn new(bar: ProgressBar) -> Self {
        if let Ok(mut shown) = SHOWN.lock() {
            *shown = Some(bar.clone());
        }
        Self(bar)
    }
}

impl Drop for ShownBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        if let Ok(mut shown) = SHOWN.lock() {
            *shown = None;
        }
    }
}

/// Says when something that is repeated is due again.
#[derive(Debug)]
struct Interval {
    length: Duration,
    next: Instant,
}

impl Interval {
    /// The first time is one interval after `start`.
    fn new(length: Duration, start: Instant) -> Self {
        Self { length, next: start + length }
    }

    /// Whether it is due now. The next time is one interval later.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.next = now + self.length;
        }
        is_due
    }
}

/// The progress over many items.
pub struct Progress {
    start: Instant,
    interval: Interval,
    /// The bar, on a terminal.
    bar: Option<ShownBar>,
    is_silent: bool,
}

impl Progress {
    /// Starts to show the progress, on a terminal with these facts.
    #[must_use]
    pub fn new(facts: &ProgressFacts) -> Self {
        let start = Instant::now();
        let is_silent = terminal::is_quiet();
        let has_bar = terminal::shows_bars() && !is_silent;
        let length = if has_bar { BETWEEN_CHANGES } else { BETWEEN_LINES };
        let bar = if has_bar { Some(ShownBar::new(item_bar(facts.items))) } else { None };
        let progress = Self { start, interval: Interval::new(length, start), bar, is_silent };
        if has_bar {
            progress.show(facts);
        }
        progress
    }

    /// Shows the facts if it is time to.
    pub fn update(&mut self, facts: impl FnOnce() -> ProgressFacts) {
        if !self.is_silent && self.interval.is_due(Instant::now()) {
            self.show(&facts());
        }
    }

    fn show(&self, facts: &ProgressFacts) {
        let line = facts.line(self.start.elapsed());
        match &self.bar {
            Some(ShownBar(bar)) => {
                bar.set_position(facts.ended);
                bar.set_message(line);
            }
            None => print::message(&format!("{line}\n")),
        }
    }
}

/// A bar of a number of items.
fn item_bar(items: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(items), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Does some work, such as `loading the model`. If it takes more than a few seconds, says so.
pub fn announced<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if terminal::is_quiet() {
        return work();
    }
    let (working, ended) = mpsc::channel::<()>();
    thread::scope(move |scope| {
        let watch = move || {
            if ended.recv_timeout(SLOW) == Err(RecvTimeoutError::Timeout) {
                suspend(|| print::message(&format!("{what} …\n")));
            }
        };
        if let Err(error) = thread::Builder::new().spawn_scoped(scope, watch) {
            tracing::debug!(%error, "{what}");
        }
        let result = work();
        drop(working);
        result
    })
}

/// Shows the progress of downloads: a bar on a terminal, otherwise a line when a file
/// starts.
pub fn download_bar() -> impl FnMut(DownloadEvent<'_>) {
    let mut shown = None;
    move |event| match event {
        DownloadEvent::Started { file, done, total } => {
            let size = HumanBytes(total);
            let file = &*Output::stderr().text(file);
            if terminal::shows_bars() {
                shown = Some(ShownBar::new(byte_bar(file, done, total)));
            } else if done == 0 {
                eprintln!(
                    "downloading {file} ({size}); if it is interrupted, run the command again"
                );
            } else {
                eprintln!("downloading the rest of {file} ({size}) after {}", HumanBytes(done));
            }
        }
        DownloadEvent::Advanced { done } => {
            if let Some(ShownBar(bar)) = &shown {
                bar.set_position(done);
            }
        }
        DownloadEvent::Finished => shown = None,
    }
}

/// A bar of `total` bytes of a file, of which `done` are there.
fn byte_bar(file: &str, done: u64, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("{bar:28} {bytes}/{total_bytes}  {bytes_per_sec}{left}  {msg}")
    {
        bar.set_style(style.with_key("left", time_left));
    }
    bar.set_message(file.to_owned());
    bar.set_position(done);
    bar.reset_eta();
    bar
}

/// Writes the time left, once there is something to estimate it from.
fn time_left(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let left = state.eta();
    if !left.is_zero() {
        // Drawing the bar is not worth an error.
        let _ = write!(out, ", {:#} left", HumanDuration(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_due_once_in_each_interval() {
        let start = Instant::now();
        let mut interval = Interval::new(Duration::from_secs(10), start);
        let due = [0, 9, 10, 11, 19, 20, 45, 54, 55];
        let due = due.map(|second| interval.is_due(start + Duration::from_secs(second)));
        assert_eq!(due, [false, false, true, false, false, true, true, false, true]);
    }

    #[test]
    fn announced_work_returns_its_result() {
        assert_eq!(announced("working", || 3), 3);
    }
}
