//! How words are spelled, for a character CNN that reads words.

use crate::text::batch::by_token;
use crate::text::lexicon::Lexicon;

/// Characters that have vectors of their own: as many for every vocabulary, so that no list of them is kept.
pub const CHARS: usize = 2048;
/// Latin, Greek and Cyrillic letters, by their code points; the others share what is left.
const ALONE: u32 = 1280;
/// Characters of a word that are read; what is behind them is not.
pub const LONGEST: usize = 24;

/// The number of a character, below [`CHARS`].
pub fn char_id(c: char) -> u32 {
    let point = c as u32;
    if point < ALONE { point } else { ALONE + point % (CHARS as u32 - ALONE) }
}

/// Rows of words, character by character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelled {
    /// Characters (B, T, [`LONGEST`]), zeros behind a word's last.
    pub chars: Vec<u32>,
    /// How many each word has (B·T), none beyond a row's end.
    pub letters: Vec<u32>,
    /// The positions of words' characters, sorted by character: offsets, then as many as there may be; see
    /// [`by_token`].
    pub by_char: Vec<u32>,
}

impl Spelled {
    /// Words by number in rows that are `lengths` long.
    ///
    /// # Panics
    ///
    /// If a number is no word's.
    pub fn new(lexicon: &Lexicon, words: &[u32], lengths: &[u32]) -> Spelled {
        let width = words.len() / lengths.len();
        let mut chars = vec![0; words.len() * LONGEST];
        let mut letters = vec![0; words.len()];
        for (row, &length) in lengths.iter().enumerate() {
            let mut at = row * width;
            lexicon.each(&words[at..][..length as usize], |word| {
                for (c, to) in word.chars().zip(&mut chars[at * LONGEST..][..LONGEST]) {
                    *to = char_id(c);
                    letters[at] += 1;
                }
                at += 1;
            });
        }
        Spelled { by_char: by_char(&chars, &letters), chars, letters }
    }
}

/// What is behind a word's end is left out: its gradient is zero, and there is more of it than of any character.
fn by_char(chars: &[u32], letters: &[u32]) -> Vec<u32> {
    let live = |i: &usize| i % LONGEST < letters[i / LONGEST] as usize;
    let positions: Vec<usize> = (0..chars.len()).filter(live).collect();
    let ids: Vec<u32> = positions.iter().map(|&i| chars[i]).collect();
    let mut sorted = by_token(&ids, CHARS);
    sorted[CHARS + 1..].iter_mut().for_each(|i| *i = positions[*i as usize] as u32);
    sorted.resize(CHARS + 1 + chars.len(), 0);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_spelled_and_long_ones_cut() {
        let long = "x".repeat(30);
        let lexicon = Lexicon::new(["ab", "", "ж漢", &long].map(String::from).to_vec());
        let zebra = lexicon.number("zebra");
        // Two rows of three words, of which the first ends after two.
        let Spelled { chars, letters, by_char } = Spelled::new(&lexicon, &[zebra, 0, 0, 2, 1, 3], &[2, 3]);
        let word = |i: usize| &chars[i * LONGEST..][..LONGEST];
        assert_eq!(word(0)[..6], ['z', 'e', 'b', 'r', 'a', '\0'].map(|c| c as u32));
        assert_eq!(word(1)[..3], ['a' as u32, 'b' as u32, 0]);
        assert_eq!(word(3)[..3], ['ж' as u32, char_id('漢'), 0]);
        assert!((ALONE..CHARS as u32).contains(&char_id('漢')) && char_id(char::MAX) < CHARS as u32);
        assert_eq!(letters, [5, 2, 0, 2, 0, LONGEST as u32]);
        let of = |c: char| {
            let [from, to] = [0, 1].map(|next| by_char[char_id(c) as usize + next] as usize);
            by_char[CHARS + 1..][from..to].to_vec()
        };
        let at = |word: usize, letter: usize| (word * LONGEST + letter) as u32;
        assert_eq!((of('a'), of('b')), (vec![at(0, 4), at(1, 0)], vec![at(0, 2), at(1, 1)]));
        assert_eq!(of('x'), (0..LONGEST).map(|i| at(5, i)).collect::<Vec<u32>>());
        assert!(of('\0').is_empty());
        assert_eq!(by_char.len(), CHARS + 1 + 6 * LONGEST);
    }
}
