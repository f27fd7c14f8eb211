//! `seqloom bench --recipe`: a recipe's training steps, timed as a whole and pass by pass.

use super::limits;
use super::steps::{Report, Start, Step, Work};
use crate::cli::data::{self, Sets};
use crate::cli::{DeviceArgs, device, train};
use clap::Args;
use pollster::block_on;
use seqloom::device::Device;
use seqloom::error::{Error, Result};
use seqloom::models::Vocabulary;
use seqloom::recipe::{ModelKind, Recipe};
use seqloom::text::batch::Batches;
use seqloom::text::lexicon::Lexicon;
use seqloom::train::{Phase, Timed, Trainer};
use std::process::ExitCode;
use std::time::Instant;

/// Arguments of `bench --recipe`.
#[derive(Args)]
pub struct StepArgs {
    /// Time the training steps of a built-in recipe's name or a TOML file instead
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["op", "shape", "variants", "quick", "baseline", "svg"])]
    pub(super) recipe: Option<String>,
    /// Set a key of the recipe, such as model.d_model=256
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "recipe")]
    set: Vec<String>,
    /// How many steps are timed, after the first
    #[arg(long, value_name = "N", default_value_t = 10, requires = "recipe", value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Random tokens instead of the recipe's data: so many positions of so many rows; TARGETxROWS for a language model
    #[arg(long, value_name = "SOURCExTARGETxROWS", requires = "recipe")]
    tokens: Option<String>,
}

/// Steps that are played pass by pass.
const PROFILED: usize = 3;

/// What the steps are made of.
struct Material {
    vocabulary: Vocabulary,
    train: Batches,
    valid: Batches,
    about: String,
    /// The source's words, where the model reads how they are spelled.
    lexicon: Option<Lexicon>,
}

