//! Recurrences on a GPU: a row's bits do not depend on the batch that it is in, nor on padding; the launches of hardware.

mod device;

use pollster::block_on;
use seqloom::case::{Case, Draw};
use seqloom::gpu::{Gpu, Options};
use seqloom::grad::vjp;
use seqloom::graph::Graph;
use seqloom::op::{Adapter, Op};
use seqloom::ops::recurrence::{Cell, Recurrence, RecurrenceVjp};
use seqloom::plan::{Limits, Plan};
use seqloom::tensor::{Tensor, Type};
use seqloom::verify::{launches, verify};

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

const HARDWARE: Adapter = Adapter { software: false, subgroup: None };

/// Inputs of a walk and of the walk back, for rows of these lengths.
fn case(cell: Cell, lengths: &[u32], t: usize, h: usize, reverse: bool) -> [Case; 2] {
    let mut draw = Draw::new(3);
    let op = Recurrence { cell, reverse };
    let (b, wide, states) = (lengths.len(), cell.gates() * h, cell.states());
    let lengths = Tensor::u32([b], lengths.into());
    let mut w = draw.tensor(&[wide, h]);
    w.as_f32_mut().iter_mut().for_each(|w| *w /= h as f32);
    let w_t = w.clone().reshape([h, wide]);
    let inputs = vec![draw.tensor(&[b, t, wide]), w_t, draw.tensor(&[wide]), draw.tensor(&[b, states, h])];
    let case = Case::of("forward", op, [inputs, vec![lengths.clone()]].concat());
    let saved = case.definition().remove(2);
    let back = vec![w, saved, lengths, draw.tensor(&[b, t, h]), draw.tensor(&[b, states, h])];
    [case, Case::of("back", RecurrenceVjp(op), back)]
}

/// What small cases do not reach: more units than a workgroup has threads, and more steps than a dispatch takes.
#[test]
fn the_launches_of_hardware_agree_with_the_definitions() {
    let mut gpu = device::with(Options { portable: true, adapter: Some(HARDWARE), ..Options::default() });
    let limits = gpu.limits().clone();
    let mut runs = 0;
    for cell in [Cell::Rnn, Cell::Gru, Cell::Lstm] {
        for (lengths, t, h, reverse) in [
            (&[3, 1, 0, 2, 3][..], 3, 300, false),
            (&[2, 2], 2, 516, true),
            (&[520, 515, 2, 0], 520, 5, false),
            (&[513], 514, 4, true),
        ] {
            for case in case(cell, lengths, t, h, reverse) {
                let want = case.definition();
                for launch in launches(&case, &limits) {
                    assert!(launch.shader.name.starts_with("recurrence") && !launch.shader.name.contains("quads"));
                    let outcome = block_on(verify(&mut gpu, &case, &launch, &want)).expect("it runs");
                    let what = format!("{cell:?} {} T {t} H {h} [{}]", case.name, launch.variant);
                    assert!(outcome.passed(), "{what}: {}", outcome.worst);
                    runs += 1;
                }
            }
        }
    }
    assert_eq!(runs, 3 * 4 * 2 * 2);
}

/// One dispatch for the sequence while its weights stay in a cache, one for each step beyond; and none is long.
#[test]
fn hardware_walks_in_dispatches_that_no_watchdog_sees() {
    let launches = |b: usize, t: usize, h: usize| {
        let op = Recurrence { cell: Cell::Lstm, reverse: false };
        let x =
            [Type::f32([b, t, 4 * h]), Type::f32([h, 4 * h]), Type::f32([4 * h]), Type::f32([b, 2, h]), Type::u32([b])];
        let x: Vec<&Type> = x.iter().collect();
        let y = op.types(&x).expect("they fit");
        op.launches(&x, &y.iter().collect::<Vec<_>>(), &HARDWARE)
    };
    for (b, t, h, first, steps) in [(32, 64, 128, "many steps a dispatch", 1), (32, 64, 320, "a step a dispatch", 64)] {
        let default = &launches(b, t, h)[0];
        assert_eq!((default.variant.as_str(), default.steps), (first, steps), "B {b} T {t} H {h}");
    }
    for (b, t, h) in [(64, 512, 1024), (256, 2000, 256), (1, 5000, 32), (64, 512, 16_384)] {
        let step = 8 * b * h * h;
        for launch in launches(b, t, h) {
            let taken = launch.run[2] as usize;
            assert!(taken * launch.steps as usize >= t, "{launch:?} does not end");
            assert!(taken == 1 || (taken <= 512 && (taken - 1) * step < 10_000_000_000), "{taken} of B {b} H {h}");
        }
    }
}

#[test]
fn a_walk_in_several_submissions_gives_the_same_bits() {
    let mut gpu = device::with(Options { portable: true, adapter: Some(HARDWARE), ..Options::default() });
    let mut draw = Draw::new(5);
    let (b, t, h) = (3, 7, 300);
    let dims: [(&str, &[usize]); 3] = [("gates", &[b, t, 4 * h]), ("w", &[4 * h, h]), ("start", &[b, 2, h])];
    let tensors = dims.map(|(name, dims)| (name, draw.between(dims, -0.1, 0.1)));
    let lengths = Tensor::u32([b], vec![7, 3, 5]);
    let mut run = |submission_flops: u64| {
        let mut g = Graph::new();
        let [gates, w, start] = [0, 1, 2].map(|i| g.input(tensors[i].0, Type::clone(tensors[i].1.ty())));
        let lengths_in = g.input("lengths", Type::u32([b]));
        let (y, _) = g.recurrence(Cell::Lstm, gates, w, None, start, lengths_in, false);
        g.output("y", y);
        let plan = Plan::new(g, &Limits { submission_flops, ..gpu.limits().clone() }).expect("a plan");
        let parts: Vec<_> = plan.submissions.iter().filter_map(|s| s.dispatches.clone()).collect();
        let before = gpu.submissions();
        let program = block_on(gpu.load(vec![plan])).expect("kernels");
        let mut feeds: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        feeds.push(("lengths", &lengths));
        gpu.run(program, &feeds);
        let y = block_on(gpu.read(program, "y")).expect("an output");
        (y.bytes().to_vec(), parts, gpu.submissions() - before)
    };
    let whole = run(u64::MAX);
    assert_eq!((whole.1, whole.2), (vec![], 1));
    // Two steps are 4.32 MFLOP, five are 10.8; the whole walk is less than four times four, and six times more than 2.5.
    let pairs = vec![0..2, 2..4, 4..6, 6..7];
    for (flops, parts) in [(5_000_000, pairs.clone()), (4_400_000, pairs), (11_000_000, vec![0..5, 5..7])] {
        let cut = run(flops);
        assert_eq!(cut.1, parts, "{flops}");
        // What comes before the walk has a submission of its own.
        assert_eq!(cut.2, 1 + parts.len() as u64, "{flops}");
        assert!(cut.0 == whole.0, "{flops}: other bits");
    }
}
