//! The few shapes of a run's batches.

use std::collections::BTreeMap;

use super::Example;
use crate::error::{Error, Result};

/// The shape of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Sentence pairs per batch, at least 1.
    pub rows: usize,
    /// Source positions per row (S); 0 where there is only a target: a text.
    pub source_length: usize,
    /// Target positions per row (T).
    pub target_length: usize,
}

impl Bucket {
    fn holds(&self, example: &Example) -> bool {
        let (source, target) = example.lengths();
        source <= self.source_length && target <= self.target_length
    }
}

/// A few shapes, shortest first; an example goes into the first that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets(pub(super) Vec<Bucket>);

/// Examples that might share a bucket: how many, and the lengths that hold them all.
#[derive(Clone, Copy, Default)]
struct Group {
    count: usize,
    source: usize,
    target: usize,
}

impl Group {
    fn join(&mut self, other: Group) {
        self.count += other.count;
        self.source = self.source.max(other.source);
        self.target = self.target.max(other.target);
    }

    fn bucket(self, batch_tokens: usize, batch_size: usize) -> Bucket {
        let rows = if batch_size > 0 { batch_size } else { batch_tokens / (self.source + self.target) };
        Bucket { rows: rows.clamp(1, self.count), source_length: self.source, target_length: self.target }
    }

    /// Positions in all batches of one epoch, padding and empty rows included.
    fn cost(self, batch_tokens: usize, batch_size: usize) -> u64 {
        let rows = self.bucket(batch_tokens, batch_size).rows;
        (self.count.div_ceil(rows) * rows) as u64 * (self.source + self.target) as u64
    }
}

impl Buckets {
    /// Chooses at most `most` shapes that hold all `examples`, with the least padding among those that divide them by
    /// the length of their longer side.
    ///
    /// A batch has `batch_size` rows, or, if that is 0, as many as fit into `batch_tokens` positions, source and target
    /// together; never more than its bucket has examples. Lengths are multiples of 4, so that kernels may load four
    /// positions at once.
    pub fn choose<'a>(
        examples: impl IntoIterator<Item = &'a Example>,
        batch_tokens: usize,
        batch_size: usize,
        most: usize,
    ) -> Result<Self> {
        assert!(most > 0, "at least one bucket");
        let mut lengths = BTreeMap::<(usize, usize), usize>::new();
        for example in examples {
            *lengths.entry(example.lengths()).or_default() += 1;
        }
        let Some(pair) = lengths.keys().map(|(s, t)| s + t).max() else {
            return Err(Error::Input("no sentence pair is short enough to train on: raise data.max_length".into()));
        };
        if batch_size == 0 && pair > batch_tokens {
            return Err(Error::Input(format!(
                "the longest sentence pair takes {pair} positions, more than a batch: set train.batch_tokens to at least \
                 {pair}, or lower data.max_length"
            )));
        }
        let mut groups = BTreeMap::<usize, Group>::new();
        for ((source, target), count) in lengths {
            let (source, target) = (source.next_multiple_of(4), target.next_multiple_of(4));
            groups.entry(source.max(target)).or_default().join(Group { count, source, target });
        }
        let groups: Vec<Group> = groups.into_values().collect();
        let buckets = divide(&groups, most, |group| group.cost(batch_tokens, batch_size));
        Ok(Self(buckets.into_iter().map(|group| group.bucket(batch_tokens, batch_size)).collect()))
    }

    /// The shapes, shortest first.
    pub fn shapes(&self) -> &[Bucket] {
        &self.0
    }

    /// Index of the first shape that holds `example`.
    pub fn fit(&self, example: &Example) -> Option<usize> {
        self.0.iter().position(|bucket| bucket.holds(example))
    }
}

/// Joins neighbouring `groups` into at most `most` at the least total cost.
fn divide(groups: &[Group], most: usize, cost: impl Fn(Group) -> u64) -> Vec<Group> {
    // best[end]: the least cost of the groups before `end`, and how they are joined; one more part per round.
    let mut best: Vec<Option<(u64, Vec<Group>)>> = vec![None; groups.len() + 1];
    best[0] = Some((0, Vec::new()));
    for _ in 0..most {
        let before = best.clone();
        for (end, best) in best.iter_mut().enumerate().skip(1) {
            let mut last = Group::default();
            for start in (0..end).rev() {
                last.join(groups[start]);
                let Some((cost_before, parts)) = &before[start] else { continue };
                let total = cost_before + cost(last);
                if best.as_ref().is_none_or(|(least, _)| total < *least) {
                    *best = Some((total, [parts.as_slice(), &[last]].concat()));
                }
            }
        }
    }
    best.pop().flatten().map(|(_, parts)| parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    #[test]
    fn no_other_division_pads_less() {
        for seed in 0..200 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut side = || 8 * (1 + (rng.next_u64() % 9) as usize);
            let group = |_| Group { count: side(), source: side(), target: side() };
            let groups: Vec<Group> = (0..7).map(group).collect();
            let cost = |group: Group| group.cost(500, 0);
            let join = |part: &[Group]| part.iter().fold(Group::default(), |mut all, &g| (all.join(g), all).1);
            // Bit i says whether there is a cut behind group i.
            let divisions = (0..64u32).filter(|cuts| cuts.count_ones() < 4).map(|cuts| {
                let mut start = 0;
                let ends = (1..=7).filter(|end| *end == 7 || cuts >> (end - 1) & 1 == 1);
                ends.map(|end| cost(join(&groups[std::mem::replace(&mut start, end)..end]))).sum::<u64>()
            });
            let chosen = divide(&groups, 4, cost);
            assert!(chosen.len() <= 4);
            assert_eq!(chosen.into_iter().map(cost).sum::<u64>(), divisions.min().unwrap(), "seed {seed}");
        }
    }
}
