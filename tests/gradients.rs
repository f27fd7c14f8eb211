//! Gradients in the middle of graphs: what the rooms' derivatives and the sweep give, on the definitions, against
//! finite differences. The cotangents are random: all ones hide a lost factor.

use seqloom::case::Draw;
use seqloom::cpu::{Cpu, Mode};
use seqloom::grad::{grad, vjp};
use seqloom::graph::{Graph, Value};
use seqloom::ops::cross_entropy::IGNORE;
use seqloom::ops::matmul::Activation;
use seqloom::ops::positions::sinusoids;
use seqloom::plan::{Limits, Plan};
use seqloom::step;
use seqloom::tensor::{DType, Tensor, Type};
use std::collections::HashMap;

/// Named tensors; those of f32 whose names start with a capital letter are parameters.
type Inputs = Vec<(&'static str, Tensor)>;
/// The values of a graph by name.
type Names = HashMap<&'static str, Value>;

fn declare(g: &mut Graph, inputs: &Inputs) -> Names {
    inputs.iter().map(|(name, t)| (*name, g.input(name, t.ty().clone()))).collect()
}

/// Runs a graph on the definitions; its outputs in order.
fn run(g: Graph, feeds: &[(&str, &Tensor)]) -> Vec<Tensor> {
    let names: Vec<String> = g.outputs().iter().map(|(name, _)| name.clone()).collect();
    let mut cpu = Cpu::new(Mode::Definition);
    let program = cpu.load(vec![Plan::new(g, &Limits::default()).expect("small values")]);
    cpu.run(program, feeds);
    names.iter().map(|name| cpu.read(program, name)).collect()
}

fn feeds(inputs: &Inputs) -> Vec<(&str, &Tensor)> {
    inputs.iter().map(|(name, t)| (*name, t)).collect()
}

fn parameters(inputs: &Inputs) -> Vec<&'static str> {
    let capital = |name: &str| name.starts_with(|c: char| c.is_uppercase());
    inputs.iter().filter(|(name, t)| capital(name) && t.ty().dtype == DType::F32).map(|i| i.0).collect()
}

/// Compares the gradient of every element of every parameter with finite differences. `build` returns the results
/// that get a random cotangent.
#[track_caller]
fn check(inputs: &Inputs, build: impl Fn(&mut Graph, &Names) -> Vec<Value>) {
    let mut draw = Draw::new(99);
    let mut forward = Graph::new();
    let names = declare(&mut forward, inputs);
    for (i, y) in build(&mut forward, &names).into_iter().enumerate() {
        forward.output(&format!("y{i}"), y);
    }
    let y = run(forward.clone(), &feeds(inputs));
    let cotangents: Vec<(String, Tensor)> =
        y.iter().enumerate().map(|(i, y)| (format!("dy{i}"), draw.tensor(&y.ty().dims))).collect();

    let mut g = Graph::new();
    let names = declare(&mut g, inputs);
    let results = build(&mut g, &names);
    let with = |(y, (name, t)): (&Value, &(String, Tensor))| (*y, g.input(name, t.ty().clone()));
    let results: Vec<(Value, Value)> = results.iter().zip(&cotangents).map(with).collect();
    let wrt: Vec<Value> = parameters(inputs).iter().map(|name| names[name]).collect();
    assert!(!wrt.is_empty(), "nothing to differentiate by");
    for (name, dx) in parameters(inputs).iter().zip(vjp(&mut g, &results, &wrt)) {
        g.output(name, dx);
    }
    let mut all = feeds(inputs);
    all.extend(cotangents.iter().map(|(name, t)| (name.as_str(), t)));
    let gradients = run(g, &all);

    // A plan of its own: nothing but the forward graph and its definitions stands behind these numbers.
    let loss = &|inputs: &Inputs| -> f64 {
        let y = run(forward.clone(), &feeds(inputs));
        let products = y.iter().zip(&cotangents).flat_map(|(y, c)| y.as_f32().iter().zip(c.1.as_f32()));
        products.map(|(&y, &c)| y as f64 * c as f64).sum()
    };
    for (name, gradient) in parameters(inputs).iter().zip(&gradients) {
        let at = inputs.iter().position(|i| i.0 == *name).expect("a parameter is an input");
        assert_eq!(gradient.ty(), inputs[at].1.ty(), "the gradient of {name}");
        let n = gradient.ty().elements();
        let scale = (gradient.as_f32().iter().map(|&g| g as f64 * g as f64).sum::<f64>() / n as f64).sqrt();
        let differences = (0..n).map(|i| difference(inputs, at, i, loss));
        for (i, (want, have)) in differences.zip(gradient.as_f32()).enumerate() {
            let error = (*have as f64 - want).abs();
            assert!(error <= 5e-4 * scale + 5e-5, "d{name}[{i}] = {have}, differences give {want} (scale {scale})");
        }
    }
}

