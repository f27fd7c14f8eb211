//! From a recipe's data section to text, tokenizers and batches.

use super::files;
use seqloom::error::{Error, Result};
use seqloom::recipe::{Builtin, ModelKind, Recipe, TokenizerKind};
use seqloom::text::agreement::agreement;
use seqloom::text::batch::{BUCKETS, Batches, Buckets, Example, encode_continued, encode_pairs};
use seqloom::text::copy::copy;
use seqloom::text::corpus::{self, Corpus, Pair};
use seqloom::text::phrasebook::phrasebook;
use seqloom::text::tasks::{addition, reverse, sort};
use seqloom::text::tokenizer::{Chunks, Kind, Rules, Specials, Tokenizer, Tokenizers};
use seqloom::text::typos::typos;
use std::collections::BTreeSet;
use std::path::Path;

/// What a recipe learns from.
pub enum Data {
    /// Sentences and their translations.
    Pairs(Pairs),
    /// One text.
    Text(Text),
}

/// Raw pairs, split.
pub struct Pairs {
    /// To learn from.
    pub train: Vec<Pair>,
    /// To judge by while training.
    pub valid: Vec<Pair>,
    /// To judge by at the end: held out from both, or the validation pairs where there are no others.
    pub test: Vec<Pair>,
    /// One line that says what was read.
    pub report: String,
}

/// A raw text, split.
pub struct Text {
    /// To learn from.
    pub train: String,
    /// Its last part, to judge by.
    pub valid: String,
    /// One line that says what was read.
    pub report: String,
}

/// Encoded data.
pub struct Sets {
    /// To learn from.
    pub train: Batches,
    /// To judge by.
    pub valid: Batches,
    /// Pairs that were left out, see [`unfit`].
    pub dropped: usize,
}

/// Reads what the recipe names. Errors: a file is missing, empty, not UTF-8, or not parallel.
pub fn load(recipe: &Recipe) -> Result<Data> {
    match recipe.data.text.as_str() {
        "" => pairs(recipe).map(Data::Pairs),
        file => text(file, recipe.data.valid_fraction).map(Data::Text),
    }
}

/// Like [`load`] for who can do without data. Errors: why there is none, for people.
pub fn find(recipe: &Recipe) -> std::result::Result<Data, String> {
    recipe.require_data("").map_err(|_| "the recipe names no data".to_string())?;
    load(recipe).map_err(|e| e.to_string())
}

impl Data {
    /// One line that says what was read.
    pub fn report(&self) -> &str {
        match self {
            Data::Pairs(pairs) => &pairs.report,
            Data::Text(text) => &text.report,
        }
    }

    /// What the targets to train on are, each once, a line each and in order of the alphabet.
    pub fn words(&self) -> String {
        let Data::Pairs(pairs) = self else { return String::new() };
        let words: BTreeSet<&str> = pairs.train.iter().map(|p| p.1.trim()).collect();
        words.into_iter().map(|word| format!("{word}\n")).collect()
    }

    /// Learns tokenizers from what is trained on. Errors: it holds nothing to learn from.
    pub fn learn_tokenizers(&self, recipe: &Recipe) -> Result<Tokenizers> {
        let t = &recipe.tokenizer;
        let kind = match t.kind {
            TokenizerKind::Bpe => Kind::Bpe,
            TokenizerKind::Char => Kind::Char,
            TokenizerKind::Word => Kind::Word,
        };
        let rules = Rules { kind, vocab_size: t.vocab_size, lowercase: t.lowercase, min_frequency: t.min_frequency };
        let pairs = match self {
            Data::Text(text) => {
                return Ok(Tokenizers::Shared(Tokenizer::learn(&rules, Chunks::new(&text.train))?));
            }
            Data::Pairs(pairs) => &pairs.train,
        };
        let (sources, targets) = (pairs.iter().map(|p| p.0.as_str()), pairs.iter().map(|p| p.1.as_str()));
        let learned = match t.shared {
            true => Tokenizers::Shared(Tokenizer::learn(&rules, sources.chain(targets))?),
            false => Tokenizers::Separate {
                source: Tokenizer::learn(&rules, sources)?,
                target: Tokenizer::learn(&rules, targets)?,
            },
        };
        Ok(if recipe.model.reads_words() { learned.open() } else { learned })
    }

