//! What the parameters are called, how large they are and how they start.

use super::{REVERSE, Seq2Seq, rnn};
use crate::models::Vocabulary;
use crate::models::char_cnn::CharCnn;
use crate::parameters::{Declaration, Init};
use crate::recipe::{self, Attention, ContextUse};

impl Seq2Seq {
    /// Every parameter; those of the cells are called and laid out as in PyTorch's `nn.LSTM`, `nn.GRU` and `nn.RNN`.
    pub fn declarations(&self) -> Vec<Declaration> {
        let mut all: Vec<Declaration> = self.char_cnn.iter().flat_map(CharCnn::declarations).collect();
        let (h, m, e, s) = (self.hidden, self.embedding, self.memory_width(), self.vocabulary.source());
        let v = self.vocabulary.target();
        let gates = self.cell.gates() * h;
        let mut declare = |name: String, dims: &[usize]| {
            let init = match (self.init, name.ends_with("embedding.weight"), dims.len()) {
                (recipe::Init::Uniform, ..) => Init::Uniform(self.init_range),
                (_, _, 1) => Init::Constant(0.0),
                (recipe::Init::Gpt2, ..) => Init::Normal(0.02),
                (recipe::Init::Xavier, true, _) => Init::Normal((m as f64).powf(-0.5)),
                (recipe::Init::Xavier, false, _) => Init::Xavier,
            };
            all.push(Declaration { name, dims: dims.into(), init });
        };
        let mut tables = vec![(self.embedding_name("decoder"), [v, m]), (self.output_name(), [v, h])];
        if self.char_cnn.is_none() {
            tables.insert(0, (self.embedding_name("encoder"), [s, m]));
        }
        // A matrix that has several uses is one parameter.
        tables.dedup_by(|a, b| a.0 == b.0);
        tables.iter().for_each(|(name, dims)| declare(name.clone(), dims));
        let directions: &[&str] = if self.bidirectional { &["", REVERSE] } else { &[""] };
        let mut cells = |side: &str, layer: usize, suffix: &str, input: usize| {
            declare(rnn(side, "weight_ih", layer, suffix), &[gates, input]);
            declare(rnn(side, "weight_hh", layer, suffix), &[gates, h]);
            declare(rnn(side, "bias_ih", layer, suffix), &[gates]);
            declare(rnn(side, "bias_hh", layer, suffix), &[gates]);
        };
        for layer in 0..self.layers {
            directions.iter().for_each(|suffix| cells("encoder", layer, suffix, if layer == 0 { m } else { e }));
        }
        for layer in 0..self.layers {
            cells("decoder", layer, "", if layer == 0 { m + self.joined() } else { h });
        }
        if self.bidirectional {
            for layer in 0..self.layers {
                for part in &["h", "c"][..self.cell.states()] {
                    declare(format!("bridge.{part}_l{layer}.weight"), &[h, e]);
                    declare(format!("bridge.{part}_l{layer}.bias"), &[h]);
                }
            }
        }
        if matches!(self.attention, Attention::General | Attention::Bahdanau) {
            declare("attention.key.weight".into(), &[h, e]);
        }
        if self.attention == Attention::Bahdanau {
            declare("attention.query.weight".into(), &[h, h]);
            // A matrix of one row: a vector would start at zero, and never leave it.
            declare("attention.energy.weight".into(), &[1, h]);
        }
        if let Some(input) = self.readout() {
            declare("decoder.readout.weight".into(), &[h, input]);
            declare("decoder.readout.bias".into(), &[h]);
        }
        all
    }

    /// Width of what the states that logits are made of are computed from; none where they are the cells' own.
    fn readout(&self) -> Option<usize> {
        let (h, m, e) = (self.hidden, self.embedding, self.memory_width());
        match (self.attention, self.context) {
            (Attention::None, ContextUse::First) => None,
            (Attention::None, ContextUse::Every) | (Attention::Bahdanau, _) => Some(h + e + m),
            (Attention::Dot | Attention::General, _) => Some(e + h),
        }
    }

    /// The matrix (tokens, M) that embeds what "encoder" or "decoder" reads.
    pub(super) fn embedding_name(&self, side: &str) -> String {
        match (self.vocabulary, self.tie_embeddings) {
            (Vocabulary::Shared(_), true) => "embedding.weight".into(),
            _ => format!("{side}.embedding.weight"),
        }
    }

    /// The matrix (V, H) that makes logits of states.
    pub(super) fn output_name(&self) -> String {
        if self.tie_embeddings { self.embedding_name("decoder") } else { "decoder.output.weight".into() }
    }
}
