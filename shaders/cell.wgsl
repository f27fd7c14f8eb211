// h, c = cell(gates + products, state0), a step whose products W h + b are known: RNN, GRU or LSTM
// One thread per unit of a row. A row whose length is 0 keeps its state.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{sigmoid_of, tanh_of};

override GATES: u32; // 1: RNN, 3: GRU, 4: LSTM

@group(0) @binding(0) var<storage, read> gates: array<f32>; // (B, GATES * H)
@group(0) @binding(1) var<storage, read> products: array<f32>; // (B, GATES * H)
@group(0) @binding(2) var<storage, read> state0: array<f32>; // (B, S, H)
@group(0) @binding(3) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(4) var<storage, read_write> h: array<f32>; // (B, H)
@group(0) @binding(5) var<storage, read_write> state: array<f32>; // (B, S, H)
@group(0) @binding(6) var<storage, read_write> kept: array<f32>; // (K, B, H)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B H, H

@compute @workgroup_size(256)
fn cell(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let row = i / run.y;
    let at = row * GATES * run.y + i % run.y;
    let origin = row * select(1u, 2u, GATES == 4u) * run.y + i % run.y;
    let live = lengths[row] > 0u;
    let past = state0[origin];
    var out = 0.0;
    if (GATES == 1u) {
        out = tanh_of(gates[at] + products[at]);
        kept[i] = select(0.0, out, live);
    } else if (GATES == 3u) {
        let r = sigmoid_of(gates[at] + products[at]);
        let z = sigmoid_of(gates[at + run.y] + products[at + run.y]);
        let q = products[at + 2u * run.y];
        let n = tanh_of(gates[at + 2u * run.y] + r * q);
        out = (1.0 - z) * n + z * past;
        kept[i] = select(0.0, r, live);
        kept[run.x + i] = select(0.0, z, live);
        kept[2u * run.x + i] = select(0.0, n, live);
        kept[3u * run.x + i] = select(0.0, q, live);
    } else {
        let i_gate = sigmoid_of(gates[at] + products[at]);
        let f = sigmoid_of(gates[at + run.y] + products[at + run.y]);
        let g = tanh_of(gates[at + 2u * run.y] + products[at + 2u * run.y]);
        let o = sigmoid_of(gates[at + 3u * run.y] + products[at + 3u * run.y]);
        let c0 = state0[origin + run.y];
        let c = f * c0 + i_gate * g;
        out = o * tanh_of(c);
        kept[i] = select(0.0, i_gate, live);
        kept[run.x + i] = select(0.0, f, live);
        kept[2u * run.x + i] = select(0.0, g, live);
        kept[3u * run.x + i] = select(0.0, o, live);
        state[origin + run.y] = select(c0, c, live);
    }
    h[i] = select(0.0, out, live);
    state[origin] = select(past, out, live);
}
