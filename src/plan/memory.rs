//! What plans take of a device's memory, besides resident buffers.

use super::{Plan, padded};
use crate::graph::Value;

/// Bytes of the slots that programs share when they are loaded together, largest first. Only one runs at a time, so
/// that the n-th largest slot of each can lie in one buffer.
pub fn shared_slots(plans: &[Plan]) -> Vec<usize> {
    let mut sizes: Vec<usize> = vec![];
    for plan in plans {
        let mut slots = plan.slots.clone();
        slots.sort_unstable_by(|a, b| b.cmp(a));
        sizes.resize(sizes.len().max(slots.len()), 0);
        for (size, slot) in sizes.iter_mut().zip(slots) {
            *size = slot.max(*size);
        }
    }
    sizes
}

impl Plan {
    /// Bytes of the buffers that the host fills; every program has its own.
    pub fn input_bytes(&self) -> usize {
        self.inputs.iter().map(|&v| padded(self.graph.ty(v).bytes())).sum()
    }

    /// The largest value that a pass binds, and its bytes; none when there are no passes.
    pub fn largest_binding(&self) -> Option<(Value, usize)> {
        let nodes = self.order.iter().map(|&node| &self.graph.nodes()[node]);
        let bound = nodes.flat_map(|node| node.inputs.iter().chain(&node.outputs));
        bound.map(|&v| (v, padded(self.graph.ty(v).bytes()))).max_by_key(|&(v, bytes)| (bytes, std::cmp::Reverse(v)))
    }
}
