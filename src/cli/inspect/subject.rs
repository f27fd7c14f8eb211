//! From a recipe or a run directory to plans, with no device.

use super::Inspect;
use crate::cli::data::{self, Sets};
use crate::cli::device::{INSTALL, choose};
use crate::cli::run_dir::RunDir;
use crate::cli::train::{nominal, read_recipe, vocabulary};
use seqloom::device::Device;
use seqloom::error::{Error, Result};
use seqloom::gpu::Found;
use seqloom::models::{Architecture, Vocabulary};
use seqloom::network::{Network, positions};
use seqloom::plan::Limits;
use seqloom::recipe::Recipe;
use seqloom::text::batch::Batches;
use seqloom::text::tokenizer::Tokenizers;
use seqloom::train::Planned;

/// What is inspected.
pub struct Subject {
    /// What the user named.
    pub title: String,
    /// Its recipe.
    pub recipe: Recipe,
    /// What the batches are of.
    pub data: String,
    /// How many tokens there are, for people.
    pub tokens: String,
    /// The vocabulary of the model.
    pub vocabulary: Vocabulary,
    /// What the plans are for.
    pub device: String,
    /// What such a device has.
    pub limits: Limits,
    /// The plans.
    pub planned: Planned,
}

/// What stands for hardware where there is none.
pub fn portable() -> String {
    "a hardware GPU with what WebGPU guarantees (128 MiB a binding)".into()
}

/// What plans are made for: the adapter that `--device` means, or, without one, hardware as WebGPU guarantees it.
pub fn limits(found: Option<&Found>, word: &str) -> (String, Limits) {
    match found {
        Some(found) => (format!("{} ({}, {})", found.name(), found.kind(), found.driver()), found.plan_limits(false)),
        None if word == "cpu" => (portable(), Limits::default()),
        None => (format!("{}, since no GPU was found; {INSTALL}", portable()), Limits::default()),
    }
}

/// Batches to train on and to validate, the vocabulary, and what both are, for people.
struct Material {
    train: Batches,
    valid: Batches,
    vocabulary: Vocabulary,
    tokens: String,
    data: String,
}

impl Subject {
    /// Plans what the arguments name, for these limits or those of `--device`.
    pub fn new(args: &Inspect, wanted: Option<(String, Limits)>) -> Result<Subject> {
        let (title, recipe, tokenizers) = match (&args.recipe, &args.model) {
            (Some(name), _) => (format!("recipe {name}"), read_recipe(name, &args.set)?, None),
            (_, Some(dir)) => {
                let run = RunDir::new(dir);
                let recipe = run.recipe()?;
                let tokenizers = run.tokenizers(&recipe)?;
                (format!("model {}", dir.display()), recipe, Some(tokenizers))
            }
            _ => {
                let more = if cfg!(feature = "isa") { ", or --isa for every kernel" } else { "" };
                return Err(Error::Input(format!(
                    "inspect what? --recipe NAME|FILE, such as --recipe phrasebook, or --model DIR{more}"
                )));
            }
        };
        let (device, limits) = match wanted {
            Some(wanted) => wanted,
            None => limits(choose(&args.device.device)?.as_ref(), &args.device.device),
        };
        let material = material(&recipe, tokenizers)?;
        let Material { train, valid, vocabulary, tokens, data } = material;
        let model = Architecture::new(&recipe.model, vocabulary);
        // Nothing is computed, so the CPU never touches what is asked of it.
        let network = Network::with_binding(Device::cpu(), model, positions(&recipe, 1), true, limits.binding)?;
        let planned = Planned::within(&limits, network, recipe.clone(), train, valid)?;
        Ok(Subject { title, recipe, data, tokens, vocabulary, device, limits, planned })
    }
}

/// The recipe's data where it can be read, else the largest batch that the recipe allows.
fn material(recipe: &Recipe, tokenizers: Option<Tokenizers>) -> Result<Material> {
    let data = match data::find(recipe) {
        Ok(data) => data,
        Err(why) => {
            let (batches, asked, what) = nominal(recipe, tokenizers.as_ref())?;
            let size = recipe.tokenizer.vocab_size;
            return Ok(Material {
                train: batches.clone(),
                valid: batches,
                vocabulary: asked,
                tokens: tokenizers.map_or(format!("tokenizer.vocab_size = {size} tokens, nominal"), |t| vocabulary(&t)),
                data: format!("nominal, {what}: {why}"),
            });
        }
    };
    let tokenizers = tokenizers.map_or_else(|| data.learn_tokenizers(recipe), Ok)?;
    let Sets { train, valid, .. } = data.sets(recipe, &tokenizers)?;
    Ok(Material {
        train,
        valid,
        vocabulary: tokenizers.vocabulary(),
        tokens: vocabulary(&tokenizers),
        data: data.report().into(),
    })
}
