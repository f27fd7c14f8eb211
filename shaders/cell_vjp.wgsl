// dgates, dstate0 = cell'(kept, state0) (dh, dstate), a step back: RNN, GRU or LSTM
// One thread per unit of a row. Through a row whose length is 0 the state's cotangent goes as it is.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{tanh_of};

override GATES: u32; // 1: RNN, 3: GRU, 4: LSTM

@group(0) @binding(0) var<storage, read> kept: array<f32>; // (K, B, H)
@group(0) @binding(1) var<storage, read> state0: array<f32>; // (B, S, H)
@group(0) @binding(2) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(3) var<storage, read> dh: array<f32>; // (B, H)
@group(0) @binding(4) var<storage, read> dstate: array<f32>; // (B, S, H)
@group(0) @binding(5) var<storage, read_write> dgates: array<f32>; // (F, B, GATES * H), of GRU the products' too
@group(0) @binding(6) var<storage, read_write> dstate0: array<f32>; // (B, S, H)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B H, H

@compute @workgroup_size(256)
fn cell_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let row = i / run.y;
    let at = row * GATES * run.y + i % run.y;
    let origin = row * select(1u, 2u, GATES == 4u) * run.y + i % run.y;
    let live = lengths[row] > 0u;
    let d = dh[i] + dstate[origin];
    // What reaches the h before without the products.
    var past = 0.0;
    if (GATES == 1u) {
        let y = kept[i];
        dgates[at] = select(0.0, d * (1.0 - y * y), live);
    } else if (GATES == 3u) {
        let r = kept[i];
        let z = kept[run.x + i];
        let n = kept[2u * run.x + i];
        let q = kept[3u * run.x + i];
        let dn = select(0.0, d * (1.0 - z) * (1.0 - n * n), live);
        let dr = dn * (q * (r * (1.0 - r)));
        let dz = select(0.0, d * (state0[origin] - n) * (z * (1.0 - z)), live);
        let other = at + GATES * run.x;
        dgates[at] = dr;
        dgates[at + run.y] = dz;
        dgates[at + 2u * run.y] = dn;
        dgates[other] = dr;
        dgates[other + run.y] = dz;
        dgates[other + 2u * run.y] = dn * r;
        past = d * z;
    } else {
        let i_gate = kept[i];
        let f = kept[run.x + i];
        let g = kept[2u * run.x + i];
        let o = kept[3u * run.x + i];
        let c = state0[origin + run.y];
        let y = tanh_of(f * c + i_gate * g);
        let dc = dstate[origin + run.y] + d * o * (1.0 - y * y);
        dgates[at] = select(0.0, dc * g * (i_gate * (1.0 - i_gate)), live);
        dgates[at + run.y] = select(0.0, dc * c * (f * (1.0 - f)), live);
        dgates[at + 2u * run.y] = select(0.0, dc * i_gate * (1.0 - g * g), live);
        dgates[at + 3u * run.y] = select(0.0, d * y * (o * (1.0 - o)), live);
        dstate0[origin + run.y] = select(dstate[origin + run.y], dc * f, live);
    }
    dstate0[origin] = select(dstate[origin], past, live);
}
