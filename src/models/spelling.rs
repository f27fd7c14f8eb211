//! How words are spelled, for a character CNN that reads words.

use crate::graph::Value;
use crate::tensor::Tensor;
use crate::text::batch::by_token;

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

/// The spellings of a vocabulary's words in a graph.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    /// Characters of every word, (V, [`LONGEST`]), zeros behind its last.
    pub chars: Value,
    /// How many a word has, (V).
    pub lengths: Value,
    /// The characters' positions sorted by character, for the gradient.
    pub by_char: Value,
}

/// Characters, lengths and the characters' order, for so many words: what [`Spelling`] reads.
pub fn spell<S: AsRef<str>>(words: &[S]) -> [Tensor; 3] {
    let mut chars = vec![0; words.len() * LONGEST];
    let mut lengths = vec![];
    for (word, to) in words.iter().zip(chars.chunks_mut(LONGEST)) {
        let spelled: Vec<u32> = word.as_ref().chars().take(LONGEST).map(char_id).collect();
        to[..spelled.len()].copy_from_slice(&spelled);
        lengths.push(spelled.len() as u32);
    }
    let order = by_token(&chars, CHARS);
    let v = words.len();
    [Tensor::u32([v, LONGEST], chars), Tensor::u32([v], lengths), Tensor::u32([order.len()], order)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_spelled_and_long_ones_cut() {
        let [chars, lengths, order] = spell(&["ab", "", "ж漢", &"x".repeat(30)]);
        assert_eq!(chars.as_u32()[..3], [97, 98, 0]);
        assert_eq!(chars.as_u32()[2 * LONGEST..][..3], ['ж' as u32, char_id('漢'), 0]);
        assert!((ALONE..CHARS as u32).contains(&char_id('漢')) && char_id(char::MAX) < CHARS as u32);
        assert_eq!(lengths.as_u32(), [2, 0, 2, LONGEST as u32]);
        assert_eq!(order.ty().elements(), CHARS + 1 + 4 * LONGEST);
    }
}
