//! A program played on both executors in lockstep: every pass by its kernel, and again by its operation's definition.
//!
//! Executors that run freely drift apart, because each goes on from what it has rounded itself, so that no bound says what
//! is wrong. Here the definition gets what the kernel's bindings held, and both are compared within the operation's own
//! bound ([`Op::bound`]): each pass is judged by itself. What lies between passes is judged too: an input must be, bit for
//! bit, what the pass that computed it left.

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Played};
use crate::graph::{Graph, Node, Value};
use crate::op::Op;
use crate::ops::copy::Copy;
use crate::plan::{Pass, Place, Plan};
use crate::tensor::{DType, Tensor, Type};
use crate::verify::{Worst, worst};
use std::collections::HashMap;

/// How a pass went.
#[derive(Clone, Debug)]
pub struct Check {
    /// The operation.
    pub op: &'static str,
    /// The part of the model that it belongs to.
    pub scope: String,
    /// Which of the operation's kernels ran.
    pub variant: String,
    /// How many numbers were compared.
    pub elements: usize,
    /// The element that comes closest to its bound.
    pub worst: Worst,
    /// Where the output that it is in lies.
    pub place: Place,
    /// An input that is not what it was when it was computed.
    pub changed: Option<Changed>,
    /// Whether a fault was planted here, see [`Fault`].
    pub planted: bool,
}

/// A value that something else has written to.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What it is called.
    pub value: String,
    /// The first element that differs.
    pub index: usize,
    /// What it was when it was computed.
    pub was: f64,
    /// What it is when it is read.
    pub is: f64,
}

impl Check {
    /// Whether every element is within its bound, and every input what it was.
    pub fn passed(&self) -> bool {
        self.worst.ratio <= 1.0 && self.changed.is_none()
    }
}

/// A fault that a test plants: in one pass, after its kernel has run, an element in the middle of the first output becomes
/// a number that is just out of its bound.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The operation.
    pub op: String,
    /// Which of its passes, counted from 1.
    pub number: usize,
    passed: usize,
}

impl Fault {
    /// A fault in the `number`-th pass of an operation, counted from 1 over all programs that are played with it.
    pub fn new(op: impl Into<String>, number: usize) -> Fault {
        Fault { op: op.into(), number, passed: 0 }
    }

    fn strikes(&mut self, op: &str) -> bool {
        self.passed += usize::from(self.op == op);
        self.op == op && self.passed == self.number
    }
}

/// One pass as its operation sees it.
struct Judged<'a> {
    op: &'a dyn Op,
    inputs: Vec<Tensor>,
    outputs: Vec<Type>,
    /// The binding of the first output; the others follow.
    first: usize,
}

/// Plays a program pass by pass and hands over how each went, with its index. Errors: the device failed.
pub async fn play(
    gpu: &mut Gpu,
    program: usize,
    feeds: &[(&str, &Tensor)],
    mut fault: Option<&mut Fault>,
    mut each: impl FnMut(usize, Check),
) -> Result<()> {
    gpu.feed(program, feeds);
    let plan = gpu.plan(program).clone();
    let g = &plan.graph;
    let fed = feeds.iter().filter_map(|(name, t)| Some((g.find_input(name)?, (*t).clone())));
    let mut known: HashMap<Value, Tensor> = fed.collect();
    let mut position = 0;
    for (index, pass) in plan.passes.iter().enumerate() {
        let played = gpu.play(program, index).await?;
        let node = pass.node.map(|node| &g.nodes()[node]);
        let judged = match node {
            Some(node) => of_node(g, node, &played),
            None => of_copy(pass, &played),
        };
        let changed = node.and_then(|node| changed(g, node, &judged.inputs, &mut known));
        let x: Vec<&Tensor> = judged.inputs.iter().collect();
        let mut want: Vec<Tensor> = judged.outputs.iter().map(Tensor::zeros).collect();
        judged.op.cpu(&x, &mut want);
        let bounds = judged.op.bound(&judged.inputs, &want);
        let mut after = played.after;
        let planted = fault.as_mut().is_some_and(|fault| fault.strikes(pass.op));
        if planted {
            let (word, bits) = out_of_bound(&want[0], &bounds[0]).ok_or_else(|| {
                Error::Input(format!("--tamper {}: this pass gives no finite number to spoil", pass.op))
            })?;
            gpu.plant(program, index, judged.first, word, bits);
            after[judged.first] = gpu.bound(program, index, judged.first).await?;
        }
        let bytes = judged.outputs.iter().zip(&after[judged.first..]);
        let have: Vec<Tensor> = bytes.map(|(ty, bytes)| Tensor::from_bytes(ty, bytes)).collect();
        let worst = worst(judged.op, &have, &want, &bounds);
        let place = pass.bindings[judged.first + worst.output].place;
        let elements = judged.outputs.iter().map(Type::elements).sum();
        if let Some(node) = node {
            known.extend(node.outputs.iter().copied().zip(have));
            plan.dead[position].iter().for_each(|v| drop(known.remove(v)));
            position += 1;
        }
        let (scope, variant) = (pass.scope.clone(), pass.launch.variant.clone());
        each(index, Check { op: pass.op, scope, variant, elements, worst, place, changed, planted });
    }
    Ok(())
}

