//! The decoder: over all steps at once where no step waits for more than its cell's state, else step by step.

use super::{Encoded, Memory, RECORDED, Seq2Seq, State, rnn};
use crate::graph::{Graph, Value};
use crate::models::{Context, Tokens};
use crate::ops::global_attention::Score;
use crate::ops::matmul::Activation;
use crate::parameters::Weights;
use crate::recipe::{Attention, ContextUse};

/// Weights that every step reads.
struct Cells {
    /// The columns of the first layer's weight_ih that what is joined meets (G·H, F).
    joined: Option<Value>,
    /// Of each layer: of the gates before the recurrence, and within.
    biases: Vec<(Value, Option<Value>)>,
}

/// What a step computes besides its state.
struct Seen {
    /// The last layer's h (B, 1, H).
    h: Value,
    /// What it attended to (B, 1, E), and how (B, 1, S).
    attended: Option<(Value, Value)>,
    /// What logits are made of (B, 1, H), where the next step needs it.
    readout: Option<Value>,
}

impl Seq2Seq {
    /// The states (B, T, H) that logits are made of, for all positions of the target (B, T) at once: what training runs.
    pub fn decode(&self, g: &mut Graph, w: &Weights, target: Tokens, encoded: &Encoded, c: &Context) -> Value {
        g.scoped("decoder", |g| {
            let x = self.embed(g, w, target, c);
            let states = match self.has_feedback() {
                true => self.step_by_step(g, w, x, target.lengths, encoded, c),
                false => self.at_once(g, w, x, target.lengths, encoded, c),
            };
            self.drop(g, states, c, "output")
        })
    }

    /// The state after a new token (R, 1), and what logits are made of (R, 1, H).
    pub fn decode_step(
        &self,
        g: &mut Graph,
        w: &Weights,
        token: Tokens,
        mut encoded: Encoded,
        c: &Context,
    ) -> (Value, State) {
        g.scoped("decoder", |g| {
            let x = self.embed(g, w, token, c);
            let (gates, cells) = self.cells(g, w, x);
            let seen = self.step(g, w, &cells, gates, token.lengths, &mut encoded, c);
            let context = match (&seen.attended, self.context) {
                (Some((context, _)), _) => Some(*context),
                (None, ContextUse::Every) => encoded.state.joins,
                (None, ContextUse::First) => None,
            };
            let readout = seen.readout.unwrap_or_else(|| self.readout_of(g, w, seen.h, context, x));
            (readout, encoded.state)
        })
    }

    /// Of a state, all in one row (B, W).
    pub fn pack(&self, g: &mut Graph, state: &State) -> Value {
        let flat = |g: &mut Graph, v: Value| {
            let ty = g.ty(v);
            let dims = [ty.dims[0], ty.elements() / ty.dims[0]];
            g.reshape(v, &dims)
        };
        let parts: Vec<Value> = state.layers.iter().chain(&state.joins).map(|&v| flat(g, v)).collect();
        parts.into_iter().reduce(|a, b| g.concat_columns(a, b)).expect("a layer")
    }

    /// The state of rows (B, W).
    pub fn unpack(&self, g: &mut Graph, rows: Value) -> State {
        let batch = g.ty(rows).dims[0];
        let (s, h) = (self.cell.states(), self.hidden);
        let all = self.layers * s * h;
        let part = |g: &mut Graph, from: usize, to: usize, dims: [usize; 3]| {
            let columns = if (from, to) == (0, self.state_width()) { rows } else { g.columns(rows, from..to) };
            g.reshape(columns, &dims)
        };
        let layers = (0..self.layers).map(|l| part(g, l * s * h, (l + 1) * s * h, [batch, s, h])).collect();
        let top = (self.layers - 1) * s * h;
        let h = part(g, top, top + h, [batch, 1, h]);
        let joins = (self.carried() > 0).then(|| part(g, all, self.state_width(), [batch, 1, self.carried()]));
        State { layers, h, joins }
    }

    /// What states are projected to logits by, (V, H).
    pub fn output_table(&self, w: &Weights) -> Value {
        w.get(&self.output_name())
    }

    fn embed(&self, g: &mut Graph, w: &Weights, tokens: Tokens, c: &Context) -> Value {
        let x = g.embedding(tokens.ids, w.get(&self.embedding_name("decoder")), tokens.by_token, 1.0);
        self.drop(g, x, c, "embedding")
    }

