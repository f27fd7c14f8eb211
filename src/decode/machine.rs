//! The programs of decoding, and the caches that they keep keys and values in.

use crate::error::Result;
use crate::graph::{Graph, Resident, Value};
use crate::models::transformer::{Encoded, KeysValues, Past, Tokens};
use crate::network::Network;
use crate::plan::Plan;
use crate::tensor::{Tensor, Type};
use crate::text::tokenizer::PAD;
use std::collections::HashMap;

/// Bytes that the largest buffer of a batch may take: a long line is decoded with fewer others, not refused for their
/// sake.
const LARGEST: u64 = 128 << 20;

/// One row of a step: a hypothesis.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The token that is read.
    pub token: u32,
    /// Its position.
    pub position: usize,
    /// The row of the caches that is written.
    pub slot: usize,
    /// The row of the caches in which the key of each earlier position is.
    pub origin: Vec<u32>,
    /// Its source among those that were encoded last.
    pub line: usize,
}

/// What a program gives for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The most likely token.
    Next,
    /// Logits.
    Logits,
}

/// An answer: a row each.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Next(Vec<u32>),
    /// (rows, V)
    Logits(Tensor),
}

/// Keys and values of each layer.
type Buffers = Vec<(Resident, Resident)>;

/// Programs by what they do and their shape, and buffers that grow when more is asked of them.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// Rows and positions of the caches; keys and values per layer.
    own: Option<([usize; 2], Buffers)>,
    /// Elements that there is room for; keys and values of sources per layer.
    encoded: Option<(usize, Buffers)>,
    /// Lines and width of the sources that were encoded last, and their lengths.
    sources: ([usize; 2], Vec<u32>),
    programs: HashMap<(Kind, [usize; 4]), usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Encode,
    Prefill,
    Step,
}

/// The most rows of `elements` each that a buffer of this network's device may have, a power of two; one is tried in any
/// case.
pub(super) fn most_rows(network: &Network, elements: usize, limit: usize) -> usize {
    let bytes = network.device.limits().binding.min(LARGEST);
    let fits = |rows: &usize| (rows * elements * 4) as u64 <= bytes;
    std::iter::successors(Some(limit), |rows| (*rows > 1).then_some(rows / 2)).find(fits).unwrap_or(1)
}

/// Lengths share programs by being rounded up, so much that there are few.
pub(super) fn padded(length: usize, most: usize) -> usize {
    length.next_power_of_two().max(16).min(most)
}

impl Machine {
    /// Makes caches for so many hypotheses of so many positions; larger ones are kept.
    pub(super) fn reserve(&mut self, network: &mut Network, rows: usize, room: usize) {
        let (mut rows, mut room) = (rows, room);
        if let Some(([have_rows, have_room], _)) = &self.own {
            if *have_rows >= rows && *have_room >= room {
                return;
            }
            (rows, room) = (rows.max(*have_rows), room.max(*have_room));
        }
        let elements = rows * room * network.model.d_model;
        self.own = Some(([rows, room], declare(network, "cache", elements)));
        // They read and write the caches of before.
        self.programs.retain(|(kind, _), _| *kind == Kind::Encode);
    }

    /// The positions of the caches.
    fn room(&self) -> usize {
        self.own.as_ref().map_or(0, |([_, room], _)| *room)
    }

    /// Encodes sources, which the rows of the steps to come belong to.
    pub(super) async fn encode(&mut self, network: &mut Network, sources: &[&[u32]]) -> Result<()> {
        let rows = sources.len().next_power_of_two();
        let longest = sources.iter().map(|s| s.len()).max().unwrap_or(1);
        let width = padded(longest, network.positions());
        let elements = rows * width * network.model.d_model;
        if self.encoded.as_ref().is_none_or(|(have, _)| *have < elements) {
            self.encoded = Some((elements, declare(network, "encoded", elements)));
            self.programs.clear();
        }
        let (ids, lengths) = rows_of(sources, rows, width);
        self.sources = ([rows, width], lengths.as_u32().to_vec());
        let key = (Kind::Encode, [rows, width, 0, 0]);
        let program = match self.programs.get(&key) {
            Some(&program) => program,
            None => self.load(network, key, |machine, network| machine.encode_graph(network, rows, width)).await?,
        };
        let start = Tensor::u32([1], vec![0]);
        network.device.run(program, &[("source", &ids), ("source_lengths", &lengths), ("start", &start)]);
        Ok(())
    }

