//! Models as transformers' classes know them, in both directions.
//!
//! A post-norm encoder–decoder is its `MarianMTModel`, a pre-norm one its `PegasusForConditionalGeneration`. Parameters
//! have these classes' names already; what is left is `config.json` and the tensors that the classes want and we have no
//! parameters for: [`config`], [`extras`]. The way back is [`Foreign`], and [`parameters`] drops the tensors again.

mod export;
mod import;
mod tensors;

use crate::models::transformer::Vocabulary;
use crate::recipe::{Model, ModelKind, Norm, Positions};

pub use export::{config, extras, generation_config};
pub use import::Foreign;
pub use tensors::parameters;

/// A class of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `MarianMTModel`, post-norm.
    Marian,
    /// `PegasusForConditionalGeneration`, pre-norm with a final norm; one vocabulary.
    Pegasus,
}

impl Class {
    /// `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Class::Marian => "marian",
            Class::Pegasus => "pegasus",
        }
    }

    /// The name of the class.
    pub fn name(self) -> &'static str {
        match self {
            Class::Marian => "MarianMTModel",
            Class::Pegasus => "PegasusForConditionalGeneration",
        }
    }
}

/// Layer norms of both classes add this to the variance, whatever a `config.json` says.
const NORM_EPS: f64 = 1e-5;

/// The class that computes what this model computes, or what it is that no class has.
pub fn class(m: &Model, vocabulary: Vocabulary) -> Result<Class, String> {
    if m.norm_eps != NORM_EPS {
        return Err(format!("model.norm_eps = {:?} (its layer norms have {NORM_EPS:?})", m.norm_eps));
    }
    if m.kind == ModelKind::Gpt {
        return Err("model.kind = \"gpt\" in this version of seqloom".into());
    }
    if m.positions == Positions::Rotary {
        return Err("model.positions = \"rotary\" in an encoder and decoder".into());
    }
    match (m.norm, vocabulary) {
        (Norm::Post, _) => Ok(Class::Marian),
        (Norm::Pre, Vocabulary::Shared(_)) => Ok(Class::Pegasus),
        (Norm::Pre, Vocabulary::Separate { .. }) => {
            Err("model.norm = \"pre\" with tokenizer.shared = false (its pre-norm one has one vocabulary)".into())
        }
    }
}
