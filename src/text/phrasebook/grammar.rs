//! What a sentence says, before it is said in either language.

use super::lexicon::*;
use super::verbs::Relation;

/// The persons of the verb. "You" is always "vous", and "they", where it stands for nobody named, is "ils".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pronoun {
    I,
    You,
    He,
    She,
    We,
    They,
}

impl Pronoun {
    /// "You" takes the plural forms, whomever it means.
    pub fn number(self) -> Number {
        match self {
            Pronoun::I | Pronoun::He | Pronoun::She => Number::Singular,
            Pronoun::You | Pronoun::We | Pronoun::They => Number::Plural,
        }
    }
}

/// What verbs and adjectives agree with: a noun agrees like the pronoun that would stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    pub pronoun: Pronoun,
    pub gender: Gender,
}

impl Agreement {
    /// The agreement with a noun.
    pub fn of(gender: Gender, number: Number) -> Self {
        let pronoun = match (number, gender) {
            (Number::Plural, _) => Pronoun::They,
            (Number::Singular, Gender::Masculine) => Pronoun::He,
            (Number::Singular, Gender::Feminine) => Pronoun::She,
        };
        Agreement { pronoun, gender }
    }
}

/// What a noun phrase begins with.
#[derive(Debug)]
pub enum Determiner {
    The,
    A,
    /// None: "dogs", "milk".
    Bare,
    /// None either: "Anna".
    Name,
    This,
    Every,
    Several,
    Many,
    All,
    Count(&'static Phrase),
    My(Pronoun),
    /// "The king's".
    Of(Box<NounPhrase>),
}

/// A noun with what belongs to it.
#[derive(Debug)]
pub struct NounPhrase {
    pub determiner: Determiner,
    pub number: Number,
    /// In the English order: those that French puts before the noun come first.
    pub adjectives: Vec<&'static Adjective>,
    pub noun: &'static Noun,
    pub relative: Option<Box<Relative>>,
}

impl NounPhrase {
    /// How it agrees.
    pub fn agreement(&self) -> Agreement {
        Agreement::of(self.noun.gender, self.number)
    }
}

/// A clause that belongs to a noun.
#[derive(Debug)]
pub enum Relative {
    /// "who buys a hat", "that eats the apple".
    Subject(Action),
    /// "that the man buys"; the action has no object of its own.
    Object { subject: Subject, action: Action },
}

/// What the verb of a clause agrees with.
#[derive(Debug)]
pub enum Subject {
    Pronoun(Pronoun),
    Noun(NounPhrase),
    /// "the king and the queen".
    Both(NounPhrase, NounPhrase),
}

impl Subject {
    /// How it agrees; a group is feminine only if both are.
    pub fn agreement(&self) -> Agreement {
        match self {
            Subject::Pronoun(Pronoun::She) => Agreement { pronoun: Pronoun::She, gender: Gender::Feminine },
            Subject::Pronoun(pronoun) => Agreement { pronoun: *pronoun, gender: Gender::Masculine },
            Subject::Noun(phrase) => phrase.agreement(),
            Subject::Both(first, second) => {
                let all_feminine = first.noun.gender == Gender::Feminine && second.noun.gender == Gender::Feminine;
                let gender = if all_feminine { Gender::Feminine } else { Gender::Masculine };
                Agreement { pronoun: Pronoun::They, gender }
            }
        }
    }

    /// Whether English leaves the gender open that French would have to choose.
    pub fn hides_gender(&self) -> bool {
        matches!(self, Subject::Pronoun(Pronoun::I | Pronoun::You | Pronoun::We))
    }
}

/// The tense, or the modal verb that takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tense {
    Present,
    Past,
    /// "is going to".
    Future,
    Can,
    Must,
    Want,
}

/// Whether something is said or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    Yes,
    Not,
    Never,
}

/// A verb with everything that follows it.
#[derive(Debug)]
pub struct Action {
    pub verb: &'static Verb,
    pub tense: Tense,
    pub polarity: Polarity,
    pub adverb: Option<&'static Phrase>,
    pub object: Option<NounPhrase>,
    pub recipient: Option<NounPhrase>,
    pub manner: Option<&'static Phrase>,
    pub place: Option<Place>,
}

/// Where something happens.
#[derive(Debug)]
pub struct Place {
    pub relation: &'static Relation,
    pub phrase: NounPhrase,
}

/// How an adjective is meant.
#[derive(Debug)]
pub enum Degree {
    Plain,
    /// "very", "too".
    By(&'static Phrase),
    /// "as big as the dog".
    As(NounPhrase),
    /// "bigger than the dog".
    More(NounPhrase),
}

/// "is very big": the verb is "to be", in the present or the past.
#[derive(Debug)]
pub struct Description {
    pub adjective: &'static Adjective,
    pub degree: Degree,
    pub past: bool,
    pub negated: bool,
}

/// What is said of a subject.
#[derive(Debug)]
pub enum Predicate {
    Action(Action),
    Description(Description),
}

impl Predicate {
    /// The object of the verb, if it has one.
    pub fn object(&self) -> Option<&NounPhrase> {
        match self {
            Predicate::Action(action) => action.object.as_ref(),
            Predicate::Description(_) => None,
        }
    }
}

/// When something happens.
#[derive(Debug)]
pub struct Time {
    pub phrase: &'static Phrase,
    /// Whether it opens the sentence.
    pub first: bool,
}

/// Why something happens.
#[derive(Debug)]
pub enum Reason {
    /// "because it was raining".
    Circumstance(&'static Phrase),
    /// "because it was too tired".
    Quality { antecedent: Antecedent, description: Description },
}

/// The noun that the pronoun of a reason means: the adjective decides, for it fits only one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Antecedent {
    Subject,
    Object,
}

/// A subject and what is said of it.
#[derive(Debug)]
pub struct Clause {
    pub subject: Subject,
    pub predicate: Predicate,
    pub time: Option<Time>,
    pub reason: Option<Reason>,
}

/// The kinds of sentences.
#[derive(Debug)]
pub enum Sentence {
    Statement(Clause),
    Question(Clause),
    /// "Anna says that …": always in the present, so that no tense has to follow another.
    Report {
        speaker: Subject,
        verb: &'static Verb,
        clause: Clause,
    },
    /// "There is …".
    Existence {
        phrase: NounPhrase,
        past: bool,
        negated: bool,
        place: Place,
    },
}
