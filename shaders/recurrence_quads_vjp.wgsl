// dgates[t] = cell'(dh[t] + W^T dgates[t + 1], dc) back along a sequence: RNN, GRU or LSTM, H a multiple of 4
// A workgroup takes 4 SPAN units of ROWS rows of the batch and walks over run.z of T + 1 steps, a thread to every LANES-th four
// units: a weight is loaded once for all of its rows, a cotangent once for all of its units. Where 4 SPAN is less than H, run.z
// is 1: what other workgroups compute is read by the next dispatch. Sums run over the rows of W in ascending order.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{tanhs_of};

const ROWS: u32 = 1u; // rows of the batch that a thread has
const LANES: u32 = 64u;

override GATES: u32; // 1: RNN, 3: GRU, 4: LSTM
override REVERSE: bool; // the forward walk went from the last real step to the first
override H: u32;
override SPAN: u32; // in fours

@group(0) @binding(0) var<storage, read> w: array<vec4<f32>>; // (GATES * H, H)
@group(0) @binding(1) var<storage, read> saved: array<vec4<f32>>; // (P, B, T, H)
@group(0) @binding(2) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(3) var<storage, read> dh: array<vec4<f32>>; // (B, T, H)
@group(0) @binding(4) var<storage, read> dstate: array<vec4<f32>>; // (B, S, H)
@group(0) @binding(5) var<storage, read_write> dgates: array<vec4<f32>>; // (F, B, T, GATES * H), of GRU both sides' n
@group(0) @binding(6) var<storage, read_write> dstate0: array<vec4<f32>>; // (B, S, H)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B, T, steps of a dispatch, number of the dispatch

@compute @workgroup_size(LANES)
fn recurrence_quads_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                        @builtin(local_invocation_index) index: u32) {
    let blocks = (H / 4u + SPAN - 1u) / SPAN;
    let number = workgroup_index(group, groups);
    let row = number / blocks * ROWS;
    let first = number % blocks * SPAN;
    let end = select(0u, min(first + SPAN, H / 4u), row < run.x);
    let last = min(run.z * (run.w + 1u), run.y + 1u);
    let longest = longest_row(row);
    for (var k = run.z * run.w; k < last; k++) {
        for (var u = first + index; u < end; u += LANES) {
            let sums = products(row, k, u, longest);
            for (var r = 0u; r < ROWS; r++) {
                if (row + r < run.x) {
                    step(row + r, k, u, sums[r]);
                }
            }
        }
        storageBarrier();
    }
}

// The row that has the most steps of a workgroup's rows.
fn longest_row(row: u32) -> u32 {
    var found = min(row, run.x - 1u);
    for (var r = 1u; r < ROWS; r++) {
        let mine = min(row + r, run.x - 1u);
        found = select(found, mine, lengths[mine] > lengths[found]);
    }
    return found;
}

// W^T dgates of the time after step k's, four units' of each row; nothing at the end, nor once all rows are at their start.
fn products(row: u32, k: u32, u: u32, longest: u32) -> array<vec4<f32>, ROWS> {
    var sums: array<vec4<f32>, ROWS>;
    if (k == 0u || k > min(lengths[longest], run.y)) {
        return sums;
    }
    // Where each row's gates begin. A row that is past its start reads those of the longest.
    var at: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let own = min(row + r, run.x - 1u);
        let mine = select(longest, own, k <= min(lengths[own], run.y));
        let later = mine * run.y + select(min(lengths[mine], run.y) - k, k - 1u, REVERSE);
        at[r] = (later + select(0u, run.x * run.y, GATES == 3u)) * GATES * H / 4u;
    }
    // Two fours of gates at a time: a loop for each would cost what software adapters count.
    let fours = GATES * H / 4u;
    for (var j = 0u; j < fours; j += 2u) {
        let next = min(j + 1u, fours - 1u);
        let weights = block(j, u);
        let more = block(next, u);
        for (var r = 0u; r < ROWS; r++) {
            let sum = combine(sums[r], dgates[at[r] + j], weights);
            sums[r] = select(sum, combine(sum, dgates[at[r] + next], more), next > j);
        }
    }
    return sums;
}

