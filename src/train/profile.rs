//! When each pass of a step began and ended.

use super::{Metrics, Trainer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::op::Cost;
use crate::plan::Plan;
use crate::tensor::Tensor;

/// A part of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the batch to the loss.
    Forward,
    /// From the loss to the gradients.
    Backward,
    /// The norm, the clipping and the optimiser.
    Update,
    /// The forward pass on held-out data, which keeps nothing for a backward pass.
    Evaluation,
}

/// What the host does in a step that is profiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Makes tensors of the step's batches.
    Build,
    /// Uploads and submits a program.
    Submit,
    /// Waits for the device.
    Wait,
}

/// A pass of a step that was profiled.
#[derive(Clone, Debug)]
pub struct Timed {
    /// The part of the step.
    pub phase: Phase,
    /// The operation.
    pub op: &'static str,
    /// The part of the model that it belongs to.
    pub scope: String,
    /// Which of the operation's kernels ran.
    pub variant: String,
    /// Workgroups in x, y and z.
    pub grid: [u32; 3],
    /// Arithmetic and traffic.
    pub cost: Cost,
    /// Seconds from the beginning of the first pass of its program to its own.
    pub begin: f64,
    /// The same for its end.
    pub end: f64,
}

impl Phase {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Update => "update",
            Phase::Evaluation => "evaluation",
        }
    }

    /// The phase of a pass in the plan of a program that begins with this one.
    pub(super) fn of(self, plan: &Plan, pass: usize) -> Phase {
        match self {
            Phase::Forward if plan.is_backward(pass) => Phase::Backward,
            phase => phase,
        }
    }
}

/// Times the passes of programs.
pub(super) struct Stopwatch<'a> {
    told: &'a mut dyn FnMut(Stage),
    programs: Vec<Vec<Timed>>,
}

/// Says what the host does now, where somebody wants to know.
pub(super) fn tell(watch: Option<&mut Stopwatch>, stage: Stage) {
    if let Some(watch) = watch {
        (watch.told)(stage);
    }
}

/// Runs a program whose first pass belongs to a phase; where there is a stopwatch, waits for it.
pub(super) async fn run(
    watch: Option<&mut Stopwatch<'_>>,
    device: &mut Device,
    phase: Phase,
    program: usize,
    feeds: &[(&str, &Tensor)],
) -> Result<()> {
    let Some(watch) = watch else {
        device.run(program, feeds);
        return Ok(());
    };
    let Device::Gpu(gpu) = device else {
        return Err(Error::Device("only a GPU can be profiled pass by pass".into()));
    };
    (watch.told)(Stage::Submit);
    let stamps = gpu.run_timed(program, feeds)?;
    (watch.told)(Stage::Wait);
    let times = gpu.times(stamps).await?;
    let plan = gpu.plan(program);
    let timed = |(i, [begin, end]): (usize, [f64; 2])| {
        let pass = &plan.passes[i];
        let (variant, grid) = (pass.launch.variant.clone(), pass.launch.grid);
        let (op, scope, cost) = (pass.op, pass.scope.clone(), pass.cost);
        Timed { phase: phase.of(plan, i), op, scope, variant, grid, cost, begin, end }
    };
    watch.programs.push(times.into_iter().enumerate().map(timed).collect());
    Ok(())
}

impl Trainer {
    /// Like [`Trainer::step`], pass by pass: it computes the same bits, waits for them, and returns when each pass of each
    /// program began and ended, beside the numbers of earlier steps. `told` hears what the host begins to do; each program
    /// is submitted once. Errors: those of a step; the device is not a GPU with timestamps.
    pub async fn profile(&mut self, mut told: impl FnMut(Stage)) -> Result<(Vec<Vec<Timed>>, Vec<Metrics>)> {
        let mut watch = Stopwatch { told: &mut told, programs: vec![] };
        let done = self.next_step(Some(&mut watch)).await?;
        Ok((watch.programs, done))
    }
}
