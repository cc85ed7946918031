//! The command to run next: the last line that a command prints to stderr.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use super::print;

/// Prints what to do next to stderr.
pub fn print(what: impl fmt::Display) {
    print::message(&line(what));
}

/// The line that says what to do next.
#[must_use]
pub fn line(what: impl fmt::Display) -> String {
    format!("next: {what}\n")
}

/// A call of amend, written so that a POSIX shell reads it as it is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AmendCall(Vec<String>);

impl AmendCall {
    /// The call of a command.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self(vec![command.to_owned()])
    }

    /// The call that exports the pairs of a run.
    #[must_use]
    pub fn exporting(run: &Path) -> Self {
        Self::new("export").arg(run).arg("--out").arg("pairs.jsonl")
    }

    /// The call of this process.
    #[must_use]
    pub fn this() -> Self {
        Self::from_words(std::env::args_os().skip(1))
    }

    fn from_words(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self(words.into_iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect())
    }

    /// Adds a word.
    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.0.push(word.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Adds a flag and its values, if the call does not have it.
    #[must_use]
    pub fn with(mut self, flag: &[&str]) -> Self {
        let [name, ..] = flag else { return self };
        if self.flags().any(|word| is_flag(word, name)) {
            return self;
        }
        let end = self.flags().count();
        self.0.splice(end..end, flag.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Removes a flag, with its value if it has one.
    #[must_use]
    pub fn without(mut self, name: &str, has_value: bool) -> Self {
        let end = self.flags().count();
        let Some(at) = self.0[..end].iter().position(|word| is_flag(word, name)) else {
            return self;
        };
        let value_follows = has_value && self.0[at] == name && at + 1 < end;
        self.0.drain(at..=at + usize::from(value_follows));
        self
    }

    /// The words up to `--`, which ends the flags.
    fn flags(&self) -> impl Iterator<Item = &String> {
        self.0.iter().take_while(|word| *word != "--")
    }
}

/// Whether a word is the flag `name`, alone or as `NAME=VALUE`.
fn is_flag(word: &str, name: &str) -> bool {
    word.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

impl fmt::Display for AmendCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("amend")?;
        self.0.iter().try_for_each(|word| write!(f, " {}", quoted(word)))
    }
}

/// A word as a POSIX shell reads it.
#[must_use]
pub fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_=./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        let call = AmendCall::new("export").arg("my runs/it's").arg("--out").arg("a.jsonl").arg("");
        assert_eq!(call.to_string(), r"amend export 'my runs/it'\''s' --out a.jsonl ''");
        assert_eq!(AmendCall::new("check").arg("$HOME/~").to_string(), "amend check '$HOME/~'");
        assert_eq!(line(AmendCall::new("check").arg("ä.toml")), "next: amend check ä.toml\n");
    }

    #[test]
    fn flags_are_added_once_and_removed_with_their_values() {
        let resumed =
            |call: &str| AmendCall::from_words(call.split(' ')).with(&["--resume"]).to_string();
        assert_eq!(resumed("run a b --out r"), "amend run a b --out r --resume");
        assert_eq!(resumed("run a --resume -o r"), "amend run a --resume -o r");
        assert_eq!(resumed("run -o r -- -a"), "amend run -o r --resume -- -a");
        let fit = |call: &str| {
            let call = AmendCall::from_words(call.split(' '));
            call.without("--preview", true).with(&["--out", "DIR"]).to_string()
        };
        assert_eq!(fit("run a --preview 3 -n 5"), "amend run a -n 5 --out DIR");
        assert_eq!(fit("run a --preview=3 --out=r"), "amend run a --out=r");
        assert_eq!(fit("run a --previewer"), "amend run a --previewer --out DIR");
    }
}
