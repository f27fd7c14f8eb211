//! Fused operations against the operations that they stand for, on every executor: residual, dropout and layer norm;
//! attention; the output projection with its loss, a few rows at a time.

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::cpu::{Cpu, Mode};
use seqloom::device::Device;
use seqloom::grad::{grad, vjp};
use seqloom::graph::{Graph, Value};
use seqloom::models::transformer::Transformer;
use seqloom::network::Network;
use seqloom::ops::attention::Attention;
use seqloom::ops::cross_entropy::IGNORE;
use seqloom::ops::dropout::Dropout;
use seqloom::plan::{Limits, Plan};
use seqloom::recipe::Recipe;
use seqloom::step::step_type;
use seqloom::tensor::{Tensor, Type};

mod device;

/// The outputs of a graph by the definitions, by the faster CPU paths and on the GPU.
fn everywhere(g: &Graph, feeds: &[(String, Tensor)]) -> [Vec<Tensor>; 3] {
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, t)| (name.as_str(), t)).collect();
    let cpu = |mode| {
        let mut cpu = Cpu::new(mode);
        let program = cpu.load(vec![Plan::new(g.clone(), &Limits::default()).expect("small values")]);
        cpu.run(program, &feeds);
        g.outputs().iter().map(|(name, _)| cpu.read(program, name)).collect()
    };
    let mut gpu = device::open();
    let plan = Plan::new(g.clone(), gpu.limits()).expect("small values");
    let program = block_on(gpu.load(vec![plan])).expect("shaders compile");
    gpu.run(program, &feeds);
    let read = |name: &String| block_on(gpu.read(program, name)).expect("a result");
    [cpu(Mode::Definition), cpu(Mode::Fast), g.outputs().iter().map(|(name, _)| read(name)).collect()]
}

fn assert_near(have: &Tensor, want: &Tensor, relative: f64, what: &str) {
    assert_eq!(have.ty(), want.ty(), "{what}");
    let scale = want.as_f32().iter().map(|v| v.abs() as f64).fold(0.0, f64::max);
    for (i, (h, w)) in have.as_f32().iter().zip(want.as_f32()).enumerate() {
        let diff = (*h as f64 - *w as f64).abs();
        assert!(diff <= relative * (w.abs() as f64 + scale), "{what}[{i}]: {h}, not {w}");
    }
}

/// Inputs of f32 by name.
fn draw(draw: &mut Draw, shapes: &[(&str, &[usize])]) -> Vec<(String, Tensor)> {
    shapes.iter().map(|(name, dims)| (name.to_string(), draw.tensor(dims))).collect()
}

fn declare(g: &mut Graph, feeds: &[(String, Tensor)]) -> Vec<Value> {
    feeds.iter().map(|(name, t)| g.input(name, t.ty().clone())).collect()
}

/// One dispatch forward, two backward, and what three operations give: the same mask, and the same numbers to rounding.
#[test]
fn the_fused_norm_is_residual_dropout_and_layer_norm() {
    let dims: &[usize] = &[3, 7, 12];
    let mut random = Draw::new(31);
    let mut feeds =
        draw(&mut random, &[("x", dims), ("y", dims), ("w", &[12]), ("b", &[12]), ("ds", dims), ("dz", dims)]);
    let mut step = Tensor::zeros(&step_type());
    step.as_u32_mut()[..2].copy_from_slice(&[1234, 56]);
    feeds.push(("step".into(), step));
    for (p, by_sum, by_norm) in
        [(0.3, true, true), (0.3, false, true), (0.3, true, false), (0.0, true, true), (0.0, false, true)]
    {
        let graph = |fused: bool| {
            let mut g = Graph::new();
            let v = declare(&mut g, &feeds);
            let (s, z) = g.scoped("layer", |g| {
                if fused {
                    let dropout = g.dropout_at(p, "place").map(|d| (d, v[6]));
                    return g.add_norm(v[0], v[1], [v[2], v[3]], 1e-5, dropout);
                }
                let y = g.dropout(v[1], p, v[6], "place");
                let s = g.add(v[0], y);
                (s, g.layer_norm(s, v[2], v[3], 1e-5))
            });
            let mut results = vec![];
            results.extend(by_sum.then_some((s, v[4])));
            results.extend(by_norm.then_some((z, v[5])));
            let gradients = vjp(&mut g, &results, &v[..4]);
            for (i, value) in [vec![s, z], gradients].concat().into_iter().enumerate() {
                g.output(&format!("{i}"), value);
            }
            g
        };
        let (fused, apart) = (graph(true), graph(false));
        if by_norm {
            let passes = |g: &Graph| Plan::new(g.clone(), &Limits::default()).expect("small values").passes.len();
            // Where both outputs have a cotangent, that of the sum is an input here, which nothing may take over.
            assert_eq!(passes(&fused), 1 + 1 + 2 + by_sum as usize, "with the copy of y, which is an input");
        }
        for ((have, want), executor) in
            everywhere(&fused, &feeds).iter().zip(everywhere(&apart, &feeds)).zip(["definition", "fast", "GPU"])
        {
            for (i, (have, want)) in have.iter().zip(&want).enumerate() {
                let what = format!("{executor}, p {p}, by sum {by_sum}, by norm {by_norm}, output {i}");
                assert_near(have, want, 3e-6, &what);
                let zeros = |t: &Tensor| t.as_f32().iter().map(|v| *v == 0.0).collect::<Vec<_>>();
                assert_eq!(zeros(have), zeros(want), "{what}: the mask");
            }
            let dropped = have[3].as_f32().iter().filter(|v| **v == 0.0).count();
            assert!((dropped > 40) == (p > 0.0), "{dropped} of 252 are dropped with p {p}");
        }
    }
}

