//! `seqloom train`: from raw text to a model, and on from where it stopped.

use super::data::{self, Data};
use super::report::{Report, Scores, clock};
use super::run_dir::{Checkpoint, RunDir, TrainingState};
use super::translate::decoder;
use super::{DeviceArgs, device, files, init_from, recipes};
use clap::Args;
use pollster::block_on;
use seqloom::decode::Decoder;
use seqloom::device::Device;
use seqloom::error::{Error, Result};
use seqloom::interchange;
use seqloom::models::transformer::{Transformer, Vocabulary};
use seqloom::network::{Network, positions};
use seqloom::recipe::{Recipe, TokenizerKind};
use seqloom::text::batch::{BUCKETS, Batches, Buckets, Example, encode_pairs};
use seqloom::text::bleu::corpus_bleu;
use seqloom::text::chrf::corpus_chrf;
use seqloom::text::corpus::Pair;
use seqloom::text::phrasebook::nearest_translations;
use seqloom::text::tokenizer::{Kind, Rules, Tokenizer, Tokenizers};
use seqloom::train::{Footprint, Metrics, Planned, Trainer};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Pairs that an evaluation during training translates.
const SCORED: usize = 200;
/// Pairs that the end of a run shows.
const SHOWN: usize = 12;

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
    #[command(flatten)]
    device: DeviceArgs,
}

