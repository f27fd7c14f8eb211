// dgates[t] = cell'(dh[t] + W^T dgates[t + 1], dc) back along a sequence: RNN, GRU or LSTM
// A workgroup takes SPAN units of ROWS rows of the batch and walks over run.z of T + 1 steps, a thread to every LANES-th unit:
// a weight is loaded once for all of its rows. Where SPAN is less than H, run.z is 1: what other workgroups compute is read
// by the next dispatch.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{tanh_of};

const ROWS: u32 = 1u; // rows of the batch that a thread has
const LANES: u32 = 256u;

override GATES: u32; // 1: RNN, 3: GRU, 4: LSTM
override REVERSE: bool; // the forward walk went from the last real step to the first
override H: u32;
override SPAN: u32;

@group(0) @binding(0) var<storage, read> w: array<f32>; // (GATES * H, H)
@group(0) @binding(1) var<storage, read> saved: array<f32>; // (P, B, T, H)
@group(0) @binding(2) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(3) var<storage, read> dh: array<f32>; // (B, T, H)
@group(0) @binding(4) var<storage, read> dstate: array<f32>; // (B, S, H)
@group(0) @binding(5) var<storage, read_write> dgates: array<f32>; // (F, B, T, GATES * H), of GRU both sides' n
@group(0) @binding(6) var<storage, read_write> dstate0: array<f32>; // (B, S, H)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B, T, steps of a dispatch, number of the dispatch

@compute @workgroup_size(LANES)
fn recurrence_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) index: u32) {
    let blocks = (H + SPAN - 1u) / SPAN;
    let number = workgroup_index(group, groups);
    let row = number / blocks * ROWS;
    let first = number % blocks * SPAN;
    let end = select(0u, min(first + SPAN, H), row < run.x);
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

// W^T dgates of the time after step k's, one unit's of each row; nothing at the end, nor once all rows are at their start.
fn products(row: u32, k: u32, u: u32, longest: u32) -> array<f32, ROWS> {
    var sums: array<f32, ROWS>;
    if (k == 0u || k > min(lengths[longest], run.y)) {
        return sums;
    }
    // Where each row's gates begin. A row that is past its start reads those of the longest.
    var at: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let own = min(row + r, run.x - 1u);
        let mine = select(longest, own, k <= min(lengths[own], run.y));
        let later = mine * run.y + select(min(lengths[mine], run.y) - k, k - 1u, REVERSE);
        at[r] = (later + select(0u, run.x * run.y, GATES == 3u)) * GATES * H;
    }
    for (var j = 0u; j < H; j++) {
        var weights = vec4(w[j * H + u], 0.0, 0.0, 0.0);
        if (GATES > 1u) {
            weights.y = w[(H + j) * H + u];
            weights.z = w[(2u * H + j) * H + u];
        }
        if (GATES == 4u) {
            weights.w = w[(3u * H + j) * H + u];
        }
        for (var r = 0u; r < ROWS; r++) {
            var sum = fma(dgates[at[r] + j], weights.x, sums[r]);
            if (GATES > 1u) {
                sum = fma(dgates[at[r] + H + j], weights.y, sum);
                sum = fma(dgates[at[r] + 2u * H + j], weights.z, sum);
            }
            if (GATES == 4u) {
                sum = fma(dgates[at[r] + 3u * H + j], weights.w, sum);
            }
            sums[r] = sum;
        }
    }
    return sums;
}

// Cotangents of one time's gates: of x, and of W h + b where they differ.
fn store(at: u32, d: vec4<f32>, recurrent: f32) {
    let other = run.x * run.y * GATES * H;
    dgates[at] = d.x;
    if (GATES > 1u) {
        dgates[at + H] = d.y;
        dgates[at + 2u * H] = d.z;
    }
    if (GATES == 3u) {
        dgates[other + at] = d.x;
        dgates[other + at + H] = d.y;
        dgates[other + at + 2u * H] = recurrent;
    }
    if (GATES == 4u) {
        dgates[at + 3u * H] = d.w;
    }
}

// Step k of the walk for one unit of a row, of which `sum` is W^T dgates: a real step from the last on, then the start, then the padding.
fn step(row: u32, k: u32, u: u32, sum: f32) {
    let length = min(lengths[row], run.y);
    if (k > length) {
        store((row * run.y + k - 1u) * GATES * H + u, vec4(0.0), 0.0);
        return;
    }
    let origin = row * select(1u, 2u, GATES == 4u) * H + u;
    var carry = dstate[origin];
    var dc = 0.0;
    if (GATES == 4u) {
        dc = dstate[origin + H];
    }
    if (k > 0u) {
        carry = sum;
        if (GATES == 3u) {
            carry = sum + dstate0[origin];
        }
        if (GATES == 4u) {
            dc = dstate0[origin + H];
        }
    }
    if (k == length) {
        dstate0[origin] = carry;
        if (GATES == 4u) {
            dstate0[origin + H] = dc;
        }
        return;
    }
    let t = row * run.y + select(length - 1u - k, k, REVERSE);
    let plane = run.x * run.y * H;
    let at = t * H + u;
    let d = dh[at] + carry;
    let past = saved[at];
    if (GATES == 1u) {
        let y = saved[plane + at];
        store(t * H + u, vec4(d * (1.0 - y * y), 0.0, 0.0, 0.0), 0.0);
    } else if (GATES == 3u) {
        let r = saved[plane + at];
        let z = saved[2u * plane + at];
        let n = saved[3u * plane + at];
        let q = saved[4u * plane + at];
        let dn = d * (1.0 - z) * (1.0 - n * n);
        dstate0[origin] = d * z;
        store(t * 3u * H + u, vec4(dn * (q * (r * (1.0 - r))), d * (past - n) * (z * (1.0 - z)), dn, 0.0), dn * r);
    } else {
        let i = saved[plane + at];
        let f = saved[2u * plane + at];
        let g = saved[3u * plane + at];
        let o = saved[4u * plane + at];
        let c = saved[5u * plane + at];
        let y = tanh_of(f * c + i * g);
        dc += d * o * (1.0 - y * y);
        dstate0[origin + H] = dc * f;
        store(t * 4u * H + u, vec4(dc * g * (i * (1.0 - i)), dc * c * (f * (1.0 - f)), dc * i * (1.0 - g * g),
                                   d * y * (o * (1.0 - o))), 0.0);
    }
}
