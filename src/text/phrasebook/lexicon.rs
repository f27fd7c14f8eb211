//! What a word is: its forms in both languages and what it may stand next to.

use super::adjectives::MISLEADING;

/// The kinds of things that a noun names, one bit each; verbs, adjectives and places choose their nouns by them.
pub type Kinds = u32;

/// Who says "I"; only these have names.
pub const PERSON: Kinds = 1;
/// What acts and is "it".
pub const ANIMAL: Kinds = 1 << 1;
/// What is eaten.
pub const FOOD: Kinds = 1 << 2;
/// What is drunk.
pub const DRINK: Kinds = 1 << 3;
/// What is worn.
pub const CLOTHES: Kinds = 1 << 4;
/// Furniture, tools and other things.
pub const OBJECT: Kinds = 1 << 5;
/// What is read.
pub const TEXT: Kinds = 1 << 6;
/// What is driven.
pub const VEHICLE: Kinds = 1 << 7;
/// What is built and visited.
pub const BUILDING: Kinds = 1 << 8;
/// What one crosses: a street, a river, a field.
pub const WAY: Kinds = 1 << 9;
/// What opens and closes, in addition to what it is.
pub const OPENING: Kinds = 1 << 10;
/// What can be repaired, in addition to what it is.
pub const MACHINE: Kinds = 1 << 11;
/// Not counted: it takes no plural, and its bare singular is a partitive in French.
pub const MASS: Kinds = 1 << 12;
/// A place that takes "in" and "dans".
pub const IN: Kinds = 1 << 13;
/// A place that takes "at" and "à", and that one goes "to".
pub const AT: Kinds = 1 << 14;
/// A place that takes "on" and "sur".
pub const ON: Kinds = 1 << 15;
/// A place that takes "under" and "sous".
pub const UNDER: Kinds = 1 << 16;

/// What acts: the subjects of most verbs.
pub const ANIMATE: Kinds = PERSON | ANIMAL;
/// What one can own and carry away.
pub const GOODS: Kinds = FOOD | DRINK | CLOTHES | OBJECT | TEXT;
/// Whatever does not act.
pub const INANIMATE: Kinds = GOODS | VEHICLE | BUILDING | WAY;
/// Everything that a noun can name.
pub const ANYTHING: Kinds = ANIMATE | INANIMATE;

/// The gender of a French noun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gender {
    Masculine,
    Feminine,
}

/// One or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    Singular,
    Plural,
}

/// Words that are translated as they stand: adverbs, times, numerals.
#[derive(Debug)]
pub struct Phrase {
    pub english: &'static str,
    pub french: &'static str,
}

/// A [`Phrase`].
pub const fn phrase(english: &'static str, french: &'static str) -> Phrase {
    Phrase { english, french }
}

/// A noun or a name.
#[derive(Debug)]
pub struct Noun {
    /// The singular, followed by "/" and the plural where that is irregular.
    english: &'static str,
    french: &'static str,
    pub gender: Gender,
    pub kinds: Kinds,
}

/// A [`Noun`].
pub const fn noun(gender: Gender, english: &'static str, french: &'static str, kinds: Kinds) -> Noun {
    Noun { english, french, gender, kinds }
}

impl Noun {
    /// The English singular, which names the noun in keys.
    pub fn name(&self) -> &'static str {
        self.english.split('/').next().unwrap_or(self.english)
    }

    /// The English form.
    pub fn english(&self, number: Number) -> String {
        match (number, self.english.split_once('/')) {
            (Number::Singular, _) => self.name().into(),
            (Number::Plural, Some((_, plural))) => plural.into(),
            (Number::Plural, None) => english_plural(self.english),
        }
    }

    /// The French form.
    pub fn french(&self, number: Number) -> String {
        match number {
            Number::Singular => self.french.into(),
            Number::Plural => french_plural(self.french),
        }
    }
}

/// Where an adjective stands in French.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Before,
    After,
    /// It is no adjective there but the object of "avoir": "hungry" is "avoir faim".
    Have,
}

/// An adjective.
#[derive(Debug)]
pub struct Adjective {
    pub english: &'static str,
    /// The English comparative; empty where no degree makes sense.
    pub comparative: &'static str,
    /// The masculine, the feminine and, for a few, the masculine before a vowel, separated by spaces.
    french: &'static str,
    pub position: Position,
    pub kinds: Kinds,
}

/// An [`Adjective`].
pub const fn adjective(
    position: Position,
    english: &'static str,
    comparative: &'static str,
    french: &'static str,
    kinds: Kinds,
) -> Adjective {
    Adjective { english, comparative, french, position, kinds }
}

impl Adjective {
    /// Whether it can be said of the noun.
    pub fn fits(&self, noun: &Noun) -> bool {
        let misleads =
            MISLEADING.iter().any(|(english, nouns)| *english == self.english && nouns.contains(&noun.name()));
        let matter_fits = noun.kinds & MASS == 0 || self.kinds & MASS != 0;
        self.kinds & noun.kinds & ANYTHING != 0 && matter_fits && !misleads
    }

    /// The form that agrees; a noun that "avoir" takes never changes.
    pub fn french(&self, gender: Gender, number: Number) -> String {
        let mut forms = self.french.split(' ');
        let masculine = forms.next().unwrap_or_default();
        let form = match gender {
            Gender::Masculine => masculine,
            Gender::Feminine => forms.next().unwrap_or(masculine),
        };
        match number {
            Number::Plural if self.position != Position::Have => french_plural(form),
            _ => form.into(),
        }
    }

