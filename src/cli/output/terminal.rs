//! What the terminal can show.

use std::io::IsTerminal;

/// Whether stdout takes colour: a terminal, and `NO_COLOR` is not set.
#[must_use]
pub fn stdout_color() -> bool {
    std::io::stdout().is_terminal() && !no_color()
}

/// Whether stderr takes colour.
#[must_use]
pub fn stderr_color() -> bool {
    std::io::stderr().is_terminal() && !no_color()
}

/// Whether to show a progress bar on stderr.
#[must_use]
pub fn shows_progress() -> bool {
    stderr_color()
}

fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
