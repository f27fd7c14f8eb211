// e[t, s] = v . tanh(q[t] + k[s])
// One thread per score.
import package::lib::gates::{tanh_of};
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> q: array<f32>; // (B, T, A)
@group(0) @binding(1) var<storage, read> k: array<f32>; // (B, S, A)
@group(0) @binding(2) var<storage, read> v: array<f32>; // (A)
@group(0) @binding(3) var<storage, read_write> e: array<f32>; // (B, T, S)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B*T*S, T, S, A

@compute @workgroup_size(256)
fn additive_scores(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                   @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let query = i / run.z;
    let key = query / run.y * run.z + i % run.z;
    var sum = 0.0;
    for (var a = 0u; a < run.w; a++) {
        sum += v[a] * tanh_of(q[query * run.w + a] + k[key * run.w + a]);
    }
    e[i] = sum;
}
