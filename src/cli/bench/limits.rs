//! What the adapter can do at most, measured: the roofs of the roofline model (Williams, Waterman and Patterson 2009).

use super::measure::times;
use pollster::block_on;
use seqloom::error::Result;
use seqloom::gpu::{Found, Gpu, Kernel, Options};
use seqloom::op::{Cost, Op};
use seqloom::ops::fill::Fill;
use seqloom::ops::peak::{PeakCopy, PeakFma};
use seqloom::tensor::{Tensor, Type};
use serde_json::{Value, json};
use std::time::Instant;

/// The limits of an adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// FLOP/s of f32; a multiply–add is two.
    pub flops: f64,
    /// Bytes/s of a copy, read and written.
    pub bytes: f64,
    /// Seconds that a dispatch costs behind another one in the same pass.
    pub dispatch: f64,
    /// Seconds that a submission costs behind another one.
    pub submission: f64,
}

/// What keeps a kernel from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Multiply–adds.
    Fma,
    /// Reading and writing.
    Copy,
    /// The dispatch itself.
    Dispatch,
}

impl Limit {
    /// "FMA", "copy" or "dispatch".
    pub fn name(self) -> &'static str {
        match self {
            Limit::Fma => "FMA",
            Limit::Copy => "copy",
            Limit::Dispatch => "dispatch",
        }
    }
}

impl Roofline {
    /// The limit that binds at this cost, and the seconds that it leaves.
    pub fn floor(&self, cost: &Cost) -> (Limit, f64) {
        let floors = [
            (Limit::Fma, cost.flops as f64 / self.flops),
            (Limit::Copy, cost.bytes as f64 / self.bytes),
            (Limit::Dispatch, self.dispatch),
        ];
        floors.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("three of them")
    }

    /// The same as an object.
    pub fn json(&self) -> Value {
        json!({ "flops_per_second": self.flops, "bytes_per_second": self.bytes, "dispatch_seconds": self.dispatch,
            "submission_seconds": self.submission })
    }

    /// FLOP/s that the roof leaves at so many FLOP for each byte.
    pub fn roof(&self, intensity: f64) -> f64 {
        self.flops.min(intensity * self.bytes)
    }
}

/// Elements of the chains of multiply–adds: 262,144 threads, more than any GPU holds at once.
const CHAINS: usize = 1 << 20;
/// Elements of the copy, 64 MiB: twice that is in no cache.
const COPIED: usize = 16 << 20;

/// A device to measure the limits on, where the one that is timed has checks or somebody's shaders: what the adapter can do
/// depends on neither. Warns of checks.
pub fn bare(found: &Found, options: &Options) -> Result<Option<Gpu>> {
    let replaced = options.shaders.is_replaced();
    if options.checked {
        let instead = if replaced { "; --unchecked leaves them out" } else { "" };
        eprintln!("warning: shaders run with bounds and loop checks, which take time{instead}");
    }
    match options.checked || replaced {
        true => block_on(Gpu::open(found, Options::default())).map(Some),
        false => Ok(None),
    }
}

/// Measures the limits: the best of some runs each, since nothing makes an adapter faster than it is. Seconds are for
/// each of the rates.
pub fn measure(gpu: &mut Gpu) -> Result<Roofline> {
    measure_for(gpu, 0.5)
}

/// Like [`measure`], with about so many seconds for each rate.
pub fn measure_for(gpu: &mut Gpu, seconds: f64) -> Result<Roofline> {
    let flops = fma_rate(gpu, seconds)?;
    let mut bytes = 0f64;
    let copied = Type::f32([COPIED]);
    for candidate in 0..candidates(gpu, &PeakCopy, &copied) {
        let copy = kernel(gpu, &PeakCopy, &[Tensor::zeros(&copied)], &copied, candidate)?;
        let fastest = fastest(gpu, &copy, seconds)?;
        bytes = bytes.max(2.0 * copied.bytes() as f64 / fastest);
    }
    let one = Type::f32([4]);
    let empty = kernel(gpu, &Fill { value: 1.0, dims: one.dims.clone() }, &[], &one, 0)?;
    let dispatch = fastest(gpu, &empty, seconds)?;
    let submission = submission(gpu, &empty, dispatch)?;
    Ok(Roofline { flops, bytes, dispatch, submission })
}

/// The shortest of as many runs as there is time for: other work on the machine only ever adds to it.
fn fastest(gpu: &mut Gpu, kernel: &Kernel, seconds: f64) -> Result<f64> {
    Ok(times(gpu, kernel, seconds, usize::MAX)?.range()[0])
}

/// Loops are added until a dispatch takes long enough, so that none takes too long on a slow adapter.
fn fma_rate(gpu: &mut Gpu, seconds: f64) -> Result<f64> {
    let ty = Type::f32([CHAINS]);
    let mut loops = 2;
    loop {
        let op = PeakFma { loops };
        let chains = kernel(gpu, &op, &[Tensor::zeros(&ty)], &ty, 0)?;
        if fastest(gpu, &chains, 0.0)? > 0.01 || loops >= 2048 {
            return Ok(op.cost(&[&ty], &[&ty]).flops as f64 / fastest(gpu, &chains, seconds)?);
        }
        loops *= 4;
    }
}

/// Many submissions of one dispatch each, less what the dispatches cost; by the clock, the fastest of three.
fn submission(gpu: &mut Gpu, empty: &Kernel, dispatch: f64) -> Result<f64> {
    const COUNT: usize = 100;
    let mut fastest = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        for _ in 0..COUNT {
            gpu.repeat(empty, 1);
        }
        block_on(gpu.wait())?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok((fastest / COUNT as f64 - dispatch).max(0.0))
}

fn candidates(gpu: &Gpu, op: &dyn Op, ty: &Type) -> usize {
    op.launches(&[ty], &[ty], &gpu.limits().adapter).len()
}

fn kernel(gpu: &mut Gpu, op: &dyn Op, inputs: &[Tensor], y: &Type, candidate: usize) -> Result<Kernel> {
    let x: Vec<&Type> = inputs.iter().map(|t| t.ty()).collect();
    let launch = op.launches(&x, &[y], &gpu.limits().adapter).swap_remove(candidate);
    block_on(gpu.kernel(op, inputs, std::slice::from_ref(y), &launch))
}