/// The derivative by element `i` of one input, exact for polynomials of degree four.
fn difference(inputs: &Inputs, at: usize, i: usize, loss: impl Fn(&Inputs) -> f64) -> f64 {
    let slope = |h: f32| {
        let shifted = |h: f32| {
            let mut inputs = inputs.clone();
            let x = &mut inputs[at].1.as_f32_mut()[i];
            *x += h;
            (*x as f64, loss(&inputs))
        };
        let ((x1, y1), (x0, y0)) = (shifted(h), shifted(-h));
        (y1 - y0) / (x1 - x0)
    };
    (4.0 * slope(0.015) - slope(0.03)) / 3.0
}

/// Offsets of each token's positions, then the positions sorted by token.
fn by_token(ids: &Tensor, vocabulary: usize) -> Tensor {
    let ids = ids.as_u32();
    let holding = |v: usize| (0..ids.len()).filter(move |&n| ids[n] as usize == v);
    let mut words = vec![0];
    for v in 0..vocabulary {
        words.push(words[v] + holding(v).count() as u32);
    }
    words.extend((0..vocabulary).flat_map(holding).map(|n| n as u32));
    Tensor::u32([words.len()], words)
}

/// Two sequences of four tokens in a model of width 6 with two heads; five words, one of which never occurs.
fn sequence(draw: &mut Draw, lengths: [u32; 2]) -> Inputs {
    let ids = Tensor::u32([2, 4], vec![0, 3, 3, 1, 1, 0, 3, 4]);
    let small = |draw: &mut Draw, dims: &[usize]| {
        let t = draw.tensor(dims);
        Tensor::f32(dims, t.as_f32().iter().map(|x| 0.5 * x).collect())
    };
    let mut inputs: Inputs = ["Q", "K", "V", "O"].map(|name| (name, small(draw, &[6, 6]))).into();
    inputs.extend([
        ("Table", small(draw, &[5, 6])),
        ("Bias", small(draw, &[6])),
        ("W", small(draw, &[6])),
        ("B", small(draw, &[6])),
        ("by_token", by_token(&ids, 5)),
        ("ids", ids),
        ("positions", sinusoids(7, 6)),
        ("start", Tensor::u32([1], vec![2])),
        ("lengths", Tensor::u32([2], lengths.into())),
        ("targets", Tensor::u32([8], vec![3, IGNORE, 1, 0, 4, 4, IGNORE, 2])),
        ("weight", Tensor::f32([1], vec![0.7])),
    ]);
    inputs
}

/// Embedding and positions, attention with a residual, layer norm: (2, 4, 6). The table is used twice.
fn attention(g: &mut Graph, n: &Names, causal: bool) -> Value {
    let x = g.embedding(n["ids"], n["Table"], n["by_token"], 2.5);
    let x = g.positions(x, n["positions"], n["start"]);
    let q = g.linear(x, n["Q"], Some(n["Bias"]), Activation::None);
    let k = g.linear(x, n["K"], None, Activation::None);
    let v = g.linear(x, n["V"], None, Activation::Tanh);
    let scores = g.attention_scores(q, k, 2);
    let p = g.softmax(scores, n["lengths"], 0.6, causal);
    let context = g.attention_context(p, v, 2);
    let out = g.linear(context, n["O"], None, Activation::None);
    let sum = g.add(x, out);
    g.layer_norm(sum, n["W"], n["B"], 1e-3)
}