    /// Everything as token ids in batches. Errors: nothing is left to train or to validate on.
    pub fn sets(&self, recipe: &Recipe, tokenizers: &Tokenizers) -> Result<Sets> {
        let t = &recipe.train;
        let pairs = match self {
            Data::Text(text) => {
                if t.batch_size == 0 && t.batch_tokens < t.block {
                    let (batch, block) = (t.batch_tokens, t.block);
                    return Err(Error::Input(format!(
                        "train.batch_tokens = {batch} is less than a block: set it to at least train.block = {block}"
                    )));
                }
                let rows = if t.batch_size > 0 { t.batch_size } else { t.batch_tokens / t.block };
                let batches = |text: &str, what| {
                    let tokens = tokenizers.source().encode_text(text);
                    match tokens.len() > t.block {
                        true => Batches::text(tokens, t.block, rows),
                        false => Err(Error::Input(format!(
                            "the {} tokens to {what} are less than train.block = {} and one more; give a longer text, lower \
                             train.block, or change data.valid_fraction",
                            tokens.len(),
                            t.block
                        ))),
                    }
                };
                let (train, valid) = (batches(&text.train, "train on")?, batches(&text.valid, "validate on")?);
                return Ok(Sets { train, valid, dropped: 0 });
            }
            Data::Pairs(pairs) => pairs,
        };
        let mut dropped = 0;
        let mut batches = |pairs: &[Pair], what| {
            let longest = if recipe.model.kind == ModelKind::Gpt { t.block } else { recipe.data.max_length };
            let (examples, unfit) = encode(recipe, tokenizers, pairs, longest);
            some_left(examples.len(), unfit, what, recipe)?;
            dropped += unfit;
            Batches::new(Buckets::choose(&examples, t.batch_tokens, t.batch_size, BUCKETS)?, examples)
        };
        let (train, valid) = (batches(&pairs.train, "training")?, batches(&pairs.valid, "validation")?);
        Ok(Sets { train, valid, dropped })
    }
}

/// Pairs as a recipe's model reads them, and how many were left out because they are longer, see [`unfit`].
pub fn encode(recipe: &Recipe, tokenizers: &Tokenizers, pairs: &[Pair], longest: usize) -> (Vec<Example>, usize) {
    match recipe.model.kind {
        ModelKind::Transformer | ModelKind::Seq2Seq => encode_pairs(tokenizers, pairs, recipe.data.marks, longest),
        ModelKind::Gpt => encode_continued(tokenizers.source(), pairs, recipe.data.marks, longest),
    }
}

fn text(file: &str, valid_fraction: f64) -> Result<Text> {
    let bytes = files::read(Path::new(file))?;
    let all = corpus::whole(file, &bytes)?;
    let (train, valid) = corpus::split_text(file, all, valid_fraction)?;
    let report = format!("{} characters of text", all.chars().count());
    Ok(Text { train: train.into(), valid: valid.into(), report })
}

