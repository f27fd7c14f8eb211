// dq_t = v * sum over s of dscores_ts (1 - u_ts^2), dv_t = sum over s of dscores_ts u_ts, with u_ts = tanh(q_t + k_s)
// One thread per element of q: all keys in order.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{tanh_of};

override A: u32;

@group(0) @binding(0) var<storage, read> q: array<f32>; // (B, T, A)
@group(0) @binding(1) var<storage, read> k: array<f32>; // (B, S, A)
@group(0) @binding(2) var<storage, read> v: array<f32>; // (A)
@group(0) @binding(3) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(4) var<storage, read> dscores: array<f32>; // (B, T, S)
@group(0) @binding(5) var<storage, read_write> dq: array<f32>; // (B, T, A)
@group(0) @binding(6) var<storage, read_write> dv: array<f32>; // (B, T, A), to be summed over rows
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B*T, T, S

@compute @workgroup_size(256)
fn global_attention_query_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                              @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    let row = i / A;
    if (row >= run.x) {
        return;
    }
    let a = i % A;
    let b = row / run.y;
    let mine = q[i];
    var of_q = 0.0;
    var of_v = 0.0;
    for (var s = 0u; s < min(lengths[b], run.z); s++) {
        let d = dscores[row * run.z + s];
        let u = tanh_of(mine + k[(b * run.z + s) * A + a]);
        of_q = fma(d, 1.0 - u * u, of_q);
        of_v = fma(d, u, of_v);
    }
    dq[i] = v[a] * of_q;
    dv[i] = of_v;
}
