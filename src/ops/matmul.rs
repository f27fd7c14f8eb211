//! C = activation(op(A) op(B) + bias), op transposes or not: every projection, and attention where weights are kept

use crate::case::{Bound, Case, Draw, TINY, U, gamma};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::ops::matmul_add::MatmulAdd;
use crate::shader;
use crate::tensor::{Tensor, Type};
use std::sync::Arc;

/// How a tensor is read as matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One matrix: all dimensions but the last are rows.
    Matrix,
    /// (..., rows, columns): a matrix per index of the leading dimensions.
    Batch,
    /// (B, T, H·D): B·H matrices of (T, D), the heads of attention, with no copy.
    Heads(usize),
}

/// What is applied to the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// max(x, 0)
    Relu,
    /// tanh(x)
    Tanh,
    /// 1 / (1 + exp(-x))
    Sigmoid,
}

/// A matrix product. Inputs: A, B, bias (N); without a bias the third repeats B, unread. The derivative of an
/// activation is taken from the result; GELU's cannot be, so it is a room of its own.
#[derive(Clone, Debug)]
pub struct Matmul {
    /// Layouts of A, B and C.
    pub layout: [Layout; 3],
    /// A is stored as (K, M).
    pub trans_a: bool,
    /// B is stored as (N, K), as PyTorch stores the weight of a linear layer.
    pub trans_b: bool,
    /// Whether the third input is a bias.
    pub bias: bool,
    /// What is applied to the result.
    pub activation: Activation,
}

/// A tensor as matrices: how many, rows and columns of each, and the heads that they interleave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Matrices {
    batch: usize,
    rows: usize,
    columns: usize,
    heads: usize,
}

/// Matrices of A, B and C, and M, N, K.
type Shape = ([Matrices; 3], [usize; 3]);

impl Layout {
    fn matrices(self, ty: &Type) -> Result<Matrices, String> {
        let d = &ty.dims;
        match self {
            Layout::Matrix => Ok(Matrices { batch: 1, rows: ty.rows(), columns: ty.cols(), heads: 1 }),
            Layout::Batch if d.len() >= 2 => {
                let rows = d[d.len() - 2];
                Ok(Matrices { batch: ty.rows() / rows, rows, columns: ty.cols(), heads: 1 })
            }
            Layout::Heads(heads) if d.len() == 3 && d[2].is_multiple_of(heads) => {
                Ok(Matrices { batch: d[0] * heads, rows: d[1], columns: d[2] / heads, heads })
            }
            _ => Err(format!("{ty} cannot be read as {self:?}")),
        }
    }

    fn heads(self) -> usize {
        if let Layout::Heads(heads) = self { heads } else { 1 }
    }
}

impl Matrices {
    /// Offset of the first element of matrix `index`, as in `lib/matrices.wgsl`.
    fn base(&self, index: usize) -> usize {
        (index / self.heads * self.rows * self.heads + index % self.heads) * self.columns
    }

    fn stride(&self) -> usize {
        self.columns * self.heads
    }
}

impl Activation {
    fn apply(self, x: f64) -> f64 {
        match self {
            Activation::None => x,
            Activation::Relu => crate::ops::relu::relu(x),
            Activation::Tanh => crate::ops::tanh::tanh(x),
            Activation::Sigmoid => crate::ops::sigmoid::sigmoid(x),
        }
    }
}

impl Matmul {
    fn shape(&self, x: &[&Type]) -> Result<(Shape, Vec<usize>), String> {
        let (a, b) = (self.layout[0].matrices(x[0])?, self.layout[1].matrices(x[1])?);
        let (m, k) = if self.trans_a { (a.columns, a.rows) } else { (a.rows, a.columns) };
        let (n, kb) = if self.trans_b { (b.rows, b.columns) } else { (b.columns, b.rows) };
        if k != kb || a.batch != b.batch {
            return Err(format!("op(A) is {}×{m}×{k}, op(B) is {}×{kb}×{n}", a.batch, b.batch));
        }
        if self.bias && x[2].dims != [n] {
            return Err(format!("the bias is {}, the result has {n} columns", x[2]));
        }
        let dims = match self.layout[2] {
            Layout::Matrix if a.batch != 1 => return Err("a batch of matrices is not one matrix".into()),
            Layout::Matrix if self.trans_a => vec![m, n],
            Layout::Matrix => [&x[0].dims[..x[0].dims.len() - 1], &[n]].concat(),
            Layout::Batch => match self.layout[0] {
                Layout::Heads(h) => vec![a.batch / h, h, m, n],
                _ => [&x[0].dims[..x[0].dims.len() - 2], &[m, n]].concat(),
            },
            Layout::Heads(h) => vec![a.batch / h, m, h * n],
        };
        let c = Matrices { batch: a.batch, rows: m, columns: n, heads: self.layout[2].heads() };
        Ok((([a, b, c], [m, n, k]), dims))
    }

