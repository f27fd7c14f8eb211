//! `seqloom verify`: every case of every operation, every candidate launch, against the CPU definition.

mod model;

use super::DeviceArgs;
use super::device::{INSTALL, choose, options};
use clap::Args;
use pollster::block_on;
use seqloom::error::{Error, Result};
use seqloom::gpu::Gpu;
use seqloom::verify::{Outcome, gradient_error, launches, verify};
use std::process::ExitCode;

/// Largest relative error of a gradient against finite differences of f32 results.
const GRADIENT_BOUND: f64 = 5e-3;

/// Arguments of `verify`.
#[derive(Args)]
pub struct Verify {
    #[command(flatten)]
    device: DeviceArgs,
    /// Only the operations whose room or kernel has this in its name
    #[arg(long)]
    op: Option<String>,
    /// Seed of the inputs; a fresh one each run
    #[arg(long)]
    seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    step: model::StepArgs,
}

struct Line {
    room: &'static str,
    kernel: &'static str,
    variant: String,
    case: String,
    outcome: Outcome,
    gradient: Option<f64>,
}

impl Line {
    fn passed(&self) -> bool {
        self.outcome.passed() && self.gradient.is_none_or(|g| g <= GRADIENT_BOUND)
    }

    fn json(&self) -> serde_json::Value {
        let w = &self.outcome.worst;
        serde_json::json!({ "op": self.room, "kernel": self.kernel, "variant": self.variant, "case": self.case,
            "passed": self.passed(), "error_over_bound": w.ratio, "gradient_error": self.gradient,
            "guard_bands_intact": self.outcome.torn.is_empty() })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let verdict = if self.passed() { "ok  " } else { "FAIL" };
        let w = &self.outcome.worst;
        write!(f, "{verdict} {:22} {:28} {:44} {:8.4} of the bound", self.kernel, self.variant, self.case, w.ratio)?;
        if let Some(g) = self.gradient {
            write!(f, ", gradient {g:.0e}")?;
        }
        if !self.outcome.torn.is_empty() {
            write!(f, ", wrote outside binding {:?}", self.outcome.torn)?;
        }
        if !self.outcome.passed() {
            write!(f, ", output {} [{}] = {}, expected {}", w.output, w.index, w.have, w.want)?;
        }
        Ok(())
    }
}

/// Runs the cases; exit code 1 when one fails.
pub fn run(args: &Verify) -> Result<ExitCode> {
    if args.device.device == "cpu" {
        return Err(Error::Input("verify compares a GPU with the CPU; leave --device cpu out, or name a GPU".into()));
    }
    if let Some(dir) = &args.step.model {
        return model::run(dir, &args.step, &args.device, args.json);
    }
    let found = choose(&args.device.device)?;
    let found = found.ok_or_else(|| Error::Device(format!("verify needs a GPU, and there is none: {INSTALL}")))?;
    let mut gpu = block_on(Gpu::open(&found, options(&args.device)?))?;
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_millis());
    let seed = args.seed.unwrap_or_else(|| (clock() % 1_000_000) as u64);
    eprintln!("device: {} ({}), seed {seed}", found.name(), found.driver());

    let limits = gpu.limits().clone();
    let mut lines = vec![];
    for (room, case) in seqloom::ops::cases(seed) {
        let candidates = launches(&case, &limits);
        let wanted = |word: &String| room.contains(word.as_str()) || case.op.name().contains(word.as_str());
        if args.op.as_ref().is_some_and(|word| !wanted(word)) {
            continue;
        }
        let want = case.definition();
        let gradient = (!case.wrt.is_empty()).then(|| gradient_error(&case, seed));
        for launch in candidates {
            let outcome = block_on(verify(&mut gpu, &case, &launch, &want))?;
            let (kernel, variant) = (launch.shader.name, launch.variant);
            let line = Line { room, kernel, variant, case: case.name.clone(), outcome, gradient };
            if !args.json {
                out!("{line}");
            }
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return Err(Error::Input(format!("no operation is called {}", args.op.as_deref().unwrap_or_default())));
    }
    let failed = lines.iter().filter(|l| !l.passed()).count();
    if args.json {
        let cases: Vec<_> = lines.iter().map(Line::json).collect();
        out!("{}", serde_json::json!({ "device": found.name(), "seed": seed, "failed": failed, "cases": cases }));
    } else {
        summary(&lines)?;
        out!("{} passed, {failed} failed (seed {seed})", lines.len() - failed);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The worst case of each operation.
fn summary(lines: &[Line]) -> Result<()> {
    out!("\nlargest error over its bound, by operation:");
    let mut rooms: Vec<&str> = lines.iter().map(|l| l.room).collect();
    rooms.dedup();
    for room in rooms {
        let of_room = lines.iter().filter(|l| l.room == room);
        // total_cmp puts NaN above every number.
        let worst = of_room.clone().max_by(|a, b| a.outcome.worst.ratio.total_cmp(&b.outcome.worst.ratio));
        if let Some(worst) = worst {
            let (count, ratio) = (of_room.count(), worst.outcome.worst.ratio);
            out!("  {room:14} {ratio:8.4}  {count:3} runs, worst: {} {}", worst.kernel, worst.case);
        }
    }
    Ok(())
}
