//! Models: each adds operations to a graph.

pub mod char_cnn;
pub mod seq2seq;
pub mod spelling;
pub mod transformer;

use crate::graph::{Graph, Value};
use crate::ops::matmul::Activation;
use crate::ops::positions::{sinusoids, sinusoids_split};
use crate::parameters::{Declaration, Weights};
use crate::recipe::{self, Attention, ModelKind, Pool, Positions};
use crate::tensor::Tensor;
use char_cnn::CharCnn;
use seq2seq::Seq2Seq;
use transformer::Transformer;

/// How many tokens each side knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// One vocabulary for both sides.
    Shared(usize),
    /// One for each side: a source's id 7 has nothing to do with a target's.
    Separate {
        /// Tokens of the source.
        source: usize,
        /// Tokens of the target.
        target: usize,
    },
}

impl Vocabulary {
    /// Tokens that the encoder reads.
    pub fn source(self) -> usize {
        match self {
            Vocabulary::Shared(tokens) => tokens,
            Vocabulary::Separate { source, .. } => source,
        }
    }

    /// Tokens that the decoder reads and predicts, V.
    pub fn target(self) -> usize {
        match self {
            Vocabulary::Shared(tokens) => tokens,
            Vocabulary::Separate { target, .. } => target,
        }
    }
}

impl From<usize> for Vocabulary {
    fn from(tokens: usize) -> Vocabulary {
        Vocabulary::Shared(tokens)
    }
}

/// The values that make the masks and the positions.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The step state where dropout is on.
    pub step: Option<Value>,
    /// Table of sinusoids: (P, C) to be added or (P, D) to turn heads by; none where positions are learned.
    pub positions: Option<Value>,
    /// Position of the first token, for all rows (1) or for each (B).
    pub start: Value,
    /// The weights of every attention become outputs of the graph, called `NAME.weights` after its parameters. They are
    /// computed by the operations that the fused kernel replaces.
    pub record: bool,
}

/// A sequence of tokens with what its embedding needs.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Ids (B, T), or those of words' characters (B, T, L).
    pub ids: Value,
    /// Lengths (B).
    pub lengths: Value,
    /// The ids' positions sorted by token, for the gradient; those behind a word's end are left out.
    pub by_token: Value,
    /// How many characters each word has (B·T), where ids are theirs.
    pub letters: Option<Value>,
}

/// Which model, with its sizes and options.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// Encoder and decoder, or the decoder alone.
    Transformer(Transformer),
    /// Encoder and decoder of recurrent cells.
    Seq2Seq(Seq2Seq),
}

impl From<Seq2Seq> for Architecture {
    fn from(model: Seq2Seq) -> Architecture {
        Architecture::Seq2Seq(model)
    }
}

impl From<Transformer> for Architecture {
    fn from(model: Transformer) -> Architecture {
        Architecture::Transformer(model)
    }
}

impl Architecture {
    /// The model of a recipe, for a vocabulary; a number is a shared one.
    pub fn new(m: &recipe::Model, vocabulary: impl Into<Vocabulary>) -> Architecture {
        match m.kind {
            ModelKind::Transformer | ModelKind::Gpt => Transformer::new(m, vocabulary).into(),
            ModelKind::Seq2Seq => Seq2Seq::new(m, vocabulary).into(),
        }
    }

    /// Tokens of either side.
    pub fn vocabulary(&self) -> Vocabulary {
        match self {
            Architecture::Transformer(m) => m.vocabulary,
            Architecture::Seq2Seq(m) => m.vocabulary,
        }
    }

    /// Whether there is no encoder: a language model.
    pub fn is_decoder_only(&self) -> bool {
        match self {
            Architecture::Transformer(m) => m.is_decoder_only(),
            Architecture::Seq2Seq(_) => false,
        }
    }

    /// Whether a character CNN reads the source's words, as they are spelled.
    pub fn reads_words(&self) -> bool {
        let cnn = match self {
            Architecture::Transformer(m) => &m.char_cnn,
            Architecture::Seq2Seq(m) => &m.char_cnn,
        };
        cnn.as_ref().is_some_and(|cnn| cnn.pool == Pool::Word)
    }

