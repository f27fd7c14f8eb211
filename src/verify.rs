//! Kernels against definitions: every case of every operation, with every candidate launch.

use crate::case::Case;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::grad::vjp;
use crate::graph::{Graph, Value};
use crate::op::{Adapter, Launch, Op};
use crate::plan::{Limits, Plan};
use crate::tensor::{DType, Tensor, Type};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// The element of the outputs that comes closest to its bound, or is farthest beyond it.
#[derive(Clone, Debug)]
pub struct Worst {
    /// Error over bound: at most one when all is well, NaN when something is not a number.
    pub ratio: f64,
    /// Which output.
    pub output: usize,
    /// Its type.
    pub ty: Type,
    /// Which element of it.
    pub index: usize,
    /// What the kernel computed.
    pub have: f64,
    /// What the definition says.
    pub want: f64,
    /// How far apart they may be.
    pub bound: f64,
    /// Elements of this output that are beyond their bounds.
    pub beyond: usize,
    /// The first and the last of these.
    pub span: [usize; 2],
}

/// The place of an element in a tensor: `[2, 5]`.
fn place(ty: &Type, mut index: usize) -> String {
    let mut at = vec![0; ty.dims.len()];
    for (at, size) in at.iter_mut().zip(&ty.dims).rev() {
        *at = index % size;
        index /= size;
    }
    format!("{at:?}")
}

/// A number as its type prints it.
fn number(dtype: DType, value: f64) -> String {
    match dtype {
        DType::U32 => format!("{value}"),
        _ => format!("{:?}", value as f32),
    }
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Worst { output, ty, have, want, bound, .. } = self;
        let [have, want] = [have, want].map(|v| number(ty.dtype, *v));
        let apart = (self.have - self.want).abs();
        write!(f, "output {output} {}: {have}, but the definition says {want}; ", place(ty, self.index))?;
        write!(f, "{apart:.2e} apart, the bound is {bound:.2e}; ")?;
        let [first, last] = self.span.map(|i| place(ty, i));
        match self.beyond {
            1 => write!(f, "no other of its {} elements is beyond its bound", ty.elements()),
            n => write!(f, "{n} of its {} elements are beyond their bounds, {first} to {last}", ty.elements()),
        }
    }
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
    assert!(have.len() == want.len() && want.len() == bounds.len(), "{op:?}: a bound for every output");
    let outputs = have.iter().zip(want).zip(bounds).enumerate();
    let worst = |(output, ((have, want), bounds)): (usize, ((&Tensor, &Tensor), &Vec<f64>))| {
        assert_eq!(have.ty(), want.ty(), "output {output}");
        assert_eq!(bounds.len(), want.ty().elements(), "{op:?}: a bound for every element");
        let ty = want.ty().clone();
        let mut worst =
            Worst { ratio: 0.0, output, ty, index: 0, have: 0.0, want: 0.0, bound: 0.0, beyond: 0, span: [0, 0] };
        for (index, ((have, want), &bound)) in numbers(have).into_iter().zip(numbers(want)).zip(bounds).enumerate() {
            let error = (have - want).abs();
            if have.to_bits() == want.to_bits() || error == 0.0 {
                continue;
            }
            // Beside a bound of zero every error is infinitely large.
            let ratio = error / bound;
            if ratio > 1.0 || ratio.is_nan() {
                worst.span = [if worst.beyond == 0 { index } else { worst.span[0] }, index];
                worst.beyond += 1;
            }
            // NaN is worse than every number and stays the worst.
            if (ratio > worst.ratio || ratio.is_nan()) && !worst.ratio.is_nan() {
                worst = Worst { ratio, index, have, want, bound, ..worst };
            }
        }
        worst
    };
    // total_cmp puts NaN above every number.
    let worst = outputs.map(worst).max_by(|a, b| a.ratio.abs().total_cmp(&b.ratio.abs()));
    worst.expect("operations have outputs")
}

/// The candidates of a case on this device. Panics when there are none: nothing would be compared.
pub fn launches(case: &Case, limits: &Limits) -> Vec<Launch> {
    let launches = candidates(case, &limits.adapter);
    assert!(!launches.is_empty(), "{:?}, case {}: no kernel on {:?}", case.op, case.name, limits.adapter);
    launches
}

fn candidates(case: &Case, adapter: &Adapter) -> Vec<Launch> {
    let x: Vec<&Type> = case.inputs.iter().map(|t| t.ty()).collect();
    let y = case.op.types(&x).unwrap_or_else(|why| panic!("{:?}: {why}", case.op));
    case.op.launches(&x, &y.iter().collect::<Vec<_>>(), adapter)
}

