//! `seqloom bench`: how fast, and how far from what the adapter can do at most.

mod limits;
mod measure;
mod recipe;
mod steps;

use super::DeviceArgs;
use clap::Args;
use seqloom::error::{Error, Result};
use std::process::ExitCode;

/// Arguments of `bench`.
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    step: recipe::StepArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Times what the arguments ask for.
pub fn run(args: &Bench) -> Result<ExitCode> {
    match &args.step.recipe {
        Some(name) => recipe::run(name, &args.step, &args.device, args.json),
        None => Err(Error::Input("bench needs --recipe NAME or --recipe FILE".into())),
    }
}
