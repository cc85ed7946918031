//! The progress bar: items, tokens a second, time left.

use std::sync::Mutex;
use std::time::Instant;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::terminal;

/// The bar on the screen, for whoever else writes to stderr.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Runs `write` with no bar on the screen.
pub fn aside(write: impl FnOnce()) {
    let shown = SHOWN.lock().ok().and_then(|shown| shown.clone());
    match shown {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A bar over the items of a run. Hidden off a terminal and under `NO_COLOR`.
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
        if let Ok(style) =
            ProgressStyle::with_template("{bar:28} {pos}/{len} items  {msg}  {elapsed} gone{left}")
        {
            bar.set_style(style.with_key("left", left));
        }
        bar.set_position(done);
        bar.reset_eta();
        if let Ok(mut shown) = SHOWN.lock() {
            *shown = Some(bar.clone());
        }
        Self { bar, start: Instant::now() }
    }

    /// One more item ended.
    pub fn item(&self) {
        self.bar.inc(1);
    }

    /// Shows the speed, from the tokens decoded since the start.
    pub fn tokens(&self, decoded: u64) {
        let seconds = self.start.elapsed().as_secs_f64();
        if seconds > 0.5 {
            self.bar.set_message(format!("{:.0} tokens/s", decoded as f64 / seconds));
        }
    }
}

/// The time left, once there is an item to tell by.
fn left(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let left = state.eta();
    if !left.is_zero() {
        // A bar that can't be drawn is no reason to stop.
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
