//! Says a sentence in English.

use super::grammar::*;
use super::lexicon::*;
use super::words::{Words, finish};

/// The English sentence.
pub fn english(sentence: &Sentence) -> String {
    let mut words = Words::default();
    let mut mark = ".";
    match sentence {
        Sentence::Statement(clause) => push_clause(&mut words, clause, false),
        Sentence::Question(clause) => {
            push_clause(&mut words, clause, true);
            mark = "?";
        }
        Sentence::Report { speaker, verb, clause } => {
            push_subject(&mut words, speaker);
            words.push(if is_third_person(speaker.agreement()) { verb.third_person() } else { verb.name() });
            words.push("that");
            push_clause(&mut words, clause, false);
        }
        Sentence::Existence { phrase, past, negated, place } => {
            words.push("there");
            words.push(be(phrase.agreement(), *past));
            if *negated {
                words.push("no");
            }
            push_noun_phrase(&mut words, phrase);
            push_place(&mut words, place);
        }
    }
    finish(&join(&words.0), mark)
}

/// Puts the words together; "a" becomes "an" before a vowel.
fn join(words: &[String]) -> String {
    let mut text = String::new();
    for (nth, word) in words.iter().enumerate() {
        if nth > 0 {
            text.push(' ');
        }
        text.push_str(word);
        if word == "a" && words.get(nth + 1).is_some_and(|next| sounds_like_vowel(next)) {
            text.push('n');
        }
    }
    text
}

fn sounds_like_vowel(word: &str) -> bool {
    let consonants = ["uniform", "useful"];
    word.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O'])
        && !consonants.iter().any(|start| word.starts_with(start))
}

fn push_clause(words: &mut Words, clause: &Clause, question: bool) {
    let agreement = clause.subject.agreement();
    if let Some(Time { phrase, first: true }) = &clause.time {
        words.push(phrase.english);
        words.suffix(",");
    }
    let (auxiliary, rest) = match &clause.predicate {
        Predicate::Action(action) => action_words(action, agreement, question),
        Predicate::Description(description) => description_words(description, agreement),
    };
    if question {
        words.push(auxiliary);
        push_subject(words, &clause.subject);
    } else {
        push_subject(words, &clause.subject);
        words.push(auxiliary);
    }
    words.append(rest);
    if let Some(Time { phrase, first: false }) = &clause.time {
        words.push(phrase.english);
    }
    match &clause.reason {
        None => {}
        Some(Reason::Circumstance(phrase)) => {
            words.push("because");
            words.push(phrase.english);
        }
        Some(Reason::Quality { antecedent, description }) => {
            let (pronoun, agreement) = match (antecedent, clause.predicate.object()) {
                (Antecedent::Object, Some(object)) => (pronoun_for(object), object.agreement()),
                _ => (subject_pronoun(&clause.subject), agreement),
            };
            let (auxiliary, rest) = description_words(description, agreement);
            words.push("because");
            words.push(pronoun);
            words.push(auxiliary);
            words.append(rest);
        }
    }
}

fn pronoun(pronoun: Pronoun) -> &'static str {
    match pronoun {
        Pronoun::I => "I",
        Pronoun::You => "you",
        Pronoun::He => "he",
        Pronoun::She => "she",
        Pronoun::We => "we",
        Pronoun::They => "they",
    }
}

fn pronoun_for(phrase: &NounPhrase) -> &'static str {
    match phrase.number {
        Number::Singular if phrase.noun.kinds & PERSON == 0 => "it",
        _ => pronoun(phrase.agreement().pronoun),
    }
}

fn subject_pronoun(subject: &Subject) -> &'static str {
    match subject {
        Subject::Noun(phrase) => pronoun_for(phrase),
        _ => pronoun(subject.agreement().pronoun),
    }
}

fn push_subject(words: &mut Words, subject: &Subject) {
    match subject {
        Subject::Pronoun(person) => words.push(pronoun(*person)),
        Subject::Noun(phrase) => push_noun_phrase(words, phrase),
        Subject::Both(first, second) => {
            push_noun_phrase(words, first);
            words.push("and");
            push_noun_phrase(words, second);
        }
    }
}

fn push_noun_phrase(words: &mut Words, phrase: &NounPhrase) {
    push_determiner(words, phrase);
    for adjective in &phrase.adjectives {
        words.push(adjective.english);
    }
    words.push(&phrase.noun.english(phrase.number));
    match phrase.relative.as_deref() {
        None => {}
        Some(Relative::Subject(action)) => {
            words.push(if phrase.noun.kinds & PERSON != 0 { "who" } else { "that" });
            push_action(words, action, phrase.agreement());
        }
        Some(Relative::Object { subject, action }) => {
            words.push("that");
            push_subject(words, subject);
            push_action(words, action, subject.agreement());
        }
    }
}