/// Trains; exit code 0 also after Ctrl-C.
pub fn run(args: &Train) -> Result<ExitCode> {
    let recipe = read_recipe(args)?;
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
        None => learn_tokenizers(&recipe, &data.train)?,
    };
    let (train, train_dropped) = encode_pairs(&tokenizers, &data.train, recipe.data.marks, recipe.data.max_length);
    let (valid, valid_dropped) = encode_pairs(&tokenizers, &data.valid, recipe.data.marks, recipe.data.max_length);
    let start = data::start(&recipe, &tokenizers)?;
    data::some_left(train.len(), train_dropped, "training", &recipe)?;
    data::some_left(valid.len(), valid_dropped, "validation", &recipe)?;
    let checksum = checksum(&train, &valid);
    let (train, valid) = (batches(&recipe, train)?, batches(&recipe, valid)?);
    eprintln!("data: {}; {} to train, {} to validate", data.report, train.examples().len(), valid.examples().len());
    if train_dropped + valid_dropped > 0 {
        let dropped = train_dropped + valid_dropped;
        eprintln!("data: {dropped} pairs are dropped: they have {}", data::unfit(&recipe, &data::longest(&recipe)));
    }

    let opened = device::open(&args.device)?;
    let model = Transformer::new(&recipe.model, tokenizers.vocabulary());
    let binding = match &opened.device {
        Device::Cpu(_) => None,
        Device::Gpu(gpu) => Some(gpu.limits().binding),
    };
    let mut network = Network::new(opened.device, model.clone(), positions(&recipe, 1), true)?;
    eprintln!(
        "model: {:.2} M parameters, {}, {:.0} % of the training positions are padding",
        network.parameters.count() as f64 / 1e6,
        vocabulary(&tokenizers),
        100.0 * train.padded_share()
    );
    if let Err(what) = interchange::class(&recipe.model, tokenizers.vocabulary()) {
        eprintln!("model: transformers cannot open it: it has no class for {what}");
    }
    let decoder = decoder(&mut network, &recipe, start);
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
        // What may change changes here, too: how it decodes, say.
        if run.recipe()? != recipe {
            run.start(&recipe, &tokenizers, &model, start)?;
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
    run.start(&recipe, &tokenizers, &model, start)?;
    run.refresh_best(&trainer.progress, &recipe, &model)?;
    let report = Report::new(&run, trainer.progress.step, steps, state.seconds)?;
    Session { run, data, tokenizers, trainer, decoder, state, report }.train(steps)?;
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

fn read_recipe(args: &Train) -> Result<Recipe> {
    let path = Path::new(&args.recipe);
    let text = match Recipe::builtin(&args.recipe) {
        Some(text) => text.to_string(),
        None if path.join("recipe.toml").is_file() => {
            let name = &args.recipe;
            return Err(Error::Input(format!(
                "{name} is the directory of a run, not a recipe; to go on: seqloom train {0} --out {1}",
                files::quoted(&path.join("recipe.toml")),
                files::quoted(path)
            )));
        }
        None if path.exists() || args.recipe.ends_with(".toml") => files::read_text(path)?,
        None => {
            let (name, names) = (&args.recipe, recipes::names());
            return Err(Error::Input(format!("{name} is neither a built-in recipe ({names}) nor a file")));
        }
    };
    let recipe = Recipe::parse(&args.recipe, &text, &args.set)?;
    recipe.require_data(&args.recipe)?;
    Ok(recipe)
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

fn learn_tokenizers(recipe: &Recipe, pairs: &[Pair]) -> Result<Tokenizers> {
    let kind = match recipe.tokenizer.kind {
        TokenizerKind::Bpe => Kind::Bpe,
        TokenizerKind::Char => Kind::Char,
        TokenizerKind::Word => Kind::Word,
    };
    let t = &recipe.tokenizer;
    let rules = Rules { kind, vocab_size: t.vocab_size, lowercase: t.lowercase, min_frequency: t.min_frequency };
    let (sources, targets) = (pairs.iter().map(|p| p.0.as_str()), pairs.iter().map(|p| p.1.as_str()));
    Ok(match t.shared {
        true => Tokenizers::Shared(Tokenizer::learn(&rules, sources.chain(targets))?),
        false => Tokenizers::Separate {
            source: Tokenizer::learn(&rules, sources)?,
            target: Tokenizer::learn(&rules, targets)?,
        },
    })
}

fn vocabulary(tokenizers: &Tokenizers) -> String {
    match tokenizers.vocabulary() {
        Vocabulary::Shared(tokens) => format!("{tokens} tokens in the vocabulary"),
        Vocabulary::Separate { source, target } => format!("{source} source and {target} target tokens"),
    }
}

fn batches(recipe: &Recipe, examples: Vec<Example>) -> Result<Batches> {
    let t = &recipe.train;
    let buckets = Buckets::choose(&examples, t.batch_tokens, t.batch_size, BUCKETS)?;
    Batches::new(buckets, examples)
}

/// Over every token: tells a resumed run that its data is still the same.
fn checksum(train: &[Example], valid: &[Example]) -> String {
    let [end, last] = [u64::from(u32::MAX), u64::MAX];
    let tokens = |side: &[u32]| side.iter().map(|id| u64::from(*id)).chain([end]).collect::<Vec<_>>();
    let pair = |e: &Example| [tokens(e.source()), tokens(e.target())].concat();
    device::fnv(train.iter().flat_map(pair).chain([last]).chain(valid.iter().flat_map(pair)))
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
        eprintln!("warning: the run was on {}; sums are rounded differently here", checkpoint.state.device);
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

/// Why a run ended before its last step.
fn out_of_patience(trainer: &Trainer) -> String {
    let (p, patience) = (&trainer.progress, trainer.recipe.train.patience);
    let best = p.best.map_or(String::new(), |(loss, step)| format!(", {loss:.4} at step {step}"));
    let evaluations = if patience == 1 { "evaluation" } else { "evaluations" };
    format!("step {} of {}, {patience} {evaluations} without a better loss{best}", p.step, trainer.steps())
}

struct Session {
    run: RunDir,
    data: Data,
    tokenizers: Tokenizers,
    trainer: Trainer,
    decoder: Decoder,
    state: TrainingState,
    report: Report,
}

impl Session {
    fn train(mut self, steps: u64) -> Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        // The first asks for a clean end after this step, the second wants it now: the last checkpoint is whole anyway.
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })
        .map_err(|e| Error::Run(format!("Ctrl-C cannot be caught: {e}")))?;
        let t = self.trainer.recipe.train.clone();
        let mut since = Instant::now();
        loop {
            let early = block_on(self.trainer.step());
            let early = self.finite(vec![], early, since)?;
            let step = self.trainer.progress.step;
            let stopping = stop.load(Ordering::Relaxed);
            let last = step >= steps;
            let every = |n: u64| n > 0 && step.is_multiple_of(n);
            let (evaluating, saving) = (last || every(t.eval_every), last || stopping || every(t.save_every));
            if evaluating || saving || every(t.log_every) || !early.is_empty() {
                let rest = block_on(self.trainer.drain());
                let metrics = self.finite(early, rest, since)?;
                self.report.steps(&metrics, since.elapsed());
                since = Instant::now();
            }
            // The best model is a checkpoint's: a better one is saved whatever save_every says.
            let better = evaluating && self.evaluate()?;
            let enough = self.trainer.is_out_of_patience();
            if better || enough || saving {
                self.save()?;
            }
            if evaluating || saving {
                since = Instant::now();
            }
            if enough && !last {
                self.report.say(&format!("training ends: {}", out_of_patience(&self.trainer)));
            }
            if last || enough {
                break;
            }
            if stopping {
                self.report.finish();
                eprintln!("stopped after step {step} and saved; the same command goes on from here");
                return Ok(());
            }
        }
        self.report.finish();
        self.last_words()
    }

    /// The numbers of some steps and of those after them. Before training ends with a gradient that is not finite, those
    /// of the steps before it are written down.
    fn finite(&mut self, early: Vec<Metrics>, rest: Result<Vec<Metrics>>, since: Instant) -> Result<Vec<Metrics>> {
        match rest {
            Ok(rest) => Ok([early, rest].concat()),
            Err(e) => {
                self.report.steps(&[early, self.trainer.before_failure()].concat(), since.elapsed());
                self.report.flush().and(Err(e))
            }
        }
    }

    /// Evaluates; whether the model is the best so far.
    fn evaluate(&mut self) -> Result<bool> {
        let evaluation = block_on(self.trainer.evaluate())?;
        let pairs = &self.data.valid[..self.data.valid.len().min(SCORED)];
        let (translations, scores) = score(&mut self.trainer.network, &mut self.decoder, &self.tokenizers, pairs)?;
        self.report.evaluation(&evaluation, scores);
        for ((source, _), translation) in pairs.iter().zip(&translations).take(2) {
            self.report.say(&format!("    {source}\n    -> {translation}"));
        }
        let before = self.trainer.progress.reductions;
        let better = self.trainer.judge(&evaluation);
        if self.trainer.progress.reductions > before {
            let (step, wait) = (self.trainer.progress.step, self.trainer.recipe.train.plateau_patience);
            let lr = self.trainer.learning_rate(step + 1);
            self.report.say(&format!("step {step}: no better loss in {wait} evaluations; learning rate {lr:.2e}"));
        }
        Ok(better)
    }

    fn save(&mut self) -> Result<()> {
        self.state.progress = self.trainer.progress.clone();
        self.state.seconds = self.report.seconds();
        let parameters = block_on(self.trainer.network.read_parameters())?;
        let moments = block_on(self.trainer.read_moments())?;
        // The rows come first: a run that is killed between the two drops them again when it goes on.
        self.report.flush()?;
        let checkpoint = Checkpoint { parameters, moments, state: self.state.clone() };
        self.run.save(&checkpoint, &self.trainer.recipe, &self.trainer.network.model)
    }

    /// The held-out set, with the best model.
    fn last_words(mut self) -> Result<()> {
        let (file, parameters) = self.run.model(&self.trainer.recipe, &self.trainer.network.model)?;
        self.trainer.network.write_parameters(&file, &parameters)?;
        let pairs = &self.data.test;
        let (translations, scores) = score(&mut self.trainer.network, &mut self.decoder, &self.tokenizers, pairs)?;
        let sources: Vec<&str> = pairs.iter().map(|p| p.0.as_str()).collect();
        let references: Vec<String> = pairs.iter().map(|p| judged(&self.tokenizers, &p.1)).collect();
        let nearest = nearest_translations(&self.data.train, &sources);
        let nearest: Vec<String> = nearest.iter().map(|translation| judged(&self.tokenizers, translation)).collect();
        eprintln!("\n{} held-out sentences:", pairs.len());
        for i in 0..pairs.len().min(SHOWN) {
            let verdict = if translations[i] == references[i] { "=" } else { "~" };
            eprintln!("    {}\n  {verdict} {}", sources[i], translations[i]);
            if verdict == "~" {
                eprintln!("    ({})", references[i]);
            }
        }
        let exact = translations.iter().zip(&references).filter(|(a, b)| a == b).count();
        eprintln!(
            "held out: BLEU {:.2}, chrF {:.2}, {exact} of {} exact; answering with the nearest training sentence's \
             translation: BLEU {:.2}",
            scores.bleu,
            scores.chrf,
            pairs.len(),
            corpus_bleu(&nearest, &references).score
        );
        eprintln!(
            "{} after {}; try: seqloom translate --model {}",
            self.run.path("").display(),
            clock(self.report.seconds()),
            files::quoted(&self.run.path(""))
        );
        Ok(())
    }
}

