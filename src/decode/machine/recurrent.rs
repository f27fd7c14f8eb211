//! The graphs of a recurrent decoder: a hypothesis carries a state.
//!
//! A hypothesis has two places in the cache. Its state of an even step is in the first, that of an odd one in the second,
//! so that hypotheses which come of the same one read its last state while one of them writes the next beside it. What
//! the encoder leaves counts as the state of an odd step.

use super::{Buffers, Decodes, Machine, Row, column};
use crate::graph::{Graph, Value};
use crate::models::seq2seq::{Encoded, Memory, Seq2Seq};
use crate::network::Network;
use crate::tensor::{Tensor, Type};

/// The place of a position's state in its row of the cache.
fn place(position: usize) -> u32 {
    position as u32 % 2
}

/// The place of the state before a position's.
fn place_before(position: usize) -> u32 {
    place(position + 1)
}

/// Where the state before a row's step is, among all places of the cache.
fn before(row: &Row) -> u32 {
    let slot = row.origin.last().copied().unwrap_or(row.slot as u32);
    2 * slot + place_before(row.position)
}

impl Decodes for Seq2Seq {
    fn encodes_into_caches(&self) -> bool {
        true
    }

    fn encode_graph(&self, machine: &Machine, network: &Network, rows: usize, width: usize) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context_of_rows(&mut g, rows, None);
        let source = network.source_tokens(&mut g, rows, width);
        let slot = g.input("slot", Type::u32([rows]));
        let encoded = self.encode(&mut g, &weights, source, &context);
        let state = self.pack(&mut g, &encoded.state);
        machine.store_state(&mut g, state, slot, context.start);
        let kept = values(&mut g, machine.kept(), [rows, width]);
        let memory = encoded.memory.iter().flat_map(|m| [m.keys, m.values]);
        for (value, to) in memory.zip(kept) {
            g.store(value, to);
        }
        g
    }

    fn encode_feeds(&self, slots: &[usize]) -> Vec<(&'static str, Tensor)> {
        let list = |list: Vec<u32>| Tensor::u32([slots.len()], list);
        vec![
            // As if a step before the first had written it.
            ("start", list(vec![place_before(0); slots.len()])),
            ("slot", list(slots.iter().map(|&slot| slot as u32).collect())),
        ]
    }

    fn prefill_graph(&self, _: &Machine, _: &Network, _: usize, _: usize) -> Graph {
        unreachable!("only a decoder alone reads a prompt")
    }

    fn step_graph(&self, machine: &Machine, network: &Network, rows: usize, [lines, width]: [usize; 2]) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context_of_rows(&mut g, rows, None);
        let token = network.target_tokens(&mut g, "token", rows, 1);
        let [slot, before, line] = ["slot", "before", "line"].map(|name| g.input(name, Type::u32([rows])));
        let lengths = g.input("source_lengths", Type::u32([lines]));
        let kept = values(&mut g, machine.kept(), [lines, width]);
        let memory = match kept[..] {
            [keys, values] => Some(Memory { keys, values, lengths, line: Some(line) }),
            _ => None,
        };
        let ([slots, places], _) = machine.own.as_ref().expect("room was made before the graphs");
        let cache = machine.states(&mut g);
        let table = g.reshape(cache, &[slots * places, self.state_width()]);
        let state = g.embedding(before, table, before, 1.0);
        let state = self.unpack(&mut g, state);
        let (readout, state) = self.decode_step(&mut g, &weights, token, Encoded { memory, state }, &context);
        let state = self.pack(&mut g, &state);
        machine.store_state(&mut g, state, slot, context.start);
        super::outputs(&mut g, network, &weights, readout);
        g
    }

    fn step_feeds(&self, rows: &[&Row], _: usize, source_lengths: &[u32]) -> Vec<(&'static str, Tensor)> {
        vec![
            ("before", column(rows, before)),
            ("start", column(rows, |r| place(r.position))),
            ("source_lengths", Tensor::u32([source_lengths.len()], source_lengths.into())),
            ("line", column(rows, |r| r.line as u32)),
        ]
    }
}

impl Machine {
    /// Puts states (R, W) to the place `start` of the rows `slot`.
    fn store_state(&self, g: &mut Graph, state: Value, slot: Value, start: Value) {
        let cache = self.states(g);
        let [rows, width] = g.ty(state).dims[..] else { unreachable!("states are (R, W)") };
        let state = g.reshape(state, &[rows, 1, width]);
        let after = g.cache_append(cache, state, slot, start);
        g.store(after, cache);
    }

    /// The states of all hypotheses (N, 2, W).
    fn states(&self, g: &mut Graph) -> Value {
        let (extents, buffers) = self.own.as_ref().expect("room was made before the graphs");
        values(g, buffers, *extents)[0]
    }

    /// What is kept of sources.
    fn kept(&self) -> &Buffers {
        &self.encoded.as_ref().expect("sources were encoded").1
    }
}

fn values(g: &mut Graph, buffers: &Buffers, [rows, positions]: [usize; 2]) -> Vec<Value> {
    let value = |&(r, width): &(_, usize)| g.resident("kept", r, 0, Type::f32([rows, positions, width]));
    buffers.iter().map(value).collect()
}
