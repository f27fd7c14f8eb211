//! The built-in corpus: English sentences and their French translations, from a grammar.
//!
//! A sentence is drawn as a tree that says what it means (`grammar`, `draw`) and is then said in each language. The
//! translation is a function of the English sentence: every word has one translation, and nothing is drawn whose
//! French depends on what the English leaves open. What is left to learn is agreement over a distance, the order of
//! words, elision and contraction, the auxiliaries, and which noun a pronoun means.

mod adjectives;
mod draw;
mod english;
mod french;
mod grammar;
mod lexicon;
mod nearest;
mod nouns;
mod split;
mod verbs;
mod words;

pub use nearest::nearest_translations;

use draw::Draw;
use split::{Part, keys, part};
use std::collections::HashSet;

/// The pairs of the validation split, and as many of the test split.
pub const HELD_OUT: usize = 500;

/// Longer English sentences are not drawn.
const MAX_WORDS: usize = 22;

/// The combination of words that decides which split a sentence belongs to: the English base forms of the subject, the
/// verb, and the object or what else completes the verb (an adjective, a place, nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The noun, name or pronoun.
    pub subject: &'static str,
    /// The verb; "be" for descriptions.
    pub verb: &'static str,
    /// The noun of the object, the adjective, the noun of the place, or "".
    pub object: &'static str,
}

/// One English sentence and its French translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The source.
    pub english: String,
    /// The target.
    pub french: String,
    /// The combination of the main clause.
    pub key: Key,
    /// The combinations of everything else: of relative clauses, reasons and second subjects.
    pub inner: Vec<Key>,
}

/// The corpus: pairs of an English sentence and its French translation.
///
/// No sentence occurs twice. The combination of subject, verb and object in the main clause of a held-out sentence
/// occurs nowhere in the training split, not even in a relative clause, and those of the test split occur nowhere in
/// the validation split's main clauses either.
#[derive(Clone, Debug)]
pub struct Phrasebook {
    /// What to train on.
    pub train: Vec<(String, String)>,
    /// What to watch while training.
    pub valid: Vec<(String, String)>,
    /// What to report.
    pub test: Vec<(String, String)>,
}

/// All sentences that a seed draws, without end; some are drawn more than once.
pub fn sentences(seed: u64) -> impl Iterator<Item = Pair> {
    let mut draw = Draw::new(seed);
    std::iter::repeat_with(move || pair(&draw.sentence())).filter(|pair| pair.english.split(' ').count() <= MAX_WORDS)
}

fn pair(sentence: &grammar::Sentence) -> Pair {
    let mut inner = keys(sentence);
    let key = inner.remove(0);
    Pair { english: english::english(sentence), french: french::french(sentence), key, inner }
}

/// The corpus with so many distinct training pairs, and [`HELD_OUT`] pairs in each of the other splits.
///
/// The same seed gives the same corpus on every platform. More pairs only add to the end of the training split; the
/// held-out splits stay the same.
pub fn phrasebook(seed: u64, pairs: usize) -> Phrasebook {
    let mut book = Phrasebook { train: Vec::with_capacity(pairs), valid: Vec::new(), test: Vec::new() };
    let mut seen = HashSet::new();
    for pair in sentences(seed) {
        let (split, size) = match part(seed, &pair.key) {
            Part::Valid => (&mut book.valid, HELD_OUT),
            Part::Test => (&mut book.test, HELD_OUT),
            Part::Train if pair.inner.iter().all(|key| part(seed, key) == Part::Train) => (&mut book.train, pairs),
            Part::Train => continue,
        };
        if split.len() < size && seen.insert(pair.english.clone()) {
            split.push((pair.english, pair.french));
        }
        if book.train.len() >= pairs && book.valid.len() == HELD_OUT && book.test.len() == HELD_OUT {
            break;
        }
    }
    book
}

#[cfg(test)]
mod tests {
    use super::adjectives::{ADJECTIVES, DEGREES};
    use super::grammar::*;
    use super::lexicon::{Adjective, Frame, Noun, Number, Phrase, Verb};
    use super::nouns::{NAMES, NOUNS};
    use super::verbs::{CIRCUMSTANCES, GOAL, NUMERALS, PAST_TIMES, PRESENT_ADVERBS, RELATIONS, VERBS};
    use super::*;
    use std::collections::HashMap;