#[test]
fn a_chain_of_embedding_attention_norm_and_loss() {
    for (seed, lengths, causal) in [(1, [4, 4], false), (2, [4, 2], true), (3, [3, 0], false), (4, [1, 4], true)] {
        let inputs = sequence(&mut Draw::new(seed), lengths);
        check(&inputs, |g, n| {
            let h = attention(g, n, causal);
            let rows = g.reshape(h, &[8, 6]);
            let logits = g.linear(rows, n["Table"], None, Activation::None);
            // The loss of each row has its own cotangent.
            vec![g.cross_entropy(logits, n["targets"], n["weight"], 0.1, true).0]
        });
    }
}

#[test]
fn attention_by_its_result_and_its_weights() {
    let inputs = sequence(&mut Draw::new(5), [4, 3]);
    check(&inputs, |g, n| {
        let h = attention(g, n, true);
        // The weights are a result in the middle of the graph, with a cotangent that adds to the one from above.
        let softmax = g.nodes().iter().find(|node| node.op.name() == "softmax").expect("attention has one");
        vec![softmax.outputs[0], h]
    });
}

#[test]
fn the_loss_of_rows_with_cotangents_of_their_own() {
    let mut draw = Draw::new(6);
    let inputs: Inputs = vec![
        ("Logits", draw.tensor(&[5, 7])),
        ("Factors", draw.tensor(&[5])),
        ("targets", Tensor::u32([5], vec![6, IGNORE, 0, 3, 3])),
        ("weight", Tensor::f32([1], vec![0.25])),
    ];
    for smoothing in [0.0, 0.2] {
        check(&inputs, |g, n| {
            let (loss, _) = g.cross_entropy(n["Logits"], n["targets"], n["weight"], smoothing, true);
            let scaled = g.mul(loss, n["Factors"]);
            vec![g.sum(scaled)]
        });
    }
}

/// A loss that is a plain sum costs no factor: the gradient that the forward pass left is the logits' cotangent.
#[test]
fn the_ones_that_a_loss_starts_from_leave_no_trace() {
    let ops = |factors: bool| {
        let mut g = Graph::new();
        let logits = g.input("logits", Type::f32([5, 7]));
        let targets = g.input("targets", Type::u32([5]));
        let weight = g.input("weight", Type::f32([1]));
        let x = g.tanh(logits);
        let (mut loss, _) = g.cross_entropy(x, targets, weight, 0.1, true);
        if factors {
            let s = g.input("factors", Type::f32([5]));
            loss = g.mul(loss, s);
        }
        let sum = g.sum(loss);
        let dx = grad(&mut g, sum, &[logits]);
        g.output("dx", dx[0]);
        let plan = Plan::new(g, &Limits::default()).expect("small values");
        plan.passes.iter().map(|p| p.op).collect::<Vec<_>>().join(" ")
    };
    // The logits are needed again, for tanh's derivative: hence the copy.
    assert_eq!(ops(false), "tanh copy cross_entropy tanh_vjp");
    assert!(ops(true).ends_with("mul_rows tanh_vjp"), "{}", ops(true));
}

#[test]
fn embedding_gradient() {
    let mut draw = Draw::new(7);
    for (ids, vocabulary) in [(vec![0], 1), (vec![2, 2, 2], 4), (vec![5, 0, 3, 0, 5, 5, 1], 7)] {
        let ids = Tensor::u32([ids.len()], ids);
        let inputs: Inputs =
            vec![("Table", draw.tensor(&[vocabulary, 3])), ("by_token", by_token(&ids, vocabulary)), ("ids", ids)];
        check(&inputs, |g, n| {
            let x = g.embedding(n["ids"], n["Table"], n["by_token"], 1.7);
            vec![g.tanh(x)]
        });
    }
}