fn pairs(recipe: &Recipe) -> Result<Pairs> {
    let d = &recipe.data;
    match d.builtin {
        Builtin::Phrasebook => {
            let book = phrasebook(recipe.train.seed, d.pairs);
            let report = format!("{} pairs of the built-in phrasebook", book.train.len());
            return Ok(Pairs { train: book.train, valid: book.valid, test: book.test, report });
        }
        Builtin::Copy => {
            let [train, valid, test] = copy(recipe.train.seed, d.pairs);
            let report = format!("{} sequences to be copied", train.len());
            return Ok(Pairs { train, valid, test, report });
        }
        Builtin::Reverse => {
            let [train, valid, test] = reverse(recipe.train.seed, d.pairs);
            let report = format!("{} sequences to be reversed", train.len());
            return Ok(Pairs { train, valid, test, report });
        }
        Builtin::Agreement => {
            let [train, valid, test] = agreement(recipe.train.seed, d.pairs);
            let report = format!("{} sentences whose verb must agree", train.len());
            return Ok(Pairs { train, valid, test, report });
        }
        Builtin::Addition | Builtin::Sort => {
            let make = if d.builtin == Builtin::Addition { addition } else { sort };
            let (train, valid) = make(recipe.train.seed);
            let report = format!("{} pairs of the built-in task", train.len());
            return Ok(Pairs { train, test: valid.clone(), valid, report });
        }
        Builtin::None => {}
    }
    if !d.words.is_empty() {
        let bytes = files::read(Path::new(&d.words))?;
        let words = corpus::words(&d.words, &bytes)?;
        let (train, valid) = typos(&words, d.pairs, recipe.train.seed);
        if valid.is_empty() {
            return Err(Error::Input(format!(
                "{}: its {} words are too few for data.pairs = {}: no error is left to validate on; give more words, or lower it",
                d.words,
                words.len(),
                d.pairs
            )));
        }
        let report = format!("{} typing errors in {} words", train.len(), words.len());
        return Ok(Pairs { train, test: valid.clone(), valid, report });
    }
    let all = match d.tsv.as_str() {
        "" => parallel(&d.source, &d.target)?,
        tsv => table(tsv)?,
    };
    let report = all.report.to_string();
    let (train, valid) = match (d.valid_source.as_str(), d.valid_tsv.as_str()) {
        ("", "") if d.valid_every > 0 => corpus::split_every(all.pairs, d.valid_every)?,
        ("", "") => corpus::split_tail(all.pairs, d.valid_fraction)?,
        ("", tsv) => (all.pairs, table(tsv)?.pairs),
        (source, _) => (all.pairs, parallel(source, &d.valid_target)?.pairs),
    };
    Ok(Pairs { train, test: valid.clone(), valid, report })
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
fn some_left(kept: usize, dropped: usize, what: &str, recipe: &Recipe) -> Result<()> {
    match kept {
        0 => {
            Err(Error::Input(format!("all {dropped} {what} pairs have {}; raise it", unfit(recipe, &longest(recipe)))))
        }
        _ => Ok(()),
    }
}

/// What bounds the pairs that are trained on.
pub fn longest(recipe: &Recipe) -> String {
    match recipe.model.kind {
        ModelKind::Transformer | ModelKind::Seq2Seq => format!("data.max_length = {}", recipe.data.max_length),
        ModelKind::Gpt => format!("train.block = {}", recipe.train.block),
    }
}

/// Why pairs are left out, to follow "have".
pub fn unfit(recipe: &Recipe, longest: &str) -> String {
    // Where there are marks, `</s>` is a token, too; where there are none, the first of a target's is given.
    let (short, mark) = match recipe.data.marks {
        true => ("", ", </s> included"),
        false => ("fewer than two target tokens, or ", ""),
    };
    match recipe.model.kind {
        ModelKind::Transformer | ModelKind::Seq2Seq => format!("{short}more than {longest} tokens on a side{mark}"),
        ModelKind::Gpt => format!("nothing to go on from, or more than {longest} tokens in all, the last not counted"),
    }
}

/// The token that decoding starts from where sentences have no marks. Errors: decode.start is not one; sentences have marks,
/// and the vocabulary has none.
pub fn start(recipe: &Recipe, tokenizers: &Tokenizers) -> Result<Option<u32>> {
    let marked = recipe.data.marks && recipe.data.text.is_empty();
    if let (true, Specials::EndOfText(_)) = (marked, tokenizers.target().specials()) {
        return Err(Error::Input(
            "data.marks: the tokenizer is GPT-2's, which has no <s> and </s> to mark where the sentences of pairs begin and \
             end; set data.marks = false, or learn from a text with data.text"
                .into(),
        ));
    }
    if recipe.data.marks || recipe.model.kind == ModelKind::Gpt {
        return Ok(None);
    }
    let start = &recipe.decode.start;
    match tokenizers.target().encode(start)[..] {
        [token] if Some(token) == tokenizers.target().specials().unk() => Err(Error::Input(format!(
            "decode.start: {start:?} does not occur in the targets; choose one of their tokens"
        ))),
        [token] => Ok(Some(token)),
        ref tokens => Err(Error::Input(format!("decode.start: {start:?} is {} tokens, not one", tokens.len()))),
    }
}
