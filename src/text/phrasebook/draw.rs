//! Draws sentences at random: everything that the grammar allows and that can be translated in one way only.

mod phrases;

use super::adjectives::{ADJECTIVES, DEGREES};
use super::grammar::*;
use super::lexicon::*;
use super::verbs::{
    CIRCUMSTANCES, FUTURE_TIMES, GOAL, MANNERS, NUMERALS, PAST_ADVERBS, PAST_TIMES, PRESENT_ADVERBS, PRESENT_TIMES,
    VERBS,
};
use phrases::Size;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The source of sentences.
pub struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    /// A source that gives the same sentences for the same seed on every platform.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Draw { rng: ChaCha8Rng::from_seed(bytes) }
    }

    /// The next sentence.
    pub fn sentence(&mut self) -> Sentence {
        match self.below(100) {
            0..10 => Sentence::Question(self.question()),
            10..19 => self.report(),
            19..26 => self.existence(),
            _ => Sentence::Statement(self.statement()),
        }
    }

    /// A number below the bound, by a multiplication that gives the same everywhere.
    fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.rng.next_u32()) * bound as u64) >> 32) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T>(&mut self, items: &'static [T]) -> &'static T {
        &items[self.below(items.len())]
    }

    /// One of the items that pass; the lexicon has some for everything that is asked for.
    fn pick_where<T>(&mut self, items: &'static [T], pass: impl Fn(&T) -> bool) -> &'static T {
        loop {
            let item = self.pick(items);
            if pass(item) {
                return item;
            }
        }
    }

    fn statement(&mut self) -> Clause {
        let mut clause = self.clause(true);
        if self.chance(30) {
            clause.reason = self.reason(&clause);
        }
        clause
    }

    fn question(&mut self) -> Clause {
        let mut clause = self.clause(false);
        if let Some(time) = &mut clause.time {
            time.first = false;
        }
        clause
    }

    fn report(&mut self) -> Sentence {
        let speaker = self.subject(PERSON, false, Size::Short);
        let verb = self.pick_where(VERBS, |verb| verb.frame == Frame::Report);
        let clause = loop {
            let mut clause = self.clause(true);
            // Whom "he", "she" or "they" meant would be open.
            let open = matches!(clause.subject, Subject::Pronoun(Pronoun::He | Pronoun::She | Pronoun::They));
            clause.time = clause.time.filter(|time| !time.first);
            if !open {
                break clause;
            }
        };
        Sentence::Report { speaker, verb, clause }
    }

    fn existence(&mut self) -> Sentence {
        let noun = self.noun(ANIMATE | FOOD | OBJECT | CLOTHES);
        let negated = self.chance(25);
        let (determiner, number) = match self.below(10) {
            _ if negated || noun.kinds & MASS != 0 => (Determiner::Bare, self.number(noun)),
            0 => (Determiner::Bare, Number::Plural),
            1..3 => (Determiner::Several, Number::Plural),
            3 => (Determiner::Many, Number::Plural),
            4..7 => (Determiner::Count(self.pick(NUMERALS)), Number::Plural),
            _ => (Determiner::A, Number::Singular),
        };
        let adjectives = self.adjectives(noun);
        let phrase = NounPhrase { determiner, number, adjectives, noun, relative: None };
        Sentence::Existence { phrase, past: self.chance(35), negated, place: self.place(ANYTHING) }
    }

    fn clause(&mut self, may_negate: bool) -> Clause {
        if self.chance(22) { self.description_clause(may_negate) } else { self.action_clause(may_negate) }
    }

    fn action_clause(&mut self, may_negate: bool) -> Clause {
        let verb = self.pick_where(VERBS, |verb| verb.frame != Frame::Report);
        let polarity = if may_negate { self.polarity() } else { Polarity::Yes };
        let subject = self.subject(verb.subjects, polarity != Polarity::Yes, Size::Full);
        let action = self.action(verb, polarity, &subject);
        let has_adverb = action.adverb.is_some() || polarity == Polarity::Never;
        // At the end it would be the time of the relative clause.
        let time = if has_adverb || ends_in_relative(&action) || !self.chance(34) {
            None
        } else {
            Some(self.time(action.tense))
        };
        Clause { subject, predicate: Predicate::Action(action), time, reason: None }
    }

    fn polarity(&mut self) -> Polarity {
        match self.below(100) {
            0..18 => Polarity::Not,
            18..23 => Polarity::Never,
            _ => Polarity::Yes,
        }
    }

    fn action(&mut self, verb: &'static Verb, polarity: Polarity, subject: &Subject) -> Action {
        let tense = match self.below(100) {
            0..13 if polarity != Polarity::Never => *self.pick(&[Tense::Can, Tense::Must, Tense::Want]),
            13..19 if polarity != Polarity::Never => Tense::Future,
            _ => self.plain_tense(verb, subject.hides_gender()),
        };
        let mut action = self.bare_action(verb, tense, polarity);
        match verb.frame {
            Frame::Object => {
                action.object = Some(self.object(verb, Size::Full));
                if !ends_in_relative(&action) && self.chance(15) {
                    action.place = Some(self.place(BUILDING | WAY));
                }
            }
            Frame::Feeling => action.object = Some(self.object(verb, Size::Full)),
            Frame::Gift => {
                action.object = Some(self.object(verb, Size::Short));
                action.recipient = Some(self.definite(PERSON));
            }
            Frame::Alone => {
                action.manner = if self.chance(25) { Some(self.pick(MANNERS)) } else { None };
                action.place = if self.chance(80) { Some(self.place(BUILDING | WAY)) } else { None };
            }
            Frame::Goal => {
                action.place = Some(Place { relation: &GOAL, phrase: self.definite(AT) });
            }
            Frame::Report => unreachable!("a report is not an action"),
        }
        action
    }

    /// The present or, where both languages have a clear one, the past.
    fn plain_tense(&mut self, verb: &Verb, hides_gender: bool) -> Tense {
        // With "être" the participle has four forms, so it is drawn more often.
        let (past, unclear) = match verb.auxiliary {
            Auxiliary::Etre => (65, hides_gender),
            Auxiliary::Avoir => (40, verb.past().is_none()),
        };
        if !unclear && self.chance(past) { Tense::Past } else { Tense::Present }
    }

    /// The verb without complements.
    fn bare_action(&mut self, verb: &'static Verb, tense: Tense, polarity: Polarity) -> Action {
        let adverb = match tense {
            Tense::Present if polarity == Polarity::Yes && self.chance(15) => Some(self.pick(PRESENT_ADVERBS)),
            Tense::Past if polarity == Polarity::Yes && self.chance(10) => Some(self.pick(PAST_ADVERBS)),
            _ => None,
        };
        Action { verb, tense, polarity, adverb, object: None, recipient: None, manner: None, place: None }
    }

    fn time(&mut self, tense: Tense) -> Time {
        let phrases = match tense {
            Tense::Present => PRESENT_TIMES,
            Tense::Past => PAST_TIMES,
            Tense::Future | Tense::Can | Tense::Must | Tense::Want => FUTURE_TIMES,
        };
        Time { phrase: self.pick(phrases), first: self.chance(35) }
    }

    fn description_clause(&mut self, may_negate: bool) -> Clause {
        let adjective = self.pick(ADJECTIVES);
        let negated = may_negate && self.chance(20);
        let subject = loop {
            let subject = self.subject(adjective.kinds & ANYTHING, negated, Size::Full);
            let fits = match &subject {
                Subject::Pronoun(_) => adjective.position == Position::Have || !subject.hides_gender(),
                Subject::Noun(phrase) => adjective.fits(phrase.noun) && says_more(phrase, adjective),
                Subject::Both(first, second) => adjective.fits(first.noun) && adjective.fits(second.noun),
            };
            if fits {
                break subject;
            }
        };
        let degree = match self.below(100) {
            _ if adjective.comparative.is_empty() => Degree::Plain,
            0..28 => Degree::By(self.pick(DEGREES)),
            28..42 => Degree::As(self.compared(adjective)),
            42..70 => Degree::More(self.compared(adjective)),
            _ => Degree::Plain,
        };
        let description = Description { adjective, degree, past: self.chance(40), negated };
        Clause { subject, predicate: Predicate::Description(description), time: None, reason: None }
    }

    /// What something is compared with.
    fn compared(&mut self, adjective: &Adjective) -> NounPhrase {
        loop {
            let phrase = self.definite(adjective.kinds & ANYTHING);
            if adjective.fits(phrase.noun) {
                return phrase;
            }
        }
    }

    /// A reason, if the clause leaves no doubt about what a pronoun means.
    fn reason(&mut self, clause: &Clause) -> Option<Reason> {
        let Predicate::Action(action) = &clause.predicate else { return None };
        let past = match action.tense {
            Tense::Past => true,
            Tense::Present => false,
            _ => return None,
        };
        let ends_in_time = clause.time.as_ref().is_some_and(|time| !time.first);
        if ends_in_time || ends_in_relative(action) {
            return None;
        }
        if self.chance(20) {
            return Some(Reason::Circumstance(&self.pick(CIRCUMSTANCES)[usize::from(past)]));
        }
        let object = clause.predicate.object().filter(|object| object.noun.kinds & ANIMATE == 0);
        let (antecedent, adjective) = match (object, action.verb.frame) {
            (Some(object), Frame::Object | Frame::Feeling) if is_definite(object) && self.chance(55) => {
                let own = |adjective: &Adjective| adjective.kinds & ANIMATE == 0 && adjective.fits(object.noun);
                (Antecedent::Object, self.pick_where(ADJECTIVES, own))
            }
            (Some(_), Frame::Object | Frame::Feeling) | (None, Frame::Alone | Frame::Goal) => {
                let shared = if is_human(&clause.subject) { PERSON } else { ANIMAL };
                let hides_gender = clause.subject.hides_gender();
                let own = |adjective: &Adjective| {
                    let lives = adjective.kinds & INANIMATE == 0 && adjective.kinds & shared != 0;
                    lives && (!hides_gender || adjective.position == Position::Have)
                };
                (Antecedent::Subject, self.pick_where(ADJECTIVES, own))
            }
            _ => return None,
        };
        let degree = match self.below(10) {
            _ if adjective.comparative.is_empty() => Degree::Plain,
            0..3 => Degree::Plain,
            _ => Degree::By(self.pick(DEGREES)),
        };
        let description = Description { adjective, degree, past, negated: false };
        Some(Reason::Quality { antecedent, description })
    }
}

/// Whether what follows would seem to belong to a relative clause.
fn ends_in_relative(action: &Action) -> bool {
    action.object.as_ref().is_some_and(|object| object.relative.is_some())
}

/// Whether a phrase means something in particular, which can have a quality that is a reason.
fn is_definite(phrase: &NounPhrase) -> bool {
    matches!(phrase.determiner, Determiner::The | Determiner::This | Determiner::My(_) | Determiner::Of(_))
}

fn is_human(subject: &Subject) -> bool {
    match subject {
        Subject::Noun(phrase) => phrase.noun.kinds & PERSON != 0,
        Subject::Pronoun(_) | Subject::Both(..) => true,
    }
}

/// Whether the phrase does not yet contain the adjective.
fn says_more(phrase: &NounPhrase, adjective: &Adjective) -> bool {
    phrase.adjectives.iter().all(|other| other.english != adjective.english)
}