#[test]
fn a_value_that_is_used_several_times() {
    let mut draw = Draw::new(8);
    let inputs: Inputs = vec![("X", draw.tensor(&[4, 6])), ("W", draw.tensor(&[6, 6])), ("S", draw.tensor(&[4, 6]))];
    check(&inputs, |g, n| {
        // Residuals within residuals; both factors of a product; one value as both matrices.
        let y = g.linear(n["X"], n["W"], None, Activation::Sigmoid);
        let y = g.add(y, n["X"]);
        let z = g.mul(y, y);
        let z = g.add(z, y);
        let z = g.add(z, z);
        let square = g.matmul(z, z, false, true);
        let square = g.scale(square, 0.02);
        let w = g.linear(n["W"], n["W"], None, Activation::Tanh);
        let t = g.mul(z, n["S"]);
        let t = g.gelu(t);
        vec![square, w, t]
    });
}

#[test]
fn views_in_the_path() {
    let mut draw = Draw::new(9);
    let inputs: Inputs = vec![("X", draw.tensor(&[2, 3, 4])), ("B", draw.tensor(&[6])), ("W", draw.tensor(&[8, 3]))];
    check(&inputs, |g, n| {
        // The same values as rows of four, of six and of three, and a view of a view back to where it began.
        let six = g.reshape(n["X"], &[4, 6]);
        let y = g.bias(six, n["B"]);
        let y = g.tanh(y);
        let three = g.reshape(n["X"], &[8, 3]);
        let z = g.mul(three, n["W"]);
        let six = g.reshape(z, &[2, 12]);
        let six = g.reshape(six, &[4, 6]);
        let sum = g.add(six, y);
        let back = g.reshape(sum, &[2, 3, 4]);
        let sum = g.add(back, n["X"]);
        let total = g.sum(six);
        let total = g.expand(total, &[24]);
        vec![g.reshape(sum, &[24]), g.sigmoid(total)]
    });
}

#[test]
fn by_a_view_and_by_a_value_in_the_middle() {
    let mut draw = Draw::new(10);
    let (x, dy) = (draw.tensor(&[2, 6]), draw.tensor(&[12]));
    let mut g = Graph::new();
    let value = g.input("x", x.ty().clone());
    let view = g.reshape(value, &[12]);
    let middle = g.scale(view, 3.0);
    let y = g.tanh(middle);
    let cotangent = g.input("dy", dy.ty().clone());
    for (name, dx) in ["view", "middle", "x"].into_iter().zip(vjp(&mut g, &[(y, cotangent)], &[view, middle, value])) {
        g.output(name, dx);
    }
    let gradients = run(g, &[("x", &x), ("dy", &dy)]);
    assert_eq!(gradients.iter().map(|t| t.ty().dims.clone()).collect::<Vec<_>>(), [vec![12], vec![12], vec![2, 6]]);
    for i in 0..12 {
        let slope = 1.0 - (3.0 * x.as_f32()[i] as f64).tanh().powi(2);
        let want = dy.as_f32()[i] as f64 * slope;
        let have = |k: usize| gradients[k].as_f32()[i] as f64;
        assert!((have(1) - want).abs() <= 1e-6, "{} {want}", have(1));
        assert!((have(0) - 3.0 * want).abs() <= 2e-6 && have(0) == have(2), "{} {} {want}", have(0), have(2));
    }
}

#[test]
fn what_the_loss_does_not_depend_on_gets_zeros() {
    let mut draw = Draw::new(11);
    let (x, w) = (draw.tensor(&[3, 4]), draw.tensor(&[5, 4]));
    let mut g = Graph::new();
    let [vx, vw, unused] =
        [("x", &[3, 4]), ("w", &[5, 4]), ("unused", &[7, 1])].map(|(name, dims)| g.input(name, Type::f32(*dims)));
    // Used, but not by the loss.
    let y = g.linear(vx, vw, None, Activation::Relu);
    g.output("y", y);
    let loss = g.sum(vx);
    for (name, dx) in ["dx", "dw", "dunused"].into_iter().zip(grad(&mut g, loss, &[vx, vw, unused])) {
        g.output(name, dx);
    }
    let results = run(g, &[("x", &x), ("w", &w)]);
    assert_eq!(results[1], Tensor::f32([3, 4], vec![1.0; 12]));
    assert_eq!(results[2], Tensor::zeros(&Type::f32([5, 4])));
    assert_eq!(results[3], Tensor::zeros(&Type::f32([7, 1])));
}

