//! What an operation overwrites, and what is computed where it is stored.

use super::plan;
use super::simulation::check;
use seqloom::graph::{Graph, Memory, Value};
use seqloom::plan::{Place, Plan};
use seqloom::tensor::{Tensor, Type};

/// A loss over logits that come from a node, and whatever else wants the logits.
fn loss_of(keep: impl Fn(&mut Graph, Value)) -> Plan {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([3, 4]));
    let targets = g.input("targets", Type::u32([3]));
    let weight = g.input("weight", Type::f32([1]));
    let logits = g.scale(x, 2.0);
    let (loss, _) = g.cross_entropy(logits, targets, weight, 0.0, true);
    g.output("loss", loss);
    keep(&mut g, logits);
    let plan = plan(g);
    check(&plan, &[]);
    plan
}

#[test]
fn an_operation_in_place_copies_what_is_still_needed() {
    let ops = |plan: &Plan| plan.passes.iter().map(|p| p.op).collect::<Vec<_>>();
    // Nothing wants the logits: their buffer becomes the gradient's.
    let plan = loss_of(|_, _| ());
    assert_eq!(ops(&plan), ["scale", "cross_entropy"]);
    assert_eq!(plan.passes[0].bindings[1].place, plan.passes[1].bindings[4].place);
    // The host wants them, as they are or as a view, or a later node does.
    for plan in [
        loss_of(|g, logits| g.output("logits", logits)),
        loss_of(|g, logits| {
            let flat = g.reshape(logits, &[12]);
            g.output("logits", flat)
        }),
    ] {
        assert_eq!(ops(&plan), ["scale", "copy", "cross_entropy"]);
        assert_ne!(plan.outputs[1].1, plan.passes[2].bindings[4].place);
    }
    let plan = loss_of(|g, logits| {
        let later = g.relu(logits);
        g.output("later", later);
    });
    assert_eq!(ops(&plan), ["scale", "copy", "cross_entropy", "relu"]);
}

#[test]
fn an_input_of_the_host_is_never_overwritten() {
    let mut g = Graph::new();
    let logits = g.input("logits", Type::f32([3, 4]));
    let targets = g.input("targets", Type::u32([3]));
    let weight = g.input("weight", Type::f32([1]));
    let (loss, _) = g.cross_entropy(logits, targets, weight, 0.0, true);
    g.output("loss", loss);
    let plan = plan(g);
    check(&plan, &[]);
    assert!(plan.passes.iter().flat_map(|p| &p.bindings).all(|b| !b.writable || matches!(b.place, Place::Slot(_))));
}

/// A kernel that writes over one input cannot read the same buffer as another one.
#[test]
fn an_operation_in_place_may_read_its_input_twice() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([1, 1]));
    let targets = g.input("targets", Type::u32([1]));
    let logits = g.relu(x);
    let weight = g.reshape(logits, &[1]);
    let (loss, _) = g.cross_entropy(logits, targets, weight, 0.0, true);
    g.output("loss", loss);
    check(&plan(g), &[]);
}

/// What is stored is computed where it belongs, unless the range is read later or the buffer in the same dispatch.
#[test]
fn stores_do_not_overwrite_what_is_read() {
    let mut memory = Memory::default();
    let [a, b] = ["a", "b"].map(|name| memory.declare(name, Type::f32([256])));
    let contents = [a, b].map(|r| (r, Tensor::zeros(memory.ty(r))));
    let ops = |g: Graph| {
        let plan = plan(g);
        check(&plan, &contents);
        plan.passes.iter().map(|p| p.op).collect::<Vec<_>>().join(" ")
    };
    let range = |g: &mut Graph, buffer, offset| g.resident("range", buffer, offset, Type::f32([3, 4]));

    // Straight into its range, from another buffer.
    let mut g = Graph::new();
    let (from, to) = (range(&mut g, a, 0), range(&mut g, b, 64));
    let y = g.relu(from);
    g.store(y, to);
    assert_eq!(ops(g), "relu");

    // The sum of the buffer's own range and an input: gradients over several batches.
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([3, 4]));
    let to = range(&mut g, a, 64);
    let y = g.add(to, x);
    g.store(y, to);
    assert_eq!(ops(g), "add copy");

    // Another node reads the range after the value exists.
    let mut g = Graph::new();
    let (x, to) = (range(&mut g, b, 0), range(&mut g, a, 64));
    let y = g.relu(x);
    let before = g.tanh(to);
    g.output("before", before);
    g.store(y, to);
    assert_eq!(ops(g), "relu tanh copy");

    // Two stored values, one computed from the other; and one value stored twice, in one buffer.
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([3, 4]));
    let y = g.relu(x);
    let z = g.tanh(y);
    for (value, at) in [(y, 0), (z, 64), (z, 128)] {
        let to = range(&mut g, a, at);
        g.store(value, to);
    }
    let plan = ops(g);
    assert!(plan.starts_with("relu tanh copy"), "{plan}");

    // Two ranges change places; an input of the host is stored as it is.
    let mut g = Graph::new();
    let (x, to) = (g.input("x", Type::f32([3, 4])), range(&mut g, b, 64));
    let (one, other) = (range(&mut g, a, 0), range(&mut g, b, 0));
    for (value, to) in [(one, other), (other, one), (x, to)] {
        g.store(value, to);
    }
    assert_eq!(ops(g), ["copy"; 5].join(" "));
}

/// A sum that a product joins: its kernel would write sixteen elements where fifteen belong to the gradient.
#[test]
fn what_spills_is_not_computed_where_the_result_belongs() {
    let mut memory = Memory::default();
    let gradients = memory.declare("gradients", Type::f32([128]));
    let joined = |rows: usize| {
        let mut g = Graph::new();
        let [a, b] = ["a", "b"].map(|name| g.input(name, Type::f32([rows, 5])));
        let [u, v] = [[rows, 2], [2, 5]].map(|dims| g.input("factor", Type::f32(dims)));
        let s = g.add(a, b);
        let y = g.matmul_add(s, u, v, false, false);
        let to = g.resident("gradient", gradients, 64, Type::f32([rows, 5]));
        g.store(y, to);
        let plan = plan(g);
        check(&plan, &[(gradients, Tensor::zeros(memory.ty(gradients)))]);
        plan.passes.iter().map(|p| p.op).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(joined(3), "add copy matmul_add");
    assert_eq!(joined(4), "add matmul_add");
}
