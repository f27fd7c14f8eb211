//! A plan played on symbols: its buffers hold the names of values, and every pass must find those that its node reads.

use seqloom::graph::{Resident, Source, Value};
use seqloom::plan::{Binding, Pass, Place, Plan, padded};
use seqloom::tensor::Tensor;
use std::collections::HashMap;

/// What a cell of memory holds: a part of a value (named by its base), or what a resident cell held before the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    Before(Resident, usize),
    Of(Value),
}

/// The memory of a plan, four bytes a cell, with the value that each cell holds instead of a number.
struct Simulation<'a> {
    plan: &'a Plan,
    slots: Vec<Vec<Content>>,
    residents: HashMap<Resident, Vec<Content>>,
}

impl<'a> Simulation<'a> {
    fn new(plan: &'a Plan, memory: &[(Resident, Tensor)]) -> Simulation<'a> {
        let slots = plan.slots.iter().map(|bytes| vec![Content::Nothing; bytes / 4]).collect();
        let before = |(r, t): &(Resident, Tensor)| {
            let cells = 0..padded(t.ty().bytes()) / 4;
            (*r, cells.map(|i| Content::Before(*r, i)).collect())
        };
        Simulation { plan, slots, residents: memory.iter().map(before).collect() }
    }

    fn cells(&mut self, place: Place, words: usize) -> &mut [Content] {
        match place {
            Place::Slot(s) => &mut self.slots[s][..words],
            Place::Resident(r, offset) => {
                assert!(offset.is_multiple_of(256), "no binding starts at byte {offset}");
                &mut self.residents.get_mut(&r).expect("a declared buffer")[offset / 4..][..words]
            }
            Place::Input(_) => panic!("an input is not written"),
        }
    }

    /// Asserts that a place holds a value.
    #[track_caller]
    fn holds(&mut self, place: Place, v: Value, what: &str) {
        let g = &self.plan.graph;
        let base = g.base(v);
        if let Place::Input(i) = place {
            assert_eq!(self.plan.inputs[i], base, "{what}: not {}", g.name(base));
            return;
        }
        let want = |i: usize| match *g.source(base) {
            Source::Resident(r, offset) => Content::Before(r, offset + i),
            _ => Content::Of(base),
        };
        let found = self.cells(place, g.ty(v).elements());
        let wrong = found.iter().enumerate().find(|(i, c)| **c != want(*i));
        assert!(wrong.is_none(), "{what}: {place:?} holds {wrong:?}, not {:?}", want(0));
    }

    fn run(&mut self, pass: &Pass) {
        let what = format!("{} in {}", pass.op, pass.scope);
        for (i, b) in pass.bindings.iter().enumerate() {
            let size = match b.place {
                Place::Slot(s) => self.plan.slots[s],
                Place::Input(i) => padded(self.plan.graph.ty(self.plan.inputs[i]).bytes()),
                Place::Resident(r, offset) => 4 * self.residents[&r].len() - offset,
            };
            assert!(b.bytes <= size && b.bytes.is_multiple_of(16), "{what}: {b:?} of {size} bytes");
            // wgpu tracks whole buffers: a dispatch that reads and writes one, or binds one to two outputs, is an error.
            let same = |other: &Binding| match (b.place, other.place) {
                (Place::Resident(a, _), Place::Resident(b, _)) => a == b,
                (a, b) => a == b,
            };
            let apart = |other: &Binding| {
                !same(other) || b.writable == other.writable && matches!(b.place, Place::Resident(..))
            };
            let others = pass.bindings[i + 1..].iter();
            assert!(others.clone().all(|o| !(b.writable || o.writable) || apart(o)), "{what}: {:?}", pass.bindings);
            assert!(others.clone().all(|o| !b.writable || o.place != b.place), "{what}: two outputs in {:?}", b.place);
        }
        match pass.node {
            None => self.copy(pass, &what),
            Some(node) => self.node(node, pass, &what),
        }
    }

    fn copy(&mut self, pass: &Pass, what: &str) {
        let [from, to] = pass.bindings[..] else { panic!("{what}: a copy has two bindings") };
        assert!(!from.writable && to.writable && from.bytes == to.bytes, "{what}");
        let words = pass.launch.run[0] as usize;
        assert!(padded(4 * words) == to.bytes, "{what}: {words} words");
        let content = match from.place {
            Place::Input(i) => vec![Content::Of(self.plan.inputs[i]); words],
            place => self.cells(place, words).to_vec(),
        };
        self.cells(to.place, words).copy_from_slice(&content);
    }

    fn node(&mut self, node: usize, pass: &Pass, what: &str) {
        let n = &self.plan.graph.nodes()[node];
        let taken = |i: usize| n.op.in_place().iter().any(|pair| pair.0 == i);
        let read: Vec<Value> = n.inputs.iter().enumerate().filter(|(i, _)| !taken(*i)).map(|(_, v)| *v).collect();
        assert_eq!(pass.bindings.len(), read.len() + n.outputs.len(), "{what}: bindings");
        let (inputs, outputs) = pass.bindings.split_at(read.len());
        for (b, &v) in inputs.iter().zip(&read) {
            assert!(!b.writable && b.bytes == padded(self.plan.graph.ty(v).bytes()), "{what}: {b:?}");
            self.holds(b.place, v, what);
        }
        for (o, (b, &v)) in outputs.iter().zip(&n.outputs).enumerate() {
            assert!(b.writable && b.bytes == padded(self.plan.graph.ty(v).bytes()), "{what}: {b:?}");
            if let Some(pair) = n.op.in_place().iter().find(|pair| pair.1 == o) {
                self.holds(b.place, n.inputs[pair.0], what);
            }
        }
        for (o, (b, &v)) in outputs.iter().zip(&n.outputs).enumerate() {
            // Kernels may write whole vec4s, but for those that take over what is there: the probe of `verify` asks for it.
            let in_place = n.op.in_place().iter().any(|pair| pair.1 == o);
            let cells = if in_place { self.plan.graph.ty(v).elements() } else { b.bytes / 4 };
            self.cells(b.place, cells).fill(Content::Of(v));
        }
    }
}

/// Plays a plan on symbols: every pass must find the values that its node means, and so must the host at the end.
pub fn check(plan: &Plan, memory: &[(Resident, Tensor)]) {
    let mut simulation = Simulation::new(plan, memory);
    for pass in &plan.passes {
        simulation.run(pass);
    }
    for ((name, place, ty), (_, v)) in plan.outputs.iter().zip(plan.graph.outputs()) {
        assert_eq!(ty, plan.graph.ty(*v), "output {name}");
        simulation.holds(*place, *v, name);
    }
    for &(value, to) in plan.graph.stores() {
        let Source::Resident(r, offset) = *plan.graph.source(to) else { panic!("a store goes to a resident") };
        simulation.holds(Place::Resident(r, 4 * offset), value, "a store");
        // What lies behind it counts in the norm of all gradients.
        let n = plan.graph.ty(value).elements();
        let cells = simulation.cells(Place::Resident(r, 4 * offset), n.next_multiple_of(4));
        let behind = (n..).zip(&cells[n..]).find(|(i, c)| **c != Content::Before(r, offset + i));
        assert!(behind.is_none(), "a store of {} spills: {behind:?}", plan.graph.name(value));
    }
    let mut nodes: Vec<usize> = plan.passes.iter().filter_map(|p| p.node).collect();
    assert_eq!(nodes, plan.order, "nodes run once, in order");
    nodes.dedup();
    assert_eq!(nodes, plan.order);
}
