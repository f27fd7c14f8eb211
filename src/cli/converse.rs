//! A prompt: lines that are typed, each answered before the next is asked for.

use seqloom::error::{Error, Result};
use std::io::{BufRead, Write};

/// Asks on `to` for line after line of `from` until there are no more, and has each answered. Lines are counted from 0,
/// as those of a file. Errors: `from` cannot be read, or what `answer` says.
pub fn converse(
    from: &mut impl BufRead,
    to: &mut impl Write,
    mut answer: impl FnMut(usize, &str) -> Result<()>,
) -> Result<()> {
    // A prompt that cannot be shown is no reason not to answer.
    let mut say = |text: &str| drop(to.write_all(text.as_bytes()).and_then(|()| to.flush()));
    for number in 0.. {
        say("> ");
        let mut bytes = vec![];
        let read = from.read_until(b'\n', &mut bytes);
        if read.map_err(|e| Error::Input(format!("the terminal cannot be read: {e}")))? == 0 {
            break;
        }
        match str::from_utf8(&bytes) {
            Ok(line) => answer(number, line.trim_end_matches(['\n', '\r']))?,
            Err(_) => say("that line is not UTF-8; write another\n"),
        }
    }
    // What the shell says next begins a line.
    say("\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was said, and what was asked, of these keys.
    fn typed(keys: &[u8], answer: impl Fn(&str) -> Result<()>) -> (String, String, Vec<(usize, String)>) {
        let (mut said, mut asked) = (vec![], vec![]);
        let ended = converse(&mut &*keys, &mut said, |number, line| {
            asked.push((number, line.to_string()));
            answer(line)
        });
        let ended = ended.map_or_else(|e| e.to_string(), |()| "well".into());
        (ended, String::from_utf8(said).expect("UTF-8"), asked)
    }

    #[test]
    fn every_line_is_answered_until_there_are_no_more() {
        let (ended, said, asked) = typed(b"a b\r\n\n \nlast", |_| Ok(()));
        assert_eq!((&ended[..], &said[..]), ("well", "> > > > > \n"));
        let lines = [(0, "a b"), (1, ""), (2, " "), (3, "last")];
        assert_eq!(asked, lines.map(|(number, line)| (number, line.to_string())));
        assert_eq!(typed(b"", |_| Ok(())), ("well".into(), "> \n".into(), vec![]));
    }

    #[test]
    fn what_is_no_text_is_asked_for_again() {
        let (ended, said, asked) = typed(b"\xff\nb\n", |_| Ok(()));
        assert_eq!((&ended[..], asked), ("well", vec![(1, "b".to_string())]));
        assert_eq!(said, "> that line is not UTF-8; write another\n> > \n");
    }

    #[test]
    fn an_answer_that_fails_ends_it() {
        let fail = |line: &str| if line == "b" { Err(Error::Input("no".into())) } else { Ok(()) };
        let (ended, said, asked) = typed(b"a\nb\nc\n", fail);
        assert_eq!((&ended[..], asked.len()), ("no", 2));
        assert_eq!(said, "> > ");
    }
}