    /// Each layer as one recurrence, and one attention of all positions.
    fn at_once(
        &self,
        g: &mut Graph,
        w: &Weights,
        x: Value,
        lengths: Value,
        Encoded { memory, state }: &Encoded,
        c: &Context,
    ) -> Value {
        let [batch, time, _] = g.ty(x).dims[..] else { unreachable!("embeddings are (B, T, M)") };
        let context = state.joins.map(|context| {
            // The same at every position: ones (T, 1) times the context (1, E).
            let ones = g.fill(1.0, &[batch, 1, time, 1]);
            g.attention_context(ones, context, 1)
        });
        let mut h = context.map_or(x, |context| g.concat_columns(x, context));
        for layer in 0..self.layers {
            g.scoped(&format!("layers.{layer}"), |g| {
                if layer > 0 {
                    h = self.drop(g, h, c, "input");
                }
                let biases = self.decoder_biases(g, w, layer);
                let gates = g.linear(h, w.get(&cell_weight("weight_ih", layer)), Some(biases.0), Activation::None);
                (h, _) = self.cell(g, w, layer, gates, biases.1, state.layers[layer], lengths);
            });
        }
        let attended = memory.map(|memory| self.attend(g, w, h, &memory));
        self.record(g, attended.map(|(_, weights)| weights), c);
        let context = attended.map(|(context, _)| context).or(context);
        self.readout_of(g, w, h, context, x)
    }

    fn step_by_step(
        &self,
        g: &mut Graph,
        w: &Weights,
        x: Value,
        lengths: Value,
        encoded: &Encoded,
        c: &Context,
    ) -> Value {
        let [batch, time, _] = g.ty(x).dims[..] else { unreachable!("embeddings are (B, T, M)") };
        let keys = g.ty(encoded.memory.expect("feedback is attention's").keys).dims[1];
        let (gates, cells) = self.cells(g, w, x);
        let mut encoded = encoded.clone();
        let mut zeros = |width: usize| g.fill(0.0, &[batch, time, width]);
        let (mut all_h, mut contexts) = (zeros(self.hidden), zeros(self.memory_width()));
        let mut weights = c.record.then(|| zeros(keys));
        for t in 0..time {
            g.scoped(&format!("steps.{t}"), |g| {
                let gates = g.time_step(gates, t);
                let seen = self.step(g, w, &cells, gates, lengths, &mut encoded, c);
                let (context, looked) = seen.attended.expect("feedback is attention's");
                all_h = g.add_time_step(all_h, t, seen.readout.unwrap_or(seen.h));
                if seen.readout.is_none() {
                    contexts = g.add_time_step(contexts, t, context);
                }
                weights = weights.map(|all| g.add_time_step(all, t, looked));
            });
        }
        self.record(g, weights, c);
        match self.attention {
            Attention::Bahdanau => self.readout_of(g, w, all_h, Some(contexts), x),
            _ => all_h,
        }
    }

    /// The gates of the first layer as far as embeddings (B, T, M) make them (B, T, G·H), and what else of its weights a
    /// step needs.
    fn cells(&self, g: &mut Graph, w: &Weights, x: Value) -> (Value, Cells) {
        let weight = w.get(&cell_weight("weight_ih", 0));
        let biases: Vec<_> = (0..self.layers).map(|layer| self.decoder_biases(g, w, layer)).collect();
        let (m, all) = (self.embedding, self.embedding + self.joined());
        let joined = (all > m).then(|| g.columns(weight, m..all));
        let own = if all > m { g.columns(weight, 0..m) } else { weight };
        (g.linear(x, own, Some(biases[0].0), Activation::None), Cells { joined, biases })
    }

