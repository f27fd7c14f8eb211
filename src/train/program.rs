//! The programs of a training run, by name.

use super::Planned;
use crate::network::Network;
use crate::plan::Plan;
use crate::text::batch::{Batches, Bucket};

/// What a program of a training run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Forward and backward pass of a batch.
    Train(Bucket),
    /// The loss of a batch.
    Evaluate(Bucket),
    /// The parameters' change.
    Update,
}

impl Planned {
    /// Every program with its plan: those of the training buckets, shortest first, those of evaluation, the update.
    pub fn programs(&self) -> impl Iterator<Item = (Program, &Plan)> {
        let shapes = |set: &Batches| set.buckets().shapes().to_vec();
        let train = shapes(&self.train).into_iter().map(Program::Train);
        let evaluate = shapes(&self.valid).into_iter().map(Program::Evaluate);
        train.chain(evaluate).chain([Program::Update]).zip(&self.plans)
    }

    /// What is to be trained.
    pub fn network(&self) -> &Network {
        &self.network
    }
}
