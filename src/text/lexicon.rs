//! Words by number, beyond a vocabulary: for a model that reads how words are spelled, none is unknown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A vocabulary's words by their ids, and behind them the others, in the order in which they came up. Clones share what
/// they know, and a number stays its word's.
#[derive(Clone, Debug)]
pub struct Lexicon(Arc<Mutex<Words>>);

#[derive(Debug)]
struct Words {
    all: Vec<String>,
    /// Numbers of the words that the vocabulary lacks.
    beyond: HashMap<String, u32>,
}

impl Lexicon {
    /// That of a vocabulary, whose words are its tokens as they are written.
    pub fn new(vocabulary: Vec<String>) -> Lexicon {
        Lexicon(Arc::new(Mutex::new(Words { all: vocabulary, beyond: HashMap::new() })))
    }

    /// The number of a word that the vocabulary lacks.
    pub fn number(&self, word: &str) -> u32 {
        let mut words = self.words();
        if let Some(&number) = words.beyond.get(word) {
            return number;
        }
        let number = words.all.len() as u32;
        words.all.push(word.into());
        words.beyond.insert(word.into(), number);
        number
    }

    /// What a number stands for, if anything.
    pub fn word(&self, number: u32) -> Option<String> {
        self.words().all.get(number as usize).cloned()
    }

    /// The words that the vocabulary lacks, by number.
    pub fn beyond(&self) -> Vec<String> {
        let words = self.words();
        words.all[words.all.len() - words.beyond.len()..].to_vec()
    }

    /// What `f` makes of each number's word, in order.
    ///
    /// # Panics
    ///
    /// If a number is no word's.
    pub fn each(&self, numbers: &[u32], mut f: impl FnMut(&str)) {
        let words = self.words();
        numbers.iter().for_each(|&number| f(&words.all[number as usize]));
    }

    /// Words are only ever added, and whole, so that a panic elsewhere leaves them right.
    fn words(&self) -> MutexGuard<'_, Words> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_its_words() {
        let lexicon = Lexicon::new(vec!["a".into(), "b".into()]);
        let other = lexicon.clone();
        assert_eq!([lexicon.number("x"), other.number("y"), lexicon.number("y"), other.number("x")], [2, 3, 3, 2]);
        assert_eq!([0, 2, 3].map(|n| other.word(n).expect("a word")), ["a", "x", "y"]);
        assert_eq!(lexicon.word(4), None);
        assert_eq!(lexicon.beyond(), ["x", "y"]);
        let mut all = String::new();
        lexicon.each(&[3, 0, 3], |word| all += word);
        assert_eq!(all, "yay");
    }
}
