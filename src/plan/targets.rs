//! Which values are computed straight into resident ranges.

use super::{Place, padded};
use crate::graph::{Graph, Source, Value};
use std::collections::{HashMap, HashSet};

/// Values that are computed straight into a resident range: those that are stored, and those that they take over.
/// Where that would overwrite what is still to be read, or read and write one buffer in a dispatch, they are not: they
/// are copied there when all else is done.
pub(super) fn targets(g: &Graph, order: &[usize], last_use: &HashMap<Value, usize>) -> HashMap<Value, Place> {
    let mut refused = HashSet::new();
    loop {
        let targets = wanted_targets(g, order, last_use, &refused);
        match conflict(g, order, &targets) {
            Some(value) => refused.insert(value),
            None => return targets,
        };
    }
}

fn wanted_targets(
    g: &Graph,
    order: &[usize],
    last_use: &HashMap<Value, usize>,
    refused: &HashSet<Value>,
) -> HashMap<Value, Place> {
    let mut targets = HashMap::new();
    for &(value, leaf) in g.stores() {
        let base = g.base(value);
        if let Source::Node { node, output } = *g.source(base)
            && !refused.contains(&base)
            && writes_only_its_own(g, node, output)
        {
            targets.entry(base).or_insert(resident_place(g, leaf).expect("a store goes to a resident range"));
        }
    }
    for (position, &node) in order.iter().enumerate().rev() {
        let node = &g.nodes()[node];
        for &(input, output) in node.op.in_place() {
            let (x, y) = (g.base(node.inputs[input]), node.outputs[output]);
            let dies_here = last_use[&x] == position && !refused.contains(&x);
            if let (Some(&place), true, &Source::Node { node, output }) = (targets.get(&y), dies_here, g.source(x))
                && writes_only_its_own(g, node, output)
            {
                targets.entry(x).or_insert(place);
            }
        }
    }
    targets
}

/// Kernels may write whole vec4s, so that an output of another number of elements spills into the padding behind it.
/// In a buffer of its own that is nothing; behind a gradient it would count in the norm. One that takes over what is
/// already there touches its elements only.
fn writes_only_its_own(g: &Graph, node: usize, output: usize) -> bool {
    let node = &g.nodes()[node];
    let in_place = node.op.in_place().iter().any(|pair| pair.1 == output);
    in_place || g.ty(node.outputs[output]).elements().is_multiple_of(4)
}

pub(super) fn resident_place(g: &Graph, leaf: Value) -> Option<Place> {
    match *g.source(leaf) {
        Source::Resident(buffer, offset) => Some(Place::Resident(buffer, offset * g.ty(leaf).dtype.size())),
        _ => None,
    }
}

/// A value that must not be computed straight into its target.
fn conflict(g: &Graph, order: &[usize], targets: &HashMap<Value, Place>) -> Option<Value> {
    let range = |v: Value, place: &Place| match *place {
        Place::Resident(r, offset) => (r, offset, offset + padded(g.ty(v).bytes())),
        _ => unreachable!("targets are resident"),
    };
    // Ranges whose contents before the run are read, and by which position at the latest.
    let mut leaves = vec![];
    let reads = order.iter().enumerate().flat_map(|(at, &node)| g.nodes()[node].inputs.iter().map(move |&v| (at, v)));
    for (at, v) in reads.chain(g.stores().iter().map(|&(v, _)| (usize::MAX, v))) {
        if let Some(place) = resident_place(g, g.base(v)) {
            leaves.push((at, range(v, &place)));
        }
    }
    for (position, &node) in order.iter().enumerate() {
        let node = &g.nodes()[node];
        let taken = |i: usize| node.op.in_place().iter().any(|pair| pair.0 == i);
        for y in &node.outputs {
            let Some(target) = targets.get(y) else { continue };
            let (buffer, start, end) = range(*y, target);
            let in_buffer = |&v: &Value| {
                let base = g.base(v);
                let place = targets.get(&base).copied().or_else(|| resident_place(g, base));
                matches!(place, Some(Place::Resident(r, _)) if r == buffer)
            };
            let bound = node.inputs.iter().enumerate().filter(|(i, _)| !taken(*i)).any(|(_, v)| in_buffer(v));
            let needed = |&(at, (r, s, e)): &(usize, _)| at > position && r == buffer && s < end && start < e;
            if bound || leaves.iter().any(needed) {
                return Some(*y);
            }
        }
    }
    None
}
