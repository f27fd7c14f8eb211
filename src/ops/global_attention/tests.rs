use super::*;

/// Two keys with scores 2 tanh(1) and 2 tanh(0): softmax of 1.523188 and 0 is 0.8210 and 0.1790.
#[test]
fn a_worked_example_of_the_additive_score() {
    let op = GlobalAttention { score: Score::Additive, lines: false };
    let inputs = vec![
        Tensor::f32([1, 1, 1], vec![0.25]),
        Tensor::f32([1, 3, 1], vec![0.75, -0.25, 50.0]),
        Tensor::f32([1], vec![2.0]),
        Tensor::f32([1, 3, 2], vec![1.0, 10.0, 2.0, 20.0, 1e9, 1e9]),
        Tensor::u32([1], vec![2]),
        Tensor::u32([1], vec![0]),
    ];
    let y = Case::of("", op, inputs).definition();
    let want = [[0.8210074, 0.1789926], [1.1789926, 11.789926]];
    for (have, want) in y[1].as_f32().iter().zip(want[0]).chain(y[0].as_f32().iter().zip(want[1])) {
        assert!((have - want).abs() <= 1e-5 * want, "{have} {want}");
    }
    assert_eq!(y[1].as_f32()[2], 0.0);
}

#[test]
fn lines_are_rows_of_keys() {
    let mut draw = Draw::new(3);
    let (rows, lines, s, a, c) = (4, 2, 5, 3, 4);
    let line = [1, 0, 1, 1];
    let q = draw.tensor(&[rows, 1, a]);
    let (k, v, values) = (draw.tensor(&[lines, s, a]), draw.tensor(&[a]), draw.tensor(&[lines, s, c]));
    let lengths = Tensor::u32([lines], vec![5, 3]);
    for score in [Score::Additive, Score::Dot] {
        let shared = [&q, &k, &v, &values, &lengths, &Tensor::u32([rows], line.to_vec())].map(Clone::clone);
        let shared = Case::of("", GlobalAttention { score, lines: true }, shared.into()).definition();
        for (row, of) in line.into_iter().enumerate() {
            let one = |t: &Tensor, i: usize, dims: [usize; 3]| {
                let size = dims.iter().product();
                Tensor::f32(dims, t.as_f32()[i * size..][..size].to_vec())
            };
            let of = of as usize;
            let own = [one(&q, row, [1, 1, a]), one(&k, of, [1, s, a]), v.clone(), one(&values, of, [1, s, c])];
            let length = Tensor::u32([1], vec![lengths.as_u32()[of]]);
            let own = [own.to_vec(), vec![length.clone(), length]].concat();
            let own = Case::of("", GlobalAttention { score, lines: false }, own).definition();
            assert_eq!(shared[0].as_f32()[row * c..][..c], *own[0].as_f32(), "{score:?} context of row {row}");
            assert_eq!(shared[1].as_f32()[row * s..][..s], *own[1].as_f32(), "{score:?} weights of row {row}");
        }
    }
}

/// Where it would need too many iterations on a software adapter there is no launch, and no other order of additions.
#[test]
fn what_comes_first_depends_on_the_adapter_alone() {
    let op = GlobalAttention { score: Score::Dot, lines: false };
    for software in [false, true] {
        let adapter = Adapter { software, subgroup: None };
        let first = |b: usize, s: usize| {
            let (q, k) = (Type::f32([b, 1, 1024]), Type::f32([b, s, 1024]));
            let lengths = Type::u32([b]);
            let x = [&q, &k, &q, &k, &lengths, &lengths];
            let y = op.types(&x).expect("they fit");
            let launches = op.launches(&x, &y.iter().collect::<Vec<_>>(), &adapter);
            launches.into_iter().next().map(|l| (l.constants, l.tiles, l.variant))
        };
        let want = first(1, 1);
        assert!(want.is_some());
        for (b, s) in [(3, 7), (64, 300), (1, 4000)] {
            assert_eq!(first(b, s), want, "B {b} S {s}, software: {software}");
        }
        assert_eq!(first(1, 100_000), if software { None } else { want });
    }
}
