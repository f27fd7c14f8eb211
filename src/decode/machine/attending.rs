//! The graphs of a Transformer's decoding: keys and values are cached.

use super::{Buffers, Machine};
use crate::graph::{Graph, Value};
use crate::models::Tokens;
use crate::models::transformer::{Encoded, KeysValues, Past, Transformer};
use crate::network::Network;
use crate::tensor::Type;

impl Machine {
    /// The caches as values of a graph.
    fn caches(&self, g: &mut Graph) -> Vec<KeysValues> {
        let (extents, buffers) = self.own.as_ref().expect("room was made before the graphs");
        pairs(g, buffers, *extents)
    }

    pub(super) fn encode_graph(&self, network: &Network, model: &Transformer, rows: usize, width: usize) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context(&mut g, None);
        let source = network.source_tokens(&mut g, rows, width);
        let memory = model.encode(&mut g, &weights, source, &context);
        let computed = model.encoded_keys_values(&mut g, &weights, memory);
        let (_, buffers) = self.encoded.as_ref().expect("room was made before the graphs");
        let kept = pairs(&mut g, buffers, [rows, width]);
        store_pairs(&mut g, &computed, &kept);
        g
    }

    pub(super) fn prefill_graph(&self, network: &Network, model: &Transformer, rows: usize, width: usize) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context_of_rows(&mut g, rows, None);
        let text = network.target_tokens(&mut g, "target", rows, width);
        let [slot, last] = ["slot", "last"].map(|name| g.input(name, Type::u32([rows])));
        let caches = self.caches(&mut g);
        let mut grown = vec![];
        let states = model.decode_keeping(&mut g, &weights, text, None, &context, |g, layer, (k, v)| {
            let (old_k, old_v) = caches[layer];
            let k = g.cache_append(old_k, k, slot, context.start);
            let v = g.cache_append(old_v, v, slot, context.start);
            grown.push((k, v));
        });
        store_pairs(&mut g, &grown, &caches);
        let states = g.reshape(states, &[rows * width, model.d_model]);
        let state = g.embedding(last, states, last, 1.0);
        super::outputs(&mut g, network, &weights, state);
        g
    }

    pub(super) fn step_graph(
        &self,
        network: &Network,
        model: &Transformer,
        rows: usize,
        [lines, width]: [usize; 2],
    ) -> Graph {
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context_of_rows(&mut g, rows, None);
        let token: Tokens = network.target_tokens(&mut g, "token", rows, 1);
        let slot = g.input("slot", Type::u32([rows]));
        let origin = g.input("origin", Type::u32([rows, self.room()]));
        let caches = self.caches(&mut g);
        let keys_values = match (&self.encoded, model.is_decoder_only()) {
            (Some((_, buffers)), false) => pairs(&mut g, buffers, [lines, width]),
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
        super::outputs(&mut g, network, &weights, state);
        g
    }
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
