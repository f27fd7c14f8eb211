//! The longest chain of passes that wait for each other.

use super::plan;
use seqloom::device::Device;
use seqloom::graph::{Graph, Memory};
use seqloom::models::Architecture;
use seqloom::network::Network;
use seqloom::ops::recurrence::Cell;
use seqloom::recipe::{self, Attention, ModelKind, Recipe};
use seqloom::tensor::Type;
use seqloom::text::batch::{Batches, Buckets, Example};
use seqloom::train::Planned;

#[test]
fn only_what_is_read_is_waited_for() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([2, 8]));
    // A buffer is free after each of these, and the next takes it: no wait for anything.
    let branches = [1, 2, 3].map(|n| (0..n).fold(x, |y, _| g.tanh(y)));
    for (i, y) in branches.into_iter().enumerate() {
        g.output(&format!("y{i}"), y);
    }
    let chain = |g: &Graph| plan(g.clone()).longest_chain();
    assert_eq!(chain(&g), 3);
    let sum = g.add(branches[0], branches[2]);
    g.output("sum", sum);
    assert_eq!(chain(&g), 4);
    // Beside each other, however many.
    for _ in 0..5 {
        let y = g.relu(sum);
        g.output("more", y);
    }
    assert_eq!(chain(&g), 5);
    assert_eq!(chain(&Graph::new()), 0);
}

/// What one pass stores in a range waits for nothing there; what takes over a range waits for what wrote it.
#[test]
fn a_store_is_no_read() {
    let mut memory = Memory::default();
    let flat = memory.declare("flat", Type::f32([128]));
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([64]));
    for i in 0..2 {
        let to = g.resident("part", flat, 64 * i, Type::f32([64]));
        let y = (0..2).fold(x, |y, _| g.tanh(y));
        g.store(y, to);
    }
    assert_eq!(plan(g).longest_chain(), 2);

    let mut g = Graph::new();
    let parts: Vec<_> = (0..3).map(|i| g.input(&format!("part{i}"), Type::f32([2, 1, 8]))).collect();
    let zeros = g.fill(0.0, &[2, 3, 8]);
    let all = parts.iter().enumerate().fold(zeros, |all, (i, &part)| g.add_time_step(all, i, part));
    g.output("all", all);
    assert_eq!(plan(g).longest_chain(), 4, "the parts are written into one buffer one after the other");
}

/// Steps inside a dispatch are steps.
#[test]
fn a_walk_in_one_dispatch_is_as_long_as_its_sequence() {
    let chain = |t: usize| {
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([2, t, 16]));
        let w = g.input("w", Type::f32([16, 4]));
        let state = g.input("state", Type::f32([2, 2, 4]));
        let lengths = g.input("lengths", Type::u32([2]));
        let (h, _) = g.recurrence(Cell::Lstm, x, w, None, state, lengths, false);
        g.output("h", h);
        let plan = plan(g);
        assert_eq!(plan.passes.iter().map(|p| p.launch.steps as usize).max(), Some(t.div_ceil(512)), "{plan}");
        plan.longest_chain()
    };
    // The bias of zeros comes first; a single step is a slice of the state, a product and the cell.
    assert_eq!([chain(1), chain(5), chain(1000)], [3, 6, 1001]);
}

/// The chain of a step's forward and backward pass on sentences of so many tokens.
fn of_model(change: impl Fn(&mut recipe::Model), kind: ModelKind, length: usize) -> usize {
    let mut recipe = Recipe::of_kind(kind);
    recipe.name = "chain".into();
    recipe.data.max_length = length;
    let m = &mut recipe.model;
    (m.hidden, m.embedding, m.d_model, m.ffn, m.heads, m.encoder_layers, m.decoder_layers) = (8, 8, 8, 16, 2, 2, 1);
    (m.bidirectional, m.dropout) = (false, 0.0);
    change(m);
    recipe.check_model().expect("the keys fit");
    let examples = vec![Example::unmarked(vec![5; length], vec![6; 5]); 2];
    let batches = Batches::new(Buckets::choose(&examples, 0, 2, 1).expect("a shape"), examples).expect("batches");
    let model = Architecture::new(&recipe.model, 20);
    let network = Network::new(Device::cpu(), model, length, true).expect("a network");
    let planned = Planned::new(network, recipe, batches.clone(), batches).expect("plans");
    planned.plans()[0].longest_chain()
}

#[test]
fn a_recurrent_models_chain_grows_with_the_length_and_a_transformers_does_not() {
    let lengths = [16, 64, 256];
    let rnn = |attention| {
        lengths.map(|t| of_model(|m| (m.cell, m.attention) = (recipe::Cell::Rnn, attention), ModelKind::Seq2Seq, t))
    };
    let transformer = lengths.map(|t| of_model(|_| (), ModelKind::Transformer, t));
    assert!(transformer[0] > 20 && transformer == [transformer[0]; 3], "{transformer:?}");
    for chain in [rnn(Attention::None), rnn(Attention::General)] {
        // Once along the sentence and once back.
        assert_eq!([chain[1] - chain[0], chain[2] - chain[1]], [2 * 48, 2 * 192], "{chain:?}");
    }
}
