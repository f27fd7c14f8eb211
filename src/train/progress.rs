//! Where training stands, and the numbers of a step.

use crate::error::{Error, Result};
use crate::recipe::{Schedule, Train};

/// Where training stands: all that a resumed run needs besides parameters and moments.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Updates done.
    pub step: u64,
    /// Passes over the data done.
    pub epoch: u64,
    /// Batches of the current epoch done.
    pub batch: usize,
    /// Target tokens seen.
    pub tokens: u64,
    /// Lowest validation loss so far, and at which step.
    pub best: Option<(f64, u64)>,
    /// Evaluations since then.
    pub stale: u64,
    /// How often a plateau has lowered the learning rate.
    pub reductions: u32,
}

impl Progress {
    /// Fails when this is where no run can stand: what is counted is counted once a step.
    pub(super) fn check(&self, file: &str) -> Result<()> {
        let step = self.step;
        let counts = [
            ("epoch", self.epoch),
            ("best", self.best.map_or(0, |(_, best)| best)),
            ("stale", self.stale),
            ("reductions", u64::from(self.reductions)),
        ];
        let wrong = |name: &str, count: u64| {
            Err(Error::Input(format!(
                "{file}: a damaged training state: {name} is {count} after {step} steps; use another --out, or --fresh"
            )))
        };
        match counts.into_iter().find(|(_, count)| *count > step) {
            Some((name, count)) => wrong(name, count),
            // Far more than any machine can see, and far from overflow.
            None if self.tokens > 1 << 62 => wrong("tokens", self.tokens),
            None => Ok(()),
        }
    }

    /// Takes note of a validation loss; whether it is the best so far. A loss that is not finite never is.
    pub(super) fn judge(&mut self, train: &Train, loss: f64) -> bool {
        if loss.is_finite() && self.best.is_none_or(|(best, _)| loss < best) {
            (self.best, self.stale) = (Some((loss, self.step)), 0);
            return true;
        }
        self.stale += 1;
        // Counted from the best one or the last reduction, whichever is later.
        if train.schedule == Schedule::Plateau && self.stale.is_multiple_of(train.plateau_patience) {
            self.reductions += 1;
        }
        false
    }

    /// Whether the last `train.patience` evaluations were in vain.
    pub(super) fn out_of_patience(&self, train: &Train) -> bool {
        train.patience > 0 && self.stale >= train.patience
    }
}

/// The numbers of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Which step, counted from 1.
    pub step: u64,
    /// Epochs done, as a fraction.
    pub epoch: f64,
    /// Mean cross-entropy with label smoothing over the step's target tokens, in nats.
    pub loss: f64,
    /// Kullback–Leibler divergence from the smoothed target to the model: the loss minus the target's entropy.
    pub kl: f64,
    /// The loss without smoothing.
    pub nll: f64,
    /// Learning rate.
    pub lr: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Target tokens of the step.
    pub tokens: u32,
}

/// What the host knows of a step whose numbers are still on the device.
pub(super) struct Pending {
    pub(super) step: u64,
    pub(super) epoch: f64,
    pub(super) lr: f64,
    pub(super) tokens: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn judge(train: &Train, losses: &[f64]) -> Progress {
        let mut progress = Progress::default();
        for &loss in losses {
            progress.step += 10;
            progress.judge(train, loss);
        }
        progress
    }

    #[test]
    fn only_a_lower_loss_is_better() {
        let progress = judge(&Train::default(), &[f64::NAN, 3.0, 2.0, 2.0, f64::NAN, f64::INFINITY]);
        assert_eq!((progress.best, progress.stale, progress.reductions), (Some((2.0, 30)), 3, 0));
        let none = judge(&Train::default(), &[f64::NAN, f64::INFINITY]);
        assert_eq!((none.best, none.stale), (None, 2));
    }

    #[test]
    fn a_plateau_lowers_the_rate_every_so_many_evaluations_in_vain() {
        let train = Train { schedule: Schedule::Plateau, plateau_patience: 2, ..Train::default() };
        let reductions = |losses: &[f64]| judge(&train, losses).reductions;
        assert_eq!(reductions(&[1.0, 2.0]), 0);
        assert_eq!(reductions(&[1.0, 2.0, 1.0]), 1);
        assert_eq!(reductions(&[1.0, 2.0, 2.0, 2.0]), 1);
        assert_eq!(reductions(&[1.0, 2.0, 2.0, 2.0, 2.0]), 2);
        // A better one in between starts the count again.
        assert_eq!(reductions(&[1.0, 2.0, 0.5, 2.0]), 0);
        assert_eq!(reductions(&[1.0, 2.0, 2.0, 2.0, 0.5, 2.0]), 1);
        assert_eq!(judge(&Train { schedule: Schedule::Constant, ..train }, &[1.0, 2.0, 2.0]).reductions, 0);
    }

    #[test]
    fn patience_ends_after_so_many_evaluations_in_vain() {
        let train = |patience| Train { patience, ..Train::default() };
        let progress = judge(&train(2), &[1.0, 2.0, 2.0]);
        assert!([1, 2].iter().all(|&p| progress.out_of_patience(&train(p))));
        assert!([0, 3].iter().all(|&p| !progress.out_of_patience(&train(p))));
    }
}