/// The backward pass drops what the forward pass dropped.
#[test]
fn dropout_has_one_mask_in_both_directions() {
    let mut draw = Draw::new(12);
    let mut state = Tensor::zeros(&step::step_type());
    state.as_u32_mut()[..2].copy_from_slice(&[77, 5]);
    let inputs: Inputs = vec![("X", draw.tensor(&[3, 4, 6])), ("W", draw.tensor(&[6, 6])), ("step", state)];
    check(&inputs, |g, n| {
        let x = g.dropout(n["X"], 0.4, n["step"], "first");
        let y = g.linear(x, n["W"], None, Activation::Tanh);
        let y = g.scoped("layer", |g| g.dropout(y, 0.2, n["step"], "second"));
        let y = g.add(y, n["X"]);
        vec![y]
    });
}

#[test]
fn batches_of_matrices_in_every_order() {
    let mut draw = Draw::new(13);
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let inputs: Inputs = vec![
            ("A", draw.tensor(&if trans_a { [2, 2, 4, 3] } else { [2, 2, 3, 4] })),
            ("C", draw.tensor(&if trans_b { [2, 2, 5, 4] } else { [2, 2, 4, 5] })),
        ];
        check(&inputs, |g, n| {
            let y = g.matmul(n["A"], n["C"], trans_a, trans_b);
            let y = g.scale(y, 0.3);
            vec![g.tanh(y)]
        });
    }
}

/// Convolutions of several widths over one input, whose gradients add up in it, the second layer strided; then a highway
/// layer. Some rows end early, one before it began.
#[test]
fn convolutions_over_one_input() {
    let mut draw = Draw::new(14);
    let inputs: Inputs = vec![
        ("X", draw.tensor(&[3, 6, 2])),
        ("One", draw.tensor(&[3, 2, 1])),
        ("Even", draw.tensor(&[3, 2, 4])),
        ("Odd", draw.tensor(&[3, 2, 3])),
        ("Bias", draw.tensor(&[3])),
        ("Next", draw.tensor(&[3, 3, 2])),
        ("lengths", Tensor::u32([3], vec![6, 3, 0])),
    ];
    check(&inputs, |g, n| {
        let mut convolved = |w, bias: bool, padding| {
            let y = g.conv1d(n["X"], n[w], bias.then_some(n["Bias"]), n["lengths"], 1, padding);
            let y = g.scale(y, 0.3);
            g.tanh(y)
        };
        let x = convolved("One", true, [0, 0]);
        let [even, odd] = [convolved("Even", false, [1, 2]), convolved("Odd", true, [1, 1])];
        let h = g.mul(even, even);
        let y = g.highway(x, h, odd);
        vec![g.conv1d(y, n["Next"], None, n["lengths"], 3, [1, 0]), y]
    });
}

#[test]
#[should_panic(expected = "CacheAppend has no derivative")]
fn what_has_no_derivative_is_named() {
    let mut g = Graph::new();
    let cache = g.input("cache", Type::f32([1, 2, 3]));
    let x = g.input("x", Type::f32([1, 1, 3]));
    let position = g.input("position", Type::u32([1]));
    let y = g.cache_append(cache, x, position, position);
    let loss = g.sum(y);
    grad(&mut g, loss, &[x]);
}

#[test]
#[should_panic(expected = "the loss has the type f32[2]")]
fn a_loss_is_one_number() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([2]));
    grad(&mut g, x, &[x]);
}
