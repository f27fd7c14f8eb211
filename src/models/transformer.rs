//! The encoder–decoder Transformer (Vaswani et al. 2017), post-norm.

use crate::graph::{Graph, Value};
use crate::ops::matmul::Activation;
use crate::parameters::{Declaration, Init, Weights};
use crate::recipe::Model;

/// Sizes and options of a Transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct Transformer {
    /// Tokens of the vocabulary, V.
    pub vocabulary: usize,
    /// Width, C.
    pub d_model: usize,
    /// Attention heads, H.
    pub heads: usize,
    /// Encoder blocks.
    pub encoder_layers: usize,
    /// Decoder blocks.
    pub decoder_layers: usize,
    /// Inner width of the feed-forward sublayers.
    pub ffn: usize,
    /// Probability of a zero on embeddings, attention weights and the output of each sublayer.
    pub dropout: f32,
    /// Added to the variance in layer norm.
    pub norm_eps: f32,
    /// Embeddings are multiplied by sqrt(d_model).
    pub scale_embedding: bool,
    /// One matrix for source, target and output.
    pub tie_embeddings: bool,
    /// Linear layers have biases.
    pub bias: bool,
}

/// The values that make the masks and the positions.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The step state where dropout is on.
    pub step: Option<Value>,
    /// Table of positions (rows, C).
    pub positions: Value,
    /// Position of the first token (1).
    pub start: Value,
}

/// A sequence of tokens with what its embedding needs.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Ids (B, T).
    pub ids: Value,
    /// Lengths (B).
    pub lengths: Value,
    /// The ids' positions sorted by token, for the gradient.
    pub by_token: Value,
}

/// Keys and values of one attention, (B, T, C) each.
pub type KeysValues = (Value, Value);

impl Transformer {
    /// The model of a recipe, for a vocabulary.
    pub fn new(m: &Model, vocabulary: usize) -> Transformer {
        Transformer {
            vocabulary,
            d_model: m.d_model,
            heads: m.heads,
            encoder_layers: m.encoder_layers,
            decoder_layers: m.decoder_layers,
            ffn: m.ffn,
            dropout: m.dropout as f32,
            norm_eps: m.norm_eps as f32,
            scale_embedding: m.scale_embedding,
            tie_embeddings: m.tie_embeddings,
            bias: m.bias,
        }
    }

