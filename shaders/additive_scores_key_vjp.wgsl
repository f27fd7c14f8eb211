// dk[s] = v * sum over t of de[t, s] (1 - tanh^2(q[t] + k[s])), plus what dk holds where ADD
// One thread per element of dk.
import package::lib::gates::{tanh_of};
import package::lib::grid::{workgroup_index};

override ADD: bool; // dk holds a cotangent from elsewhere

@group(0) @binding(0) var<storage, read> de: array<f32>; // (B, T, S)
@group(0) @binding(1) var<storage, read> q: array<f32>; // (B, T, A)
@group(0) @binding(2) var<storage, read> k: array<f32>; // (B, S, A)
@group(0) @binding(3) var<storage, read> v: array<f32>; // (A)
@group(0) @binding(4) var<storage, read_write> dk: array<f32>; // (B, S, A)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B*S*A, T, S, A

@compute @workgroup_size(256)
fn additive_scores_key_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                           @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let key = i / run.w;
    let a = i % run.w;
    let queries = key / run.z * run.y;
    var slope = 0.0;
    for (var t = 0u; t < run.y; t++) {
        let y = tanh_of(q[(queries + t) * run.w + a] + k[i]);
        slope += de[(queries + t) * run.z + key % run.z] * (1.0 - y * y);
    }
    if (ADD) {
        dk[i] += v[a] * slope;
    } else {
        dk[i] = v[a] * slope;
    }
}
