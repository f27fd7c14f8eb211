//! Agreement over a distance, after Linzen, Dupoux and Goldberg (2016): a verb agrees with a noun that is many words back, and
//! the nouns between say nothing about it.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::corpus::Pair;

/// The largest distance, in words, from a verb back to its subject.
pub const FARTHEST: usize = 40;
/// Words of every sentence: so the distance cannot be told from the length, and the determiner never comes first.
const WORDS: usize = FARTHEST + 4;
/// Sentences of the validation and the test set for each distance.
const EACH: [usize; 2] = [5, 20];
/// One stands before the subject, as its number asks for, and none before any other noun.
const DETERMINERS: [&str; 2] = ["this", "these"];

/// Nouns whose plural takes an s.
const NOUNS: [&str; 20] = [
    "key", "cabinet", "table", "letter", "window", "garden", "river", "bridge", "tower", "lamp", "basket", "engine",
    "picture", "ladder", "wheel", "bottle", "carpet", "mirror", "pencil", "stone",
];
/// Verbs whose third person takes an s.
const VERBS: [&str; 24] = [
    "fall", "turn", "move", "shine", "break", "burn", "float", "glow", "hang", "lean", "melt", "open", "roll", "shake",
    "sink", "slide", "spin", "stand", "swing", "tilt", "wait", "wear", "work", "remain",
];
/// What a noun that is no subject stands behind.
const PREPOSITIONS: [&str; 8] = ["near", "by", "behind", "under", "above", "beside", "with", "without"];
/// What fills one word.
const ADVERBS: [&str; 8] = ["often", "never", "always", "still", "rarely", "now", "today", "again"];

/// Sentences that end in a verb's root, and the verb as it agrees with the subject, the only noun behind a determiner: ("… near
/// tables this key by gardens under lamp again fall", "falls"). From 1 to [`FARTHEST`] words lie from the subject to the verb,
/// every distance as likely as the others, in the held-out sets as often; all sentences are equally long; every noun's number
/// is drawn for itself. No sentence is in two sets. (training, validation, test).
pub fn agreement(seed: u64, pairs: usize) -> [Vec<Pair>; 3] {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut seen = HashSet::new();
    let [valid, test] = EACH.map(|each| {
        let distances = (0..each * FARTHEST).map(|i| 1 + i % FARTHEST);
        distances.map(|distance| fresh(&mut random, &mut seen, distance)).collect()
    });
    let train = (0..pairs).map(|_| {
        let distance = 1 + below(&mut random, FARTHEST);
        fresh(&mut random, &mut seen, distance)
    });
    [train.collect(), valid, test]
}

/// Words from the subject of such a sentence to its verb; none where there is no subject.
pub fn distance(sentence: &str) -> Option<usize> {
    let words: Vec<&str> = sentence.split(' ').collect();
    let determiner = words.iter().position(|word| DETERMINERS.contains(word))?;
    (words.len() - 1).checked_sub(determiner + 1)
}

/// What answers from the last noun before the verb give: the other form where its number is not the subject's.
pub fn by_last_noun(sentence: &str) -> Option<String> {
    let mut words: Vec<&str> = sentence.split(' ').collect();
    let verb = words.pop()?;
    let noun =
        words.into_iter().rfind(|word| NOUNS.iter().any(|noun| word.strip_suffix('s').unwrap_or(word) == *noun))?;
    Some(agreeing(verb, noun.ends_with('s')))
}

fn fresh(random: &mut ChaCha8Rng, seen: &mut HashSet<String>, distance: usize) -> Pair {
    loop {
        let pair = sentence(random, distance);
        if seen.insert(pair.0.clone()) {
            return pair;
        }
    }
}

fn sentence(random: &mut ChaCha8Rng, distance: usize) -> Pair {
    let mut words = filler(random, WORDS - distance - 2);
    let (noun, plural) = noun(random);
    words.extend([DETERMINERS[usize::from(plural)].to_string(), noun]);
    words.extend(filler(random, distance - 1));
    let verb = pick(random, &VERBS);
    words.push(verb.to_string());
    (words.join(" "), agreeing(verb, plural))
}

/// The form of a verb after a noun of this number.
fn agreeing(verb: &str, plural: bool) -> String {
    if plural { verb.to_string() } else { format!("{verb}s") }
}