/// A loss in chunks of rows: the last smaller, one of them all padding, the cotangent of the loss not one.
#[test]
fn a_loss_in_chunks_is_that_of_all_rows() {
    let (rows, c, classes) = (22, 8, 37);
    let mut random = Draw::new(32);
    let mut feeds = draw(&mut random, &[("states", &[2, 11, c]), ("table", &[classes, c])]);
    let mut labels = random.ids(&[rows], classes);
    labels.as_u32_mut()[8..16].fill(IGNORE);
    feeds.push(("labels".into(), labels));
    feeds.push(("weight".into(), Tensor::f32([1], vec![0.25])));
    for factor in [1.0, -0.7] {
        let graph = |chunk: Option<usize>| {
            let mut g = Graph::new();
            let v = declare(&mut g, &feeds);
            let (loss, nll) = match chunk {
                Some(chunk) => g.projected_cross_entropy_by(chunk, v[0], v[1], v[2], v[3], 0.1, true),
                None => {
                    let logits = g.linear(v[0], v[1], None, seqloom::ops::matmul::Activation::None);
                    let logits = g.reshape(logits, &[rows, classes]);
                    let (losses, nlls) = g.cross_entropy(logits, v[2], v[3], 0.1, true);
                    (g.sum(losses), g.sum(nlls))
                }
            };
            let result = if factor == 1.0 { loss } else { g.scale(loss, factor) };
            let gradients = grad(&mut g, result, &v[..2]);
            for (i, value) in [vec![loss, nll], gradients].concat().into_iter().enumerate() {
                g.output(&format!("{i}"), value);
            }
            g
        };
        let whole = everywhere(&graph(None), &feeds);
        for chunk in [4, 8, 22, 100] {
            let chunked = everywhere(&graph(Some(chunk)), &feeds);
            for ((have, want), executor) in chunked.iter().zip(&whole).zip(["definition", "fast", "GPU"]) {
                for (i, (have, want)) in have.iter().zip(want).enumerate() {
                    assert_near(have, want, 2e-6, &format!("{executor}, {chunk} rows at a time, output {i}"));
                }
            }
        }
        let passes = |g| Plan::new(g, &Limits::default()).expect("small values").passes.len();
        if factor == 1.0 {
            assert_eq!(passes(graph(Some(22))), passes(graph(None)), "one chunk costs nothing");
        }
    }
}

