//! A recipe's training, planned, for those who look at it without training.

use crate::cli::{files, recipes};
use seqloom::case::Draw;
use seqloom::device::Device;
use seqloom::error::{Error, Result};
use seqloom::models::{Architecture, Vocabulary};
use seqloom::network::{Network, positions};
use seqloom::recipe::{ModelKind, Recipe};
use seqloom::text::batch::{Batches, Buckets, Example};
use seqloom::text::tokenizer::Tokenizers;
use seqloom::train::Planned;
use std::path::Path;

/// The recipe of a built-in name or a file, with these keys set. Errors: there is none, or a key is wrong.
pub fn read_recipe(name: &str, set: &[String]) -> Result<Recipe> {
    let path = Path::new(name);
    let text = match Recipe::builtin(name) {
        Some(text) => text.to_string(),
        None if path.join("recipe.toml").is_file() => {
            return Err(Error::Input(format!(
                "{name} is the directory of a run, not a recipe; to go on: seqloom train {0} --out {1}",
                files::quoted(&path.join("recipe.toml")),
                files::quoted(path)
            )));
        }
        None if path.exists() || name.ends_with(".toml") => files::read_text(path, files::SETTINGS)?,
        None => {
            let names = recipes::names();
            return Err(Error::Input(format!("{name} is neither a built-in recipe ({names}) nor a file")));
        }
    };
    Recipe::parse(name, &text, set)
}

/// Plans the training of a recipe's model on a device. Errors: something is too large for it.
pub fn planned(
    recipe: &Recipe,
    vocabulary: Vocabulary,
    device: Device,
    train: Batches,
    valid: Batches,
) -> Result<Planned> {
    let network = Network::new(device, Architecture::new(&recipe.model, vocabulary), positions(recipe, 1), true)?;
    Planned::new(network, recipe.clone(), train, valid)
}

/// The vocabulary that a recipe asks for; its data may have fewer tokens.
pub fn asked(recipe: &Recipe) -> Vocabulary {
    let size = recipe.tokenizer.vocab_size;
    match recipe.tokenizer.shared {
        true => Vocabulary::Shared(size),
        false => Vocabulary::Separate { source: size, target: size },
    }
}

/// Batches where there is no data: pairs, or blocks, of random tokens that are as long as they may be, as many as the recipe
/// asks for; their vocabulary; and what they are, for people.
pub fn nominal(recipe: &Recipe, tokenizers: Option<&Tokenizers>) -> Result<(Batches, Vocabulary, String)> {
    let t = &recipe.train;
    let vocabulary = tokenizers.map_or_else(|| asked(recipe), Tokenizers::vocabulary);
    let (source, target, positions, what) = match recipe.model.kind {
        ModelKind::Transformer | ModelKind::Seq2Seq => {
            let length = recipe.data.max_length;
            let positions = 2 * length.next_multiple_of(4);
            (length, length, positions, format!("pairs of data.max_length = {length} tokens a side"))
        }
        ModelKind::Gpt => (0, t.block, t.block, format!("blocks of train.block = {} tokens", t.block)),
    };
    let rows = if t.batch_size > 0 { t.batch_size } else { (t.batch_tokens / positions).max(1) };
    Ok((random(recipe, vocabulary, [source, target, rows])?, vocabulary, what))
}

/// Four batches of random tokens: so many rows of so many source and target positions; a language model has no source.
pub fn random(recipe: &Recipe, vocabulary: Vocabulary, [source, target, rows]: [usize; 3]) -> Result<Batches> {
    const BATCHES: usize = 4;
    let mut draw = Draw::new(recipe.train.seed);
    // The first few stand for padding and marks.
    let mut tokens = |n: usize, vocabulary: usize| -> Vec<u32> {
        (0..n).map(|_| (vocabulary.min(5) - 1 + draw.below(vocabulary.saturating_sub(4).max(1))) as u32).collect()
    };
    match recipe.model.kind {
        ModelKind::Gpt => {
            let length = (BATCHES * rows + 1) * target;
            Batches::text(tokens(length, vocabulary.target()), target, rows)
        }
        ModelKind::Transformer | ModelKind::Seq2Seq => {
            let mut pair =
                || Example::unmarked(tokens(source, vocabulary.source()), tokens(target + 1, vocabulary.target()));
            let examples: Vec<Example> = (0..BATCHES * rows).map(|_| pair()).collect();
            Batches::new(Buckets::choose(&examples, 0, rows, 1)?, examples)
        }
    }
}
