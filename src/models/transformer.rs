//! The encoder–decoder Transformer (Vaswani et al. 2017), post-norm as in the paper or pre-norm (Xiong et al. 2020).

use crate::graph::{Graph, Value};
use crate::ops::matmul::Activation;
use crate::parameters::{Declaration, Init, Weights};
use crate::recipe::{self, Model, Norm, Positions};

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

/// Sizes and options of a Transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct Transformer {
    /// Tokens of either side.
    pub vocabulary: Vocabulary,
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
    /// Linear layers have biases.
    pub bias: bool,
}

/// The values that make the masks and the positions.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The step state where dropout is on.
    pub step: Option<Value>,
    /// Table of sinusoids: (P, C) to be added or (P, D) to turn heads by; none where positions are learned.
    pub positions: Option<Value>,
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
    /// The model of a recipe, for a vocabulary; a number is a shared one.
    pub fn new(m: &Model, vocabulary: impl Into<Vocabulary>) -> Transformer {
        Transformer {
            vocabulary: vocabulary.into(),
            d_model: m.d_model,
            heads: m.heads,
            encoder_layers: m.encoder_layers,
            decoder_layers: m.decoder_layers,
            ffn: m.ffn,
            dropout: m.dropout as f32,
            norm: m.norm,
            norm_eps: m.norm_eps as f32,
            activation: m.activation,
            positions: m.positions,
            scale_embedding: m.scale_embedding,
            tie_embeddings: m.tie_embeddings,
            bias: m.bias,
        }
    }

    /// Every parameter: Marian's names and, for pre-norm, Pegasus's; linear weights as (out, in). Of learned positions
    /// there are as many as asked for.
    pub fn declarations(&self, positions: usize) -> Vec<Declaration> {
        let mut all = vec![];
        let d = self.d_model;
        let mut declare = |name: String, dims: &[usize], init| all.push(Declaration { name, dims: dims.into(), init });
        let embedding = Init::Normal((d as f64).powf(-0.5));
        let (source, target) = (self.vocabulary.source(), self.vocabulary.target());
        let (read, written) = (self.embedding("decoder"), self.output_embedding());
        let mut tables = vec![(self.embedding("encoder"), source), (read, target), (written, target)];
        // A matrix that has several uses is one parameter.
        tables.dedup();
        for (table, tokens) in tables {
            declare(table, &[tokens, d], embedding);
        }
        if self.positions == Positions::Learned {
            for stack in ["encoder", "decoder"] {
                declare(format!("model.{stack}.embed_positions.weight"), &[positions, d], embedding);
            }
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
            if self.norm == Norm::Pre {
                norms.push(format!("model.{stack}.layer_norm"));
            }
        }
        for norm in norms {
            declare(format!("{norm}.weight"), &[d], Init::Constant(1.0));
            declare(format!("{norm}.bias"), &[d], Init::Constant(0.0));
        }
        all
    }

    /// Name of the matrix (tokens, C) that embeds what "encoder" or "decoder" reads.
    fn embedding(&self, stack: &str) -> String {
        match (self.vocabulary, self.tie_embeddings) {
            (Vocabulary::Shared(_), true) => "model.shared.weight".into(),
            _ => format!("model.{stack}.embed_tokens.weight"),
        }
    }

    /// Name of the matrix (V, C) that makes logits of states.
    fn output_embedding(&self) -> String {
        if self.tie_embeddings { self.embedding("decoder") } else { "lm_head.weight".into() }
    }

    /// The encoder's states (B, S, C).
    pub fn encode(&self, g: &mut Graph, w: &Weights, source: Tokens, c: &Context) -> Value {
        g.scoped("encoder", |g| {
            let mut x = self.embed(g, w, "encoder", source, c);
            for i in 0..self.encoder_layers {
                x = g.scoped(&format!("layers.{i}"), |g| {
                    let name = format!("model.encoder.layers.{i}");
                    let norm = format!("{name}.self_attn_layer_norm");
                    let y = g.scoped("self_attn", |g| {
                        let attn = format!("{name}.self_attn");
                        let x = self.norm_before(g, w, &norm, x);
                        let kv = self.own_keys_values(g, w, &attn, x, c);
                        self.attention(g, w, &attn, x, kv, source.lengths, false, c)
                    });
                    let x = self.residual(g, w, &norm, x, y, c);
                    self.feed_forward(g, w, &name, x, c)
                });
            }
            self.norm_before(g, w, "model.encoder.layer_norm", x)
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
            let mut x = self.embed(g, w, "decoder", target, c);
            for i in 0..self.decoder_layers {
                let name = format!("model.decoder.layers.{i}");
                x = g.scoped(&format!("layers.{i}"), |g| {
                    let own = |g: &mut Graph, x| {
                        let kv = self.own_keys_values(g, w, &format!("{name}.self_attn"), x, c);
                        (kv, target.lengths, true)
                    };
                    let encoded = |g: &mut Graph| self.keys_values(g, w, &format!("{name}.encoder_attn"), memory);
                    self.decoder_layer(g, w, &name, x, own, encoded, memory_lengths, c)
                });
            }
            self.norm_before(g, w, "model.decoder.layer_norm", x)
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
        let mut x = self.embed(g, w, "decoder", token, c);
        let mut grown = vec![];
        for i in 0..self.decoder_layers {
            let name = format!("model.decoder.layers.{i}");
            let own = |g: &mut Graph, x| {
                let (k, v) = self.own_keys_values(g, w, &format!("{name}.self_attn"), x, c);
                let k = g.cache_append(caches[i].0, k, c.start);
                let v = g.cache_append(caches[i].1, v, c.start);
                grown.push((k, v));
                ((k, v), token.lengths, false)
            };
            x = self.decoder_layer(g, w, &name, x, own, |_| encoded[i], encoded_lengths, c);
        }
        (self.norm_before(g, w, "model.decoder.layer_norm", x), grown)
    }

    /// Logits (rows, V) of states (..., C).
    pub fn logits(&self, g: &mut Graph, w: &Weights, x: Value) -> Value {
        let rows = g.ty(x).rows();
        let logits = g.scoped("logits", |g| g.linear(x, w.get(&self.output_embedding()), None, Activation::None));
        g.reshape(logits, &[rows, self.vocabulary.target()])
    }

    fn embed(&self, g: &mut Graph, w: &Weights, stack: &str, tokens: Tokens, c: &Context) -> Value {
        let scale = if self.scale_embedding { (self.d_model as f32).sqrt() } else { 1.0 };
        let x = g.embedding(tokens.ids, w.get(&self.embedding(stack)), tokens.by_token, scale);
        let x = match (self.positions, c.positions) {
            (Positions::Rotary, _) => x,
            (Positions::Learned, _) => g.positions(x, w.get(&format!("model.{stack}.embed_positions.weight")), c.start),
            (_, table) => g.positions(x, table.expect("a table of sinusoids"), c.start),
        };
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
        let norm = format!("{name}.self_attn_layer_norm");
        let y = g.scoped("self_attn", |g| {
            let x = self.norm_before(g, w, &norm, x);
            let (kv, lengths, causal) = own(g, x);
            self.attention(g, w, &format!("{name}.self_attn"), x, kv, lengths, causal, c)
        });
        let x = self.residual(g, w, &norm, x, y, c);
        let norm = format!("{name}.encoder_attn_layer_norm");
        let y = g.scoped("encoder_attn", |g| {
            let x = self.norm_before(g, w, &norm, x);
            let kv = encoded(g);
            self.attention(g, w, &format!("{name}.encoder_attn"), x, kv, encoded_lengths, false, c)
        });
        let x = self.residual(g, w, &norm, x, y, c);
        self.feed_forward(g, w, name, x, c)
    }

    fn keys_values(&self, g: &mut Graph, w: &Weights, name: &str, x: Value) -> KeysValues {
        (self.linear(g, w, &format!("{name}.k_proj"), x), self.linear(g, w, &format!("{name}.v_proj"), x))
    }

    /// Keys and values of self-attention.
    fn own_keys_values(&self, g: &mut Graph, w: &Weights, name: &str, x: Value, c: &Context) -> KeysValues {
        let (k, v) = self.keys_values(g, w, name, x);
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
        let q = if name.ends_with(".self_attn") { self.turn(g, q, c) } else { q };
        let scores = g.attention_scores(q, k, self.heads);
        let scale = 1.0 / ((self.d_model / self.heads) as f32).sqrt();
        let p = g.softmax(scores, lengths, scale, causal);
        let p = self.drop(g, p, c, "weights");
        let context = g.attention_context(p, v, self.heads);
        self.linear(g, w, &format!("{name}.out_proj"), context)
    }

    fn feed_forward(&self, g: &mut Graph, w: &Weights, name: &str, x: Value, c: &Context) -> Value {
        let norm = format!("{name}.final_layer_norm");
        let y = g.scoped("ffn", |g| {
            let x = self.norm_before(g, w, &norm, x);
            let (fc1, bias) = (w.get(&format!("{name}.fc1.weight")), w.find(&format!("{name}.fc1.bias")));
            let inner = match self.activation {
                recipe::Activation::Relu => g.linear(x, fc1, bias, Activation::Relu),
                // Their derivatives need what went in, which an epilogue does not keep.
                recipe::Activation::Gelu => {
                    let x = g.linear(x, fc1, bias, Activation::None);
                    g.gelu(x)
                }
                recipe::Activation::GeluNew => {
                    let x = g.linear(x, fc1, bias, Activation::None);
                    g.gelu_new(x)
                }
            };
            self.linear(g, w, &format!("{name}.fc2"), inner)
        });
        self.residual(g, w, &norm, x, y, c)
    }

    /// What a sublayer and, in the end, the stack's reader gets: LayerNorm(x) where the norms come before.
    fn norm_before(&self, g: &mut Graph, w: &Weights, norm: &str, x: Value) -> Value {
        match self.norm {
            Norm::Post => x,
            Norm::Pre => self.layer_norm(g, w, norm, x),
        }
    }

    /// x + Dropout(y), and LayerNorm of that where the norms come after.
    fn residual(&self, g: &mut Graph, w: &Weights, norm: &str, x: Value, y: Value, c: &Context) -> Value {
        let site = norm.rsplit('.').next().unwrap_or(norm);
        let y = self.drop(g, y, c, site);
        let sum = g.add(x, y);
        match self.norm {
            Norm::Post => self.layer_norm(g, w, norm, sum),
            Norm::Pre => sum,
        }
    }

    fn layer_norm(&self, g: &mut Graph, w: &Weights, name: &str, x: Value) -> Value {
        g.layer_norm(x, w.get(&format!("{name}.weight")), w.get(&format!("{name}.bias")), self.norm_eps)
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