/// So many words: prepositions with a noun each, and adverbs.
fn filler(random: &mut ChaCha8Rng, count: usize) -> Vec<String> {
    let mut words = Vec::with_capacity(count);
    while words.len() < count {
        match count - words.len() {
            2.. if below(random, 4) > 0 => words.extend([pick(random, &PREPOSITIONS).to_string(), noun(random).0]),
            _ => words.push(pick(random, &ADVERBS).to_string()),
        }
    }
    words
}

/// A noun, and whether it is a plural.
fn noun(random: &mut ChaCha8Rng) -> (String, bool) {
    let (noun, plural) = (pick(random, &NOUNS), below(random, 2) == 1);
    (format!("{noun}{}", if plural { "s" } else { "" }), plural)
}

fn pick<'a>(random: &mut ChaCha8Rng, words: &[&'a str]) -> &'a str {
    words[below(random, words.len())]
}

fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    // A remainder of 64 bits favours no number by more than one in 10^17.
    (random.next_u64() % n as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_agrees_with_the_only_noun_behind_a_determiner() {
        let sets = agreement(1, 3000);
        assert_eq!(sets.each_ref().map(Vec::len), [3000, 200, 800]);
        let mut seen = HashSet::new();
        for (sentence, verb) in sets.iter().flatten() {
            assert!(seen.insert(sentence.clone()), "{sentence}");
            let words: Vec<&str> = sentence.split(' ').collect();
            assert_eq!(words.len(), WORDS, "{sentence}");
            let determiners: Vec<&str> = words.iter().copied().filter(|w| ["this", "these"].contains(w)).collect();
            let (root, subject) = (words[WORDS - 1], words[WORDS - 1 - distance(sentence).unwrap()]);
            assert_eq!(determiners, [if subject.ends_with('s') { "these" } else { "this" }], "{sentence}");
            assert!(NOUNS.contains(&subject.trim_end_matches('s')) && VERBS.contains(&root), "{sentence}");
            assert_eq!(
                *verb,
                if subject.ends_with('s') { root.to_string() } else { root.to_string() + "s" },
                "{sentence}"
            );
        }
        assert_eq!(agreement(1, 3000), sets);
        assert_ne!(agreement(2, 3000)[2], sets[2]);
        let another = agreement(1, 10);
        assert_eq!(
            (&another[1], &another[2]),
            (&sets[1], &sets[2]),
            "what is held out does not depend on how many there are"
        );
    }

    #[test]
    fn every_distance_is_as_frequent_as_the_others() {
        let [train, valid, test] = agreement(3, 8000);
        for (set, each, spread) in [(&train, 200, 75), (&valid, 5, 0), (&test, 20, 0)] {
            for far in 1..=FARTHEST {
                let count = set.iter().filter(|p| distance(&p.0) == Some(far)).count();
                assert!(usize::abs_diff(count, each) <= spread, "{count} of distance {far}");
            }
        }
        assert_eq!(distance("near keys by lamp fall"), None);
        assert_eq!(distance("this"), None);
    }

    /// Neither the last noun, the first, nor the most of them give the answer away; without a noun between, the last does.
    #[test]
    fn the_other_nouns_say_nothing() {
        let [train, ..] = agreement(4, 8000);
        let right = |p: &&Pair| by_last_noun(&p.0).as_ref() == Some(&p.1);
        let (near, far): (Vec<&Pair>, Vec<&Pair>) = train.iter().partition(|p| distance(&p.0) <= Some(2));
        assert!(near.iter().all(right));
        // 7 of 8 sentences have a noun between and half of those are right, within five standard errors.
        let far: Vec<&Pair> = far.into_iter().filter(|p| distance(&p.0) >= Some(10)).collect();
        let share = far.iter().filter(|p| right(p)).count() as f64 / far.len() as f64;
        assert!((share - 0.5).abs() <= 5.0 * (0.25 / far.len() as f64).sqrt(), "{share}");
        let plurals = train.iter().filter(|p| !p.1.ends_with('s')).count() as f64 / train.len() as f64;
        assert!((plurals - 0.5).abs() <= 5.0 * (0.25 / train.len() as f64).sqrt(), "{plurals}");
        let most = |p: &&Pair| {
            let others = p.0.split(' ').filter(|w| NOUNS.contains(&w.trim_end_matches('s')));
            let counts =
                others.fold([0, 0], |[one, many], w| if w.ends_with('s') { [one, many + 1] } else { [one + 1, many] });
            (counts[1] > counts[0]) != p.1.ends_with('s')
        };
        // The subject is one of some seventeen nouns, so that it tips the balance now and then.
        let share = train.iter().filter(most).count() as f64 / train.len() as f64;
        assert!((0.45..0.65).contains(&share), "{share}");
    }
}