    fn noun(name: &str) -> &'static Noun {
        NOUNS.iter().chain(NAMES).find(|noun| noun.name() == name).expect("a noun of the lexicon")
    }

    fn adjective(name: &str) -> &'static Adjective {
        ADJECTIVES.iter().find(|adjective| adjective.english == name).expect("an adjective of the lexicon")
    }

    fn phrase(phrases: &'static [Phrase], english: &str) -> &'static Phrase {
        phrases.iter().find(|phrase| phrase.english == english).expect("a phrase of the lexicon")
    }

    fn one(determiner: Determiner, name: &str) -> NounPhrase {
        NounPhrase { determiner, number: Number::Singular, adjectives: Vec::new(), noun: noun(name), relative: None }
    }

    fn many(determiner: Determiner, name: &str) -> NounPhrase {
        NounPhrase { number: Number::Plural, ..one(determiner, name) }
    }

    fn count(numeral: &str) -> Determiner {
        Determiner::Count(phrase(NUMERALS, numeral))
    }

    impl NounPhrase {
        fn with(self, adjectives: &[&str]) -> Self {
            NounPhrase { adjectives: adjectives.iter().map(|name| adjective(name)).collect(), ..self }
        }

        fn who(self, action: Action) -> Self {
            NounPhrase { relative: Some(Box::new(Relative::Subject(action))), ..self }
        }

        fn that(self, subject: Subject, action: Action) -> Self {
            NounPhrase { relative: Some(Box::new(Relative::Object { subject, action })), ..self }
        }
    }

    fn action(verb: &str, frame: Frame, tense: Tense, object: Option<NounPhrase>) -> Action {
        let named = |candidate: &&Verb| candidate.name() == verb && candidate.frame == frame;
        let verb = VERBS.iter().find(named).expect("a verb of the lexicon");
        let polarity = Polarity::Yes;
        Action { verb, tense, polarity, adverb: None, object, recipient: None, manner: None, place: None }
    }

    fn does(verb: &str, tense: Tense, object: NounPhrase) -> Action {
        action(verb, Frame::Object, tense, Some(object))
    }

    fn clause(subject: Subject, action: Action) -> Clause {
        Clause { subject, predicate: Predicate::Action(action), time: None, reason: None }
    }

    fn is(subject: Subject, name: &str, degree: Degree) -> Clause {
        let description = Description { adjective: adjective(name), degree, past: false, negated: false };
        Clause { subject, predicate: Predicate::Description(description), time: None, reason: None }
    }

    fn because(antecedent: Antecedent, degree: &str, name: &str) -> Option<Reason> {
        let degree = Degree::By(phrase(DEGREES, degree));
        let description = Description { adjective: adjective(name), degree, past: true, negated: false };
        Some(Reason::Quality { antecedent, description })
    }

    #[track_caller]
    fn check(sentence: Sentence, english: &str, french: &str) {
        let pair = pair(&sentence);
        assert_eq!((pair.english.as_str(), pair.french.as_str()), (english, french));
    }

    #[test]
    fn a_verb_agrees_over_a_relative_clause() {
        let walked = does("walk", Tense::Past, one(Determiner::The, "street"));
        let man = Subject::Noun(one(Determiner::The, "man").who(walked));
        check(
            Sentence::Statement(clause(man, does("buy", Tense::Present, one(Determiner::A, "ice cream")))),
            "The man who walked the street buys an ice cream.",
            "L'homme qui a parcouru la rue achète une glace.",
        );
        let see = does("see", Tense::Present, one(Determiner::This, "bird"));
        let women = Subject::Noun(many(Determiner::All, "woman").who(see));
        let mut go = action("go", Frame::Goal, Tense::Past, None);
        go.place = Some(Place { relation: &GOAL, phrase: one(Determiner::The, "market") });
        check(
            Sentence::Statement(clause(women, go)),
            "All the women who see this bird went to the market.",
            "Toutes les femmes qui voient cet oiseau sont allées au marché.",
        );
        let loved = action("love", Frame::Feeling, Tense::Present, None);
        let owner = Box::new(one(Determiner::Name, "Emma"));
        let apples = many(Determiner::The, "apple").with(&["small", "red"]);
        let apples = apples.that(Subject::Noun(many(Determiner::Of(owner), "girl")), loved);
        check(
            Sentence::Question(is(Subject::Noun(apples), "fresh", Degree::Plain)),
            "Are the small red apples that Emma's girls love fresh?",
            "Est-ce que les petites pommes rouges que les filles d'Emma adorent sont fraîches ?",
        );
    }

    #[test]
    fn a_pronoun_takes_the_gender_of_its_antecedent() {
        let crossing = || {
            let mut cross = does("cross", Tense::Past, one(Determiner::The, "street"));
            cross.polarity = Polarity::Not;
            clause(Subject::Noun(one(Determiner::The, "animal")), cross)
        };
        check(
            Sentence::Statement(Clause { reason: because(Antecedent::Subject, "too", "tired"), ..crossing() }),
            "The animal did not cross the street because it was too tired.",
            "L'animal n'a pas traversé la rue parce qu'il était trop fatigué.",
        );
        check(
            Sentence::Statement(Clause { reason: because(Antecedent::Object, "too", "wide"), ..crossing() }),
            "The animal did not cross the street because it was too wide.",
            "L'animal n'a pas traversé la rue parce qu'elle était trop large.",
        );
        let cooks = does("eat", Tense::Past, many(Determiner::The, "egg"));
        let queens = Subject::Both(one(Determiner::The, "queen"), one(Determiner::My(Pronoun::He), "sister"));
        check(
            Sentence::Statement(Clause {
                reason: because(Antecedent::Subject, "very", "hungry"),
                ..clause(queens, cooks)
            }),
            "The queen and his sister ate the eggs because they were very hungry.",
            "La reine et sa sœur ont mangé les œufs parce qu'elles avaient très faim.",
        );
        let runs = action("run", Frame::Alone, Tense::Present, None);
        check(
            Sentence::Statement(Clause {
                reason: Some(Reason::Circumstance(&CIRCUMSTANCES[0][0])),
                ..clause(Subject::Pronoun(Pronoun::I), runs)
            }),
            "I run because it is raining.",
            "Je cours parce qu'il pleut.",
        );
    }

    #[test]
    fn an_indefinite_object_changes_under_a_negation() {
        let buys = |polarity, object| {
            let action = Action { polarity, ..does("buy", Tense::Present, object) };
            Sentence::Statement(clause(Subject::Pronoun(Pronoun::We), action))
        };
        let coats = || many(Determiner::Bare, "coat").with(&["beautiful", "black"]);
        check(buys(Polarity::Yes, coats()), "We buy beautiful black coats.", "Nous achetons de beaux manteaux noirs.");
        check(
            buys(Polarity::Not, coats()),
            "We do not buy beautiful black coats.",
            "Nous n'achetons pas de beaux manteaux noirs.",
        );
        check(
            buys(Polarity::Never, one(Determiner::A, "egg")),
            "We never buy an egg.",
            "Nous n'achetons jamais d'œuf.",
        );
        check(buys(Polarity::Yes, one(Determiner::Bare, "water")), "We buy water.", "Nous achetons de l'eau.");
        let wine = one(Determiner::Bare, "wine").with(&["good"]);
        check(buys(Polarity::Yes, wine), "We buy good wine.", "Nous achetons du bon vin.");
        let hates = action("hate", Frame::Feeling, Tense::Want, Some(many(Determiner::Bare, "frog")));
        let hates = Action { polarity: Polarity::Not, ..hates };
        check(
            Sentence::Statement(clause(Subject::Pronoun(Pronoun::She), hates)),
            "She does not want to hate frogs.",
            "Elle ne veut pas détester les grenouilles.",
        );
    }

    #[test]
    fn words_find_their_places_and_forms() {
        let mut sends = action("send", Frame::Gift, Tense::Present, Some(one(Determiner::My(Pronoun::She), "scarf")));
        sends.recipient = Some(many(Determiner::The, "child").with(&["young", "sick"]));
        sends.adverb = Some(phrase(PRESENT_ADVERBS, "often"));
        check(
            Sentence::Statement(clause(Subject::Noun(one(Determiner::Name, "Alice")), sends)),
            "Alice often sends her scarf to the young sick children.",
            "Alice envoie souvent son écharpe aux jeunes enfants malades.",
        );
        let mut saw = does("see", Tense::Past, many(count("three"), "dog").with(&["small"]));
        let near = RELATIONS.iter().find(|relation| relation.phrase.english == "near").expect("a relation");
        let hotel = one(Determiner::This, "hotel").with(&["new"]);
        saw.place = Some(Place { relation: near, phrase: hotel });
        let time = Some(Time { phrase: phrase(PAST_TIMES, "two days ago"), first: true });
        check(
            Sentence::Statement(Clause { time, ..clause(Subject::Pronoun(Pronoun::I), saw) }),
            "Two days ago, I saw three small dogs near this new hotel.",
            "Il y a deux jours, j'ai vu trois petits chiens près de ce nouvel hôtel.",
        );
        let owl = one(Determiner::The, "owl").with(&["old"]);
        check(
            Sentence::Statement(is(Subject::Noun(many(Determiner::Many, "elephant")), "big", Degree::More(owl))),
            "Many elephants are bigger than the old owl.",
            "Beaucoup d'éléphants sont plus grands que le vieux hibou.",
        );
        let place = Place { relation: near, phrase: one(Determiner::The, "bridge") };
        check(
            Sentence::Existence { phrase: one(Determiner::Bare, "axe"), past: true, negated: true, place },
            "There was no axe near the bridge.",
            "Il n'y avait pas de hache près du pont.",
        );
    }

    #[test]
    fn no_sentence_has_two_translations() {
        let mut translations = HashMap::new();
        for pair in sentences(7).take(100_000) {
            let translation = translations.entry(pair.english.clone()).or_insert_with(|| pair.french.clone());
            assert_eq!(*translation, pair.french, "{}", pair.english);
        }
    }

    #[test]
    fn sentences_are_well_formed() {
        let contracted = ["de le ", "de les ", "à le ", "à les ", "que il", "ne a ", "je a", "le a", "la a", "  "];
        let mut words = 0;
        for pair in sentences(11).take(20_000) {
            words += pair.english.split(' ').count();
            for text in [&pair.english, &pair.french] {
                assert!(text.starts_with(char::is_uppercase) && text.ends_with(['.', '?']), "{text}");
            }
            let french = format!(" {}", pair.french.to_lowercase());
            for wrong in contracted {
                assert!(!french.contains(&format!(" {wrong}")), "{wrong} in {french}");
            }
        }
        assert!((140_000..200_000).contains(&words), "{words} words in 20,000 sentences");
    }

    #[test]
    fn the_stream_does_not_change() {
        let first: Vec<_> = sentences(0).take(3).map(|pair| pair.english).collect();
        let pinned = [
            "This big doctor believes that the nurses waited for nine big boys this morning.",
            "He is going to call all the old monkeys tonight.",
            "When it rains, we play near the gardens because we are too hungry.",
        ];
        assert_eq!(first, pinned);
    }

    #[test]
    fn held_out_words_are_trained_on() {
        let book = phrasebook(5, 20_000);
        let words = |text: &str| -> Vec<String> {
            text.split([' ', '\'']).map(|word| word.trim_end_matches(['.', ',', '?']).to_lowercase()).collect()
        };
        let trained: HashSet<_> =
            book.train.iter().flat_map(|(english, french)| [words(english), words(french)]).flatten().collect();
        for (english, french) in book.valid.iter().chain(&book.test) {
            for word in words(english).into_iter().chain(words(french)) {
                assert!(trained.contains(&word), "{word} in {english}");
            }
        }
    }

    #[test]
    fn more_pairs_only_add_to_training() {
        let (small, large) = (phrasebook(9, 100), phrasebook(9, 40_000));
        assert_eq!(small.train.len(), 100);
        assert_eq!(large.train.len(), 40_000);
        assert_eq!(small.train[..], large.train[..100]);
        assert_eq!((&small.valid, &small.test), (&large.valid, &large.test));
        assert_eq!((small.valid.len(), small.test.len()), (HELD_OUT, HELD_OUT));
        assert_eq!(large.train.iter().collect::<HashSet<_>>().len(), 40_000);
        assert_ne!(phrasebook(10, 100).train, small.train);
    }

    #[test]
    fn the_nearest_sentence_is_no_translation() {
        let book = phrasebook(1, 20_000);
        let sources: Vec<_> = book.test.iter().map(|(english, _)| english.as_str()).collect();
        let found = nearest_translations(&book.train, &sources);
        let right = found.iter().zip(&book.test).filter(|(found, (_, french))| *found == french).count();
        assert!(right < HELD_OUT / 20, "{right} of {HELD_OUT}");
    }
}
