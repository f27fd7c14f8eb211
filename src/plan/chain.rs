//! The longest chain of passes that wait for each other: what is left of a plan's time on a machine with lanes to spare.

use super::{Binding, Pass, Place, Plan};
use crate::graph::Resident;
use crate::tensor::Type;
use std::collections::HashMap;
use std::ops::Range;

/// Where each part of memory was written last, as the length of the chain up to there.
#[derive(Default)]
struct Written {
    slots: HashMap<usize, usize>,
    residents: HashMap<Resident, Vec<(Range<usize>, usize)>>,
}

impl Written {
    /// The longest chain that ends in what a binding holds.
    fn before(&self, b: &Binding) -> usize {
        match b.place {
            Place::Input(_) => 0,
            Place::Slot(slot) => self.slots.get(&slot).copied().unwrap_or(0),
            Place::Resident(r, start) => {
                let shares = |range: &Range<usize>| range.start < start + b.bytes && start < range.end;
                let all = self.residents.get(&r).into_iter().flatten();
                all.filter(|(range, _)| shares(range)).map(|(_, length)| *length).max().unwrap_or(0)
            }
        }
    }

    fn write(&mut self, b: &Binding, length: usize) {
        match b.place {
            Place::Input(_) => {}
            Place::Slot(slot) => {
                self.slots.insert(slot, length);
            }
            Place::Resident(r, start) => {
                let ranges = self.residents.entry(r).or_default();
                let range = start..start + b.bytes;
                ranges.retain(|(old, _)| old.start < range.start || range.end < old.end);
                ranges.push((range, length));
            }
        }
    }
}

impl Plan {
    /// Steps of the longest chain of passes of which each reads what one before it wrote. A pass counts as many steps as it
    /// has dispatches behind each other, or as its operation takes one after the other inside of a dispatch
    /// ([`crate::op::Op::sequential_steps`]), whichever is more.
    ///
    /// Only data counts: that a buffer is used again makes a pass wait here, but not where there is a buffer for each value.
    pub fn longest_chain(&self) -> usize {
        let mut written = Written::default();
        let mut longest = 0;
        for pass in &self.passes {
            let reads = pass.bindings.iter().enumerate().filter(|(i, b)| !b.writable || self.is_read_too(pass, *i));
            let before = reads.map(|(_, b)| written.before(b)).max().unwrap_or(0);
            let length = before + self.steps(pass);
            pass.bindings.iter().filter(|b| b.writable).for_each(|b| written.write(b, length));
            longest = longest.max(length);
        }
        longest
    }

    /// Whether a kernel reads what the binding that it writes held before.
    fn is_read_too(&self, pass: &Pass, binding: usize) -> bool {
        let output = pass.bindings[..binding].iter().filter(|b| b.writable).count();
        pass.node.is_some_and(|node| self.graph.nodes()[node].op.in_place().iter().any(|pair| pair.1 == output))
    }

    fn steps(&self, pass: &Pass) -> usize {
        let inside = pass.node.map_or(1, |node| {
            let node = &self.graph.nodes()[node];
            let x: Vec<&Type> = node.inputs.iter().map(|&v| self.graph.ty(v)).collect();
            node.op.sequential_steps(&x)
        });
        inside.max(pass.launch.steps as usize)
    }
}
