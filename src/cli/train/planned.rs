//! A recipe's training, planned, for those who look at it without training.

use crate::cli::{files, recipes};
use seqloom::case::Draw;
use seqloom::device::Device;
use seqloom::error::{Error, Result};
use seqloom::models::transformer::{Transformer, Vocabulary};
use seqloom::network::{Network, positions};
use seqloom::recipe::{ModelKind, Recipe};
use seqloom::text::batch::{Batches, Buckets, Example};
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
        None if path.exists() || name.ends_with(".toml") => files::read_text(path)?,
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
    let network = Network::new(device, Transformer::new(&recipe.model, vocabulary), positions(recipe, 1), true)?;
    Planned::new(network, recipe.clone(), train, valid)
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
        ModelKind::Transformer => {
            let mut pair =
                || Example::unmarked(tokens(source, vocabulary.source()), tokens(target + 1, vocabulary.target()));
            let examples: Vec<Example> = (0..BATCHES * rows).map(|_| pair()).collect();
            Batches::new(Buckets::choose(&examples, 0, rows, 1)?, examples)
        }
    }
}
