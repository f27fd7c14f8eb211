//! The sublayers: attention and feed-forward, each with its residual connection, dropout and layer norm.

use super::names::recorded_name;
use super::{Context, KeysValues, Tokens, Transformer};
use crate::graph::{Graph, Value};
use crate::ops::attention::Attention;
use crate::ops::dropout::Dropout;
use crate::ops::matmul;
use crate::parameters::Weights;
use crate::recipe::{Activation, Norm, Positions};

/// What runs through a stack.
pub(super) struct Stream {
    /// What the next residual connection adds to.
    x: Value,
    /// What the next sublayer reads, and in the end the stack's reader: x itself after post-norm, its layer norm before
    /// a pre-norm sublayer.
    pub normed: Value,
    /// The layer norms still to come.
    norms: std::vec::IntoIter<String>,
    /// The bias of layer norms that have none.
    no_bias: Option<Value>,
}

/// What an attention looks at.
pub(super) enum Keys {
    /// Keys and values of as many rows as there are of queries.
    Given(KeysValues, Seen),
    /// Those of earlier steps, (N, S, C), for one query a row: how many, and in which row of the cache each is.
    Cached(KeysValues, Value, Value),
}

/// Which keys an attention sees.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    lengths: Value,
    /// As the fused kernel wants them.
    mask: Value,
    causal: bool,
}

impl Transformer {
    /// The embedded tokens of a stack, before its first sublayer.
    pub(super) fn stream(&self, g: &mut Graph, w: &Weights, stack: &str, tokens: Tokens, c: &Context) -> Stream {
        let x = self.embed(g, w, stack, tokens, c);
        let mut norms = self.norms(stack).into_iter();
        let no_bias = (self.is_decoder_only() && !self.bias).then(|| g.fill(0.0, &[self.d_model]));
        let normed = match self.norm {
            Norm::Post => x,
            Norm::Pre => {
                let name = norms.next().expect("a norm before the first sublayer");
                let [weight, bias] = norm_weights(w, &name, no_bias);
                g.layer_norm(x, weight, bias, self.norm_eps)
            }
        };
        Stream { x, normed, norms, no_bias }
    }

    pub(super) fn seen(&self, g: &mut Graph, lengths: Value, causal: bool, c: &Context) -> Seen {
        let step = c.step.filter(|_| self.dropout > 0.0);
        Seen { lengths, mask: g.attention_mask(lengths, step), causal }
    }

    /// Keys and values of an attention of a block.
    pub(super) fn keys_values(&self, g: &mut Graph, w: &Weights, layer: &str, attention: &str, x: Value) -> KeysValues {
        let [k, v] = ["k_proj", "v_proj"].map(|projection| self.attention_name(layer, attention, projection));
        (linear(g, w, &k, x), linear(g, w, &v, x))
    }

    /// Keys and values of self-attention.
    pub(super) fn own_keys_values(&self, g: &mut Graph, w: &Weights, layer: &str, x: Value, c: &Context) -> KeysValues {
        let (k, v) = self.keys_values(g, w, layer, "self_attn", x);
        (self.turn(g, k, c), v)
    }

    /// Rotary positions: the queries and keys of self-attention are turned. Those of the encoder–decoder attention are
    /// not, whose distances would mean nothing.
    fn turn(&self, g: &mut Graph, x: Value, c: &Context) -> Value {
        match (self.positions, c.positions) {
            (Positions::Rotary, table) => g.rotary(x, table.expect("a table of sinusoids"), c.start),
            _ => x,
        }
    }

