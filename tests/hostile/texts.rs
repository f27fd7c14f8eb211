//! Text, TSV, CSV and lists of words.

use super::alloc::taken;
use super::mutate::{edited, edits};
use super::{config, modest, refused};
use proptest::collection::vec;
use proptest::prelude::*;
use seqloom::error::Result;
use seqloom::text::corpus::{self, Corpus};
use seqloom::text::tokenizer::{Kind, Rules, Tokenizer};

type Load = fn(&[u8]) -> Result<usize>;

fn pairs(corpus: Corpus) -> usize {
    assert!(corpus.pairs.iter().all(|(a, b)| !a.trim().is_empty() && !b.trim().is_empty()));
    assert_eq!(corpus.report.lines, corpus.pairs.len() + corpus.report.empty);
    corpus.pairs.len()
}

/// Every way to read a file, and how many things came of it.
const LOADERS: [(&str, Load); 6] = [
    ("lines", |b| corpus::lines("bad.txt", b).map(|lines| lines.len())),
    ("words", |b| corpus::words("bad.txt", b).map(|words| words.len())),
    ("text", |b| {
        let text = corpus::whole("bad.txt", b)?;
        let (first, last) = corpus::split_text("bad.txt", text, 0.1)?;
        assert_eq!([first, last].concat(), text);
        Ok(1)
    }),
    ("tsv", |b| corpus::tsv("bad.txt", b).map(pairs)),
    ("csv", |b| corpus::csv("bad.txt", b).map(pairs)),
    ("parallel", |b| corpus::parallel("bad.txt", b, "bad.txt", b).map(pairs)),
];

fn load(kind: &str, bytes: &[u8]) -> std::result::Result<usize, String> {
    let loader = LOADERS.iter().find(|(name, _)| *name == kind).expect("one of the loaders").1;
    let (result, taken) = taken(|| loader(bytes));
    // A line of one character becomes a string of 24 bytes and an allocation.
    let times = if kind == "lines" { 40 } else { 64 };
    assert!(taken.peak <= times * bytes.len() + (4 << 20), "{kind}: {} for {} bytes", taken.peak, bytes.len());
    result.map_err(|e| refused(&e, "bad.txt"))
}

#[test]
fn named_files_are_refused_with_a_reason() {
    let long = "x".repeat(100_000_000).into_bytes();
    let utf16: Vec<u8> = "the dog\tder hund\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16_marked = [&[0xff, 0xfe], &utf16[..]].concat();
    let everywhere: [(&str, &[u8], &str); 7] = [
        ("empty", b"", "bad.txt: the file is empty"),
        ("a byte order mark", b"\xef\xbb\xbf", "bad.txt: the file is empty"),
        ("Latin-1", b"a\tb\ngro\xdf\tc\n", "bad.txt: line 2: not UTF-8 at byte offset 7 of the file"),
        ("a cut character", b"a\tb\nc\td\xc3", "bad.txt: line 2: not UTF-8 at byte offset 7 of the file"),
        ("a zero byte", b"a\tb\nc\0\td\n", "bad.txt: line 2: a zero byte at offset 5 of the file"),
        (
            "UTF-16",
            &utf16,
            "bad.txt: line 1: a zero byte at offset 1 of the file, which is no text then; UTF-16 must be made UTF-8",
        ),
        ("UTF-16 with its mark", &utf16_marked, "bad.txt: line 1: not UTF-8 at byte offset 0"),
    ];
    for (kind, _) in LOADERS {
        for (name, bytes, reason) in everywhere {
            let message = load(kind, bytes).expect_err(name);
            assert!(message.contains(reason), "{kind}, {name}: {message}");
        }
    }
    let too_long = "bad.txt: line 1 has 100,000,000 bytes, at most 1,048,576 are a sentence; is it one a line?";
    for kind in ["lines", "words", "tsv", "csv", "parallel"] {
        assert_eq!(load(kind, &long).expect_err("a long line"), too_long);
    }
    let columns = "a,".repeat(2000);
    for (kind, text, reason) in [
        ("tsv", "a b\n", "line 1: expected a source and a target separated by a tab"),
        ("tsv", "a\tb\r\rc\n\r\nd\n", "line 3: expected a source and a target"),
        ("tsv", "\t\n\t\t\n", "no pair has text on both sides"),
        ("csv", "a,\"b\n", "line 1: a quote is not closed"),
        ("csv", "a,b\n\"c\"\"\n\n,d\n", "line 2: a quote is not closed"),
        ("csv", "\"a\"b,c\n", "line 1: text after a closing quote"),
        ("csv", "a,\"b\"\r\n\"c\n\" x,d\n", "line 3: text after a closing quote"),
        ("csv", "source,target\n", "no pair has text on both sides"),
        ("csv", &columns, "line 1: more than 1000 columns"),
        ("words", " \n\t\n", "it holds no word"),
        ("text", "a", "nothing is left of 1 characters"),
    ] {
        let message = load(kind, text.as_bytes()).expect_err(reason);
        assert!(message.contains(reason), "{kind}: {message} does not say {reason}");
    }
    // A quote that is never closed is no reason to keep the rest of a large file.
    let unclosed = format!("a,b\n\"{}", "x y\n".repeat(5_000_000));
    assert!(load("csv", unclosed.as_bytes()).expect_err("a quote").contains("line 2: a quote is not closed"));
    let closed = format!("a,b\n\"{}\",c\n", "x y\n".repeat(1_000_000));
    assert!(load("csv", closed.as_bytes()).expect_err("a record").contains("line 2 has 4,000,"));
}

/// Files of very many lines.
#[test]
fn small_lines_take_little_memory() {
    for text in ["\n", "\r\n", "\t\n", " \n", "a\n", "a\tb\n", "a,b\n", ",\n", "\"\",\n", "\u{85}\n"] {
        let bytes = text.repeat(4_000_000 / text.len()).into_bytes();
        for (kind, _) in LOADERS {
            let _ = load(kind, &bytes);
        }
    }
}

/// A text of one line, with and without spaces.
#[test]
fn a_long_line_of_a_text_is_encoded_in_parts() {
    let tokenizers = [Kind::Bpe, Kind::Char, Kind::Word]
        .map(|kind| Tokenizer::learn(&Rules::new(kind, 300), ["ab cd, e", "bcd"].into_iter()).expect("a tokenizer"));
    for text in ["ab cd ".repeat(700_000), "abcd".repeat(1_000_000), " ".repeat(4_000_000)] {
        for tokenizer in &tokenizers {
            let (ids, taken) = taken(|| tokenizer.encode_text(&text));
            assert!(tokenizer.kind() == Kind::Word || !ids.is_empty());
            // The ids themselves, and what one part takes.
            modest(taken, text.len() + (2 << 20), 16);
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn edits_of_texts(edits in edits(), i in 0usize..3) {
        let good = ["the dog\tder hund\nthe cat\tdie katze\n\na\tb\tc\n", "source,target\r\n\"a, b\",c\r\n\"d \"\"e\"\"\nf\",g\r\n",
            "\u{feff}one\r\ntwo\n\nthree"][i];
        let bytes = edited(good.as_bytes(), &edits);
        for (kind, _) in LOADERS {
            let _ = load(kind, &bytes);
        }
    }

    #[test]
    fn characters_by_chance(text in "[ab \\t\\n\\r,\"\\x00é\u{feff}]{0,60}", noise in vec(any::<u8>(), 0..4)) {
        for bytes in [text.as_bytes().to_vec(), [text.as_bytes(), &noise].concat()] {
            for (kind, _) in LOADERS {
                let _ = load(kind, &bytes);
            }
        }
    }
}
