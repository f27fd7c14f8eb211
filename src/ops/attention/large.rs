//! Large cases of the four kernels: 2,048 tokens in sentences of several lengths, eight heads of 64.

use super::{Attention, AttentionKeyVjp, AttentionQueryVjp, AttentionStatistics};
use crate::large::{Input, Large, noise, positive, words};
use crate::ops::dropout::Dropout;
use crate::step::step_type;

/// Large cases of the four kernels.
pub fn large() -> Vec<Large> {
    let mut large = vec![];
    for (t, causal, p) in [
        (512, true, 0.0),
        (256, true, 0.0),
        (1024, true, 0.0),
        (256, false, 0.0),
        (512, false, 0.0),
        (1024, false, 0.0),
        (64, false, 0.1),
    ] {
        let (batch, heads, d) = (2048 / t, 8, 64);
        let op = || Attention { heads, scale: 0.125, causal, dropout: Dropout { p, site: 99 } };
        let lengths: Vec<u32> = (0..batch).map(|b| if causal { t } else { length(b, batch, t) } as u32).collect();
        let part = lengths.iter().sum::<u32>() as f64 / (batch * t) as f64;
        let mask = || -> Input {
            let step = vec![0; if p > 0.0 { step_type().elements() } else { 0 }];
            words(&[step, lengths.clone()].concat())
        };
        let x = || noise(&[batch, t, heads * d]);
        let kind = if causal { "causal" } else { "lengths" };
        let name = format!("{batch}x{t}x({heads}x{d}) {kind}{}", if p > 0.0 { " p 0.1" } else { "" });
        large.push(Large::new(&name, op(), [x(), x(), x(), mask()]).part(part));
        let inputs = || [x(), x(), x(), x(), positive(&[batch, heads, t, 2]), mask()];
        large.push(Large::new(&name, AttentionQueryVjp(op()), inputs()).part(part));
        large.push(Large::new(name, AttentionKeyVjp(op()), inputs()).part(part));
    }
    let (batch, heads, t) = (32, 8, 512);
    let o = || noise(&[batch, t, heads * 64]);
    let statistics = AttentionStatistics { heads };
    large.push(Large::new("32x512x(8x64)", statistics, [o(), o(), noise(&[batch, heads, t])]));
    large
}

/// Lengths from half of the longest to the longest, in steps.
fn length(b: usize, batch: usize, longest: usize) -> usize {
    longest / 2 + longest / 2 * (b + 1) / batch
}
