//! Progress bars: of the items of a run, and of the bytes of a download.

use std::sync::Mutex;
use std::time::Instant;

use indicatif::{
    HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use super::terminal::{self, Output};
use amend_engine::hub::DownloadEvent;

/// The bar on the screen. Other code that writes to stderr must suspend it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Runs `write` while the bar is cleared from the screen.
pub fn suspend(write: impl FnOnce()) {
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

/// A progress bar over the items of a run. It is shown on a terminal, unless
/// `NO_COLOR` is set.
pub struct Progress {
    bar: ShownBar,
    start: Instant,
}

impl Progress {
    /// A bar of `total` items, of which `done` were done before.
    #[must_use]
    pub fn new(total: u64, done: u64) -> Self {
        let target = if terminal::shows_progress() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template(
            "{bar:28} {pos}/{len} items  {msg}  {elapsed} elapsed{left}",
        ) {
            bar.set_style(style.with_key("left", time_left));
        }
        bar.set_position(done);
        bar.reset_eta();
        Self { bar: ShownBar::new(bar), start: Instant::now() }
    }

    /// Counts one more item that ended.
    pub fn item(&self) {
        self.bar.0.inc(1);
    }

    /// Shows the speed, from the number of tokens decoded since the start.
    pub fn tokens(&self, decoded: u64) {
        let seconds = self.start.elapsed().as_secs_f64();
        if seconds > 0.5 {
            self.bar.0.set_message(format!("{:.0} tokens/s", decoded as f64 / seconds));
        }
    }
}

/// Shows the progress of downloads: a bar on a terminal, otherwise a line when a file
/// starts.
pub fn download_bar() -> impl FnMut(DownloadEvent<'_>) {
    let mut shown = None;
    move |event| match event {
        DownloadEvent::Started { file, done, total } => {
            let size = HumanBytes(total);
            let file = &*Output::stderr().text(file);
            if terminal::shows_progress() {
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

/// Writes the time left, once an item has ended to estimate it from.
fn time_left(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let left = state.eta();
    if !left.is_zero() {
        // Drawing the bar is not worth an error.
        let _ = write!(out, ", {:#} left", HumanDuration(left));
    }
}
