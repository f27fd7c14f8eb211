//! `train.init_from`: the model that a run starts from.

use super::files;
use super::import::{self, Model};
use super::run_dir::RunDir;
use seqloom::error::{Error, Result};
use seqloom::models::Architecture;
use seqloom::recipe::{self, Positions, Recipe};
use seqloom::text::tokenizer::Specials;
use std::path::Path;

/// Reads the model that the recipe starts from, if it names one: a run's best, or one of transformers'. Errors: what is
/// there is not what [model] and [tokenizer] say; `out` is the run's own directory.
pub fn read(recipe: &Recipe, out: &Path) -> Result<Option<Model>> {
    let dir = Path::new(&recipe.train.init_from);
    if recipe.train.init_from.is_empty() {
        return Ok(None);
    }
    if files::same(dir, out) {
        return Err(Error::Input(format!(
            "train.init_from: {} is the run's own directory; use another",
            dir.display()
        )));
    }
    let is_run = files::list(dir)?.iter().any(|name| name == "recipe.toml");
    let model = if is_run { read_run(dir)? } else { import::read(dir)? };
    agree(recipe, &model)?;
    Ok(Some(model))
}

fn read_run(dir: &Path) -> Result<Model> {
    let run = RunDir::new(dir);
    let recipe = run.recipe()?;
    let tokenizers = run.tokenizers(&recipe)?;
    let (file, parameters) = run.model(&recipe, &Architecture::new(&recipe.model, tokenizers.vocabulary()))?;
    Ok(Model { recipe, tokenizers, file, parameters })
}

/// The recipe must describe the model that it starts from: nothing in it is quietly overruled.
fn agree(recipe: &Recipe, model: &Model) -> Result<()> {
    let vocabulary = model.tokenizers.vocabulary();
    let tokens = vocabulary.source().max(vocabulary.target());
    let (ours, theirs) = (recipe, &model.recipe);
    let (d, t) = (&theirs.data, &ours.tokenizer);
    // A table of learned positions has as many rows.
    let learned = theirs.model.positions == Positions::Learned;
    let max_length = if learned { d.max_length } else { ours.data.max_length };
    // A text has no marks, whatever a recipe says; where there can be none `data::start` says so.
    let unmarked = model.tokenizers.target().specials() != Specials::Marks;
    let marks = if unmarked || !ours.data.text.is_empty() { ours.data.marks } else { d.marks };
    let needed = Recipe {
        // How it is trained from here on, and how it would have started, are no part of a model.
        model: recipe::Model { dropout: ours.model.dropout, init: ours.model.init, ..theirs.model.clone() },
        tokenizer: recipe::Tokenizer {
            vocab_size: t.vocab_size.max(tokens),
            min_frequency: t.min_frequency,
            ..theirs.tokenizer.clone()
        },
        data: recipe::Data { max_length, marks, ..ours.data.clone() },
        ..ours.clone()
    };
    let Some((key, here, there)) = ours.difference(&needed) else { return Ok(()) };
    Err(Error::Input(format!(
        "train.init_from: the model in {} needs {key} = {there}, and the recipe has {here}; set {key}",
        ours.train.init_from
    )))
}
