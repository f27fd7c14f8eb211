//! Kernels against definitions: every case of every operation, with every candidate launch.

use crate::case::Case;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::grad::vjp;
use crate::graph::{Graph, Value};
use crate::op::{Launch, Op};
use crate::plan::{Limits, Plan};
use crate::tensor::{DType, Tensor, Type};
use std::collections::HashMap;

/// The element that comes closest to its bound, or passes it.
#[derive(Clone, Debug)]
pub struct Worst {
    /// Error over bound: at most one when all is well, NaN when something is not a number.
    pub ratio: f64,
    /// Which output.
    pub output: usize,
    /// Which element of it.
    pub index: usize,
    /// What the kernel computed.
    pub have: f64,
    /// What the definition says.
    pub want: f64,
    /// How far apart they may be.
    pub bound: f64,
}

/// How one launch of one case went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The element that comes closest to its bound.
    pub worst: Worst,
    /// Bindings beside whose elements something was written.
    pub torn: Vec<usize>,
}

impl Outcome {
    /// Whether every element is within its bound and no guard band was touched.
    pub fn passed(&self) -> bool {
        self.worst.ratio <= 1.0 && self.torn.is_empty()
    }
}

fn numbers(t: &Tensor) -> Vec<f64> {
    match t.ty().dtype {
        DType::U32 => t.as_u32().iter().map(|&v| v as f64).collect(),
        _ => t.as_f32().iter().map(|&v| v as f64).collect(),
    }
}

/// Compares outputs with the definition's, element by element.
pub fn compare(case: &Case, have: &[Tensor], want: &[Tensor]) -> Worst {
    worst(&*case.op, have, want, &(case.bound)(&case.inputs, want))
}

/// Compares outputs with the definition's, element by element, each with its bound.
pub fn worst(op: &dyn Op, have: &[Tensor], want: &[Tensor], bounds: &[Vec<f64>]) -> Worst {
    let mut worst = Worst { ratio: 0.0, output: 0, index: 0, have: 0.0, want: 0.0, bound: 0.0 };
    assert!(have.len() == want.len() && want.len() == bounds.len(), "{op:?}: a bound for every output");
    for (output, ((have, want), bounds)) in have.iter().zip(want).zip(bounds).enumerate() {
        assert_eq!(have.ty(), want.ty(), "output {output}");
        assert_eq!(bounds.len(), want.ty().elements(), "{op:?}: a bound for every element");
        for (index, ((have, want), bound)) in numbers(have).into_iter().zip(numbers(want)).zip(bounds).enumerate() {
            if have.to_bits() == want.to_bits() {
                continue;
            }
            let ratio = (have - want).abs() / bound.max(f64::MIN_POSITIVE);
            // NaN is worse than every number and stays the worst.
            if (ratio > worst.ratio || ratio.is_nan()) && !worst.ratio.is_nan() {
                worst = Worst { ratio, output, index, have, want, bound: *bound };
            }
        }
    }
    worst
}

/// The candidates of a case on this device. Panics when there are none: nothing would be compared.
pub fn launches(case: &Case, limits: &Limits) -> Vec<Launch> {
    let x: Vec<&Type> = case.inputs.iter().map(|t| t.ty()).collect();
    let y = case.op.types(&x).unwrap_or_else(|why| panic!("{:?}: {why}", case.op));
    let launches = case.op.launches(&x, &y.iter().collect::<Vec<_>>(), &limits.adapter);
    assert!(!launches.is_empty(), "{:?}, case {}: no kernel on {:?}", case.op, case.name, limits.adapter);
    launches
}

/// Runs one launch of a case between guard bands and compares. `want` is the definition's result.
pub async fn verify(gpu: &mut Gpu, case: &Case, launch: &Launch, want: &[Tensor]) -> Result<Outcome> {
    let types: Vec<Type> = want.iter().map(|t| t.ty().clone()).collect();
    let probe = gpu.probe(&*case.op, &case.inputs, &types, launch).await?;
    Ok(Outcome { worst: compare(case, &probe.outputs, want), torn: probe.torn })
}

/// The gradient of a case, by the room's own derivative on the definitions, against central differences: the largest
/// difference over the scale of the input's gradient. Cotangents are random, since all ones hide a lost factor.
pub fn gradient_error(case: &Case, seed: u64) -> f64 {
    let mut draw = crate::case::Draw::new(seed);
    let y = case.definition();
    let cotangents: Vec<Tensor> = case.results.iter().map(|&r| draw.tensor(&y[r].ty().dims)).collect();
    let analytic = analytic_gradients(case, &cotangents);
    let loss = |inputs: &[Tensor]| -> f64 {
        let y = case.evaluate(inputs, |x, y| case.op.cpu(x, y));
        let dot = |(&r, c): (&usize, &Tensor)| -> f64 {
            y[r].as_f32().iter().zip(c.as_f32()).map(|(&y, &c)| y as f64 * c as f64).sum()
        };
        case.results.iter().zip(&cotangents).map(dot).sum()
    };
    let mut worst = 0.0;
    for (&input, gradient) in case.wrt.iter().zip(&analytic) {
        let n = gradient.ty().elements();
        let scale = gradient.as_f32().iter().map(|g| (g * g) as f64).sum::<f64>().sqrt() / (n as f64).sqrt() + 1e-2;
        // All elements of a small input, a sample of a large one.
        let picks: Vec<usize> = if n <= 24 { (0..n).collect() } else { (0..24).map(|_| draw.below(n)).collect() };
        for i in picks {
            let shifted = |h: f32| {
                let mut inputs = case.inputs.clone();
                let x = &mut inputs[input].as_f32_mut()[i];
                *x += h;
                (*x as f64, loss(&inputs))
            };
            let ((x1, y1), (x0, y0)) = (shifted(0.01), shifted(-0.01));
            let error = ((y1 - y0) / (x1 - x0) - gradient.as_f32()[i] as f64).abs() / scale;
            // A NaN must not lose against a number.
            if error > worst || error.is_nan() {
                worst = error;
            }
        }
    }
    worst
}

fn analytic_gradients(case: &Case, cotangents: &[Tensor]) -> Vec<Tensor> {
    let mut g = Graph::new();
    let x: Vec<Value> =
        case.inputs.iter().enumerate().map(|(i, t)| g.input(&format!("x{i}"), t.ty().clone())).collect();
    let y = g.push_shared(case.op.clone(), &x);
    let dy: Vec<(Value, Value)> =
        case.results.iter().zip(cotangents).map(|(&r, t)| (y[r], g.input(&format!("dy{r}"), t.ty().clone()))).collect();
    let wrt: Vec<Value> = case.wrt.iter().map(|&i| x[i]).collect();
    let dx = vjp(&mut g, &dy, &wrt);
    for (i, &v) in dx.iter().enumerate() {
        g.output(&format!("dx{i}"), v);
    }
    let plan = Plan::new(g, &Limits::default()).expect("cases are small");
    let mut feeds: HashMap<String, &Tensor> = HashMap::new();
    for (i, t) in case.inputs.iter().enumerate() {
        feeds.insert(format!("x{i}"), t);
    }
    for (r, t) in case.results.iter().zip(cotangents) {
        feeds.insert(format!("dy{r}"), t);
    }
    let mut cpu = crate::cpu::Cpu::new(crate::cpu::Mode::Definition);
    let program = cpu.load(vec![plan]);
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, t)| (name.as_str(), *t)).collect();
    cpu.run(program, &feeds);
    (0..dx.len()).map(|i| cpu.read(program, &format!("dx{i}"))).collect()
}
