//! Layers against PyTorch's numbers: recurrences (tests/golden/ops.py) and attention decoders (tests/golden/attention.py),
//! by definitions, the faster CPU path and kernels. And that an attention's bits are its row's own.

mod device;
mod golden;

use golden::{Golden, everywhere};
use seqloom::case::Draw;
use seqloom::grad::vjp;
use seqloom::graph::{Graph, Value};
use seqloom::ops::global_attention::Score;
use seqloom::ops::matmul::Activation;
use seqloom::ops::recurrence::Cell;
use seqloom::plan::{Limits, Plan};
use seqloom::tensor::{Tensor, Type};

/// Layers of recurrences as torch.nn has them, with unequal lengths, initial states, and cotangents of h and of the final
/// states. `layers`: the suffixes of the parameters' names, of layers or, where
/// `reverse`, of the directions of one, whose halves y has in its columns.
fn recurrent(op: &str, cell: Cell, layers: &[&str], reverse: bool) {
    let golden = Golden::of("ops", op);
    let mut g = Graph::new();
    let x = golden.input(&mut g, "x");
    let lengths = golden.input(&mut g, "lengths");
    let mut stored = golden.0.clone();
    let mut wrt = vec![("x".to_string(), x)];
    let mut results = vec![];
    let mut y = x;
    for (i, suffix) in layers.iter().enumerate() {
        let mut parameter = |g: &mut Graph, name: String| {
            let value = golden.input(g, &name);
            wrt.push((name, value));
            value
        };
        let [w_ih, w_hh, b_ih, b_hh] =
            ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|name| parameter(&mut g, format!("{name}_{suffix}")));
        let start = parameter(&mut g, format!("start{i}"));
        let from = if reverse { x } else { y };
        let gates = g.linear(from, w_ih, Some(b_ih), Activation::None);
        let (h, state) = g.recurrence(cell, gates, w_hh, Some(b_hh), start, lengths, reverse && i == 1);
        let cotangent = golden.input(&mut g, &format!("cotangent{i}"));
        g.output(&format!("final{i}"), state);
        results.push((state, cotangent));
        y = h;
        if reverse {
            // This direction's half of the columns.
            for name in ["y", "dy"] {
                let [b, t, wide] = golden.tensor(name).ty().dims[..] else { panic!("{name} is (B, T, 2 H)") };
                let rows = golden.tensor(name).as_f32().chunks(wide);
                let half = rows.flat_map(|row| &row[i * wide / 2..(i + 1) * wide / 2]).copied().collect();
                stored.insert(format!("{name}{i}"), Tensor::f32([b, t, wide / 2], half));
            }
            g.output(&format!("y{i}"), h);
            results.push((h, g.input(&format!("dy{i}"), stored[&format!("dy{i}")].ty().clone())));
        }
    }
    if !reverse {
        g.output("y", y);
        results.push((y, golden.input(&mut g, "dy")));
    }
    let values: Vec<Value> = wrt.iter().map(|w| w.1).collect();
    for ((name, _), dx) in wrt.iter().zip(vjp(&mut g, &results, &values)) {
        g.output(&format!("d{name}"), dx);
    }
    Golden(stored).check(&g, |_, largest| 2e-6 * largest);
}

#[test]
fn recurrences_of_one_layer() {
    for (op, cell) in [("rnn", Cell::Rnn), ("gru", Cell::Gru), ("lstm", Cell::Lstm)] {
        recurrent(op, cell, &["l0"], false);
    }
}

#[test]
fn recurrences_in_both_directions_with_unequal_lengths() {
    for (op, cell) in [("gru_packed", Cell::Gru), ("lstm_packed", Cell::Lstm)] {
        recurrent(op, cell, &["l0", "l0_reverse"], true);
    }
}

#[test]
fn recurrences_of_two_layers() {
    recurrent("lstm_layers", Cell::Lstm, &["l0", "l1"], false);
}

