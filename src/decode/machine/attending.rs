//! The graphs of a Transformer's decoding: keys and values are cached.

use super::{Buffers, Decodes, Machine, Row, column};
use crate::graph::{Graph, Value};
use crate::models::Tokens;
use crate::models::transformer::{Encoded, KeysValues, Past, Transformer};
use crate::network::Network;
use crate::tensor::{Tensor, Type};

impl Decodes for Transformer {
    fn encodes_into_caches(&self) -> bool {
        false
    }

    fn encode_graph(&self, machine: &Machine, network: &Network, rows: usize, width: usize) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context(&mut g, None);
        let source = network.source_tokens(&mut g, rows, width);
        let memory = self.encode(&mut g, &weights, source, &context);
        let computed = self.encoded_keys_values(&mut g, &weights, memory);
        let (_, buffers) = machine.encoded.as_ref().expect("room was made before the graphs");
        let kept = pairs(&mut g, buffers, [rows, width]);
        store_pairs(&mut g, &computed, &kept);
        g
    }

    fn encode_feeds(&self, _: &[usize]) -> Vec<(&'static str, Tensor)> {
        vec![("start", Tensor::u32([1], vec![0]))]
    }

    fn prefill_graph(&self, machine: &Machine, network: &Network, rows: usize, width: usize) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context_of_rows(&mut g, rows, None);
        let text = network.target_tokens(&mut g, "target", rows, width);
        let [slot, last] = ["slot", "last"].map(|name| g.input(name, Type::u32([rows])));
        let caches = caches(&mut g, machine);
        let mut grown = vec![];
        let states = self.decode_keeping(&mut g, &weights, text, None, &context, |g, layer, (k, v)| {
            let (old_k, old_v) = caches[layer];
            let k = g.cache_append(old_k, k, slot, context.start);
            let v = g.cache_append(old_v, v, slot, context.start);
            grown.push((k, v));
        });
        store_pairs(&mut g, &grown, &caches);
        let states = g.reshape(states, &[rows * width, self.d_model]);
        let state = g.embedding(last, states, last, 1.0);
        super::outputs(&mut g, network, &weights, state);
        g
    }

    fn step_graph(&self, machine: &Machine, network: &Network, rows: usize, [lines, width]: [usize; 2]) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context_of_rows(&mut g, rows, None);
        let token: Tokens = network.target_tokens(&mut g, "token", rows, 1);
        let slot = g.input("slot", Type::u32([rows]));
        let origin = g.input("origin", Type::u32([rows, machine.room()]));
        let caches = caches(&mut g, machine);
        let keys_values = match (&machine.encoded, self.is_decoder_only()) {
            (Some((_, buffers)), false) => pairs(&mut g, buffers, [lines, width]),
            _ => vec![],
        };
        let encoded = (!self.is_decoder_only()).then(|| Encoded {
            keys_values: &keys_values,
            lengths: g.input("source_lengths", Type::u32([rows])),
            line: g.input("line", Type::u32([rows, 1])),
        });
        let past = Past { caches: &caches, slot, origin, encoded };
        let (state, grown) = self.decode_step(&mut g, &weights, token, &past, &context);
        store_pairs(&mut g, &grown, &caches);
        super::outputs(&mut g, network, &weights, state);
        g
    }

    fn step_feeds(&self, rows: &[&Row], room: usize, source_lengths: &[u32]) -> Vec<(&'static str, Tensor)> {
        let mut origin = vec![0; rows.len() * room];
        for (row, to) in rows.iter().zip(origin.chunks_mut(room)) {
            to[..row.position].copy_from_slice(&row.origin[..row.position]);
            to[row.position] = row.slot as u32;
        }
        let mut feeds =
            vec![("origin", Tensor::u32([rows.len(), room], origin)), ("start", column(rows, |r| r.position as u32))];
        if !self.is_decoder_only() {
            feeds.push(("source_lengths", column(rows, |r| source_lengths[r.line])));
            feeds.push(("line", column(rows, |r| r.line as u32).reshape([rows.len(), 1])));
        }
        feeds
    }
}

/// The caches as values of a graph.
fn caches(g: &mut Graph, machine: &Machine) -> Vec<KeysValues> {
    let (extents, buffers) = machine.own.as_ref().expect("room was made before the graphs");
    pairs(g, buffers, *extents)
}

fn pairs(g: &mut Graph, buffers: &Buffers, [rows, positions]: [usize; 2]) -> Vec<KeysValues> {
    let mut value = |name: &str, (r, width)| g.resident(name, r, 0, Type::f32([rows, positions, width]));
    buffers.chunks(2).map(|pair| (value("cached keys", pair[0]), value("cached values", pair[1]))).collect()
}

fn store_pairs(g: &mut Graph, values: &[KeysValues], to: &[KeysValues]) {
    let each = |pairs: &[KeysValues]| -> Vec<Value> { pairs.iter().flat_map(|&(k, v)| [k, v]).collect() };
    for (value, to) in each(values).into_iter().zip(each(to)) {
        g.store(value, to);
    }
}
