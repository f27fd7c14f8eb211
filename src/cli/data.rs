//! From a recipe's data section to sentence pairs.

use super::files;
use seqloom::error::{Error, Result};
use seqloom::recipe::{Builtin, Recipe};
use seqloom::text::copy::copy;
use seqloom::text::corpus::{self, Corpus, Pair};
use seqloom::text::phrasebook::phrasebook;
use seqloom::text::tokenizer::{Tokenizers, UNK};
use std::path::Path;

/// Raw text, split.
pub struct Data {
    /// To learn from.
    pub train: Vec<Pair>,
    /// To judge by while training.
    pub valid: Vec<Pair>,
    /// To judge by at the end: held out from both, or the validation pairs where there are no others.
    pub test: Vec<Pair>,
    /// One line that says what was read.
    pub report: String,
}

/// Reads what the recipe names. Errors: a file is missing, empty, not UTF-8, or not parallel.
pub fn load(recipe: &Recipe) -> Result<Data> {
    let d = &recipe.data;
    match d.builtin {
        Builtin::Phrasebook => {
            let book = phrasebook(recipe.train.seed, d.pairs);
            let report = format!("{} pairs of the built-in phrasebook", book.train.len());
            return Ok(Data { train: book.train, valid: book.valid, test: book.test, report });
        }
        Builtin::Copy => {
            let [train, valid, test] = copy(recipe.train.seed, d.pairs);
            let report = format!("{} sequences to be copied", train.len());
            return Ok(Data { train, valid, test, report });
        }
        Builtin::None => {}
    }
    let all = match d.tsv.as_str() {
        "" => parallel(&d.source, &d.target)?,
        tsv => table(tsv)?,
    };
    let report = all.report.to_string();
    let (train, valid) = match (d.valid_source.as_str(), d.valid_tsv.as_str()) {
        ("", "") => corpus::split_tail(all.pairs, d.valid_fraction)?,
        ("", tsv) => (all.pairs, table(tsv)?.pairs),
        (source, _) => (all.pairs, parallel(source, &d.valid_target)?.pairs),
    };
    Ok(Data { train, test: valid.clone(), valid, report })
}

fn table(file: &str) -> Result<Corpus> {
    let bytes = files::read(Path::new(file))?;
    if file.to_lowercase().ends_with(".csv") { corpus::csv(file, &bytes) } else { corpus::tsv(file, &bytes) }
}

fn parallel(source: &str, target: &str) -> Result<Corpus> {
    let (a, b) = (files::read(Path::new(source))?, files::read(Path::new(target))?);
    corpus::parallel(source, &a, target, &b)
}

/// Fails when every pair was dropped.
pub fn some_left(kept: usize, dropped: usize, what: &str, recipe: &Recipe) -> Result<()> {
    match kept {
        0 => {
            Err(Error::Input(format!("all {dropped} {what} pairs have {}; raise it", unfit(recipe, &longest(recipe)))))
        }
        _ => Ok(()),
    }
}

/// What bounds the pairs that are trained on.
pub fn longest(recipe: &Recipe) -> String {
    format!("data.max_length = {}", recipe.data.max_length)
}

/// Why pairs are left out, to follow "have".
pub fn unfit(recipe: &Recipe, longest: &str) -> String {
    // Where there are marks, `</s>` is a token, too; where there are none, the first of a target's is given.
    let (short, mark) = match recipe.data.marks {
        true => ("", ", </s> included"),
        false => ("fewer than two target tokens, or ", ""),
    };
    format!("{short}more than {longest} tokens on a side{mark}")
}

/// The token that decoding starts from where sentences have no marks. Errors: decode.start is not one.
pub fn start(recipe: &Recipe, tokenizers: &Tokenizers) -> Result<Option<u32>> {
    if recipe.data.marks {
        return Ok(None);
    }
    let start = &recipe.decode.start;
    match tokenizers.target().encode(start)[..] {
        [UNK] => Err(Error::Input(format!(
            "decode.start: {start:?} does not occur in the targets; choose one of their tokens"
        ))),
        [token] => Ok(Some(token)),
        ref tokens => Err(Error::Input(format!("decode.start: {start:?} is {} tokens, not one", tokens.len()))),
    }
}