/// The results y and weights, which have stored cotangents, and the gradients of these values as outputs.
fn outputs(golden: &Golden, g: &mut Graph, y: Value, weights: Value, wrt: &[(&str, Value)]) {
    let results = [("y", y), ("weights", weights)].map(|(name, value)| {
        g.output(name, value);
        (value, golden.input(g, &format!("d{name}")))
    });
    let values: Vec<Value> = wrt.iter().map(|w| w.1).collect();
    for ((name, _), dx) in wrt.iter().zip(vjp(g, &results, &values)) {
        g.output(&format!("d{name}"), dx);
    }
}

#[test]
fn global_attention_with_the_general_score() {
    let golden = Golden::of("attention", "luong");
    let mut g = Graph::new();
    let names = ["h", "memory", "w_a", "w_c"];
    let [h, memory, w_a, w_c] = names.map(|name| golden.input(&mut g, name));
    let lengths = golden.input(&mut g, "lengths");
    let k = g.linear(memory, w_a, None, Activation::None);
    let (context, weights) = g.global_attention(Score::Dot, h, k, None, memory, lengths);
    let both = g.concat_columns(context, h);
    let y = g.linear(both, w_c, None, Activation::Tanh);
    let wrt: Vec<_> = names.into_iter().zip([h, memory, w_a, w_c]).collect();
    outputs(&golden, &mut g, y, weights, &wrt);
    golden.check(&g, |_, largest| 2e-6 * largest);
}