/// One of each kind of adapter that launches may depend on.
pub fn adapters() -> Vec<Adapter> {
    let of = |software| {
        [None, Some(4), Some(8), Some(16), Some(32), Some(64)].map(|subgroup| Adapter { software, subgroup })
    };
    [of(false), of(true)].concat()
}

/// Every distinct pipeline that cases need on one adapter or another: launches that differ in their shader, constants or
/// tiles.
pub fn pipelines<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Vec<Launch> {
    let mut distinct = BTreeMap::new();
    for case in cases {
        for launch in adapters().iter().flat_map(|adapter| candidates(case, adapter)) {
            let key = format!("{} {:?} {:?}", launch.shader.name, launch.tiles, launch.constants);
            distinct.entry(key).or_insert(launch);
        }
    }
    distinct.into_values().collect()
}

/// A shader in a variant that no case on an adapter runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The shader's name.
    pub shader: &'static str,
    /// The launch's variant.
    pub variant: String,
    /// What the adapter lacks.
    pub why: String,
}

/// What cases would run on other adapters and do not on this one.
pub fn absent<'a>(cases: impl IntoIterator<Item = &'a Case>, adapter: &Adapter) -> Vec<Absent> {
    let mut here = BTreeSet::new();
    let mut elsewhere: BTreeMap<(&'static str, String), Vec<Adapter>> = BTreeMap::new();
    for case in cases {
        here.extend(candidates(case, adapter).into_iter().map(|l| (l.shader.name, l.variant)));
        for other in adapters() {
            for launch in candidates(case, &other) {
                elsewhere.entry((launch.shader.name, launch.variant)).or_default().push(other.clone());
            }
        }
    }
    let absent = |((shader, variant), on): ((&'static str, String), Vec<Adapter>)| {
        let lanes: BTreeSet<u32> = on.iter().filter_map(|a| a.subgroup).collect();
        let why = match on.iter().any(|a| a.subgroup.is_none()) {
            true => format!("for {} adapters", if adapter.software { "hardware" } else { "software" }),
            false => {
                let lanes: Vec<String> = lanes.iter().map(u32::to_string).collect();
                let have = adapter.subgroup.map_or("no subgroups of a fixed size are".into(), |n| format!("{n} are"));
                format!("needs subgroups of {} lanes, {have} available", lanes.join(" or "))
            }
        };
        Absent { shader, variant, why }
    };
    elsewhere.into_iter().filter(|(key, _)| !here.contains(key)).map(absent).collect()
}

/// Runs one launch of a case between guard bands and compares. `want` is the definition's result.
pub async fn verify(gpu: &mut Gpu, case: &Case, launch: &Launch, want: &[Tensor]) -> Result<Outcome> {
    let types: Vec<Type> = want.iter().map(|t| t.ty().clone()).collect();
    let probe = gpu.probe(&*case.op, &case.inputs, &types, launch).await?;
    Ok(Outcome { worst: compare(case, &probe.outputs, want), torn: probe.torn })
}

/// Largest error of a gradient against finite differences of f32 results, over the scale of the gradient.
pub const GRADIENT_BOUND: f64 = 5e-3;

/// The element of a gradient that is farthest from finite differences.
#[derive(Clone, Debug)]
pub struct Slope {
    /// The difference over the scale of the input's gradient; NaN when something is not a number.
    pub error: f64,
    /// Which input.
    pub input: usize,
    /// Its type.
    pub ty: Type,
    /// Which element of it.
    pub index: usize,
    /// What the derivative says.
    pub have: f64,
    /// What finite differences of the definition say.
    pub want: f64,
}

impl fmt::Display for Slope {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Slope { input, ty, have, want, .. } = self;
        let at = place(ty, self.index);
        write!(f, "gradient of input {input} {at}: {have:?}, but finite differences of the definition say {want:?}")
    }
}

/// The gradient of a case, by the room's own derivative on the definitions, against central differences. Cotangents are
/// random, since all ones hide a lost factor.
pub fn gradient_error(case: &Case, seed: u64) -> Slope {
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
    let ty = Type::f32([]);
    let mut worst = Slope { error: 0.0, input: 0, ty, index: 0, have: 0.0, want: 0.0 };
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
            let (have, want) = (gradient.as_f32()[i] as f64, (y1 - y0) / (x1 - x0));
            let error = (want - have).abs() / scale;
            // A NaN must not lose against a number.
            if (error > worst.error || error.is_nan()) && !worst.error.is_nan() {
                worst = Slope { error, input, ty: gradient.ty().clone(), index: i, have, want };
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