    /// Reads texts at once, from position 0 on, into slots of the caches.
    pub(super) async fn prefill(
        &mut self,
        network: &mut Network,
        texts: &[(usize, &[u32])],
        wanted: Wanted,
    ) -> Result<Answer> {
        let rows = texts.len().next_power_of_two();
        let longest = texts.iter().map(|t| t.1.len()).max().unwrap_or(1);
        let width = padded(longest, network.positions());
        let mut texts = texts.to_vec();
        let count = texts.len();
        // Rows that nobody needs repeat the last one.
        texts.resize(rows, *texts.last().expect("a text"));
        let key = (Kind::Prefill, [rows, width, self.room(), 0]);
        let program = match self.programs.get(&key) {
            Some(&program) => program,
            None => self.load(network, key, |machine, network| machine.prefill_graph(network, rows, width)).await?,
        };
        let tokens: Vec<&[u32]> = texts.iter().map(|t| t.1).collect();
        let (ids, lengths) = rows_of(&tokens, rows, width);
        let slots = Tensor::u32([rows], texts.iter().map(|t| t.0 as u32).collect());
        let last = tokens.iter().enumerate().map(|(r, t)| (r * width + t.len() - 1) as u32).collect();
        let (last, zeros) = (Tensor::u32([rows], last), Tensor::u32([rows], vec![0; rows]));
        let feeds =
            [("target", &ids), ("target_lengths", &lengths), ("slot", &slots), ("last", &last), ("start", &zeros)];
        network.device.run(program, &feeds);
        answer(network, program, count, wanted).await
    }

    /// Reads one token a row.
    pub(super) async fn step(&mut self, network: &mut Network, rows: &[Row], wanted: Wanted) -> Result<Answer> {
        let count = rows.len();
        let padded = count.next_power_of_two();
        let room = self.room();
        let all = || rows.iter().chain(std::iter::repeat_n(&rows[count - 1], padded - count));
        let column = |f: &dyn Fn(&Row) -> u32| Tensor::u32([padded], all().map(f).collect());
        let token = column(&|r| r.token).reshape([padded, 1]);
        let (start, lengths) = (column(&|r| r.position as u32), column(&|r| r.position as u32 + 1));
        let slot = column(&|r| r.slot as u32);
        let mut origin = vec![0; padded * room];
        for (row, to) in all().zip(origin.chunks_mut(room)) {
            to[..row.position].copy_from_slice(&row.origin[..row.position]);
            to[row.position] = row.slot as u32;
        }
        let origin = Tensor::u32([padded, room], origin);
        let ([lines, width], source_lengths) = &self.sources;
        let key = (Kind::Step, [padded, room, *lines, *width]);
        let (lines, width) = (*lines, *width);
        let of_source = column(&|r| source_lengths.get(r.line).copied().unwrap_or(0));
        let line = column(&|r| r.line as u32).reshape([padded, 1]);
        let program = match self.programs.get(&key) {
            Some(&program) => program,
            None => {
                let sources = [lines, width];
                self.load(network, key, |machine, network| machine.step_graph(network, padded, sources)).await?
            }
        };
        let mut feeds = vec![
            ("token", &token),
            ("token_lengths", &lengths),
            ("slot", &slot),
            ("origin", &origin),
            ("start", &start),
        ];
        if !network.model.is_decoder_only() {
            feeds.extend([("source_lengths", &of_source), ("line", &line)]);
        }
        network.device.run(program, &feeds);
        answer(network, program, count, wanted).await
    }

    async fn load(
        &mut self,
        network: &mut Network,
        key: (Kind, [usize; 4]),
        graph: impl FnOnce(&Machine, &Network) -> Graph,
    ) -> Result<usize> {
        let plan = Plan::new(graph(self, network), &network.device.limits())?;
        let program = network.device.load(vec![plan]).await?;
        self.programs.insert(key, program);
        Ok(program)
    }

    /// The caches as values of a graph.
    fn caches(&self, g: &mut Graph, network: &Network) -> Vec<KeysValues> {
        let ([rows, room], buffers) = self.own.as_ref().expect("room was made before the graphs");
        pairs(g, buffers, [*rows, *room, network.model.d_model])
    }

