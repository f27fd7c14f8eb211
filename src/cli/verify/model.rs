//! `seqloom verify --model`: one real training step of a run, on the GPU and by the definitions, in lockstep.

use super::report::number;
use crate::cli::data::{self, Sets};
use crate::cli::device::{INSTALL, open};
use crate::cli::run_dir::{Checkpoint, RunDir};
use crate::cli::{DeviceArgs, train};
use clap::Args;
use indicatif::ProgressBar;
use pollster::block_on;
use seqloom::device::Device;
use seqloom::error::{Error, Result};
use seqloom::lockstep::{Check, Fault};
use seqloom::models::Architecture;
use seqloom::network::positions;
use seqloom::parameters::Declaration;
use seqloom::recipe::Recipe;
use seqloom::text::batch::{BatchPlan, Batches};
use seqloom::text::tokenizer::Tokenizers;
use seqloom::train::{Phase, Progress, Trainer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `verify --model`.
#[derive(Args)]
pub struct StepArgs {
    /// Play a training step of this run directory instead, each pass beside its definition
    #[arg(long, value_name = "DIR", conflicts_with_all = ["op", "seed", "variants", "limits", "all_devices", "mirrored"])]
    pub(super) model: Option<PathBuf>,
    /// Rows of the batch that are played, the first ones; 0 is all of them [default: as many as take about half a minute]
    #[arg(long, value_name = "N", requires = "model")]
    rows: Option<usize>,
    /// Plant a fault in the first pass of this operation, or in its N-th: the command must find it
    #[arg(long, value_name = "OP[:N]", requires = "model")]
    tamper: Option<String>,
}

/// Parameters times positions that a step is cut to where nobody says how many rows. Definitions and bounds are plain
/// loops in f64: this many take about half a minute of one core.
const AFFORDABLE: usize = 3_000_000_000;

/// What is played.
struct Played {
    recipe: Recipe,
    tokenizers: Tokenizers,
    batches: Batches,
    plan: BatchPlan,
    progress: Progress,
    /// What the batch is, for people.
    about: String,
    /// Whether it is the data's.
    real: bool,
}

/// A check, where in the step it was made, and what the element is called.
struct Line {
    pass: usize,
    phase: Phase,
    check: Check,
    element: Option<String>,
}

/// Plays the step; exit code 1 when a value leaves its bound.
pub fn run(dir: &Path, args: &StepArgs, device: &DeviceArgs, json: bool) -> Result<ExitCode> {
    let fault = args.tamper.as_deref().map(fault).transpose()?;
    let run = RunDir::new(dir);
    let latest = run.latest()?;
    let played = choose(&run, latest.as_ref().map(|(_, checkpoint)| checkpoint), args.rows)?;
    let Played { recipe, tokenizers, batches, plan, progress, about, real } = played;
    let opened = open(device)?;
    if matches!(opened.device, Device::Cpu(_)) {
        return Err(Error::Device(format!("verify needs a GPU, and there is none: {INSTALL}")));
    }
    let bucket = batches.buckets().shapes()[plan.bucket];
    let planned = train::planned(&recipe, tokenizers.vocabulary(), opened.device, batches.clone(), batches)?;
    let mut trainer = block_on(planned.load())?;
    trainer.network.spell(tokenizers.source().lexicon());
    match latest {
        Some((file, Checkpoint { parameters, moments, .. })) => {
            // The batch is chosen; its place in the epoch says nothing in a set that is cut down to it.
            trainer.restore(&file, &parameters, &moments, Progress { batch: 0, ..progress })?;
        }
        None => {
            let (file, parameters) = run.model(&recipe, &Architecture::new(&recipe.model, tokenizers.vocabulary()))?;
            trainer.network.write_parameters(&file, &parameters)?;
        }
    }
    let step = trainer.progress.step + 1;
    eprintln!("data: {about}, for step {step} of {}", dir.display());
    let lines = play(&mut trainer, &plan, fault)?;
    let failed: Vec<&Line> = lines.iter().filter(|line| !line.check.passed()).collect();
    let numbers: usize = lines.iter().map(|line| line.check.elements).sum();
    if json {
        let by_op: Vec<Value> =
            by_operation(&lines).into_iter().map(|(worst, passes)| summary(worst, passes)).collect();
        let planted = lines.iter().find(|line| line.check.planted).map(Line::json);
        out!(
            "{}",
            json!({ "device": opened.name, "step": step, "batch": if real { "data" } else { "random" },
                "rows": bucket.rows, "source_length": bucket.source_length, "target_length": bucket.target_length,
                "passes": lines.len(), "numbers": numbers, "failed": failed.len(),
                "first": failed.first().map(|line| line.json()), "planted": planted, "operations": by_op })
        );
    } else {
        if let Some(planted) = lines.iter().find(|line| line.check.planted) {
            eprintln!("planted: a fault in {}", planted.place());
        }
        out!("largest error over its bound, by operation:");
        for (worst, passes) in by_operation(&lines) {
            let ratio = worst.check.worst.ratio;
            out!("  {:24} {ratio:8.4} {passes:5} passes, worst: {}", worst.check.op, worst.place());
        }
        match failed.first() {
            None => out!("\nall {} passes agree: {numbers} numbers are within their bounds", lines.len()),
            Some(first) => {
                out!("\nFAIL {}", first.place());
                first.explain()?;
                out!("{} of {} passes fail, this is the first", failed.len(), lines.len());
            }
        }
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// OP or OP:N.
fn fault(text: &str) -> Result<Fault> {
    let Some((op, number)) = text.split_once(':') else { return Ok(Fault::new(text, 1)) };
    match number.parse() {
        Ok(number) => Ok(Fault::new(op, number)),
        Err(_) => Err(Error::Input(format!("--tamper {text}: {number} is no number; OP:N is the N-th pass of OP"))),
    }
}

/// The next batch of a run's data, or random tokens where the data is gone, cut to some rows.
fn choose(run: &RunDir, latest: Option<&Checkpoint>, rows: Option<usize>) -> Result<Played> {
    let recipe = run.recipe()?;
    let tokenizers = run.tokenizers(&recipe)?;
    let progress = latest.map_or_else(Progress::default, |checkpoint| checkpoint.state.progress.clone());
    let data = data::find(&recipe).and_then(|data| data.sets(&recipe, &tokenizers).map_err(|e| e.to_string()));
    let (batches, plan, what, real) = match data {
        Ok(Sets { train, valid, .. }) => {
            if latest.is_some_and(|checkpoint| checkpoint.state.data != train::checksum(&tokenizers, &train, &valid)) {
                eprintln!("warning: the data is not what it was when the run was trained");
            }
            let order = train.epoch(recipe.train.seed, progress.epoch);
            let batch = progress.batch % order.len();
            let what = format!("batch {} of epoch {}", batch + 1, progress.epoch + 1);
            (train, order[batch].clone(), what, true)
        }
        Err(why) => {
            let (batches, _, what) = train::nominal(&recipe, Some(&tokenizers))?;
            eprintln!("warning: {why}; the step is on random tokens, {what}");
            let plan = batches.in_order().swap_remove(0);
            (batches, plan, "random tokens".into(), false)
        }
    };
    let shape = batches.buckets().shapes()[plan.bucket];
    let positions = shape.source_length + shape.target_length;
    let rows = match rows {
        None => (AFFORDABLE / (positions * parameters(&recipe, &tokenizers))).max(1),
        Some(0) => shape.rows,
        Some(rows) => rows,
    };
    let (batches, plan) = batches.narrowed(&plan, rows);
    let played = batches.buckets().shapes()[plan.bucket].rows;
    let lengths = match shape.source_length {
        0 => format!("{} positions", shape.target_length),
        source => format!("{source} source and {} target positions", shape.target_length),
    };
    let about = format!("{what}, {played} of {} rows of {lengths}", shape.rows);
    Ok(Played { recipe, tokenizers, batches, plan, progress, about, real })
}

fn parameters(recipe: &Recipe, tokenizers: &Tokenizers) -> usize {
    let model = Architecture::new(&recipe.model, tokenizers.vocabulary());
    let count = |d: &Declaration| d.dims.iter().product::<usize>();
    model.declarations(positions(recipe, 1)).iter().map(count).sum()
}

fn play(trainer: &mut Trainer, plan: &BatchPlan, fault: Option<Fault>) -> Result<Vec<Line>> {
    let mut checks = vec![];
    // Seen on a terminal only.
    let bar = ProgressBar::new_spinner();
    let each = |phase: Phase, check: Check| {
        bar.set_message(format!("pass {} ({}), {} {}", checks.len(), phase.name(), check.op, check.scope));
        bar.tick();
        checks.push((phase, check));
    };
    block_on(trainer.lockstep(plan, fault, each))?;
    bar.finish_and_clear();
    let line = |(pass, (phase, check)): (usize, (Phase, Check))| {
        let element = trainer.element(check.place, check.worst.index);
        Line { pass, phase, check, element }
    };
    Ok(checks.into_iter().enumerate().map(line).collect())
}

/// The worst pass of each operation, in order of their first, and how many there are.
fn by_operation(lines: &[Line]) -> Vec<(&Line, usize)> {
    let mut worst: Vec<(&Line, usize)> = vec![];
    for line in lines {
        match worst.iter_mut().find(|(w, _)| w.check.op == line.check.op) {
            Some((w, passes)) => {
                *passes += 1;
                // total_cmp puts NaN above every number.
                if line.check.worst.ratio.total_cmp(&w.check.worst.ratio).is_gt() {
                    *w = line;
                }
            }
            None => worst.push((line, 1)),
        }
    }
    worst
}

fn summary(worst: &Line, passes: usize) -> Value {
    json!({ "op": worst.check.op, "passes": passes, "error_over_bound": number(worst.check.worst.ratio),
        "worst": worst.json() })
}

impl Line {
    /// Where in the step it is, and which element.
    fn place(&self) -> String {
        let Check { op, scope, worst, .. } = &self.check;
        let scope = if scope.is_empty() { String::new() } else { format!(" in {scope}") };
        let element = self.element.as_ref().map_or(String::new(), |element| format!(", {element}"));
        let (pass, phase, index, which, ty) = (self.pass, self.phase.name(), worst.index, worst.output, &worst.ty);
        format!("pass {pass} ({phase}), {op}{scope}, output {which} {ty} element {index}{element}")
    }

    /// What is wrong here.
    fn explain(&self) -> Result<()> {
        let Check { worst: w, variant, changed, .. } = &self.check;
        if let Some(c) = changed {
            out!("     its input {} was overwritten: element {} was {}, now it is {}", c.value, c.index, c.was, c.is);
        }
        // NaN is out of every bound.
        if w.ratio > 1.0 || w.ratio.is_nan() {
            let kernel = if variant.is_empty() { String::new() } else { format!("[{variant}] ") };
            out!("     {kernel}{w}");
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let Check { op, scope, variant, worst: w, changed, .. } = &self.check;
        let changed = changed
            .as_ref()
            .map(|c| json!({ "value": c.value, "index": c.index, "was": number(c.was), "is": number(c.is) }));
        json!({ "pass": self.pass, "phase": self.phase.name(), "op": op, "layer": scope, "variant": variant,
            "output": w.output, "type": w.ty.to_string(), "index": w.index, "element": self.element,
            "have": number(w.have), "want": number(w.want), "bound": number(w.bound),
            "error_over_bound": number(w.ratio), "changed_input": changed })
    }
}
