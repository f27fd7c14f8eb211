//! Writes what a run was fed, so that another program can train on exactly the same: `scripts/pytorch` does.
//!
//! `cargo run --release --example batches -- RUN OUT [STEPS]` reads a run directory and writes into OUT, for the steps
//! that the run has done so far, or STEPS of them:
//!
//! - `recipe.toml`, the run's, and `counts.json`: steps, target tokens, steps in a whole epoch
//! - `initial.safetensors`, the parameters before step 1
//! - `epoch-000.safetensors` and so on, `valid.safetensors`: batch 17 is `00017.source` (rows, S), `00017.target_in`
//!   and `00017.target_out` (rows, T), `00017.source_lengths` and `00017.target_lengths` (rows), all U32
//!
//! The data files must be where the recipe says.

use seqloom::checkpoint;
use seqloom::device::Device;
use seqloom::error::{Error, Result};
use seqloom::models::transformer::Transformer;
use seqloom::network::{Network, positions};
use seqloom::recipe::Recipe;
use seqloom::tensor::Tensor;
use seqloom::text::batch::{BatchPlan, Batches};
use seqloom::text::tokenizer::Tokenizers;
use seqloom::train::Progress;
use std::path::Path;

// The program's own reading of a run and of its data.
#[allow(dead_code)]
#[path = "../src/cli/data.rs"]
mod data;
#[allow(dead_code)]
#[path = "../src/cli/files.rs"]
mod files;
#[allow(dead_code)]
#[path = "../src/cli/run_dir.rs"]
mod run_dir;

use data::Sets;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(run), Some(out)) = (args.first(), args.get(1)) else {
        return Err("usage: batches RUN OUT [STEPS]".into());
    };
    let run = run_dir::RunDir::new(Path::new(run));
    let recipe = run.recipe()?;
    let done = run.latest()?.map_or(Progress::default(), |(_, checkpoint)| checkpoint.state.progress);
    let steps = args.get(2).map_or(Ok(done.step), |steps| steps.parse())?;
    Ok(write(&recipe, &run.tokenizers(&recipe)?, &done, steps, Path::new(out))?)
}

fn write(recipe: &Recipe, tokenizers: &Tokenizers, done: &Progress, steps: u64, out: &Path) -> Result<()> {
    if recipe.train.accumulate != 1 || !recipe.train.init_from.is_empty() {
        let why = "only runs with train.accumulate = 1 and without train.init_from are written: a batch a step, from the seed";
        return Err(Error::Input(why.into()));
    }
    let Sets { train, valid, .. } = data::load(recipe)?.sets(recipe, tokenizers)?;
    let model = Transformer::new(&recipe.model, tokenizers.vocabulary());
    let network = Network::new(Device::cpu(), model, positions(recipe, 1), false)?;
    let save = |name: &str, tensors: &[(String, Tensor)]| files::write(&out.join(name), &checkpoint::save(tensors)?);

    files::make_dir(out)?;
    files::write(&out.join("recipe.toml"), recipe.to_toml().as_bytes())?;
    save("initial.safetensors", &network.parameters.initial(recipe.train.seed))?;
    save("valid.safetensors", &tensors(&valid, &valid.in_order()))?;
    let mut here = Progress::default();
    while here.step < steps {
        let order = train.epoch(recipe.train.seed, here.epoch);
        let taken = order.len().min((steps - here.step) as usize);
        save(&format!("epoch-{:03}.safetensors", here.epoch), &tensors(&train, &order[..taken]))?;
        for plan in &order[..taken] {
            here.tokens += train.build(plan).tokens as u64;
            here.step += 1;
            here.batch += 1;
            if here.batch == order.len() {
                here = Progress { epoch: here.epoch + 1, batch: 0, ..here };
            }
            let place = |p: &Progress| (p.epoch, p.batch, p.tokens);
            if here.step == done.step && place(&here) != place(done) {
                return Err(Error::Input(format!(
                    "the data is not what the run was trained on: after {} steps there were {} target tokens, not {}",
                    done.step, done.tokens, here.tokens
                )));
            }
        }
    }
    let per_epoch = train.epoch(recipe.train.seed, 0).len();
    let counts = serde_json::json!({ "steps": here.step, "target_tokens": here.tokens, "steps_per_epoch": per_epoch });
    files::write(&out.join("counts.json"), format!("{counts}\n").as_bytes())?;
    println!("{}: {counts}", out.display());
    Ok(())
}

fn tensors(set: &Batches, plans: &[BatchPlan]) -> Vec<(String, Tensor)> {
    let mut all = vec![];
    for (i, plan) in plans.iter().enumerate() {
        let (shape, batch) = (set.buckets().shapes()[plan.bucket], set.build(plan));
        let (rows, s, t) = (shape.rows, shape.source_length, shape.target_length);
        if s > 0 {
            all.push((format!("{i:05}.source"), Tensor::u32([rows, s], batch.source)));
            all.push((format!("{i:05}.source_lengths"), Tensor::u32([rows], batch.source_lengths)));
        }
        all.extend([
            (format!("{i:05}.target_in"), Tensor::u32([rows, t], batch.target_in)),
            (format!("{i:05}.target_out"), Tensor::u32([rows, t], batch.target_out)),
            (format!("{i:05}.target_lengths"), Tensor::u32([rows], batch.target_lengths)),
        ]);
    }
    all
}
