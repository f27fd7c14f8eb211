//! The learning rate of a step.

use super::{Schedule, Train};

/// The learning rate of optimizer step `step`, counted from 1, of `steps`, after `reductions` reductions of a plateau.
///
/// With s the step, N = `steps`, w = `warmup`, m = `min_lr` and d = `d_model`:
/// - the warm-up of all but `noam`, s < w: lr · s / w, so step 1 has lr / w and step w has lr;
/// - `inverse_sqrt`: lr · sqrt(w / s), where no warm-up counts as w = 1;
/// - `constant`: lr;
/// - `noam`: lr · d^-0.5 · min(s^-0.5, s · w^-1.5) (Vaswani et al. 2017, section 5.3), its own warm-up;
/// - `cosine`: m + (lr − m) · (1 + cos(π r)) / 2 with r = (s − w) / (N − w), so the last step has m (Loshchilov and
///   Hutter 2017, without restarts). nanoGPT's, whose iterations count from 0, gives iteration s the same rate after
///   the warm-up when `lr_decay_iters` = N, and has one iteration more before it;
/// - `linear`: m + (lr − m) · (1 − r);
/// - `wsd`: lr until 4N / 5, then m + (lr − m) · (N − s) / (N / 5);
/// - `plateau`: the larger of m and lr · `plateau_factor` ^ `reductions`.
pub fn learning_rate(train: &Train, d_model: usize, step: u64, steps: u64, reductions: u32) -> f64 {
    let (lr, least) = (train.lr, train.min_lr);
    let (s, n, w) = (step as f64, steps as f64, train.warmup as f64);
    // What is left of the way from lr to min_lr when it takes the last `part` steps. Where the warm-up leaves none for
    // it, the step that ends both has the peak.
    let left = |part: f64| if part > 0.0 { ((n - s) / part).clamp(0.0, 1.0) } else { 1.0 };
    match train.schedule {
        // Without a warm-up w^-1.5 is infinite and s^-0.5 the smaller.
        Schedule::Noam => lr * (d_model as f64).powf(-0.5) * s.powf(-0.5).min(s * w.powf(-1.5)),
        _ if step < train.warmup => lr * s / w,
        Schedule::InverseSqrt => lr * (w.max(1.0) / s).sqrt(),
        Schedule::Constant => lr,
        Schedule::Cosine => least + (lr - least) * 0.5 * (1.0 - (std::f64::consts::PI * left(n - w)).cos()),
        Schedule::Linear => least + (lr - least) * left(n - w),
        Schedule::Wsd => least + (lr - least) * left(n / 5.0),
        // One factor after the other: powi may round differently elsewhere.
        Schedule::Plateau => (0..reductions).fold(lr, |lr, _| lr * train.plateau_factor).max(least),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(train: &Train, d_model: usize, steps: u64, expected: &[(u64, f64)]) {
        for &(step, rate) in expected {
            let got = learning_rate(train, d_model, step, steps, 0);
            assert!((got - rate).abs() <= 1e-12 * train.lr, "{}, step {step}: {got}, not {rate}", train.schedule);
        }
    }

    fn rising(schedule: Schedule, lr: f64, warmup: u64) -> Train {
        Train { schedule, lr, warmup, ..Train::default() }
    }

    fn falling(schedule: Schedule, lr: f64, warmup: u64, min_lr: f64) -> Train {
        Train { min_lr, ..rising(schedule, lr, warmup) }
    }

    #[test]
    fn inverse_sqrt_rises_linearly_and_halves_at_four_times_the_warmup() {
        let rates = [(1, 0.0025), (2, 0.005), (399, 0.9975), (400, 1.0), (401, 0.9987523388778446), (1600, 0.5)];
        check(&rising(Schedule::InverseSqrt, 1.0, 400), 256, 2000, &rates);
        check(&rising(Schedule::InverseSqrt, 0.02, 1), 256, 2000, &[(1, 0.02), (4, 0.01), (100, 0.002)]);
    }

    #[test]
    fn inverse_sqrt_without_warmup_starts_at_the_peak() {
        check(&rising(Schedule::InverseSqrt, 0.5, 0), 256, 2000, &[(1, 0.5), (4, 0.25), (25, 0.1)]);
    }

    /// The paper's numbers: d = 512, w = 4000, whose peak is 1 / sqrt(512 · 4000) = 6.99e-4.
    #[test]
    fn noam_is_the_paper() {
        let rates = [(1, 1.746928107421711e-7), (4000, 6.987712429686843e-4), (16_000, 3.4938562148434215e-4)];
        check(&rising(Schedule::Noam, 1.0, 4000), 512, 100_000, &rates);
        check(&rising(Schedule::Noam, 2.0, 4), 256, 16, &[(1, 0.015625), (2, 0.03125), (4, 0.0625), (16, 0.03125)]);
        check(&rising(Schedule::Noam, 1.0, 0), 256, 16, &[(1, 0.0625), (4, 0.03125)]);
    }

    #[test]
    fn constant_stays() {
        let rates = [(1, 0.01), (9, 0.09), (10, 0.1), (11, 0.1), (1_000_000, 0.1)];
        check(&rising(Schedule::Constant, 0.1, 10), 256, 1_000_000, &rates);
        check(&rising(Schedule::Constant, 0.1, 0), 256, 2, &[(1, 0.1), (2, 0.1)]);
    }

    /// nanoGPT's Shakespeare: 6e-4 to 6e-5. A third of the way cos is a half, so three quarters of the height are left.
    #[test]
    fn cosine_ends_at_the_least_rate() {
        let train = falling(Schedule::Cosine, 6e-4, 100, 6e-5);
        let rates =
            [(1, 6e-6), (99, 5.94e-4), (100, 6e-4), (400, 4.65e-4), (550, 3.3e-4), (700, 1.95e-4), (1000, 6e-5)];
        check(&train, 256, 1000, &rates);
        check(&falling(Schedule::Cosine, 1.0, 0, 0.0), 256, 4, &[(1, 0.8535533905932737), (2, 0.5), (4, 0.0)]);
    }

    #[test]
    fn linear_falls_by_the_same_at_every_step() {
        let rates = [(1, 0.1), (10, 1.0), (11, 0.91), (15, 0.55), (19, 0.19), (20, 0.1)];
        check(&falling(Schedule::Linear, 1.0, 10, 0.1), 256, 20, &rates);
        check(&falling(Schedule::Linear, 1.0, 0, 0.0), 256, 4, &[(1, 0.75), (4, 0.0)]);
    }

    #[test]
    fn wsd_stays_for_four_fifths() {
        let rates = [(1, 0.1), (10, 1.0), (11, 1.0), (80, 1.0), (81, 0.955), (90, 0.55), (99, 0.145), (100, 0.1)];
        check(&falling(Schedule::Wsd, 1.0, 10, 0.1), 256, 100, &rates);
        // A fifth of 12 steps is 2.4.
        check(&falling(Schedule::Wsd, 1.0, 0, 0.0), 256, 12, &[(9, 1.0), (10, 2.0 / 2.4), (11, 1.0 / 2.4), (12, 0.0)]);
    }

    #[test]
    fn a_warm_up_as_long_as_the_run_ends_at_the_peak() {
        for schedule in [Schedule::Cosine, Schedule::Linear] {
            check(&falling(schedule, 1.0, 10, 0.1), 256, 10, &[(1, 0.1), (9, 0.9), (10, 1.0)]);
            check(&falling(schedule, 1.0, 400, 0.0), 256, 10, &[(1, 0.0025), (10, 0.025)]);
        }
    }

    #[test]
    fn plateau_is_lowered_down_to_the_least_rate() {
        let train = Train { plateau_factor: 0.25, ..falling(Schedule::Plateau, 1.0, 10, 0.1) };
        let rate = |step, reductions| learning_rate(&train, 256, step, 100, reductions);
        assert_eq!([rate(5, 0), rate(10, 0), rate(100, 0), rate(50, 1), rate(50, 2)], [0.5, 1.0, 1.0, 0.25, 0.1]);
    }
}
