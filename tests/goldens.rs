//! Operations and their gradients against PyTorch's numbers (tests/golden/ops.py makes them): definitions, the faster
//! CPU path and kernels. And the worked example of attention, end to end.

mod device;
mod golden;

use golden::{Golden, assert_near, everywhere};
use pollster::block_on;
use seqloom::case::Draw;
use seqloom::cpu::{Cpu, Mode};
use seqloom::gpu::Gpu;
use seqloom::grad::vjp;
use seqloom::graph::{Graph, Memory, Resident, Value};
use seqloom::ops::adam::Adam;
use seqloom::plan::{Limits, Plan};
use seqloom::step;
use seqloom::tensor::{Tensor, Type};

impl Golden {
    fn number(&self, name: &str) -> f32 {
        self.tensor(name).as_f32()[0]
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
}

fn elementwise(op: &str, f: impl Fn(&mut Graph, Value) -> Value, kernel: f64) {
    let golden = Golden::of("ops", op);
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
    let golden = Golden::of("ops", "layer_norm");
    let mut g = Graph::new();
    let [x, w, b] = ["x", "weight", "bias"].map(|name| golden.input(&mut g, name));
    let y = g.layer_norm(x, w, b, golden.number("eps"));
    golden.outputs(&mut g, y, &[("x", x), ("weight", w), ("bias", b)]);
    golden.check(&g, |_, largest| 1e-6 * largest);
}

fn softmax(op: &str, causal: bool) {
    let golden = Golden::of("ops", op);
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
    let golden = Golden::of("ops", "cross_entropy");
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
    let golden = Golden::of("ops", "embedding");
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
    let golden = Golden::of("ops", "matmul");
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

/// The third step of AdamW, on resident buffers as training has them.
#[test]
fn adamw() {
    let golden = Golden::of("ops", "adamw");
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
