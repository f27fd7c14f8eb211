// m = MOMENTUM m + g + DECAY p;  p -= lr m
// One thread per element. Decay holds for the first run.y elements. Nothing changes when the gradient was not finite.
import package::lib::grid::{workgroup_index};

override MOMENTUM: f32;
override DECAY: f32;

@group(0) @binding(0) var<storage, read> g: array<f32>; // (n)
@group(0) @binding(1) var<storage, read> step: array<u32>; // (16), see step.rs
@group(0) @binding(2) var<storage, read_write> p: array<f32>; // (n)
@group(0) @binding(3) var<storage, read_write> m: array<f32>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements, elements with decay

@compute @workgroup_size(256)
fn sgd(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
       @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x || step[10] == 0u) {
        return;
    }
    let decay = select(0.0, DECAY, i < run.y);
    m[i] = MOMENTUM * m[i] + g[i] * bitcast<f32>(step[9]) + decay * p[i];
    p[i] -= bitcast<f32>(step[2]) * m[i];
}
