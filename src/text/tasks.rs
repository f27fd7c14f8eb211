//! Tasks for a language model whose pairs the program makes: minGPT's addition and sorting (Karpathy 2020).

use super::corpus::Pair;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Sums of two numbers below 100: four digits, and the three of the sum from the last to the first, the order in which one
/// carries: 85 + 50 = 135 is ("8550", "531"). Of the 10,000 there are 500 are held out: (training, held out).
pub fn addition(seed: u64) -> (Vec<Pair>, Vec<Pair>) {
    let sum = |i: usize| {
        let (a, b) = (i / 100, i % 100);
        let answer: String = format!("{:03}", a + b).chars().rev().collect();
        (format!("{a:02}{b:02}"), answer)
    };
    split((0..10_000).map(sum).collect(), 500, seed)
}

/// Sequences of six digits below 3, and their digits in order: ("002101", "000112"). Of the 729 there are a quarter are held
/// out: (training, held out).
pub fn sort(seed: u64) -> (Vec<Pair>, Vec<Pair>) {
    let sorted = |i: usize| {
        let mut digits: Vec<char> = (0..6).map(|place| ['0', '1', '2'][i / 3usize.pow(place) % 3]).collect();
        let given = digits.iter().collect();
        digits.sort_unstable();
        (given, digits.into_iter().collect())
    };
    split((0..729).map(sorted).collect(), 729 / 4, seed)
}

/// Shuffles, and takes the last ones away.
fn split(mut pairs: Vec<Pair>, held_out: usize, seed: u64) -> (Vec<Pair>, Vec<Pair>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for last in (1..pairs.len()).rev() {
        // A remainder of 64 bits favours no place by more than one in 10^15.
        pairs.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
    let rest = pairs.split_off(pairs.len() - held_out);
    (pairs, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn are_apart((train, held_out): &(Vec<Pair>, Vec<Pair>), sizes: [usize; 2]) {
        assert_eq!([train.len(), held_out.len()], sizes);
        let all: HashSet<&str> = train.iter().chain(held_out).map(|p| p.0.as_str()).collect();
        assert_eq!(all.len(), sizes[0] + sizes[1]);
    }

    #[test]
    fn sums_are_right_and_held_out_ones_are_new() {
        let both = addition(1);
        are_apart(&both, [9_500, 500]);
        for (question, answer) in both.0.iter().chain(&both.1) {
            let digit = |text: &str, i: usize| usize::from(text.as_bytes()[i] - b'0');
            let number = |i| 10 * digit(question, i) + digit(question, i + 1);
            assert_eq!(number(0) + number(2), digit(answer, 0) + 10 * digit(answer, 1) + 100 * digit(answer, 2));
            assert_eq!((question.len(), answer.len()), (4, 3));
        }
        assert_eq!(addition(1), both);
        assert_ne!(addition(2).1, both.1);
    }

    #[test]
    fn sequences_are_sorted_and_held_out_ones_are_new() {
        let both = sort(1);
        are_apart(&both, [547, 182]);
        for (given, sorted) in both.0.iter().chain(&both.1) {
            assert!(sorted.as_bytes().is_sorted(), "{sorted}");
            let count = |text: &str| ['0', '1', '2'].map(|digit| text.matches(digit).count());
            assert_eq!((count(given), given.len()), (count(sorted), 6));
        }
    }
}
