//! `seqloom verify`: every case of every operation, every candidate launch, against the CPU definition.

mod model;
mod report;

use super::DeviceArgs;
use super::device::{INSTALL, choose, options};
use super::select::select;
use clap::{Args, ValueEnum};
use pollster::block_on;
use report::{Line, Report};
use seqloom::case::Case;
use seqloom::error::{Error, Result};
use seqloom::gpu::{Found, Gpu, Options, enumerate};
use seqloom::op::Launch;
use seqloom::tensor::Tensor;
use seqloom::verify::{Absent, Slope, absent, gradient_error, launches, pipelines, verify};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Arguments of `verify`.
#[derive(Args)]
pub struct Verify {
    #[command(flatten)]
    device: DeviceArgs,
    /// Every adapter that `seqloom devices` lists, side by side
    #[arg(long, conflicts_with = "device")]
    all_devices: bool,
    /// Only the operations whose room, name or shader has this in its name
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// Which of the launches that fit: all; default, what a plan would choose; or those with this in the name of their
    /// variant or shader
    #[arg(long, value_name = "WORD", default_value = "all")]
    variants: String,
    /// What the device is opened with
    #[arg(long, value_enum, default_value_t = LimitsArg::Adapter)]
    limits: LimitsArg,
    /// Number the lanes of workgroups from the last to the first: some missing barriers show in this order only
    #[arg(long)]
    mirrored: bool,
    /// Seed of the inputs; a fresh one each run
    #[arg(long)]
    seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    step: model::StepArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum LimitsArg {
    /// What the adapter grants, as in training: subgroups, large bindings
    Adapter,
    /// What WebGPU guarantees everywhere: its default limits, and no subgroups
    Default,
}

/// Which launches of a case are run: the word after `--variants`, in lower case.
struct Variants(String);

impl Variants {
    /// Whether a launch may be run that is not its case's first.
    fn names(&self, shader: &str, variant: &str) -> bool {
        self.0 == "all" || variant.to_lowercase().contains(&self.0) || shader.contains(&self.0)
    }

