//! The encoder–decoder Transformer (Vaswani et al. 2017), post-norm as in the paper or pre-norm (Xiong et al. 2020).

mod sublayers;

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
    /// The weights of every attention become outputs of the graph, called `NAME.weights` after its parameters. They are
    /// computed by the operations that the fused kernel replaces.
    pub record: bool,
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
            // What is below one may round to it.
            dropout: (m.dropout as f32).min(1.0 - f32::EPSILON / 2.0),
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
        for (stack, layers, attentions) in self.stacks() {
            for i in 0..layers {
                let layer = format!("model.{stack}.layers.{i}");
                for attention in attentions {
                    for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                        linear(format!("{layer}.{attention}.{projection}"), d, d);
                    }
                }
                linear(format!("{layer}.fc1"), self.ffn, d);
                linear(format!("{layer}.fc2"), d, self.ffn);
            }
        }
        for norm in self.stacks().into_iter().flat_map(|(stack, ..)| self.norms(stack)) {
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

    /// Name, layers and attentions of a layer of both stacks.
    fn stacks(&self) -> [(&'static str, usize, &'static [&'static str]); 2] {
        [
            ("encoder", self.encoder_layers, &["self_attn"]),
            ("decoder", self.decoder_layers, &["self_attn", "encoder_attn"]),
        ]
    }

    /// The layer norms of a stack in the order in which they are applied: one for every sublayer, and before those the
    /// final one comes last.
    fn norms(&self, stack: &str) -> Vec<String> {
        let (_, layers, attentions) = self.stacks().into_iter().find(|s| s.0 == stack).expect("one of the two");
        let of_layer = |i: usize| {
            let name = move |norm: &str| format!("model.{stack}.layers.{i}.{norm}_layer_norm");
            attentions.iter().chain(&["final"]).map(move |norm| name(norm))
        };
        let last = (self.norm == Norm::Pre).then(|| format!("model.{stack}.layer_norm"));
        (0..layers).flat_map(of_layer).chain(last).collect()
    }

    /// The encoder's states (B, S, C).
    pub fn encode(&self, g: &mut Graph, w: &Weights, source: Tokens, c: &Context) -> Value {
        g.scoped("encoder", |g| {
            let mut x = self.stream(g, w, "encoder", source, c);
            let seen = self.seen(g, source.lengths, false, c);
            for i in 0..self.encoder_layers {
                g.scoped(&format!("layers.{i}"), |g| {
                    let name = format!("model.encoder.layers.{i}");
                    let kv = g
                        .scoped("self_attn", |g| self.own_keys_values(g, w, &format!("{name}.self_attn"), x.normed, c));
                    self.attention(g, w, &format!("{name}.self_attn"), &mut x, kv, seen, c);
                    self.feed_forward(g, w, &name, &mut x, c);
                });
            }
            x.normed
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
            let mut x = self.stream(g, w, "decoder", target, c);
            let own = self.seen(g, target.lengths, true, c);
            let encoded = self.seen(g, memory_lengths, false, c);
            for i in 0..self.decoder_layers {
                let name = format!("model.decoder.layers.{i}");
                g.scoped(&format!("layers.{i}"), |g| {
                    let kv = g
                        .scoped("self_attn", |g| self.own_keys_values(g, w, &format!("{name}.self_attn"), x.normed, c));
                    self.attention(g, w, &format!("{name}.self_attn"), &mut x, kv, own, c);
                    let kv =
                        g.scoped("encoder_attn", |g| self.keys_values(g, w, &format!("{name}.encoder_attn"), memory));
                    self.attention(g, w, &format!("{name}.encoder_attn"), &mut x, kv, encoded, c);
                    self.feed_forward(g, w, &name, &mut x, c);
                });
            }
            x.normed
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
        let mut x = self.stream(g, w, "decoder", token, c);
        let own = self.seen(g, token.lengths, false, c);
        let other = self.seen(g, encoded_lengths, false, c);
        let mut grown = vec![];
        for i in 0..self.decoder_layers {
            let name = format!("model.decoder.layers.{i}");
            let (k, v) = self.own_keys_values(g, w, &format!("{name}.self_attn"), x.normed, c);
            let k = g.cache_append(caches[i].0, k, c.start);
            let v = g.cache_append(caches[i].1, v, c.start);
            grown.push((k, v));
            self.attention(g, w, &format!("{name}.self_attn"), &mut x, (k, v), own, c);
            self.attention(g, w, &format!("{name}.encoder_attn"), &mut x, encoded[i], other, c);
            self.feed_forward(g, w, &name, &mut x, c);
        }
        (x.normed, grown)
    }

    /// Logits (rows, V) of states (..., C).
    pub fn logits(&self, g: &mut Graph, w: &Weights, x: Value) -> Value {
        let rows = g.ty(x).rows();
        let logits = g.scoped("logits", |g| g.linear(x, self.output_table(w), None, Activation::None));
        g.reshape(logits, &[rows, self.vocabulary.target()])
    }

    /// What states are projected to logits by, (V, C).
    pub fn output_table(&self, w: &Weights) -> Value {
        w.get(&self.output_embedding())
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
}
