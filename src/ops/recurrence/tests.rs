use super::*;

/// The c of an LSTM of one unit after two steps from c = 3, whose forget gate's sum is `forget`.
fn remembered(forget: f32) -> f32 {
    let gates = Tensor::f32([1, 2, 4], [[-100.0, forget, 0.5, 0.0]; 2].concat());
    let inputs = vec![
        gates,
        Tensor::f32([1, 4], vec![0.0; 4]),
        Tensor::f32([4], vec![0.0; 4]),
        Tensor::f32([1, 2, 1], vec![1.0, 3.0]),
        Tensor::u32([1], vec![2]),
    ];
    let case = Case::of("", Recurrence { cell: Cell::Lstm, reverse: false }, inputs);
    case.definition()[1].as_f32()[1]
}

#[test]
fn a_closed_forget_gate_forgets_all_and_an_open_one_keeps_all() {
    assert!(remembered(-100.0).abs() <= 1e-30);
    assert_eq!(remembered(100.0), 3.0);
}

#[test]
fn padding_changes_no_state() {
    let mut draw = Draw::new(1);
    for cell in [Cell::Rnn, Cell::Gru, Cell::Lstm] {
        for reverse in [false, true] {
            let wide = cell.gates() * 2;
            let (w, b) = (draw.tensor(&[2, wide]), draw.tensor(&[wide]));
            let (gates, start) = (draw.tensor(&[1, 5, wide]), draw.tensor(&[1, cell.states(), 2]));
            let run = |t: usize, length: u32| {
                let gates = Tensor::f32([1, t, wide], gates.as_f32()[..t * wide].to_vec());
                let lengths = Tensor::u32([1], vec![length]);
                let inputs = vec![gates, w.clone(), b.clone(), start.clone(), lengths];
                Case::of("", Recurrence { cell, reverse }, inputs).definition()
            };
            let (padded, exact) = (run(5, 3), run(3, 3));
            assert_eq!(padded[1], exact[1], "{cell:?}");
            assert_eq!(padded[0].as_f32()[..6], *exact[0].as_f32(), "{cell:?}");
            assert_eq!(padded[0].as_f32()[6..], [0.0; 4], "{cell:?}");
            assert_eq!(run(5, 0)[1], start, "{cell:?}");
        }
    }
}
