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
            false => Err(Error::Input(format!(
                "a text of {} tokens has no block of train.block = {block} and one more; give a longer text, or lower \
                 train.block or raise data.valid_fraction",
                tokens.len()
            ))),
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