    /// softmax(Q Kᵀ / sqrt(d_k)) V per head, heads side by side, projected, and what follows a sublayer, which is named by
    /// its block and by itself.
    pub(super) fn attention(
        &self,
        g: &mut Graph,
        w: &Weights,
        [layer, sublayer]: [&str; 2],
        x: &mut Stream,
        keys: Keys,
        c: &Context,
    ) {
        let y = g.scoped(sublayer, |g| {
            let q = linear(g, w, &self.attention_name(layer, sublayer, "q_proj"), x.normed);
            let q = if sublayer == "self_attn" { self.turn(g, q, c) } else { q };
            let scale = 1.0 / ((self.d_model / self.heads) as f32).sqrt();
            let context = match keys {
                Keys::Cached(kv, lengths, origin) => g.attention_step(q, kv, lengths, origin, self.heads),
                Keys::Given((k, v), seen) if c.record => {
                    let scores = g.attention_scores(q, k, self.heads);
                    let p = g.softmax(scores, seen.lengths, scale, seen.causal);
                    g.output(&recorded_name(layer, sublayer), p);
                    let p = self.drop(g, p, c, "weights");
                    g.attention_context(p, v, self.heads)
                }
                Keys::Given((k, v), seen) => {
                    let dropout = self.dropout_at(g, c, "weights").unwrap_or(Dropout { p: 0.0, site: 0 });
                    let options = Attention { heads: self.heads, scale, causal: seen.causal, dropout };
                    g.attention(q, k, v, seen.mask, options)
                }
            };
            linear(g, w, &self.attention_name(layer, sublayer, "out_proj"), context)
        });
        self.residual(g, w, sublayer, x, y, c);
    }

    pub(super) fn feed_forward(&self, g: &mut Graph, w: &Weights, layer: &str, x: &mut Stream, c: &Context) {
        let y = g.scoped("ffn", |g| {
            let [fc1, fc2] = self.ffn_names(layer);
            let (fc1, bias) = (w.get(&format!("{fc1}.weight")), w.find(&format!("{fc1}.bias")));
            let epilogue = match self.activation {
                Activation::Relu => matmul::Activation::Relu,
                // Their derivatives need what went in, which an epilogue does not keep.
                Activation::Gelu | Activation::GeluNew => matmul::Activation::None,
            };
            let inner = g.linear(x.normed, fc1, bias, epilogue);
            let inner = match self.activation {
                Activation::Relu => inner,
                Activation::Gelu => g.gelu(inner),
                Activation::GeluNew => g.gelu_new(inner),
            };
            linear(g, w, &fc2, inner)
        });
        self.residual(g, w, "ffn", x, y, c);
    }

    /// x + Dropout(y), and its layer norm: after post-norm that is the new x, else the next sublayer's input.
    fn residual(&self, g: &mut Graph, w: &Weights, sublayer: &str, x: &mut Stream, y: Value, c: &Context) {
        let dropout = c.step.and_then(|step| Some((self.dropout_at(g, c, sublayer)?, step)));
        let weights = norm_weights(w, &x.norms.next().expect("a norm for every sublayer"), x.no_bias);
        let (sum, normed) = g.add_norm(x.x, y, weights, self.norm_eps, dropout);
        x.normed = normed;
        x.x = match self.norm {
            Norm::Post => normed,
            Norm::Pre => sum,
        };
    }

    /// Dropout of this place of the model, if there is any.
    fn dropout_at(&self, g: &Graph, c: &Context, place: &str) -> Option<Dropout> {
        c.step.and_then(|_| g.dropout_at(self.dropout, place))
    }

    pub(super) fn drop(&self, g: &mut Graph, x: Value, c: &Context, place: &str) -> Value {
        match c.step {
            Some(step) => g.dropout(x, self.dropout, step, place),
            None => x,
        }
    }
}

fn linear(g: &mut Graph, w: &Weights, name: &str, x: Value) -> Value {
    g.linear(x, w.get(&format!("{name}.weight")), w.find(&format!("{name}.bias")), matmul::Activation::None)
}

fn norm_weights(w: &Weights, name: &str, no_bias: Option<Value>) -> [Value; 2] {
    [w.get(&format!("{name}.weight")), no_bias.unwrap_or_else(|| w.get(&format!("{name}.bias")))]
}
