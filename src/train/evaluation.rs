//! The loss over a whole set.

use super::graphs::{Feeds, evaluation_graph};
use crate::error::Result;
use crate::network::Network;
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::text::batch::Batches;

/// A loss over a whole set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy with the training's label smoothing, in nats per target token.
    pub loss: f64,
    /// The same without smoothing: the logarithm of the perplexity.
    pub nll: f64,
    /// Target tokens.
    pub tokens: u64,
}

/// The loss over a set, whose buckets' programs start at `first`.
pub(super) async fn evaluate(network: &mut Network, set: &Batches, first: usize) -> Result<Evaluation> {
    let (mut loss, mut nll, mut tokens) = (0.0, 0.0, 0);
    for plan in set.in_order() {
        let batch = set.build(&plan);
        let feeds = Feeds::new(network, &batch, set.buckets().shapes()[plan.bucket], 1.0);
        let program = first + plan.bucket;
        network.device.run(program, &feeds.list());
        loss += network.device.read(program, "loss").await?.as_f32()[0] as f64;
        nll += network.device.read(program, "nll").await?.as_f32()[0] as f64;
        tokens += batch.tokens as u64;
    }
    let mean = |sum: f64| sum / tokens.max(1) as f64;
    Ok(Evaluation { loss: mean(loss), nll: mean(nll), tokens })
}

/// The loss of a network that is not being trained on a set. Errors: something is too large for the device.
pub async fn evaluate_network(network: &mut Network, recipe: &Recipe, set: &Batches) -> Result<Evaluation> {
    let limits = network.device.limits();
    let mut plans = vec![];
    for &bucket in set.buckets().shapes() {
        plans.push(Plan::new(evaluation_graph(network, recipe, bucket), &limits)?);
    }
    let first = network.device.load(plans).await?;
    evaluate(network, set, first).await
}
