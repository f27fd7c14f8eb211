//! Sentence pairs from the bytes of text files: two parallel files, tab-separated columns, or CSV.
//!
//! Files are UTF-8, with or without a byte order mark, with LF or CRLF line ends. The text of a sentence is kept as it
//! is, spaces included.

mod records;

use std::collections::HashSet;
use std::fmt;

use crate::error::{Error, Result};
use records::Records;

/// A sentence and its translation.
pub type Pair = (String, String);

/// Sentence pairs in the order of the file, none with an empty side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// Source and target sentences; never empty.
    pub pairs: Vec<Pair>,
    /// What was read and what was left out.
    pub report: Report,
}

/// What became of the pairs of a corpus. Displayed, it is one line that leaves out what did not happen:
/// `29,000 pairs read, 3 with an empty side dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Pairs read: lines, or records of a CSV file.
    pub lines: usize,
    /// Pairs dropped because a side was empty or blank.
    pub empty: usize,
    /// Pairs dropped because a side has more tokens than the model takes: 0 here, set by whoever encodes the pairs.
    pub too_long: usize,
    /// Pairs that repeat an earlier one. They are kept: how often a pair occurs is part of the data.
    pub duplicates: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} read", thousands(self.lines), if self.lines == 1 { "pair" } else { "pairs" })?;
        for (count, what) in [
            (self.empty, "with an empty side dropped"),
            (self.too_long, "too long dropped"),
            (self.duplicates, "repeated and kept"),
        ] {
            if count > 0 {
                write!(f, ", {} {what}", thousands(count))?;
            }
        }
        Ok(())
    }
}

impl Corpus {
    /// Drops the rows with a blank side; `name` is where they came from.
    fn new(name: &str, rows: Rows) -> Result<Self> {
        let Rows { lines, pairs } = rows;
        if pairs.is_empty() {
            return Err(Error::Input(format!("{name}: no pair has text on both sides")));
        }
        let empty = lines - pairs.len();
        let duplicates = pairs.len() - pairs.iter().collect::<HashSet<_>>().len();
        Ok(Self { pairs, report: Report { lines, empty, duplicates, ..Report::default() } })
    }
}

/// What was read so far: a blank line is counted, and takes nothing.
#[derive(Default)]
struct Rows {
    lines: usize,
    pairs: Vec<Pair>,
}

impl Rows {
    fn push(&mut self, source: &str, target: &str) {
        self.lines += 1;
        if !source.trim().is_empty() && !target.trim().is_empty() {
            self.pairs.push((source.to_owned(), target.to_owned()));
        }
    }
}

/// Two files of which line n of one translates line n of the other.
pub fn parallel(source_name: &str, source: &[u8], target_name: &str, target: &[u8]) -> Result<Corpus> {
    let (sources, targets) = (text(source_name, source)?, text(target_name, target)?);
    check_lines(source_name, sources)?;
    check_lines(target_name, targets)?;
    let counts = [sources, targets].map(|text| text.lines().count());
    if counts[0] != counts[1] {
        return Err(Error::Input(format!(
            "{source_name} has {} lines and {target_name} has {}: line n of one must translate line n of the other",
            thousands(counts[0]),
            thousands(counts[1])
        )));
    }
    let mut rows = Rows::default();
    sources.lines().zip(targets.lines()).for_each(|(source, target)| rows.push(source, target));
    Corpus::new(&format!("{source_name} and {target_name}"), rows)
}

/// A file of text, as it is.
pub fn whole<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str> {
    text(name, bytes)
}

/// The first part of a text and its last `fraction` of characters, to validate on. Errors: one of them is empty.
pub fn split_text<'a>(name: &str, text: &'a str, fraction: f64) -> Result<(&'a str, &'a str)> {
    let characters = text.chars().count();
    let first = (characters as f64 * (1.0 - fraction)) as usize;
    if first == 0 || first == characters {
        return Err(Error::Input(format!(
            "{name}: with data.valid_fraction = {fraction} nothing is left of {characters} characters to train or to \
             validate on; give a longer text"
        )));
    }
    let at = text.char_indices().nth(first).map_or(text.len(), |(at, _)| at);
    Ok(text.split_at(at))
}