    fn valid(&self, x: &[&Type]) -> Shape {
        self.shape(x).expect("types were checked when the node was added").0
    }

    fn set(&self, launch: Launch) -> Launch {
        launch
            .constant("TRANS_A", f64::from(self.trans_a))
            .constant("TRANS_B", f64::from(self.trans_b))
            .constant("HEADS_A", self.layout[0].heads() as f64)
            .constant("HEADS_B", self.layout[1].heads() as f64)
            .constant("HEADS_C", self.layout[2].heads() as f64)
            .constant("BIAS", f64::from(self.bias))
            .constant("ACTIVATION", self.activation as u32 as f64)
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![Type::f32(self.shape(x)?.1)])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let ([a, b, c], [m, n, k]) = self.valid(&[x[0].ty(), x[1].ty(), x[2].ty()]);
        let (xa, xb) = (x[0].as_f32(), x[1].as_f32());
        for batch in 0..c.batch {
            for i in 0..m {
                for j in 0..n {
                    let mut sum = 0.0;
                    for l in 0..k {
                        let (ra, ca) = if self.trans_a { (l, i) } else { (i, l) };
                        let (rb, cb) = if self.trans_b { (j, l) } else { (l, j) };
                        sum += xa[a.base(batch) + ra * a.stride() + ca] as f64
                            * xb[b.base(batch) + rb * b.stride() + cb] as f64;
                    }
                    if self.bias {
                        sum += x[2].as_f32()[j] as f64;
                    }
                    y[0].as_f32_mut()[c.base(batch) + i * c.stride() + j] = self.activation.apply(sum) as f32;
                }
            }
        }
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let ([a, b, c], [m, n, k]) = self.valid(&[x[0].ty(), x[1].ty(), x[2].ty()]);
        let strides = |s: Matrices, trans: bool| {
            let (row, column) = if trans { (1, s.stride()) } else { (s.stride(), 1) };
            (row as isize, column as isize)
        };
        let ((rsa, csa), (rsb, csb)) = (strides(a, self.trans_a), strides(b, self.trans_b));
        for batch in 0..c.batch {
            let (a, b) = (&x[0].as_f32()[a.base(batch)..], &x[1].as_f32()[b.base(batch)..]);
            let to = &mut y[0].as_f32_mut()[c.base(batch)..];
            // Safety: the strides stay inside the tensors whose types `shape` has checked.
            unsafe {
                let (a, b, to) = (a.as_ptr(), b.as_ptr(), to.as_mut_ptr());
                matrixmultiply::sgemm(m, k, n, 1.0, a, rsa, csa, b, rsb, csb, 0.0, to, c.stride() as isize, 1);
            }
        }
        if !self.bias && self.activation == Activation::None {
            return;
        }
        // A bias or an activation only follows a product whose rows are contiguous or interleaved by whole heads.
        for (i, y) in y[0].as_f32_mut().iter_mut().enumerate() {
            let bias = if self.bias { x[2].as_f32()[i % n] } else { 0.0 };
            *y = match self.activation {
                Activation::None => *y + bias,
                Activation::Relu if *y + bias < 0.0 => 0.0,
                Activation::Relu => *y + bias,
                other => other.apply((*y + bias) as f64) as f32,
            };
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let ([a, b, c], [m, n, k]) = self.valid(x);
        let run = [m as u32, n as u32, k as u32, 0];
        let launch = |shader, variant: String, [bm, bn]: [usize; 2]| {
            let grid = [n.div_ceil(bn) as u32, m.div_ceil(bm) as u32, c.batch as u32];
            self.set(Launch { shader, variant, constants: vec![], tiles: vec![], run, grid, steps: 1 })
        };
        // vec4 loads run along the contiguous dimension of A and of B, four steps of k at a time.
        let aligned = a.columns.is_multiple_of(4) && b.columns.is_multiple_of(4) && k.is_multiple_of(4);
        let ragged = launch(shader!("matmul_ragged"), "ragged 4x4".into(), [32, 32]);
        if !aligned {
            return vec![ragged];
        }
        let direct = |tm: u32, tn: u32| {
            let tile = [4 * tm as usize, 8 * tn as usize];
            launch(shader!("matmul_direct"), format!("direct {tm}x{tn}"), tile).tile("TM", tm).tile("TN", tn)
        };
        let lanes = launch(shader!("matmul_lanes"), "lanes 16x4".into(), [16, 32]);
        let tiled = |[bm, bn, bk, tm, tn]: [u32; 5]| {
            let name = format!("tile {bm}x{bn}x{bk} of {tm}x{tn}");
            let launch = launch(shader!("matmul"), name, [bm as usize, bn as usize]);
            launch.tile("BM", bm).tile("BN", bn).tile("BK", bk).tile("TM", tm).tile("TN", tn)
        };
        let large = tiled([128, 128, 8, 8, 8]);
        let middle = tiled([64, 64, 16, 4, 4]);
        // Of a slice of 32 RADV no longer unrolls the loop: 57 % of its instructions are FMAs, of 16 it is 81 %.
        let small = tiled([32, 32, 16, 4, 4]);
        // A large tile reuses more of each load, but needs as many tiles as a GPU has cores to be worth it.
        let tiles = |t: usize| m.div_ceil(t) * n.div_ceil(t) * c.batch;
        let by_size = if tiles(128) >= 64 {
            vec![large, middle, small]
        } else if tiles(64) >= 32 {
            vec![middle, large, small]
        } else {
            vec![small, middle, large]
        };
        // Hardware has workgroup memory, and spills with tiles of this size (RDNA 3).
        let by_loads = if adapter.software { vec![direct(8, 8), direct(4, 16)] } else { vec![] };
        let by_lanes = if adapter.subgroup == Some(8) { vec![lanes] } else { vec![] };
        let first = match adapter.software {
            // A subgroup's 16 rows are mostly nobody's where one token is decoded: `direct` takes a half to a quarter of
            // the time.
            true if m <= 4 => [by_loads.into_iter().rev().collect(), by_lanes, by_size],
            true => [by_lanes, by_loads, by_size],
            false => [by_size, by_loads, by_lanes],
        };
        first.into_iter().flatten().chain([ragged]).collect()
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        let d = match self.activation {
            Activation::None => dy,
            Activation::Relu => g.push(crate::ops::relu::ReluVjp, &[y[0], dy])[0],
            Activation::Tanh => g.push(crate::ops::tanh::TanhVjp, &[y[0], dy])[0],
            Activation::Sigmoid => g.push(crate::ops::sigmoid::SigmoidVjp, &[y[0], dy])[0],
        };
        let (a, b) = (x[0], x[1]);
        let [la, lb, lc] = self.layout;
        let mut product = |x: [Value; 2], layout, trans_a, trans_b| {
            let op = Matmul { layout, trans_a, trans_b, bias: false, activation: Activation::None };
            g.push(op, &[x[0], x[1], x[1]])[0]
        };
        let da = match self.trans_a {
            false => product([d, b], [lc, lb, la], false, !self.trans_b),
            true => product([b, d], [lb, lc, la], self.trans_b, true),
        };
        let db = match self.trans_b {
            false => product([a, d], [la, lc, lb], !self.trans_a, false),
            true => product([d, a], [lc, la, lb], true, self.trans_a),
        };
        let bias = if self.bias { Some(g.column_sum(d)) } else { None };
        vec![Some(da), Some(db), bias]
    }

