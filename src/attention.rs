//! The weights of every attention of a model for one sentence and its translation.
//!
//! Training and decoding keep no weights. One pass over all positions at once computes them again.

use crate::error::Result;
use crate::graph::Graph;
use crate::models::{Architecture, Context};
use crate::network::Network;
use crate::plan::Plan;
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

/// What a model attended to while it translated a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Tokens of the source as the encoder read them, `</s>` at the end.
    pub source: Vec<u32>,
    /// Tokens that the decoder read: `<s>` and the translation.
    pub target: Vec<u32>,
    /// The most likely token after each of `target`: the translation again, and what ends it.
    pub next: Vec<u32>,
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
    /// network has no positions for is cut. Errors: the weights of a layer are larger than a binding can be, or the
    /// device failed.
    pub async fn record(&mut self, network: &mut Network, source: &[u32], translation: &[u32]) -> Result<Attention> {
        let most = network.positions();
        let (end, begin): (&[u32], &[u32]) = if self.unmarked { (&[], &[]) } else { (&[EOS], &[BOS]) };
        let source = [&source[..source.len().min(most - end.len())], end].concat();
        let target = [begin, &translation[..translation.len().min(most - begin.len())]].concat();
        let (s, t) = (padded(source.len(), most), padded(target.len(), most));
        let program = self.program(network, s, t).await?;
        let padded = |ids: &[u32], width: usize| {
            let mut row = ids.to_vec();
            row.resize(width, PAD);
            (Tensor::u32([1, width], row), Tensor::u32([1], vec![ids.len() as u32]))
        };
        let ((from, from_lengths), (to, to_lengths)) = (padded(&source, s), padded(&target, t));
        let start = Tensor::u32([1], vec![0]);
        let feeds = [
            ("source", &from),
            ("source_lengths", &from_lengths),
            ("target", &to),
            ("target_lengths", &to_lengths),
            ("start", &start),
        ];
        let device = &mut network.device;
        device.run(program, &feeds);
        let next = device.read(program, "next").await?.as_u32()[..target.len()].to_vec();
        let mut maps = vec![];
        for kind in Kind::ALL {
            let Architecture::Transformer(m) = &network.model else { continue };
            let (layers, attention) = match kind {
                Kind::Encoder => (m.encoder_layers, "encoder.layers.{}.self_attn"),
                Kind::Decoder => (m.decoder_layers, "decoder.layers.{}.self_attn"),
                Kind::Cross => (m.decoder_layers, "decoder.layers.{}.encoder_attn"),
            };
            let rows = if kind == Kind::Encoder { source.len() } else { target.len() };
            let columns = if kind == Kind::Decoder { target.len() } else { source.len() };
            for layer in 0..layers {
                let name = format!("model.{}.weights", attention.replace("{}", &layer.to_string()));
                let weights = network.device.read(program, &name).await?;
                let (height, width) = (weights.ty().dims[2], weights.ty().dims[3]);
                for (head, square) in weights.as_f32().chunks(height * width).enumerate() {
                    let weights = square.chunks(width).take(rows).map(|row| row[..columns].to_vec()).collect();
                    maps.push(Map { kind, layer: layer + 1, head: head + 1, weights });
                }
            }
        }
        Ok(Attention { source, target, next, maps })
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

/// The forward pass of one sentence with the weights of every attention among its outputs.
fn graph(network: &Network, source: usize, target: usize) -> Graph {
    let mut g = Graph::new();
    let weights = network.parameters.bind(&mut g);
    let context = Context { record: true, ..network.context(&mut g, None) };
    let source = network.source_tokens(&mut g, 1, source);
    let target = network.target_tokens(&mut g, "target", 1, target);
    let states = network.model.states(&mut g, &weights, Some(source), target, &context);
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
