//! The Transformer: encoder and decoder (Vaswani et al. 2017), post-norm as in the paper or pre-norm (Xiong et al. 2020),
//! or the decoder alone as a language model (Radford et al. 2019).

mod names;
mod sublayers;

use super::char_cnn::CharCnn;
use super::{Context, Tokens, Vocabulary};
use crate::graph::{Graph, Value};
use crate::parameters::{Declaration, Init, Weights};
use crate::recipe::{self, Model, ModelKind, Norm, Positions};
use sublayers::Keys;

/// Sizes and options of a Transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct Transformer {
    /// Tokens of either side.
    pub vocabulary: Vocabulary,
    /// Width, C.
    pub d_model: usize,
    /// Attention heads, H.
    pub heads: usize,
    /// Encoder blocks; none where there is only a decoder.
    pub encoder_layers: usize,
    /// Decoder blocks.
    pub decoder_layers: usize,
    /// Inner width of the feed-forward sublayers.
    pub ffn: usize,
    /// Probability of a zero on embeddings, attention weights and the output of each sublayer.
    pub dropout: f32,
    /// Where the layer norms are.
    pub norm: Norm,
    /// Added to the variance in layer norm.
    pub norm_eps: f32,
    /// What is between the two projections of a feed-forward sublayer.
    pub activation: recipe::Activation,
    /// How a position is told.
    pub positions: Positions,
    /// Embeddings are multiplied by sqrt(d_model).
    pub scale_embedding: bool,
    /// One matrix for the target's embedding and the output, and for the source's too where the vocabulary is shared.
    pub tie_embeddings: bool,
    /// Linear layers have biases; without an encoder layer norms too, which otherwise have them in any case.
    pub bias: bool,
    /// How weights start.
    pub init: recipe::Init,
    /// Weights start within ± this, where they are uniform.
    pub init_range: f64,
    /// What the encoder reads characters with, where that is no embedding.
    pub char_cnn: Option<CharCnn>,
}

/// What a step of decoding sees of those before it.
#[derive(Clone, Debug)]
pub struct Past<'a> {
    /// Keys and values of the self-attention of every layer, (N, S, C).
    pub caches: &'a [KeysValues],
    /// The row of the caches that each row writes to (R).
    pub slot: Value,
    /// The row of the caches in which each row's key of each position is (R, S).
    pub origin: Value,
    /// What was encoded, where there is an encoder.
    pub encoded: Option<Encoded<'a>>,
}

/// Encoded sources, one for several rows perhaps.
#[derive(Clone, Debug)]
pub struct Encoded<'a> {
    /// Keys and values of the encoder–decoder attention of every layer, (lines, S, C).
    pub keys_values: &'a [KeysValues],
    /// Lengths of the rows' sources (R).
    pub lengths: Value,
    /// The line that each row belongs to (R, 1).
    pub line: Value,
}

/// Standard deviation of GPT-2's weights at the start.
const GPT2_DEVIATION: f64 = 0.02;

/// Keys and values of one attention, (B, T, C) each.
pub type KeysValues = (Value, Value);

impl Transformer {
    /// The model of a recipe, for a vocabulary; a number is a shared one.
    pub fn new(m: &Model, vocabulary: impl Into<Vocabulary>) -> Transformer {
        let (encoder_layers, decoder_layers) = match m.kind {
            ModelKind::Transformer => (m.encoder_layers, m.decoder_layers),
            _ => (0, m.layers),
        };
        let vocabulary = vocabulary.into();
        let char_cnn = m.char_cnn.as_ref().filter(|_| m.kind == ModelKind::Transformer);
        Transformer {
            vocabulary,
            d_model: m.d_model,
            heads: m.heads,
            encoder_layers,
            decoder_layers,
            ffn: m.ffn,
            // What is below one may round to it.
            dropout: (m.dropout as f32).min(1.0 - f32::EPSILON / 2.0),
            norm: m.norm,
            norm_eps: m.norm_eps as f32,
            activation: m.activation,
            positions: m.positions,
            scale_embedding: m.scale_embedding,
            tie_embeddings: m.tie_embeddings,
            bias: m.bias,
            init: m.init,
            init_range: if m.init_range > 0.0 { m.init_range } else { (m.d_model as f64).powf(-0.5) },
            char_cnn: char_cnn.map(|c| CharCnn::new(c, vocabulary.source(), m.d_model)),
        }
    }

