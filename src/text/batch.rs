//! Sentence pairs of many lengths as batches of few shapes, and a text as batches of blocks.
//!
//! Every shape is compiled and planned once, so there are at most a handful: [`Buckets::choose`] finds those with the
//! least padding, [`Batches`] deals the examples out, a different way each epoch.

mod buckets;
mod windows;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::corpus::Pair;
use super::tokenizer::{BOS, EOS, PAD, Tokenizer, Tokenizers};
use crate::error::{Error, Result};
use windows::Windows;

pub use crate::ops::cross_entropy::IGNORE;
pub use crate::ops::embedding::by_token;
pub use buckets::{Bucket, Buckets};

/// Shapes of the batches of a run: each is planned and compiled.
pub const BUCKETS: usize = 4;

/// A sentence pair as token ids, with what it begins and ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    source: Vec<u32>,
    target: Vec<u32>,
    /// Tokens of the target that are given: none of them is to be predicted.
    given: usize,
}

impl Example {
    /// A pair of sentences: `</s>` behind the source, the target between `<s>` and `</s>`.
    pub fn marked(mut source: Vec<u32>, mut target: Vec<u32>) -> Example {
        source.push(EOS);
        target.insert(0, BOS);
        target.push(EOS);
        Example { source, target, given: 1 }
    }

    /// A pair of sequences that are as long as they are: nothing is added, and the target's own first token is the one
    /// that the decoder starts from.
    pub fn unmarked(source: Vec<u32>, target: Vec<u32>) -> Example {
        Example { source, target, given: 1 }
    }

    /// A pair for a model without an encoder: it reads the source, `<s>` where there are marks, and predicts the target and
    /// `</s>`.
    pub fn continued(source: Vec<u32>, target: Vec<u32>, marks: bool) -> Example {
        let (begin, end): (&[u32], &[u32]) = if marks { (&[BOS], &[EOS]) } else { (&[], &[]) };
        let given = source.len() + begin.len();
        Example { source: vec![], target: [&source, begin, &target, end].concat(), given }
    }

    /// Tokens that are to be predicted.
    fn predicted(&self) -> usize {
        self.target.len().saturating_sub(self.given.max(1))
    }

    /// What the encoder reads.
    pub fn source(&self) -> &[u32] {
        &self.source
    }

    /// The decoder reads all of these but the last, and predicts all but the first.
    pub fn target(&self) -> &[u32] {
        &self.target
    }

    /// Source and target positions this example takes in a batch.
    pub fn lengths(&self) -> (usize, usize) {
        (self.source.len(), self.target.len().saturating_sub(1))
    }
}

/// The pairs as examples for a model without an encoder, and how many were dropped because they take more than `block`
/// positions, or there is nothing to predict or to predict it from.
pub fn encode_continued(tokenizer: &Tokenizer, pairs: &[Pair], marks: bool, block: usize) -> (Vec<Example>, usize) {
    let encode =
        |(source, target): &Pair| Example::continued(tokenizer.encode(source), tokenizer.encode(target), marks);
    let fits = |e: &Example| e.given > 0 && e.predicted() > 0 && e.lengths().1 <= block;
    let examples: Vec<Example> = pairs.iter().map(encode).filter(fits).collect();
    let dropped = pairs.len() - examples.len();
    (examples, dropped)
}

/// The pairs as examples, marked or not, and how many were dropped because a side takes more than `max_length`
/// positions or, unmarked, none.
pub fn encode_pairs(tokenizers: &Tokenizers, pairs: &[Pair], marks: bool, max_length: usize) -> (Vec<Example>, usize) {
    let encode = |(source, target): &Pair| {
        let (source, target) = (tokenizers.source().encode(source), tokenizers.target().encode(target));
        if marks { Example::marked(source, target) } else { Example::unmarked(source, target) }
    };
    let fits = |example: &Example| {
        let (source, target) = example.lengths();
        (1..=max_length).contains(&source) && (1..=max_length).contains(&target)
    };
    let examples: Vec<Example> = pairs.iter().map(encode).filter(fits).collect();
    let dropped = pairs.len() - examples.len();
    (examples, dropped)
}

