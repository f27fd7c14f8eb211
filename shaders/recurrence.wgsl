// h[t] = cell(gates[t] + W h[t - 1] + b, state[t - 1]) along a sequence: RNN, GRU or LSTM
// A workgroup takes SPAN units of one row of the batch and walks over run.z steps, a thread to every 256th unit. Where SPAN
// is less than H, run.z is 1: what other workgroups compute is read by the next dispatch.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{sigmoid_of, tanh_of};

override GATES: u32; // 1: RNN, 3: GRU, 4: LSTM
override REVERSE: bool; // from the last real step to the first
override H: u32;
override SPAN: u32;

@group(0) @binding(0) var<storage, read> gates: array<f32>; // (B, T, GATES * H)
@group(0) @binding(1) var<storage, read> w: array<f32>; // (GATES * H, H)
@group(0) @binding(2) var<storage, read> b: array<f32>; // (GATES * H)
@group(0) @binding(3) var<storage, read> state0: array<f32>; // (B, S, H)
@group(0) @binding(4) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(5) var<storage, read_write> h: array<f32>; // (B, T, H)
@group(0) @binding(6) var<storage, read_write> state: array<f32>; // (B, S, H)
@group(0) @binding(7) var<storage, read_write> saved: array<f32>; // (P, B, T, H)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B, T, steps of a dispatch, number of the dispatch

@compute @workgroup_size(256)
fn recurrence(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) index: u32) {
    let blocks = (H + SPAN - 1u) / SPAN;
    let number = workgroup_index(group, groups);
    let row = number / blocks;
    let first = number % blocks * SPAN;
    let end = select(0u, min(first + SPAN, H), row < run.x);
    let last = min(run.z * (run.w + 1u), run.y);
    for (var s = run.z * run.w; s < last; s++) {
        for (var u = first + index; u < end; u += 256u) {
            step(row, s, u);
        }
        storageBarrier();
    }
}

// Step s of the walk for one unit of a row. Steps past the row's length clear the padding.
fn step(row: u32, s: u32, u: u32) {
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
    let t = select(s, length - 1u - s, REVERSE);
    let before = (row * run.y + select(t - 1u, t + 1u, REVERSE)) * H;
    var sum = vec4(0.0);
    for (var k = 0u; k < H; k++) {
        let past = previous(s, before + k, origin + k);
        sum.x = fma(w[u * H + k], past, sum.x);
        if (GATES > 1u) {
            sum.y = fma(w[(H + u) * H + k], past, sum.y);
            sum.z = fma(w[(2u * H + u) * H + k], past, sum.z);
        }
        if (GATES == 4u) {
            sum.w = fma(w[(3u * H + u) * H + k], past, sum.w);
        }
    }
    let past = previous(s, before + u, origin + u);
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

fn previous(s: u32, before: u32, start: u32) -> f32 {
    if (s == 0u) {
        return state0[start];
    }
    return h[before];
}