    fn adding(&self) -> Option<Arc<dyn Op>> {
        Some(Arc::new(MatmulAdd(self.clone())))
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        let (matrices, [m, n, k]) = self.valid(x);
        let read = if self.bias { &x[..3] } else { &x[..2] };
        Cost::new(2 * m * n * k * matrices[2].batch, read, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        bound(self.clone())(x, y)
    }
}

impl Graph {
    /// activation(x Wᵀ + b) of x (..., in), W (out, in) and b (out): a linear layer as PyTorch stores it.
    #[track_caller]
    pub fn linear(&mut self, x: Value, w: Value, b: Option<Value>, activation: Activation) -> Value {
        let layout = [Layout::Matrix; 3];
        let op = Matmul { layout, trans_a: false, trans_b: true, bias: b.is_some(), activation };
        self.push(op, &[x, w, b.unwrap_or(w)])[0]
    }

    /// op(A) op(B) of batches of matrices (..., rows, columns), a transpose where asked for.
    #[track_caller]
    pub fn matmul(&mut self, a: Value, b: Value, trans_a: bool, trans_b: bool) -> Value {
        self.product(a, b, [Layout::Batch; 3], trans_a, trans_b)
    }

    /// sum + op(A) op(B) of batches of matrices, in the sum's place.
    #[track_caller]
    pub fn matmul_add(&mut self, sum: Value, a: Value, b: Value, trans_a: bool, trans_b: bool) -> Value {
        let layout = [Layout::Batch; 3];
        let op = Matmul { layout, trans_a, trans_b, bias: false, activation: Activation::None };
        self.push(MatmulAdd(op), &[a, b, b, sum])[0]
    }

