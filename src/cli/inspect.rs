//! `seqloom inspect`: what a recipe or a model becomes before anything runs.

mod dot;
#[cfg(feature = "isa")]
mod isa;
mod kernels;
mod page;
mod subject;
mod summary;

use super::{DeviceArgs, files};
use clap::{Args, ValueEnum};
use kernels::{Use, files_of, listing, uses};
use seqloom::error::{Error, Result};
use seqloom::plan::Plan;
use seqloom::shader::Shaders;
use seqloom::train::Program;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use subject::Subject;

/// Arguments of `inspect`.
#[derive(Args)]
pub struct Inspect {
    /// A built-in recipe's name or a TOML file
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "model")]
    recipe: Option<String>,
    /// Set a key of the recipe, such as model.d_model=512
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "recipe")]
    set: Vec<String>,
    /// The run directory of a model
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Write it all to a new directory: index.html to look at, a .dot and a .plan.txt of each program, every kernel as
    /// WGSL, SPIR-V, MSL and HLSL; with --isa the machine code
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Which programs to look into, those of the largest batch
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["train", "update"])]
    program: Vec<Which>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[cfg(feature = "isa")]
    #[command(flatten)]
    isa: isa::IsaArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A program of a training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Forward and backward pass
    Train,
    /// The loss of a batch of the validation set
    Evaluate,
    /// The parameters' change
    Update,
}

impl Which {
    fn is(self, program: Program) -> bool {
        match self {
            Which::Train => matches!(program, Program::Train(_)),
            Which::Evaluate => matches!(program, Program::Evaluate(_)),
            Which::Update => program == Program::Update,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Which::Train => "train",
            Which::Evaluate => "evaluate",
            Which::Update => "update",
        }
    }
}

/// A program that is looked into.
struct Chosen<'a> {
    which: Which,
    program: Program,
    plan: &'a Plan,
}

impl Chosen<'_> {
    /// The shape of its batch, for people; "" where it has none.
    fn batch(&self) -> String {
        match self.program {
            Program::Train(b) | Program::Evaluate(b) if b.source_length == 0 => {
                format!("{} × {}", b.rows, b.target_length)
            }
            Program::Train(b) | Program::Evaluate(b) => {
                format!("{} × ({} + {})", b.rows, b.source_length, b.target_length)
            }
            Program::Update => String::new(),
        }
    }
}

/// Prints on standard output, and writes what --out asks for.
pub fn run(args: &Inspect) -> Result<ExitCode> {
    #[cfg(feature = "isa")]
    if args.isa.asked() {
        return isa::run(args);
    }
    if let Some(out) = &args.out {
        check_out(out)?;
    }
    let subject = Subject::new(args, None)?;
    let chosen = choose(&subject, &args.program);
    let uses = uses(chosen.iter().map(|c| c.plan));
    if let Some(out) = &args.out {
        let options = super::device::options(&args.device)?;
        write(out, &subject, &chosen, &uses, &options.shaders, options.checked)?;
    }
    match args.json {
        true => out!("{}", summary::json(&subject, &chosen)),
        false => summary::print(&subject, &chosen, &uses, args.out.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The programs that were asked for, each of its largest batch, in the order in which a step runs them.
fn choose<'a>(subject: &'a Subject, wanted: &[Which]) -> Vec<Chosen<'a>> {
    let of = |which: Which| {
        let all = subject.planned.programs().filter(|(program, _)| which.is(*program));
        all.map(|(program, plan)| Chosen { which, program, plan }).max_by_key(|c| c.plan.cost().flops)
    };
    [Which::Train, Which::Evaluate, Which::Update].into_iter().filter(|w| wanted.contains(w)).filter_map(of).collect()
}

const PAGE: &str = "index.html";
const KERNELS: &str = "kernels";
/// Written last into a directory of ours: nobody else's has it.
const MARK: &str = ".seqloom-inspect";

/// Refuses what is there already, but for what an earlier inspection wrote.
fn check_out(out: &Path) -> Result<()> {
    files::check_out(out)?;
    let names = files::list(out)?;
    let ours = |name: &String| {
        let program = |suffix: &str| name.strip_suffix(suffix).is_some_and(|p| Which::from_str(p, false).is_ok());
        name == MARK || name == PAGE || name == KERNELS || program(".dot") || program(".plan.txt")
    };
    match names.is_empty() || (names.iter().any(|n| n == MARK) && names.iter().all(ours)) {
        true => Ok(()),
        false => Err(Error::Input(format!("{} is not empty; choose another --out", out.display()))),
    }
}

fn write(
    out: &Path,
    subject: &Subject,
    chosen: &[Chosen],
    uses: &[Use],
    shaders: &Shaders,
    checked: bool,
) -> Result<()> {
    let memory = &subject.planned.network().memory;
    let mut all: Vec<(String, Vec<u8>)> = vec![(PAGE.into(), page::page(subject, chosen, uses).into_bytes())];
    for c in chosen {
        let name = c.which.name();
        all.push((format!("{name}.dot"), dot::graph(c.plan, memory).into_bytes()));
        all.push((format!("{name}.plan.txt"), c.plan.to_string().into_bytes()));
    }
    all.push((format!("{KERNELS}/list.txt"), listing(uses).into_bytes()));
    for u in uses {
        let files = files_of(u, shaders, checked)?;
        all.extend(files.into_iter().map(|(name, bytes)| (format!("{KERNELS}/{name}"), bytes)));
    }
    all.push((MARK.into(), b"an earlier inspection may be replaced by the next\n".into()));
    let all: Vec<(&str, &[u8])> = all.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    // Ours to replace: it was looked at before.
    if !files::list(out)?.is_empty() {
        files::discard(out)?;
    }
    if let Some(parent) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
        files::make_dir(parent)?;
    }
    files::write_dir(out, &all)
}