// Rows 4 j to 4 j + 3 of W, of which columns 4 u to 4 u + 3.
fn block(j: u32, u: u32) -> mat4x4<f32> {
    let first = j * H + u;
    return mat4x4(w[first], w[first + H / 4u], w[first + H / 2u], w[first + 3u * H / 4u]);
}

// Adds four rows of W, each times its gate's cotangent.
fn combine(sum: vec4<f32>, d: vec4<f32>, weights: mat4x4<f32>) -> vec4<f32> {
    var more = fma(vec4(d.x), weights[0], sum);
    more = fma(vec4(d.y), weights[1], more);
    more = fma(vec4(d.z), weights[2], more);
    return fma(vec4(d.w), weights[3], more);
}

// Cotangents of one time's gates, a column a gate: of x, and of W h + b where they differ.
fn store(at: u32, d: mat4x4<f32>, recurrent: vec4<f32>) {
    let wide = H / 4u;
    let other = run.x * run.y * GATES * wide;
    dgates[at] = d[0];
    if (GATES > 1u) {
        dgates[at + wide] = d[1];
        dgates[at + 2u * wide] = d[2];
    }
    if (GATES == 3u) {
        dgates[other + at] = d[0];
        dgates[other + at + wide] = d[1];
        dgates[other + at + 2u * wide] = recurrent;
    }
    if (GATES == 4u) {
        dgates[at + 3u * wide] = d[3];
    }
}

// Step k of the walk for four units of a row, of which `sum` is W^T dgates: a real step from the last on, then the start, then
// the padding. One side serves all of them: software adapters run both sides of a branch.
fn step(row: u32, k: u32, u: u32, sum: vec4<f32>) {
    let wide = H / 4u;
    let zero = vec4(0.0);
    let length = min(lengths[row], run.y);
    let live = k < length;
    let origin = row * select(1u, 2u, GATES == 4u) * wide + u;
    var carry = dstate[origin];
    var dc = zero;
    if (GATES == 4u) {
        dc = dstate[origin + wide];
    }
    if (k > 0u) {
        carry = sum;
        if (GATES == 3u) {
            carry = sum + dstate0[origin];
        }
        if (GATES == 4u) {
            dc = dstate0[origin + wide];
        }
    }
    let t = row * run.y + select(max(k, 1u) - 1u, select(length - 1u - k, k, REVERSE), live);
    let plane = run.x * run.y * wide;
    let at = t * wide + u;
    let d = dh[at] + carry;
    let past = saved[at];
    var all = mat4x4(zero, zero, zero, zero);
    var recurrent = zero;
    if (GATES == 1u) {
        let y = saved[plane + at];
        all[0] = select(zero, d * (1.0 - y * y), live);
    } else if (GATES == 3u) {
        let r = saved[plane + at];
        let z = saved[2u * plane + at];
        let n = saved[3u * plane + at];
        let q = saved[4u * plane + at];
        let dn = d * (1.0 - z) * (1.0 - n * n);
        carry = select(carry, d * z, live);
        all[0] = select(zero, dn * (q * (r * (1.0 - r))), live);
        all[1] = select(zero, d * (past - n) * (z * (1.0 - z)), live);
        all[2] = select(zero, dn, live);
        recurrent = select(zero, dn * r, live);
    } else {
        let i = saved[plane + at];
        let f = saved[2u * plane + at];
        let g = saved[3u * plane + at];
        let o = saved[4u * plane + at];
        let c = saved[5u * plane + at];
        let y = tanhs_of(f * c + i * g);
        let dc_new = dc + d * o * (1.0 - y * y);
        dc = select(dc, dc_new * f, live);
        all[0] = select(zero, dc_new * g * (i * (1.0 - i)), live);
        all[1] = select(zero, dc_new * c * (f * (1.0 - f)), live);
        all[2] = select(zero, dc_new * i * (1.0 - g * g), live);
        all[3] = select(zero, d * y * (o * (1.0 - o)), live);
    }
    if (k != length) {
        store(t * GATES * wide + u, all, recurrent);
    }
    // Cotangents of the state wait there for the next step, of h what does not go through the sums.
    if (k <= length) {
        if (GATES == 3u || !live) {
            dstate0[origin] = carry;
        }
        if (GATES == 4u) {
            dstate0[origin + wide] = dc;
        }
    }
}
