//! Finding a key by its path, and what to say where there is none.

use super::SECTIONS;
use super::table::Key;

/// What is longer, in bytes, is no slip of the finger.
const LONGEST: usize = 100;

/// The key of "section.name".
pub(super) fn find(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

/// What to say of a key that is not there, with the nearest one that is.
pub(super) fn unknown_key(path: &str) -> String {
    let split = |path| str::rsplit_once(path, '.').unwrap_or(("", path));
    let (section, name) = split(path);
    if path.len() > LONGEST {
        return unknown(&format!("key {}", shorten(path)), None);
    }
    // The right name in the wrong section is one mistake, however the sections are spelled.
    let mistakes = |key: &Key| distance(name, key.name) + usize::from(split(key.path).0 != section);
    let nearest = keys().min_by_key(|key| mistakes(key)).filter(|key| mistakes(key) <= allowed_mistakes(path));
    unknown(&format!("key {}", shorten(path)), nearest.map(|key| key.path.into()))
}

/// What to say of a section that is not there, with the nearest one that is.
pub(super) fn unknown_section(name: &str) -> String {
    if name.len() > LONGEST {
        return unknown(&format!("section [{}]", shorten(name)), None);
    }
    let sections = SECTIONS.iter().map(|section| section.name).filter(|section| !section.is_empty());
    let nearest = sections.min_by_key(|section| distance(section, name));
    let nearest = nearest.filter(|section| distance(section, name) <= allowed_mistakes(name));
    unknown(&format!("section [{}]", shorten(name)), nearest.map(|section| format!("[{section}]")))
}

/// The start of `text`: a message is one line, and not a long one.
pub(super) fn shorten(text: &str) -> String {
    if text.is_empty() {
        return "nothing".into();
    }
    let start: String = text.lines().next().unwrap_or_default().chars().take(40).collect();
    if start.len() < text.len() { start + "…" } else { start }
}

fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

fn unknown(what: &str, nearest: Option<String>) -> String {
    let hint = nearest.map_or(String::new(), |nearest| format!("; did you mean {nearest}?"));
    format!("unknown {what}{hint} ('seqloom recipes phrasebook' explains every key)")
}

/// How far a suggestion may be from what was written: what is further is not a slip of the finger.
fn allowed_mistakes(written: &str) -> usize {
    (written.chars().count() / 5).max(1)
}

/// Insertions, deletions, substitutions and swaps of neighbours that make `b` of `a` (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // table[i][j]: from the first i characters of `a` to the first j of `b`.
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let substituted = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let least = substituted.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { least.min(table[i - 2][j - 2] + 1) } else { least }
            };
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let cases = [("", "abc", 3), ("abc", "", 3), ("heads", "head", 1), ("kitten", "sitting", 3), ("é", "e", 1)];
        for (a, b, expected) in [&cases[..], &[("modle", "model", 1), ("ab", "ba", 1), ("lr", "lr", 0)]].concat() {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_slip_finds_its_key_and_a_word_of_its_own_finds_none() {
        let hint = |path| {
            unknown_key(path).split("did you mean ").nth(1).map(|hint| hint.split('?').next().unwrap().to_owned())
        };
        let cases = [
            ("train.batchsize", "train.batch_size"),
            ("train.warm-up", "train.warmup"),
            ("model.drpoout", "model.dropout"),
            ("decode.vocab_size", "tokenizer.vocab_size"),
            ("data.seed", "train.seed"),
            ("heads", "model.heads"),
        ];
        for (written, meant) in cases {
            assert_eq!(hint(written).as_deref(), Some(meant));
        }
        for other in ["train.x", "train.xy", "model.colour", "x", ""] {
            assert_eq!(hint(other), None, "{other}");
        }
    }
}
