//! Training a contestant, its answers by distance, and its steps on sentences of several lengths.

use super::contestants::Contestant;
use super::words::{BUCKETS, FIVE};
use crate::cli::data::Sets;
use crate::cli::device::Opened;
use crate::cli::train;
use pollster::block_on;
use seqloom::case::Draw;
use seqloom::decode::{Decoder, Translation};
use seqloom::device::Device;
use seqloom::error::Result;
use seqloom::gpu::Gpu;
use seqloom::models::Vocabulary;
use seqloom::text::agreement::distance;
use seqloom::text::batch::{BatchPlan, Batches, Buckets, Example};
use seqloom::text::corpus::Pair;
use seqloom::text::tokenizer::Tokenizers;
use std::ops::Range;
use std::time::Instant;

/// Sentences of a batch whose steps are timed, and steps of each length after the first.
pub const ROWS: usize = 4;
const TIMED: usize = 5;
/// Target positions of these sentences, which the task pads its two to.
const TARGET: usize = 4;

/// Answers by distance.
#[derive(Clone, Debug, Default)]
pub struct Accuracy([(usize, usize); BUCKETS]);

impl Accuracy {
    /// Counts an answer at a distance, from 1 on.
    pub fn add(&mut self, distance: usize, right: bool) {
        let (sum, of) = &mut self.0[((distance - 1) / FIVE).min(BUCKETS - 1)];
        *sum += usize::from(right);
        *of += 1;
    }

    /// Right answers of these buckets, and all.
    pub fn counts(&self, buckets: Range<usize>) -> (usize, usize) {
        self.0[buckets].iter().fold((0, 0), |(a, b), (right, of)| (a + right, b + of))
    }

    /// Share of right answers in these buckets.
    pub fn percent(&self, buckets: Range<usize>) -> f64 {
        let (right, of) = self.counts(buckets);
        100.0 * right as f64 / of.max(1) as f64
    }
}

/// What training made of a contestant.
pub struct Trained {
    /// Source and target tokens that it read.
    pub tokens: u64,
    /// Time of its steps.
    pub seconds: f64,
    /// Mean loss of the last steps, in nats a token.
    pub loss: f64,
    /// Its answers on the held-out sentences.
    pub accuracy: Accuracy,
}

/// A step on sentences of one length.
pub struct AtLength {
    /// Tokens of a sentence.
    pub length: usize,
    /// The longest chain of dependent passes, forward and back.
    pub chain: usize,
    /// The median of some steps.
    pub seconds: f64,
}

/// The device that was opened, once more: a network has its own.
fn again(opened: &Opened) -> Result<Device> {
    Ok(match &opened.found {
        Some(found) => Device::Gpu(Box::new(block_on(Gpu::open(found, opened.options.clone()))?)),
        None => Device::cpu(),
    })
}

/// Trains, and answers what is held out.
pub fn train(c: &Contestant, sets: &Sets, tokenizers: &Tokenizers, test: &[Pair], opened: &Opened) -> Result<Trained> {
    let (train, valid) = (sets.train.clone(), sets.valid.clone());
    let vocabulary = tokenizers.vocabulary();
    let planned = train::planned(&c.recipe, vocabulary, again(opened)?, train, valid)?;
    let mut trainer = block_on(planned.load())?;
    let (mut plans, mut metrics) = (vec![], vec![]);
    let since = Instant::now();
    while !trainer.is_finished() {
        plans.extend_from_slice(trainer.next_batches());
        metrics.extend(block_on(trainer.step())?);
    }
    metrics.extend(block_on(trainer.drain())?);
    let seconds = since.elapsed().as_secs_f64();
    let read = |plan: &BatchPlan| {
        let batch = trainer.batches().build(plan);
        u64::from(batch.source_lengths.iter().chain(&batch.target_lengths).sum::<u32>())
    };
    let tokens = plans.iter().map(read).sum();
    let last = &metrics[metrics.len() - metrics.len().min(50)..];
    let loss = last.iter().map(|m| m.loss).sum::<f64>() / last.len() as f64;

    let sources: Vec<Vec<u32>> = test.iter().map(|(source, _)| tokenizers.source().encode(source)).collect();
    let translation = Translation::greedy(None, c.recipe.decode.max_length);
    let written = block_on(Decoder::new().translate(&mut trainer.network, &sources, &translation))?;
    let mut accuracy = Accuracy::default();
    for ((source, target), written) in test.iter().zip(&written) {
        let answer = tokenizers.target().decode(&written[0].tokens);
        accuracy.add(distance(source).unwrap_or(1), answer == *target);
    }
    Ok(Trained { tokens, seconds, loss, accuracy })
}

/// Plans and times a step for each length.
pub fn lengths(c: &Contestant, vocabulary: Vocabulary, lengths: &[usize], opened: &Opened) -> Result<Vec<AtLength>> {
    let mut recipe = c.recipe.clone();
    recipe.data.max_length = lengths.iter().copied().max().unwrap_or(1);
    let mut draw = Draw::new(recipe.train.seed);
    let mut tokens =
        |n: usize, tokens: usize| (0..n).map(|_| (4 + draw.below(tokens - 4)) as u32).collect::<Vec<u32>>();
    let examples: Vec<Example> = lengths
        .iter()
        .flat_map(|&length| vec![length; ROWS])
        .map(|length| Example::unmarked(tokens(length, vocabulary.source()), tokens(TARGET + 1, vocabulary.target())))
        .collect();
    // As many shapes as lengths: nothing is padded.
    let batches = Batches::new(Buckets::choose(&examples, 0, ROWS, lengths.len())?, examples)?;
    let planned = train::planned(&recipe, vocabulary, again(opened)?, batches.clone(), batches)?;
    let chains: Vec<usize> = planned.plans()[..lengths.len()].iter().map(|plan| plan.longest_chain()).collect();
    let mut trainer = block_on(planned.load())?;
    let mut all = vec![];
    for (bucket, (&length, chain)) in lengths.iter().zip(chains).enumerate() {
        let plan = [BatchPlan { bucket, examples: (bucket * ROWS..(bucket + 1) * ROWS).collect() }];
        let mut times = vec![];
        for _ in 0..=TIMED {
            let since = Instant::now();
            block_on(trainer.step_on(&plan))?;
            block_on(trainer.drain())?;
            times.push(since.elapsed().as_secs_f64());
        }
        times.remove(0);
        times.sort_by(f64::total_cmp);
        all.push(AtLength { length, chain, seconds: times[TIMED / 2] });
    }
    Ok(all)
}
