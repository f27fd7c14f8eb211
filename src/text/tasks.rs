//! Tasks whose pairs the program makes: minGPT's addition and sorting (Karpathy 2020), for a language model, and JoeyNMT's
//! reversing (Kreutzer et al. 2019).

use super::corpus::Pair;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::HashSet;

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

/// Sequences of the validation and the test set of [`reverse`] each.
const REVERSED: usize = 1000;

/// Numbers from 0 to 49 and the same in reverse order, with spaces between: up to 25 of them to train on, up to 30 in the
/// validation and the test set. No sequence of three numbers or more that is held out is in another set; of shorter ones there
/// are few. (training, validation, test).
pub fn reverse(seed: u64, pairs: usize) -> [Vec<Pair>; 3] {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // A remainder of 64 bits favours no number by more than one in 10^17.
    let mut below = move |n: u64| random.next_u64() % n;
    let mut sequence = move |longest: u64| -> Vec<String> {
        let length = 1 + below(longest);
        (0..length).map(|_| below(50).to_string()).collect()
    };
    let pair = |numbers: Vec<String>| {
        let turned: Vec<&str> = numbers.iter().rev().map(String::as_str).collect();
        (numbers.join(" "), turned.join(" "))
    };
    let mut held_out = HashSet::new();
    let mut set = |longest: u64, count: usize, train: bool| -> Vec<Pair> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let numbers = sequence(longest);
            let fresh = if train { !held_out.contains(&numbers) } else { held_out.insert(numbers.clone()) };
            if fresh || numbers.len() < 3 {
                all.push(pair(numbers));
            }
        }
        all
    };
    let [valid, test] = [REVERSED; 2].map(|count| set(30, count, false));
    [set(25, pairs, true), valid, test]
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
    fn sequences_are_reversed_and_held_out_ones_are_new() {
        let [train, valid, test] = reverse(1, 3000);
        assert_eq!([train.len(), valid.len(), test.len()], [3000, 1000, 1000]);
        let numbers = |text: &str| -> Vec<usize> { text.split(' ').map(|n| n.parse().unwrap()).collect() };
        for (set, longest) in [(&train, 25), (&valid, 30), (&test, 30)] {
            let mut lengths = vec![0; longest + 1];
            for (given, turned) in set {
                let (given, mut turned) = (numbers(given), numbers(turned));
                turned.reverse();
                assert_eq!(given, turned);
                assert!(given.iter().all(|&n| n < 50));
                lengths[given.len()] += 1;
            }
            assert!(lengths[0] == 0 && lengths[1..].iter().all(|&n| n > 0), "{lengths:?}");
        }
        let long = |p: &&Pair| p.0.matches(' ').count() >= 2;
        let held_out: Vec<&Pair> = valid.iter().chain(&test).filter(long).collect();
        let distinct: HashSet<&Pair> = held_out.iter().copied().collect();
        assert_eq!(distinct.len(), held_out.len());
        assert!(train.iter().filter(long).all(|p| !distinct.contains(p)));
        assert_eq!(reverse(1, 3000), [train.clone(), valid, test]);
        assert_ne!(reverse(2, 3000)[0], train);
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
