//! A walk over the nodes that are needed: each gets its launch, its bindings and buffers for what it gives.

use super::targets::{resident_place, targets};
use super::{Binding, Limits, Pass, Place, Plan, Submission, padded};
use crate::error::{Error, Result};
use crate::graph::{Graph, Source, Value};
use crate::op::Op;
use crate::ops::copy::Copy;
use crate::tensor::Type;
use std::collections::HashMap;
use std::ops::Range;

/// [`Plan::new`].
pub(super) fn plan(graph: Graph, limits: &Limits) -> Result<Plan> {
    let order = live_nodes(&graph);
    let last_use = last_uses(&graph, &order);
    let targets = targets(&graph, &order, &last_use);
    let mut planner = Planner {
        plan: Plan {
            order: order.clone(),
            passes: vec![],
            slots: vec![],
            inputs: vec![],
            outputs: vec![],
            submissions: vec![],
            dead: vec![],
            graph,
        },
        limits,
        place: HashMap::new(),
        free: vec![],
    };
    for (position, &node) in order.iter().enumerate() {
        planner.node(position, node, &last_use, &targets)?;
    }
    planner.finish(&targets)
}

fn live_nodes(g: &Graph) -> Vec<usize> {
    let mut wanted = vec![false; g.nodes().len()];
    let roots = g.outputs().iter().map(|(_, v)| *v).chain(g.stores().iter().map(|(v, _)| *v));
    let mut stack: Vec<Value> = roots.collect();
    while let Some(v) = stack.pop() {
        if let Source::Node { node, .. } = *g.source(g.base(v))
            && !wanted[node]
        {
            wanted[node] = true;
            stack.extend(&g.nodes()[node].inputs);
        }
    }
    (0..wanted.len()).filter(|&n| wanted[n]).collect()
}

/// Position in `order` of the last node that reads a value, by base; values that outlive the run have none.
fn last_uses(g: &Graph, order: &[usize]) -> HashMap<Value, usize> {
    let mut last = HashMap::new();
    for (position, &node) in order.iter().enumerate() {
        let node = &g.nodes()[node];
        for &v in node.outputs.iter().chain(&node.inputs) {
            last.insert(g.base(v), position);
        }
    }
    for v in g.outputs().iter().map(|(_, v)| v).chain(g.stores().iter().map(|(v, _)| v)) {
        last.insert(g.base(*v), usize::MAX);
    }
    last
}

struct Planner<'a> {
    plan: Plan,
    limits: &'a Limits,
    place: HashMap<Value, Place>,
    free: Vec<usize>,
}