/// One pair per line, source and target separated by a tab. Further columns are ignored; a blank line is a pair of
/// empty sides.
pub fn tsv(name: &str, bytes: &[u8]) -> Result<Corpus> {
    let text = text(name, bytes)?;
    check_lines(name, text)?;
    let mut rows = Rows::default();
    for (i, line) in text.lines().enumerate() {
        let mut columns = line.split('\t');
        match (columns.next(), columns.next()) {
            (Some(source), Some(target)) => rows.push(source, target),
            _ if line.trim().is_empty() => rows.push("", ""),
            _ => return Err(too_few_columns(name, i + 1, "a tab")),
        }
    }
    Corpus::new(name, rows)
}

/// One pair per record of a comma-separated file with the quoting of RFC 4180: a quoted field may hold commas, line
/// ends and doubled quotes.
///
/// If the first record names columns `source` and `target`, it is a header and these are read; otherwise the first two
/// are. Further columns are ignored; a blank line is a pair of empty sides.
pub fn csv(name: &str, bytes: &[u8]) -> Result<Corpus> {
    let mut records = Records::new(name, text(name, bytes)?);
    let mut columns = (0, 1);
    let mut rows = Rows::default();
    let mut first = true;
    while !records.is_empty() {
        let line = records.line();
        let fields = records.next_record()?;
        if std::mem::take(&mut first) {
            let column = |title| fields.iter().position(|field| field.trim().eq_ignore_ascii_case(title));
            if let (Some(source), Some(target)) = (column("source"), column("target")) {
                columns = (source, target);
                continue;
            }
        }
        if columns.0.max(columns.1) < fields.len() {
            rows.push(&fields[columns.0], &fields[columns.1]);
        } else if fields.iter().all(|field| field.trim().is_empty()) {
            rows.push("", "");
        } else {
            return Err(too_few_columns(name, line, "a comma"));
        }
    }
    Corpus::new(name, rows)
}

/// The lines of a file in one language, blank ones included, so that line n of what is made of them belongs to line n
/// of the file.
pub fn lines(name: &str, bytes: &[u8]) -> Result<Vec<String>> {
    let text = text(name, bytes)?;
    check_lines(name, text)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Training and validation pairs: the last `fraction` of `pairs` (0 to 1, exclusive), rounded and at least one pair,
/// is for validation.
pub fn split_tail(mut pairs: Vec<Pair>, fraction: f64) -> Result<(Vec<Pair>, Vec<Pair>)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::Input(format!("the fraction of validation pairs must be between 0 and 1, not {fraction}")));
    }
    let tail = ((pairs.len() as f64 * fraction).round() as usize).max(1);
    if tail >= pairs.len() {
        return Err(Error::Input(format!(
            "{} in all, and with data.valid_fraction = {fraction} none would be left to train on; give more, or files to \
             validate on (data.valid_source and data.valid_target, or data.valid_tsv)",
            if pairs.len() == 1 { "1 pair".into() } else { format!("{} pairs", thousands(pairs.len())) }
        )));
    }
    let valid = pairs.split_off(pairs.len() - tail);
    Ok((pairs, valid))
}

/// Takes every `every`-th pair to validate on: the last of each so many. Errors: none is left on one side.
pub fn split_every(pairs: Vec<Pair>, every: usize) -> Result<(Vec<Pair>, Vec<Pair>)> {
    if every < 2 || pairs.len() < every {
        let count = thousands(pairs.len());
        return Err(Error::Input(format!(
            "data.valid_every = {every} of {count} pairs leaves none to train or to validate on; choose a number from 2 to {count}"
        )));
    }
    let numbered = pairs.into_iter().enumerate();
    let (valid, train): (Vec<_>, Vec<_>) = numbered.partition(|(i, _)| (i + 1).is_multiple_of(every));
    let plain = |pairs: Vec<(usize, Pair)>| pairs.into_iter().map(|(_, pair)| pair).collect();
    Ok((plain(train), plain(valid)))
}

