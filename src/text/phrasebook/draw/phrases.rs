//! Draws noun phrases and what is in them.

use super::super::adjectives::ADJECTIVES;
use super::super::grammar::*;
use super::super::lexicon::*;
use super::super::nouns::{NAMES, NOUNS};
use super::super::verbs::{GOAL, NUMERALS, RELATIONS, VERBS};
use super::Draw;

/// Whether a noun phrase may have a relative clause; what stands inside another one may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Without.
    Short,
    /// With or without.
    Full,
}

impl Draw {
    /// A subject of one of the kinds. One that is denied something stays definite: "all the dogs do not sleep" could
    /// mean two things.
    pub fn subject(&mut self, kinds: Kinds, denied: bool, size: Size) -> Subject {
        match self.below(100) {
            0..42 if kinds & PERSON != 0 => Subject::Pronoun(self.pronoun()),
            42..52 if kinds & PERSON != 0 => Subject::Noun(self.name()),
            52..57 if kinds & PERSON != 0 => {
                let first = self.definite(PERSON);
                let second = loop {
                    // "Anna and Simon's dog" could be one dog.
                    let second = self.definite(PERSON);
                    let owned = matches!(second.determiner, Determiner::Of(_));
                    if !owned && second.noun.name() != first.noun.name() {
                        break second;
                    }
                };
                Subject::Both(first, second)
            }
            _ => Subject::Noun(self.subject_phrase(kinds, denied, size)),
        }
    }

    fn pronoun(&mut self) -> Pronoun {
        match self.below(38) {
            0..9 => Pronoun::I,
            9..18 => Pronoun::You,
            18..22 => Pronoun::He,
            22..26 => Pronoun::She,
            26..35 => Pronoun::We,
            _ => Pronoun::They,
        }
    }

    fn name(&mut self) -> NounPhrase {
        NounPhrase {
            determiner: Determiner::Name,
            number: Number::Singular,
            adjectives: Vec::new(),
            noun: self.pick(NAMES),
            relative: None,
        }
    }

