//! The planner, with no GPU: what it drops, shares, copies and submits, and that every pass reads what it means.

#[path = "plan/chain.rs"]
mod chain;
#[path = "plan/lifetimes.rs"]
mod lifetimes;
mod random;
#[path = "plan/steps.rs"]
mod steps;

use random::{Random, seed};
use seqloom::case::Draw;
use seqloom::cpu::{Cpu, Mode};
use seqloom::error::Error;
use seqloom::grad::grad;
use seqloom::graph::{Graph, Memory, Resident, Source, Value};
use seqloom::op::Adapter;
use seqloom::ops::matmul::Activation;
use seqloom::plan::{Binding, Limits, Pass, Place, Plan, padded};
use seqloom::tensor::{Tensor, Type};
use std::collections::{BTreeSet, HashMap};

fn plan(g: Graph) -> Plan {
    Plan::new(g, &Limits::default()).expect("small values")
}

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
fn check(plan: &Plan, memory: &[(Resident, Tensor)]) {
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

#[test]
fn every_pass_of_random_graphs_reads_what_it_means() {
    let seed = seed();
    let (mut copies, mut shared, mut in_place) = (0, 0, BTreeSet::new());
    for i in 0..800 {
        println!("graph {i}");
        let random = Random::new(&mut Draw::new(seed * 1000 + i), 4 + i as usize % 25, false);
        let plan = plan(random.graph);
        check(&plan, &random.contents);
        copies += plan.passes.iter().filter(|p| p.node.is_none()).count();
        shared += plan.order.len().saturating_sub(plan.slots.len());
        let nodes = plan.order.iter().map(|&node| &plan.graph.nodes()[node]);
        in_place.extend(nodes.filter(|n| !n.op.in_place().is_empty()).map(|n| n.op.name()));
    }
    let all = ["accumulate", "adam", "add_norm", "add_norm_vjp", "cross_entropy", "layer_norm_vjp", "matmul_add"];
    assert_eq!(in_place.into_iter().collect::<Vec<_>>(), [&all[..], &["set_rows", "sgd"]].concat());
    assert!(copies > 100 && shared > 1000, "{copies} copies, {shared} buffers saved: these graphs test nothing");
}

#[test]
fn plans_compute_the_same_values_as_unplanned() {
    let seed = seed();
    for i in 0..100 {
        println!("graph {i}");
        let random = Random::new(&mut Draw::new(seed * 1000 + 500 + i), 4 + i as usize % 25, false);
        let (outputs, after) = random.naive();
        let mut cpu = Cpu::new(Mode::Definition);
        cpu.allocate(&random.memory);
        for (r, tensor) in &random.contents {
            cpu.write_resident(*r, 0, tensor);
        }
        let program = cpu.load(vec![plan(random.graph.clone())]);
        let feeds: Vec<(&str, &Tensor)> = random.feeds.iter().map(|(name, t)| (name.as_str(), t)).collect();
        cpu.run(program, &feeds);
        for (name, want) in &outputs {
            assert_same_bits(&cpu.read(program, name), want, name);
        }
        for ((r, before), want) in random.contents.iter().zip(&after) {
            assert_same_bits(&cpu.read_resident(*r, 0, before.ty().elements()), want, &format!("{r:?}"));
        }
    }
}

#[track_caller]
fn assert_same_bits(have: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(have.ty(), want.ty(), "{what}");
    assert!(have.bytes() == want.bytes(), "{what}: {have:?}, not {want:?}");
}

/// Two linear layers with ReLU, layer norm and cross-entropy, with every gradient stored into one flat buffer.
fn small_net() -> (Graph, Memory) {
    let mut memory = Memory::default();
    let parameters = memory.declare("parameters", Type::f32([640]));
    let gradients = memory.declare("gradients", Type::f32([640]));
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([5, 4]));
    let targets = g.input("targets", Type::u32([5]));
    let weight = g.input("weight", Type::f32([1]));
    let shapes: [&[usize]; 6] = [&[8, 4], &[8], &[8], &[8], &[3, 8], &[3]];
    let p: Vec<Value> =
        (0..6).map(|i| g.resident(&format!("p{i}"), parameters, 64 * i, Type::f32(shapes[i]))).collect();
    let h = g.scoped("hidden", |g| g.linear(x, p[0], Some(p[1]), Activation::Relu));
    let h = g.scoped("norm", |g| g.layer_norm(h, p[2], p[3], 1e-5));
    let logits = g.scoped("output", |g| g.linear(h, p[4], Some(p[5]), Activation::None));
    let loss = g.scoped("loss", |g| {
        let (rows, _) = g.cross_entropy(logits, targets, weight, 0.1, true);
        g.sum(rows)
    });
    g.output("loss", loss);
    for (i, dp) in grad(&mut g, loss, &p).into_iter().enumerate() {
        let to = g.resident(&format!("d{i}"), gradients, 64 * i, Type::f32(shapes[i]));
        g.store(dp, to);
    }
    (g, memory)
}

