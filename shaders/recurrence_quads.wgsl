// h[t] = cell(gates[t] + W h[t - 1] + b, state[t - 1]) along a sequence: RNN, GRU or LSTM, H a multiple of 4
// A workgroup takes 4 SPAN units of ROWS rows of the batch and walks over run.z steps, a thread to every LANES-th four units:
// a weight is loaded once for all of its rows, an h once for all of its units. Where 4 SPAN is less than H, run.z is 1: what
// other workgroups compute is read by the next dispatch. Sums run over k in ascending order.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{sigmoids_of, tanhs_of};

const ROWS: u32 = 1u; // rows of the batch that a thread has
const LANES: u32 = 64u;

override GATES: u32; // 1: RNN, 3: GRU, 4: LSTM
override REVERSE: bool; // from the last real step to the first
override H: u32;
override SPAN: u32; // in fours

@group(0) @binding(0) var<storage, read> gates: array<vec4<f32>>; // (B, T, GATES * H)
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>; // (H, GATES * H)
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>; // (GATES * H)
@group(0) @binding(3) var<storage, read> state0: array<vec4<f32>>; // (B, S, H)
@group(0) @binding(4) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(5) var<storage, read_write> h: array<vec4<f32>>; // (B, T, H)
@group(0) @binding(6) var<storage, read_write> state: array<vec4<f32>>; // (B, S, H)
@group(0) @binding(7) var<storage, read_write> saved: array<vec4<f32>>; // (P, B, T, H)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B, T, steps of a dispatch, number of the dispatch

// One gate's sums of each row.
alias Sums = array<vec4<f32>, ROWS>;

@compute @workgroup_size(LANES)
fn recurrence_quads(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                    @builtin(local_invocation_index) index: u32) {
    let blocks = (H / 4u + SPAN - 1u) / SPAN;
    let number = workgroup_index(group, groups);
    let row = number / blocks * ROWS;
    let first = number % blocks * SPAN;
    let end = select(0u, min(first + SPAN, H / 4u), row < run.x);
    let last = min(run.z * (run.w + 1u), run.y);
    let most = most_steps(row);
    for (var s = run.z * run.w; s < last; s++) {
        for (var u = first + index; u < end; u += LANES) {
            walk(row, s, u, most);
        }
        storageBarrier();
    }
}

// The most steps that one of a workgroup's rows has.
fn most_steps(row: u32) -> u32 {
    var most = 0u;
    for (var r = 0u; r < ROWS; r++) {
        most = max(most, lengths[min(row + r, run.x - 1u)]);
    }
    return min(most, run.y);
}

// The time of step s of a row's walk, which has not ended.
fn time(row: u32, s: u32) -> u32 {
    return select(s, min(lengths[row], run.y) - 1u - s, REVERSE);
}

// Step s of four units of each row; no products once all rows have ended.
fn walk(row: u32, s: u32, u: u32, most: u32) {
    // Where each row's last h begins: in state0 before the first step, then in h. A row that has ended reads something of
    // its own.
    var at: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let mine = min(row + r, run.x - 1u);
        let length = min(lengths[mine], run.y);
        let t = select(s - 1u, length - s, REVERSE && s < length);
        at[r] = select((mine * run.y + t) * H / 4u, mine * select(1u, 2u, GATES == 4u) * H / 4u, s == 0u);
    }
    var x: Sums;
    var y: Sums;
    var z: Sums;
    var o: Sums;
    if (s < most) {
        for (var k = 0u; k < H / 4u; k++) {
            var past: array<vec4<f32>, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                past[r] = previous(s, at[r] + k);
            }
            x = products(x, past, u, k);
            if (GATES > 1u) {
                y = products(y, past, H / 4u + u, k);
                z = products(z, past, H / 2u + u, k);
            }
            if (GATES == 4u) {
                o = products(o, past, 3u * H / 4u + u, k);
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        if (row + r < run.x) {
            step(row + r, s, u, mat4x4(x[r], y[r], z[r], o[r]));
        }
    }
}

// Adds W h over h's elements 4 k to 4 k + 3: of W's fours of columns number u, for each row of the batch.
fn products(sums: Sums, past: Sums, u: u32, k: u32) -> Sums {
    let wide = GATES * H / 4u;
    let first = 4u * k * wide + u;
    let weights = mat4x4(w[first], w[first + wide], w[first + 2u * wide], w[first + 3u * wide]);
    var more = sums;
    for (var r = 0u; r < ROWS; r++) {
        var sum = fma(weights[0], vec4(past[r].x), more[r]);
        sum = fma(weights[1], vec4(past[r].y), sum);
        sum = fma(weights[2], vec4(past[r].z), sum);
        more[r] = fma(weights[3], vec4(past[r].w), sum);
    }
    return more;
}

// Step s of the walk for four units of a row, of which `sum` is W h, a column a gate. Steps past the row's length clear the
// padding, by the same stores: software adapters run both sides of a branch.
fn step(row: u32, s: u32, u: u32, sum: mat4x4<f32>) {
    let wide = H / 4u;
    let zero = vec4(0.0);
    let length = min(lengths[row], run.y);
    let live = s < length;
    let plane = run.x * run.y * wide;
    let origin = row * select(1u, 2u, GATES == 4u) * wide + u;
    let t = row * run.y + select(s, length - 1u - s, REVERSE && live);
    let at = t * wide + u;
    let x = t * GATES * wide + u;
    let before = select(at, select(at - wide, at + wide, REVERSE), live);
    let past = previous(s, select(before, origin, s == 0u));
    var out = zero;
    saved[at] = select(zero, past, live);
    if (GATES == 1u) {
        out = select(zero, tanhs_of(gates[x] + (sum[0] + b[u])), live);
        saved[plane + at] = out;
    } else if (GATES == 3u) {
        let r = sigmoids_of(gates[x] + (sum[0] + b[u]));
        let z = sigmoids_of(gates[x + wide] + (sum[1] + b[wide + u]));
        let q = sum[2] + b[2u * wide + u];
        let n = tanhs_of(gates[x + 2u * wide] + r * q);
        out = select(zero, (1.0 - z) * n + z * past, live);
        saved[plane + at] = select(zero, r, live);
        saved[2u * plane + at] = select(zero, z, live);
        saved[3u * plane + at] = select(zero, n, live);
        saved[4u * plane + at] = select(zero, q, live);
    } else {
        let i = sigmoids_of(gates[x] + (sum[0] + b[u]));
        let f = sigmoids_of(gates[x + wide] + (sum[1] + b[wide + u]));
        let g = tanhs_of(gates[x + 2u * wide] + (sum[2] + b[2u * wide + u]));
        let o = sigmoids_of(gates[x + 3u * wide] + (sum[3] + b[3u * wide + u]));
        // A unit's own c waits in the state.
        var c = state0[origin + wide];
        if (s > 0u) {
            c = state[origin + wide];
        }
        saved[plane + at] = select(zero, i, live);
        saved[2u * plane + at] = select(zero, f, live);
        saved[3u * plane + at] = select(zero, g, live);
        saved[4u * plane + at] = select(zero, o, live);
        saved[5u * plane + at] = select(zero, c, live);
        c = select(c, f * c + i * g, live);
        state[origin + wide] = c;
        out = select(zero, o * tanhs_of(c), live);
    }
    h[at] = out;
    if (s + 1u == max(length, 1u)) {
        state[origin] = select(past, out, live);
    }
}

// Four elements of the last h: of state0 before the first step.
fn previous(s: u32, at: u32) -> vec4<f32> {
    if (s == 0u) {
        return state0[at];
    }
    return h[at];
}
