//! Operations and their gradients against PyTorch's numbers (tests/golden/ops.py makes them): definitions, the faster
//! CPU path and kernels. And the worked example of attention, end to end.

mod device;

use pollster::block_on;
use safetensors::{Dtype, SafeTensors};
use seqloom::case::Draw;
use seqloom::cpu::{Cpu, Mode};
use seqloom::gpu::Gpu;
use seqloom::grad::vjp;
use seqloom::graph::{Graph, Memory, Resident, Value};
use seqloom::ops::adam::Adam;
use seqloom::ops::matmul::Activation;
use seqloom::ops::recurrence::Cell;
use seqloom::plan::{Limits, Plan};
use seqloom::step;
use seqloom::tensor::{Tensor, Type};
use std::collections::HashMap;

/// The stored tensors of one operation.
struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn of(op: &str) -> Golden {
        let bytes = include_bytes!("golden/ops.safetensors");
        let all = SafeTensors::deserialize(bytes).expect("a safetensors file");
        let prefix = format!("{op}.");
        let own = all.iter().filter_map(|(name, view)| {
            let words = view.data().chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]]);
            let tensor = match view.dtype() {
                Dtype::F32 => Tensor::f32(view.shape(), words.map(f32::from_le_bytes).collect()),
                Dtype::U32 => Tensor::u32(view.shape(), words.map(u32::from_le_bytes).collect()),
                other => panic!("{name} is {other:?}"),
            };
            Some((name.strip_prefix(&prefix)?.to_string(), tensor))
        });
        Golden(own.collect())
    }

    fn tensor(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor {name} is stored"))
    }

    fn number(&self, name: &str) -> f32 {
        self.tensor(name).as_f32()[0]
    }

    /// An input of the graph like the stored tensor.
    fn input(&self, g: &mut Graph, name: &str) -> Value {
        g.input(name, self.tensor(name).ty().clone())
    }

    /// y, which has the stored cotangent dy, and the gradients of these values as outputs.
    fn outputs(&self, g: &mut Graph, y: Value, wrt: &[(&str, Value)]) {
        g.output("y", y);
        let dy = self.input(g, "dy");
        let values: Vec<Value> = wrt.iter().map(|w| w.1).collect();
        let gradients = vjp(g, &[(y, dy)], &values);
        for ((name, _), dx) in wrt.iter().zip(gradients) {
            g.output(&format!("d{name}"), dx);
        }
    }

    /// Compares every output of the graph, by each executor, with the stored tensor of its name. `absolute` is what
    /// an executor may be off by, from the largest element, beside 1e-6 of the element itself.
    fn check(&self, g: &Graph, absolute: impl Fn(&str, f64) -> f64) {
        let fed = self.0.iter().filter(|(name, _)| g.find_input(name).is_some());
        let feeds: Vec<(&str, &Tensor)> = fed.map(|(name, t)| (name.as_str(), t)).collect();
        for (executor, outputs) in everywhere(g, &feeds) {
            for (name, have) in outputs {
                let want = self.tensor(&name);
                let largest = want.as_f32().iter().fold(0.0, |m: f64, w| m.max(w.abs() as f64));
                assert!(largest > 0.0, "{name} is all zeros");
                assert_near(&have, want, absolute(executor, largest), &format!("{name} by {executor}"));
            }
        }
    }
}

#[track_caller]
fn assert_near(have: &Tensor, want: &Tensor, absolute: f64, what: &str) {
    assert_eq!(have.ty(), want.ty(), "{what}");
    for (i, (h, w)) in have.as_f32().iter().zip(want.as_f32()).enumerate() {
        let diff = (*h as f64 - *w as f64).abs();
        let bound = 1e-6 * w.abs() as f64 + absolute;
        assert!(diff <= bound, "{what}[{i}]: {h}, not {w}: {diff:e} off, {bound:e} allowed");
    }
}