/// The words of a file, one a line, each once, in the order of the file; blank lines are none. Errors: there are none, or
/// the file is not UTF-8.
pub fn words(name: &str, bytes: &[u8]) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    let text = text(name, bytes)?;
    check_lines(name, text)?;
    let words = text.lines().map(str::trim).filter(|word| !word.is_empty() && seen.insert(*word));
    let words: Vec<String> = words.map(str::to_string).collect();
    match words.is_empty() {
        true => Err(Error::Input(format!("{name}: it holds no word; expected one a line"))),
        false => Ok(words),
    }
}

/// Bytes of a line that is a sentence or a word, or of a CSV record: what is longer is another kind of file, and would take
/// a hundred times as much memory before it turned out to have too many tokens.
const LONGEST_LINE: usize = 1 << 20;

fn check_lines(name: &str, text: &str) -> Result<()> {
    match text.lines().enumerate().find(|(_, line)| line.len() > LONGEST_LINE) {
        Some((i, line)) => Err(too_long(name, i + 1, line.len())),
        None => Ok(()),
    }
}

fn too_long(name: &str, line: usize, bytes: usize) -> Error {
    let (bytes, most) = (thousands(bytes), thousands(LONGEST_LINE));
    Error::Input(format!("{name}: line {line} has {bytes} bytes, at most {most} are a sentence; is it one a line?"))
}

/// The text of a file without its byte order mark.
fn text<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let line = 1 + bytes[..offset].iter().filter(|&&byte| byte == b'\n').count();
        Error::Input(format!("{name}: line {line}: not UTF-8 at byte offset {offset} of the file"))
    })?;
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        return Err(Error::Input(format!(
            "{name}: line {line}: a zero byte at offset {at} of the file, which is no text then; UTF-16 must be made UTF-8"
        )));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.is_empty() { Err(Error::Input(format!("{name}: the file is empty"))) } else { Ok(text) }
}

fn too_few_columns(name: &str, line: usize, separator: &str) -> Error {
    Error::Input(format!("{name}: line {line}: expected a source and a target separated by {separator}"))
}

