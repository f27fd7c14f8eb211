//! The weights of every attention of a model for one sentence and its translation, or for one text.
//!
//! Training and decoding keep no weights. One pass over all positions at once computes them again.

use crate::error::Result;
use crate::graph::Graph;
use crate::models::{Architecture, Context, seq2seq};
use crate::network::Network;
use crate::plan::Plan;
use crate::recipe;
use crate::tensor::Tensor;
use crate::text::tokenizer::{BOS, EOS, PAD};
use serde::Serialize;
use std::collections::HashMap;

/// Who looks at whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The encoder's self-attention: source to source.
    Encoder,
    /// The decoder's self-attention, causal: target to target.
    Decoder,
    /// Encoder–decoder attention: target to source.
    Cross,
}

impl Kind {
    /// All kinds, in the order in which a sentence passes through them.
    pub const ALL: [Kind; 3] = [Kind::Encoder, Kind::Decoder, Kind::Cross];

    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Encoder => "encoder",
            Kind::Decoder => "decoder",
            Kind::Cross => "cross",
        }
    }
}

/// How many maps of a kind a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which attention.
    pub kind: Kind,
    /// Layers of its stack.
    pub layers: usize,
    /// Heads of each layer.
    pub heads: usize,
}

/// The attentions of a model, in the order of [`Kind::ALL`].
pub fn extents(network: &Network) -> Vec<Extent> {
    let m = match &network.model {
        Architecture::Transformer(m) => m,
        Architecture::Seq2Seq(m) if m.attention == recipe::Attention::None => return vec![],
        Architecture::Seq2Seq(_) => return vec![Extent { kind: Kind::Cross, layers: 1, heads: 1 }],
    };
    let extent = |kind| {
        let layers = if kind == Kind::Encoder { m.encoder_layers } else { m.decoder_layers };
        Extent { kind, layers, heads: m.heads }
    };
    let there = |kind: &Kind| *kind == Kind::Decoder || !m.is_decoder_only();
    Kind::ALL.into_iter().filter(there).map(extent).collect()
}

/// The weights of one head.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Which attention.
    pub kind: Kind,
    /// Layer of its stack, from 1.
    pub layer: usize,
    /// Head, from 1.
    pub head: usize,
    /// A row for each query, a column for each key; each row sums to one.
    pub weights: Vec<Vec<f32>>,
}

/// What a model attended to while it translated a sentence, or went on with a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Tokens of the source as the encoder read them, `</s>` at the end; none where there is no encoder.
    pub source: Vec<u32>,
    /// Tokens that the decoder read: `<s>` and the translation, before them the source where there is no encoder.
    pub target: Vec<u32>,
    /// The most likely token after each of `target`: behind `<s>` the translation again, and what ends it.
    pub next: Vec<u32>,
    /// Tokens of the text before `target`, which there were no positions for.
    pub dropped: usize,
    /// By kind, layer, head.
    pub maps: Vec<Map>,
}

/// Computes attention weights. Its programs are kept: sentences of similar lengths share one.
#[derive(Debug, Default)]
pub struct Recorder {
    unmarked: bool,
    programs: HashMap<(usize, usize), usize>,
}

impl Recorder {
    /// For sentences without marks: the source has no `</s>`, and the translation starts with a token of its own.
    pub fn unmarked(self) -> Recorder {
        Recorder { unmarked: true, ..self }
    }

    /// The attention of a network that reads `source` and writes `translation`, as a decoder takes and gives them. What the
    /// network has no positions for is cut, without an encoder at the beginning of the source. Errors: the weights of a
    /// layer are larger than a binding can be, or the device failed.
    pub async fn record(&mut self, network: &mut Network, source: &[u32], translation: &[u32]) -> Result<Attention> {
        let most = network.positions();
        let (end, begin): (&[u32], &[u32]) = if self.unmarked { (&[], &[]) } else { (&[EOS], &[BOS]) };
        if network.model.is_decoder_only() {
            let first = (source.len() + begin.len()).saturating_sub(most);
            return self.record_text(network, &[source, begin, translation].concat(), first).await;
        }
        let source = [&source[..source.len().min(most - end.len())], end].concat();
        let target = [begin, &translation[..translation.len().min(most - begin.len())]].concat();
        self.read(network, source, target, 0).await
    }