    /// The masculine singular that stands before a vowel, where it differs: "bel", "vieil", "nouvel".
    pub fn before_vowel(&self) -> Option<&'static str> {
        self.french.split(' ').nth(2)
    }
}

/// What a verb takes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An object.
    Object,
    /// An object that is loved or hated: without an article it means all of its kind, so French says "les".
    Feeling,
    /// An object and somebody who gets it.
    Gift,
    /// Nothing but places and times.
    Alone,
    /// The place that the movement leads to.
    Goal,
    /// A sentence.
    Report,
}

/// The auxiliary of the passé composé.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auxiliary {
    Avoir,
    Etre,
}

/// The forms of a French verb: five persons of the present (there is no "tu"), the participle and the infinitive.
#[derive(Clone, Copy, Debug)]
pub enum Conjugation {
    /// The stem of a regular verb in -er.
    Er(&'static str),
    /// All seven, separated by spaces.
    Forms(&'static str),
}

/// One of the forms of a [`Conjugation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Je,
    Il,
    Nous,
    Vous,
    Ils,
    Participle,
    Infinitive,
}

impl Conjugation {
    /// The form as it is written.
    pub fn form(self, form: Form) -> String {
        let nth = form as usize;
        match self {
            Conjugation::Er(stem) => format!("{stem}{}", ["e", "e", "ons", "ez", "ent", "é", "er"][nth]),
            Conjugation::Forms(forms) => forms.split(' ').nth(nth).expect("a verb has all seven forms").into(),
        }
    }
}

/// A verb.
#[derive(Debug)]
pub struct Verb {
    /// The base, the third person and the past, separated by "/". The past is missing where a reader could not tell it
    /// from the present ("read") or where the passé composé does not translate it ("knew").
    english: &'static str,
    /// The preposition that English puts before the object, where French has none, or before the goal.
    pub particle: &'static str,
    pub french: Conjugation,
    pub auxiliary: Auxiliary,
    pub frame: Frame,
    pub subjects: Kinds,
    pub objects: Kinds,
}

impl Verb {
    /// A verb without preposition that takes "avoir".
    pub const fn new(
        frame: Frame,
        english: &'static str,
        french: Conjugation,
        subjects: Kinds,
        objects: Kinds,
    ) -> Self {
        Verb { english, particle: "", french, auxiliary: Auxiliary::Avoir, frame, subjects, objects }
    }

    /// The same verb with a preposition.
    pub const fn with(self, particle: &'static str) -> Self {
        Verb { particle, ..self }
    }

    /// The same verb with "être" in the passé composé.
    pub const fn with_etre(self) -> Self {
        Verb { auxiliary: Auxiliary::Etre, ..self }
    }

    /// The base form, which names the verb in keys.
    pub fn name(&self) -> &'static str {
        self.part(0).unwrap_or(self.english)
    }

    /// "Buys".
    pub fn third_person(&self) -> &'static str {
        self.part(1).unwrap_or(self.english)
    }

    /// "Bought", if the verb has a past here.
    pub fn past(&self) -> Option<&'static str> {
        self.part(2)
    }

    fn part(&self, nth: usize) -> Option<&'static str> {
        self.english.split('/').nth(nth)
    }
}

fn english_plural(noun: &str) -> String {
    if ["s", "x", "ch", "sh"].iter().any(|end| noun.ends_with(end)) {
        return format!("{noun}es");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

/// The plural of a noun, an adjective or a participle; the lexicon has no other irregular words.
pub fn french_plural(word: &str) -> String {
    if word.ends_with(['s', 'x']) {
        word.into()
    } else if word.ends_with("eau") || word == "hibou" {
        format!("{word}x")
    } else if let Some(stem) = word.strip_suffix("al") {
        format!("{stem}aux")
    } else {
        format!("{word}s")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{adjectives::ADJECTIVES, nouns::NOUNS, verbs::VERBS};
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn plurals_follow_the_rules() {
        let cases = [("dog", "dogs"), ("bus", "buses"), ("baby", "babies"), ("toy", "toys"), ("church", "churches")];
        for (singular, plural) in cases {
            assert_eq!(english_plural(singular), plural);
        }
        let cases = [("cheval", "chevaux"), ("oiseau", "oiseaux"), ("hibou", "hiboux"), ("souris", "souris")];
        for (singular, plural) in cases {
            assert_eq!(french_plural(singular), plural);
        }
    }

    #[test]
    fn words_are_written_once_and_completely() {
        let nouns: HashSet<_> = NOUNS.iter().map(Noun::name).collect();
        assert_eq!(nouns.len(), NOUNS.len());
        let adjectives: HashSet<_> = ADJECTIVES.iter().map(|adjective| adjective.english).collect();
        assert_eq!(adjectives.len(), ADJECTIVES.len());
        for adjective in ADJECTIVES {
            assert!(NOUNS.iter().any(|noun| adjective.fits(noun)), "{adjective:?} fits no noun");
        }
        for verb in VERBS {
            assert!(verb.english.split('/').count() >= 2, "{verb:?} has no third person");
            if let Conjugation::Forms(forms) = verb.french {
                assert_eq!(forms.split(' ').count(), 7, "{verb:?}");
            }
        }
    }
}
