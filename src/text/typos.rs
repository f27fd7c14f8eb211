//! Typing errors made of a list of words: letters that are swapped, dropped, doubled, or replaced by a neighbour on the
//! keyboard.

use super::corpus::Pair;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::HashSet;

/// The rows of a QWERTY keyboard; a key's neighbours are those beside it and those above and below.
const KEYS: [&str; 3] = ["qwertyuiop", "asdfghjkl", "zxcvbnm"];
/// One pair in so many is a word that is right: a model that is asked about one shall leave it alone.
const RIGHT: usize = 10;
/// A second error is made in one word in so many, if it has letters enough.
const SECOND: usize = 5;
/// Letters of a word that may have two errors.
const LONG: usize = 6;

/// Pairs of a word as somebody may type it and the word: (training, held out). There are `pairs` to train on and a
/// twentieth as many held out, of which none is a pair that is trained on. Words of one letter are left as they are.
/// Panics when there are no words.
pub fn typos(words: &[String], pairs: usize, seed: u64) -> (Vec<Pair>, Vec<Pair>) {
    assert!(!words.is_empty(), "typos of no words");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut pair = || {
        let word = &words[below(&mut random, words.len())];
        let right = below(&mut random, RIGHT) == 0;
        (if right { word.clone() } else { typed(word, &mut random) }, word.clone())
    };
    let train: Vec<Pair> = (0..pairs).map(|_| pair()).collect();
    let seen: HashSet<&Pair> = train.iter().collect();
    // Of few words all errors may be trained on: what is drawn is bounded.
    let wanted = pairs.div_ceil(20);
    let drawn: Vec<Pair> = (0..20 * wanted).map(|_| pair()).collect();
    let held_out = drawn.into_iter().filter(|pair| !seen.contains(pair)).take(wanted).collect();
    (train, held_out)
}

/// A word with one error or two; one letter alone stays.
fn typed(word: &str, random: &mut ChaCha8Rng) -> String {
    let right: Vec<char> = word.chars().collect();
    if right.len() < 2 {
        return word.into();
    }
    loop {
        let mut letters = right.clone();
        let second = letters.len() >= LONG && below(random, SECOND) == 0;
        for _ in 0..1 + usize::from(second) {
            err(&mut letters, random);
        }
        // Equal letters that are swapped and a letter with no neighbours are no error, and a second one may undo the first.
        if letters != right {
            return letters.into_iter().collect();
        }
    }
}

fn err(letters: &mut Vec<char>, random: &mut ChaCha8Rng) {
    let at = below(random, letters.len());
    match below(random, 4) {
        0 => {
            let at = at.min(letters.len() - 2);
            letters.swap(at, at + 1);
        }
        1 => {
            letters.remove(at);
        }
        2 => letters.insert(at, letters[at]),
        _ => {
            let near = neighbours(letters[at]);
            if !near.is_empty() {
                letters[at] = near[below(random, near.len())];
            }
        }
    }
}

/// The keys around a letter's; none around what is not on the keyboard. A capital's are capitals.
fn neighbours(letter: char) -> Vec<char> {
    let key = letter.to_ascii_lowercase();
    let place = KEYS.iter().enumerate().find_map(|(row, keys)| Some((row, keys.find(key)?)));
    let Some((row, column)) = place else { return vec![] };
    let beside = [(row, column.wrapping_sub(1)), (row, column + 1)];
    // A row is half a key to the right of the one above.
    let above = [(row.wrapping_sub(1), column), (row.wrapping_sub(1), column + 1)];
    let below = [(row + 1, column.wrapping_sub(1)), (row + 1, column)];
    let key = |&(row, column): &(usize, usize)| KEYS.get(row)?.as_bytes().get(column).map(|&key| char::from(key));
    let near = beside.iter().chain(&above).chain(&below).filter_map(key);
    near.map(|key| if letter.is_ascii_uppercase() { key.to_ascii_uppercase() } else { key }).collect()
}

fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    // A remainder of 64 bits favours no number by more than one in 10^12.
    (random.next_u64() % n as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn neighbours_are_those_on_the_keyboard() {
        let near = |letter| neighbours(letter).into_iter().collect::<String>();
        assert_eq!([near('q'), near('g'), near('M'), near('p')], ["wa", "fhtyvb", "NJK", "ol"].map(str::to_string));
        assert_eq!([near('é'), near('7'), near('\'')], [const { String::new() }; 3]);
    }

    /// What can be made of a word by one error, written out another way.
    fn one_error(word: &str) -> HashSet<String> {
        let letters: Vec<char> = word.chars().collect();
        let mut all = HashSet::new();
        for i in 0..letters.len() {
            let (before, after) = (&letters[..i], &letters[i + 1..]);
            let with = |middle: &[char]| [before, middle, after].concat().into_iter().collect::<String>();
            all.extend([with(&[]), with(&[letters[i], letters[i]])]);
            all.extend(neighbours(letters[i]).into_iter().map(|key| with(&[key])));
            if let Some(&next) = letters.get(i + 1) {
                all.insert([before, &[next, letters[i]], &letters[i + 2..]].concat().into_iter().collect());
            }
        }
        all
    }

    #[test]
    fn every_kind_of_error_is_made_and_no_other() {
        let (train, _) = typos(&words("berth"), 4000, 3);
        let made: HashSet<String> = train.into_iter().map(|p| p.0).collect();
        let mut possible = one_error("berth");
        possible.insert("berth".into());
        assert_eq!(made, possible);
        let (train, _) = typos(&words("a"), 50, 3);
        assert!(train.iter().all(|p| p.0 == "a"));
        // Here two kinds of errors of four change nothing.
        let (train, _) = typos(&words("éé"), 4000, 3);
        let right = train.iter().filter(|p| p.0 == p.1).count();
        assert!((300..520).contains(&right), "{right}");
    }

    #[test]
    fn some_words_are_right_and_long_ones_have_two_errors_at_times() {
        let (train, _) = typos(&words("straightforward"), 4000, 1);
        let right = train.iter().filter(|p| p.0 == p.1).count();
        assert!((300..520).contains(&right), "{right}");
        let one = one_error("straightforward");
        let two = train.iter().filter(|p| p.0 != p.1 && !one.contains(&p.0)).count();
        assert!((500..900).contains(&two), "{two}");
    }

    #[test]
    fn held_out_errors_are_new() {
        let list = words("the quick brown fox jumps over a lazy dog");
        let (train, held_out) = typos(&list, 500, 7);
        assert_eq!((train.len(), held_out.len()), (500, 25));
        let seen: HashSet<&Pair> = train.iter().collect();
        assert!(held_out.iter().all(|pair| !seen.contains(pair) && list.contains(&pair.1)));
        assert_eq!(typos(&list, 500, 7), (train.clone(), held_out));
        assert_ne!(typos(&list, 500, 8).0, train);
    }
}
