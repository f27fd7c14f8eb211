//! Says a sentence in French.

use super::grammar::*;
use super::lexicon::*;
use super::verbs::{ALLER, AVOIR, AVOIR_PAST, DEVOIR, ETRE, ETRE_PAST, POUVOIR, VOULOIR};
use super::words::{Words, finish};

/// The French sentence.
pub fn french(sentence: &Sentence) -> String {
    let mut words = Words::default();
    let mut mark = ".";
    match sentence {
        Sentence::Statement(clause) => push_clause(&mut words, clause),
        Sentence::Question(clause) => {
            words.push("est-ce que");
            push_clause(&mut words, clause);
            mark = " ?";
        }
        Sentence::Report { speaker, verb, clause } => {
            push_subject(&mut words, speaker);
            words.push(&verb.french.form(person(speaker.agreement())));
            words.push("que");
            push_clause(&mut words, clause);
        }
        Sentence::Existence { phrase, past, negated, place } => {
            let (be, sense) = match (past, negated) {
                (false, false) => ("il y a", Sense::Some),
                (false, true) => ("il ne y a pas", Sense::No),
                (true, false) => ("il y avait", Sense::Some),
                (true, true) => ("il ne y avait pas", Sense::No),
            };
            words.push(be);
            push_noun_phrase(&mut words, phrase, sense);
            push_place(&mut words, place);
        }
    }
    finish(&join(&words.0), mark)
}

/// Puts the words together, with elisions and contractions: "le homme" is "l'homme", "de le chat" is "du chat".
fn join(words: &[String]) -> String {
    let mut text = String::new();
    let mut rest = words;
    while let [word, tail @ ..] = rest {
        rest = tail;
        let next = tail.first().map_or("", String::as_str);
        let article_elides = tail.get(1).is_some_and(|after| sounds_like_vowel(after));
        let contraction = match (word.as_str(), next) {
            ("de", "le") if !article_elides => Some("du"),
            ("de", "les") => Some("des"),
            ("à", "le") if !article_elides => Some("au"),
            ("à", "les") => Some("aux"),
            _ => None,
        };
        if let Some(contraction) = contraction {
            text.push_str(contraction);
            rest = &tail[1..];
        } else if elides(word) && sounds_like_vowel(next) {
            text.push_str(&word[..word.len() - 1]);
            text.push('\'');
            continue;
        } else {
            text.push_str(word);
        }
        if !rest.is_empty() {
            text.push(' ');
        }
    }
    text
}

fn elides(word: &str) -> bool {
    ["le", "la", "de", "ne", "que", "je"].contains(&word)
}

/// Whether an article or a pronoun before the word loses its vowel; an aspirated h is a consonant here.
fn sounds_like_vowel(word: &str) -> bool {
    let aspirated = ["hibou", "hache", "huit"];
    let first = word.chars().next().unwrap_or(' ').to_lowercase().next().unwrap_or(' ');
    word == "y" || ("aàâeéèêiîoôœuh".contains(first) && !aspirated.iter().any(|start| word.starts_with(start)))
}

/// What an object without a definite article means, which decides how French begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    /// Some of it: "un chien", "des chiens", "du lait".
    Some,
    /// None of it, after a negation: "de chien", "de lait".
    No,
    /// All of its kind, which is liked or hated: "les chiens", "le lait".
    Kind,
}

fn person(agreement: Agreement) -> Form {
    match agreement.pronoun {
        Pronoun::I => Form::Je,
        Pronoun::You => Form::Vous,
        Pronoun::He | Pronoun::She => Form::Il,
        Pronoun::We => Form::Nous,
        Pronoun::They => Form::Ils,
    }
}

fn pronoun(agreement: Agreement) -> &'static str {
    match (agreement.pronoun, agreement.gender) {
        (Pronoun::I, _) => "je",
        (Pronoun::You, _) => "vous",
        (Pronoun::He, _) => "il",
        (Pronoun::She, _) => "elle",
        (Pronoun::We, _) => "nous",
        (Pronoun::They, Gender::Masculine) => "ils",
        (Pronoun::They, Gender::Feminine) => "elles",
    }
}

