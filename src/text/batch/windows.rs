//! A text as training examples: windows of `block` tokens, of which each but the last predicts the next.

use super::{Batch, below, shuffle};
use crate::error::{Error, Result};
use rand_chacha::ChaCha8Rng;

/// One sequence of tokens, cut anew each epoch.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    tokens: Vec<u32>,
    block: usize,
}

impl Windows {
    /// Errors: the text has not a window's tokens and the one after them.
    pub(super) fn new(tokens: Vec<u32>, block: usize) -> Result<Windows> {
        match tokens.len() > block {
            true => Ok(Windows { tokens, block }),
            false => {
                Err(Error::Input(format!("a text of {} tokens has no block of {block} and one more", tokens.len())))
            }
        }
    }

    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Where the windows of an epoch start, shuffled: side by side from an offset by chance, so that every cut comes up
    /// sooner or later. There are as many in each epoch.
    pub(super) fn epoch(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let count = self.count();
        let spare = self.tokens.len() - 1 - count * self.block;
        let offset = below(spare.min(self.block - 1) as u64 + 1, rng) as usize;
        let mut starts: Vec<usize> = (0..count).map(|i| offset + i * self.block).collect();
        shuffle(&mut starts, rng);
        starts
    }

    /// Windows that there is room for, whatever the offset; one at least.
    pub(super) fn count(&self) -> usize {
        ((self.tokens.len() - self.block) / self.block).max(1)
    }

    /// Where windows start that cover the text once; the last one may be shorter.
    pub(super) fn sweep(&self) -> Vec<usize> {
        (0..self.tokens.len() - 1).step_by(self.block).collect()
    }

    /// Writes the window from `start` on into a row of a batch.
    pub(super) fn fill(&self, start: usize, row: usize, batch: &mut Batch) {
        let length = self.block.min(self.tokens.len() - 1 - start);
        batch.target_in[row * self.block..][..length].copy_from_slice(&self.tokens[start..][..length]);
        batch.target_out[row * self.block..][..length].copy_from_slice(&self.tokens[start + 1..][..length]);
        batch.target_lengths[row] = length as u32;
        batch.tokens += length as u32;
    }
}

#[cfg(test)]
mod tests {
    use crate::text::batch::Batches;

    /// Every cut of texts around the lengths of one and two blocks.
    #[test]
    fn windows_lie_within_the_text_and_a_sweep_covers_it_once() {
        for length in [5, 6, 8, 9, 10, 37] {
            let tokens: Vec<u32> = (0..length).collect();
            let set = Batches::text(tokens.clone(), 4, 3).expect("a block and one more");
            let mut offsets = std::collections::HashSet::new();
            for epoch in 0..40 {
                let plans = set.epoch(1, epoch);
                assert_eq!(plans.iter().map(|p| p.examples.len()).sum::<usize>(), set.count());
                let mut starts: Vec<usize> = plans.iter().flat_map(|p| p.examples.clone()).collect();
                starts.sort_unstable();
                assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 4), "{starts:?}");
                assert!(starts.last().expect("a window") + 4 < tokens.len(), "{starts:?} of {length}");
                offsets.insert(starts[0]);
                for plan in &plans {
                    let batch = set.build(plan);
                    let rows = plan.examples.len();
                    assert_eq!(batch.tokens as usize, 4 * rows);
                    for (read, next) in batch.target_in[..4 * rows].iter().zip(&batch.target_out) {
                        assert_eq!(read + 1, *next);
                    }
                }
            }
            // With room to spare every offset comes up.
            let spare = (length as usize - 1 - 4 * set.count()).min(3);
            assert_eq!(offsets.len(), spare + 1, "{length}");
            let predicted = |plan| {
                let batch = set.build(&plan);
                batch.target_out.iter().copied().filter(|t| *t < length).collect::<Vec<u32>>()
            };
            let swept: Vec<u32> = set.in_order().into_iter().flat_map(predicted).collect();
            assert_eq!(swept, (1..length).collect::<Vec<u32>>());
        }
        assert!(Batches::text(vec![1; 4], 4, 3).is_err());
    }
}