/// Translations of the sources of pairs, and how good they are.
pub fn score(
    network: &mut Network,
    decoder: &mut Decoder,
    tokenizers: &Tokenizers,
    pairs: &[Pair],
) -> Result<(Vec<String>, Scores)> {
    let sources: Vec<Vec<u32>> = pairs.iter().map(|(source, _)| tokenizers.source().encode(source)).collect();
    let ids = block_on(decoder.greedy(network, &sources))?;
    let translations: Vec<String> = ids.iter().map(|ids| tokenizers.target().decode(ids)).collect();
    let hypotheses: Vec<String> = translations.iter().map(|translation| judged(tokenizers, translation)).collect();
    let references: Vec<String> = pairs.iter().map(|(_, target)| judged(tokenizers, target)).collect();
    let bleu = corpus_bleu(&hypotheses, &references).score;
    let chrf = corpus_chrf(&hypotheses, &references);
    Ok((translations, Scores { bleu, chrf }))
}

/// A text as scores compare it: a model that knows no capitals is not blamed for them. Character by character, as the
/// tokenizer does it: at the end of a word `str::to_lowercase` has another sigma.
fn judged(tokenizers: &Tokenizers, text: &str) -> String {
    match tokenizers.target().lowercase() {
        true => text.chars().flat_map(char::to_lowercase).collect(),
        false => text.to_string(),
    }
}
