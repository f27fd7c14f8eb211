//! The walks on a CPU without a definition's patience: a product for all rows of the batch at every step.

use super::{Cell, Recurrence, four};
use crate::tensor::Tensor;

/// c (m, n) = a (m, k) b (k, n); of a and b the strides of rows and columns.
fn product([m, k, n]: [usize; 3], a: (&[f32], usize), b: (&[f32], [usize; 2]), c: &mut [f32]) {
    let ((a, row), (b, [rows, columns])) = (a, b);
    assert!((m - 1) * row + k <= a.len() && (k - 1) * rows + (n - 1) * columns < b.len() && m * n <= c.len());
    let (row, rows, columns) = (row as isize, rows as isize, columns as isize);
    // Safety: what is read and written lies inside the slices, as was just asserted.
    unsafe {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        matrixmultiply::sgemm(m, k, n, 1.0, a, row, 1, b, rows, columns, 0.0, c, n as isize, 1);
    }
}

/// [`Recurrence`]'s outputs. The cell is a constant in each walk, which so has code of its own.
pub(super) fn forward(op: &Recurrence, x: &[&Tensor], y: &mut [Tensor]) {
    match op.cell {
        Cell::Rnn => forward_of(Recurrence { cell: Cell::Rnn, ..*op }, x, y),
        Cell::Gru => forward_of(Recurrence { cell: Cell::Gru, ..*op }, x, y),
        Cell::Lstm => forward_of(Recurrence { cell: Cell::Lstm, ..*op }, x, y),
    }
}

#[inline(always)]
fn forward_of(op: Recurrence, x: &[&Tensor], y: &mut [Tensor]) {
    let [batch, time, wide] = x[0].ty().dims[..] else { unreachable!("types were checked") };
    let (g, states) = (op.cell.gates(), op.cell.states());
    let h = wide / g;
    let [gates, w, bias] = [0, 1, 2].map(|i| x[i].as_f32());
    let plane = batch * time * h;
    let [out, last, saved] = y else { unreachable!("there are three outputs") };
    let (out, state, saved) = (out.as_f32_mut(), last.as_f32_mut(), saved.as_f32_mut());
    state.copy_from_slice(x[3].as_f32());
    let mut recurrent = vec![0.0; batch * wide];
    for s in 0..time {
        product([batch, h, wide], (state, states * h), (w, [wide, 1]), &mut recurrent);
        for row in 0..batch {
            let length = time.min(x[4].as_u32()[row] as usize);
            if s >= length {
                continue;
            }
            let t = row * time + if op.reverse { length - 1 - s } else { s };
            let (gates, recurrent) = (&gates[t * wide..][..wide], &recurrent[row * wide..][..wide]);
            let state = &mut state[row * states * h..][..states * h];
            for u in 0..h {
                let of_x = four(g, |gate| gates[gate * h + u]);
                let of_h = four(g, |gate| recurrent[gate * h + u] + bias[gate * h + u]);
                let before = [state[u], if states == 2 { state[h + u] } else { 0.0 }];
                let (after, kept) = op.cell.step(of_x, of_h, before);
                let mut save = |p: usize, value: f32| saved[p * plane + t * h + u] = value;
                save(0, before[0]);
                (0..op.cell.kept()).for_each(|k| save(k + 1, kept[k]));
                if states == 2 {
                    save(op.cell.saved() - 1, before[1]);
                }
                (0..states).for_each(|s| state[s * h + u] = after[s]);
                out[t * h + u] = after[0];
            }
        }
    }
}

/// [`super::RecurrenceVjp`]'s outputs.
pub(super) fn backward(op: &Recurrence, x: &[&Tensor], y: &mut [Tensor]) {
    match op.cell {
        Cell::Rnn => backward_of(Recurrence { cell: Cell::Rnn, ..*op }, x, y),
        Cell::Gru => backward_of(Recurrence { cell: Cell::Gru, ..*op }, x, y),
        Cell::Lstm => backward_of(Recurrence { cell: Cell::Lstm, ..*op }, x, y),
    }
}

#[inline(always)]
fn backward_of(op: Recurrence, x: &[&Tensor], y: &mut [Tensor]) {
    let [batch, time, h] = x[3].ty().dims[..] else { unreachable!("types were checked") };
    let (wide, states, plane) = (op.cell.gates() * h, op.cell.states(), batch * time * h);
    let [w, saved, dh] = [0, 1, 3].map(|i| x[i].as_f32());
    let [dgates, carry] = y else { unreachable!("there are two outputs") };
    let (dgates, carry) = (dgates.as_f32_mut(), carry.as_f32_mut());
    carry.copy_from_slice(x[4].as_f32());
    let mut recurrent = vec![0.0; batch * wide];
    let mut through = vec![0.0; batch * h];
    let mut before = vec![0.0; batch * h];
    let length = |row: usize| time.min(x[2].as_u32()[row] as usize);
    for s in (0..time).rev() {
        for row in (0..batch).filter(|row| s < length(*row)) {
            let t = row * time + if op.reverse { length(row) - 1 - s } else { s };
            let carry = &mut carry[row * states * h..][..states * h];
            let recurrent = &mut recurrent[row * wide..][..wide];
            for u in 0..h {
                let saved = |p: usize| saved[p * plane + t * h + u];
                let kept = four(op.cell.kept(), |k| saved(k + 1));
                let [c, dc] = if states == 2 { [saved(op.cell.saved() - 1), carry[h + u]] } else { [0.0; 2] };
                let (of_x, of_h, before) = op.cell.back(kept, [saved(0), c], [dh[t * h + u] + carry[u], dc]);
                for gate in 0..op.cell.gates() {
                    dgates[t * wide + gate * h + u] = of_x[gate];
                    recurrent[gate * h + u] = of_h[gate];
                }
                through[row * h + u] = before[0];
                if states == 2 {
                    carry[h + u] = before[1];
                }
            }
            if op.cell == Cell::Gru {
                dgates[(batch * time + t) * wide..][..wide].copy_from_slice(recurrent);
            }
        }
        product([batch, wide, h], (&recurrent, wide), (w, [h, 1]), &mut before);
        for row in (0..batch).filter(|row| s < length(*row)) {
            for u in 0..h {
                carry[row * states * h + u] = before[row * h + u] + through[row * h + u];
            }
        }
    }
}