/// Which examples make up a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPlan {
    /// Index of the shape in [`Buckets::shapes`].
    pub bucket: usize,
    /// Indices of the examples, or where the windows of a text start: one per row, at least one and at most as many as
    /// the shape has rows.
    pub examples: Vec<usize>,
}

/// What the graph reads in one step: `rows` sentence pairs of a [`Bucket`], S source and T target positions each,
/// row-major. Rows without a pair have length 0 and nothing but padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `rows × S` ids: [`Example::source`], then [`PAD`].
    pub source: Vec<u32>,
    /// `rows` numbers of source positions before the padding.
    pub source_lengths: Vec<u32>,
    /// `rows × T` ids that the decoder reads: [`Example::target`] without the last, then [`PAD`].
    pub target_in: Vec<u32>,
    /// `rows × T` ids that the decoder predicts: [`Example::target`] without the first, then [`IGNORE`].
    pub target_out: Vec<u32>,
    /// `rows` numbers of target positions before the padding.
    pub target_lengths: Vec<u32>,
    /// Positions of `target_out` that are not [`IGNORE`]: the divisor of a mean loss.
    pub tokens: u32,
    /// Rows with a pair; they come first.
    pub pairs: usize,
}

/// Examples sorted into buckets, or a text.
#[derive(Clone, Debug)]
pub struct Batches {
    buckets: Buckets,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Pairs {
        examples: Vec<Example>,
        /// For each bucket the indices of its examples, ascending.
        members: Vec<Vec<usize>>,
    },
    Text(Windows),
}

impl Batches {
    /// Sorts `examples` into `buckets`, which may have been chosen for other examples too; one that no bucket holds is
    /// an error.
    pub fn new(buckets: Buckets, examples: Vec<Example>) -> Result<Self> {
        let mut members = vec![Vec::new(); buckets.shapes().len()];
        for (index, example) in examples.iter().enumerate() {
            let Some(bucket) = buckets.fit(example) else {
                let (source, target) = example.lengths();
                return Err(Error::Input(format!(
                    "a sentence pair of {source} source and {target} target positions fits no batch: lower max_length"
                )));
            };
            members[bucket].push(index);
        }
        Ok(Self { buckets, material: Material::Pairs { examples, members } })
    }

    /// One sequence of tokens as batches of up to `rows` blocks of `block` tokens. Errors: there are fewer tokens.
    pub fn text(tokens: Vec<u32>, block: usize, rows: usize) -> Result<Self> {
        let windows = Windows::new(tokens, block)?;
        let rows = rows.clamp(1, windows.count());
        let buckets = Buckets(vec![Bucket { rows, source_length: 0, target_length: block }]);
        Ok(Self { buckets, material: Material::Text(windows) })
    }

    /// The shapes of the batches.
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// The batches of one shape alone, of at most `rows` rows, and the first rows of a batch as one of them.
    pub fn narrowed(&self, plan: &BatchPlan, rows: usize) -> (Batches, BatchPlan) {
        let shape = self.buckets.shapes()[plan.bucket];
        let bucket = Bucket { rows: shape.rows.min(rows.max(1)), ..shape };
        let examples = plan.examples[..plan.examples.len().min(bucket.rows)].to_vec();
        let material = match &self.material {
            Material::Pairs { examples, members } => {
                Material::Pairs { examples: examples.clone(), members: vec![members[plan.bucket].clone()] }
            }
            Material::Text(windows) => Material::Text(windows.clone()),
        };
        (Batches { buckets: Buckets(vec![bucket]), material }, BatchPlan { bucket: 0, examples })
    }

    /// How many pairs, or blocks of a text, an epoch has.
    pub fn count(&self) -> usize {
        match &self.material {
            Material::Pairs { examples, .. } => examples.len(),
            Material::Text(windows) => windows.count(),
        }
    }

    /// Every token, with a number that is none behind each side of a pair: what tells one set from another.
    pub fn tokens(&self) -> Vec<u64> {
        let side = |ids: &[u32]| ids.iter().map(|id| u64::from(*id)).chain([u64::from(u32::MAX)]).collect::<Vec<_>>();
        match &self.material {
            Material::Pairs { examples, .. } => {
                examples.iter().flat_map(|e| [side(&e.source), side(&e.target)].concat()).collect()
            }
            Material::Text(windows) => side(windows.tokens()),
        }
    }