    /// Whether there is no encoder: a language model.
    pub fn is_decoder_only(&self) -> bool {
        self.encoder_layers == 0
    }

    /// Every parameter: Marian's names, Pegasus's where pre-norm, GPT-2's without an encoder; linear weights as (out, in).
    /// Of learned positions there are as many as asked for.
    pub fn declarations(&self, positions: usize) -> Vec<Declaration> {
        let mut all: Vec<Declaration> = self.char_cnn.iter().flat_map(CharCnn::declarations).collect();
        let d = self.d_model;
        let mut declare = |name: String, dims: &[usize], init| all.push(Declaration { name, dims: dims.into(), init });
        let (embedding, weight) = match self.init {
            recipe::Init::Xavier => (Init::Normal((d as f64).powf(-0.5)), Init::Xavier),
            recipe::Init::Gpt2 => (Init::Normal(GPT2_DEVIATION), Init::Normal(GPT2_DEVIATION)),
            recipe::Init::Uniform => (Init::Uniform(self.init_range), Init::Uniform(self.init_range)),
        };
        let bias = if self.init == recipe::Init::Uniform { weight } else { Init::Constant(0.0) };
        let (source, target) = (self.vocabulary.source(), self.vocabulary.target());
        let (read, written) = (self.embedding("decoder"), self.output_embedding());
        let mut tables = vec![(read, target), (written, target)];
        if !self.is_decoder_only() && self.char_cnn.is_none() {
            tables.insert(0, (self.embedding("encoder"), source));
        }
        // A matrix that has several uses is one parameter.
        tables.dedup();
        for (table, tokens) in tables {
            declare(table, &[tokens, d], embedding);
        }
        if self.positions == Positions::Learned {
            for stack in self.stacks() {
                declare(self.position_table(stack.name), &[positions, d], embedding);
            }
        }
        for stack in self.stacks() {
            // What is added up over a stack shall not grow with its depth.
            let residuals = (stack.layers * (stack.attentions.len() + 1)) as f64;
            let last = match self.init {
                recipe::Init::Xavier | recipe::Init::Uniform => weight,
                recipe::Init::Gpt2 => Init::Normal(GPT2_DEVIATION / residuals.sqrt()),
            };
            let mut linear = |name: String, out: usize, input: usize, init| {
                declare(format!("{name}.weight"), &[out, input], init);
                if self.bias {
                    declare(format!("{name}.bias"), &[out], bias);
                }
            };
            for i in 0..stack.layers {
                let layer = self.layer(stack.name, i);
                for attention in stack.attentions {
                    for projection in ["q_proj", "k_proj", "v_proj"] {
                        linear(self.attention_name(&layer, attention, projection), d, d, weight);
                    }
                    linear(self.attention_name(&layer, attention, "out_proj"), d, d, last);
                }
                let [inner, outer] = self.ffn_names(&layer);
                linear(inner, self.ffn, d, weight);
                linear(outer, d, self.ffn, last);
            }
        }
        for norm in self.stacks().iter().flat_map(|stack| self.norms(stack.name)) {
            declare(format!("{norm}.weight"), &[d], Init::Constant(1.0));
            if self.bias || !self.is_decoder_only() {
                declare(format!("{norm}.bias"), &[d], Init::Constant(0.0));
            }
        }
        all
    }

    /// The encoder's states (B, S, C).
    pub fn encode(&self, g: &mut Graph, w: &Weights, source: Tokens, c: &Context) -> Value {
        g.scoped("encoder", |g| {
            let mut x = self.stream(g, w, "encoder", source, c);
            let seen = self.seen(g, source.lengths, false, c);
            for i in 0..self.encoder_layers {
                g.scoped(&format!("layers.{i}"), |g| {
                    let layer = self.layer("encoder", i);
                    let kv = g.scoped("self_attn", |g| self.own_keys_values(g, w, &layer, x.normed, c));
                    self.attention(g, w, [&layer, "self_attn"], &mut x, Keys::Given(kv, seen), c);
                    self.feed_forward(g, w, &layer, &mut x, c);
                });
            }
            x.normed
        })
    }

    /// The decoder's states (B, T, C) for all positions at once: what training runs. `memory` is the encoder's states with
    /// their lengths, none where there is no encoder.
    pub fn decode(
        &self,
        g: &mut Graph,
        w: &Weights,
        target: Tokens,
        memory: Option<(Value, Value)>,
        c: &Context,
    ) -> Value {
        self.decode_keeping(g, w, target, memory, c, |_, _, _| ())
    }

