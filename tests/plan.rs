//! The planner, with no GPU: what it drops, shares, copies and submits, and that every pass reads what it means.

#[path = "plan/chain.rs"]
mod chain;
#[path = "plan/in_place.rs"]
mod in_place;
#[path = "plan/lifetimes.rs"]
mod lifetimes;
mod random;
#[path = "plan/simulation.rs"]
mod simulation;
#[path = "plan/steps.rs"]
mod steps;

use random::{Random, seed};
use seqloom::case::Draw;
use seqloom::cpu::{Cpu, Mode};
use seqloom::error::Error;
use seqloom::grad::grad;
use seqloom::graph::{Graph, Memory, Resident, Value};
use seqloom::op::Adapter;
use seqloom::ops::matmul::Activation;
use seqloom::plan::{Limits, Place, Plan, Submission};
use seqloom::tensor::{Tensor, Type};
use simulation::check;
use std::collections::BTreeSet;

fn plan(g: Graph) -> Plan {
    Plan::new(g, &Limits::default()).expect("small values")
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
        for Submission { passes: range, dispatches } in &plan.submissions {
            assert_eq!((range.start, dispatches), (next, &None));
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
