//! Agreement over a distance, after Linzen, Dupoux and Goldberg (2016): a verb agrees with a noun that is many words back, and
//! the nouns between say nothing about it. The noun is asked for too: a number alone is one bit, which any state can hold.

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
/// What is shared out over the distances.
const WEIGHTS: usize = 1 << 20;
/// Stands before the subject, whatever its number, and before no other noun.
const DETERMINER: &str = "the";

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

/// Sentences that end in a verb's root, and the subject, the only noun behind a determiner, with the verb as it agrees with it:
/// ("… near tables the key by gardens under lamp again fall", "key falls"). From 1 to [`FARTHEST`] words lie from the subject to
/// the verb: in training the nearer the more often, as in running text, in the held-out sets every distance as often as the
/// others. All sentences are equally long, and every noun is drawn for itself. No sentence is in two sets. (training,
/// validation, test).
pub fn agreement(seed: u64, pairs: usize) -> [Vec<Pair>; 3] {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut seen = HashSet::new();
    let [valid, test] = EACH.map(|each| {
        let distances = (0..each * FARTHEST).map(|i| 1 + i % FARTHEST);
        distances.map(|distance| fresh(&mut random, &mut seen, distance)).collect()
    });
    let train = (0..pairs).map(|_| {
        let distance = often_near(&mut random);
        fresh(&mut random, &mut seen, distance)
    });
    [train.collect(), valid, test]
}

/// A distance d with a probability in proportion to 1 / d: as in running text, most verbs are near their subjects.
fn often_near(random: &mut ChaCha8Rng) -> usize {
    let weight = |d: usize| WEIGHTS / d;
    let mut left = below(random, (1..=FARTHEST).map(weight).sum());
    let is_it = |d: &usize| {
        let here = left < weight(*d);
        left = left.saturating_sub(weight(*d));
        here
    };
    (1..=FARTHEST).find(is_it).expect("the weights add up")
}

/// Words from the subject of such a sentence to its verb; none where there is no subject.
pub fn distance(sentence: &str) -> Option<usize> {
    let words: Vec<&str> = sentence.split(' ').collect();
    let determiner = words.iter().position(|word| *word == DETERMINER)?;
    (words.len() - 1).checked_sub(determiner + 1)
}

/// The answer of whoever takes the last noun before the verb for its subject.
pub fn by_last_noun(sentence: &str) -> Option<String> {
    let mut words: Vec<&str> = sentence.split(' ').collect();
    let verb = words.pop()?;
    let noun =
        words.into_iter().rfind(|word| NOUNS.iter().any(|noun| word.strip_suffix('s').unwrap_or(word) == *noun))?;
    Some(format!("{noun} {}", agreeing(verb, noun.ends_with('s'))))
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
    words.extend([DETERMINER.to_string(), noun.clone()]);
    words.extend(filler(random, distance - 1));
    let verb = pick(random, &VERBS);
    words.push(verb.to_string());
    (words.join(" "), format!("{noun} {}", agreeing(verb, plural)))
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
        for (sentence, answer) in sets.iter().flatten() {
            assert!(seen.insert(sentence.clone()), "{sentence}");
            let words: Vec<&str> = sentence.split(' ').collect();
            assert_eq!(words.len(), WORDS, "{sentence}");
            assert_eq!(words.iter().filter(|word| **word == "the").count(), 1, "{sentence}");
            let far = distance(sentence).expect("a subject");
            let (before, subject, root) = (words[WORDS - 2 - far], words[WORDS - 1 - far], words[WORDS - 1]);
            assert!(before == "the" && (1..=FARTHEST).contains(&far), "{sentence}");
            assert!(NOUNS.contains(&subject.trim_end_matches('s')) && VERBS.contains(&root), "{sentence}");
            let ending = if subject.ends_with('s') { "" } else { "s" };
            assert_eq!(*answer, format!("{subject} {root}{ending}"), "{sentence}");
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
    fn near_subjects_are_more_frequent_in_training_alone() {
        let [train, valid, test] = agreement(3, 8000);
        let count = |set: &[Pair], far| set.iter().filter(|p| distance(&p.0) == Some(far)).count();
        let all: f64 = (1..=FARTHEST).map(|d| 1.0 / d as f64).sum();
        for far in 1..=FARTHEST {
            assert_eq!([count(&valid, far), count(&test, far)], EACH, "{far}");
            // Within five standard errors.
            let (found, share) = (count(&train, far) as f64, 1.0 / (far as f64 * all));
            let expected = share * train.len() as f64;
            assert!((found - expected).abs() <= 5.0 * expected.sqrt(), "{found} of distance {far}, not {expected}");
        }
        assert_eq!(distance("near keys by lamp fall"), None);
        assert_eq!(distance("the"), None);
    }

    /// Without a noun between, the last one is the subject; behind others it is one of forty.
    #[test]
    fn the_other_nouns_say_nothing() {
        let [train, ..] = agreement(4, 8000);
        let right = |p: &&Pair| by_last_noun(&p.0).as_ref() == Some(&p.1);
        let (near, far): (Vec<&Pair>, Vec<&Pair>) = train.iter().partition(|p| distance(&p.0) <= Some(2));
        assert!(near.iter().all(right));
        let far: Vec<&Pair> = far.into_iter().filter(|p| distance(&p.0) >= Some(10)).collect();
        let share = far.iter().filter(|p| right(p)).count() as f64 / far.len() as f64;
        assert!(share <= 0.05, "{share}");
        let plurals = train.iter().filter(|p| !p.1.ends_with('s')).count() as f64 / train.len() as f64;
        assert!((plurals - 0.5).abs() <= 5.0 * (0.25 / train.len() as f64).sqrt(), "{plurals}");
    }
}