    /// Every parameter: Marian's names, linear weights as (out, in).
    pub fn declarations(&self) -> Vec<Declaration> {
        let mut all = vec![];
        let d = self.d_model;
        let mut declare = |name: String, dims: &[usize], init| all.push(Declaration { name, dims: dims.into(), init });
        let embedding = Init::Normal((d as f64).powf(-0.5));
        let tables: &[&str] = match self.tie_embeddings {
            true => &["model.shared.weight"],
            false => &["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"],
        };
        for table in tables {
            declare(table.to_string(), &[self.vocabulary, d], embedding);
        }
        let mut linear = |name: String, out: usize, input: usize| {
            declare(format!("{name}.weight"), &[out, input], Init::Xavier);
            if self.bias {
                declare(format!("{name}.bias"), &[out], Init::Constant(0.0));
            }
        };
        let mut norms = vec![];
        let stacks = [("encoder", self.encoder_layers, 1), ("decoder", self.decoder_layers, 2)];
        for (stack, layers, attentions) in stacks {
            for i in 0..layers {
                let layer = format!("model.{stack}.layers.{i}");
                for attention in &["self_attn", "encoder_attn"][..attentions] {
                    for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                        linear(format!("{layer}.{attention}.{projection}"), d, d);
                    }
                    norms.push(format!("{layer}.{attention}_layer_norm"));
                }
                linear(format!("{layer}.fc1"), self.ffn, d);
                linear(format!("{layer}.fc2"), d, self.ffn);
                norms.push(format!("{layer}.final_layer_norm"));
            }
        }
        for norm in norms {
            declare(format!("{norm}.weight"), &[d], Init::Constant(1.0));
            declare(format!("{norm}.bias"), &[d], Init::Constant(0.0));
        }
        all
    }

    /// The encoder's states (B, S, C).
    pub fn encode(&self, g: &mut Graph, w: &Weights, source: Tokens, c: &Context) -> Value {
        g.scoped("encoder", |g| {
            let mut x = self.embed(g, w, "encoder", source.ids, source.by_token, c);
            for i in 0..self.encoder_layers {
                x = g.scoped(&format!("layers.{i}"), |g| {
                    let name = format!("model.encoder.layers.{i}");
                    let y = g.scoped("self_attn", |g| {
                        let attn = format!("{name}.self_attn");
                        let kv = self.keys_values(g, w, &attn, x);
                        self.attention(g, w, &attn, x, kv, source.lengths, false, c)
                    });
                    let x = self.residual(g, w, &format!("{name}.self_attn_layer_norm"), x, y, c);
                    self.feed_forward(g, w, &name, x, c)
                });
            }
            x
        })
    }

    /// The decoder's states (B, T, C) for all positions at once: what training runs.
    pub fn decode(
        &self,
        g: &mut Graph,
        w: &Weights,
        target: Tokens,
        memory: Value,
        memory_lengths: Value,
        c: &Context,
    ) -> Value {
        g.scoped("decoder", |g| {
            let mut x = self.embed(g, w, "decoder", target.ids, target.by_token, c);
            for i in 0..self.decoder_layers {
                let name = format!("model.decoder.layers.{i}");
                x = g.scoped(&format!("layers.{i}"), |g| {
                    let own = |g: &mut Graph, x| {
                        let kv = self.keys_values(g, w, &format!("{name}.self_attn"), x);
                        (kv, target.lengths, true)
                    };
                    let encoded = |g: &mut Graph| self.keys_values(g, w, &format!("{name}.encoder_attn"), memory);
                    self.decoder_layer(g, w, &name, x, own, encoded, memory_lengths, c)
                });
            }
            x
        })
    }

    /// Keys and values of the encoder–decoder attention of every decoder layer: computed once per source.
    pub fn encoded_keys_values(&self, g: &mut Graph, w: &Weights, memory: Value) -> Vec<KeysValues> {
        let layer = |i: usize| self.keys_values(g, w, &format!("model.decoder.layers.{i}.encoder_attn"), memory);
        (0..self.decoder_layers).map(layer).collect()
    }

    /// The decoder's state (B, 1, C) for one new token (B, 1), with cached keys and values. `caches` are the
    /// self-attention's (B, T, C) of every layer, which get this token's row at `position` and come back; positions
    /// below `lengths` (B) are seen.
    #[allow(clippy::too_many_arguments)]
    pub fn decode_step(
        &self,
        g: &mut Graph,
        w: &Weights,
        token: Tokens,
        caches: &[KeysValues],
        encoded: &[KeysValues],
        encoded_lengths: Value,
        c: &Context,
    ) -> (Value, Vec<KeysValues>) {
        let mut x = self.embed(g, w, "decoder", token.ids, token.by_token, c);
        let mut grown = vec![];
        for i in 0..self.decoder_layers {
            let name = format!("model.decoder.layers.{i}");
            let own = |g: &mut Graph, x| {
                let (k, v) = self.keys_values(g, w, &format!("{name}.self_attn"), x);
                let k = g.cache_append(caches[i].0, k, c.start);
                let v = g.cache_append(caches[i].1, v, c.start);
                grown.push((k, v));
                ((k, v), token.lengths, false)
            };
            x = self.decoder_layer(g, w, &name, x, own, |_| encoded[i], encoded_lengths, c);
        }
        (x, grown)
    }

    /// Logits (rows, V) of states (..., C).
    pub fn logits(&self, g: &mut Graph, w: &Weights, x: Value) -> Value {
        let rows = g.ty(x).rows();
        let logits = g.scoped("logits", |g| g.linear(x, self.output_table(w), None, Activation::None));
        g.reshape(logits, &[rows, self.vocabulary])
    }

    /// What states are projected to logits by, (V, C).
    pub fn output_table(&self, w: &Weights) -> Value {
        w.get(if self.tie_embeddings { "model.shared.weight" } else { "lm_head.weight" })
    }

    fn embed(&self, g: &mut Graph, w: &Weights, side: &str, ids: Value, by_token: Value, c: &Context) -> Value {
        let table = match self.tie_embeddings {
            true => "model.shared.weight".into(),
            false => format!("model.{side}.embed_tokens.weight"),
        };
        let scale = if self.scale_embedding { (self.d_model as f32).sqrt() } else { 1.0 };
        let x = g.embedding(ids, w.get(&table), by_token, scale);
        let x = g.positions(x, c.positions, c.start);
        self.drop(g, x, c, "embedding")
    }

    #[allow(clippy::too_many_arguments)]
    fn decoder_layer(
        &self,
        g: &mut Graph,
        w: &Weights,
        name: &str,
        x: Value,
        own: impl FnOnce(&mut Graph, Value) -> (KeysValues, Value, bool),
        encoded: impl FnOnce(&mut Graph) -> KeysValues,
        encoded_lengths: Value,
        c: &Context,
    ) -> Value {
        let y = g.scoped("self_attn", |g| {
            let (kv, lengths, causal) = own(g, x);
            self.attention(g, w, &format!("{name}.self_attn"), x, kv, lengths, causal, c)
        });
        let x = self.residual(g, w, &format!("{name}.self_attn_layer_norm"), x, y, c);
        let y = g.scoped("encoder_attn", |g| {
            let kv = encoded(g);
            self.attention(g, w, &format!("{name}.encoder_attn"), x, kv, encoded_lengths, false, c)
        });
        let x = self.residual(g, w, &format!("{name}.encoder_attn_layer_norm"), x, y, c);
        self.feed_forward(g, w, name, x, c)
    }

    fn keys_values(&self, g: &mut Graph, w: &Weights, name: &str, x: Value) -> KeysValues {
        (self.linear(g, w, &format!("{name}.k_proj"), x), self.linear(g, w, &format!("{name}.v_proj"), x))
    }

    /// softmax(Q Kᵀ / sqrt(d_k)) V per head, heads side by side, projected.
    #[allow(clippy::too_many_arguments)]
    fn attention(
        &self,
        g: &mut Graph,
        w: &Weights,
        name: &str,
        x: Value,
        (k, v): KeysValues,
        lengths: Value,
        causal: bool,
        c: &Context,
    ) -> Value {
        let q = self.linear(g, w, &format!("{name}.q_proj"), x);
        let scores = g.attention_scores(q, k, self.heads);
        let scale = 1.0 / ((self.d_model / self.heads) as f32).sqrt();
        let p = g.softmax(scores, lengths, scale, causal);
        let p = self.drop(g, p, c, "weights");
        let context = g.attention_context(p, v, self.heads);
        self.linear(g, w, &format!("{name}.out_proj"), context)
    }

    fn feed_forward(&self, g: &mut Graph, w: &Weights, name: &str, x: Value, c: &Context) -> Value {
        let y = g.scoped("ffn", |g| {
            let (fc1, bias) = (w.get(&format!("{name}.fc1.weight")), w.find(&format!("{name}.fc1.bias")));
            let inner = g.linear(x, fc1, bias, Activation::Relu);
            self.linear(g, w, &format!("{name}.fc2"), inner)
        });
        self.residual(g, w, &format!("{name}.final_layer_norm"), x, y, c)
    }

    /// LayerNorm(x + Dropout(y)).
    fn residual(&self, g: &mut Graph, w: &Weights, norm: &str, x: Value, y: Value, c: &Context) -> Value {
        let site = norm.rsplit('.').next().unwrap_or(norm);
        let dropout = c.step.and_then(|step| Some((g.dropout_at(self.dropout, site)?, step)));
        let weights = ["weight", "bias"].map(|part| w.get(&format!("{norm}.{part}")));
        g.add_norm(x, y, weights, self.norm_eps, dropout).1
    }

    fn linear(&self, g: &mut Graph, w: &Weights, name: &str, x: Value) -> Value {
        g.linear(x, w.get(&format!("{name}.weight")), w.find(&format!("{name}.bias")), Activation::None)
    }

    fn drop(&self, g: &mut Graph, x: Value, c: &Context, site: &str) -> Value {
        match c.step {
            Some(step) => g.dropout(x, self.dropout, step, site),
            None => x,
        }
    }
}
