//! Beam search: the hypotheses of a line, and which of them go on.

use super::choose::{largest, log_softmax};
use super::{End, Hypothesis, Options, Search, Written};

/// What long hypotheses are forgiven: their log-probability is divided by it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Penalty {
    /// ((5 + length) / 6)^alpha (Wu et al. 2016, GNMT).
    Gnmt(f64),
    /// length^alpha, as in transformers.
    Power(f64),
}

impl Penalty {
    /// For so many tokens, the one that ends a line included.
    fn of(self, length: usize) -> f64 {
        match self {
            Penalty::Gnmt(alpha) => ((5.0 + length as f64) / 6.0).powf(alpha),
            Penalty::Power(alpha) => (length as f64).powf(alpha),
        }
    }
}

/// The hypotheses of a line. Without a beam there is one.
#[derive(Debug)]
pub(super) struct Beam {
    /// Those that go on, best first.
    pub(super) live: Vec<Hypothesis>,
    /// Those that have ended.
    done: Vec<Written>,
    /// The first of its rows of the caches.
    pub(super) slot: usize,
    width: usize,
    best: usize,
    penalty: Option<Penalty>,
}

impl Beam {
    /// Line `i` of a batch starts with its prompt.
    pub(super) fn new(prompt: &[u32], i: usize, options: &Options) -> Beam {
        let (width, penalty) = match options.search {
            Search::Beam(width, penalty) => (width, Some(penalty)),
            _ => (1, None),
        };
        let slot = i * width;
        let live = if options.most == 0 { vec![] } else { vec![Hypothesis::new(prompt, slot)] };
        Beam { live, done: vec![], slot, width, best: options.best, penalty }
    }

    fn end(&mut self, h: &Hypothesis, prompt: usize, end: End) {
        let tokens = h.tokens[prompt..].to_vec();
        let length = tokens.len() + usize::from(end == End::Token);
        let score = self.penalty.map_or(h.log_probability, |p| h.log_probability / p.of(length.max(1)));
        self.done.push(Written { tokens, log_probability: h.log_probability, score, end, first: h.first });
    }

    /// Nothing goes on.
    pub(super) fn end_all(&mut self, prompt: usize, end: End) {
        for h in std::mem::take(&mut self.live) {
            self.end(&h, prompt, end);
        }
    }

    /// The hypotheses with each token behind them; the most likely go on. Ends when no hypothesis can beat those that have
    /// ended any more.
    pub(super) fn branch(&mut self, options: &Options, prompt: usize, logits: Vec<Vec<f64>>) {
        // (log-probability, hypothesis, token): of each hypothesis as many as could all go on or end.
        let mut candidates: Vec<(f64, usize, usize)> = vec![];
        for (i, mut logits) in logits.into_iter().enumerate() {
            let h = &self.live[i];
            options.rules.apply(&h.tokens, &mut logits);
            if logits.iter().all(|l| *l == f64::NEG_INFINITY) {
                continue;
            }
            log_softmax(&mut logits);
            let best = largest(&logits, 2 * self.width);
            candidates.extend(best.into_iter().map(|token| (h.log_probability + logits[token], i, token)));
        }
        candidates.retain(|c| c.0 > f64::NEG_INFINITY);
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        if candidates.is_empty() {
            return self.end_all(prompt, End::Forbidden);
        }
        let before = std::mem::take(&mut self.live);
        for (rank, (log_probability, i, token)) in candidates.into_iter().enumerate() {
            if options.end == Some(token as u32) {
                // An end that would not have gone on does not count.
                if rank < self.width {
                    let ended = Hypothesis { log_probability, ..before[i].clone() };
                    self.end(&ended, prompt, End::Token);
                }
            } else if self.live.len() < self.width {
                let slot = self.slot + self.live.len();
                self.live.push(before[i].followed_by(token as u32, log_probability, slot));
            }
        }
        let length = self.live.first().map_or(0, |h| h.tokens.len() - prompt);
        if length >= options.most {
            self.end_all(prompt, End::Length);
        }
        self.rank();
        if let (Some(penalty), Some(best), true) = (self.penalty, self.live.first(), self.done.len() >= self.width) {
            // Probabilities only fall, and no penalty is larger than that of the longest line.
            let reachable =
                best.log_probability / penalty.of(options.most.saturating_add(1)).max(penalty.of(length + 1));
            if reachable <= self.done[self.width - 1].score {
                self.live.clear();
            }
        }
    }

    /// Best first; of equal ones the one that ended first.
    fn rank(&mut self) {
        self.done.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.done.truncate(self.width);
    }

    /// The best of those that have ended.
    pub(super) fn finish(mut self) -> Vec<Written> {
        self.rank();
        self.done.truncate(self.best.max(1));
        if self.done.is_empty() {
            self.done.push(Written { tokens: vec![], log_probability: 0.0, score: 0.0, end: End::Length, first: 0 });
        }
        self.done
    }
}