/// The operations of plans, in order, each once: where a [`Fault`] can be planted.
pub fn operations<'a>(plans: impl IntoIterator<Item = &'a Plan>) -> Vec<&'static str> {
    let mut all = vec![];
    for pass in plans.into_iter().flat_map(|plan| &plan.passes) {
        if !all.contains(&pass.op) {
            all.push(pass.op);
        }
    }
    all
}

fn of_node<'a>(g: &'a Graph, node: &'a Node, played: &Played) -> Judged<'a> {
    let taken = |i: usize| node.op.in_place().iter().find(|pair| pair.0 == i).map(|pair| pair.1);
    let first = (0..node.inputs.len()).filter(|&i| taken(i).is_none()).count();
    let mut reads = 0..first;
    let input = |(i, &v): (usize, &Value)| {
        let binding = taken(i).map_or_else(|| reads.next(), |output| Some(first + output));
        Tensor::from_bytes(g.ty(v), &played.before[binding.expect("a binding for every input")])
    };
    let inputs = node.inputs.iter().enumerate().map(input).collect();
    Judged { op: &*node.op, inputs, outputs: node.outputs.iter().map(|&v| g.ty(v).clone()).collect(), first }
}

/// A copy that the planner added has no node: as many words as its launch says, whatever they mean.
fn of_copy<'a>(pass: &Pass, played: &Played) -> Judged<'a> {
    let ty = Type::u32([pass.launch.run[0] as usize]);
    Judged { op: &Copy, inputs: vec![Tensor::from_bytes(&ty, &played.before[0])], outputs: vec![ty], first: 1 }
}

/// The first input that is not what it was; what is read for the first time is taken note of.
fn changed(g: &Graph, node: &Node, inputs: &[Tensor], known: &mut HashMap<Value, Tensor>) -> Option<Changed> {
    let mut first = None;
    for (&v, is) in node.inputs.iter().zip(inputs) {
        let was = known.entry(g.base(v)).or_insert_with(|| is.clone());
        let differ = |(a, b): (&[u8], &[u8])| a != b;
        let size = is.ty().dtype.size();
        if let Some(index) = was.bytes().chunks(size).zip(is.bytes().chunks(size)).position(differ) {
            let change = || Changed {
                value: format!("{} {}", g.name(v), g.ty(v)),
                index,
                was: number(was, index),
                is: number(is, index),
            };
            first.get_or_insert_with(change);
        }
    }
    first
}

fn number(t: &Tensor, index: usize) -> f64 {
    match t.ty().dtype {
        DType::U32 => t.as_u32()[index] as f64,
        _ => t.as_f32()[index] as f64,
    }
}

/// An element in the middle of an output, and the bits of a number that is just out of its bound; none where nothing is
/// finite.
fn out_of_bound(want: &Tensor, bounds: &[f64]) -> Option<(usize, u32)> {
    let middle = bounds.len() / 2;
    let mut places = (middle..bounds.len()).chain(0..middle);
    let index = places.find(|&i| bounds[i].is_finite() && number(want, i).abs() + 4.0 * bounds[i] < f32::MAX as f64)?;
    let (want, bound) = (want, bounds[index]);
    if want.ty().dtype == DType::U32 {
        return Some((index, want.as_u32()[index].wrapping_add(1 + 2 * bound as u32)));
    }
    let want = want.as_f32()[index];
    let mut step = 2.0 * bound.max(f32::MIN_POSITIVE as f64);
    loop {
        let have = (want as f64 + step) as f32;
        if (have as f64 - want as f64).abs() > bound {
            return Some((index, have.to_bits()));
        }
        step *= 2.0;
    }
}
