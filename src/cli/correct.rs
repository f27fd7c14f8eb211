//! `seqloom correct`: the words of a text, one by one, by a model that has learned to correct words.

use super::run_dir::RunDir;
use super::translate::load;
use super::{DeviceArgs, files};
use clap::Args;
use pollster::block_on;
use seqloom::error::{Error, Result};
use seqloom::models::spelling;
use seqloom::network::trained_length;
use seqloom::text::corpus;
use seqloom::text::tokenizer::Tokenizer;
use seqloom::text::words::{Case, Piece, pieces};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Arguments of `correct`.
#[derive(Args)]
pub struct Correct {
    /// The run directory of a model that was trained on pairs of a word as it is typed and as it should be
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A file of words, one a line, that are right as they are, besides those that the run has kept
    #[arg(long, value_name = "FILE")]
    known: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Bytes of a word that the model is asked about at most: what is longer takes long to be cut into tokens, and is none.
const MOST_BYTES: usize = 1 << 16;

/// The words that are left alone: as they are written there, and in other capitals.
struct Known {
    words: HashSet<String>,
    /// Those that have capitals of their own, in capitals.
    capitals: HashSet<String>,
}

impl Known {
    fn new(words: impl IntoIterator<Item = String>) -> Known {
        let words: HashSet<String> = words.into_iter().collect();
        let own = |word: &&String| word.contains(char::is_uppercase);
        let capitals = words.iter().filter(own).map(|word| word.to_uppercase()).collect();
        Known { words, capitals }
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(word) || self.words.contains(&word.to_lowercase()) || self.capitals.contains(word)
    }
}

/// Corrects standard input: what is between the words stays, and so do words that are known, or have a digit.
pub fn run(args: &Correct) -> Result<ExitCode> {
    let known = known(args)?;
    let mut loaded = load(&args.model, &args.device)?;
    let mut bytes = vec![];
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|e| Error::Input(format!("standard input cannot be read: {e}")))?;
    let text = if bytes.is_empty() { "" } else { corpus::whole("standard input", &bytes)? };
    let since = Instant::now();
    let pieces = pieces(text);
    let doubtful =
        |word: &str| word.chars().any(char::is_alphabetic) && !word.contains(char::is_numeric) && !known.has(word);
    // Each word once, as the model knows it.
    let asked: BTreeSet<String> =
        pieces.iter().filter_map(|p| plain(p).filter(|w| doubtful(w)).map(asked_as)).collect();
    let longest = trained_length(&loaded.recipe) - usize::from(loaded.recipe.data.marks);
    // What the model cannot read whole it would not write whole.
    let unk = loaded.tokenizers.source().specials().unk();
    let letters = if loaded.network.model.reads_words() { spelling::LONGEST } else { usize::MAX };
    let readable = |tokens: &Vec<u32>| tokens.len() <= longest && tokens.iter().all(|t| Some(*t) != unk);
    let encoded = asked
        .into_iter()
        .filter(|word| word.len() <= MOST_BYTES && word.chars().count() <= letters)
        .map(|word| (loaded.tokenizers.source().encode(&word), word));
    let (sources, asked): (Vec<Vec<u32>>, Vec<String>) = encoded.filter(|(tokens, _)| readable(tokens)).unzip();
    let written = block_on(loaded.decoder.translate(&mut loaded.network, &sources, &loaded.translation))?;
    let answer = |w: &[seqloom::decode::Written]| {
        // A word becomes a word, or words: nothing that ends a line.
        loaded.tokenizers.target().decode(&w[0].tokens).replace(['\n', '\r'], " ").trim().to_string()
    };
    let answers: HashMap<&str, String> =
        asked.iter().map(String::as_str).zip(written.iter().map(|w| answer(w))).collect();
    let (mut corrected, mut words, mut unknown, mut changed) = (String::with_capacity(text.len()), 0, 0, 0);
    for piece in &pieces {
        let (Piece::Word(word) | Piece::Between(word)) = *piece;
        words += usize::from(plain(piece).is_some());
        let better = plain(piece).filter(|w| doubtful(w)).map(|word| {
            unknown += 1;
            // A model that has nothing to say leaves the word as it is.
            let answer = answers.get(asked_as(word).as_str()).filter(|answer| !answer.is_empty());
            answer.map_or_else(|| word.to_string(), |answer| like(word, answer, loaded.tokenizers.source()))
        });
        changed += usize::from(better.as_ref().is_some_and(|better| better != word));
        corrected += better.as_deref().unwrap_or(word);
    }
    let mut to = std::io::stdout().lock();
    to.write_all(corrected.as_bytes())
        .and_then(|()| to.flush())
        .map_err(|e| Error::Input(format!("standard output cannot be written: {e}")))?;
    let seconds = since.elapsed().as_secs_f64();
    eprintln!("{words} words, {unknown} not known, {changed} changed, in {seconds:.1} s");
    Ok(ExitCode::SUCCESS)
}