/// The outputs of a graph on each executor.
fn everywhere(g: &Graph, feeds: &[(&str, &Tensor)]) -> Vec<(&'static str, Vec<(String, Tensor)>)> {
    let names = || g.outputs().iter().map(|(name, _)| name.clone());
    let mut all = vec![];
    for (executor, mode) in [("definition", Mode::Definition), ("fast CPU path", Mode::Fast)] {
        let mut cpu = Cpu::new(mode);
        let program = cpu.load(vec![Plan::new(g.clone(), &Limits::default()).expect("small values")]);
        cpu.run(program, feeds);
        all.push((executor, names().map(|name| (name.clone(), cpu.read(program, &name))).collect()));
    }
    let mut gpu = device::open();
    let plan = Plan::new(g.clone(), gpu.limits()).expect("small values");
    let program = block_on(gpu.load(vec![plan])).expect("shaders compile");
    gpu.run(program, feeds);
    let read = |name: String| (name.clone(), block_on(gpu.read(program, &name)).expect("a result"));
    all.push(("GPU", names().map(read).collect()));
    all
}

fn elementwise(op: &str, f: impl Fn(&mut Graph, Value) -> Value, kernel: f64) {
    let golden = Golden::of(op);
    let mut g = Graph::new();
    let x = golden.input(&mut g, "x");
    let y = f(&mut g, x);
    golden.outputs(&mut g, y, &[("x", x)]);
    // Derivatives are taken from results that were rounded: 1 - y^2 is off by as much.
    golden.check(&g, |executor, _| if executor == "GPU" { kernel } else { 4e-7 });
}

#[test]
fn gelu() {
    // The kernel's erf is accurate to 1.5e-7; half of it times |x|, where it is not yet one, and times |dy|.
    elementwise("gelu", Graph::gelu, 1e-6);
}

#[test]
fn tanh() {
    elementwise("tanh", Graph::tanh, 1e-6);
}

#[test]
fn sigmoid() {
    elementwise("sigmoid", Graph::sigmoid, 5e-7);
}

#[test]
fn relu() {
    elementwise("relu", Graph::relu, 0.0);
}

#[test]
fn layer_norm() {
    let golden = Golden::of("layer_norm");
    let mut g = Graph::new();
    let [x, w, b] = ["x", "weight", "bias"].map(|name| golden.input(&mut g, name));
    let y = g.layer_norm(x, w, b, golden.number("eps"));
    golden.outputs(&mut g, y, &[("x", x), ("weight", w), ("bias", b)]);
    golden.check(&g, |_, largest| 1e-6 * largest);
}

fn softmax(op: &str, causal: bool) {
    let golden = Golden::of(op);
    let mut g = Graph::new();
    let [x, lengths] = ["x", "lengths"].map(|name| golden.input(&mut g, name));
    let y = g.softmax(x, lengths, golden.number("scale"), causal);
    golden.outputs(&mut g, y, &[("x", x)]);
    golden.check(&g, |_, largest| 1e-6 * largest);
}

#[test]
fn softmax_with_lengths() {
    softmax("softmax", false);
}

#[test]
fn softmax_causal() {
    softmax("softmax_causal", true);
}

#[test]
fn cross_entropy() {
    let golden = Golden::of("cross_entropy");
    let mut g = Graph::new();
    let [x, targets] = ["x", "targets"].map(|name| golden.input(&mut g, name));
    let weight = g.fill(1.0, &[1]);
    let (loss, nll) = g.cross_entropy(x, targets, weight, golden.number("label_smoothing"), true);
    golden.outputs(&mut g, loss, &[("x", x)]);
    g.output("nll", nll);
    golden.check(&g, |_, largest| 1e-6 * largest);
    // Rows without a target: no loss and no gradient, not a small one.
    let fed = |name| (name, golden.tensor(name));
    for (executor, outputs) in everywhere(&g, &[fed("x"), fed("targets"), fed("dy")]) {
        for (name, have) in outputs {
            let columns = have.ty().elements() / 9;
            for row in [2, 6] {
                let row = &have.as_f32()[row * columns..][..columns];
                assert!(row.iter().all(|v| *v == 0.0), "{name} by {executor}: {row:?}");
            }
        }
    }
}