    /// A noun of one of the kinds.
    pub fn noun(&mut self, kinds: Kinds) -> &'static Noun {
        self.pick_where(NOUNS, |noun| noun.kinds & kinds != 0)
    }

    /// A number that the noun has.
    pub fn number(&mut self, noun: &Noun) -> Number {
        if noun.kinds & MASS == 0 && self.chance(40) { Number::Plural } else { Number::Singular }
    }

    fn subject_phrase(&mut self, kinds: Kinds, denied: bool, size: Size) -> NounPhrase {
        let noun = self.noun(kinds);
        let (determiner, number) = match self.below(100) {
            _ if noun.kinds & MASS != 0 || denied => self.definite_determiner(noun),
            0..10 => (Determiner::A, Number::Singular),
            10..14 => (Determiner::Every, Number::Singular),
            14..18 => (Determiner::Several, Number::Plural),
            18..22 => (Determiner::Many, Number::Plural),
            22..26 => (Determiner::All, Number::Plural),
            26..36 => (Determiner::Count(self.pick(NUMERALS)), Number::Plural),
            _ => self.definite_determiner(noun),
        };
        self.extend(NounPhrase { determiner, number, adjectives: Vec::new(), noun, relative: None }, size, 16)
    }

    /// An object for the verb.
    pub fn object(&mut self, verb: &Verb, size: Size) -> NounPhrase {
        let noun = self.noun(verb.objects);
        let mass = noun.kinds & MASS != 0;
        let (determiner, number) = match self.below(100) {
            0..30 if verb.frame == Frame::Feeling || mass => {
                (Determiner::Bare, if mass { Number::Singular } else { Number::Plural })
            }
            _ if verb.frame == Frame::Feeling || mass => self.definite_determiner(noun),
            0..18 => (Determiner::A, Number::Singular),
            18..28 => (Determiner::Bare, Number::Plural),
            28..32 => (Determiner::Many, Number::Plural),
            32..35 => (Determiner::All, Number::Plural),
            35..45 => (Determiner::Count(self.pick(NUMERALS)), Number::Plural),
            _ => self.definite_determiner(noun),
        };
        self.extend(NounPhrase { determiner, number, adjectives: Vec::new(), noun, relative: None }, size, 9)
    }

    fn definite_determiner(&mut self, noun: &Noun) -> (Determiner, Number) {
        let determiner = match self.below(100) {
            0..18 => Determiner::My(self.pronoun()),
            18..32 => Determiner::This,
            32..42 => Determiner::Of(Box::new(self.owner())),
            _ => Determiner::The,
        };
        (determiner, self.number(noun))
    }

    fn owner(&mut self) -> NounPhrase {
        if self.chance(40) {
            return self.name();
        }
        let noun = self.noun(PERSON);
        let determiner = match self.below(10) {
            0..3 => Determiner::My(self.pronoun()),
            _ => Determiner::The,
        };
        NounPhrase { determiner, number: self.number(noun), adjectives: Vec::new(), noun, relative: None }
    }

    /// A short phrase that means something in particular; among persons it may be a name.
    pub fn definite(&mut self, kinds: Kinds) -> NounPhrase {
        if kinds & PERSON != 0 && self.chance(20) {
            return self.name();
        }
        let noun = self.noun(kinds);
        let (determiner, number) = self.definite_determiner(noun);
        let adjectives = if self.chance(50) { self.adjectives(noun) } else { Vec::new() };
        NounPhrase { determiner, number, adjectives, noun, relative: None }
    }

    /// A place that is of one of the kinds.
    pub fn place(&mut self, kinds: Kinds) -> Place {
        loop {
            let relation = self.pick(RELATIONS);
            let noun = self.noun(relation.kinds);
            if noun.kinds & kinds != 0 {
                let (determiner, number) = match self.below(100) {
                    0..12 => (Determiner::A, Number::Singular),
                    _ => self.definite_determiner(noun),
                };
                let adjectives = if self.chance(50) { self.adjectives(noun) } else { Vec::new() };
                return Place { relation, phrase: NounPhrase { determiner, number, adjectives, noun, relative: None } };
            }
        }
    }

    /// Adds adjectives and, in so many of a hundred full phrases, a relative clause.
    fn extend(&mut self, mut phrase: NounPhrase, size: Size, relatives: usize) -> NounPhrase {
        phrase.adjectives = self.adjectives(phrase.noun);
        let owned = matches!(phrase.determiner, Determiner::Of(_));
        if size == Size::Full && !owned && self.chance(relatives) {
            phrase.relative = Some(Box::new(self.relative(phrase.noun, phrase.number)));
        }
        phrase
    }

    /// None, one, or one of each position.
    pub fn adjectives(&mut self, noun: &'static Noun) -> Vec<&'static Adjective> {
        let fitting = |position| move |adjective: &Adjective| adjective.position == position && adjective.fits(noun);
        let mut adjectives = Vec::new();
        let kind = self.below(100);
        if kind < 22 && ADJECTIVES.iter().any(fitting(Position::Before)) {
            adjectives.push(self.pick_where(ADJECTIVES, fitting(Position::Before)));
        }
        if (16..42).contains(&kind) && ADJECTIVES.iter().any(fitting(Position::After)) {
            adjectives.push(self.pick_where(ADJECTIVES, fitting(Position::After)));
        }
        adjectives
    }

    fn relative(&mut self, noun: &'static Noun, number: Number) -> Relative {
        if noun.kinds & ANIMATE != 0 && self.chance(65) {
            let verb = self.pick_where(VERBS, |verb| {
                let short = matches!(verb.frame, Frame::Object | Frame::Feeling | Frame::Alone | Frame::Goal);
                short && verb.subjects & noun.kinds != 0
            });
            let tense = self.plain_tense(verb, false);
            let mut action = self.bare_action(verb, tense, Polarity::Yes);
            match verb.frame {
                Frame::Alone => action.place = Some(self.place(BUILDING | WAY)),
                Frame::Goal => action.place = Some(Place { relation: &GOAL, phrase: self.definite(AT) }),
                _ => action.object = Some(self.object(verb, Size::Short)),
            }
            return Relative::Subject(action);
        }
        let verb = self.pick_where(VERBS, |verb| {
            matches!(verb.frame, Frame::Object | Frame::Feeling) && verb.objects & noun.kinds & ANYTHING != 0
        });
        let subject = self.subject(verb.subjects, false, Size::Short);
        // The past participle would agree with the noun: a form of its own for each verb, too rare to be learnt.
        let tense = match (noun.gender, number) {
            (Gender::Masculine, Number::Singular) => self.plain_tense(verb, subject.hides_gender()),
            _ => Tense::Present,
        };
        Relative::Object { action: self.bare_action(verb, tense, Polarity::Yes), subject }
    }
}
