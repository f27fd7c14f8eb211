// m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  p -= lr ((m / c1) / (sqrt(v / c2) + EPS) + DECAY p)
// One thread per element. Decay holds for the first run.y elements, decoupled (AdamW) or added to the gradient (Adam).
// Nothing changes when the gradient was not finite.
import package::lib::grid::{workgroup_index};

override BETA1: f32;
override REST1: f32; // 1 - BETA1, rounded once
override BETA2: f32;
override REST2: f32;
override EPS: f32;
override DECAY: f32;
override DECOUPLED: bool;

@group(0) @binding(0) var<storage, read> g: array<f32>; // (n)
@group(0) @binding(1) var<storage, read> step: array<u32>; // (16), see step.rs
@group(0) @binding(2) var<storage, read_write> p: array<f32>; // (n)
@group(0) @binding(3) var<storage, read_write> m: array<f32>; // (n)
@group(0) @binding(4) var<storage, read_write> v: array<f32>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements, elements with decay

@compute @workgroup_size(256)
fn adam(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x || step[10] == 0u) {
        return;
    }
    let lr = bitcast<f32>(step[2]);
    let decay = select(0.0, DECAY, i < run.y);
    var gradient = g[i] * bitcast<f32>(step[9]);
    if (!DECOUPLED) {
        gradient += decay * p[i];
    }
    m[i] = BETA1 * m[i] + REST1 * gradient;
    v[i] = BETA2 * v[i] + REST2 * gradient * gradient;
    var update = (m[i] * bitcast<f32>(step[3])) / (sqrt(v[i] * bitcast<f32>(step[4])) + EPS);
    if (DECOUPLED) {
        update += decay * p[i];
    }
    p[i] -= lr * update;
}