/// Bahdanau's decoder a time after the other: y, weights and the graph's parameters.
fn bahdanau(golden: &Golden, g: &mut Graph) -> (Value, Value, Vec<(&'static str, Value)>) {
    let names = ["x", "memory", "start", "w_a", "u_a", "v_a", "weight_ih", "weight_hh", "bias_ih", "bias_hh"];
    let inputs = names.map(|name| golden.input(g, name));
    let [x, memory, start, w_a, u_a, v_a, w_ih, w_hh, b_ih, b_hh] = inputs;
    let lengths = golden.input(g, "lengths");
    let [b, t, _] = g.ty(x).dims[..] else { panic!("x is (B, T, E)") };
    let [s, h] = [g.ty(memory).dims[1], g.ty(start).cols()];
    let steps = g.input("steps", Type::u32([b]));
    let k = g.linear(memory, u_a, None, Activation::None);
    let (mut y, mut all) = (g.fill(0.0, &[b, t, h]), g.fill(0.0, &[b, t, s]));
    let mut state = start;
    for i in 0..t {
        let q = g.linear(state, w_a, None, Activation::None);
        let (context, weights) = g.global_attention(Score::Additive, q, k, Some(v_a), memory, lengths);
        let x = g.time_step(x, i);
        let x = g.concat_columns(x, context);
        let gates = g.linear(x, w_ih, Some(b_ih), Activation::None);
        state = g.recurrence(Cell::Gru, gates, w_hh, Some(b_hh), state, steps, false).1;
        y = g.add_time_step(y, i, state);
        all = g.add_time_step(all, i, weights);
    }
    (y, all, names.into_iter().zip(inputs).collect())
}

#[test]
fn a_decoder_with_the_additive_score() {
    let mut golden = Golden::of("attention", "bahdanau");
    let b = golden.tensor("x").ty().dims[0];
    golden.0.insert("steps".into(), Tensor::u32([b], vec![1; b]));
    let mut g = Graph::new();
    let (y, weights, wrt) = bahdanau(&golden, &mut g);
    outputs(&golden, &mut g, y, weights, &wrt);
    golden.check(&g, |_, largest| 2e-6 * largest);
}

/// Gradients of keys and values, which every step of a decoder reads, are summed in place by the kernels that compute them.
#[test]
fn gradients_of_keys_and_values_are_summed_in_place() {
    let golden = Golden::of("attention", "bahdanau");
    let mut g = Graph::new();
    let (y, weights, wrt) = bahdanau(&golden, &mut g);
    outputs(&golden, &mut g, y, weights, &wrt);
    let steps = golden.tensor("x").ty().dims[1];
    let whole = golden.tensor("memory").ty().elements();
    let plan = Plan::new(g, &Limits::default()).expect("small values");
    let count = |op: &str| plan.passes.iter().filter(|p| p.op == op).count();
    assert_eq!(count("global_attention_key_vjp"), 1, "\n{plan}");
    assert_eq!(count("global_attention_key_vjp_add"), steps - 1, "\n{plan}");
    let added = plan.passes.iter().filter(|p| ["add", "copy"].contains(&p.op));
    let sizes: Vec<usize> = added.map(|p| p.launch.run[0] as usize).collect();
    assert!(sizes.iter().all(|&n| 4 * n < whole), "{sizes:?} of {whole}\n{plan}");
}

/// A row alone, in a batch, with more padding, and as one of several rows of a line: the same bits.
#[test]
fn an_attentions_bits_are_its_rows_own() {
    let mut draw = Draw::new(8);
    let (b, t, s, a, c) = (3, 2, 70, 37, 90);
    let lengths = [66, 0, 70];
    let cut = |x: &Tensor, row: usize, rows: usize, width: usize, padded: usize| -> Vec<f32> {
        let mut part = x.as_f32()[row * rows * width..][..rows * width].to_vec();
        part.resize(padded * width, 7.5);
        part
    };
    for score in [Score::Additive, Score::Dot] {
        let [q, k, values] = [[b, t, a], [b, s, a], [b, s, c]].map(|dims| draw.tensor(&dims));
        let v = draw.tensor(&[a]);
        let run = |q: &Tensor, k: &Tensor, values: &Tensor, lengths: Vec<u32>, line: Option<Vec<u32>>| {
            let words = |words: Vec<u32>| Tensor::u32([words.len()], words);
            let lines = line.is_some();
            let feeds = [
                ("q", q.clone()),
                ("k", k.clone()),
                ("v", v.clone()),
                ("values", values.clone()),
                ("lengths", words(lengths)),
                ("line", words(line.unwrap_or(vec![0]))),
            ];
            let mut g = Graph::new();
            let inputs: Vec<Value> = feeds.iter().map(|(name, t)| g.input(name, t.ty().clone())).collect();
            let [q, k, v, values, lengths, line] = inputs[..] else { unreachable!("six inputs") };
            let v = (score == Score::Additive).then_some(v);
            let (context, weights) = match lines {
                true => g.global_attention_of_lines(score, q, k, v, values, lengths, line),
                false => g.global_attention(score, q, k, v, values, lengths),
            };
            g.output("context", context);
            g.output("weights", weights);
            let used = feeds.iter().filter(|(name, _)| (*name != "line" || lines) && (*name != "v" || v.is_some()));
            let feeds: Vec<(&str, &Tensor)> = used.map(|(name, t)| (*name, t)).collect();
            let (executor, outputs) = everywhere(&g, &feeds).pop().expect("three executors");
            assert_eq!(executor, "GPU");
            outputs.into_iter().map(|(_, t)| t.as_f32().to_vec()).collect::<Vec<_>>()
        };
        let batch = run(&q, &k, &values, lengths.to_vec(), None);
        for row in 0..b {
            let own_q = Tensor::f32([1, t, a], cut(&q, row, t, a, t));
            for padded in [s, 131] {
                let k = Tensor::f32([1, padded, a], cut(&k, row, s, a, padded));
                let values = Tensor::f32([1, padded, c], cut(&values, row, s, c, padded));
                let alone = run(&own_q, &k, &values, vec![lengths[row]], None);
                assert_eq!(alone[0], batch[0][row * t * c..][..t * c], "{score:?} context of row {row}, {padded} keys");
                for i in 0..t {
                    let want = &batch[1][(row * t + i) * s..][..s];
                    assert_eq!(alone[1][i * padded..][..s], *want, "{score:?} weights of row {row}, {padded} keys");
                }
            }
        }
        // The queries of the last row as rows of their own, of one line.
        let rows = Tensor::f32([t, 1, a], cut(&q, 2, t, a, t));
        let shared = run(&rows, &k, &values, lengths.to_vec(), Some(vec![2; t]));
        assert_eq!(shared[0], batch[0][2 * t * c..], "{score:?} context of lines");
        assert_eq!(shared[1], batch[1][2 * t * s..], "{score:?} weights of lines");
    }
}