#[test]
fn embedding() {
    let golden = Golden::of("embedding");
    let ids = golden.tensor("ids").as_u32();
    let positions = |v: u32| ids.iter().enumerate().filter(move |(_, id)| **id == v).map(|(n, _)| n as u32);
    let mut words: Vec<u32> = (0..=5).map(|v| ids.iter().filter(|id| **id < v).count() as u32).collect();
    words.extend((0..5).flat_map(positions));
    let by_token = Tensor::u32([words.len()], words);

    let mut g = Graph::new();
    let [ids, table] = ["ids", "table"].map(|name| golden.input(&mut g, name));
    let sorted = g.input("by_token", by_token.ty().clone());
    let y = g.embedding(ids, table, sorted, 1.0);
    golden.outputs(&mut g, y, &[("table", table)]);
    let mut stored = golden.0.clone();
    stored.insert("by_token".into(), by_token);
    Golden(stored).check(&g, |_, largest| 2e-7 * largest);
}

#[test]
fn matmul() {
    let golden = Golden::of("matmul");
    let mut g = Graph::new();
    let [a, b] = ["a", "b"].map(|name| golden.input(&mut g, name));
    let y = g.matmul(a, b, false, false);
    golden.outputs(&mut g, y, &[("a", a), ("b", b)]);
    golden.check(&g, |_, largest| 1e-6 * largest);

    // The same product as a linear layer, which stores B transposed.
    let columns = golden.tensor("b").as_f32();
    let transposed = Tensor::f32([4, 5], (0..20).map(|i| columns[i % 5 * 4 + i / 5]).collect());
    let mut g = Graph::new();
    let (x, w) = (golden.input(&mut g, "a"), g.input("w", Type::f32([4, 5])));
    let y = g.linear(x, w, None, seqloom::ops::matmul::Activation::None);
    golden.outputs(&mut g, y, &[("a", x)]);
    let mut stored = golden.0.clone();
    stored.insert("w".into(), transposed);
    Golden(stored).check(&g, |_, largest| 1e-6 * largest);
}

