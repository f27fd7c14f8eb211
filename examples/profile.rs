//! Where a training step spends its time: milliseconds by operation, and how many dispatches and submissions it takes.
//!
//! `cargo run --release --example profile -- [SOURCE TOKENS] [TARGET TOKENS] [ROWS] [KEY=VALUE …]`
//! builds the model of the default recipe with these keys set, on random tokens.

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::device::Device;
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::models::transformer::Transformer;
use seqloom::network::Network;
use seqloom::recipe::Recipe;
use seqloom::text::batch::{Batches, Buckets, Example};
use seqloom::train::Trainer;
use std::collections::BTreeMap;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (numbers, keys): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| !a.contains('='));
    let number = |i: usize, default: usize| numbers.get(i).map_or(Ok(default), |n| n.parse());
    let (source, target, rows) = (number(0, 64)?, number(1, 64)?, number(2, 12)?);
    let mut set = vec!["data.builtin=phrasebook".to_string(), format!("train.batch_size={rows}")];
    set.extend(keys);
    let recipe = Recipe::parse("profile", "", &set)?;

    let vocabulary = recipe.tokenizer.vocab_size;
    let mut draw = Draw::new(1);
    let mut tokens = |n: usize| (0..n - 1).map(|_| 4 + draw.below(vocabulary - 4) as u32).collect();
    let examples: Vec<Example> = (0..4 * rows).map(|_| Example::marked(tokens(source), tokens(target))).collect();
    let batches = Batches::new(Buckets::choose(&examples, 0, rows, 1)?, examples)?;

    let adapters = block_on(enumerate());
    let found = adapters.first().ok_or("there is no GPU")?;
    println!("{} ({})", found.name(), found.driver());
    let gpu = block_on(Gpu::open(found, Options::default()))?;
    let network = Network::new(Device::Gpu(Box::new(gpu)), Transformer::new(&recipe.model, vocabulary), 256, true)?;
    let start = Instant::now();
    let mut trainer = block_on(Trainer::new(network, recipe, batches.clone(), batches))?;
    block_on(trainer.step())?;
    block_on(trainer.drain())?;
    println!(
        "first step after {:.2} s, {} parameters",
        start.elapsed().as_secs_f64(),
        trainer.network.parameters.count()
    );

    let mut times = vec![];
    for _ in 0..10 {
        let start = Instant::now();
        block_on(trainer.step())?;
        block_on(trainer.drain())?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "a step of {rows} x ({source} + {target}) tokens: {:.0} ms (median of 10, {:.0} to {:.0})",
        times[5], times[0], times[9]
    );
    if let Device::Gpu(gpu) = &trainer.network.device {
        let (mut dispatches, mut submissions, mut flops) = (0, 0, 0);
        for program in trainer.step_programs(0) {
            let plan = gpu.plan(program);
            dispatches += plan.passes.len();
            submissions += plan.submissions.len();
            flops += plan.cost().flops;
        }
        let rate = flops as f64 / times[5] / 1e6;
        println!(
            "{dispatches} dispatches in {submissions} submissions, {:.2} GFLOP, {rate:.1} GFLOP/s",
            flops as f64 / 1e9
        );
    }

    let mut by_op: BTreeMap<&str, (usize, f64, u64)> = BTreeMap::new();
    let passes = block_on(trainer.profile())?;
    let total: f64 = passes.iter().map(|p| p.2).sum();
    for (op, cost, seconds) in passes {
        let entry = by_op.entry(op).or_default();
        *entry = (entry.0 + 1, entry.1 + seconds, entry.2 + cost.flops);
    }
    let mut rows: Vec<_> = by_op.into_iter().collect();
    rows.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    println!("\n{:24} {:>6} {:>9} {:>7} {:>9}", "operation", "passes", "ms", "share", "GFLOP/s");
    for (op, (count, seconds, flops)) in rows {
        let rate = flops as f64 / seconds.max(1e-12) / 1e9;
        println!("{op:24} {count:6} {:9.2} {:6.1}% {rate:9.2}", seconds * 1e3, 100.0 * seconds / total);
    }
    println!("{:24} {:6} {:9.2}", "total", "", total * 1e3);
    Ok(())
}