    /// The batches of an epoch, with every example in one of them. Their order and what is in them depend on `seed`,
    /// `epoch` and the examples alone, so that a run can go on where it was cut off.
    pub fn epoch(&self, seed: u64, epoch: u64) -> Vec<BatchPlan> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // A stream per epoch: no two overlap, as they might if the seed and the epoch were added up.
        rng.set_stream(epoch);
        match &self.material {
            Material::Pairs { members, .. } => {
                let mut members = members.clone();
                members.iter_mut().for_each(|indices| shuffle(indices, &mut rng));
                let mut plans = self.cut(&members);
                shuffle(&mut plans, &mut rng);
                plans
            }
            Material::Text(windows) => self.cut(&[windows.epoch(&mut rng)]),
        }
    }

    /// The same batches each time, bucket by bucket, for evaluation.
    pub fn in_order(&self) -> Vec<BatchPlan> {
        match &self.material {
            Material::Pairs { members, .. } => self.cut(members),
            Material::Text(windows) => self.cut(&[windows.sweep()]),
        }
    }

    fn cut(&self, members: &[Vec<usize>]) -> Vec<BatchPlan> {
        let buckets = self.buckets.shapes().iter().zip(members).enumerate();
        let plan = |bucket, examples: &[usize]| BatchPlan { bucket, examples: examples.to_vec() };
        buckets.flat_map(|(i, (bucket, all))| all.chunks(bucket.rows).map(move |rows| plan(i, rows))).collect()
    }

    /// The arrays of one batch. A bucket's last batch may have rows without a pair.
    pub fn build(&self, plan: &BatchPlan) -> Batch {
        let Bucket { rows, source_length, target_length } = self.buckets.shapes()[plan.bucket];
        let mut batch = Batch {
            source: vec![PAD; rows * source_length],
            source_lengths: vec![0; rows],
            target_in: vec![PAD; rows * target_length],
            target_out: vec![IGNORE; rows * target_length],
            target_lengths: vec![0; rows],
            tokens: 0,
            pairs: plan.examples.len(),
        };
        for (row, &index) in plan.examples.iter().enumerate() {
            let example = match &self.material {
                Material::Pairs { examples, .. } => &examples[index],
                Material::Text(windows) => {
                    windows.fill(index, row, &mut batch);
                    continue;
                }
            };
            let (source, target) = example.lengths();
            // What is given is read, and not predicted.
            let given = target - example.predicted();
            batch.source[row * source_length..][..source].copy_from_slice(&example.source);
            batch.target_in[row * target_length..][..target].copy_from_slice(&example.target[..target]);
            batch.target_out[row * target_length + given..][..target - given]
                .copy_from_slice(&example.target[1 + given..]);
            batch.source_lengths[row] = source as u32;
            batch.target_lengths[row] = target as u32;
            batch.tokens += (target - given) as u32;
        }
        batch
    }

    /// The share, 0 to 1, of the source and target positions of an epoch that hold padding, empty rows included.
    pub fn padded_share(&self) -> f64 {
        let Material::Pairs { examples, members } = &self.material else { return 0.0 };
        let used: usize = examples.iter().map(Example::lengths).map(|(source, target)| source + target).sum();
        let positions = |(bucket, members): (&Bucket, &Vec<usize>)| {
            members.len().next_multiple_of(bucket.rows) * (bucket.source_length + bucket.target_length)
        };
        let all: usize = self.buckets.shapes().iter().zip(members).map(positions).sum();
        1.0 - used as f64 / all.max(1) as f64
    }
}

/// Fisher–Yates: every order is equally likely.
fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(last as u64 + 1, rng) as usize);
    }
}

/// A number from 0 to `bound - 1`. The last numbers of 64 bits that do not make a whole `bound` are drawn again: a
/// plain remainder would favour small results.
fn below(bound: u64, rng: &mut ChaCha8Rng) -> u64 {
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let number = rng.next_u64();
        if number < limit {
            return number % bound;
        }
    }
}

#[cfg(test)]
mod tests;
