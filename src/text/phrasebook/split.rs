//! Which sentences are held out: those whose combination of words training never sees.

use super::Key;
use super::grammar::*;

/// The split that a combination belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Train,
    Valid,
    Test,
}

/// Of so many combinations, one is held out for validation and one for the test.
const COMBINATIONS: u64 = 50;

/// The part that a combination belongs to, by a hash (FNV-1a, then the finalizer of splitmix64) of it and the seed.
pub fn part(seed: u64, key: &Key) -> Part {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    for word in [key.subject, key.verb, key.object] {
        // No word has a zero byte, so it keeps the words apart.
        for byte in word.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    match (hash ^ (hash >> 31)) % COMBINATIONS {
        0 => Part::Valid,
        1 => Part::Test,
        _ => Part::Train,
    }
}

/// The combinations of a sentence: that of the main clause first.
pub fn keys(sentence: &Sentence) -> Vec<Key> {
    let mut keys = Vec::new();
    match sentence {
        Sentence::Statement(clause) | Sentence::Question(clause) => push_clause(&mut keys, clause),
        Sentence::Report { speaker, clause, .. } => {
            push_clause(&mut keys, clause);
            push_inner(&mut keys, speaker);
        }
        Sentence::Existence { phrase, place, .. } => {
            keys.push(Key { subject: phrase.noun.name(), verb: "be", object: place.phrase.noun.name() });
        }
    }
    keys
}

fn push_clause(keys: &mut Vec<Key>, clause: &Clause) {
    match &clause.predicate {
        Predicate::Action(action) => push_action(keys, &clause.subject, action),
        Predicate::Description(description) => push_description(keys, &names(&clause.subject), description),
    }
    push_inner(keys, &clause.subject);
    if let Some(object) = clause.predicate.object() {
        push_relative(keys, object);
    }
    if let Some(Reason::Quality { antecedent, description }) = &clause.reason {
        match (antecedent, clause.predicate.object()) {
            (Antecedent::Object, Some(object)) => push_description(keys, &[object.noun.name()], description),
            _ => push_description(keys, &names(&clause.subject), description),
        }
    }
}

fn push_action(keys: &mut Vec<Key>, subject: &Subject, action: &Action) {
    let (verb, object) = (action.verb.name(), complement(action));
    keys.extend(names(subject).into_iter().map(|subject| Key { subject, verb, object }));
}

fn push_description(keys: &mut Vec<Key>, subjects: &[&'static str], description: &Description) {
    let object = description.adjective.english;
    keys.extend(subjects.iter().map(|&subject| Key { subject, verb: "be", object }));
}

/// The combinations inside the relative clauses of a subject.
fn push_inner(keys: &mut Vec<Key>, subject: &Subject) {
    match subject {
        Subject::Pronoun(_) => {}
        Subject::Noun(phrase) => push_relative(keys, phrase),
        Subject::Both(first, second) => {
            push_relative(keys, first);
            push_relative(keys, second);
        }
    }
}

fn push_relative(keys: &mut Vec<Key>, phrase: &NounPhrase) {
    let name = phrase.noun.name();
    match phrase.relative.as_deref() {
        None => {}
        Some(Relative::Subject(action)) => {
            keys.push(Key { subject: name, verb: action.verb.name(), object: complement(action) });
        }
        Some(Relative::Object { subject, action }) => {
            let verb = action.verb.name();
            keys.extend(names(subject).into_iter().map(|subject| Key { subject, verb, object: name }));
        }
    }
}

/// The object, or else the place, or nothing.
fn complement(action: &Action) -> &'static str {
    match (&action.object, &action.place) {
        (Some(object), _) => object.noun.name(),
        (None, Some(place)) => place.phrase.noun.name(),
        (None, None) => "",
    }
}

/// The words that stand for a subject in keys.
fn names(subject: &Subject) -> Vec<&'static str> {
    match subject {
        Subject::Pronoun(Pronoun::I) => vec!["I"],
        Subject::Pronoun(Pronoun::You) => vec!["you"],
        Subject::Pronoun(Pronoun::He) => vec!["he"],
        Subject::Pronoun(Pronoun::She) => vec!["she"],
        Subject::Pronoun(Pronoun::We) => vec!["we"],
        Subject::Pronoun(Pronoun::They) => vec!["they"],
        Subject::Noun(phrase) => vec![phrase.noun.name()],
        Subject::Both(first, second) => vec![first.noun.name(), second.noun.name()],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{phrasebook, sentences};
    use std::collections::{HashMap, HashSet};

    #[test]
    fn held_out_combinations_are_not_trained_on() {
        let seed = 3;
        let book = phrasebook(seed, 20_000);
        let mut drawn = HashMap::new();
        for pair in sentences(seed).take(40_000) {
            drawn.entry(pair.english.clone()).or_insert(pair);
        }
        let mut trained = HashSet::new();
        for (english, _) in &book.train {
            trained.insert(drawn[english].key);
            trained.extend(&drawn[english].inner);
        }
        let sources: HashSet<_> = book.train.iter().map(|(english, _)| english).collect();
        let key = |(english, _): &(String, String)| drawn[english].key;
        let valid: HashSet<_> = book.valid.iter().map(key).collect();
        assert!(book.test.iter().map(key).all(|key| !valid.contains(&key)));
        for pair in book.valid.iter().chain(&book.test) {
            assert!(!sources.contains(&pair.0), "{}", pair.0);
            assert!(!trained.contains(&key(pair)), "{}", pair.0);
        }
    }
}
