//! `inspect --isa`: what the driver's compiler made of each kernel.

use super::kernels::{FLOPS_PER_BYTE, Use, distinct, settings, uses, weight};
use super::subject::{Subject, limits, portable};
use super::{Inspect, choose};
use crate::cli::select::select;
use crate::cli::{device, files};
use clap::Args;
use seqloom::error::{Error, Result};
use seqloom::isa::{CLASSES, Compiler, Executable, Mix, Radv, innermost};
use seqloom::op::Cost;
use seqloom::ops::cases;
use seqloom::plan::Limits;
use seqloom::shader::Kernel;
use seqloom::verify::launches;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

/// Whether to ask the driver, and which.
#[derive(Args)]
pub struct IsaArgs {
    /// Ask the Vulkan driver what its compiler makes of each kernel of the recipe or the model, or of all: registers,
    /// spills, instructions
    #[arg(long)]
    isa: bool,
    /// With --isa: only the operations whose room, name or shader has this in its name
    #[arg(long, value_name = "NAME", requires = "isa")]
    op: Option<String>,
    /// With --isa: have Mesa's RADV compile for this AMD GPU, which need not be there: GFX1100 (RDNA 3), NAVI21 (RDNA 2),
    /// RENOIR (GCN 5) …
    #[arg(long, requires = "isa", value_parser = family)]
    family: Option<String>,
}

impl IsaArgs {
    /// Whether this is what was asked for.
    pub fn asked(&self) -> bool {
        self.isa
    }
}

fn family(word: &str) -> std::result::Result<String, String> {
    match !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(word.to_uppercase()),
        false => Err("expected the name of a GPU, such as GFX1100".into()),
    }
}

/// Where the Vulkan loader looks for drivers on Linux.
const DRIVERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];

/// Names of GPUs before Mesa 23.1 and since.
const RENAMED: [(&str, &str); 3] = [("GFX1100", "NAVI31"), ("GFX1101", "NAVI32"), ("GFX1102", "NAVI33")];

/// Has the loader open RADV, and nothing else, as if there were this GPU.
fn force(family: &str) -> Result<()> {
    let radv = |name: &String| name.starts_with("radeon_icd") && name.ends_with(".json");
    let mut found = None;
    for dir in DRIVERS {
        let names = files::list(Path::new(dir))?;
        found = found.or(names.into_iter().find(radv).map(|name| Path::new(dir).join(name)));
    }
    let icd = found.ok_or_else(|| {
        Error::Device(format!(
            "--family needs Mesa's RADV, and there is no radeon_icd*.json in {}; install mesa-vulkan-drivers (Debian, \
             Ubuntu)",
            DRIVERS.join(", ")
        ))
    })?;
    // RADV ends the process when it does not know a name, so it is looked for in its library.
    let description: Value = serde_json::from_str(&files::read_text(&icd, files::SETTINGS)?).unwrap_or_default();
    let library = description["ICD"]["library_path"].as_str().map(Path::new);
    let library = library.filter(|l| l.is_absolute()).map(files::read).transpose()?;
    let known = |name: &str| {
        let name = format!("\0{name}\0");
        library.as_ref().is_none_or(|bytes| bytes.windows(name.len()).any(|w| w == name.as_bytes()))
    };
    let renamed = RENAMED.iter().find(|names| names.0 == family).map(|names| names.1);
    let name = [Some(family), renamed].into_iter().flatten().find(|name| known(name));
    let name = name.ok_or_else(|| {
        Error::Input(format!(
            "--family {family}: the RADV of {} knows no such GPU; try NAVI21 or RENOIR",
            icd.display()
        ))
    })?;
    // Safety: no other thread exists yet.
    unsafe {
        std::env::set_var("RADV_FORCE_FAMILY", name);
        std::env::set_var("VK_DRIVER_FILES", &icd);
        std::env::set_var("VK_ICD_FILENAMES", &icd);
    }
    Ok(())
}

