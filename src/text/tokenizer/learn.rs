//! From lines of text to a vocabulary.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
    Trainer,
};

use super::specials::SPECIALS;
use super::{Kind, Rules, UNK, pre_tokenizer};
use crate::error::{Error, Result};

/// A model of the rules' kind that has learned from `lines`; its first four tokens are the specials.
pub(super) fn model<'a>(rules: &Rules, lines: impl Iterator<Item = &'a str>) -> Result<ModelWrapper> {
    let (unit, units) = match rules.kind {
        Kind::Bpe => ("bytes", ByteLevel::alphabet().len()),
        Kind::Char => ("character", 1),
        Kind::Word => ("word", 1),
    };
    let least = SPECIALS.len() + units;
    if rules.vocab_size < least {
        return Err(Error::Input(format!(
            "tokenizer.vocab_size = {} is too small: it must be at least {least} (4 specials and {units} {unit})",
            rules.vocab_size
        )));
    }
    let lines: Vec<Cow<str>> = lines.filter(|line| !line.is_empty()).map(|line| fold(rules, line)).collect();
    if lines.is_empty() {
        return Err(Error::Input("there is no text to learn a vocabulary from".into()));
    }
    match rules.kind {
        Kind::Bpe => Ok(bpe(rules, &lines).into()),
        Kind::Char | Kind::Word => Ok(word_level(rules, &lines)?.into()),
    }
}

/// The line as the tokenizer's normalizer will have it: character by character, whatever stands next to it.
fn fold<'a>(rules: &Rules, line: &'a str) -> Cow<'a, str> {
    match rules.lowercase {
        true => line.chars().flat_map(char::to_lowercase).collect(),
        false => line.into(),
    }
}

/// What the pre-tokenizer makes of a line.
pub(super) fn pieces(cut: &PreTokenizerWrapper, line: &str) -> Vec<String> {
    let mut pieces = PreTokenizedString::from(line);
    cut.pre_tokenize(&mut pieces).expect("every text has pieces");
    let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
    pieces.into_iter().map(|(piece, ..)| piece.to_owned()).collect()
}

fn bpe(rules: &Rules, lines: &[Cow<str>]) -> BPE {
    // The trainer reserves what it is asked for, and each merge needs a byte that was not merged before.
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let alphabet = ByteLevel::alphabet();
    let most = SPECIALS.len() + alphabet.len() + bytes;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(rules.vocab_size.min(most))
        .min_frequency(rules.min_frequency.max(2))
        .show_progress(false)
        .special_tokens(SPECIALS.map(|token| AddedToken::from(token, true)).to_vec())
        .initial_alphabet(alphabet.into_iter().collect())
        .build();
    let cut = pre_tokenizer(Kind::Bpe);
    trainer.feed(lines.iter(), |line| Ok(pieces(&cut, line))).expect("every text has words");
    let mut model = BPE::default();
    trainer.train(&mut model).expect("words were fed");
    model
}

fn word_level(rules: &Rules, lines: &[Cow<str>]) -> Result<WordLevel> {
    let cut = pre_tokenizer(rules.kind);
    let mut counts = BTreeMap::<String, u64>::new();
    for piece in lines.iter().flat_map(|line| pieces(&cut, line)) {
        *counts.entry(piece).or_default() += 1;
    }
    let mut kept: Vec<(String, u64)> = counts.into_iter().filter(|&(_, n)| n >= rules.min_frequency).collect();
    if kept.is_empty() {
        return Err(Error::Input(format!(
            "tokenizer.min_frequency = {}: nothing in the training text occurs that often; lower it",
            rules.min_frequency
        )));
    }
    // Stable, so that equally frequent pieces stay sorted.
    kept.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    kept.truncate(rules.vocab_size - SPECIALS.len());
    kept.sort_unstable();
    let tokens = SPECIALS.map(str::to_owned).into_iter().chain(kept.into_iter().map(|(piece, _)| piece));
    let vocab = tokens.zip(0..).collect();
    Ok(WordLevel::builder().vocab(vocab).unk_token(SPECIALS[UNK as usize].into()).build().expect("no file to read"))
}
