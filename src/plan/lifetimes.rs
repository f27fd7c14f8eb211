//! How long values live in a plan's own buffers.

use super::{Place, Plan};
use crate::graph::Value;

/// A value's stay in a buffer of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The buffer.
    pub slot: usize,
    /// The value; none for a copy that the planner added.
    pub value: Option<Value>,
    /// The pass that writes it.
    pub first: usize,
    /// The last pass that needs it, or the one before it is overwritten in place.
    pub last: usize,
    /// Its bytes, of which the buffer may have more.
    pub bytes: usize,
}

impl Plan {
    /// The values in the plan's own buffers, in the order in which they are written.
    pub fn lifetimes(&self) -> Vec<Lifetime> {
        let mut all: Vec<Lifetime> = vec![];
        let mut held: Vec<Option<usize>> = vec![None; self.slots.len()];
        for (i, pass) in self.passes.iter().enumerate() {
            let node = pass.node.map(|node| &self.graph.nodes()[node]);
            for b in pass.bindings.iter().filter(|b| !b.writable) {
                if let Place::Slot(slot) = b.place
                    && let Some(held) = held[slot]
                {
                    all[held].last = i;
                }
            }
            for (output, b) in pass.bindings.iter().filter(|b| b.writable).enumerate() {
                let Place::Slot(slot) = b.place else { continue };
                // What is overwritten in place was needed until then.
                if let Some(held) = held[slot]
                    && node.is_some_and(|node| node.op.in_place().iter().any(|pair| pair.1 == output))
                {
                    all[held].last = i - 1;
                }
                held[slot] = Some(all.len());
                let value = node.map(|node| node.outputs[output]);
                all.push(Lifetime { slot, value, first: i, last: i, bytes: b.bytes });
            }
        }
        for (_, place, _) in &self.outputs {
            if let Place::Slot(slot) = place
                && let Some(held) = held[*slot]
            {
                all[held].last = self.passes.len() - 1;
            }
        }
        all
    }

    /// Bytes of the values that live in the plan's own buffers during each pass.
    pub fn live_bytes(&self) -> Vec<usize> {
        let mut live = vec![0; self.passes.len()];
        for l in self.lifetimes() {
            live[l.first..=l.last].iter_mut().for_each(|bytes| *bytes += l.bytes);
        }
        live
    }
}
