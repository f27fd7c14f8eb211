//! Greedy decoding with cached keys and values, many sentences at once.

use crate::error::Result;
use crate::graph::{Graph, Resident, Value};
use crate::models::transformer::KeysValues;
use crate::network::Network;
use crate::plan::Plan;
use crate::tensor::{Tensor, Type};
use crate::text::tokenizer::{BOS, EOS, PAD};
use std::collections::HashMap;

/// Rows of a decoding batch: every batch has one of these shapes, so that few programs are made.
const ROWS: [usize; 3] = [1, 8, 64];
/// Bytes that the largest buffer of a batch may take: a long sentence is decoded with fewer others, not refused for
/// their sake.
const LARGEST: u64 = 128 << 20;

/// Decodes with a network's parameters, whatever they are at the time.
#[derive(Debug)]
pub struct Decoder {
    /// The most tokens of a translation, as far as there are positions.
    longest: usize,
    /// The most tokens that it reads: those before the last.
    room: usize,
    /// What every translation starts with where sentences have no marks.
    start: Option<u32>,
    /// The most rows that there are caches for.
    rows: usize,
    /// Keys and values of the tokens so far, a pair per layer, for the largest batch.
    own: Vec<(Resident, Resident)>,
    /// Keys and values of the source by (rows · source length) that they have room for.
    encoded: Option<(usize, Vec<(Resident, Resident)>)>,
    programs: HashMap<(usize, usize), Programs>,
}

#[derive(Clone, Copy, Debug)]
struct Programs {
    encode: usize,
    step: usize,
}

impl Decoder {
    /// A decoder of translations of up to `longest` tokens.
    pub fn new(network: &mut Network, longest: usize) -> Decoder {
        let room = longest.min(network.positions());
        let width = network.model.d_model;
        let rows = most_rows(network, (room * width).max(network.model.vocabulary.target()));
        let mut declare = |what: String| network.memory.declare(what, Type::f32([rows * room * width]));
        let pair = |i| (declare(format!("cache.{i}.k")), declare(format!("cache.{i}.v")));
        let own = (0..network.model.decoder_layers).map(pair).collect();
        network.device.allocate(&network.memory);
        Decoder { longest, room, start: None, rows, own, encoded: None, programs: HashMap::new() }
    }

    /// For a model of sequences without `<s>` and `</s>`: every translation begins with `start` and is as long as it
    /// may be, `start` included.
    pub fn unmarked(self, start: u32) -> Decoder {
        Decoder { start: Some(start), ..self }
    }