fn plain<'a>(piece: &Piece<'a>) -> Option<&'a str> {
    match piece {
        Piece::Word(word) => Some(word),
        Piece::Between(_) => None,
    }
}

/// How the model is asked about a word: capitals that the word would get back anyway are none.
fn asked_as(word: &str) -> String {
    match Case::of(word) {
        Case::AsItIs => word.into(),
        Case::Capitalised | Case::Capitals => word.to_lowercase(),
    }
}

/// An answer in the capitals of the word that it is for. A model that writes no capitals says nothing of those in the
/// middle of a word: where it changes no letter they stay.
fn like(word: &str, answer: &str, tokenizer: &Tokenizer) -> String {
    match Case::of(word) {
        Case::AsItIs if tokenizer.folded(word) == answer => word.into(),
        Case::AsItIs if tokenizer.lowercase() && word.starts_with(char::is_uppercase) => {
            Case::Capitalised.write(answer)
        }
        case => case.write(answer),
    }
}

fn known(args: &Correct) -> Result<Known> {
    let run = RunDir::new(&args.model);
    run.recipe()?;
    let mut all = run.words()?.unwrap_or_default();
    for file in &args.known {
        all.extend(corpus::words(&file.display().to_string(), &files::read(file)?)?);
    }
    if all.is_empty() {
        eprintln!(
            "warning: no word is known (no words.txt beside the model, no --known FILE): the model is asked about all"
        );
    }
    Ok(Known::new(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqloom::text::tokenizer::{Kind, Rules};

    #[test]
    fn a_word_is_known_in_the_capitals_that_it_may_have() {
        let known = Known::new(["Paris", "iPhone", "word", "I"].map(String::from));
        for word in ["Paris", "PARIS", "iPhone", "IPHONE", "word", "Word", "WORD", "wOrd", "I"] {
            assert!(known.has(word), "{word}");
        }
        for word in ["paris", "iphone", "PARI", "i", "IPhone"] {
            assert!(!known.has(word), "{word}");
        }
    }

    #[test]
    fn an_answer_gets_the_capitals_of_the_word() {
        let tokenizer = |lowercase: bool| {
            let rules = Rules { lowercase, ..Rules::new(Kind::Char, 60) };
            Tokenizer::learn(&rules, ["teh iphone mccoy"].into_iter()).expect("a vocabulary")
        };
        for (word, answer, lowercase, want) in [
            ("Teh", "the", false, "The"),
            ("TEH", "the", true, "THE"),
            ("iphone", "iPhone", false, "iPhone"),
            ("McCoy", "mccoy", true, "McCoy"),
            ("McCoyy", "mccoy", true, "Mccoy"),
            ("iPhone", "iphone", true, "iPhone"),
            ("iPhone", "iphone", false, "iphone"),
            ("ΟδοΣ", "οδοσ", true, "ΟδοΣ"),
        ] {
            assert_eq!(like(word, answer, &tokenizer(lowercase)), want, "{word} {answer}");
        }
    }
}