/// Times the steps and prints what came out.
pub fn run(name: &str, args: &StepArgs, device: &DeviceArgs, json: bool) -> Result<ExitCode> {
    let mut recipe = train::read_recipe(name, &args.set)?;
    let material = match &args.tokens {
        Some(shape) => random(&mut recipe, shape)?,
        None => real(&recipe)?,
    };
    let opened = device::open(device)?;
    let Material { vocabulary, train, valid, about, lexicon } = material;
    let since = Instant::now();
    let planned = train::planned(&recipe, vocabulary, opened.device, train, valid)?;
    let footprint = planned.footprint();
    let plan = since.elapsed().as_secs_f64();
    let mut trainer = block_on(planned.load())?;
    trainer.network.spell(lexicon.as_ref());
    let load = since.elapsed().as_secs_f64() - plan;
    let first = step(&mut trainer)?.seconds;
    let steps = (0..args.steps).map(|_| step(&mut trainer)).collect::<Result<Vec<Step>>>()?;
    let passes = profile(&mut trainer)?;
    let buffers = match &trainer.network.device {
        Device::Cpu(_) => None,
        Device::Gpu(gpu) => Some(gpu.counters().buffer_bytes as u64).filter(|bytes| *bytes > 0),
    };
    // Last, since what it takes of the memory is not the model's.
    let limits = match (&mut trainer.network.device, &opened.found) {
        (Device::Gpu(gpu), Some(found)) => {
            let mut bare = limits::bare(found, &opened.options)?;
            Some(limits::measure(bare.as_mut().unwrap_or(gpu))?)
        }
        _ => None,
    };
    let report = Report {
        recipe: name.into(),
        about,
        device: opened.name,
        parameters: trainer.network.parameters.count(),
        start: Start { plan, load, first },
        steps,
        passes,
        profiled: PROFILED,
        limits,
        footprint,
        buffers,
    };
    match json {
        true => out!("{}", report.json()),
        false => report.print()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The recipe's own data, or random tokens of its shapes where there is none.
fn real(recipe: &Recipe) -> Result<Material> {
    let data = match data::find(recipe) {
        Ok(data) => data,
        Err(why) => {
            let (batches, vocabulary, what) = train::nominal(recipe, None)?;
            let about = format!("random tokens, {what}");
            eprintln!("warning: {why}; the steps are on {about}");
            let lexicon = nominal_words(recipe, vocabulary);
            return Ok(Material { vocabulary, train: batches.clone(), valid: batches, about, lexicon });
        }
    };
    let tokenizers = data.learn_tokenizers(recipe)?;
    let Sets { train, valid, .. } = data.sets(recipe, &tokenizers)?;
    let about = data.report().to_string();
    let lexicon = tokenizers.source().lexicon().cloned();
    Ok(Material { vocabulary: tokenizers.vocabulary(), train, valid, about, lexicon })
}

/// Words that are as long as words are, for random tokens.
fn nominal_words(recipe: &Recipe, vocabulary: Vocabulary) -> Option<Lexicon> {
    let words = || (0..vocabulary.source()).map(|i| format!("{i:06}")).collect();
    recipe.model.reads_words().then(|| Lexicon::new(words()))
}

/// Random tokens of SOURCExTARGETxROWS or TARGETxROWS, and the recipe made to fit them.
fn random(recipe: &mut Recipe, shape: &str) -> Result<Material> {
    let numbers: Option<Vec<usize>> =
        shape.split('x').map(|n| n.parse().ok().filter(|n| (1..=65_536).contains(n))).collect();
    let (wanted, shape) = match (recipe.model.kind, numbers.as_deref()) {
        (ModelKind::Gpt, Some(&[target, rows])) => ("", [0, target, rows]),
        (ModelKind::Gpt, _) => ("TARGETxROWS, such as 64x12", [0; 3]),
        (ModelKind::Transformer | ModelKind::Seq2Seq, Some(&[source, target, rows])) => ("", [source, target, rows]),
        (ModelKind::Transformer | ModelKind::Seq2Seq, _) => ("SOURCExTARGETxROWS, such as 64x64x12", [0; 3]),
    };
    if !wanted.is_empty() {
        return Err(Error::Input(format!("--tokens: expected {wanted}, numbers from 1 to 65,536")));
    }
    let [source, target, rows] = shape;
    let longest = recipe.data.max_length.max(source).max(target);
    for (key, value) in [("data.max_length", longest), ("train.block", target), ("train.batch_size", rows)] {
        recipe.set(key, &value.to_string()).map_err(|e| Error::Input(format!("--tokens: {key}: {e}")))?;
    }
    let vocabulary = train::asked(recipe);
    let batches = train::random(recipe, vocabulary, shape)?;
    let about = match source {
        0 => format!("random tokens, {rows} rows of {target} positions"),
        _ => format!("random tokens, {rows} rows of {source} source and {target} target positions"),
    };
    let lexicon = nominal_words(recipe, vocabulary);
    Ok(Material { vocabulary, train: batches.clone(), valid: batches, about, lexicon })
}

/// One step, and what it was.
fn step(trainer: &mut Trainer) -> Result<Step> {
    let mut work = Work::default();
    let mut positions = 0;
    for batch in trainer.next_batches() {
        let shape = trainer.batches().buckets().shapes()[batch.bucket];
        positions += shape.rows * (shape.source_length + shape.target_length);
        if let Device::Gpu(gpu) = &trainer.network.device {
            work.add(Phase::Forward, gpu.plan(trainer.step_programs(batch.bucket)[0]));
        }
    }
    if let Device::Gpu(gpu) = &trainer.network.device {
        work.add(Phase::Update, gpu.plan(trainer.step_programs(0)[1]));
    }
    let since = Instant::now();
    block_on(trainer.step())?;
    let metrics = block_on(trainer.drain())?;
    let seconds = since.elapsed().as_secs_f64();
    Ok(Step { seconds, tokens: metrics.iter().map(|m| m.tokens as u64).sum(), positions, work })
}

/// The passes of some more steps; none where the device does not tell when they begin and end.
fn profile(trainer: &mut Trainer) -> Result<Vec<Timed>> {
    let mut passes = vec![];
    if !matches!(&trainer.network.device, Device::Gpu(gpu) if gpu.has_timestamps()) {
        return Ok(passes);
    }
    for _ in 0..PROFILED {
        let (programs, _) = block_on(trainer.profile(|_| {}))?;
        passes.extend(programs.into_iter().flatten());
    }
    Ok(passes)
}
