//! `train --profile`: when each pass of some steps began and ended, as a trace.

use super::trace::{Trace, Track};
use crate::cli::device::Opened;
use crate::cli::files;
use pollster::block_on;
use seqloom::device::Device;
use seqloom::error::{Error, Result};
use seqloom::train::{Metrics, Phase, Stage, Timed, Trainer};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A profile that grows step by step.
pub struct Profile {
    file: PathBuf,
    /// Steps before the first that is profiled, and steps that are left to be.
    ahead: u64,
    left: u64,
    trace: Trace,
    since: Instant,
    /// Where the last slice on the device ended, in nanoseconds.
    last: u64,
}

impl Profile {
    /// A profile of `steps` steps after the next. Errors: the device does not tell when passes begin and end.
    pub fn new(file: &Path, steps: u64, opened: &Opened) -> Result<Profile> {
        if !matches!(&opened.device, Device::Gpu(gpu) if gpu.has_timestamps()) {
            return Err(Error::Input(format!(
                "--profile needs a GPU with timestamps, {} has none; leave it out, or choose another --device",
                opened.name
            )));
        }
        let trace = Trace::new(&opened.name);
        Ok(Profile { file: file.into(), ahead: 1, left: steps, trace, since: Instant::now(), last: 0 })
    }

    /// Does a step of training, profiled if it is its turn.
    pub fn step(&mut self, trainer: &mut Trainer) -> Result<Vec<Metrics>> {
        if self.ahead > 0 || self.left == 0 {
            self.ahead = self.ahead.saturating_sub(1);
            return block_on(trainer.step());
        }
        let number = trainer.progress.step + 1;
        let mut stages: Vec<(Stage, u64)> = vec![];
        let since = self.since;
        let now = || since.elapsed().as_nanos() as u64;
        // What was submitted before is not this step's.
        let mut metrics = block_on(trainer.drain())?;
        let (programs, more) = block_on(trainer.profile(|stage| stages.push((stage, now()))))?;
        metrics.extend(more);
        let end = now();
        let ends = stages.iter().skip(1).map(|s| s.1).chain([end]).collect::<Vec<_>>();
        for (&(stage, begin), end) in stages.iter().zip(ends) {
            let name = match stage {
                Stage::Build => "build the batch",
                Stage::Submit => "submit",
                Stage::Wait => "wait",
            };
            self.trace.slice(Track::Host, name, [begin, end], json!({ "step": number }));
        }
        let submitted = stages.iter().filter(|(stage, _)| *stage == Stage::Submit).map(|s| s.1);
        self.step_on_device(number, submitted.zip(programs).collect());
        self.left -= 1;
        if self.left == 0 {
            self.write()?;
        }
        Ok(metrics)
    }

    /// The slices of a step's programs, each with the time at which it was submitted.
    fn step_on_device(&mut self, number: u64, programs: Vec<(u64, Vec<Timed>)>) {
        let mut phases: Vec<(Phase, [u64; 2])> = vec![];
        for (submitted, passes) in programs {
            let zero = submitted.max(self.last);
            for pass in passes {
                let [begin, end] = [pass.begin, pass.end].map(|seconds| zero + (seconds * 1e9).round() as u64);
                self.trace.slice(Track::Passes, &name(&pass), [begin, end], arguments(&pass, number));
                match phases.last_mut() {
                    Some((phase, [_, last])) if *phase == pass.phase => *last = end,
                    _ => phases.push((pass.phase, [begin, end])),
                }
                self.last = end;
            }
        }
        let (Some(first), Some(last)) = (phases.first(), phases.last()) else { return };
        self.trace.slice(Track::Steps, &format!("step {number}"), [first.1[0], last.1[1]], json!({ "step": number }));
        for (phase, times) in phases {
            self.trace.slice(Track::Phases, phase.name(), times, json!({ "step": number }));
        }
    }

    /// Writes what there is, when training ends before the last step that was to be profiled.
    pub fn end(&self) -> Result<()> {
        if self.left > 0 { self.write() } else { Ok(()) }
    }

    fn write(&self) -> Result<()> {
        files::write(&self.file, self.trace.to_json().to_string().as_bytes())?;
        let (passes, file) = (self.trace.passes(), self.file.display());
        match passes {
            0 => eprintln!("warning: {file} is empty: --profile begins with the second step of a sitting"),
            _ => eprintln!("profile: {passes} passes in {file}; ui.perfetto.dev and chrome://tracing show it"),
        }
        Ok(())
    }
}

/// What people call a pass: the operation and where in the model it is.
fn name(pass: &Timed) -> String {
    format!("{} {}", pass.op, pass.scope).trim().into()
}

fn arguments(pass: &Timed, step: u64) -> serde_json::Value {
    let seconds = (pass.end - pass.begin).max(1e-9);
    let [x, y, z] = pass.grid;
    json!({ "step": step, "phase": pass.phase.name(), "op": pass.op, "layer": pass.scope, "variant": pass.variant,
        "grid": format!("{x}×{y}×{z}"), "flops": pass.cost.flops, "bytes": pass.cost.bytes,
        "gflop_per_s": pass.cost.flops as f64 / seconds / 1e9, "gb_per_s": pass.cost.bytes as f64 / seconds / 1e9 })
}
