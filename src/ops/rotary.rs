//! Each head's pairs (i, i + D/2) turned by the angle (start + t) 10000^(-2i/D) (Su et al. 2021, RoFormer), the pairs
//! that GPT-NeoX and LLaMA take: the first half of a head with the second, not neighbours as in the paper

use crate::case::{Case, Draw, TINY, gamma, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise, words};
use crate::op::*;
use crate::ops::positions::{check_start, sinusoids_split, start_of};
use crate::shader;
use crate::tensor::{Tensor, Type};

/// `y[i] = x[i] cos a - x[i + D/2] sin a` and `y[i + D/2] = x[i + D/2] cos a + x[i] sin a` in each head of x
/// (B, T, H·D), with a = (start + t) 10000^(-2i/D). Inputs: x, table (P, D) of [`sinusoids_split`], start (1), or (B)
/// where each batch has its own. The product of a query and a key that were turned so depends on how far they are apart, not on where they are.
#[derive(Debug)]
pub struct Rotary {
    /// Turns by the negative angle: the transpose and so the derivative, a rotation being orthogonal.
    pub inverse: bool,
}

impl Op for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        if x[0].dims.len() != 3 || x[1].dims.len() != 2 || !x[0].cols().is_multiple_of(x[1].cols()) {
            return Err("x is (B, T, H·D), the table (positions, D)".into());
        }
        if !x[1].cols().is_multiple_of(2) {
            return Err(format!("heads of {} elements have no pairs", x[1].cols()));
        }
        check_start(x[0], x[2])?;
        if x[0].dims[1] > x[1].dims[0] {
            return Err(format!("{} positions, the table has {}", x[0].dims[1], x[1].dims[0]));
        }
        Ok(vec![x[0].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (t, c, d) = (x[0].ty().dims[1], x[0].ty().cols(), x[1].ty().cols());
        let half = d / 2;
        for row in 0..x[0].ty().rows() {
            let table = &x[1].as_f32()[(start_of(x[2], row / t) + row % t) * d..][..d];
            for head in 0..c / d {
                let at = row * c + head * d;
                for i in 0..half {
                    let (sin, cos) = (table[i] as f64, table[half + i] as f64);
                    let sin = if self.inverse { -sin } else { sin };
                    let (a, b) = (x[0].as_f32()[at + i] as f64, x[0].as_f32()[at + half + i] as f64);
                    y[0].as_f32_mut()[at + i] = (a * cos - b * sin) as f32;
                    y[0].as_f32_mut()[at + half + i] = (b * cos + a * sin) as f32;
                }
            }
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let pairs = y[0].elements() / 2;
        let run = [pairs, y[0].cols(), y[0].dims[1], x[1].cols()].map(|n| n as u32);
        let flag = |name, is| (name, f64::from(is));
        let constants = vec![flag("INVERSE", self.inverse), flag("PER_ROW", x[2].elements() > 1)];
        vec![Launch { constants, ..Launch::elements(shader!("rotary"), pairs, run) }]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let op = Rotary { inverse: !self.inverse };
        vec![Some(g.push(op, &[dy[0].expect("the only output"), x[1], x[2]])[0]), None, None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        let table = Type::f32([x[0].dims[1], x[1].cols()]);
        Cost::new(3 * y[0].elements(), &[x[0], &table], y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let (d, half) = (x[1].ty().cols(), x[1].ty().cols() / 2);
        let bound = per_element(move |i, x: &[Tensor], _| {
            let other = if i % d < half { i + half } else { i - half };
            gamma(3) * (x[0].as_f32()[i].abs() + x[0].as_f32()[other].abs()) as f64 + 4.0 * TINY
        });
        bound(x, y)
    }
}

impl Graph {
    /// Turns the heads of x (B, T, H·D) by the positions `start .. start + T` of `table` (P, D).
    #[track_caller]
    pub fn rotary(&mut self, x: Value, table: Value, start: Value) -> Value {
        self.push(Rotary { inverse: false }, &[x, table, start])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for (b, t, heads, d, start) in [(1, 1, 1, 2, 0), (2, 3, 1, 6, 0), (3, 1, 5, 2, 4), (2, 5, 3, 34, 2)] {
        for inverse in [false, true] {
            let table = sinusoids_split(start + t, d);
            let inputs = vec![draw.tensor(&[b, t, heads * d]), table, Tensor::u32([1], vec![start as u32])];
            let name = format!("[{b}, {t}, {heads}x{d}] from {start}{}", if inverse { " back" } else { "" });
            cases.push(Case::of(name, Rotary { inverse }, inputs).wrt(&[0]));
        }
        let starts = Tensor::u32([b], (0..b).map(|i| (start * (i + 1)) as u32).collect());
        let inputs = vec![draw.tensor(&[b, t, heads * d]), sinusoids_split(start * b + t, d), starts];
        let name = format!("[{b}, {t}, {heads}x{d}] from multiples of {start}");
        cases.push(Case::of(name, Rotary { inverse: false }, inputs).wrt(&[0]));
    }
    cases
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let table = given(sinusoids_split(512, 64));
    vec![Large::new("16x512x(16x64)", Rotary { inverse: false }, [noise(&[16, 512, 1024]), table, words(&[0])])]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(x: &Tensor, start: usize, inverse: bool) -> Tensor {
        let table = sinusoids_split(64, 8);
        let mut y = [Tensor::zeros(x.ty())];
        Rotary { inverse }.cpu(&[x, &table, &Tensor::u32([1], vec![start as u32])], &mut y);
        let [y] = y;
        y
    }

    #[test]
    fn products_depend_on_the_distance_alone() {
        let mut draw = Draw::new(1);
        let (q, k) = (draw.tensor(&[1, 1, 8]), draw.tensor(&[1, 1, 8]));
        let product = |m: usize, n: usize| -> f64 {
            let (q, k) = (turned(&q, m, false), turned(&k, n, false));
            q.as_f32().iter().zip(k.as_f32()).map(|(q, k)| (q * k) as f64).sum()
        };
        assert!((product(3, 10) - product(40, 47)).abs() <= 1e-5);
        assert!((product(3, 10) - product(3, 11)).abs() > 1e-2);
        assert!((product(3, 10) - product(10, 3)).abs() > 1e-2);
    }

    #[test]
    fn back_is_where_it_was() {
        let x = Draw::new(2).tensor(&[2, 5, 16]);
        for (have, want) in turned(&turned(&x, 9, false), 9, true).as_f32().iter().zip(x.as_f32()) {
            assert!((have - want).abs() <= 1e-6, "{have} {want}");
        }
    }
}