fn push_clause(words: &mut Words, clause: &Clause) {
    let agreement = clause.subject.agreement();
    if let Some(Time { phrase, first: true }) = &clause.time {
        words.push(phrase.french);
        words.suffix(",");
    }
    push_subject(words, &clause.subject);
    match &clause.predicate {
        Predicate::Action(action) => push_action(words, action, agreement),
        Predicate::Description(description) => push_description(words, description, agreement),
    }
    if let Some(Time { phrase, first: false }) = &clause.time {
        words.push(phrase.french);
    }
    match &clause.reason {
        None => {}
        Some(Reason::Circumstance(phrase)) => {
            words.push("parce que");
            words.push(phrase.french);
        }
        Some(Reason::Quality { antecedent, description }) => {
            let agreement = match (antecedent, clause.predicate.object()) {
                (Antecedent::Object, Some(object)) => object.agreement(),
                _ => agreement,
            };
            words.push("parce que");
            words.push(pronoun(agreement));
            push_description(words, description, agreement);
        }
    }
}

fn push_subject(words: &mut Words, subject: &Subject) {
    match subject {
        Subject::Pronoun(_) => words.push(pronoun(subject.agreement())),
        Subject::Noun(phrase) => push_noun_phrase(words, phrase, Sense::Some),
        Subject::Both(first, second) => {
            push_noun_phrase(words, first, Sense::Some);
            words.push("et");
            push_noun_phrase(words, second, Sense::Some);
        }
    }
}

fn push_noun_phrase(words: &mut Words, phrase: &NounPhrase, sense: Sense) {
    let group = noun_group(phrase);
    push_determiner(words, phrase, sense, &group.0[0]);
    words.append(group);
    if let Determiner::Of(owner) = &phrase.determiner {
        words.push("de");
        push_noun_phrase(words, owner, Sense::Some);
    }
    match phrase.relative.as_deref() {
        None => {}
        Some(Relative::Subject(action)) => {
            words.push("qui");
            push_action(words, action, phrase.agreement());
        }
        Some(Relative::Object { subject, action }) => {
            words.push("que");
            push_subject(words, subject);
            push_action(words, action, subject.agreement());
        }
    }
}

/// The noun and its adjectives, each at its place.
fn noun_group(phrase: &NounPhrase) -> Words {
    let NounPhrase { noun, number, .. } = phrase;
    let name = noun.french(*number);
    let singular_man = (noun.gender, *number) == (Gender::Masculine, Number::Singular);
    let mut group = Words::default();
    let (before, after): (Vec<&Adjective>, Vec<_>) =
        phrase.adjectives.iter().copied().partition(|adjective| adjective.position == Position::Before);
    for adjective in before {
        match adjective.before_vowel() {
            Some(form) if singular_man && sounds_like_vowel(&name) => group.push(form),
            _ => group.push(&adjective.french(noun.gender, *number)),
        }
    }
    group.push(&name);
    for adjective in after {
        group.push(&adjective.french(noun.gender, *number));
    }
    group
}

/// The determiner; `next` is the word that it stands before.
fn push_determiner(words: &mut Words, phrase: &NounPhrase, sense: Sense, next: &str) {
    let gender = phrase.noun.gender;
    let pick = |masculine, feminine, plural| match (phrase.number, gender) {
        (Number::Plural, _) => plural,
        (Number::Singular, Gender::Masculine) => masculine,
        (Number::Singular, Gender::Feminine) => feminine,
    };
    let the = pick("le", "la", "les");
    let begins_with_adjective = phrase.adjectives.iter().any(|adjective| adjective.position == Position::Before);
    match &phrase.determiner {
        Determiner::Name => {}
        Determiner::A | Determiner::Bare if sense == Sense::No => words.push("de"),
        Determiner::A => words.push(pick("un", "une", "des")),
        Determiner::Bare if sense == Sense::Kind => words.push(the),
        Determiner::Bare => match phrase.number {
            Number::Singular => words.push(&format!("de {the}")),
            Number::Plural if begins_with_adjective => words.push("de"),
            Number::Plural => words.push("des"),
        },
        Determiner::The | Determiner::Of(_) => words.push(the),
        Determiner::This if sounds_like_vowel(next) => words.push(pick("cet", "cette", "ces")),
        Determiner::This => words.push(pick("ce", "cette", "ces")),
        Determiner::Every => words.push("chaque"),
        Determiner::Several => words.push("plusieurs"),
        Determiner::Many => words.push("beaucoup de"),
        Determiner::All if gender == Gender::Feminine => words.push("toutes les"),
        Determiner::All => words.push("tous les"),
        Determiner::Count(numeral) => words.push(numeral.french),
        Determiner::My(owner) => {
            let (masculine, feminine, plural) = match owner {
                Pronoun::I => ("mon", "ma", "mes"),
                Pronoun::He | Pronoun::She => ("son", "sa", "ses"),
                Pronoun::You => ("votre", "votre", "vos"),
                Pronoun::We => ("notre", "notre", "nos"),
                Pronoun::They => ("leur", "leur", "leurs"),
            };
            words.push(pick(masculine, if sounds_like_vowel(next) { masculine } else { feminine }, plural));
        }
    }
}