    /// One step of every layer; the state becomes the next.
    #[allow(clippy::too_many_arguments)]
    fn step(
        &self,
        g: &mut Graph,
        w: &Weights,
        cells: &Cells,
        gates: Value,
        lengths: Value,
        Encoded { memory, state }: &mut Encoded,
        c: &Context,
    ) -> Seen {
        let mut attended = None;
        if self.attention == Attention::Bahdanau {
            let query = g.linear(state.h, w.get("attention.query.weight"), None, Activation::None);
            attended = memory.map(|memory| self.attend(g, w, query, &memory));
        }
        let joins = attended.map(|(context, _)| context).or(state.joins);
        let mut gates = match (joins, cells.joined) {
            (Some(joins), Some(weight)) => {
                let more = g.linear(joins, weight, None, Activation::None);
                g.add(gates, more)
            }
            _ => gates,
        };
        for layer in 0..self.layers {
            g.scoped(&format!("layers.{layer}"), |g| {
                if layer > 0 {
                    let x = self.drop(g, state.h, c, "input");
                    let weight = w.get(&cell_weight("weight_ih", layer));
                    gates = g.linear(x, weight, Some(cells.biases[layer].0), Activation::None);
                }
                let (bias, before) = (cells.biases[layer].1, state.layers[layer]);
                (state.h, state.layers[layer]) = self.cell(g, w, layer, gates, bias, before, lengths);
            });
        }
        if let (None, Some(memory)) = (attended, &memory) {
            attended = Some(self.attend(g, w, state.h, memory));
        }
        let mut readout = None;
        if self.input_feeding {
            readout = attended.map(|(context, _)| self.luong(g, w, state.h, context));
            state.joins = readout;
        }
        Seen { h: state.h, attended, readout }
    }

    fn decoder_biases(&self, g: &mut Graph, w: &Weights, layer: usize) -> (Value, Option<Value>) {
        self.biases(g, |what| w.get(&cell_weight(what, layer)))
    }

    #[allow(clippy::too_many_arguments)]
    fn cell(
        &self,
        g: &mut Graph,
        w: &Weights,
        layer: usize,
        gates: Value,
        bias: Option<Value>,
        state: Value,
        lengths: Value,
    ) -> (Value, Value) {
        g.recurrence(self.cell, gates, w.get(&cell_weight("weight_hh", layer)), bias, state, lengths, false)
    }

    /// Context (B, T, E) and weights (B, T, S) of queries (B, T, A).
    fn attend(&self, g: &mut Graph, w: &Weights, query: Value, m: &Memory) -> (Value, Value) {
        let (score, v) = match self.attention {
            Attention::Bahdanau => {
                let v = g.reshape(w.get("attention.energy.weight"), &[self.hidden]);
                (Score::Additive, Some(v))
            }
            _ => (Score::Dot, None),
        };
        g.scoped("attention", |g| match m.line {
            None => g.global_attention(score, query, m.keys, v, m.values, m.lengths),
            Some(line) => g.global_attention_of_lines(score, query, m.keys, v, m.values, m.lengths, line),
        })
    }

    /// What logits are made of (B, T, H), from the cells' h (B, T, H), the context (B, T, E) and the embeddings (B, T, M).
    fn readout_of(&self, g: &mut Graph, w: &Weights, h: Value, context: Option<Value>, x: Value) -> Value {
        match (self.attention, context) {
            (_, None) => h,
            (Attention::Dot | Attention::General, Some(context)) => self.luong(g, w, h, context),
            (Attention::None | Attention::Bahdanau, Some(context)) => {
                let both = g.concat_columns(h, context);
                let all = g.concat_columns(both, x);
                self.readout_layer(g, w, all)
            }
        }
    }

    /// tanh(W [context; h] + b), Luong's attentional state.
    fn luong(&self, g: &mut Graph, w: &Weights, h: Value, context: Value) -> Value {
        let both = g.concat_columns(context, h);
        self.readout_layer(g, w, both)
    }

    fn readout_layer(&self, g: &mut Graph, w: &Weights, x: Value) -> Value {
        let [weight, bias] = ["weight", "bias"].map(|what| w.get(&format!("decoder.readout.{what}")));
        g.linear(x, weight, Some(bias), Activation::Tanh)
    }

    /// Weights (B, T, S) become an output of the graph, as those of one head.
    fn record(&self, g: &mut Graph, weights: Option<Value>, c: &Context) {
        if let (true, Some(weights)) = (c.record, weights) {
            let [b, t, s] = g.ty(weights).dims[..] else { unreachable!("weights are (B, T, S)") };
            let weights = g.reshape(weights, &[b, 1, t, s]);
            g.output(RECORDED, weights);
        }
    }
}

/// A weight of a layer of the decoder, as PyTorch calls it.
fn cell_weight(what: &str, layer: usize) -> String {
    rnn("decoder", what, layer, "")
}
