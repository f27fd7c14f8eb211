// y[r, c] = x[r, c - first] in the columns of x, 0 elsewhere
// One thread per element of y.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, count)
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (rows, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements of y, count, C, first

@compute @workgroup_size(256)
fn put_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let c = i % run.z;
    if (c >= run.w && c < run.w + run.y) {
        y[i] = x[i / run.z * run.y + c - run.w];
    } else {
        y[i] = 0.0;
    }
}