/// One line a pass: operation, reads -> writes, place in the model. Which tile a product takes is not the planner's.
/// The three elements of the last bias go through a copy: a kernel that writes whole vec4s would spill behind them.
const SMALL_NET: &str = "\
matmul x r0+0 r0+256 -> s0 # hidden
layer_norm s0 r0+512 r0+768 -> s1 s2 # norm
matmul s1 r0+1024 r0+1280 -> s3 # output
cross_entropy targets weight -> s4 s5 s3 # loss
sum s4 -> s5 # loss
matmul s3 r0+1024 r0+1024 -> s4 # output
matmul s3 s1 s1 -> r1+1024 # output
column_sum s3 -> s1 # output
layer_norm_vjp s4 s0 r0+512 s2 -> s3 s6 # norm
layer_norm_weight_vjp s6 -> r1+512 r1+768 # norm
relu_vjp s0 s3 -> s4 # hidden
matmul s4 x x -> r1+0 # hidden
column_sum s4 -> r1+256 # hidden
copy s1 -> r1+1280 # output.column_sum
slots: 160 160 48 160 160 32 64
";

#[test]
fn a_small_net_is_planned_like_this() {
    let (g, memory) = small_net();
    let plan = plan(g);
    let mut text = String::new();
    for line in plan.to_string().lines() {
        let (before, rest) = line.split_once(" [").unwrap_or((line, ""));
        text += &format!("{before}{}\n", rest.split_once(']').map_or("", |(_, after)| after));
    }
    assert_eq!(text, SMALL_NET);
    assert!(plan.to_string().lines().next().is_some_and(|l| l.starts_with("matmul [")), "variants are printed");
    assert_eq!(plan.slot_bytes(), 160 + 160 + 48 + 160 + 160 + 32 + 64);

    let [p, d] = residents(&plan);
    check(&plan, &[p, d].map(|r| (r, Tensor::zeros(memory.ty(r)))));
}

/// The two buffers of the small net: parameters and gradients.
fn residents(plan: &Plan) -> [Resident; 2] {
    let places = plan.passes.iter().flat_map(|p| &p.bindings);
    let find = |writable| {
        let mut found = places.clone().filter(|b| b.writable == writable);
        let found = found.find_map(|b| if let Place::Resident(r, _) = b.place { Some(r) } else { None });
        found.expect("a resident binding")
    };
    [find(false), find(true)]
}

#[test]
fn what_nothing_needs_is_dropped() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([3, 4]));
    let unused = g.input("unused", Type::f32([3, 4]));
    let y = g.relu(x);
    let dead = g.tanh(y);
    let deader = g.add(dead, unused);
    g.relu(deader);
    let y = g.sigmoid(y);
    g.output("y", y);
    let plan = plan(g);
    assert_eq!(plan.order, [0, 4]);
    assert_eq!(plan.passes.iter().map(|p| p.op).collect::<Vec<_>>(), ["relu", "sigmoid"]);
    assert_eq!(plan.inputs, [x]);
}