/// The unfused path is a second witness: the same mask, and the same numbers to rounding.
#[test]
fn fused_attention_is_scores_softmax_dropout_and_context() {
    let (heads, q, k) = (3, &[2, 9, 12][..], &[2, 11, 12][..]);
    let mut random = Draw::new(32);
    let mut feeds = draw(&mut random, &[("q", q), ("k", k), ("v", k), ("do", q)]);
    let mut step = Tensor::zeros(&step_type());
    step.as_u32_mut()[..2].copy_from_slice(&[1234, 56]);
    feeds.push(("step".into(), step));
    feeds.push(("lengths".into(), Tensor::u32([2], vec![11, 6])));
    for (p, causal) in [(0.0, false), (0.4, false), (0.4, true)] {
        let graph = |fused: bool| {
            let mut g = Graph::new();
            let v = declare(&mut g, &feeds);
            let o = g.scoped("layer", |g| {
                if fused {
                    let dropout = g.dropout_at(p, "weights");
                    let mask = g.attention_mask(v[5], dropout.map(|_| v[4]));
                    let dropout = dropout.unwrap_or(Dropout { p: 0.0, site: 0 });
                    return g.attention(v[0], v[1], v[2], mask, Attention { heads, scale: 0.5, causal, dropout });
                }
                let scores = g.attention_scores(v[0], v[1], heads);
                let weights = g.softmax(scores, v[5], 0.5, causal);
                let weights = g.dropout(weights, p, v[4], "weights");
                g.attention_context(weights, v[2], heads)
            });
            let gradients = vjp(&mut g, &[(o, v[3])], &v[..3]);
            for (i, value) in [vec![o], gradients].concat().into_iter().enumerate() {
                g.output(&format!("{i}"), value);
            }
            g
        };
        let (fused, apart) = (graph(true), graph(false));
        for ((have, want), executor) in
            everywhere(&fused, &feeds).iter().zip(everywhere(&apart, &feeds)).zip(["definition", "fast", "GPU"])
        {
            for (i, (have, want)) in have.iter().zip(&want).enumerate() {
                assert_near(have, want, 5e-6, &format!("{executor}, p {p}, causal {causal}, output {i}"));
            }
        }
    }
}

/// What a broken model computes shows: no row that sees a NaN is taken for one that sees nothing.
#[test]
fn attention_passes_on_what_is_not_a_number() {
    let dims = &[1, 5, 8][..];
    let mut feeds = draw(&mut Draw::new(33), &[("q", dims), ("k", dims), ("v", dims)]);
    feeds[1].1.as_f32_mut()[2 * 8] = f32::NAN;
    feeds.push(("lengths".into(), Tensor::u32([1], vec![5])));
    let mut g = Graph::new();
    let v = declare(&mut g, &feeds);
    let dropout = Dropout { p: 0.0, site: 0 };
    let o = g.attention(v[0], v[1], v[2], v[3], Attention { heads: 1, scale: 0.3, causal: true, dropout });
    g.output("o", o);
    for o in everywhere(&g, &feeds) {
        let rows: Vec<bool> = o[0].as_f32().chunks(8).map(|row| row.iter().all(|v| v.is_nan())).collect();
        assert_eq!(rows, [false, false, true, true, true], "{:?}", o[0]);
        assert!(o[0].as_f32()[..16].iter().all(|v| v.is_finite()));
    }
}

/// llvmpipe would leave a longer walk early, and say nothing.
#[test]
fn attention_over_too_much_for_a_software_adapter_is_an_error() {
    let plan = |length: usize, software: bool| {
        let mut g = Graph::new();
        let [q, k] = [1, length].map(|rows| g.input("x", Type::f32([1, rows, 64])));
        let lengths = g.input("lengths", Type::u32([1]));
        let dropout = Dropout { p: 0.0, site: 0 };
        let o = g.attention(q, k, k, lengths, Attention { heads: 1, scale: 1.0, causal: false, dropout });
        g.output("o", o);
        let adapter = seqloom::op::Adapter { software, subgroup: Some(8) };
        Plan::new(g, &Limits { adapter, ..Limits::default() })
    };
    assert!(plan(2048, true).is_ok() && plan(65_536, false).is_ok());
    let message = plan(65_536, true).expect_err("no kernel").to_string();
    let want = "attention has no kernel for f32[1, 1, 64], f32[1, 65536, 64], f32[1, 65536, 64], u32[1] on this device";
    assert_eq!(message, format!("{want}; shorten the sequences: lower data.max_length, or translate shorter lines"));
}

