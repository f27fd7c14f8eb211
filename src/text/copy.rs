//! The copy task of "The Annotated Transformer" (Rush, 2018): a sequence of symbols is to be given back.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::corpus::Pair;

/// Symbols of a sequence.
const LENGTH: usize = 10;
/// Sequences of the validation and the test set each: five batches of thirty, as in the paper's script.
const HELD_OUT: usize = 150;

/// Training, validation and test pairs, both sides alike: a 1, then nine of the symbols 1 to 10 by chance, with spaces
/// between. No sequence that is held out is in another set; among the `pairs` to train on one may come twice, which is
/// rare among the 10⁹ that there are.
pub fn copy(seed: u64, pairs: usize) -> [Vec<Pair>; 3] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut held_out = HashSet::new();
    let [valid, test] = [HELD_OUT; 2].map(|count| {
        let fresh = std::iter::repeat_with(|| sequence(&mut rng)).filter(|line| held_out.insert(line.clone()));
        fresh.take(count).map(pair).collect()
    });
    let train = std::iter::repeat_with(|| sequence(&mut rng)).filter(|line| !held_out.contains(line));
    [train.take(pairs).map(pair).collect(), valid, test]
}

fn pair(line: String) -> Pair {
    (line.clone(), line)
}

fn sequence(rng: &mut ChaCha8Rng) -> String {
    let mut line = String::from("1");
    for _ in 1..LENGTH {
        // A remainder of 64 bits favours no symbol by more than one in 10^18.
        line += &format!(" {}", 1 + rng.next_u64() % 10);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_ten_symbols_and_held_out_ones_are_new() {
        let [train, valid, test] = copy(3, 2000);
        assert_eq!([train.len(), valid.len(), test.len()], [2000, 150, 150]);
        let all = [&train[..], &valid, &test].concat();
        let mut counts = [0; 11];
        for (source, target) in &all {
            assert_eq!(source, target);
            let symbols: Vec<usize> = source.split(' ').map(|symbol| symbol.parse().unwrap()).collect();
            assert_eq!((symbols.len(), symbols[0]), (10, 1), "{source}");
            symbols[1..].iter().for_each(|&symbol| counts[symbol] += 1);
        }
        // 2,070 of each are expected, with a standard deviation of 43.
        assert!(counts[0] == 0 && counts[1..].iter().all(|count| (1855..2285).contains(count)), "{counts:?}");
        let held_out: HashSet<&Pair> = valid.iter().chain(&test).collect();
        assert_eq!(held_out.len(), 300);
        assert!(train.iter().all(|pair| !held_out.contains(pair)));
        assert_eq!(copy(3, 2000), [train.clone(), valid, test]);
        assert_ne!(copy(4, 2000)[0], train);
    }
}