/// The verb with what follows it. The participle agrees with the subject if the auxiliary is "être"; it would agree
/// with an object that stands before "avoir", too, but only masculine singulars, which leave it as it is, stand there.
fn push_action(words: &mut Words, action: &Action, agreement: Agreement) {
    let verb = action.verb;
    let person = person(agreement);
    let infinitive = || Some(verb.french.form(Form::Infinitive));
    let (finite, second) = match action.tense {
        Tense::Present => (verb.french.form(person), None),
        Tense::Past => match verb.auxiliary {
            Auxiliary::Avoir => (AVOIR.form(person), Some(verb.french.form(Form::Participle))),
            Auxiliary::Etre => (ETRE.form(person), Some(agreeing_participle(verb, agreement))),
        },
        Tense::Future => (ALLER.form(person), infinitive()),
        Tense::Can => (POUVOIR.form(person), infinitive()),
        Tense::Must => (DEVOIR.form(person), infinitive()),
        Tense::Want => (VOULOIR.form(person), infinitive()),
    };
    let negation = match action.polarity {
        Polarity::Yes => "",
        Polarity::Not => "pas",
        Polarity::Never => "jamais",
    };
    push_negated(words, &finite, negation);
    if let Some(adverb) = action.adverb {
        words.push(adverb.french);
    }
    if let Some(second) = second {
        words.push(&second);
    }
    if let Some(object) = &action.object {
        let sense = match action.polarity {
            _ if verb.frame == Frame::Feeling => Sense::Kind,
            Polarity::Yes => Sense::Some,
            Polarity::Not | Polarity::Never => Sense::No,
        };
        push_noun_phrase(words, object, sense);
    }
    if let Some(recipient) = &action.recipient {
        words.push("à");
        push_noun_phrase(words, recipient, Sense::Some);
    }
    if let Some(manner) = action.manner {
        words.push(manner.french);
    }
    if let Some(place) = &action.place {
        push_place(words, place);
    }
}

fn agreeing_participle(verb: &Verb, agreement: Agreement) -> String {
    let mut form = verb.french.form(Form::Participle);
    if agreement.gender == Gender::Feminine {
        form.push('e');
    }
    match agreement.pronoun.number() {
        Number::Singular => form,
        Number::Plural => french_plural(&form),
    }
}

fn push_negated(words: &mut Words, finite: &str, negation: &str) {
    if !negation.is_empty() {
        words.push("ne");
    }
    words.push(finite);
    words.push(negation);
}

fn push_description(words: &mut Words, description: &Description, agreement: Agreement) {
    let Description { adjective, degree, past, negated } = description;
    let verb = match (adjective.position, past) {
        (Position::Have, false) => AVOIR,
        (Position::Have, true) => AVOIR_PAST,
        (_, false) => ETRE,
        (_, true) => ETRE_PAST,
    };
    push_negated(words, &verb.form(person(agreement)), if *negated { "pas" } else { "" });
    match degree {
        Degree::Plain => {}
        Degree::By(degree) => words.push(degree.french),
        Degree::As(_) => words.push("aussi"),
        Degree::More(_) => words.push("plus"),
    }
    words.push(&adjective.french(agreement.gender, agreement.pronoun.number()));
    if let Degree::As(other) | Degree::More(other) = degree {
        words.push("que");
        push_noun_phrase(words, other, Sense::Some);
    }
}

fn push_place(words: &mut Words, place: &Place) {
    words.push(place.relation.phrase.french);
    push_noun_phrase(words, &place.phrase, Sense::Some);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> String {
        join(&text.split(' ').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn words_elide_and_contract() {
        assert_eq!(joined("la eau de le homme"), "l'eau de l'homme");
        assert_eq!(joined("je ne ai pas de le lait"), "je n'ai pas du lait");
        assert_eq!(joined("la porte de les amis"), "la porte des amis");
        assert_eq!(joined("à le hibou et à les enfants"), "au hibou et aux enfants");
        assert_eq!(joined("parce que il ne y a pas de hache"), "parce qu'il n'y a pas de hache");
        assert_eq!(joined("la œuvre que huit hommes"), "l'œuvre que huit hommes");
        assert_eq!(joined("parce que Emma est près de Oscar"), "parce qu'Emma est près d'Oscar");
    }
}
