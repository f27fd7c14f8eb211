//! The command line: files, the terminal, the clock. Everything else is in the library.

/// A line on standard output, or the error of the function around it: whoever reads may have gone.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::files::print(format_args!($($text)*))? };
}

mod attention;
mod average;
mod bench;
mod compare;
mod converse;
mod correct;
mod data;
mod decoding;
mod device;
mod devices;
mod evaluate;
mod files;
mod generate;
mod import;
mod init_from;
mod inspect;
mod plot;
mod recipes;
mod report;
mod run_dir;
mod select;
mod train;
mod translate;
mod verify;

use clap::{Args, Parser, Subcommand};
use seqloom::error::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Trains sequence models in compute shaders, on any Vulkan, Metal or DX12 GPU.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model from raw text; the same command again goes on where it stopped
    Train(train::Train),
    /// Average the parameters of a run's last checkpoints into a model of its own
    Average(average::Average),
    /// Translate standard input, line by line, to standard output; on a terminal there is a prompt
    Translate(translate::Translate),
    /// Correct the words of a text, from standard input to standard output
    Correct(correct::Correct),
    /// Go on with a text, or with each line of standard input
    Generate(generate::Generate),
    /// Loss, perplexity, BLEU and chrF of a model on a test set
    Evaluate(evaluate::Evaluate),
    /// Make a run directory of a Marian, Pegasus or GPT-2 model that transformers saved
    Import(import::Import),
    /// List the adapters, and which one would be used
    Devices(devices::Devices),
    /// Show what a recipe or a model becomes: graph, plan, memory, kernels, the driver's machine code
    Inspect(inspect::Inspect),
    /// Compare every kernel with its CPU definition on this adapter
    Verify(verify::Verify),
    /// Time every kernel, or a recipe's training, and say how far it is from this adapter's measured limits
    Bench(bench::Bench),
    /// Train RNN, LSTM, LSTM with attention and Transformer on one task, and draw what came of it
    Compare(compare::Compare),
    /// List the built-in recipes, or print one with every key explained
    Recipes(recipes::Recipes),
}

/// Where to run, and which shaders.
#[derive(Args, Clone)]
struct DeviceArgs {
    /// auto, cpu, an index or a part of a name of `seqloom devices`
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Read shaders from this directory; what it lacks is taken from the program
    #[arg(long, value_name = "DIR")]
    shaders: Option<PathBuf>,
    /// Run the shaders of --shaders without bounds and loop checks
    #[arg(long, requires = "shaders")]
    unchecked: bool,
    /// Run every shader with bounds and loop checks
    #[arg(long, conflicts_with = "unchecked")]
    checked: bool,
}

/// Parses the arguments and runs. Exit code 2 for the user's mistakes, 1 for other failures.
pub fn main() -> ExitCode {
    // Mesa's device-select layer looks for a Wayland display and complains on standard error when there is none. It
    // only reorders adapters, which `auto` does itself.
    if std::env::var_os("NODEVICE_SELECT").is_none() {
        // Safety: no other thread exists yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Average(args) => average::run(&args),
        Command::Translate(args) => translate::run(&args),
        Command::Correct(args) => correct::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Recipes(args) => recipes::run(&args),
    }
}
