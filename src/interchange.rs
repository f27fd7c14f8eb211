//! Models as transformers' classes know them, in both directions.
//!
//! A post-norm encoder–decoder is its `MarianMTModel`, a pre-norm one its `PegasusForConditionalGeneration`, a decoder alone
//! its `GPT2LMHeadModel`. Parameters have these classes' names already; what is left is `config.json`, the tensors that the
//! classes want and we have no parameters for, and GPT-2's other way to lay out matrices: [`config`], [`model_file`]. The
//! way back is [`Foreign`], and [`parameters`] takes the tensors apart again.

mod export;
mod gpt2;
mod import;
mod index;
mod tensors;

use crate::models::Vocabulary;
use crate::recipe::{Model, ModelKind, Norm, Positions};

pub use export::{config, generation_config, model_file};
pub use import::Foreign;
pub use index::shards;
pub use tensors::parameters;

/// A class of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `MarianMTModel`, post-norm.
    Marian,
    /// `PegasusForConditionalGeneration`, pre-norm with a final norm; one vocabulary.
    Pegasus,
    /// `GPT2LMHeadModel`, a decoder alone.
    Gpt2,
}

impl Class {
    /// `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Class::Marian => "marian",
            Class::Pegasus => "pegasus",
            Class::Gpt2 => "gpt2",
        }
    }

    /// The name of the class.
    pub fn name(self) -> &'static str {
        match self {
            Class::Marian => "MarianMTModel",
            Class::Pegasus => "PegasusForConditionalGeneration",
            Class::Gpt2 => "GPT2LMHeadModel",
        }
    }
}

/// Layer norms of encoder–decoders add this to the variance, whatever a `config.json` says.
const NORM_EPS: f64 = 1e-5;

/// The class that computes what this model computes, or what it is that no class has.
pub fn class(m: &Model, vocabulary: Vocabulary) -> Result<Class, String> {
    if m.kind == ModelKind::Seq2Seq {
        return Err("model.kind = \"seq2seq\"".into());
    }
    if m.char_cnn.is_some() {
        return Err("model.char_cnn".into());
    }
    if m.norm_eps != NORM_EPS {
        return Err(format!("model.norm_eps = {:?} (its layer norms have {NORM_EPS:?})", m.norm_eps));
    }
    if m.kind == ModelKind::Gpt {
        return match (m.positions, m.scale_embedding) {
            (Positions::Rotary, _) => Err("model.positions = \"rotary\" in a \"gpt\"".into()),
            (_, true) => Err("model.scale_embedding = true in a \"gpt\"".into()),
            _ => Ok(Class::Gpt2),
        };
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
