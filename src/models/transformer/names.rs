//! What parameters are called: as in transformers' Marian and Pegasus, without an encoder as in its GPT-2, whose three
//! projections of an attention are one matrix there.

use super::{Transformer, Vocabulary};
use crate::recipe::Norm;

/// The blocks of an encoder or a decoder.
pub(super) struct Stack {
    /// "encoder" or "decoder".
    pub name: &'static str,
    pub layers: usize,
    /// The attentions of a block.
    pub attentions: &'static [&'static str],
}

impl Transformer {
    /// The stacks that there are.
    pub(super) fn stacks(&self) -> Vec<Stack> {
        let stack = |name, layers, attentions| Stack { name, layers, attentions };
        match self.is_decoder_only() {
            true => vec![stack("decoder", self.decoder_layers, &["self_attn"])],
            false => vec![
                stack("encoder", self.encoder_layers, &["self_attn"]),
                stack("decoder", self.decoder_layers, &["self_attn", "encoder_attn"]),
            ],
        }
    }

    /// The matrix (tokens, C) that embeds what "encoder" or "decoder" reads.
    pub(super) fn embedding(&self, stack: &str) -> String {
        match (self.vocabulary, self.tie_embeddings) {
            _ if self.is_decoder_only() => "transformer.wte.weight".into(),
            (Vocabulary::Shared(_), true) => "model.shared.weight".into(),
            _ => format!("model.{stack}.embed_tokens.weight"),
        }
    }

    /// The matrix (V, C) that makes logits of states.
    pub(super) fn output_embedding(&self) -> String {
        if self.tie_embeddings { self.embedding("decoder") } else { "lm_head.weight".into() }
    }

    /// The learned positions of a stack.
    pub(super) fn position_table(&self, stack: &str) -> String {
        match self.is_decoder_only() {
            true => "transformer.wpe.weight".into(),
            false => format!("model.{stack}.embed_positions.weight"),
        }
    }

    /// What the names of block i of a stack begin with.
    pub(super) fn layer(&self, stack: &str, i: usize) -> String {
        match self.is_decoder_only() {
            true => format!("transformer.h.{i}"),
            false => format!("model.{stack}.layers.{i}"),
        }
    }

    /// A projection of an attention of a block.
    pub(super) fn attention_name(&self, layer: &str, attention: &str, projection: &str) -> String {
        match (self.is_decoder_only(), projection) {
            (true, "out_proj") => format!("{layer}.attn.c_proj"),
            (true, _) => format!("{layer}.attn.{projection}"),
            (false, _) => format!("{layer}.{attention}.{projection}"),
        }
    }

    /// The output of a graph with the weights of an attention of block i, where they are recorded.
    pub(crate) fn recorded_name(&self, stack: &str, i: usize, attention: &str) -> String {
        recorded_name(&self.layer(stack, i), attention)
    }

    /// Both projections of a block's feed-forward sublayer.
    pub(super) fn ffn_names(&self, layer: &str) -> [String; 2] {
        let names = if self.is_decoder_only() { ["mlp.c_fc", "mlp.c_proj"] } else { ["fc1", "fc2"] };
        names.map(|name| format!("{layer}.{name}"))
    }

    /// The layer norms of a stack in the order in which they are applied: one for every sublayer, and before those the
    /// final one comes last.
    pub(super) fn norms(&self, stack: &str) -> Vec<String> {
        let Stack { layers, attentions, .. } =
            self.stacks().into_iter().find(|s| s.name == stack).expect("one of the stacks");
        let of_layer = |i: usize| -> Vec<String> {
            let layer = self.layer(stack, i);
            match self.is_decoder_only() {
                true => ["ln_1", "ln_2"].map(|norm| format!("{layer}.{norm}")).into(),
                false => attentions.iter().chain(&["final"]).map(|norm| format!("{layer}.{norm}_layer_norm")).collect(),
            }
        };
        let last = match self.is_decoder_only() {
            true => "transformer.ln_f".into(),
            false => format!("model.{stack}.layer_norm"),
        };
        (0..layers).flat_map(of_layer).chain((self.norm == Norm::Pre).then_some(last)).collect()
    }
}

/// The output with the weights of an attention of a block.
pub(super) fn recorded_name(layer: &str, attention: &str) -> String {
    format!("{layer}.{attention}.weights")
}
