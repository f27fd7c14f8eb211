//! Edits of a good file.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// One edit of some bytes; a place is a share of the length.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Ends the file there.
    Truncate(Index),
    /// Changes a bit.
    Flip(Index, u8),
    /// Changes a byte.
    Set(Index, u8),
    /// Takes so many bytes out.
    Remove(Index, usize),
    /// Says so many bytes so many times.
    Repeat(Index, usize, usize),
    /// Puts so many bytes of the first place at the second.
    Splice(Index, Index, usize),
    /// Puts a text in.
    Insert(Index, &'static str),
    /// Makes one of the numbers another.
    Number(Index, &'static str),
    /// Makes one of the texts in quotes another.
    Word(Index, &'static str),
    /// Makes one of the texts in quotes another that is there.
    Swap(Index, Index),
    /// Says a line, or what is between two commas, elsewhere too.
    Again(Index, Index),
}

const NUMBERS: [&str; 24] = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "7",
    "64",
    "255",
    "256",
    "65536",
    "65537",
    "2147483648",
    "4294967295",
    "4294967296",
    "1000000000",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e9",
    "1e400",
    "0.5",
    "-0.0",
    "NaN",
    "null",
];
const WORDS: [&str; 22] = [
    "",
    "a",
    "\\u0000",
    "\\n",
    "../x",
    "/etc/passwd",
    "..",
    "C:x",
    "model.safetensors",
    "__metadata__",
    "F16",
    "BF16",
    "F64",
    "gpt2",
    "marian",
    "pegasus",
    "relu",
    "gelu_new",
    "\\ud800",
    "\u{202e}x",
    "é",
    "learned",
];
const TEXTS: [&str; 32] = [
    "\0",
    "\n",
    "\r\n",
    "\r",
    "\t",
    ",",
    "\"",
    "'",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "é",
    "[",
    "]",
    "{",
    "}",
    "{}",
    "[[[[[[[[",
    "null",
    "true",
    "NaN",
    "=",
    "a.b.c = 1\n",
    "\"\"\"",
    "0x",
    "1979-05-27",
    "\\",
    "//",
    "/*",
    ";",
    "(",
    "*",
];

/// Up to six edits.
pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    let some = || 1usize..40;
    let edit = prop_oneof![
        1 => at().prop_map(Edit::Truncate),
        1 => (at(), 0u8..8).prop_map(|(i, bit)| Edit::Flip(i, bit)),
        1 => (at(), any::<u8>()).prop_map(|(i, byte)| Edit::Set(i, byte)),
        1 => (at(), some()).prop_map(|(i, n)| Edit::Remove(i, n)),
        1 => (at(), some(), 1usize..300).prop_map(|(i, n, times)| Edit::Repeat(i, n, times)),
        1 => (at(), at(), some()).prop_map(|(from, to, n)| Edit::Splice(from, to, n)),
        1 => (at(), select(&TEXTS[..])).prop_map(|(i, text)| Edit::Insert(i, text)),
        3 => (at(), select(&NUMBERS[..])).prop_map(|(i, number)| Edit::Number(i, number)),
        3 => (at(), select(&WORDS[..])).prop_map(|(i, word)| Edit::Word(i, word)),
        2 => (at(), at()).prop_map(|(a, b)| Edit::Swap(a, b)),
        2 => (at(), at()).prop_map(|(a, b)| Edit::Again(a, b)),
    ];
    vec(edit, 0..6)
}

/// The bytes with these edits.
pub fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    edits.iter().fold(bytes.to_vec(), |bytes, edit| edit.apply(bytes))
}

/// The same for a text: what is no UTF-8 any more becomes U+FFFD.
pub fn edited_text(text: &str, edits: &[Edit]) -> String {
    String::from_utf8_lossy(&edited(text.as_bytes(), edits)).into_owned()
}

impl Edit {
    fn apply(&self, mut b: Vec<u8>) -> Vec<u8> {
        let place = |i: &Index, b: &[u8]| i.index(b.len() + 1);
        let place_in = |i: &Index, b: &[u8]| (!b.is_empty()).then(|| i.index(b.len()));
        let reach = |at: usize, n: usize, b: &[u8]| at..(at + n).min(b.len());
        match self {
            Edit::Truncate(i) => b.truncate(place(i, &b)),
            Edit::Flip(i, bit) => place_in(i, &b).into_iter().for_each(|at| b[at] ^= 1 << bit),
            Edit::Set(i, byte) => place_in(i, &b).into_iter().for_each(|at| b[at] = *byte),
            Edit::Remove(i, n) => drop(b.drain(reach(place(i, &b), *n, &b))),
            Edit::Repeat(i, n, times) => {
                let at = place(i, &b);
                let part = b[reach(at, *n, &b)].repeat(*times);
                b.splice(at..at, part);
            }
            Edit::Splice(from, to, n) => {
                let part = b[reach(place(from, &b), *n, &b)].to_vec();
                let to = place(to, &b);
                b.splice(to..to, part);
            }
            Edit::Insert(i, text) => {
                let at = place(i, &b);
                b.splice(at..at, text.bytes());
            }
            Edit::Number(i, number) => {
                let digit = |c: &u8| c.is_ascii_digit() || matches!(c, b'-' | b'.' | b'+');
                let found = runs(&b, digit);
                if !found.is_empty() {
                    b.splice(found[i.index(found.len())].clone(), number.bytes());
                }
            }
            Edit::Word(i, word) => {
                let found = quoted(&b);
                if !found.is_empty() {
                    b.splice(found[i.index(found.len())].clone(), word.bytes());
                }
            }
            Edit::Swap(from, to) => {
                let found = quoted(&b);
                if !found.is_empty() {
                    let word = b[found[from.index(found.len())].clone()].to_vec();
                    b.splice(found[to.index(found.len())].clone(), word);
                }
            }
            Edit::Again(from, to) => {
                let found = runs(&b, |c| !matches!(c, b'\n' | b','));
                if !found.is_empty() {
                    let mut part = b[found[from.index(found.len())].clone()].to_vec();
                    let at = found[to.index(found.len())].end;
                    part.insert(0, b.get(at).copied().unwrap_or(b'\n'));
                    b.splice(at..at, part);
                }
            }
        }
        b
    }
}

/// Where runs of such bytes are.
fn runs(bytes: &[u8], of: impl Fn(&u8) -> bool) -> Vec<std::ops::Range<usize>> {
    let mut found = vec![];
    let mut at = 0;
    while at < bytes.len() {
        let end = at + bytes[at..].iter().take_while(|c| of(c)).count();
        if end > at {
            found.push(at..end);
        }
        at = end + 1;
    }
    found
}

/// What is between quotation marks, more or less.
fn quoted(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let marks: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] == b'"').collect();
    marks.chunks_exact(2).map(|pair| pair[0] + 1..pair[1]).collect()
}

/// A list in a list, so many times.
pub fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}
