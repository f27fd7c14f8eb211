//! `seqloom bench`: the large cases of every operation, timed, against what the adapter can do at most; or a recipe's steps.

mod baseline;
mod limits;
mod measure;
mod recipe;
mod roofline;
mod row;
mod steps;

use super::device::{INSTALL, choose, options};
use super::{DeviceArgs, files, select};
use baseline::{Baseline, Comparison, Key};
use clap::Args;
use limits::Roofline;
use measure::{times, wrong};
use pollster::block_on;
use row::{Candidate, Row, Widths};
use seqloom::case::Draw;
use seqloom::error::{Error, Result, shorten};
use seqloom::gpu::Gpu;
use seqloom::large::Large;
use seqloom::op::{Adapter, Launch};
use seqloom::tensor::Type;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

/// Arguments of `bench`.
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    device: DeviceArgs,
    /// Only the operations whose room, name or shader has this in its name
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// Only the cases with this in their name
    #[arg(long)]
    shape: Option<String>,
    /// Time every candidate launch, not only the default; with a word, those with it in their name
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    variants: Option<String>,
    /// Seconds for each kernel; at most ten runs are timed, at least three
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    seconds: f64,
    /// One case of each operation, and a tenth of the time
    #[arg(long)]
    quick: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Compare with what an earlier --json printed; exit code 1 when something became slower
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// How many times slower than the baseline is too slow
    #[arg(long, default_value_t = 1.25, requires = "baseline", value_parser = threshold)]
    threshold: f64,
    /// Draw the roofline
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    step: recipe::StepArgs,
}

/// No kernel is timed more often.
const MOST: usize = 10;

fn seconds(word: &str) -> std::result::Result<f64, String> {
    let number = word.parse::<f64>().ok().filter(|s| (0.0..=600.0).contains(s));
    number.ok_or_else(|| "a number of seconds from 0 to 600".into())
}

fn threshold(word: &str) -> std::result::Result<f64, String> {
    let number = word.parse::<f64>().ok().filter(|t| t.is_finite() && *t > 0.0);
    number.ok_or_else(|| "a ratio, such as 1.25".into())
}

impl Bench {
    fn budget(&self) -> f64 {
        if self.quick { self.seconds / 10.0 } else { self.seconds }
    }

    fn has_shape(&self, case: &str) -> bool {
        self.shape.as_ref().is_none_or(|word| case.contains(word.as_str()))
    }

    fn has_variant(&self, variant: &str, default: bool) -> bool {
        self.variants.as_ref().map_or(default, |word| variant.contains(word.as_str()))
    }
}

