// dk_s = v * sum over t of dscores_ts (1 - tanh(q_t + k_s)^2), added to what is there where ADD
// One thread per element of k: all queries in order. Keys from the length on get zeros.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{tanh_of};

override A: u32;
override ADD: bool;

@group(0) @binding(0) var<storage, read> q: array<f32>; // (B, T, A)
@group(0) @binding(1) var<storage, read> k: array<f32>; // (B, S, A)
@group(0) @binding(2) var<storage, read> v: array<f32>; // (A)
@group(0) @binding(3) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(4) var<storage, read> dscores: array<f32>; // (B, T, S)
@group(0) @binding(5) var<storage, read_write> dk: array<f32>; // (B, S, A)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B*S, T, S

@compute @workgroup_size(256)
fn global_attention_key_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                            @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    let row = i / A;
    if (row >= run.x) {
        return;
    }
    let a = i % A;
    let b = row / run.z;
    let s = row % run.z;
    var sum = 0.0;
    if (s < lengths[b]) {
        let mine = k[i];
        for (var t = 0u; t < run.y; t++) {
            let u = tanh_of(q[(b * run.y + t) * A + a] + mine);
            sum = fma(dscores[(b * run.y + t) * run.z + s], 1.0 - u * u, sum);
        }
        sum *= v[a];
    }
    if (ADD) {
        dk[i] += sum;
    } else {
        dk[i] = sum;
    }
}
