//! Sequences that are read and made a time at a time: what that costs in passes.

use super::plan;
use super::simulation::check;
use seqloom::grad::vjp;
use seqloom::graph::Graph;
use seqloom::op::Adapter;
use seqloom::ops::matmul::Activation;
use seqloom::ops::recurrence::Cell;
use seqloom::plan::{Limits, Plan};
use seqloom::tensor::Type;

fn ops(plan: &Plan) -> Vec<&'static str> {
    plan.passes.iter().map(|p| p.op).collect()
}

/// Bytes that the passes of an operation read and write.
fn bytes(plan: &Plan, op: &str) -> u64 {
    plan.passes.iter().filter(|p| p.op == op).map(|p| p.cost.bytes).sum()
}

#[test]
fn a_sequence_is_made_of_its_steps_in_one_buffer() {
    let (b, t, c) = (3, 5, 8);
    let mut g = Graph::new();
    let steps: Vec<_> = (0..t).map(|i| g.input(&format!("step{i}"), Type::f32([b, 1, c]))).collect();
    let mut x = g.fill(0.0, &[b, t, c]);
    for (i, &step) in steps.iter().enumerate() {
        x = g.add_time_step(x, i, step);
    }
    let y = g.tanh(x);
    g.output("y", y);
    let dy = g.input("dy", Type::f32([b, t, c]));
    for (i, dx) in vjp(&mut g, &[(y, dy)], &steps).into_iter().enumerate() {
        g.output(&format!("d{i}"), dx);
    }
    let plan = plan(g);
    check(&plan, &[]);
    let want = [vec!["fill"], vec!["add_columns"; t], vec!["tanh", "tanh_vjp"], vec!["columns"; t]].concat();
    assert_eq!(ops(&plan), want, "\n{plan}");
    // Each of the T passes touches one step: three times the sequence in all.
    assert_eq!(bytes(&plan, "add_columns"), (3 * 4 * b * t * c) as u64);
}

#[test]
fn gradients_of_steps_are_added_to_their_own_times() {
    let (b, t, c) = (3, 5, 8);
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([b, t, c]));
    let mut results = vec![];
    for i in 0..t {
        let step = g.time_step(x, i);
        let y = g.tanh(step);
        results.push((y, g.input(&format!("dy{i}"), Type::f32([b, 1, c]))));
    }
    let dx = vjp(&mut g, &results, &[x])[0];
    g.output("dx", dx);
    let plan = plan(g);
    check(&plan, &[]);
    let count = |op: &str| plan.passes.iter().filter(|p| p.op == op).count();
    assert_eq!(["put_columns", "add_columns"].map(count), [1, t - 1], "\n{plan}");
    assert_eq!(["add", "copy", "fill"].map(count), [0; 3], "\n{plan}");
    assert_eq!(bytes(&plan, "add_columns"), (3 * 4 * b * (t - 1) * c) as u64);
}

/// However many steps: one walk each way, and products and sums over all times at once.
#[test]
fn a_layer_of_an_lstm_takes_twelve_dispatches_forward_and_back() {
    let (b, t, h) = (32, 64, 128);
    for software in [true, false] {
        let mut g = Graph::new();
        let [x, dy] = ["x", "dy"].map(|name| g.input(name, Type::f32([b, t, h])));
        let [w_ih, w_hh] = ["w_ih", "w_hh"].map(|name| g.input(name, Type::f32([4 * h, h])));
        let [b_ih, b_hh] = ["b_ih", "b_hh"].map(|name| g.input(name, Type::f32([4 * h])));
        let start = g.input("start", Type::f32([b, 2, h]));
        let lengths = g.input("lengths", Type::u32([b]));
        let gates = g.linear(x, w_ih, Some(b_ih), Activation::None);
        let (y, _) = g.recurrence(Cell::Lstm, gates, w_hh, Some(b_hh), start, lengths, false);
        for (i, dx) in vjp(&mut g, &[(y, dy)], &[x, w_ih, b_ih, w_hh, b_hh, start]).into_iter().enumerate() {
            g.output(&format!("d{i}"), dx);
        }
        let limits = Limits { adapter: Adapter { software, subgroup: Some(8) }, ..Limits::default() };
        let plan = Plan::new(g, &limits).expect("small values");
        let dispatches: u32 = plan.passes.iter().map(|pass| pass.launch.steps).sum();
        assert!(dispatches <= 12, "{dispatches} dispatches:\n{plan}");
    }
}