/// Twice the length takes twice the memory, forward and backward: no value has a number for every pair of positions.
#[test]
fn the_memory_of_a_transformer_grows_with_the_length_and_not_with_its_square() {
    let keys = ["data.builtin=phrasebook", "model.d_model=64", "model.heads=4", "model.ffn=64", "data.max_length=4096"];
    let set: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
    let recipe = Recipe::parse("long", "", &set).expect("a valid recipe");
    let model = Transformer::new(&recipe.model, 500);
    let network = Network::new(Device::Cpu(Cpu::new(Mode::Fast)), model, 4096, true).expect("a network");
    let plan = |length: usize| {
        let mut g = Graph::new();
        let step = g.input("step", step_type());
        let weights = network.parameters.bind(&mut g);
        let context = network.context(&mut g, Some(step));
        let source = network.source_tokens(&mut g, 1, length);
        let target = network.target_tokens(&mut g, "target", 1, length);
        let (labels, weight) = (g.input("labels", Type::u32([length])), g.input("weight", Type::f32([1])));
        let states = network.model.states(&mut g, &weights, Some(source), target, &context);
        let table = network.model.output_table(&weights);
        let (loss, _) = g.projected_cross_entropy(states, table, labels, weight, 0.1, true);
        let parameters: Vec<Value> =
            network.parameters.entries.iter().map(|e| weights.get(&e.declaration.name)).collect();
        let gradients = grad(&mut g, loss, &parameters);
        for (gradient, to) in gradients.into_iter().zip(network.parameters.gradients(&mut g)) {
            g.store(gradient, to);
        }
        Plan::new(g, &Limits::default()).expect("every value can be bound")
    };
    let bytes: Vec<usize> = [512, 1024, 2048, 4096].map(|length| plan(length).slot_bytes()).into();
    for pair in bytes.windows(2) {
        assert!(pair[1] as f64 <= 2.02 * pair[0] as f64, "{bytes:?}");
    }
    let largest = plan(4096).slots.into_iter().max();
    assert!(largest < Some(4096 * 4096 * 4), "{largest:?} bytes would hold a score of every pair");
}

/// 4,096 target tokens and 50,000 words: the logits of all would be 781 MiB.
#[test]
fn a_large_vocabulary_stays_within_a_binding() {
    let keys = ["data.builtin=phrasebook", "model.d_model=64", "model.heads=2", "model.ffn=64"];
    let layers = ["model.encoder_layers=1", "model.decoder_layers=1"];
    let set: Vec<String> = keys.iter().chain(&layers).map(|key| key.to_string()).collect();
    let recipe = Recipe::parse("large", "", &set).expect("a valid recipe");
    let model = Transformer::new(&recipe.model, 50_000);
    let network = Network::new(Device::Cpu(Cpu::new(Mode::Fast)), model, 64, true).expect("a network");
    let plan = |training: bool| {
        let mut g = Graph::new();
        let step = training.then(|| g.input("step", step_type()));
        let weights = network.parameters.bind(&mut g);
        let context = network.context(&mut g, step);
        let source = network.source_tokens(&mut g, 64, 4);
        let target = network.target_tokens(&mut g, "target", 64, 64);
        let (labels, weight) = (g.input("labels", Type::u32([4096])), g.input("weight", Type::f32([1])));
        let states = network.model.states(&mut g, &weights, Some(source), target, &context);
        let table = network.model.output_table(&weights);
        let (loss, _) = g.projected_cross_entropy(states, table, labels, weight, 0.1, training);
        g.output("loss", loss);
        if training {
            let parameters: Vec<Value> =
                network.parameters.entries.iter().map(|e| weights.get(&e.declaration.name)).collect();
            let gradients = grad(&mut g, loss, &parameters);
            for (gradient, to) in gradients.into_iter().zip(network.parameters.gradients(&mut g)) {
                g.store(gradient, to);
            }
        }
        Plan::new(g, &Limits::default()).expect("every value can be bound")
    };
    for training in [true, false] {
        let plan = plan(training);
        let largest = plan.passes.iter().flat_map(|p| &p.bindings).map(|b| b.bytes).max();
        assert!(largest <= Some(128 << 20), "{largest:?} bytes are bound at once");
        assert!(plan.slot_bytes() < 256 << 20, "{} bytes in all", plan.slot_bytes());
        let losses = plan.passes.iter().filter(|p| p.op == "cross_entropy").count();
        assert!(losses > 1, "{losses} chunk");
    }
}