    /// Width of the states that logits are made of.
    pub fn width(&self) -> usize {
        match self {
            Architecture::Transformer(m) => m.d_model,
            Architecture::Seq2Seq(m) => m.hidden,
        }
    }

    /// Elements that the widest value between two operations has at a position, logits aside.
    pub fn widest(&self) -> usize {
        let widest = |c: &Option<CharCnn>| c.as_ref().map_or(0, CharCnn::widest);
        match self {
            Architecture::Transformer(m) => m.d_model.max(m.ffn).max(widest(&m.char_cnn)),
            Architecture::Seq2Seq(m) => {
                let walked = m.hidden * m.cell.gates().max(m.cell.saved());
                m.embedding.max(walked).max(m.memory_width()).max(widest(&m.char_cnn))
            }
        }
    }

    /// Elements of each cache that a hypothesis has at a position.
    pub fn cached(&self) -> Vec<usize> {
        match self {
            Architecture::Transformer(m) => vec![m.d_model; 2 * m.decoder_layers],
            Architecture::Seq2Seq(m) => vec![m.state_width()],
        }
    }

    /// How many positions of a hypothesis its caches keep, of so many that it may have: recurrent ones keep the state of
    /// this step and of the one before.
    pub fn cached_positions(&self, positions: usize) -> usize {
        match self {
            Architecture::Transformer(_) => positions,
            Architecture::Seq2Seq(_) => 2,
        }
    }

    /// Elements of each value that is kept of a position of an encoded source.
    pub fn encoded(&self) -> Vec<usize> {
        match self {
            Architecture::Transformer(m) => vec![m.d_model; 2 * m.decoder_layers],
            Architecture::Seq2Seq(m) if m.attention == Attention::None => vec![],
            Architecture::Seq2Seq(m) => vec![m.key_width(), m.memory_width()],
        }
    }

    /// Every parameter. Of learned positions there are as many as asked for.
    pub fn declarations(&self, positions: usize) -> Vec<Declaration> {
        match self {
            Architecture::Transformer(m) => m.declarations(positions),
            Architecture::Seq2Seq(m) => m.declarations(),
        }
    }

    /// The table of so many positions, where it is no parameter.
    pub fn position_table(&self, positions: usize) -> Option<Tensor> {
        match self {
            Architecture::Transformer(m) => match m.positions {
                Positions::Sinusoidal => Some(sinusoids(positions, m.d_model)),
                Positions::SinusoidalSplit => Some(sinusoids_split(positions, m.d_model)),
                Positions::Rotary => Some(sinusoids_split(positions, m.d_model / m.heads)),
                Positions::Learned => None,
            },
            Architecture::Seq2Seq(_) => None,
        }
    }

    /// The states (B, T, C) that logits are made of, for all positions of the target at once: what training runs. A model
    /// that is a decoder alone has no source.
    pub fn states(&self, g: &mut Graph, w: &Weights, source: Option<Tokens>, target: Tokens, c: &Context) -> Value {
        match self {
            Architecture::Transformer(m) => {
                let memory = source.map(|source| (m.encode(g, w, source, c), source.lengths));
                m.decode(g, w, target, memory, c)
            }
            Architecture::Seq2Seq(m) => {
                let encoded = m.encode(g, w, source.expect("an encoder has a source"), c);
                m.decode(g, w, target, &encoded, c)
            }
        }
    }

    /// What states are projected to logits by, (V, C).
    pub fn output_table(&self, w: &Weights) -> Value {
        match self {
            Architecture::Transformer(m) => m.output_table(w),
            Architecture::Seq2Seq(m) => m.output_table(w),
        }
    }

    /// Logits (rows, V) of states (..., C).
    pub fn logits(&self, g: &mut Graph, w: &Weights, x: Value) -> Value {
        let rows = g.ty(x).rows();
        let table = self.output_table(w);
        let logits = g.scoped("logits", |g| g.linear(x, table, None, Activation::None));
        g.reshape(logits, &[rows, self.vocabulary().target()])
    }
}
