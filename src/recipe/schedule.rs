//! The learning rate of a step.

use super::{Schedule, Train};

/// The learning rate of optimizer step `step`, counted from 1.
///
/// With s the step, w = `warmup` and d = `d_model`:
/// - the warm-up, s < w: lr · s / w, so step 1 has lr / w and step w has lr (`inverse_sqrt`, `constant`);
/// - `inverse_sqrt`: lr · sqrt(w / s), where no warm-up counts as w = 1;
/// - `constant`: lr;
/// - `noam`: lr · d^-0.5 · min(s^-0.5, s · w^-1.5) (Vaswani et al. 2017, section 5.3), its own warm-up.
pub fn learning_rate(train: &Train, d_model: usize, step: u64) -> f64 {
    let (lr, s, w) = (train.lr, step as f64, train.warmup as f64);
    match train.schedule {
        // Without a warm-up w^-1.5 is infinite and s^-0.5 the smaller.
        Schedule::Noam => lr * (d_model as f64).powf(-0.5) * s.powf(-0.5).min(s * w.powf(-1.5)),
        _ if step < train.warmup => lr * s / w,
        Schedule::InverseSqrt => lr * (w.max(1.0) / s).sqrt(),
        Schedule::Constant => lr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: Schedule, lr: f64, warmup: u64, d_model: usize, expected: &[(u64, f64)]) {
        let train = Train { schedule, lr, warmup, ..Train::default() };
        for &(step, rate) in expected {
            let got = learning_rate(&train, d_model, step);
            assert!((got - rate).abs() <= 1e-12 * rate, "{schedule}, step {step}: {got}, not {rate}");
        }
    }

    #[test]
    fn inverse_sqrt_rises_linearly_and_halves_at_four_times_the_warmup() {
        let rates = [(1, 0.0025), (2, 0.005), (399, 0.9975), (400, 1.0), (401, 0.9987523388778446), (1600, 0.5)];
        check(Schedule::InverseSqrt, 1.0, 400, 256, &rates);
        check(Schedule::InverseSqrt, 0.02, 1, 256, &[(1, 0.02), (4, 0.01), (100, 0.002)]);
    }

    #[test]
    fn inverse_sqrt_without_warmup_starts_at_the_peak() {
        check(Schedule::InverseSqrt, 0.5, 0, 256, &[(1, 0.5), (4, 0.25), (25, 0.1)]);
    }

    /// The paper's numbers: d = 512, w = 4000, whose peak is 1 / sqrt(512 · 4000) = 6.99e-4.
    #[test]
    fn noam_is_the_paper() {
        let rates = [(1, 1.746928107421711e-7), (4000, 6.987712429686843e-4), (16_000, 3.4938562148434215e-4)];
        check(Schedule::Noam, 1.0, 4000, 512, &rates);
        check(Schedule::Noam, 2.0, 4, 256, &[(1, 0.015625), (2, 0.03125), (4, 0.0625), (16, 0.03125)]);
        check(Schedule::Noam, 1.0, 0, 256, &[(1, 0.0625), (4, 0.03125)]);
    }

    #[test]
    fn constant_stays() {
        check(Schedule::Constant, 0.1, 10, 256, &[(1, 0.01), (9, 0.09), (10, 0.1), (11, 0.1), (1_000_000, 0.1)]);
        check(Schedule::Constant, 0.1, 0, 256, &[(1, 0.1), (2, 0.1)]);
    }
}
