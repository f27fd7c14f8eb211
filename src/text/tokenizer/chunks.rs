//! A long text in parts that take little memory to encode.

/// Bytes from which on a line is cut. The `tokenizers` crate notes for each byte where it came from.
const LONG: usize = 1 << 16;

/// The lines of a text with their ends, the long ones in several parts. A line is cut before a space that stands between
/// two words, where no kind of tokenizer has a token on both sides, or, where there is none in reach, between any two
/// characters.
#[derive(Clone, Debug)]
pub struct Chunks<'a>(&'a str);

impl<'a> Chunks<'a> {
    /// All of a text.
    pub fn new(text: &'a str) -> Chunks<'a> {
        Chunks(text)
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let most = boundary(self.0, 2 * LONG);
        let within = &self.0[..most];
        let end = match within.find('\n') {
            Some(at) => at + 1,
            None if most == self.0.len() => most,
            None => cut(within),
        };
        let (chunk, rest) = self.0.split_at(end);
        self.0 = rest;
        (!chunk.is_empty()).then_some(chunk)
    }
}

/// The last place at `most` bytes or before where a character begins, or the end.
fn boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Where a text without line ends, longer than `LONG`, is cut.
fn cut(text: &str) -> usize {
    let from = boundary(text, LONG);
    let between_words = |at: usize| {
        let (before, after) = (text[..at].chars().next_back(), text[at + 1..].chars().next());
        before.zip(after).is_some_and(|(a, b)| a.is_alphanumeric() && b.is_alphanumeric())
    };
    let spaces = text[from..].match_indices(' ').map(|(at, _)| from + at);
    spaces.into_iter().find(|&at| between_words(at)).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Rules, Tokenizer};
    use super::*;

    #[test]
    fn the_parts_are_the_text() {
        let texts =
            ["", "a\n\nb", &"é".repeat(LONG), &"ab, c  d\n".repeat(LONG), &" ".repeat(5 * LONG), &"x y".repeat(LONG)];
        for text in texts {
            let parts: Vec<&str> = Chunks::new(text).collect();
            assert!(parts.concat() == text);
            assert!(
                parts
                    .iter()
                    .all(|p| !p.is_empty() && p.len() <= 2 * LONG && p.trim_end_matches('\n').find('\n').is_none())
            );
        }
        assert_eq!(Chunks::new("a\n\nb").collect::<Vec<_>>(), ["a\n", "\n", "b"]);
    }

    /// One line, as the text8 corpus is.
    #[test]
    fn a_long_line_has_the_tokens_that_it_has_whole() {
        let words = ["anarchism", "originated", "as", "a", "term", "of", "2.5", "don't", "naïve,", " two", "-", "x"];
        let text: String = (0..40_000).map(|i| format!("{} ", words[i * i % 37 % words.len()])).collect();
        assert!(text.len() > 3 * LONG && Chunks::new(&text).count() > 2);
        for kind in [Kind::Bpe, Kind::Char, Kind::Word] {
            for lowercase in [false, true] {
                let rules = Rules { lowercase, ..Rules::new(kind, 300) };
                let tokenizer = Tokenizer::learn(&rules, [&text[..2000]].into_iter()).expect("a tokenizer");
                assert!(tokenizer.encode_text(&text) == tokenizer.encode(&text), "{kind:?}");
            }
        }
    }
}
