//! `seqloom train`: from raw text to a model, and on from where it stopped.

mod planned;
mod profile;
mod session;
mod trace;

pub use planned::{asked, nominal, planned, random, read_recipe};
pub use session::score;

use super::data::{self, Sets};
use super::report::Report;
use super::run_dir::{RunDir, TrainingState};
use super::translate::translation;
use super::{DeviceArgs, device, files, init_from};
use clap::Args;
use pollster::block_on;
use profile::Profile;
use seqloom::decode::Decoder;
use seqloom::device::Device;
use seqloom::error::{Error, Result, shorten};
use seqloom::interchange;
use seqloom::models::{Architecture, Vocabulary};
use seqloom::network::{Network, positions};
use seqloom::recipe::Recipe;
use seqloom::text::batch::Batches;
use seqloom::text::lexicon::Lexicon;
use seqloom::text::tokenizer::Tokenizers;
use seqloom::train::{Footprint, Planned, Trainer};
use session::{Session, out_of_patience};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `train`.
#[derive(Args)]
pub struct Train {
    /// A built-in recipe's name or a TOML file
    #[arg(default_value = "phrasebook", value_name = "NAME|FILE")]
    recipe: String,
    /// The run directory [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Set a key of the recipe, such as train.steps=500
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Start over: remove what the run directory holds
    #[arg(long)]
    fresh: bool,
    /// Write when each pass of some steps began and ended, for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// How many steps --profile is about, after the first
    #[arg(long, value_name = "N", default_value_t = 3, requires = "profile", value_parser = clap::value_parser!(u64).range(1..))]
    profile_steps: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Trains; exit code 0 also after Ctrl-C.
pub fn run(args: &Train) -> Result<ExitCode> {
    let recipe = read_recipe(&args.recipe, &args.set)?;
    recipe.require_data(&args.recipe)?;
    if let Some(file) = &args.profile {
        files::check_writable(file)?;
    }
    let dir = args.out.clone().unwrap_or_else(|| Path::new("runs").join(&recipe.name));
    files::check_out(&dir)?;
    let run = RunDir::new(&dir);
    let exists = run.exists()?;
    if exists {
        // Locked, and with --fresh removed, is only what is certain to be a run's.
        run.recipe()?;
    }
    // A new directory appears, and is locked, when all is known to be right.
    let mut lock = if exists { run.lock()? } else { None };
    if exists && !args.fresh {
        check_same(&run, &recipe)?;
    }

    let begun = exists && !args.fresh && run.has_checkpoint()?;
    let origin = if begun { None } else { init_from::read(&recipe, &dir)? };

    let data = data::load(&recipe)?;
    let tokenizers = match &origin {
        _ if begun => run.tokenizers(&recipe)?,
        Some(origin) => origin.tokenizers.clone(),
        None => data.learn_tokenizers(&recipe)?,
    };
    let start = data::start(&recipe, &tokenizers)?;
    let words = recipe.data.keep_words.then(|| data.words());
    let Sets { train, valid, dropped } = data.sets(&recipe, &tokenizers)?;
    let checksum = checksum(&tokenizers, &train, &valid);
    eprintln!("data: {}; {} to train, {} to validate", data.report(), train.count(), valid.count());
    if dropped > 0 {
        eprintln!("data: {dropped} pairs are dropped: they have {}", data::unfit(&recipe, &data::longest(&recipe)));
    }

    let opened = device::open(&args.device)?;
    let profile = args.profile.as_ref().map(|file| Profile::new(file, args.profile_steps, &opened)).transpose()?;
    let model = Architecture::new(&recipe.model, tokenizers.vocabulary());
    let binding = match &opened.device {
        Device::Cpu(_) => None,
        Device::Gpu(gpu) => Some(gpu.limits().binding),
    };
    let mut network = Network::new(opened.device, model.clone(), positions(&recipe, 1), true)?;
    network.spell(tokenizers.source().lexicon());
    eprintln!(
        "model: {:.2} M parameters, {}, {:.0} % of the training positions are padding",
        network.parameters.count() as f64 / 1e6,
        vocabulary(&tokenizers),
        100.0 * train.padded_share()
    );
    if let Err(what) = interchange::class(&recipe.model, tokenizers.vocabulary()) {
        eprintln!("model: transformers cannot open it: it has no class for {what}");
    }
    let translation = translation(&recipe, start);
    let planned = Planned::new(network, recipe.clone(), train, valid)?;
    // Before it is asked for: who has too little wants to know how much it was.
    say_footprint(&planned.footprint(), binding);
    let mut trainer = block_on(planned.load())?;
    if let Some(origin) = origin {
        trainer.network.write_parameters(&origin.file, &origin.parameters)?;
        eprintln!("model: starts from {}, with its tokenizer", origin.file);
    }
    let (device, shaders) = (opened.name, opened.shaders);
    let mut state = TrainingState { device, shaders, data: checksum, ..TrainingState::default() };
    if begun {
        restore(&run, &mut trainer, &mut state)?;
    }
    let steps = trainer.steps();
    if trainer.is_finished() {
        // It may have been killed after its last step.
        run.remove_temporary()?;
        // What may change changes here, too: how it decodes, say.
        if run.recipe()? != recipe {
            run.start(&recipe, &tokenizers, &model, start, words.as_deref())?;
        }
        run.refresh_best(&trainer.progress, &recipe, &model)?;
        let more = match trainer.progress.step < steps {
            true => format!("{}; a larger train.patience, or 0,", out_of_patience(&trainer)),
            false if recipe.train.epochs > 0 => {
                format!("{steps} steps, {} epochs; --set train.epochs=N", recipe.train.epochs)
            }
            false => format!("{steps} steps; --set train.steps=N"),
        };
        eprintln!("{} is finished: {more} goes on, --fresh starts over", dir.display());
        if let Some(file) = &args.profile {
            return Err(Error::Input(format!("--profile {}: no step was left to be timed", file.display())));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !exists {
        lock = run.lock()?;
        if run.exists()? {
            return Err(Error::Input(format!("{}: another seqloom has trained here meanwhile", dir.display())));
        }
    }
    if !begun {
        run.clear()?;
    }
    // A run that goes on may have been told to do so for longer, or to decode otherwise: the recipe says so then.
    run.start(&recipe, &tokenizers, &model, start, words.as_deref())?;
    run.refresh_best(&trainer.progress, &recipe, &model)?;
    let report = Report::new(&run, trainer.progress.step, steps, state.seconds)?;
    let decoder = Decoder::new();
    Session { run, data, tokenizers, trainer, decoder, translation, state, report, profile }.train(steps)?;
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

/// A run goes on with the recipe that it was started with; only how long and how often may change.
fn check_same(run: &RunDir, recipe: &Recipe) -> Result<()> {
    let mut before = run.recipe()?;
    let (t, b) = (&recipe.train, &mut before.train);
    (b.steps, b.epochs, b.eval_every, b.save_every, b.keep, b.patience, b.log_every) =
        (t.steps, t.epochs, t.eval_every, t.save_every, t.keep, t.patience, t.log_every);
    before.decode = recipe.decode.clone();
    before.name.clone_from(&recipe.name);
    let Some((key, old, new)) = before.difference(recipe) else { return Ok(()) };
    let path = run.path("recipe.toml").display().to_string();
    Err(Error::Input(format!(
        "{path}: the run was started with {key} = {old}, now it is {new}; use another --out, or --fresh"
    )))
}

/// How many tokens there are, for people.
pub fn vocabulary(tokenizers: &Tokenizers) -> String {
    match tokenizers.vocabulary() {
        Vocabulary::Shared(tokens) => format!("{tokens} tokens in the vocabulary"),
        Vocabulary::Separate { source, target } => format!("{source} source and {target} target tokens"),
    }
}

/// Over every token, and the spelling of words that the vocabulary lacks: tells a resumed run that its data is still the
/// same.
pub fn checksum(tokenizers: &Tokenizers, train: &Batches, valid: &Batches) -> String {
    let beyond = tokenizers.source().lexicon().map_or_else(Vec::new, Lexicon::beyond);
    let spelled = beyond.iter().flat_map(|word| word.bytes().map(u64::from).chain([u64::MAX]));
    device::fnv(train.tokens().into_iter().chain([u64::MAX]).chain(valid.tokens()).chain(spelled))
}

/// Lines on what training takes of the device's memory.
fn say_footprint(f: &Footprint, binding: Option<u64>) {
    let mib = |bytes: usize| format!("{:.1}", bytes as f64 / (1u64 << 20) as f64);
    let resident = format!(
        "parameters {}, gradients {}, moments {}, tables and caches {}",
        mib(f.parameters),
        mib(f.gradients),
        mib(f.moments),
        mib(f.tables)
    );
    match binding {
        None => eprintln!("memory: {resident} MiB; activations come and go"),
        Some(binding) => {
            let p = &f.programs;
            let (activations, inputs) = (mib(p.activations), mib(p.inputs));
            eprintln!(
                "memory: {} MiB: {resident}, activations {activations} (shared by {} programs), batches {inputs}",
                mib(f.total()),
                p.count
            );
            let (largest, bytes) = &p.largest;
            let most = binding >> 20;
            eprintln!("memory: the largest binding is {largest}, {} of at most {most} MiB", mib(*bytes));
        }
    }
}

fn restore(run: &RunDir, trainer: &mut Trainer, state: &mut TrainingState) -> Result<()> {
    let Some((file, checkpoint)) = run.latest()? else { return Ok(()) };
    if checkpoint.state.data != state.data {
        return Err(Error::Input(format!("{file}: the data is not what it was; use another --out, or --fresh")));
    }
    if checkpoint.state.device != state.device {
        let device = shorten(&checkpoint.state.device, 100);
        eprintln!("warning: the run was on {device}; sums are rounded differently here");
    }
    if checkpoint.state.shaders != state.shaders {
        let (was, is) = match (checkpoint.state.shaders.as_str(), state.shaders.as_str()) {
            ("", _) => ("the built-in shaders", "those of --shaders"),
            (_, "") => ("those of --shaders", "the built-in ones"),
            _ => ("other shaders", "those of --shaders as they are now"),
        };
        eprintln!("warning: the run had {was}, now it has {is}; sums may be rounded differently");
    }
    trainer.restore(&file, &checkpoint.parameters, &checkpoint.moments, checkpoint.state.progress.clone())?;
    let (device, shaders) = (state.device.clone(), state.shaders.clone());
    *state = TrainingState { device, shaders, ..checkpoint.state };
    eprintln!("going on after step {}", state.progress.step);
    Ok(())
}
