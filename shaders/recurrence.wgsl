// h[t] = cell(gates[t] + W h[t - 1] + b, state[t - 1]) along a sequence: RNN, GRU or LSTM
// A workgroup takes SPAN units of ROWS rows of the batch and walks over run.z steps, a thread to every LANES-th unit: a weight
// is loaded once for all of its rows. Where SPAN is less than H, run.z is 1: what other workgroups compute is read by the
// next dispatch.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{sigmoid_of, tanh_of};

const ROWS: u32 = 1u; // rows of the batch that a thread has
const LANES: u32 = 256u;

override GATES: u32; // 1: RNN, 3: GRU, 4: LSTM
override REVERSE: bool; // from the last real step to the first
override H: u32;
override SPAN: u32;

@group(0) @binding(0) var<storage, read> gates: array<f32>; // (B, T, GATES * H)
@group(0) @binding(1) var<storage, read> w: array<f32>; // (H, GATES * H)
@group(0) @binding(2) var<storage, read> b: array<f32>; // (GATES * H)
@group(0) @binding(3) var<storage, read> state0: array<f32>; // (B, S, H)
@group(0) @binding(4) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(5) var<storage, read_write> h: array<f32>; // (B, T, H)
@group(0) @binding(6) var<storage, read_write> state: array<f32>; // (B, S, H)
@group(0) @binding(7) var<storage, read_write> saved: array<f32>; // (P, B, T, H)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B, T, steps of a dispatch, number of the dispatch

@compute @workgroup_size(LANES)
fn recurrence(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) index: u32) {
    let blocks = (H + SPAN - 1u) / SPAN;
    let number = workgroup_index(group, groups);
    let row = number / blocks * ROWS;
    let first = number % blocks * SPAN;
    let end = select(0u, min(first + SPAN, H), row < run.x);
    let last = min(run.z * (run.w + 1u), run.y);
    let most = most_steps(row);
    for (var s = run.z * run.w; s < last; s++) {
        for (var u = first + index; u < end; u += LANES) {
            let sums = products(row, s, u, most);
            for (var r = 0u; r < ROWS; r++) {
                if (row + r < run.x) {
                    step(row + r, s, u, sums[r]);
                }
            }
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

// W h of the state before step s, one unit's gates of each row; nothing once all rows have ended.
fn products(row: u32, s: u32, u: u32, most: u32) -> array<vec4<f32>, ROWS> {
    var sums: array<vec4<f32>, ROWS>;
    if (s >= most) {
        return sums;
    }
    // Where each row's last h begins: in state0 before the first step, then in h. A row that has ended reads something of
    // its own.
    var at: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let mine = min(row + r, run.x - 1u);
        let length = min(lengths[mine], run.y);
        let t = select(s - 1u, length - s, REVERSE && s < length);
        at[r] = select((mine * run.y + t) * H, mine * select(1u, 2u, GATES == 4u) * H, s == 0u);
    }
    for (var k = 0u; k < H; k++) {
        let first = k * GATES * H + u;
        var weights = vec4(w[first], 0.0, 0.0, 0.0);
        if (GATES > 1u) {
            weights.y = w[first + H];
            weights.z = w[first + 2u * H];
        }
        if (GATES == 4u) {
            weights.w = w[first + 3u * H];
        }
        for (var r = 0u; r < ROWS; r++) {
            sums[r] = fma(weights, vec4(previous(s, at[r] + k)), sums[r]);
        }
    }
    return sums;
}

// Step s of the walk for one unit of a row, of which `sum` is W h. Steps past the row's length clear the padding.
fn step(row: u32, s: u32, u: u32, sum: vec4<f32>) {
    let length = min(lengths[row], run.y);
    let plane = run.x * run.y * H;
    let origin = row * select(1u, 2u, GATES == 4u) * H;
    if (s >= length) {
        let at = (row * run.y + s) * H + u;
        h[at] = 0.0;
        for (var p = 0u; p < GATES + 2u - u32(GATES == 1u); p++) {
            saved[p * plane + at] = 0.0;
        }
        if (s == 0u) {
            state[origin + u] = state0[origin + u];
            if (GATES == 4u) {
                state[origin + H + u] = state0[origin + H + u];
            }
        }
        return;
    }
    let t = time(row, s);
    let before = (row * run.y + select(t - 1u, t + 1u, REVERSE)) * H;
    let past = previous(s, select(before, origin, s == 0u) + u);
    let at = (row * run.y + t) * H + u;
    let x = (row * run.y + t) * GATES * H + u;
    var out = 0.0;
    saved[at] = past;
    if (GATES == 1u) {
        out = tanh_of(gates[x] + (sum.x + b[u]));
        saved[plane + at] = out;
    } else if (GATES == 3u) {
        let r = sigmoid_of(gates[x] + (sum.x + b[u]));
        let z = sigmoid_of(gates[x + H] + (sum.y + b[H + u]));
        let q = sum.z + b[2u * H + u];
        let n = tanh_of(gates[x + 2u * H] + r * q);
        out = (1.0 - z) * n + z * past;
        saved[plane + at] = r;
        saved[2u * plane + at] = z;
        saved[3u * plane + at] = n;
        saved[4u * plane + at] = q;
    } else {
        let i = sigmoid_of(gates[x] + (sum.x + b[u]));
        let f = sigmoid_of(gates[x + H] + (sum.y + b[H + u]));
        let g = tanh_of(gates[x + 2u * H] + (sum.z + b[2u * H + u]));
        let o = sigmoid_of(gates[x + 3u * H] + (sum.w + b[3u * H + u]));
        // A unit's own c waits in the state.
        var c = state0[origin + H + u];
        if (s > 0u) {
            c = state[origin + H + u];
        }
        saved[plane + at] = i;
        saved[2u * plane + at] = f;
        saved[3u * plane + at] = g;
        saved[4u * plane + at] = o;
        saved[5u * plane + at] = c;
        c = f * c + i * g;
        state[origin + H + u] = c;
        out = o * tanh_of(c);
    }
    h[at] = out;
    if (s == length - 1u) {
        state[origin + u] = out;
    }
}

// An element of the last h: of state0 before the first step.
fn previous(s: u32, at: u32) -> f32 {
    if (s == 0u) {
        return state0[at];
    }
    return h[at];
}