    fn encode_graph(&self, network: &Network, rows: usize, width: usize) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context(&mut g, None);
        let source = network.source_tokens(&mut g, rows, width);
        let memory = network.model.encode(&mut g, &weights, source, &context);
        let computed = network.model.encoded_keys_values(&mut g, &weights, memory);
        let (_, buffers) = self.encoded.as_ref().expect("room was made before the graphs");
        let kept = pairs(&mut g, buffers, [rows, width, network.model.d_model]);
        store_pairs(&mut g, &computed, &kept);
        g
    }

    fn prefill_graph(&self, network: &Network, rows: usize, width: usize) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context_of_rows(&mut g, rows, None);
        let text = network.target_tokens(&mut g, "target", rows, width);
        let [slot, last] = ["slot", "last"].map(|name| g.input(name, Type::u32([rows])));
        let caches = self.caches(&mut g, network);
        let mut grown = vec![];
        let model = &network.model;
        let states = model.decode_keeping(&mut g, &weights, text, None, &context, |g, layer, (k, v)| {
            let (old_k, old_v) = caches[layer];
            let k = g.cache_append(old_k, k, slot, context.start);
            let v = g.cache_append(old_v, v, slot, context.start);
            grown.push((k, v));
        });
        store_pairs(&mut g, &grown, &caches);
        let states = g.reshape(states, &[rows * width, model.d_model]);
        let state = g.embedding(last, states, last, 1.0);
        outputs(&mut g, network, &weights, state);
        g
    }

    fn step_graph(&self, network: &Network, rows: usize, [lines, width]: [usize; 2]) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context_of_rows(&mut g, rows, None);
        let token: Tokens = network.target_tokens(&mut g, "token", rows, 1);
        let slot = g.input("slot", Type::u32([rows]));
        let origin = g.input("origin", Type::u32([rows, self.room()]));
        let caches = self.caches(&mut g, network);
        let model = &network.model;
        let keys_values = match (&self.encoded, model.is_decoder_only()) {
            (Some((_, buffers)), false) => pairs(&mut g, buffers, [lines, width, model.d_model]),
            _ => vec![],
        };
        let encoded = (!model.is_decoder_only()).then(|| Encoded {
            keys_values: &keys_values,
            lengths: g.input("source_lengths", Type::u32([rows])),
            line: g.input("line", Type::u32([rows, 1])),
        });
        let past = Past { caches: &caches, slot, origin, encoded };
        let (state, grown) = model.decode_step(&mut g, &weights, token, &past, &context);
        store_pairs(&mut g, &grown, &caches);
        outputs(&mut g, network, &weights, state);
        g
    }
}

/// Token ids in rows of `width`, and their lengths; rows without any have the length 1.
fn rows_of(texts: &[&[u32]], rows: usize, width: usize) -> (Tensor, Tensor) {
    let mut ids = vec![PAD; rows * width];
    let mut lengths = vec![1; rows];
    for (r, text) in texts.iter().enumerate() {
        ids[r * width..][..text.len()].copy_from_slice(text);
        lengths[r] = text.len() as u32;
    }
    (Tensor::u32([rows, width], ids), Tensor::u32([rows], lengths))
}

fn declare(network: &mut Network, name: &str, elements: usize) -> Buffers {
    let mut buffer = |what: String| network.memory.declare(what, Type::f32([elements]));
    let layers = 0..network.model.decoder_layers;
    let pairs = layers.map(|i| (buffer(format!("{name}.{i}.k")), buffer(format!("{name}.{i}.v")))).collect();
    network.device.allocate(&network.memory);
    pairs
}

fn pairs(g: &mut Graph, buffers: &[(Resident, Resident)], dims: [usize; 3]) -> Vec<KeysValues> {
    let mut value = |name: &str, r: Resident| g.resident(name, r, 0, Type::f32(dims));
    buffers.iter().map(|&(k, v)| (value("cached keys", k), value("cached values", v))).collect()
}

fn store_pairs(g: &mut Graph, values: &[KeysValues], to: &[KeysValues]) {
    let each = |pairs: &[KeysValues]| -> Vec<Value> { pairs.iter().flat_map(|&(k, v)| [k, v]).collect() };
    for (value, to) in each(values).into_iter().zip(each(to)) {
        g.store(value, to);
    }
}

fn outputs(g: &mut Graph, network: &Network, weights: &crate::parameters::Weights, state: Value) {
    let logits = network.model.logits(g, weights, state);
    let next = g.argmax(logits);
    g.output("next", next);
    g.output("logits", logits);
}

async fn answer(network: &Network, program: usize, count: usize, wanted: Wanted) -> Result<Answer> {
    Ok(match wanted {
        Wanted::Next => Answer::Next(network.device.read(program, "next").await?.as_u32()[..count].to_vec()),
        Wanted::Logits => Answer::Logits(network.device.read(program, "logits").await?),
    })
}
