// dq[t] = v * sum over s of de[t, s] (1 - tanh^2(q[t] + k[s])); dv[t] = sum over s of de[t, s] tanh(q[t] + k[s])
// One thread per element of dq.
import package::lib::gates::{tanh_of};
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> de: array<f32>; // (B, T, S)
@group(0) @binding(1) var<storage, read> q: array<f32>; // (B, T, A)
@group(0) @binding(2) var<storage, read> k: array<f32>; // (B, S, A)
@group(0) @binding(3) var<storage, read> v: array<f32>; // (A)
@group(0) @binding(4) var<storage, read_write> dq: array<f32>; // (B, T, A)
@group(0) @binding(5) var<storage, read_write> dv: array<f32>; // (B, T, A): a share for each query
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B*T*A, T, S, A

@compute @workgroup_size(256)
fn additive_scores_query_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                             @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let query = i / run.w;
    let a = i % run.w;
    let keys = query / run.y * run.z;
    var slope = 0.0;
    var share = 0.0;
    for (var s = 0u; s < run.z; s++) {
        let y = tanh_of(q[i] + k[(keys + s) * run.w + a]);
        let d = de[query * run.z + s];
        slope += d * (1.0 - y * y);
        share += d * y;
    }
    dq[i] = v[a] * slope;
    dv[i] = share;
}
