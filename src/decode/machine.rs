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
        // The others read and write the caches of before.
        let keep = !decodes(&network.model).encodes_into_caches();
        self.programs.retain(|(kind, _), _| keep && *kind == Kind::Encode);
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
        let (ids, lengths) = rows_of(&sources, width);
        self.sources = ([rows, width], lengths.as_u32().to_vec());
        let key = (Kind::Encode, [rows, width, 0, 0]);
        let program = self.program(network, key).await?;
        let mut feeds = network.source_inputs(ids.as_u32(), lengths.as_u32());
        feeds.extend(decodes(&network.model).encode_feeds(&slots));
        run(network, program, &feeds);
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
        let (ids, lengths) = rows_of(&tokens, width);
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
        let ([lines, width], source_lengths) = &self.sources;
        let key = (Kind::Step, [padded, room, *lines, *width]);
        let all: Vec<&Row> = rows.iter().chain(std::iter::repeat_n(&rows[count - 1], padded - count)).collect();
        let mut feeds = vec![
            ("token", column(&all, |r| r.token).reshape([padded, 1])),
            ("token_lengths", column(&all, |r| r.position as u32 + 1)),
            ("slot", column(&all, |r| r.slot as u32)),
        ];
        feeds.extend(decodes(&network.model).step_feeds(&all, room, source_lengths));
        let program = self.program(network, key).await?;
        run(network, program, &feeds);
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
        let model = decodes(&network.model);
        match kind {
            Kind::Encode => model.encode_graph(self, network, rows, width),
            Kind::Prefill => model.prefill_graph(self, network, rows, width),
            Kind::Step => model.step_graph(self, network, rows, [shape[2], shape[3]]),
        }
    }
}

/// What decoding asks of a model, which keeps what it remembers of a hypothesis in the machine's caches.
trait Decodes {
    /// Whether encoding fills the caches of hypotheses, too, as a recurrent encoder does with the first state.
    fn encodes_into_caches(&self) -> bool;

    /// Encodes so many sources of so many positions: inputs as [`Network::source_inputs`] and
    /// [`encode_feeds`](Decodes::encode_feeds) give them.
    fn encode_graph(&self, machine: &Machine, network: &Network, rows: usize, width: usize) -> Graph;

    /// What that reads besides sources; `slots` are the rows of the caches in which their first hypotheses start.
    fn encode_feeds(&self, slots: &[usize]) -> Vec<(&'static str, Tensor)>;

    /// Reads texts at once, which only a decoder alone does: inputs `target`, `target_lengths`, `slot`, `last` and
    /// `start`.
    fn prefill_graph(&self, machine: &Machine, network: &Network, rows: usize, width: usize) -> Graph;

    /// Reads one token a row, beside so many sources of so many positions: inputs `token`, `token_lengths`, `slot`, and
    /// what [`step_feeds`](Decodes::step_feeds) gives.
    fn step_graph(&self, machine: &Machine, network: &Network, rows: usize, sources: [usize; 2]) -> Graph;

    /// What that reads besides; `room` is how many positions the caches have.
    fn step_feeds(&self, rows: &[&Row], room: usize, source_lengths: &[u32]) -> Vec<(&'static str, Tensor)>;
}

fn decodes(model: &Architecture) -> &dyn Decodes {
    match model {
        Architecture::Transformer(model) => model,
        Architecture::Seq2Seq(model) => model,
    }
}

/// A number of each row.
fn column(rows: &[&Row], number: impl Fn(&Row) -> u32) -> Tensor {
    Tensor::u32([rows.len()], rows.iter().map(|row| number(row)).collect())
}

/// Token ids in rows of `width`, and their lengths.
fn rows_of(texts: &[&[u32]], width: usize) -> (Tensor, Tensor) {
    let mut ids = vec![PAD; texts.len() * width];
    texts.iter().zip(ids.chunks_mut(width)).for_each(|(text, row)| row[..text.len()].copy_from_slice(text));
    let lengths = texts.iter().map(|text| text.len() as u32).collect();
    (Tensor::u32([texts.len(), width], ids), Tensor::u32([texts.len()], lengths))
}

fn declare(network: &mut Network, name: &str, positions: usize, widths: Vec<usize>) -> Buffers {
    let buffer = |(i, width): (usize, usize)| {
        (network.memory.declare(format!("{name}.{i}"), Type::f32([positions * width])), width)
    };
    let buffers = widths.into_iter().enumerate().map(buffer).collect();
    network.device.allocate(&network.memory);
    buffers
}

fn run(network: &mut Network, program: usize, feeds: &[(&str, Tensor)]) {
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
    network.device.run(program, &feeds);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::plan::Limits;
    use crate::recipe::{Attention, Cell, Model, ModelKind, Recipe};

    /// [`most_rows`] asks it how many lines fit: a value beyond it is a plan that a device refuses.
    #[test]
    fn no_value_of_an_encoder_is_wider_than_the_widest() {
        let (rows, width) = (4, 16);
        let cells = [Cell::Lstm, Cell::Gru, Cell::Rnn].map(|cell| (ModelKind::Seq2Seq, cell));
        for (kind, cell) in cells.into_iter().chain([(ModelKind::Transformer, Cell::Lstm)]) {
            for (bidirectional, attention) in [
                (true, Attention::Bahdanau),
                (false, Attention::Dot),
                (true, Attention::General),
                (true, Attention::None),
            ] {
                let sizes =
                    Model { d_model: 16, heads: 2, ffn: 24, hidden: 16, embedding: 12, ..Recipe::of_kind(kind).model };
                let options = Model { layers: 2, cell, bidirectional, attention, ..sizes };
                let model = Architecture::new(&options, 9);
                let mut network = Network::new(Device::cpu(), model, 32, false).expect("it fits");
                let mut machine = Machine::default();
                machine.reserve(&mut network, rows, 2);
                let widths = network.model.encoded();
                let kept = declare(&mut network, "encoded", rows * width, widths);
                machine.encoded = Some((rows * width, kept));
                let graph = decodes(&network.model).encode_graph(&machine, &network, rows, width);
                let plan = Plan::new(graph, &Limits::default()).expect("it fits");
                let widest = plan.slots.iter().max().expect("values").div_ceil(4 * rows * width);
                assert!(widest <= network.model.widest(), "{widest}, not {}: {options:?}", network.model.widest());
            }
        }
    }
}