    /// Like [`Transformer::decode`]; `keep` gets the keys and values (B, T, C) of every self-attention.
    pub fn decode_keeping(
        &self,
        g: &mut Graph,
        w: &Weights,
        target: Tokens,
        memory: Option<(Value, Value)>,
        c: &Context,
        mut keep: impl FnMut(&mut Graph, usize, KeysValues),
    ) -> Value {
        g.scoped("decoder", |g| {
            let mut x = self.stream(g, w, "decoder", target, c);
            let own = self.seen(g, target.lengths, true, c);
            let encoded = memory.map(|(memory, lengths)| (memory, self.seen(g, lengths, false, c)));
            for i in 0..self.decoder_layers {
                let layer = self.layer("decoder", i);
                g.scoped(&format!("layers.{i}"), |g| {
                    let kv = g.scoped("self_attn", |g| self.own_keys_values(g, w, &layer, x.normed, c));
                    keep(g, i, kv);
                    self.attention(g, w, [&layer, "self_attn"], &mut x, Keys::Given(kv, own), c);
                    if let Some((memory, seen)) = encoded {
                        let kv = g.scoped("encoder_attn", |g| self.keys_values(g, w, &layer, "encoder_attn", memory));
                        self.attention(g, w, [&layer, "encoder_attn"], &mut x, Keys::Given(kv, seen), c);
                    }
                    self.feed_forward(g, w, &layer, &mut x, c);
                });
            }
            x.normed
        })
    }

    /// Keys and values of the encoder–decoder attention of every decoder layer: computed once per source.
    pub fn encoded_keys_values(&self, g: &mut Graph, w: &Weights, memory: Value) -> Vec<KeysValues> {
        let layer = |i: usize| self.keys_values(g, w, &self.layer("decoder", i), "encoder_attn", memory);
        (0..self.decoder_layers).map(layer).collect()
    }

    /// The decoder's state (R, 1, C) for one new token (R, 1) at the position `c.start` (R), and the caches with its keys
    /// and values; it sees what is below its length.
    pub fn decode_step(
        &self,
        g: &mut Graph,
        w: &Weights,
        token: Tokens,
        past: &Past,
        c: &Context,
    ) -> (Value, Vec<KeysValues>) {
        g.scoped("decoder", |g| {
            let mut x = self.stream(g, w, "decoder", token, c);
            let mut grown = vec![];
            for (i, &(keys, values)) in past.caches.iter().enumerate() {
                let layer = self.layer("decoder", i);
                g.scoped(&format!("layers.{i}"), |g| {
                    let kv = g.scoped("self_attn", |g| {
                        let (k, v) = self.own_keys_values(g, w, &layer, x.normed, c);
                        let [k, v] =
                            [(keys, k), (values, v)].map(|(old, new)| g.cache_append(old, new, past.slot, c.start));
                        (k, v)
                    });
                    grown.push(kv);
                    let own = Keys::Cached(kv, token.lengths, past.origin);
                    self.attention(g, w, [&layer, "self_attn"], &mut x, own, c);
                    if let Some(encoded) = &past.encoded {
                        let other = Keys::Cached(encoded.keys_values[i], encoded.lengths, encoded.line);
                        self.attention(g, w, [&layer, "encoder_attn"], &mut x, other, c);
                    }
                    self.feed_forward(g, w, &layer, &mut x, c);
                });
            }
            (x.normed, grown)
        })
    }

    /// What states are projected to logits by, (V, C).
    pub fn output_table(&self, w: &Weights) -> Value {
        w.get(&self.output_embedding())
    }

    fn embed(&self, g: &mut Graph, w: &Weights, stack: &str, tokens: Tokens, c: &Context) -> Value {
        let scale = if self.scale_embedding { (self.d_model as f32).sqrt() } else { 1.0 };
        let x = match &self.char_cnn {
            Some(cnn) if stack == "encoder" => cnn.read(g, w, tokens),
            _ => g.embedding(tokens.ids, w.get(&self.embedding(stack)), tokens.by_token, scale),
        };
        let x = match (self.positions, c.positions) {
            (Positions::Rotary, _) => x,
            (Positions::Learned, _) => g.positions(x, w.get(&self.position_table(stack)), c.start),
            (_, table) => g.positions(x, table.expect("a table of sinusoids"), c.start),
        };
        self.drop(g, x, c, "embedding")
    }
}
