//! The progress bar: items, tokens per second, time left.

use std::sync::Mutex;
use std::time::Instant;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::terminal;

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

/// A progress bar over the items of a run. It is shown on a terminal, unless
/// `NO_COLOR` is set.
pub struct Progress {
    bar: ProgressBar,
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
        if let Ok(mut shown) = SHOWN.lock() {
            *shown = Some(bar.clone());
        }
        Self { bar, start: Instant::now() }
    }

    /// Counts one more item that ended.
    pub fn item(&self) {
        self.bar.inc(1);
    }

    /// Shows the speed, from the number of tokens decoded since the start.
    pub fn tokens(&self, decoded: u64) {
        let seconds = self.start.elapsed().as_secs_f64();
        if seconds > 0.5 {
            self.bar.set_message(format!("{:.0} tokens/s", decoded as f64 / seconds));
        }
    }
}

/// Writes the time left, once an item has ended to estimate it from.
fn time_left(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let left = state.eta();
    if !left.is_zero() {
        // Drawing the bar is not worth an error.
        let _ = write!(out, ", {:#} left", HumanDuration(left));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if let Ok(mut shown) = SHOWN.lock() {
            *shown = None;
        }
    }
}
