//! The walks on a CPU without a definition's patience: a product for all rows of the batch at every step.

use super::{Cell, Recurrence};
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

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// [`Recurrence`]'s outputs.
pub(super) fn forward(op: &Recurrence, x: &[&Tensor], y: &mut [Tensor]) {
    let [batch, time, wide] = x[0].ty().dims[..] else { unreachable!("types were checked") };
    let (states, h) = (op.cell.states(), wide / op.cell.gates());
    let [gates, w, bias] = [0, 1, 2].map(|i| x[i].as_f32());
    let plane = batch * time * h;
    let [out, last, saved] = y else { unreachable!("there are three outputs") };
    let (out, state, saved) = (out.as_f32_mut(), last.as_f32_mut(), saved.as_f32_mut());
    state.copy_from_slice(x[3].as_f32());
    let mut recurrent = vec![0.0; batch * wide];
    for s in 0..time {
        product([batch, h, wide], (state, states * h), (w, [1, h]), &mut recurrent);
        for row in 0..batch {
            let length = time.min(x[4].as_u32()[row] as usize);
            if s >= length {
                continue;
            }
            let t = row * time + if op.reverse { length - 1 - s } else { s };
            let (gates, recurrent) = (&gates[t * wide..][..wide], &recurrent[row * wide..][..wide]);
            let (first, second) = state[row * states * h..][..states * h].split_at_mut(h);
            for u in 0..h {
                let recurrent = |gate: usize| recurrent[gate * h + u] + bias[gate * h + u];
                let all = |gate: usize| gates[gate * h + u] + recurrent(gate);
                let past = first[u];
                let mut keep = |p: usize, value: f32| saved[p * plane + t * h + u] = value;
                keep(0, past);
                match op.cell {
                    Cell::Rnn => {
                        first[u] = all(0).tanh();
                        keep(1, first[u]);
                    }
                    Cell::Gru => {
                        let (r, z, q) = (sigmoid(all(0)), sigmoid(all(1)), recurrent(2));
                        let n = (gates[2 * h + u] + r * q).tanh();
                        first[u] = (1.0 - z) * n + z * past;
                        [r, z, n, q].into_iter().enumerate().for_each(|(p, value)| keep(p + 1, value));
                    }
                    Cell::Lstm => {
                        let (i, f, g, o) = (sigmoid(all(0)), sigmoid(all(1)), all(2).tanh(), sigmoid(all(3)));
                        let c = second[u];
                        second[u] = f * c + i * g;
                        first[u] = o * second[u].tanh();
                        [i, f, g, o, c].into_iter().enumerate().for_each(|(p, value)| keep(p + 1, value));
                    }
                }
                out[t * h + u] = first[u];
            }
        }
    }
}

/// [`super::RecurrenceVjp`]'s outputs.
pub(super) fn backward(op: &Recurrence, x: &[&Tensor], y: &mut [Tensor]) {
    let [batch, time, h] = x[3].ty().dims[..] else { unreachable!("types were checked") };
    let (wide, states, plane) = (op.cell.gates() * h, op.cell.states(), batch * time * h);
    let [w, saved, dh] = [0, 1, 3].map(|i| x[i].as_f32());
    let [dgates, carry] = y else { unreachable!("there are two outputs") };
    let (dgates, carry) = (dgates.as_f32_mut(), carry.as_f32_mut());
    carry.copy_from_slice(x[4].as_f32());
    let mut recurrent = vec![0.0; batch * wide];
    let mut through = vec![0.0; batch * h];
    let mut before = vec![0.0; batch * h];
    let slope = |y: f32| y * (1.0 - y);
    let length = |row: usize| time.min(x[2].as_u32()[row] as usize);
    for s in (0..time).rev() {
        for row in (0..batch).filter(|row| s < length(*row)) {
            let t = row * time + if op.reverse { length(row) - 1 - s } else { s };
            let (dh_next, dc_next) = carry[row * states * h..][..states * h].split_at_mut(h);
            let recurrent = &mut recurrent[row * wide..][..wide];
            for u in 0..h {
                let saved = |p: usize| saved[p * plane + t * h + u];
                let d = dh[t * h + u] + dh_next[u];
                let mut give = |gate: usize, of_x: f32, of_h: f32| {
                    dgates[t * wide + gate * h + u] = of_x;
                    recurrent[gate * h + u] = of_h;
                };
                match op.cell {
                    Cell::Rnn => {
                        let d = d * (1.0 - saved(1) * saved(1));
                        give(0, d, d);
                    }
                    Cell::Gru => {
                        let [past, r, z, n, q] = [0, 1, 2, 3, 4].map(saved);
                        let dn = d * (1.0 - z) * (1.0 - n * n);
                        let (dr, dz) = (dn * (q * slope(r)), d * (past - n) * slope(z));
                        through[row * h + u] = d * z;
                        give(0, dr, dr);
                        give(1, dz, dz);
                        give(2, dn, dn * r);
                    }
                    Cell::Lstm => {
                        let [i, f, g, o, c] = [1, 2, 3, 4, 5].map(saved);
                        let y = (f * c + i * g).tanh();
                        let dc = dc_next[u] + d * o * (1.0 - y * y);
                        dc_next[u] = dc * f;
                        let all = [dc * g * slope(i), dc * c * slope(f), dc * i * (1.0 - g * g), d * y * slope(o)];
                        all.into_iter().enumerate().for_each(|(gate, d)| give(gate, d, d));
                    }
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
