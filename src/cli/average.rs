//! `seqloom average`: one model from the last checkpoints of a run (Vaswani et al. 2017, section 6.1: the last 5).

use super::run_dir::RunDir;
use super::{data, files};
use clap::Args;
use seqloom::checkpoint::Mean;
use seqloom::error::{Error, Result};
use seqloom::models::Architecture;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `average`.
#[derive(Args)]
pub struct Average {
    /// The run directory
    run: PathBuf,
    /// How many checkpoints, counted from the newest back; train.keep says how many a run keeps besides the best
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    last: usize,
    /// Where the model goes: a new directory for `translate` and `evaluate` [default: RUN-average]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Averages; the directory appears whole or not at all.
pub fn run(args: &Average) -> Result<ExitCode> {
    let run = RunDir::new(&args.run);
    let recipe = run.recipe()?;
    let tokenizers = run.tokenizers(&recipe)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => beside(&args.run)?,
    };
    files::check_out(&out)?;
    if out.exists() {
        return Err(Error::Input(format!("{} exists; choose another --out, or remove it", out.display())));
    }
    let steps = run.steps()?;
    let Some(first) = steps.len().checked_sub(args.last) else {
        return Err(Error::Input(format!(
            "{} holds {} of the {} checkpoints that --last asks for; ask for at most {1}, or train with a larger \
             train.keep than {}",
            args.run.display(),
            steps.len(),
            args.last,
            recipe.train.keep
        )));
    };
    let last = &steps[first..];
    let model = Architecture::new(&recipe.model, tokenizers.vocabulary());
    let mut mean = Mean::new();
    for &step in last {
        let (file, parameters) = run.model_after(step, &recipe, &model)?;
        mean.add(&file, &parameters)?;
    }
    if let Some(above) = out.parent() {
        files::make_dir(above)?;
    }
    let start = data::start(&recipe, &tokenizers)?;
    RunDir::new(&out).adopt(&recipe, &tokenizers, &model, &mean.finish(), start)?;
    let list: Vec<String> = last.iter().map(u64::to_string).collect();
    eprintln!("{}: the mean of the models after steps {}", out.display(), list.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// RUN-average, whether or not a slash ends RUN.
fn beside(run: &Path) -> Result<PathBuf> {
    let Some(name) = run.file_name() else {
        return Err(Error::Input(format!("{} has no name to put -average behind; set --out", run.display())));
    };
    let mut name = name.to_os_string();
    name.push("-average");
    Ok(run.with_file_name(name))
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number from 1 up".into())
}
