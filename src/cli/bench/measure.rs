//! How long a kernel takes: by timestamps where the adapter has them, by the wall clock where not.

use pollster::block_on;
use seqloom::error::Result;
use seqloom::gpu::{Gpu, Kernel, POISON};
use seqloom::tensor::{DType, Tensor};
use std::time::Instant;

/// Runs are timed together until they take so many seconds: timestamps may be coarse.
const TOGETHER: f64 = 2e-3;
/// The same for the wall clock, which sees the submission and the wait as well.
const TOGETHER_BY_CLOCK: f64 = 5e-2;
/// Fewer runs have no spread to tell.
const LEAST: usize = 3;
/// What takes so many seconds is slow beyond doubt: it is run once more than to warm up, and no more.
const SLOW: f64 = 1.0;

/// Seconds of single runs.
#[derive(Clone, Debug)]
pub struct Times {
    /// In ascending order.
    sorted: Vec<f64>,
    /// Whether they come from timestamps.
    pub stamped: bool,
}

impl Times {
    /// Seconds in any order, at least one; `stamped` where they come from timestamps.
    pub fn new(mut seconds: Vec<f64>, stamped: bool) -> Times {
        seconds.sort_by(f64::total_cmp);
        Times { sorted: seconds, stamped }
    }

    /// The time that a share of the runs stayed below, between two runs where it falls there.
    fn quantile(&self, share: f64) -> f64 {
        let at = share * (self.sorted.len() - 1) as f64;
        let (low, high) = (self.sorted[at.floor() as usize], self.sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The first and the third quartile.
    pub fn quartiles(&self) -> [f64; 2] {
        [0.25, 0.75].map(|share| self.quantile(share))
    }

    /// The shortest and the longest.
    pub fn range(&self) -> [f64; 2] {
        [0.0, 1.0].map(|share| self.quantile(share))
    }

    /// How many there are.
    pub fn runs(&self) -> usize {
        self.sorted.len()
    }
}

/// Runs a kernel until so many seconds are over, at least three times, unless it takes seconds, and at most `most` times. The first run, which meets
/// cold caches and memory that nobody has touched, is not counted.
pub fn times(gpu: &mut Gpu, kernel: &Kernel, seconds: f64, most: usize) -> Result<Times> {
    let mut run = |times: usize| -> Result<(f64, bool)> {
        let start = Instant::now();
        let stamped = block_on(gpu.time(kernel, times))?.filter(|seconds| *seconds > 0.0);
        let all = stamped.unwrap_or_else(|| start.elapsed().as_secs_f64());
        Ok((all / times as f64, stamped.is_some()))
    };
    run(1)?;
    let start = Instant::now();
    let (first, stamped) = run(1)?;
    let together = if stamped { TOGETHER } else { TOGETHER_BY_CLOCK };
    let together = (together / first.max(1e-9)).ceil().clamp(1.0, 1000.0) as usize;
    let mut sorted = if together == 1 { vec![first] } else { vec![] };
    let least = if first > SLOW { 1 } else { LEAST };
    while sorted.len() < least || (sorted.len() < most && start.elapsed().as_secs_f64() < seconds) {
        sorted.push(run(together)?.0);
    }
    Ok(Times::new(sorted, stamped))
}

/// What is wrong with outputs at a glance, if anything: a kernel that computes nothing is not fast. Whether the numbers are
/// right is `verify`'s business.
pub fn wrong(outputs: &[Tensor]) -> Option<String> {
    for (o, tensor) in outputs.iter().enumerate() {
        let words: &[u32] = bytemuck::cast_slice(tensor.bytes());
        let exponent = 0x7f80_0000;
        let is_number = |w: u32| tensor.ty().dtype == DType::U32 || w & exponent != exponent;
        if let Some(at) = words.iter().position(|w| *w == POISON || !is_number(*w)) {
            let what = if words[at] == POISON { "was not written" } else { "is not a finite number" };
            return Some(format!("output {o} [{at}] {what}"));
        }
        if words.iter().all(|w| *w == 0) {
            return Some(format!("output {o} is all zeros"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_computes_nothing_is_wrong() {
        let f32s = |x: &[f32]| wrong(&[Tensor::f32([x.len()], x.into())]);
        assert_eq!(f32s(&[0.0, -1.5, 1e-40]), None);
        assert_eq!(f32s(&[1.0, f32::NAN]).as_deref(), Some("output 0 [1] is not a finite number"));
        assert_eq!(f32s(&[f32::INFINITY, 1.0]).as_deref(), Some("output 0 [0] is not a finite number"));
        assert_eq!(f32s(&[1.0, f32::from_bits(POISON)]).as_deref(), Some("output 0 [1] was not written"));
        assert_eq!(f32s(&[0.0, 0.0]).as_deref(), Some("output 0 is all zeros"));
        let u32s = |x: &[u32]| wrong(&[Tensor::u32([x.len()], x.into())]);
        assert_eq!(u32s(&[0, u32::MAX]), None);
        assert_eq!(u32s(&[3, POISON]).as_deref(), Some("output 0 [1] was not written"));
    }

    #[test]
    fn quantiles_lie_between_runs() {
        let times = |sorted: &[f64]| Times { sorted: sorted.into(), stamped: true };
        let four = times(&[1.0, 2.0, 4.0, 8.0]);
        assert_eq!((four.median(), four.quartiles(), four.range()), (3.0, [1.75, 5.0], [1.0, 8.0]));
        let one = times(&[3.0]);
        assert_eq!((one.median(), one.quartiles(), one.runs()), (3.0, [3.0, 3.0], 1));
    }
}
