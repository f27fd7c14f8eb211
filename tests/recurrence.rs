//! Recurrences on a GPU: a row's bits do not depend on the batch that it is in, nor on padding.

mod device;

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::gpu::Gpu;
use seqloom::grad::vjp;
use seqloom::graph::Graph;
use seqloom::ops::recurrence::Cell;
use seqloom::plan::Plan;
use seqloom::tensor::{Tensor, Type};

/// Rows of a layer: gates and cotangents of h for the longest, states and their cotangents.
struct Rows {
    lengths: Vec<u32>,
    gates: Tensor,
    dh: Tensor,
    start: Tensor,
    dstate: Tensor,
}

/// What is computed of some of the rows in a batch of `time` steps: of each row h, the state, and both gradients, as far as the
/// row is long.
fn walked(gpu: &mut Gpu, cell: Cell, w: &Tensor, rows: &Rows, chosen: &[usize], time: usize) -> Vec<Vec<f32>> {
    let (b, h) = (chosen.len(), w.ty().cols());
    let (wide, states) = (cell.gates() * h, cell.states());
    let longest = rows.gates.ty().dims[1];
    let cut = |x: &Tensor, width: usize| {
        let row = |&r: &usize| {
            let all = &x.as_f32()[r * longest * width..(r + 1) * longest * width];
            let mut all = all[..time.min(longest) * width].to_vec();
            all.resize(time * width, 7.0);
            all
        };
        Tensor::f32([b, time, width], chosen.iter().flat_map(row).collect())
    };
    let own = |x: &Tensor| {
        let row = |&r: &usize| x.as_f32()[r * states * h..(r + 1) * states * h].to_vec();
        Tensor::f32([b, states, h], chosen.iter().flat_map(row).collect())
    };
    let lengths = Tensor::u32([b], chosen.iter().map(|&r| rows.lengths[r]).collect());
    let tensors = [
        ("gates", cut(&rows.gates, wide)),
        ("w", w.clone()),
        ("start", own(&rows.start)),
        ("lengths", lengths),
        ("dh", cut(&rows.dh, h)),
        ("dstate", own(&rows.dstate)),
    ];
    let mut g = Graph::new();
    let [gates, weight, start, lengths, dh, dstate] =
        std::array::from_fn(|i| g.input(tensors[i].0, Type::clone(tensors[i].1.ty())));
    let (y, state) = g.recurrence(cell, gates, weight, None, start, lengths, true);
    let gradients = vjp(&mut g, &[(y, dh), (state, dstate)], &[gates, start]);
    let names = ["y", "state", "dgates", "dstart"];
    for (name, value) in names.iter().zip([y, state, gradients[0], gradients[1]]) {
        g.output(name, value);
    }
    let plan = Plan::new(g, gpu.limits()).expect("a plan");
    let program = block_on(gpu.load(vec![plan])).expect("kernels");
    let feeds: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    gpu.run(program, &feeds);
    let results = names.map(|name| block_on(gpu.read(program, name)).expect("an output"));
    let row = |(i, &r): (usize, &usize)| {
        let real =
            |y: &Tensor, width: usize| y.as_f32()[i * time * width..][..rows.lengths[r] as usize * width].to_vec();
        let state = |y: &Tensor| y.as_f32()[i * states * h..][..states * h].to_vec();
        let [y, last, dgates, dstart] = &results;
        [real(y, h), state(last), real(dgates, wide), state(dstart)].concat()
    };
    chosen.iter().enumerate().map(row).collect()
}

#[test]
fn a_rows_bits_depend_neither_on_its_batch_nor_on_padding() {
    let mut gpu = device::open();
    let mut draw = Draw::new(7);
    for cell in [Cell::Rnn, Cell::Gru, Cell::Lstm] {
        for h in [7, 12] {
            let lengths = vec![5, 1, 3, 0, 5, 2, 4, 5, 1, 3];
            let b = lengths.len();
            let wide = cell.gates() * h;
            let w = draw.tensor(&[wide, h]);
            let rows = Rows {
                lengths,
                gates: draw.tensor(&[b, 5, wide]),
                dh: draw.tensor(&[b, 5, h]),
                start: draw.tensor(&[b, cell.states(), h]),
                dstate: draw.tensor(&[b, cell.states(), h]),
            };
            let all: Vec<usize> = (0..b).collect();
            let together = walked(&mut gpu, cell, &w, &rows, &all, 5);
            let padded = walked(&mut gpu, cell, &w, &rows, &all[4..8], 9);
            let alone = |r: usize| walked(&mut gpu, cell, &w, &rows, &[r], 5).remove(0);
            let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            for (r, alone) in all.iter().copied().map(alone).enumerate() {
                assert_eq!(bits(&together[r]), bits(&alone), "{cell:?} H {h}, row {r} alone");
            }
            for (row, padded) in together[4..8].iter().zip(&padded) {
                assert_eq!(bits(row), bits(padded), "{cell:?} H {h}, padded");
            }
        }
    }
}
