//! The special tokens of a vocabulary.

use super::{BOS, EOS, PAD, UNK};

/// The special tokens in the order of their ids, in every vocabulary that is learned here.
pub(super) const SPECIALS: [&str; 4] = ["<pad>", "<s>", "</s>", "<unk>"];
/// GPT-2's only one.
pub(super) const END_OF_TEXT: &str = "<|endoftext|>";

/// Which special tokens a vocabulary has, and their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// `<pad> <s> </s> <unk>`, with the ids [`PAD`] to [`UNK`]: every vocabulary that is learned here. Written in a text
    /// they are plain text, so no text can end a sentence early.
    Marks,
    /// `<|endoftext|>` alone, with this id: GPT-2's. It stands before, between and behind texts, and where it is written
    /// in one it is the token, as in transformers.
    EndOfText(u32),
}

impl Specials {
    /// What fills a row behind its last token, where there is a token for that. Where there is none any other does.
    pub fn pad(self) -> Option<u32> {
        match self {
            Specials::Marks => Some(PAD),
            Specials::EndOfText(_) => None,
        }
    }

    /// What a text begins with where nothing else is known of it.
    pub fn bos(self) -> u32 {
        match self {
            Specials::Marks => BOS,
            Specials::EndOfText(id) => id,
        }
    }

    /// What is behind the last token of a sentence or a text.
    pub fn eos(self) -> u32 {
        match self {
            Specials::Marks => EOS,
            Specials::EndOfText(id) => id,
        }
    }

    /// What stands for words and characters that the vocabulary lacks. Where there is none it lacks none.
    pub fn unk(self) -> Option<u32> {
        match self {
            Specials::Marks => Some(UNK),
            Specials::EndOfText(_) => None,
        }
    }

    /// The token by which a language model says that a text is over. Marks are between pairs only: no text has them.
    pub fn end_of_text(self) -> Option<u32> {
        match self {
            Specials::Marks => None,
            Specials::EndOfText(id) => Some(id),
        }
    }

    /// The texts of the tokens in the order of their ids.
    pub(super) fn texts(self) -> &'static [&'static str] {
        match self {
            Specials::Marks => &SPECIALS,
            Specials::EndOfText(_) => &[END_OF_TEXT],
        }
    }

    /// Whether an id is one of them.
    pub(super) fn has(self, id: u32) -> bool {
        match self {
            Specials::Marks => id <= UNK,
            Specials::EndOfText(end) => id == end,
        }
    }
}
