//! Sequence to sequence with recurrent cells: an encoder reads the source into a context vector (Sutskever et al. 2014, Cho
//! et al. 2014), or the decoder attends to all of its states (Bahdanau et al. 2015, Luong et al. 2015).

mod decoder;
mod parameters;

use super::char_cnn::CharCnn;
use super::{Context, Tokens, Vocabulary};
use crate::graph::{Graph, Value};
use crate::ops::matmul::Activation;
use crate::ops::recurrence::Cell;
use crate::parameters::Weights;
use crate::recipe::{self, Attention, ContextUse, Model};

/// Sizes and options of a recurrent encoder and decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Seq2Seq {
    /// Tokens of either side.
    pub vocabulary: Vocabulary,
    /// What is computed at every time.
    pub cell: Cell,
    /// Units of a layer in one direction, H.
    pub hidden: usize,
    /// Width of the embeddings, M.
    pub embedding: usize,
    /// Layers of the encoder, and of the decoder.
    pub layers: usize,
    /// The encoder reads from both ends: its states are 2 H wide.
    pub bidirectional: bool,
    /// How the decoder looks at the encoder's states.
    pub attention: Attention,
    /// What logits are made of is part of the next step's input.
    pub input_feeding: bool,
    /// Where the context vector goes without attention.
    pub context: ContextUse,
    /// Probability of a zero on embeddings, between layers and on the states that logits are made of.
    pub dropout: f32,
    /// One matrix for the target's embedding and the output, and for the source's too where the vocabulary is shared.
    pub tie_embeddings: bool,
    /// How weights start.
    pub init: recipe::Init,
    /// Weights start within ± this, where they are uniform.
    pub init_range: f64,
    /// What the encoder reads characters with, where that is no embedding.
    pub char_cnn: Option<CharCnn>,
}

/// What the decoder has of a source.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What queries are compared with, (B, S, A).
    pub keys: Value,
    /// The encoder's states (B, S, E).
    pub values: Value,
    /// How many of them are real (B).
    pub lengths: Value,
    /// While decoding, where several rows share a source: which one each has (R).
    pub line: Option<Value>,
}

/// An encoded source.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What is attended to, where there is attention.
    pub memory: Option<Memory>,
    /// What the decoder starts from.
    pub state: State,
}

/// What a decoder carries from one step to the next.
#[derive(Clone, Debug)]
pub struct State {
    /// Of each layer (B, S, H): h, of LSTM h and c.
    layers: Vec<Value>,
    /// The last layer's h (B, 1, H).
    h: Value,
    /// What joins the input of each step (B, 1, F): what was fed back, or the context vector.
    joins: Option<Value>,
}

impl Seq2Seq {
    /// The model of a recipe, for a vocabulary; a number is a shared one.
    pub fn new(m: &Model, vocabulary: impl Into<Vocabulary>) -> Seq2Seq {
        let range = if m.init_range > 0.0 { m.init_range } else { (m.hidden as f64).powf(-0.5) };
        let vocabulary = vocabulary.into();
        let cnn = |c| CharCnn::new(c, vocabulary.source(), m.embedding);
        Seq2Seq {
            vocabulary,
            cell: match m.cell {
                recipe::Cell::Rnn => Cell::Rnn,
                recipe::Cell::Gru => Cell::Gru,
                recipe::Cell::Lstm => Cell::Lstm,
            },
            hidden: m.hidden,
            embedding: m.embedding,
            layers: m.layers,
            bidirectional: m.bidirectional,
            attention: m.attention,
            input_feeding: m.input_feeding,
            context: m.context,
            // What is below one may round to it.
            dropout: (m.dropout as f32).min(1.0 - f32::EPSILON / 2.0),
            tie_embeddings: m.tie_embeddings,
            init: m.init,
            init_range: range,
            char_cnn: m.char_cnn.as_ref().map(cnn),
        }
    }

    /// Width of the encoder's states, E.
    pub fn memory_width(&self) -> usize {
        if self.bidirectional { 2 * self.hidden } else { self.hidden }
    }

    /// Width of the keys, A.
    pub fn key_width(&self) -> usize {
        if self.attention == Attention::Dot { self.memory_width() } else { self.hidden }
    }

    /// Width of what joins the embedding in the input of every step, F.
    fn joined(&self) -> usize {
        match (self.attention, self.context) {
            (Attention::None, ContextUse::First) => 0,
            (Attention::None, ContextUse::Every) | (Attention::Bahdanau, _) => self.memory_width(),
            _ if self.input_feeding => self.hidden,
            _ => 0,
        }
    }

    /// Width of what is joined that a step carries to the next one; with Bahdanau's attention each step computes its own.
    fn carried(&self) -> usize {
        if self.attention == Attention::Bahdanau { 0 } else { self.joined() }
    }

    /// Whether a step needs what the step before it computed outside of the cells.
    fn has_feedback(&self) -> bool {
        self.attention == Attention::Bahdanau || (self.attention != Attention::None && self.input_feeding)
    }

    /// Elements of the state that a hypothesis carries, W.
    pub fn state_width(&self) -> usize {
        self.layers * self.cell.states() * self.hidden + self.carried()
    }

