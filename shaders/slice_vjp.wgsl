// dx[o, first + i] = dy[o, i], i < count, 0 elsewhere
// One thread per element of dx.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> dy: array<f32>; // (O, count)
@group(0) @binding(1) var<storage, read_write> dx: array<f32>; // (O, all)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // O*all, all, first, count

@compute @workgroup_size(256)
fn slice_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let column = i % run.y;
    var value = 0.0;
    if (column >= run.z && column < run.z + run.w) {
        value = dy[i / run.y * run.w + column - run.z];
    }
    dx[i] = value;
}