    /// The most likely token after each other, from `<s>` to `</s>`, for each source (token ids without specials).
    /// Sources longer than the network has positions for are cut. A line's translation does not depend on the others:
    /// every kernel on the way adds up each row in one order, and padding is never seen. Errors: the device failed.
    pub async fn greedy(&mut self, network: &mut Network, sources: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
        let most = network.positions();
        let mark = usize::from(self.start.is_none());
        let length = |i: usize| (sources[i].len() + mark).min(most);
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(length(i)));
        let mut translations = vec![vec![]; sources.len()];
        let mut rest = &order[..];
        while !rest.is_empty() {
            let model = &network.model;
            let width = padded(length(rest[0]), most);
            let widest = model.d_model.max(model.ffn);
            let room = most_rows(network, width * widest).min(self.rows);
            let rows = ROWS.into_iter().find(|&r| r >= rest.len().min(room)).unwrap_or(room);
            let (batch, after) = rest.split_at(rows.min(rest.len()));
            let cut: Vec<&[u32]> = batch.iter().map(|&i| &sources[i][..length(i) - mark]).collect();
            for (&i, translation) in batch.iter().zip(self.batch(network, rows, &cut).await?) {
                translations[i] = translation;
            }
            rest = after;
        }
        Ok(translations)
    }

    async fn batch(&mut self, network: &mut Network, rows: usize, sources: &[&[u32]]) -> Result<Vec<Vec<u32>>> {
        let end: &[u32] = if self.start.is_none() { &[EOS] } else { &[] };
        let longest = sources.iter().map(|s| s.len() + end.len()).max().unwrap_or(1);
        let width = padded(longest, network.positions());
        let programs = self.programs(network, rows, width).await?;
        let mut ids = vec![PAD; rows * width];
        let mut lengths = vec![0; rows];
        for (r, source) in sources.iter().enumerate() {
            let source = [source, end].concat();
            ids[r * width..][..source.len()].copy_from_slice(&source);
            lengths[r] = source.len() as u32;
        }
        let one = |n: usize| Tensor::u32([1], vec![n as u32]);
        let lengths = Tensor::u32([rows], lengths);
        let ids = Tensor::u32([rows, width], ids);
        let device = &mut network.device;
        device.run(programs.encode, &[("source", &ids), ("source_lengths", &lengths), ("start", &one(0))]);

        let mut tokens = vec![self.start.unwrap_or(BOS); rows];
        let first: Vec<u32> = self.start.into_iter().collect();
        let steps = (self.longest - first.len()).min(self.room);
        let mut translations = vec![first; sources.len()];
        let mut open = vec![true; sources.len()];
        for position in 0..steps {
            let token = Tensor::u32([rows, 1], tokens);
            let seen = Tensor::u32([rows], vec![position as u32 + 1; rows]);
            let start = one(position);
            let feeds = [("token", &token), ("token_lengths", &seen), ("source_lengths", &lengths), ("start", &start)];
            device.run(programs.step, &feeds);
            tokens = device.read(programs.step, "next").await?.as_u32().to_vec();
            for (r, translation) in translations.iter_mut().enumerate() {
                open[r] &= self.start.is_some() || tokens[r] != EOS;
                if open[r] {
                    translation.push(tokens[r]);
                }
            }
            if !open.contains(&true) {
                break;
            }
        }
        Ok(translations)
    }

    async fn programs(&mut self, network: &mut Network, rows: usize, width: usize) -> Result<Programs> {
        if let Some(&programs) = self.programs.get(&(rows, width)) {
            return Ok(programs);
        }
        let room = rows * width;
        if self.encoded.as_ref().is_none_or(|(have, _)| *have < room) {
            let elements = room * network.model.d_model;
            let mut declare = |what: String| network.memory.declare(what, Type::f32([elements]));
            let pair = |i| (declare(format!("encoded.{i}.k")), declare(format!("encoded.{i}.v")));
            self.encoded = Some((room, (0..network.model.decoder_layers).map(pair).collect()));
            network.device.allocate(&network.memory);
        }
        let limits = network.device.limits();
        let plans = vec![
            Plan::new(self.encode_graph(network, rows, width), &limits)?,
            Plan::new(self.step_graph(network, rows, width), &limits)?,
        ];
        let encode = network.device.load(plans).await?;
        let programs = Programs { encode, step: encode + 1 };
        self.programs.insert((rows, width), programs);
        Ok(programs)
    }

    fn pairs(&self, g: &mut Graph, buffers: &[(Resident, Resident)], dims: [usize; 3]) -> Vec<KeysValues> {
        let mut value = |name: &str, r: Resident| g.resident(name, r, 0, Type::f32(dims));
        buffers.iter().map(|&(k, v)| (value("cached keys", k), value("cached values", v))).collect()
    }

    fn encoded(&self, g: &mut Graph, network: &Network, rows: usize, width: usize) -> Vec<KeysValues> {
        let (_, buffers) = self.encoded.as_ref().expect("room was made before the graphs");
        self.pairs(g, buffers, [rows, width, network.model.d_model])
    }

    fn encode_graph(&self, network: &Network, rows: usize, width: usize) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context(&mut g, None);
        let source = network.source_tokens(&mut g, rows, width);
        let memory = network.model.encode(&mut g, &weights, source, &context);
        let computed = network.model.encoded_keys_values(&mut g, &weights, memory);
        let kept = self.encoded(&mut g, network, rows, width);
        store_pairs(&mut g, &computed, &kept);
        // Positions that are not decoded yet count zero times what the cache holds: it must not be what an earlier
        // batch may have left, a NaN say.
        for (k, v) in self.pairs(&mut g, &self.own, [rows, self.room, network.model.d_model]) {
            let zeros = g.fill(0.0, &[rows, self.room, network.model.d_model]);
            g.store(zeros, k);
            let zeros = g.fill(0.0, &[rows, self.room, network.model.d_model]);
            g.store(zeros, v);
        }
        g
    }

    fn step_graph(&self, network: &Network, rows: usize, width: usize) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context(&mut g, None);
        let token = network.target_tokens(&mut g, "token", rows, 1);
        let source_lengths = g.input("source_lengths", Type::u32([rows]));
        let caches = self.pairs(&mut g, &self.own, [rows, self.room, network.model.d_model]);
        let encoded = self.encoded(&mut g, network, rows, width);
        let model = &network.model;
        let (state, grown) = model.decode_step(&mut g, &weights, token, &caches, &encoded, source_lengths, &context);
        store_pairs(&mut g, &grown, &caches);
        let logits = model.logits(&mut g, &weights, state);
        let next = g.argmax(logits);
        g.output("next", next);
        g.output("logits", logits);
        g
    }
}

/// Source lengths share programs by being rounded up, so much that there are few.
fn padded(length: usize, most: usize) -> usize {
    length.next_power_of_two().max(16).min(most)
}

/// The largest batch whose rows may have this many elements each; one row is tried in any case.
fn most_rows(network: &Network, elements: usize) -> usize {
    let bytes = network.device.limits().binding.min(LARGEST);
    ROWS.into_iter().rev().find(|r| (r * elements * 4) as u64 <= bytes).unwrap_or(1)
}

fn store_pairs(g: &mut Graph, values: &[KeysValues], to: &[KeysValues]) {
    let each = |pairs: &[KeysValues]| -> Vec<Value> { pairs.iter().flat_map(|&(k, v)| [k, v]).collect() };
    for (value, to) in each(values).into_iter().zip(each(to)) {
        g.store(value, to);
    }
}