/// Layers of recurrences as torch.nn has them, with unequal lengths, initial states, and cotangents of h and of the final
/// states. `layers`: the suffixes of the parameters' names, of layers or, where
/// `reverse`, of the directions of one, whose halves y has in its columns.
fn recurrent(op: &str, cell: Cell, layers: &[&str], reverse: bool) {
    let golden = Golden::of(op);
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

/// The third step of AdamW, on resident buffers as training has them.
#[test]
fn adamw() {
    let golden = Golden::of("adamw");
    let ty = golden.tensor("p").ty().clone();
    let steps = golden.tensor("step").as_u32()[0] as i32;
    let betas = ["beta1", "beta2"].map(|name| golden.number(name));
    let mut state = Tensor::zeros(&step::step_type());
    let words = state.as_u32_mut();
    words[step::LEARNING_RATE] = golden.number("lr").to_bits();
    words[step::FACTOR] = 1f32.to_bits();
    words[step::GO] = 1;
    for (at, beta) in [step::CORRECTION1, step::CORRECTION2].into_iter().zip(betas) {
        words[at] = ((1.0 / (1.0 - (beta as f64).powi(steps))) as f32).to_bits();
    }

    let mut memory = Memory::default();
    let residents: Vec<Resident> = ["p", "m", "v"].map(|name| memory.declare(name, ty.clone())).into();
    let mut g = Graph::new();
    let gradient = golden.input(&mut g, "g");
    let state_input = g.input("state", step::step_type());
    let x: Vec<Value> = residents.iter().map(|r| g.resident("leaf", *r, 0, ty.clone())).collect();
    let op = Adam {
        betas: betas.map(f64::from),
        eps: golden.number("eps"),
        weight_decay: golden.number("weight_decay"),
        decayed: ty.elements(),
        decoupled: true,
    };
    let y = g.push(op, &[gradient, state_input, x[0], x[1], x[2]]);
    for (y, x) in y.into_iter().zip(x) {
        g.store(y, x);
    }
    let feeds = [("g", golden.tensor("g")), ("state", &state)];
    let check = |executor: &str, name: &str, have: Tensor| {
        let want = golden.tensor(&format!("{name}_after"));
        assert_near(&have.reshape(ty.dims.clone()), want, 0.0, &format!("{name} by {executor}"));
    };

    for mode in [Mode::Definition, Mode::Fast] {
        let mut cpu = Cpu::new(mode);
        cpu.allocate(&memory);
        let program = cpu.load(vec![Plan::new(g.clone(), &Limits::default()).expect("small values")]);
        for (r, name) in residents.iter().zip(["p", "m", "v"]) {
            cpu.write_resident(*r, 0, golden.tensor(name));
        }
        cpu.run(program, &feeds);
        for (r, name) in residents.iter().zip(["p", "m", "v"]) {
            check(&format!("{mode:?}"), name, cpu.read_resident(*r, 0, ty.elements()));
        }
    }
    let mut gpu: Gpu = device::open();
    gpu.allocate(&memory);
    let plan = Plan::new(g.clone(), gpu.limits()).expect("small values");
    assert_eq!(plan.passes.len(), 1, "the update is one kernel, in place:\n{plan}");
    let program = block_on(gpu.load(vec![plan])).expect("shaders compile");
    for (r, name) in residents.iter().zip(["p", "m", "v"]) {
        gpu.write_resident(*r, 0, golden.tensor(name));
    }
    gpu.run(program, &feeds);
    for (r, name) in residents.iter().zip(["p", "m", "v"]) {
        check("GPU", name, block_on(gpu.read_resident(*r, 0, ty.elements())).expect("a result"));
    }
}

/// q1·k1 = 112 and q1·k2 = 96 with d_k = 64: 14 and 12 after scaling, 0.880797 and 0.119203 after softmax.
#[test]
fn the_worked_example_of_attention() {
    let mut draw = Draw::new(1);
    let mut small = || -> Vec<f32> { (0..64).map(|_| draw.below(5) as f32 - 2.0).collect() };
    let [mut q, mut k] = [[small(), small()], [small(), small()]];
    // Small integers, so that the sums are exact; the last element makes them what they shall be.
    q[0][63] = 1.0;
    for (k, want) in k.iter_mut().zip([112.0, 96.0]) {
        k[63] += want - q[0].iter().zip(&*k).map(|(q, k)| q * k).sum::<f32>();
    }
    let v = draw.tensor(&[1, 2, 64]);
    let rows = |x: [Vec<f32>; 2]| Tensor::f32([1, 2, 64], x.concat());
    let (q, k) = (rows(q), rows(k));

    let mut g = Graph::new();
    let [qv, kv, vv] = ["q", "k", "v"].map(|name| g.input(name, Type::f32([1, 2, 64])));
    let lengths = g.input("lengths", Type::u32([1]));
    let scores = g.attention_scores(qv, kv, 1);
    let p = g.softmax(scores, lengths, 1.0 / 64f32.sqrt(), false);
    let y = g.attention_context(p, vv, 1);
    for (name, value) in [("scores", scores), ("p", p), ("y", y)] {
        g.output(name, value);
    }
    let feeds = [("q", &q), ("k", &k), ("v", &v), ("lengths", &Tensor::u32([1], vec![2]))];
    for (executor, outputs) in everywhere(&g, &feeds) {
        let [scores, p, y] = [0, 1, 2].map(|i| outputs[i].1.as_f32());
        assert_eq!(scores[..2], [112.0, 96.0], "{executor}");
        assert!((p[0] - 0.880797).abs() <= 1e-6 && (p[1] - 0.119203).abs() <= 1e-6, "{executor}: {:?}", &p[..2]);
        for (c, y) in y[..64].iter().enumerate() {
            let (v1, v2) = (v.as_f32()[c] as f64, v.as_f32()[64 + c] as f64);
            let want = 0.880797 * v1 + 0.119203 * v2;
            assert!((*y as f64 - want).abs() <= 1e-6 * (v1.abs() + v2.abs()), "{executor} [{c}]: {y}, not {want}");
        }
    }
}