impl Planner<'_> {
    fn node(
        &mut self,
        position: usize,
        node: usize,
        last_use: &HashMap<Value, usize>,
        targets: &HashMap<Value, Place>,
    ) -> Result<()> {
        let n = self.plan.graph.nodes()[node].clone();
        let mut taken = vec![false; n.inputs.len()];
        for (output, &y) in n.outputs.iter().enumerate() {
            let from = n.op.in_place().iter().find(|pair| pair.1 == output).map(|pair| pair.0);
            let place = match from {
                Some(input) => {
                    taken[input] = true;
                    let base = self.plan.graph.base(n.inputs[input]);
                    // The node's other inputs may be the same value, which must then stay as it is.
                    let uses = n.inputs.iter().filter(|&&v| self.plan.graph.base(v) == base).count();
                    let dies_here = last_use[&base] == position && uses == 1;
                    self.take_over(n.inputs[input], y, dies_here, targets)
                }
                None => targets.get(&y).copied().unwrap_or_else(|| self.slot(y)),
            };
            self.place.insert(y, place);
        }
        let g = &self.plan.graph;
        let x: Vec<&Type> = n.inputs.iter().map(|&v| g.ty(v)).collect();
        let y: Vec<&Type> = n.outputs.iter().map(|&v| g.ty(v)).collect();
        let what = if n.scope.is_empty() { n.op.name().into() } else { format!("{} in {}", n.op.name(), n.scope) };
        let Some(launch) = n.op.launches(&x, &y, &self.limits.adapter).into_iter().next() else {
            let types: Vec<String> = x.iter().map(|ty| ty.to_string()).collect();
            return Err(Error::Input(format!(
                "{what} has no kernel for {} on this device; shorten the sequences: lower data.max_length, or translate \
                 shorter lines",
                types.join(", ")
            )));
        };
        let cost = n.op.cost(&x, &y);
        let reads = n.inputs.iter().zip(&taken).filter(|(_, taken)| !**taken).map(|(v, _)| (*v, false));
        let bindings = reads.chain(n.outputs.iter().map(|v| (*v, true))).collect::<Vec<_>>();
        let bindings = bindings.into_iter().map(|(v, writable)| self.binding(v, writable)).collect::<Result<_>>()?;
        if let Some(groups) = launch.grid.iter().find(|&&groups| groups > 65_535) {
            return Err(Error::Input(format!(
                "{what} takes {groups} workgroups in a row, 65,535 is the most; lower train.batch_tokens or \
                 train.batch_size"
            )));
        }
        self.push(Pass { node: Some(node), op: n.op.name(), scope: n.scope.clone(), launch, bindings, cost });

        let g = &self.plan.graph;
        let mut dead: Vec<Value> = n.inputs.iter().map(|&v| g.base(v)).chain(n.outputs.iter().copied()).collect();
        dead.sort();
        dead.dedup();
        dead.retain(|v| last_use[v] == position);
        let inherited: Vec<Place> = n.outputs.iter().filter(|y| !dead.contains(y)).map(|y| self.place[y]).collect();
        for v in &dead {
            // A slot that an output took over lives on in it.
            if let Some(&Place::Slot(slot)) = self.place.get(v)
                && !inherited.contains(&Place::Slot(slot))
                && !self.free.contains(&slot)
            {
                self.free.push(slot);
            }
        }
        self.plan.dead.push(dead);
        Ok(())
    }

    /// The place of an output that a kernel writes over an input: the input's own when nothing needs it any more,
    /// else a copy.
    fn take_over(&mut self, x: Value, y: Value, dies_here: bool, targets: &HashMap<Value, Place>) -> Place {
        let have = self.locate(x);
        let target = targets.get(&y).copied();
        let fits = match have {
            Place::Slot(_) => dies_here && target.is_none(),
            Place::Resident(..) => target == Some(have),
            Place::Input(_) => false,
        };
        if fits {
            return have;
        }
        let to = target.unwrap_or_else(|| self.slot(y));
        self.copy(have, to, y);
        to
    }

    fn copy(&mut self, from: Place, to: Place, value: Value) {
        // One dispatch cannot read and write one buffer, whatever the ranges.
        if let (Place::Resident(a, _), Place::Resident(b, _)) = (from, to)
            && a == b
        {
            let Place::Slot(between) = self.slot(value) else { unreachable!("a slot was asked for") };
            self.copy(from, Place::Slot(between), value);
            self.copy(Place::Slot(between), to, value);
            self.free.push(between);
            return;
        }
        let g = &self.plan.graph;
        let ty = g.ty(value).clone();
        let scope = g.name(value).to_string();
        let launch = Copy.launches(&[&ty], &[&ty], &self.limits.adapter).swap_remove(0);
        let bytes = padded(ty.bytes());
        let bindings =
            vec![Binding { place: from, bytes, writable: false }, Binding { place: to, bytes, writable: true }];
        self.push(Pass { node: None, op: "copy", scope, launch, bindings, cost: Copy.cost(&[&ty], &[&ty]) });
    }

    fn push(&mut self, pass: Pass) {
        let resident = |writable| {
            let of = move |b: &&Binding| b.writable == writable;
            pass.bindings.iter().filter(of).filter_map(|b| match b.place {
                Place::Resident(r, _) => Some(r),
                _ => None,
            })
        };
        let clash = resident(true).find(|w| resident(false).any(|r| r == *w));
        assert!(clash.is_none(), "{} in {} reads and writes {clash:?} in one dispatch", pass.op, pass.scope);
        self.plan.passes.push(pass);
    }

    fn locate(&mut self, v: Value) -> Place {
        let base = self.plan.graph.base(v);
        if let Some(&place) = self.place.get(&base) {
            return place;
        }
        let place = match *self.plan.graph.source(base) {
            Source::Input => {
                self.plan.inputs.push(base);
                Place::Input(self.plan.inputs.len() - 1)
            }
            Source::Resident(r, offset) => Place::Resident(r, offset * self.plan.graph.ty(base).dtype.size()),
            _ => unreachable!("the node that makes a value comes before those that read it"),
        };
        self.place.insert(base, place);
        place
    }

    fn binding(&mut self, v: Value, writable: bool) -> Result<Binding> {
        let place = self.locate(v);
        let ty = self.plan.graph.ty(v);
        let bytes = padded(ty.bytes());
        if bytes as u64 > self.limits.binding {
            return Err(Error::Input(format!(
                "{} ({ty}) takes {} MiB, a buffer of this device holds at most {} MiB; lower train.batch_tokens, \
                 train.batch_size or tokenizer.vocab_size",
                self.plan.graph.name(v),
                bytes >> 20,
                self.limits.binding >> 20
            )));
        }
        Ok(Binding { place, bytes, writable })
    }

    /// A free buffer for a value: the smallest that is large enough, else the largest, which then grows.
    fn slot(&mut self, v: Value) -> Place {
        let bytes = padded(self.plan.graph.ty(v).bytes());
        let sizes = &self.plan.slots;
        let fitting = self.free.iter().copied().filter(|&s| sizes[s] >= bytes).min_by_key(|&s| (sizes[s], s));
        let chosen = fitting.or_else(|| self.free.iter().copied().max_by_key(|&s| (sizes[s], s)));
        let slot = match chosen {
            Some(slot) => {
                self.free.retain(|&s| s != slot);
                self.plan.slots[slot] = self.plan.slots[slot].max(bytes);
                slot
            }
            None => {
                self.plan.slots.push(bytes);
                self.plan.slots.len() - 1
            }
        };
        Place::Slot(slot)
    }

    fn finish(mut self, targets: &HashMap<Value, Place>) -> Result<Plan> {
        let mut copies = vec![];
        for (value, leaf) in self.plan.graph.stores().to_vec() {
            let to = resident_place(&self.plan.graph, leaf).expect("a store goes to a resident range");
            let base = self.plan.graph.base(value);
            if targets.get(&base) != Some(&to) {
                let mut from = self.locate(value);
                // What a range held before the run is put aside before another store overwrites it.
                if resident_place(&self.plan.graph, base).is_some() {
                    let aside = self.slot(value);
                    self.copy(from, aside, value);
                    from = aside;
                }
                copies.push((from, to, value));
            }
        }
        for (from, to, value) in copies {
            self.copy(from, to, value);
        }
        for (name, value) in self.plan.graph.outputs().to_vec() {
            let place = self.locate(value);
            self.plan.outputs.push((name, place, self.plan.graph.ty(value).clone()));
        }
        let (mut start, mut flops) = (0, 0);
        for i in 0..self.plan.passes.len() {
            let cost = self.plan.passes[i].cost.flops;
            if i > start && flops + cost > self.limits.submission_flops {
                self.submit(start..i);
                (start, flops) = (i, 0);
            }
            flops += cost;
        }
        self.submit(start..self.plan.passes.len());
        Ok(self.plan)
    }

    /// Submits passes together, or one that is too long by itself in parts, if it has several dispatches.
    fn submit(&mut self, passes: Range<usize>) {
        let alone = if passes.len() == 1 { self.plan.passes.get(passes.start) } else { None };
        let (steps, flops) = alone.map_or((1, 0), |pass| (pass.launch.steps as usize, pass.cost.flops));
        if steps == 1 || flops <= self.limits.submission_flops {
            return self.plan.submissions.push(Submission { passes, dispatches: None });
        }
        let part = (self.limits.submission_flops / flops.div_ceil(steps as u64)).max(1) as usize;
        let parts = (0..steps).step_by(part).map(|first| first..steps.min(first + part));
        let submission = |dispatches| Submission { passes: passes.clone(), dispatches: Some(dispatches) };
        self.plan.submissions.extend(parts.map(submission));
    }
}