/// Times the cases; exit code 1 when a kernel computes nothing or no numbers, or is slower than the baseline allows.
pub fn run(args: &Bench) -> Result<ExitCode> {
    if let Some(name) = &args.step.recipe {
        return recipe::run(name, &args.step, &args.device, args.json);
    }
    if args.device.device == "cpu" {
        return Err(Error::Input("bench times a GPU's kernels; leave --device cpu out, or name a GPU".into()));
    }
    let baseline = args.baseline.as_deref().map(Baseline::read).transpose()?;
    args.svg.as_deref().map(files::check_writable).transpose()?;
    let found = choose(&args.device.device)?;
    let found = found.ok_or_else(|| Error::Device(format!("bench needs a GPU, and there is none: {INSTALL}")))?;
    let options = options(&args.device)?;
    let mut gpu = block_on(Gpu::open(&found, options.clone()))?;
    let device = format!("{} ({})", found.name(), found.driver());
    eprintln!("device: {device}");
    let mut bare = limits::bare(&found, &options)?;
    if let Some(baseline) = baseline.as_ref().filter(|b| b.device != device) {
        eprintln!("warning: the baseline was taken on {}", shorten(&baseline.device, 100));
    }
    let candidates = candidates(args, &gpu.limits().adapter)?;
    let widths = Widths::of(&candidates);
    let limits =
        |gpu: &mut Gpu| if args.quick { limits::measure_for(gpu, args.budget()) } else { limits::measure(gpu) };
    let roofline = limits(bare.as_mut().unwrap_or(&mut gpu))?;
    if !args.json {
        out!(
            "limits: {:.1} GFLOP/s of multiply-adds, {:.2} GB/s copied (read + written), a dispatch {:.1} us, a submission \
             {:.1} us\n",
            roofline.flops / 1e9,
            roofline.bytes / 1e9,
            roofline.dispatch * 1e6,
            roofline.submission * 1e6
        );
        out!("{}", widths.head());
    }
    let mut rows = vec![];
    for candidate in candidates {
        let row = time(&mut gpu, candidate, args.budget())?;
        if !args.json {
            out!("{}", widths.line(&row, &roofline));
        }
        rows.push(row);
    }
    if !args.quick {
        drift(&roofline, &limits(bare.as_mut().unwrap_or(&mut gpu))?);
    }
    let wrong = rows.iter().filter(|r| r.times.is_err()).count();
    let comparison = baseline.map(|b| compare(args, &b, &rows, &gpu.limits().adapter));
    if args.json {
        let cases: Vec<_> = rows.iter().map(|r| r.json(&roofline)).collect();
        let against = comparison.as_ref().map(|c| c.json(args.threshold));
        let object = json!({ "device": device, "limits": roofline.json(), "wrong": wrong, "cases": cases,
            "baseline": against });
        out!("{object}");
    } else {
        summary(&rows, &roofline)?;
        if let Some(comparison) = &comparison {
            report(comparison, &rows, &widths, args.threshold)?;
        }
    }
    if let Some(path) = &args.svg {
        files::write(path, roofline::picture(&device, &rows, &roofline).as_bytes())?;
    }
    let failed = wrong > 0 || comparison.is_some_and(|c| c.failed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A large case, and how it may be launched.
struct Launched {
    room: &'static str,
    large: Rc<Large>,
    launches: Vec<Launch>,
}

impl Launched {
    fn all(adapter: &Adapter) -> Vec<Launched> {
        let of = |(room, large): (&'static str, Large)| {
            let x: Vec<&Type> = large.inputs.iter().map(|i| &i.ty).collect();
            let launches = large.op.launches(&x, &large.outputs().iter().collect::<Vec<_>>(), adapter);
            Launched { room, large: Rc::new(large), launches }
        };
        seqloom::ops::large().into_iter().map(of).collect()
    }

    /// What `--op` may call it.
    fn names(&self) -> Vec<&'static str> {
        let shaders = self.launches.iter().map(|launch| launch.shader.name);
        [self.room, self.large.op.name()].into_iter().chain(shaders).collect()
    }

    fn candidates(self) -> impl Iterator<Item = Candidate> {
        let Launched { room, large, launches } = self;
        let candidate = move |(i, launch)| Candidate { room, large: large.clone(), launch, default: i == 0 };
        launches.into_iter().enumerate().map(candidate)
    }
}

/// The kernels that the arguments ask for. Errors: there are none, and what there is.
fn candidates(args: &Bench, adapter: &Adapter) -> Result<Vec<Candidate>> {
    let nothing = |what: &str, word: &Option<String>, mut there: Vec<&str>| {
        there.retain(|name| !name.is_empty());
        there.sort();
        there.dedup();
        let word = word.as_deref().unwrap_or_default();
        Error::Input(format!("no {what} has {word} in its name; there are {}", there.join(", ")))
    };
    let mut all = select::select(Launched::all(adapter), args.op.as_deref(), Launched::names)?;
    if !all.iter().any(|l| args.has_shape(&l.large.name)) {
        return Err(nothing("case", &args.shape, all.iter().map(|l| l.large.name.as_str()).collect()));
    }
    all.retain(|l| args.has_shape(&l.large.name));
    if args.quick {
        let mut seen = std::collections::HashSet::new();
        all.retain(|l| seen.insert(l.large.op.name()));
    }
    // The rooms are in order; within a room an operation's cases stand together.
    all.sort_by_key(|l| (l.room, l.large.op.name()));
    let mut candidates: Vec<Candidate> = all.into_iter().flat_map(Launched::candidates).collect();
    let wanted = |c: &Candidate| args.has_variant(&c.launch.variant, c.default);
    if !candidates.iter().any(wanted) {
        let names = candidates.iter().map(|c| c.launch.variant.as_str()).collect();
        return Err(nothing("variant", &args.variants, names));
    }
    candidates.retain(wanted);
    Ok(candidates)
}

fn time(gpu: &mut Gpu, candidate: Candidate, seconds: f64) -> Result<Row> {
    let large = &candidate.large;
    let inputs = large.draw(&mut Draw::new(1));
    let kernel = block_on(gpu.kernel(&*large.op, &inputs, &large.outputs(), &candidate.launch))?;
    drop(inputs);
    let taken = times(gpu, &kernel, seconds, MOST)?;
    let wrong = wrong(&block_on(gpu.outputs(&kernel))?);
    Ok(Row { cost: large.cost(), times: wrong.map_or(Ok(taken), Err), candidate })
}

/// Says so when the adapter could do more or less at the end than at the start: then shares mean little.
fn drift(before: &Roofline, after: &Roofline) {
    let far = |a: f64, b: f64| (a / b).max(b / a) > 1.15;
    if far(before.flops, after.flops) || far(before.bytes, after.bytes) {
        eprintln!(
            "warning: at the end the limits were {:.1} GFLOP/s and {:.2} GB/s: something else works on this device, and the \
             shares are not to be trusted",
            after.flops / 1e9,
            after.bytes / 1e9
        );
    }
}

/// What the columns mean, and which clock was read.
fn summary(rows: &[Row], roofline: &Roofline) -> Result<()> {
    let stamped = rows.iter().filter_map(|r| r.times.as_ref().ok()).all(|t| t.stamped);
    let clock = if stamped { "timestamps" } else { "the wall clock, submission and wait included" };
    out!("\nmedians by {clock}; spread: half the distance between the quartiles");
    out!("share of: the time that the limit that binds would leave, over the time taken");
    if rows.iter().filter_map(|r| r.figures(roofline)).any(|f| f.cached) {
        out!("*: less than 64 MiB are read and written, which may stay in a cache");
    }
    Ok(())
}

fn compare(args: &Bench, baseline: &Baseline, rows: &[Row], adapter: &Adapter) -> Comparison {
    let owned = |key: [&str; 3]| -> Key { key.map(String::from) };
    let seconds = |r: &Row| r.times.as_ref().ok().map(|t| t.median());
    let now: Vec<(Key, Option<f64>)> = rows.iter().map(|r| (owned(r.candidate.key()), seconds(r))).collect();
    let all = Launched::all(adapter);
    let has_op = |kernel: &str, case: &str| {
        let Some(word) = &args.op else { return true };
        let of = all.iter().filter(|l| l.launches.iter().any(|launch| launch.shader.name == kernel));
        let (same, others): (Vec<&Launched>, Vec<&Launched>) = of.partition(|l| l.large.name == case);
        // A case that is no more was one of an operation that has other cases with this kernel.
        let of = if same.is_empty() { others } else { same };
        select::named(word, &[kernel]) || of.iter().any(|l| select::named(word, &l.names()))
    };
    // --quick leaves cases out that nobody asked to leave out.
    baseline.compare(&now, args.threshold, |[kernel, case, variant], default| {
        !args.quick && has_op(kernel, case) && args.has_shape(case) && args.has_variant(variant, default)
    })
}

fn report(comparison: &Comparison, rows: &[Row], widths: &Widths, threshold: f64) -> Result<()> {
    // In the words of the table, where it is in the table.
    let words = |key: &'_ Key| -> Key {
        let row = rows.iter().find(|row| row.candidate.key() == key.each_ref().map(String::as_str));
        row.map_or_else(|| key.clone(), |row| row.candidate.words().map(String::from))
    };
    let listed = |key: &Key| words(key).into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ");
    out!("\nagainst the baseline: ms then, ms now, ratio");
    for r in &comparison.ratios {
        let verdict = if r.slower { "SLOWER" } else { "" };
        out!("{}", widths.ratio(words(&r.key).each_ref().map(String::as_str), [r.then, r.now], verdict));
    }
    for key in &comparison.new {
        out!("the baseline has no time of {}", listed(key));
    }
    for key in &comparison.gone {
        out!("only the baseline has {}", listed(key));
    }
    let slower = comparison.ratios.iter().filter(|r| r.slower).count();
    if comparison.ratios.is_empty() {
        out!("nothing could be compared: the baseline has none of these cases");
        return Ok(());
    }
    out!("{slower} of {} are more than {threshold} times slower than the baseline", comparison.ratios.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Launched;
    use std::collections::BTreeSet;

    /// A baseline finds a kernel by its key: operations that share a shader name their cases differently.
    #[test]
    fn no_two_kernels_have_one_key() {
        for adapter in seqloom::verify::adapters() {
            let mut seen = BTreeSet::new();
            for candidate in Launched::all(&adapter).into_iter().flat_map(Launched::candidates) {
                let key = candidate.key().map(String::from);
                assert!(seen.insert(key.clone()), "{key:?} on {adapter:?}");
            }
        }
    }
}