    /// Q Kᵀ per head: q (B, T, H·D), k (B, S, H·D) to (B, H, T, S).
    #[track_caller]
    pub fn attention_scores(&mut self, q: Value, k: Value, heads: usize) -> Value {
        self.product(q, k, [Layout::Heads(heads), Layout::Heads(heads), Layout::Batch], false, true)
    }

    /// P V per head, heads side by side: p (B, H, T, S), v (B, S, H·D) to (B, T, H·D).
    #[track_caller]
    pub fn attention_context(&mut self, p: Value, v: Value, heads: usize) -> Value {
        self.product(p, v, [Layout::Batch, Layout::Heads(heads), Layout::Heads(heads)], false, false)
    }

    #[track_caller]
    fn product(&mut self, a: Value, b: Value, layout: [Layout; 3], trans_a: bool, trans_b: bool) -> Value {
        let op = Matmul { layout, trans_a, trans_b, bias: false, activation: Activation::None };
        self.push(op, &[a, b, b])[0]
    }
}

/// |error| <= γ(K + 2) (Σ|a||b| + |bias|), carried through an activation whose slope is at most one. Any a, b or product may
/// be flushed to zero.
pub(super) fn bound(op: Matmul) -> Bound {
    let absolute = |t: &Tensor| Tensor::f32(t.ty().dims.clone(), t.as_f32().iter().map(|v| v.abs()).collect());
    Box::new(move |x, y| {
        let k = op.valid(&[x[0].ty(), x[1].ty(), x[2].ty()]).1[2];
        let (a, b, bias) = (absolute(&x[0]), absolute(&x[1]), absolute(&x[2]));
        let ones = |t: &Tensor| Tensor::f32(t.ty().dims.clone(), vec![1.0; t.ty().elements()]);
        let product = |a: &Tensor, b: &Tensor| {
            let mut sums = [Tensor::zeros(y[0].ty())];
            Matmul { activation: Activation::None, ..op.clone() }.cpu(&[a, b, &bias], &mut sums);
            let [sums] = sums;
            sums
        };
        let [sums, of_a, of_b] = [product(&a, &b), product(&a, &ones(&b)), product(&ones(&a), &b)];
        let own = |y: f32| match op.activation {
            Activation::None | Activation::Relu => 0.0,
            Activation::Tanh => 64.0 * U,
            Activation::Sigmoid => 64.0 * U * y as f64,
        };
        let one = |i: usize| {
            let [sum, of_a, of_b] = [&sums, &of_a, &of_b].map(|t| t.as_f32()[i] as f64);
            gamma(k + 2) * sum + TINY * (of_a + of_b + (k + 3) as f64) + own(y[0].as_f32()[i])
        };
        vec![(0..y[0].ty().elements()).map(one).collect()]
    })
}

/// Cases of the kernels: every layout and transpose, ragged and aligned, with several workgroups.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for [m, n, k] in [[1, 1, 1], [3, 5, 7], [4, 4, 4], [33, 20, 12], [70, 132, 36], [1, 68, 128], [130, 36, 8]] {
        for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let activation = [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid][cases.len() % 4];
            let bias = !cases.len().is_multiple_of(3);
            let op = Matmul { layout: [Layout::Matrix; 3], trans_a, trans_b, bias, activation };
            let a = draw.tensor(&if trans_a { [k, m] } else { [m, k] });
            let b = draw.tensor(&if trans_b { [n, k] } else { [k, n] });
            let third = if bias { draw.tensor(&[n]) } else { b.clone() };
            let letters = [["NN", "NT"], ["TN", "TT"]][trans_a as usize][trans_b as usize];
            let name = format!("{letters} {m}x{n}x{k}{} {activation:?}", if bias { " bias" } else { "" });
            // ReLU has no derivative at 0, where finite differences would sit now and then.
            let wrt: &[usize] = match activation {
                Activation::Relu => &[],
                _ if bias => &[0, 1, 2],
                _ => &[0, 1],
            };
            let mut case = Case::new(name, op.clone(), vec![a, b, third], bound(op));
            if m * n * k < 10_000 && !wrt.is_empty() {
                case = case.wrt(wrt);
            }
            cases.push(case);
        }
    }
    for (batch, heads, t, s, d) in [(2, 3, 5, 7, 3), (2, 2, 12, 8, 4), (1, 4, 36, 20, 16)] {
        let per_head = Layout::Heads(heads);
        let mut push = |name: &str, layout, trans_a, trans_b, a: Tensor, b: Tensor| {
            let op = Matmul { layout, trans_a, trans_b, bias: false, activation: Activation::None };
            let name = format!("{name} B {batch} H {heads} T {t} S {s} D {d}");
            cases.push(Case::new(name, op.clone(), vec![a, b.clone(), b], bound(op)).wrt(&[0, 1]));
        };
        let (q, k, p) = (draw.tensor(&[batch, t, heads * d]), draw.tensor(&[batch, s, heads * d]), draw.tensor(&[batch, heads, t, s]));
        push("scores", [per_head, per_head, Layout::Batch], false, true, q.clone(), k.clone());
        push("context", [Layout::Batch, per_head, per_head], false, false, p.clone(), k);
        push("dV", [Layout::Batch, per_head, per_head], true, false, p.clone(), q);
        push("batch", [Layout::Batch; 3], true, false, p.clone(), p);
    }
    cases
}