    /// Reads sources (B, S).
    pub fn encode(&self, g: &mut Graph, w: &Weights, source: Tokens, c: &Context) -> Encoded {
        g.scoped("encoder", |g| {
            let batch = g.ty(source.lengths).dims[0];
            let (h, s) = (self.hidden, self.cell.states());
            let x = match &self.char_cnn {
                Some(cnn) => cnn.read(g, w, source),
                None => g.embedding(source.ids, w.get(&self.embedding_name("encoder")), source.by_token, 1.0),
            };
            let mut x = self.drop(g, x, c, "embedding");
            let zeros = g.fill(0.0, &[batch, s, h]);
            let mut layers = vec![];
            for layer in 0..self.layers {
                g.scoped(&format!("layers.{layer}"), |g| {
                    if layer > 0 {
                        x = self.drop(g, x, c, "input");
                    }
                    let read = |g: &mut Graph, suffix: &str| {
                        let weight = |what: &str| w.get(&rnn("encoder", what, layer, suffix));
                        let biases = self.biases(g, weight);
                        let gates = g.linear(x, weight("weight_ih"), Some(biases.0), Activation::None);
                        let reverse = suffix == REVERSE;
                        g.recurrence(self.cell, gates, weight("weight_hh"), biases.1, zeros, source.lengths, reverse)
                    };
                    let (forward, last) = read(g, "");
                    let backward = self.bidirectional.then(|| read(g, REVERSE));
                    x = match backward {
                        Some((backward, _)) => g.concat_columns(forward, backward),
                        None => forward,
                    };
                    let last = [Some(last), backward.map(|(_, last)| last)];
                    layers.push(last.into_iter().flatten().collect::<Vec<Value>>());
                });
            }
            // The context vector: the last h of each direction.
            let ends = layers.last().expect("a layer").clone();
            let summary = self.every(&ends, g, 0);
            let layers: Vec<Value> = layers.iter().enumerate().map(|(i, ends)| self.bridge(g, w, i, ends)).collect();
            let top = *layers.last().expect("a layer");
            let joins = match (self.carried(), self.attention) {
                (0, _) => None,
                (f, Attention::None) => Some(g.reshape(summary, &[batch, 1, f])),
                (f, _) => Some(g.fill(0.0, &[batch, 1, f])),
            };
            let h = self.part(g, top, 0);
            let state = State { h: g.reshape(h, &[batch, 1, self.hidden]), layers, joins };
            Encoded { memory: self.memory(g, w, x, source.lengths), state }
        })
    }

    /// What is attended to: keys and values.
    fn memory(&self, g: &mut Graph, w: &Weights, x: Value, lengths: Value) -> Option<Memory> {
        let keys = match self.attention {
            Attention::None => return None,
            Attention::Dot => x,
            Attention::General | Attention::Bahdanau => {
                g.linear(x, w.get("attention.key.weight"), None, Activation::None)
            }
        };
        Some(Memory { keys, values: x, lengths, line: None })
    }

    /// The state from which the decoder's layer starts: the encoder's last one, or where there are two what a layer makes of
    /// them.
    fn bridge(&self, g: &mut Graph, w: &Weights, layer: usize, ends: &[Value]) -> Value {
        if !self.bidirectional {
            return ends[0];
        }
        let dims = g.ty(ends[0]).dims.clone();
        let mut both = |part: usize, name: &str, activation| {
            let both = self.every(ends, g, part);
            let [weight, bias] = ["weight", "bias"].map(|what| w.get(&format!("bridge.{name}_l{layer}.{what}")));
            g.linear(both, weight, Some(bias), activation)
        };
        let mut state = both(0, "h", Activation::Tanh);
        if self.cell == Cell::Lstm {
            let c = both(1, "c", Activation::None);
            state = g.concat_columns(state, c);
        }
        g.reshape(state, &dims)
    }

    /// Part 0 is h, part 1 LSTM's c (B, H) of the states of each direction, side by side.
    fn every(&self, ends: &[Value], g: &mut Graph, part: usize) -> Value {
        let parts: Vec<Value> = ends.iter().map(|&end| self.part(g, end, part)).collect();
        parts.into_iter().reduce(|a, b| g.concat_columns(a, b)).expect("a direction")
    }

    /// Part 0 is h, part 1 LSTM's c (B, H) of a state (B, S, H).
    fn part(&self, g: &mut Graph, state: Value, part: usize) -> Value {
        let (batch, h, s) = (g.ty(state).dims[0], self.hidden, self.cell.states());
        let flat = g.reshape(state, &[batch, s * h]);
        if s == 1 { flat } else { g.columns(flat, part * h..(part + 1) * h) }
    }

    /// The bias of the gates that do not wait for the step before, and that of those that do. Where both are only added it
    /// is one: GRU alone multiplies what it has of h.
    fn biases(&self, g: &mut Graph, weight: impl Fn(&str) -> Value) -> (Value, Option<Value>) {
        let [of_x, of_h] = ["bias_ih", "bias_hh"].map(weight);
        match self.cell {
            Cell::Gru => (of_x, Some(of_h)),
            Cell::Rnn | Cell::Lstm => (g.add(of_x, of_h), None),
        }
    }

    fn drop(&self, g: &mut Graph, x: Value, c: &Context, place: &str) -> Value {
        match c.step {
            Some(step) => g.dropout(x, self.dropout, step, place),
            None => x,
        }
    }
}

/// The output that holds the attention's weights, where they are recorded: (B, 1, T, S).
pub(crate) const RECORDED: &str = "attention.weights";

/// What PyTorch's names of the other direction end with.
const REVERSE: &str = "_reverse";

/// A weight of a layer, as PyTorch calls it.
fn rnn(side: &str, what: &str, layer: usize, suffix: &str) -> String {
    format!("{side}.rnn.{what}_l{layer}{suffix}")
}