/// `29000` as `29,000`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).expect("digits")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    fn pairs(corpus: &Corpus) -> Vec<(&str, &str)> {
        corpus.pairs.iter().map(|(source, target)| (source.as_str(), target.as_str())).collect()
    }

    fn refusal<T: fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let line = error.to_string();
        assert!(!line.contains('\n'), "{line}");
        line
    }

    #[test]
    fn parallel_files_are_paired_line_by_line() {
        let corpus =
            parallel("a.en", "\u{feff}one\r\n \t\ntwo \n".as_bytes(), "a.fr", "un\nx\ndeux".as_bytes()).unwrap();
        assert_eq!(pairs(&corpus), [("one", "un"), ("two ", "deux")]);
        assert_eq!(corpus.report.to_string(), "3 pairs read, 1 with an empty side dropped");
        let report = Report { lines: 29_000, empty: 3, too_long: 1_000, duplicates: 1_234_567 };
        let line =
            "29,000 pairs read, 3 with an empty side dropped, 1,000 too long dropped, 1,234,567 repeated and kept";
        assert_eq!(report.to_string(), line);
        assert_eq!(Report { lines: 1, ..Report::default() }.to_string(), "1 pair read");
    }

    #[test]
    fn repeated_pairs_are_counted_and_kept() {
        let corpus = tsv("t", b"a\tb\na\tc\na\tb\na\tb").unwrap();
        assert_eq!((corpus.pairs.len(), corpus.report.duplicates), (4, 2));
    }

    #[test]
    fn wrong_files_are_named() {
        let line = refusal(parallel("a.en", &b"x\n".repeat(1000), "a.fr", b"x\n"));
        assert_eq!(line, "a.en has 1,000 lines and a.fr has 1: line n of one must translate line n of the other");
        assert_eq!(refusal(parallel("a", b"x", "b", b"")), "b: the file is empty");
        assert_eq!(refusal(parallel("a", b"x\n", "b", b" \n")), "a and b: no pair has text on both sides");
        assert_eq!(refusal(tsv("t", b"a\tb\n\n\xff\tb")), "t: line 3: not UTF-8 at byte offset 5 of the file");
        assert!(refusal(tsv("t", b"a\tb\n\nab")).starts_with("t: line 3: expected a source and a target"));
        assert_eq!(refusal(lines("m", b"\xef\xbb\xbf")), "m: the file is empty");
        assert_eq!(lines("m", b"a\r\n\r\nb").unwrap(), ["a", "", "b"]);
    }

    #[test]
    fn csv_quotes() {
        let corpus = csv("c", b"a,b\r\n\"x, \"\"y\"\"\nz\",5\" pipe,more\n\n\"\",q\nlast,\"w\"").unwrap();
        assert_eq!(pairs(&corpus), [("a", "b"), ("x, \"y\"\nz", "5\" pipe"), ("last", "w")]);
        assert_eq!((corpus.report.lines, corpus.report.empty), (5, 2));
        assert_eq!(pairs(&csv("c", b"id,Target,source\n1,t,s\n").unwrap()), [("s", "t")]);
        assert_eq!(pairs(&csv("c", b"a,b\r").unwrap()), [("a", "b")]);
        assert_eq!(refusal(csv("c", b"a,b\n\"x\ny,z\n")), "c: line 2: a quote is not closed");
        assert!(refusal(csv("c", b"a,b\n\"x\ny\"z,w\n")).starts_with("c: line 3: text after a closing quote"));
        assert!(refusal(csv("c", b"a,b\n\"x\ny\"\n")).starts_with("c: line 2: expected a source and a target"));
        assert_eq!(refusal(csv("c", b"source,target\n")), "c: no pair has text on both sides");
    }

    #[test]
    fn what_is_quoted_comes_back() {
        for seed in 0..500 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut field = || -> String {
                let alphabet = ['a', 'é', ',', '"', '\n', '\r', ' ', '猫'];
                let rest = (0..rng.next_u64() % 8).map(|_| alphabet[(rng.next_u64() % 8) as usize]);
                std::iter::once('x').chain(rest).collect()
            };
            let rows: Vec<Pair> = (0..5).map(|_| (field(), field())).collect();
            let quote = |field: &str| format!("\"{}\"", field.replace('"', "\"\""));
            let file: String = rows.iter().map(|(s, t)| format!("{},{}\r\n", quote(s), quote(t))).collect();
            assert_eq!(csv("c", file.as_bytes()).unwrap().pairs, rows, "seed {seed}");
        }
    }

    #[test]
    fn the_tail_is_for_validation() {
        let pairs = |n: usize| -> Vec<Pair> { (0..n).map(|i| (i.to_string(), i.to_string())).collect() };
        let (train, valid) = split_tail(pairs(100), 0.05).unwrap();
        assert_eq!([train, valid].concat(), pairs(100));
        assert_eq!(split_tail(pairs(100), 0.05).unwrap().1.len(), 5);
        assert_eq!(split_tail(pairs(2), 1e-9).unwrap().1.len(), 1);
        for (count, fraction) in [(1, 0.5), (0, 0.5), (10, 0.99), (10, 0.0), (10, 1.0), (10, f64::NAN), (10, -1.0)] {
            refusal(split_tail(pairs(count), fraction));
        }
    }

    #[test]
    fn every_so_many_th_pair_is_held_out() {
        let pairs = |n: usize| -> Vec<Pair> { (1..=n).map(|i| (i.to_string(), "x".to_string())).collect() };
        let (train, valid) = split_every(pairs(7), 3).unwrap();
        let names = |pairs: &[Pair]| pairs.iter().map(|p| p.0.as_str()).collect::<String>();
        assert_eq!((names(&train).as_str(), names(&valid).as_str()), ("12457", "36"));
        assert_eq!(split_every(pairs(2), 2).unwrap().1.len(), 1);
        assert!([(1, 1), (2, 1), (2, 3), (0, 2)].into_iter().all(|(n, every)| split_every(pairs(n), every).is_err()));
    }

    #[test]
    fn words_are_those_of_the_lines_each_once() {
        assert_eq!(words("w", b" b \n\na\r\nb\n").unwrap(), ["b", "a"]);
        assert_eq!(words("w", b"\n\n").unwrap_err().to_string(), "w: it holds no word; expected one a line");
    }
}