/// Large cases of the kernels.
pub fn large() -> Vec<Large> {
    let op = |trans_a, trans_b| {
        Matmul { layout: [Layout::Matrix; 3], trans_a, trans_b, bias: false, activation: Activation::None }
    };
    let product = |[m, n, k]: [usize; 3], trans_a: bool, trans_b: bool| {
        let a = noise(&if trans_a { [k, m] } else { [m, k] });
        let b = noise(&if trans_b { [n, k] } else { [k, n] });
        let letters = [["NN", "NT"], ["TN", "TT"]][trans_a as usize][trans_b as usize];
        Large::new(format!("{letters} {m}x{n}x{k}"), op(trans_a, trans_b), [a, b]).again(1)
    };
    let mut large: Vec<Large> = [1024, 512, 256].map(|n| product([n; 3], false, false)).into();
    // A Transformer's layer: forward, the gradient of its input, and that of its weight.
    for (trans_a, trans_b) in [(false, true), (false, false), (true, false)] {
        large.push(product([768, 128, 512], trans_a, trans_b));
    }
    let layer = Matmul { bias: true, activation: Activation::Relu, ..op(false, true) };
    let inputs = [noise(&[2048, 512]), noise(&[2048, 512]), noise(&[2048])];
    large.push(Large::new("NT 2048x2048x512 bias Relu", layer, inputs));
    // Decoding one line.
    large.push(product([1, 2048, 512], false, true));
    let heads = Layout::Heads(8);
    let scores = Matmul { layout: [heads, heads, Layout::Batch], ..op(false, true) };
    let x = || noise(&[8, 128, 512]);
    large.push(Large::new("scores B 8 H 8 T 128 D 64", scores, [x(), x()]).again(1));
    large
}
