// x[o, first + i] += y[o, i], i < count
// One thread per element of y.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> y: array<f32>; // (O, count)
@group(0) @binding(1) var<storage, read_write> x: array<f32>; // (O, all)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // O*count, all, first, count

@compute @workgroup_size(256)
fn add_slice(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    x[i / run.w * run.y + run.z + i % run.w] += y[i];
}
