//! Running text, word by word: what a word is, and whether it is written in capitals.

/// A piece of a text: a word, or what is between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Letters and digits, and apostrophes with one of them on both sides.
    Word(&'a str),
    /// Everything else.
    Between(&'a str),
}

/// The pieces of a text in order: together they are the text.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut all = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let between = rest.find(char::is_alphanumeric).unwrap_or(rest.len());
        if between > 0 {
            all.push(Piece::Between(&rest[..between]));
        }
        rest = &rest[between..];
        let word = end_of_word(rest);
        if word > 0 {
            all.push(Piece::Word(&rest[..word]));
        }
        rest = &rest[word..];
    }
    all
}

/// Where the word that a text begins with ends.
fn end_of_word(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let apostrophe = ['\'', '’'].contains(&c) && characters.peek().is_some_and(|(_, next)| next.is_alphanumeric());
        if !(c.is_alphanumeric() || apostrophe) {
            return at;
        }
    }
    text.len()
}

/// How a word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Without capitals, or with some in the middle.
    AsItIs,
    /// The first letter is a capital and no other.
    Capitalised,
    /// More than one letter, all of them capitals.
    Capitals,
}

impl Case {
    /// That of a word.
    pub fn of(word: &str) -> Case {
        let mut letters = word.chars().filter(|c| c.is_alphabetic());
        let first = letters.next().is_some_and(char::is_uppercase);
        let rest: Vec<char> = letters.collect();
        match first {
            true if !rest.is_empty() && rest.iter().all(|c| c.is_uppercase()) => Case::Capitals,
            true if rest.iter().all(|c| !c.is_uppercase()) => Case::Capitalised,
            _ => Case::AsItIs,
        }
    }

    /// A word written like that.
    pub fn write(self, word: &str) -> String {
        match self {
            Case::AsItIs => word.into(),
            Case::Capitals => word.to_uppercase(),
            Case::Capitalised => {
                let mut characters = word.chars();
                let first = characters.next().into_iter().flat_map(char::to_uppercase);
                first.chain(characters).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_the_text() {
        use Piece::{Between, Word};
        assert_eq!(
            pieces("  Don't say 'naïve',\tO’Neil2!\n"),
            [
                Between("  "),
                Word("Don't"),
                Between(" "),
                Word("say"),
                Between(" '"),
                Word("naïve"),
                Between("',\t"),
                Word("O’Neil2"),
                Between("!\n"),
            ]
        );
        assert_eq!((pieces(""), pieces("' '")), (vec![], vec![Between("' '")]));
        assert_eq!(pieces("rock'"), [Word("rock"), Between("'")]);
    }

    #[test]
    fn a_word_keeps_its_capitals() {
        for (word, case) in [
            ("word", Case::AsItIs),
            ("iPhone", Case::AsItIs),
            ("McCoy", Case::AsItIs),
            ("Word", Case::Capitalised),
            ("I", Case::Capitalised),
            ("Écoute", Case::Capitalised),
            ("WORD", Case::Capitals),
            ("DON'T", Case::Capitals),
            ("'twas", Case::AsItIs),
        ] {
            assert_eq!(Case::of(word), case, "{word}");
        }
        let written = [Case::AsItIs, Case::Capitalised, Case::Capitals].map(|case| case.write("était"));
        assert_eq!(written, ["était", "Était", "ÉTAIT"].map(str::to_string));
    }
}