fn push_determiner(words: &mut Words, phrase: &NounPhrase) {
    match &phrase.determiner {
        Determiner::The => words.push("the"),
        Determiner::A => words.push("a"),
        Determiner::Bare | Determiner::Name => {}
        Determiner::This => words.push(if phrase.number == Number::Singular { "this" } else { "these" }),
        Determiner::Every => words.push("every"),
        Determiner::Several => words.push("several"),
        Determiner::Many => words.push("many"),
        Determiner::All => words.push("all the"),
        Determiner::Count(numeral) => words.push(numeral.english),
        Determiner::My(owner) => words.push(match owner {
            Pronoun::I => "my",
            Pronoun::You => "your",
            Pronoun::He => "his",
            Pronoun::She => "her",
            Pronoun::We => "our",
            Pronoun::They => "their",
        }),
        Determiner::Of(owner) => {
            push_noun_phrase(words, owner);
            let ends_in_s = owner.number == Number::Plural && owner.noun.english(Number::Plural).ends_with('s');
            words.suffix(if ends_in_s { "'" } else { "'s" });
        }
    }
}

fn is_third_person(agreement: Agreement) -> bool {
    matches!(agreement.pronoun, Pronoun::He | Pronoun::She)
}

fn be(agreement: Agreement, past: bool) -> &'static str {
    match (agreement.pronoun, past) {
        (Pronoun::I, false) => "am",
        (Pronoun::He | Pronoun::She, false) => "is",
        (_, false) => "are",
        (Pronoun::I | Pronoun::He | Pronoun::She, true) => "was",
        (_, true) => "were",
    }
}

fn push_action(words: &mut Words, action: &Action, agreement: Agreement) {
    let (auxiliary, rest) = action_words(action, agreement, false);
    words.push(auxiliary);
    words.append(rest);
}

/// The auxiliary (perhaps none), which a question puts before the subject, and what follows the subject.
fn action_words(action: &Action, agreement: Agreement, question: bool) -> (&'static str, Words) {
    let verb = action.verb;
    let third = is_third_person(agreement);
    let not = action.polarity == Polarity::Not;
    let helped = not || question;
    let does = if third { "does" } else { "do" };
    let (auxiliary, lead, main) = match action.tense {
        Tense::Present if helped => (does, "", verb.name()),
        Tense::Present => ("", "", if third { verb.third_person() } else { verb.name() }),
        Tense::Past if helped => ("did", "", verb.name()),
        Tense::Past => ("", "", verb.past().unwrap_or(verb.name())),
        Tense::Future => (be(agreement, false), "going to", verb.name()),
        Tense::Can => (if not { "cannot" } else { "can" }, "", verb.name()),
        Tense::Must => ("must", "", verb.name()),
        Tense::Want if helped => (does, "want to", verb.name()),
        Tense::Want => ("", if third { "wants to" } else { "want to" }, verb.name()),
    };
    let mut rest = Words::default();
    match action.polarity {
        Polarity::Not if action.tense != Tense::Can => rest.push("not"),
        Polarity::Never => rest.push("never"),
        _ => {}
    }
    rest.push(lead);
    if let Some(adverb) = action.adverb {
        rest.push(adverb.english);
    }
    rest.push(main);
    rest.push(verb.particle);
    if let Some(object) = &action.object {
        push_noun_phrase(&mut rest, object);
    }
    if let Some(recipient) = &action.recipient {
        rest.push("to");
        push_noun_phrase(&mut rest, recipient);
    }
    if let Some(manner) = action.manner {
        rest.push(manner.english);
    }
    if let Some(place) = &action.place {
        push_place(&mut rest, place);
    }
    (auxiliary, rest)
}

fn description_words(description: &Description, agreement: Agreement) -> (&'static str, Words) {
    let Description { adjective, degree, past, negated } = description;
    let mut rest = Words::default();
    if *negated {
        rest.push("not");
    }
    match degree {
        Degree::Plain => rest.push(adjective.english),
        Degree::By(degree) => {
            rest.push(degree.english);
            rest.push(adjective.english);
        }
        Degree::As(other) => {
            rest.push("as");
            rest.push(adjective.english);
            rest.push("as");
            push_noun_phrase(&mut rest, other);
        }
        Degree::More(other) => {
            rest.push(adjective.comparative);
            rest.push("than");
            push_noun_phrase(&mut rest, other);
        }
    }
    (be(agreement, *past), rest)
}

fn push_place(words: &mut Words, place: &Place) {
    words.push(place.relation.phrase.english);
    push_noun_phrase(words, &place.phrase);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_goes_before_the_sound_of_a_vowel() {
        for (noun, article) in [("apple", "an"), ("owl", "an"), ("English", "an"), ("uniform", "a"), ("umbrella", "an")]
        {
            let words = ["a", noun].map(String::from);
            assert_eq!(join(&words), format!("{article} {noun}"));
        }
    }
}