    /// The attention of a network without an encoder that read `text` and wrote the end of it, from its token `first` on,
    /// which is at position 0. What the network has no positions for behind it is cut. Errors: as of
    /// [`Recorder::record`].
    pub async fn record_text(&mut self, network: &mut Network, text: &[u32], first: usize) -> Result<Attention> {
        let first = first.min(text.len());
        let end = text.len().min(first + network.positions());
        self.read(network, vec![], text[first..end].to_vec(), first).await
    }

    async fn read(
        &mut self,
        network: &mut Network,
        source: Vec<u32>,
        target: Vec<u32>,
        dropped: usize,
    ) -> Result<Attention> {
        let most = network.positions();
        let (s, t) = (padded(source.len(), most), padded(target.len(), most));
        let extents = extents(network);
        let program = self.program(network, s, t).await?;
        let padded = |ids: &[u32], width: usize| {
            let mut row = ids.to_vec();
            row.resize(width, PAD);
            row
        };
        let one = |n: usize| Tensor::u32([1], vec![n as u32]);
        let mut feeds = vec![
            ("target", Tensor::u32([1, t], padded(&target, t))),
            ("target_lengths", one(target.len())),
            ("start", one(0)),
        ];
        if !network.model.is_decoder_only() {
            feeds.extend(network.source_inputs(&padded(&source, s), &[source.len() as u32]));
        }
        let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
        network.device.run(program, &feeds);
        let next = network.device.read(program, "next").await?.as_u32()[..target.len()].to_vec();
        let mut maps = vec![];
        for Extent { kind, layers, .. } in extents {
            let (stack, attention, rows, columns) = match kind {
                Kind::Encoder => ("encoder", "self_attn", source.len(), source.len()),
                Kind::Decoder => ("decoder", "self_attn", target.len(), target.len()),
                Kind::Cross => ("decoder", "encoder_attn", target.len(), source.len()),
            };
            for layer in 0..layers {
                let name = match &network.model {
                    Architecture::Transformer(m) => m.recorded_name(stack, layer, attention),
                    Architecture::Seq2Seq(_) => seq2seq::RECORDED.to_string(),
                };
                let weights = network.device.read(program, &name).await?;
                let (height, width) = (weights.ty().dims[2], weights.ty().dims[3]);
                for (head, square) in weights.as_f32().chunks(height * width).enumerate() {
                    let weights = square.chunks(width).take(rows).map(|row| row[..columns].to_vec()).collect();
                    maps.push(Map { kind, layer: layer + 1, head: head + 1, weights });
                }
            }
        }
        Ok(Attention { source, target, next, dropped, maps })
    }

    async fn program(&mut self, network: &mut Network, source: usize, target: usize) -> Result<usize> {
        if let Some(&program) = self.programs.get(&(source, target)) {
            return Ok(program);
        }
        let plan = Plan::new(graph(network, source, target), &network.device.limits())?;
        let program = network.device.load(vec![plan]).await?;
        self.programs.insert((source, target), program);
        Ok(program)
    }
}

/// The forward pass of one sentence, or of one text where there is no encoder, with the weights of every attention among its outputs.
fn graph(network: &Network, source: usize, target: usize) -> Graph {
    let mut g = Graph::new();
    let weights = network.parameters.bind(&mut g);
    let context = Context { record: true, ..network.context(&mut g, None) };
    let source = (!network.model.is_decoder_only()).then(|| network.source_tokens(&mut g, 1, source));
    let target = network.target_tokens(&mut g, "target", 1, target);
    let states = network.model.states(&mut g, &weights, source, target, &context);
    let logits = network.model.logits(&mut g, &weights, states);
    let next = g.argmax(logits);
    g.output("logits", logits);
    g.output("next", next);
    g
}

/// Lengths are rounded up so much that few programs are made.
fn padded(length: usize, most: usize) -> usize {
    length.next_power_of_two().max(16).min(most)
}