    fn of(&self, mut launches: Vec<Launch>) -> Vec<Launch> {
        match self.0.as_str() {
            "default" => launches.truncate(1),
            _ => launches.retain(|l| self.names(l.shader.name, &l.variant)),
        }
        launches
    }
}

/// The cases of the operations that `--op` names. Errors: there are none.
fn selected(seed: u64, op: Option<&str>) -> Result<Vec<(&'static str, Case)>> {
    let names = |(room, case): &(&'static str, Case)| {
        let shaders = pipelines([case]).into_iter().map(|launch| launch.shader.name);
        [*room, case.op.name()].into_iter().chain(shaders).collect()
    };
    select(seqloom::ops::cases(seed), op, names)
}

/// Errors: `--variants` names none that these cases have on any adapter.
fn check_variants(cases: &[(&str, Case)], variants: &Variants) -> Result<()> {
    let all = pipelines(cases.iter().map(|c| &c.1));
    if variants.0 == "default" || all.iter().any(|l| variants.names(l.shader.name, &l.variant)) {
        return Ok(());
    }
    let mut names: Vec<&str> = all.iter().map(|l| l.variant.as_str()).filter(|v| !v.is_empty()).collect();
    names.sort();
    names.dedup();
    let word = &variants.0;
    Err(Error::Input(match names.is_empty() {
        true => format!("--variants: no launch is called {word}; these operations have one each, without a name"),
        false => format!("--variants: no launch is called {word}; there are all, default, {}", names.join(", ")),
    }))
}

/// Runs the cases; exit code 1 when one fails.
pub fn run(args: &Verify) -> Result<ExitCode> {
    if args.device.device == "cpu" {
        return Err(Error::Input("verify compares a GPU with the CPU; leave --device cpu out, or name a GPU".into()));
    }
    if let Some(dir) = &args.step.model {
        return model::run(dir, &args.step, &args.device, args.json);
    }
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_millis());
    let seed = args.seed.unwrap_or_else(|| (clock() % 1_000_000) as u64);
    let cases = selected(seed, args.op.as_deref())?;
    let variants = Variants(args.variants.to_lowercase());
    check_variants(&cases, &variants)?;
    let portable = matches!(args.limits, LimitsArg::Default);
    let options = Options { portable, mirrored: args.mirrored, ..options(&args.device)? };
    let adapters = match args.all_devices {
        true => block_on(enumerate()),
        false => choose(&args.device.device)?.into_iter().collect(),
    };
    if adapters.is_empty() {
        return Err(Error::Device(format!("verify needs a GPU, and there is none: {INSTALL}")));
    }
    let open = |found| Device::open(found, &options, &cases, &variants);
    let mut devices: Vec<Device> = adapters.into_iter().map(open).collect();
    check_fit(&devices, &cases, &variants)?;
    let (json, table) = (args.json, args.all_devices);
    let report = Report { json, table, portable, seed, cases: cases.len() };
    report.start(&devices)?;
    for cases in cases.chunk_by(|a, b| a.0 == b.0) {
        for (room, case) in cases {
            let want = case.definition();
            let gradient = (!case.wrt.is_empty()).then(|| gradient_error(case, seed));
            for device in &mut devices {
                let first = device.lines.len();
                device.check(room, case, &want, gradient.as_ref(), &variants);
                report.lines(&device.lines[first..])?;
            }
        }
        report.room(cases[0].0, &devices)?;
        // What stops the only device stops the command, with the exit code that it has.
        if !args.all_devices
            && let Some(e) = devices[0].failure.take()
        {
            return Err(e);
        }
    }
    report.end(&devices)?;
    let passed = devices.iter().all(|d| d.failure.is_none() && d.failed() == 0);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Errors: no device can run what `--variants` names.
fn check_fit(devices: &[Device], cases: &[(&str, Case)], variants: &Variants) -> Result<()> {
    let fits = |gpu: &Gpu| cases.iter().any(|(_, case)| !variants.of(launches(case, gpu.limits())).is_empty());
    let absent = devices.iter().flat_map(|d| &d.absent).next();
    match absent {
        Some(a) if !devices.iter().filter_map(|d| d.gpu.as_ref()).any(fits) => {
            let word = &variants.0;
            Err(Error::Input(format!("--variants {word}: nothing of it runs here; {} {}", a.shader, a.why)))
        }
        _ => Ok(()),
    }
}

/// An adapter and how its launches went.
struct Device {
    found: Found,
    gpu: Option<Gpu>,
    lines: Vec<Line>,
    /// What it cannot run of what was asked for.
    absent: Vec<Absent>,
    /// Why it could not go on.
    failure: Option<Error>,
}

impl Device {
    fn open(found: Found, options: &Options, cases: &[(&'static str, Case)], variants: &Variants) -> Device {
        let (gpu, failure) = match block_on(Gpu::open(&found, options.clone())) {
            Ok(gpu) => (Some(gpu), None),
            Err(e) => (None, Some(e)),
        };
        let mut absent = match &gpu {
            Some(gpu) if variants.0 != "default" => absent(cases.iter().map(|c| &c.1), &gpu.limits().adapter),
            _ => vec![],
        };
        absent.retain(|a| variants.names(a.shader, &a.variant));
        Device { found, gpu, lines: vec![], absent, failure }
    }

    /// Runs the launches of a case, as long as nothing has gone wrong with the device itself.
    fn check(
        &mut self,
        room: &'static str,
        case: &Case,
        want: &[Tensor],
        gradient: Option<&Slope>,
        variants: &Variants,
    ) {
        let (Some(gpu), None) = (&mut self.gpu, &self.failure) else { return };
        for launch in variants.of(launches(case, gpu.limits())) {
            match block_on(verify(gpu, case, &launch, want)) {
                Ok(outcome) => self.lines.push(Line::new(room, case, launch, outcome, gradient.cloned())),
                Err(e) => {
                    self.failure = Some(e);
                    return;
                }
            }
        }
    }

    fn failed(&self) -> usize {
        self.lines.iter().filter(|l| !l.passed()).count()
    }
}
