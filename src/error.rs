//! What the outside world can do wrong: files, recipes, text, adapters.
//!
//! A wrong graph is not here: that is a caller's bug and panics with the operation and the types.

use std::fmt;

/// One line that says what, where and what to do. Displayed, it is one line whatever names a file has put into it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user's mistake: a missing file, an unknown key, an impossible size. Exit code 2.
    #[error("{}", OneLine(.0))]
    Input(String),
    /// The device: no adapter, out of memory, lost, a shader that does not compile. Exit code 1.
    #[error("{}", OneLine(.0))]
    Device(String),
    /// What was computed is not a number, or does not agree with what was stored. Exit code 1.
    #[error("{}", OneLine(.0))]
    Run(String),
}

/// The result of everything that touches the outside world.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The process's exit code: 2 for the user's mistakes, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input(_) => 2,
            Error::Device(_) | Error::Run(_) => 1,
        }
    }
}

/// What a message has at most, in characters; paths have their place in it.
const LONGEST: usize = 1000;

struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let cut = if self.0.len() <= LONGEST { None } else { self.0.char_indices().nth(LONGEST) };
        match cut {
            None => f.write_str(&printable(self.0)),
            // What to do comes last.
            Some(_) => {
                let last = self.0.char_indices().nth_back(LONGEST / 4).map_or(0, |(at, _)| at);
                write!(f, "{} {}", shorten(self.0, LONGEST * 3 / 4), printable(&self.0[last..]))
            }
        }
    }
}

/// A text for a terminal: what would end its line, or be obeyed, is spelled out.
pub fn printable(text: &str) -> String {
    let spelled = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}');
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if spelled(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// The first `most` characters of a text that comes from a file, for a message.
pub fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => printable(&text[..at]) + "…",
        None => printable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let message = |text: &str| Error::Input(text.into()).to_string();
        assert_eq!(message("a.toml: größer"), "a.toml: größer");
        assert_eq!(message("x\n\r\u{1b}[31m\0\u{85}\u{2028}y"), "x\\n\\r\\u{1b}[31m\\u{0}\\u{85}\\u{2028}y");
        let long = message(&format!("file: {} is missing; do this", "é\n".repeat(1_000_000)));
        assert!(long.starts_with("file: é\\né") && long.ends_with("é\\n is missing; do this"), "{long}");
        assert!(long.contains("…") && long.chars().count() < 2 * LONGEST);
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(shorten("größer", 3), "grö…");
        assert_eq!(shorten("größer", 6), "größer");
        assert_eq!(shorten("a\tb", 2), "a\\t…");
    }
}
