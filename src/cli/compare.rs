//! `seqloom compare`: recurrent models and attention on one task, with as many parameters and tokens each.

mod contestants;
mod measure;
mod svg;
mod words;

use super::data::{self, Data};
use super::{DeviceArgs, device, files};
use clap::Args;
use contestants::{Contestant, LENGTHS, QUICK_LENGTHS, contestants, task};
use measure::{Accuracy, AtLength, Trained};
use seqloom::error::{Error, Result};
use seqloom::text::agreement::{by_last_noun, distance};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `compare`.
#[derive(Args)]
pub struct Compare {
    /// Fewer steps and lengths: a look, in under three minutes on two slow cores
    #[arg(long)]
    quick: bool,
    /// Training steps of each model [default: 4000, with --quick 2000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps: Option<u64>,
    /// Seed of the sentences, the weights and the order
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=u32::MAX as u64))]
    seed: u64,
    /// Where compare.svg and compare.json go
    #[arg(long, value_name = "DIR", default_value = "compare")]
    out: PathBuf,
    /// Print what compare.json holds instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A contestant and how it did.
struct Entry {
    contestant: Contestant,
    trained: Trained,
    at: Vec<AtLength>,
}

/// Everything that the table, the picture and the sentences are made of.
struct Results {
    device: String,
    seed: u64,
    steps: u64,
    /// Sentences of a batch.
    rows: usize,
    learning_rate: f64,
    /// Answering with the number of the last noun before the verb.
    last_noun: Accuracy,
    entries: Vec<Entry>,
}

/// Trains, measures, prints and draws.
pub fn run(args: &Compare) -> Result<ExitCode> {
    files::check_out(&args.out)?;
    if args.out.exists() && !args.out.is_dir() {
        return Err(Error::Input(format!("--out {}: there is something else of this name", args.out.display())));
    }
    let steps = args.steps.unwrap_or(if args.quick { 2000 } else { 4000 });
    let lengths: &[usize] = if args.quick { &QUICK_LENGTHS } else { &LENGTHS };
    let base = task(steps, args.seed)?;
    let Data::Pairs(pairs) = data::load(&base)? else { unreachable!("the task has pairs") };
    let test = pairs.test.clone();
    let data = Data::Pairs(pairs);
    let tokenizers = data.learn_tokenizers(&base)?;
    // All get the same batches in the same order.
    let sets = data.sets(&base, &tokenizers)?;
    let opened = device::open(&on(&args.device)?)?;
    // What cannot be written is known now, not after the last model.
    files::make_dir(&args.out)?;
    let (picture, numbers) = (args.out.join("compare.svg"), args.out.join("compare.json"));
    files::check_writable(&picture)?;
    files::check_writable(&numbers)?;
    let mut last_noun = Accuracy::default();
    for (source, target) in &test {
        last_noun.add(distance(source).unwrap_or(1), by_last_noun(source).as_ref() == Some(target));
    }
    let mut entries = vec![];
    for contestant in contestants(&base, tokenizers.vocabulary())? {
        eprintln!("{}: {}, {} parameters", contestant.name, contestant.width(), contestant.parameters);
        let trained = measure::train(&contestant, &sets, &tokenizers, &test, &opened)?;
        let at = measure::lengths(&contestant, tokenizers.vocabulary(), lengths, &opened)?;
        let percent = trained.accuracy.percent(0..words::BUCKETS);
        eprintln!("{}: {percent:.1} % right after {:.0} s", contestant.name, trained.seconds);
        entries.push(Entry { contestant, trained, at });
    }
    let (rows, learning_rate) = (base.train.batch_size, base.train.lr);
    let results = Results { device: opened.name, seed: args.seed, steps, rows, learning_rate, last_noun, entries };
    let json = results.json();
    match args.json {
        true => out!("{json}"),
        false => out!("{}\n{}", words::table(&results), words::sentences(&results).join("\n")),
    }
    files::write(&picture, svg::picture(&results).as_bytes())?;
    files::write(&numbers, format!("{json:#}\n").as_bytes())?;
    eprintln!("{} and {}", picture.display(), numbers.display());
    Ok(ExitCode::SUCCESS)
}

/// What `auto` stands for here: models this small are faster on the CPU itself than on an adapter that a CPU plays.
fn on(args: &DeviceArgs) -> Result<DeviceArgs> {
    let mut args = args.clone();
    if args.device == "auto" && device::choose("auto")?.is_some_and(|found| found.kind() == "software") {
        eprintln!("device: no hardware adapter, so the CPU; --device names another");
        args.device = "cpu".into();
    }
    Ok(args)
}

impl Results {
    fn json(&self) -> Value {
        let buckets = |accuracy: &Accuracy| -> Vec<Value> {
            let bucket = |b: usize| {
                let (right, of) = accuracy.counts(b..b + 1);
                json!({ "from": words::FIVE * b + 1, "to": words::FIVE * (b + 1), "right": right, "of": of })
            };
            (0..words::BUCKETS).map(bucket).collect()
        };
        let at = |a: &AtLength| json!({ "length": a.length, "chain": a.chain, "seconds": a.seconds });
        let entry = |e: &Entry| {
            json!({
                "name": e.contestant.name, "width": e.contestant.width(), "parameters": e.contestant.parameters,
                "tokens": e.trained.tokens, "seconds": e.trained.seconds, "loss": e.trained.loss,
                "accuracy": buckets(&e.trained.accuracy), "lengths": e.at.iter().map(at).collect::<Vec<_>>(),
            })
        };
        json!({
            "device": self.device, "seed": self.seed, "steps": self.steps, "rows": self.rows,
            "timed_rows": measure::ROWS,
            "learning_rate": self.learning_rate, "last_noun": buckets(&self.last_noun),
            "models": self.entries.iter().map(entry).collect::<Vec<_>>(), "text": words::sentences(self),
        })
    }
}