/// A kernel and what became of it.
struct Line {
    used: Use,
    executable: Executable,
    radv: Option<Radv>,
    mix: Option<Mix>,
}

/// Compiles and prints on standard output.
pub fn run(args: &Inspect) -> Result<ExitCode> {
    if let Some(out) = &args.out {
        files::check_out(out)?;
        if !files::list(out)?.is_empty() {
            return Err(Error::Input(format!("{} is not empty; choose another --out", out.display())));
        }
    }
    let IsaArgs { op, family, .. } = &args.isa;
    // The CPU has no driver to ask; a family stands for hardware.
    let (device, limits, name) = match family {
        Some(family) => {
            force(family)?;
            (portable(), Limits::default(), None)
        }
        None => {
            let found = device::choose(&args.device.device)?;
            let (device, limits) = limits(found.as_ref(), &args.device.device);
            (device, limits, found.map(|f| f.name().to_string()))
        }
    };
    let compiler = Compiler::open(name.as_deref())?;
    let named = args.recipe.is_some() || args.model.is_some();
    let used = match named {
        true => {
            let subject = Subject::new(args, Some((device, limits)))?;
            uses(choose(&subject, &args.program).iter().map(|c| c.plan))
        }
        false => of_cases(&limits),
    };
    let total = used.iter().map(|u| weight(u.cost)).sum::<u64>();
    let all = if op.is_some() { cases(1) } else { vec![] };
    let rooms: BTreeSet<(&str, &str)> = all.iter().map(|(room, case)| (case.op.name(), *room)).collect();
    let names = |u: &Use| {
        let rooms = rooms.iter().filter(|(op, _)| u.ops.contains(op)).map(|(_, room)| *room);
        [u.launch.shader.name].into_iter().chain(u.ops.iter().copied()).chain(rooms).collect()
    };
    let used = select(used, op.as_deref(), names)?;
    let options = device::options(&args.device)?;
    let mut lines = vec![];
    for used in used {
        let kernel = Kernel::new(&options.shaders, &used.launch)?;
        let executable = compiler.compile(&kernel, options.checked)?;
        let (radv, mix) = (executable.radv(), executable.assembly.as_deref().and_then(innermost));
        lines.push(Line { used, executable, radv, mix });
    }
    if let Some(out) = &args.out {
        write(out, &lines)?;
    }
    if args.json {
        let kernels: Vec<Value> = lines.iter().map(Line::json).collect();
        out!("{}", json!({ "device": compiler.name(), "driver": compiler.driver(), "kernels": kernels }));
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("device: {} ({})", compiler.name(), compiler.driver());
    match lines.iter().all(|l| l.radv.is_some()) {
        true => print(&lines, named.then_some(total)),
        false => print_generic(&lines),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The machine code of each kernel in a file of its own.
fn write(out: &Path, lines: &[Line]) -> Result<()> {
    let texts = lines.iter().filter_map(|l| Some((format!("{}.asm", l.used.file), l.executable.assembly.as_ref()?)));
    let texts: Vec<(String, &String)> = texts.collect();
    if texts.is_empty() {
        return Err(Error::Device("the driver gives no machine code; leave --out away".into()));
    }
    let texts: Vec<(&str, &[u8])> = texts.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
    files::write_dir(out, &texts)
}

/// Every launch of every case.
fn of_cases(limits: &Limits) -> Vec<Use> {
    let all = cases(1).into_iter().flat_map(|(_, case)| {
        let name = case.op.name();
        launches(&case, limits).into_iter().map(move |launch| (name, launch, Cost::default()))
    });
    distinct(all)
}

impl Line {
    fn json(&self) -> Value {
        let u = &self.used;
        let statistics: serde_json::Map<String, Value> =
            self.executable.statistics.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut object = json!({ "kernel": u.launch.shader.name, "variant": u.launch.variant,
            "constants": settings(&u.launch), "ops": u.ops, "passes": u.passes, "flops": u.cost.flops,
            "bytes": u.cost.bytes, "statistics": statistics });
        if let Some(r) = &self.radv {
            object["registers"] = json!({ "vgprs": r.vgprs, "sgprs": r.sgprs, "spills": r.spills,
                "scratch": r.scratch, "lds": r.lds, "waves": r.waves, "code": r.code,
                "instructions": r.instructions });
        }
        if let Some(mix) = &self.mix {
            let counts = CLASSES.iter().map(|class| (class.to_string(), json!(mix.count(class))));
            object["loop"] = Value::Object(counts.collect());
        }
        object
    }

    /// What the loop consists of, most first.
    fn mix(&self) -> String {
        let Some(mix) = &self.mix else { return String::new() };
        let mut counts: Vec<(usize, &str)> = CLASSES.iter().map(|class| (mix.count(class), *class)).collect();
        counts.retain(|c| c.0 > 0 && c.1 != "fma");
        counts.sort_by_key(|c| std::cmp::Reverse(c.0));
        let others: Vec<String> = counts.iter().map(|(n, class)| format!("{n} {class}")).collect();
        format!(
            "{:3} of {:3} fma ({:2.0} %), {}",
            mix.count("fma"),
            mix.total(),
            100.0 * mix.share("fma"),
            others.join(", ")
        )
    }

    /// On which side of the roofline's ridge its passes are.
    fn bound(&self) -> String {
        let Cost { flops, bytes } = self.used.cost;
        let side = if flops < bytes * FLOPS_PER_BYTE { "bytes" } else { "FLOPs" };
        format!("{side}, {:.1}/B", flops as f64 / bytes.max(1) as f64)
    }
}

/// A line for each kernel, the costliest first where there are costs, `total` of them.
fn print(lines: &[Line], total: Option<u64>) -> Result<()> {
    let widest = lines.iter().map(|l| l.used.file.len()).max().unwrap_or(0).max(6);
    let variant = lines.iter().map(|l| l.used.launch.variant.len()).max().unwrap_or(0).max(7);
    let costs =
        if total.is_some() { format!(" {:>6} {:>6} {:16}", "passes", "share", "bound by") } else { String::new() };
    out!(
        "{:widest$}  {:variant$}{costs}  VGPR SGPR spill scratch    LDS waves   code instr  loop that holds most FMAs",
        "kernel",
        "variant"
    );
    for l in lines {
        let r = l.radv.as_ref().expect("every line has them");
        let costs = match total {
            Some(total) => {
                let share = 100.0 * weight(l.used.cost) as f64 / total.max(1) as f64;
                format!(" {:6} {share:4.1} % {:16}", l.used.passes, l.bound())
            }
            None => String::new(),
        };
        out!(
            "{:widest$}  {:variant$}{costs}  {:4} {:4} {:5} {:7} {:6} {:5} {:6} {:5}  {}",
            l.used.file,
            l.used.launch.variant,
            r.vgprs,
            r.sgprs,
            r.spills,
            r.scratch,
            r.lds,
            r.waves,
            r.code,
            r.instructions,
            l.mix()
        );
    }
    let bad = lines.iter().filter(|l| l.radv.as_ref().is_some_and(|r| r.spills + r.scratch > 0)).count();
    out!(
        "\n{} kernels, {bad} with spills or scratch. LDS, code and scratch in bytes; waves fit on a SIMD.",
        lines.len()
    );
    if total.is_some() {
        out!(
            "Share and bound as on a GPU that does {FLOPS_PER_BYTE} FLOPs while it moves a byte: the larger of both, summed \
             over passes."
        );
    }
    Ok(())
}

/// Whatever a driver tells, under its own names.
fn print_generic(lines: &[Line]) -> Result<()> {
    for l in lines {
        let variant = &l.used.launch.variant;
        out!("{}{}", l.used.file, if variant.is_empty() { String::new() } else { format!(" [{variant}]") });
        let widest = l.executable.statistics.iter().map(|s| s.0.chars().count()).max().unwrap_or(0);
        for (name, value) in &l.executable.statistics {
            out!("  {name:widest$}  {value}");
        }
    }
    Ok(())
}
