//! The next token of a line out of its logits: rules that change them, and chance.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::cmp::Ordering;

/// What repeats less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Logits of tokens that occurred, in the prompt too, are divided by it where positive and multiplied where negative
    /// (Keskar et al. 2019); 1 = off.
    pub repetition_penalty: f64,
    /// No sequence of so many tokens occurs twice; 0 = off.
    pub no_repeat_ngram: usize,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { repetition_penalty: 1.0, no_repeat_ngram: 0 }
    }
}

/// How chance decides. The order is that of transformers: temperature, then `top_k`, `top_p` and `min_p`, each on what
/// the one before has left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it.
    pub temperature: f64,
    /// Only so many most likely tokens; 0 = all.
    pub top_k: usize,
    /// Only the fewest most likely tokens whose probabilities add up to at least this (Holtzman et al. 2020); 1 = all.
    pub top_p: f64,
    /// Only tokens at least this times as likely as the most likely one; 0 = all.
    pub min_p: f64,
    /// What a line draws depends on this and on its number alone.
    pub seed: u64,
}

impl Rules {
    /// Whether logits stay as they are.
    pub(super) fn are_off(&self) -> bool {
        *self == Rules::default()
    }

    /// Changes the logits of a line that has these tokens so far.
    pub(super) fn apply(&self, tokens: &[u32], logits: &mut [f64]) {
        if self.repetition_penalty != 1.0 {
            let mut seen = tokens.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for t in seen {
                let logit = &mut logits[t as usize];
                *logit = if *logit > 0.0 { *logit / self.repetition_penalty } else { *logit * self.repetition_penalty };
            }
        }
        let n = self.no_repeat_ngram;
        if n > 0 && tokens.len() >= n {
            let last = &tokens[tokens.len() - (n - 1)..];
            for ngram in tokens.windows(n).filter(|ngram| ngram[..n - 1] == *last) {
                logits[ngram[n - 1] as usize] = f64::NEG_INFINITY;
            }
        }
    }
}

/// The largest element, the first of equal ones.
pub(super) fn argmax(logits: &[f64]) -> usize {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best
}

/// Logits as logarithms of probabilities.
pub(super) fn log_softmax(logits: &mut [f64]) {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|l| (l - top).exp()).sum();
    logits.iter_mut().for_each(|l| *l -= top + sum.ln());
}

/// The most likely first, and of equal ones the first.
fn by_logit(logits: &[f64]) -> impl Fn(&usize, &usize) -> Ordering + '_ {
    |&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b))
}

/// The `count` largest elements, largest first.
pub(super) fn largest(logits: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    if count < order.len() {
        order.select_nth_unstable_by(count, by_logit(logits));
        order.truncate(count);
    }
    order.sort_unstable_by(by_logit(logits));
    order
}

impl Sampling {
    /// Draws the token after `step` others of line `line`.
    pub(super) fn draw(&self, logits: &[f64], line: u64, step: u64) -> usize {
        let count = if self.top_k == 0 { logits.len() } else { self.top_k };
        let order = largest(logits, count);
        let top = logits[order[0]] / self.temperature;
        let weights: Vec<f64> = order.iter().map(|&i| (logits[i] / self.temperature - top).exp()).collect();
        let all: f64 = weights.iter().sum();
        let mut kept = weights.len();
        if self.top_p < 1.0 {
            let mut sum = 0.0;
            let enough = weights.iter().position(|w| {
                sum += w;
                sum >= self.top_p * all
            });
            kept = enough.map_or(kept, |last| last + 1);
        }
        // Weights fall, so what is likely enough comes first.
        kept = weights[..kept].iter().take_while(|w| **w >= self.min_p * weights[0]).count().max(1);
        let sum: f64 = weights[..kept].iter().sum();
        let mut rest = uniform(self.seed, line, step) * sum;
        for (&token, weight) in order.iter().zip(&weights[..kept]) {
            rest -= weight;
            if rest < 0.0 {
                return token;
            }
        }
        order[kept - 1]
    }
}

/// A number in [0, 1) for a token of a line, whatever was drawn for others.
fn uniform(seed: u64, line: u64, step: u64) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(line);
    rng.set_word_pos(2 * step as u128);
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 3 };

    fn counts(sampling: Sampling, logits: &[f64]) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        (0..4000).for_each(|line| counts[sampling.draw(logits, line, 5)] += 1);
        counts
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let p = [0.1, 0.4, 0.2, 0.3];
        let logits = p.map(|p: f64| p.ln() + 7.0);
        for (count, p) in counts(ALL, &logits).into_iter().zip(p) {
            // Four standard deviations.
            assert!((count as f64 - 4000.0 * p).abs() <= 4.0 * (4000.0 * p * (1.0 - p)).sqrt(), "{count} for {p}");
        }
        // Half the temperature squares the odds: 1 : 16 : 4 : 9.
        let cold = counts(Sampling { temperature: 0.5, ..ALL }, &logits);
        assert!((cold[1] as f64 - 4000.0 * 16.0 / 30.0).abs() <= 130.0, "{cold:?}");
    }

    #[test]
    fn what_is_cut_never_comes() {
        let logits = [0.1f64, 0.4, 0.2, 0.3].map(f64::ln);
        let kept = |sampling| -> Vec<usize> {
            counts(sampling, &logits).iter().enumerate().filter(|(_, c)| **c > 0).map(|(i, _)| i).collect()
        };
        assert_eq!(kept(Sampling { top_k: 2, ..ALL }), [1, 3]);
        assert_eq!(kept(Sampling { top_p: 0.65, ..ALL }), [1, 3]);
        assert_eq!(kept(Sampling { top_p: 0.75, ..ALL }), [1, 2, 3]);
        assert_eq!(kept(Sampling { min_p: 0.6, ..ALL }), [1, 3]);
        assert_eq!(kept(Sampling { min_p: 1.0, ..ALL }), [1]);
        assert_eq!(kept(Sampling { top_k: 1, ..ALL }), [1]);
    }

    #[test]
    fn a_draw_is_its_own() {
        let draws = |line| -> Vec<f64> { (0..4).map(|step| uniform(1, line, step)).collect() };
        assert_ne!(draws(0), draws(1));
        assert_eq!(draws(7), draws(7));
        assert_eq!(uniform(1, 7, 2), draws(7)[2]);
    }

    #[test]
    fn repetitions_are_punished_and_forbidden() {
        let mut logits = [2.0, -2.0, 1.0, 3.0];
        Rules { repetition_penalty: 2.0, no_repeat_ngram: 0 }.apply(&[0, 1, 0], &mut logits);
        assert_eq!(logits, [1.0, -4.0, 1.0, 3.0]);
        let mut logits = [0.0; 4];
        Rules { repetition_penalty: 1.0, no_repeat_ngram: 3 }.apply(&[1, 2, 3, 0, 1, 2], &mut logits);
        assert_eq!(logits, [0.0, 0.0, 0.0, f64::NEG_INFINITY]);
        let mut logits = [0.0; 4];
        Rules { repetition_penalty: 1.0, no_repeat_ngram: 1 }.apply(&[2], &mut logits);
        assert_eq!(logits, [0.0, 0.0, f64::NEG_INFINITY, 0.0]);
    }
}
