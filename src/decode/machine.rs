//! The programs of decoding, and the caches that they keep keys and values in.

mod attending;
mod recurrent;

use crate::error::Result;
use crate::graph::{Graph, Resident, Value};
use crate::models::Architecture;
use crate::network::Network;
use crate::parameters::Weights;
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

/// Buffers, and the elements that each has at a position.
type Buffers = Vec<(Resident, usize)>;

/// Programs by what they do and their shape, and buffers that grow when more is asked of them.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// Rows and positions of the caches.
    own: Option<([usize; 2], Buffers)>,
    /// Positions of sources that there is room for, and what is kept of them.
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
        let widths = network.model.cached();
        self.own = Some(([rows, room], declare(network, "cache", rows * room, widths)));
        // They read and write the caches of before, as a recurrent encoder does, too.
        let attends = matches!(network.model, Architecture::Transformer(_));
        self.programs.retain(|(kind, _), _| attends && *kind == Kind::Encode);
    }

    /// The positions of the caches.
    fn room(&self) -> usize {
        self.own.as_ref().map_or(0, |([_, room], _)| *room)
    }

    /// Encodes sources, which the rows of the steps to come belong to; each with the row of the caches in which its first
    /// hypothesis starts.
    pub(super) async fn encode(&mut self, network: &mut Network, sources: &[(usize, &[u32])]) -> Result<()> {
        let rows = sources.len().next_power_of_two();
        let mut sources = sources.to_vec();
        // Rows that nobody needs repeat the last one.
        sources.resize(rows, *sources.last().expect("a source"));
        let (slots, sources): (Vec<usize>, Vec<&[u32]>) = sources.into_iter().unzip();
        let longest = sources.iter().map(|s| s.len()).max().unwrap_or(1);
        let width = padded(longest, network.positions());
        if self.encoded.as_ref().is_none_or(|(have, _)| *have < rows * width) {
            let widths = network.model.encoded();
            self.encoded = Some((rows * width, declare(network, "encoded", rows * width, widths)));
            self.programs.clear();
        }
        let (ids, lengths) = rows_of(&sources, rows, width);
        self.sources = ([rows, width], lengths.as_u32().to_vec());
        let key = (Kind::Encode, [rows, width, 0, 0]);
        let program = self.program(network, key).await?;
        let feeds = [("source", &ids), ("source_lengths", &lengths)];
        match network.model {
            Architecture::Transformer(_) => {
                let start = Tensor::u32([1], vec![0]);
                network.device.run(program, &[&feeds[..], &[("start", &start)]].concat());
            }
            Architecture::Seq2Seq(_) => {
                // As if a step before the first had written it.
                let before = Tensor::u32([rows], vec![recurrent::place_before(0); rows]);
                let slots = Tensor::u32([rows], slots.into_iter().map(|slot| slot as u32).collect());
                network.device.run(program, &[&feeds[..], &[("start", &before), ("slot", &slots)]].concat());
            }
        }
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
        let program = self.program(network, key).await?;
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
        let slot = column(&|r| r.slot as u32);
        let lengths = column(&|r| r.position as u32 + 1);
        let ([lines, width], source_lengths) = &self.sources;
        let key = (Kind::Step, [padded, room, *lines, *width]);
        let source_lengths = source_lengths.clone();
        let program = self.program(network, key).await?;
        let mut feeds = vec![("token", token), ("token_lengths", lengths), ("slot", slot)];
        match network.model {
            Architecture::Transformer(_) => {
                let mut origin = vec![0; padded * room];
                for (row, to) in all().zip(origin.chunks_mut(room)) {
                    to[..row.position].copy_from_slice(&row.origin[..row.position]);
                    to[row.position] = row.slot as u32;
                }
                feeds.push(("origin", Tensor::u32([padded, room], origin)));
                feeds.push(("start", column(&|r| r.position as u32)));
                if !network.model.is_decoder_only() {
                    feeds.push(("source_lengths", column(&|r| source_lengths[r.line])));
                    feeds.push(("line", column(&|r| r.line as u32).reshape([padded, 1])));
                }
            }
            Architecture::Seq2Seq(_) => {
                feeds.push(("before", column(&recurrent::before)));
                feeds.push(("start", column(&|r| recurrent::place(r.position))));
                feeds.push(("source_lengths", Tensor::u32([source_lengths.len()], source_lengths)));
                feeds.push(("line", column(&|r| r.line as u32)));
            }
        }
        let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
        network.device.run(program, &feeds);
        answer(network, program, count, wanted).await
    }

    /// The program for what is asked; it is made where there is none.
    async fn program(&mut self, network: &mut Network, key: (Kind, [usize; 4])) -> Result<usize> {
        if let Some(&program) = self.programs.get(&key) {
            return Ok(program);
        }
        let plan = Plan::new(self.graph(network, key), &network.device.limits())?;
        let program = network.device.load(vec![plan]).await?;
        self.programs.insert(key, program);
        Ok(program)
    }

    fn graph(&self, network: &Network, (kind, shape): (Kind, [usize; 4])) -> Graph {
        let (rows, width) = (shape[0], shape[1]);
        let sources = [shape[2], shape[3]];
        match (&network.model, kind) {
            (Architecture::Transformer(model), Kind::Encode) => self.encode_graph(network, model, rows, width),
            (Architecture::Transformer(model), Kind::Prefill) => self.prefill_graph(network, model, rows, width),
            (Architecture::Transformer(model), Kind::Step) => self.step_graph(network, model, rows, sources),
            (Architecture::Seq2Seq(model), Kind::Encode) => self.encode_state_graph(network, model, rows, width),
            (Architecture::Seq2Seq(model), Kind::Step) => self.step_state_graph(network, model, rows, sources),
            (Architecture::Seq2Seq(_), Kind::Prefill) => unreachable!("only a decoder alone reads a prompt"),
        }
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

fn declare(network: &mut Network, name: &str, positions: usize, widths: Vec<usize>) -> Buffers {
    let buffer = |(i, width): (usize, usize)| {
        (network.memory.declare(format!("{name}.{i}"), Type::f32([positions * width])), width)
    };
    let buffers = widths.into_iter().enumerate().map(buffer).collect();
    network.device.allocate(&network.memory);
    buffers
}

fn outputs(g: &mut Graph, network: &Network, weights: &Weights, state: Value) {
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