#[test]
fn a_graph_of_no_nodes_has_its_inputs_as_outputs() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([3, 4]));
    let flat = g.reshape(x, &[12]);
    g.output("x", flat);
    let plan = plan(g);
    assert!(plan.passes.is_empty());
    assert_eq!(plan.outputs, [("x".to_string(), Place::Input(0), Type::f32([12]))]);
    let mut cpu = Cpu::new(Mode::Definition);
    let program = cpu.load(vec![plan]);
    let x = Draw::new(1).tensor(&[3, 4]);
    cpu.run(program, &[("x", &x)]);
    assert_same_bits(&cpu.read(program, "x"), &x.reshape([12]), "x");
}

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

#[test]
fn a_value_too_large_to_bind_is_named() {
    let plan = |binding: u64| {
        let mut g = Graph::new();
        let x = g.input("tokens", Type::f32([1000, 4]));
        let w = g.input("table", Type::f32([700, 4]));
        let y = g.scoped("decoder", |g| g.scoped("head", |g| g.linear(x, w, None, Activation::None)));
        g.output("y", y);
        Plan::new(g, &Limits { binding, ..Limits::default() })
    };
    assert!(plan(2_800_000).is_ok());
    for binding in [2_799_999, 16_000] {
        let error = plan(binding).expect_err("2.8 MB do not fit");
        assert!(matches!(error, Error::Input(_)) && error.exit_code() == 2, "{error:?}");
        let text = error.to_string();
        assert!(text.contains("decoder.head.matmul") && text.contains("f32[1000, 700]"), "{text}");
    }
    // So is one that no pass of the graph's own makes: an input.
    let text = plan(15_000).expect_err("16 KB do not fit").to_string();
    assert!(text.contains("tokens"), "{text}");
}

#[test]
fn submissions_cover_the_passes_in_order() {
    let budget = |submission_flops: u64| {
        let plan = Plan::new(small_net().0, &Limits { submission_flops, ..Limits::default() }).expect("small values");
        let mut next = 0;
        for range in &plan.submissions {
            assert_eq!(range.start, next);
            assert!(range.end > range.start, "an empty submission");
            let flops: u64 = plan.passes[range.clone()].iter().map(|p| p.cost.flops).sum();
            assert!(flops <= submission_flops || range.len() == 1, "{flops} of {submission_flops} in {range:?}");
            // One more pass would not have fitted.
            if let Some(pass) = plan.passes.get(range.end) {
                assert!(flops + pass.cost.flops > submission_flops, "{range:?} ends too early");
            }
            next = range.end;
        }
        assert_eq!(next, plan.passes.len());
        plan.submissions.len()
    };
    assert_eq!(budget(u64::MAX), 1);
    let plan = plan(small_net().0);
    assert_eq!(plan.cost().flops, plan.passes.iter().map(|p| p.cost.flops).sum::<u64>());
    let some = budget(plan.cost().flops / 3);
    assert!((3..plan.passes.len()).contains(&some), "{some} submissions");
    assert_eq!(budget(0), plan.passes.len());
}

#[test]
fn gradients_belong_to_the_part_whose_they_are() {
    let plan = plan(small_net().0);
    let of = |scope: &str| plan.passes.iter().filter(|p| p.scope == scope).map(|p| p.op).collect::<Vec<_>>().join(" ");
    assert_eq!(of("hidden"), "matmul relu_vjp matmul column_sum");
    assert_eq!(of("norm"), "layer_norm layer_norm_vjp layer_norm_weight_vjp");
    assert_eq!(of("output"), "matmul matmul matmul column_sum");
    assert_eq!(of("loss"), "cross_entropy sum");

    let mut g = Graph::new();
    let x = g.input("x", Type::f32([2]));
    let y = g.scoped("a", |g| g.scoped("b", |g| (g.scope(), g.relu(x)).1));
    assert_eq!((g.name(y), g.scope().as_str()), ("a.b.relu", ""));
    let z = g.relu(y);
    assert_eq!(g.name(z), "relu");
}

#[test]
fn software_adapters_get_their_own_launches() {
    let first = |software| {
        let limits = Limits { adapter: Adapter { software, subgroup: None }, ..Limits::default() };
        Plan::new(small_net().0, &limits).expect("small values").passes[1].launch.variant.clone()
    };
    assert_eq!([first(false), first(true)], ["32 lanes a row", "1 lanes a row"]);
}
