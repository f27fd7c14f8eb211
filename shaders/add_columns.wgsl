// y[r, first + c] = y[r, first + c] + x[r, c]
// One thread per element of x; the other columns of y are not touched.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, count)
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (rows, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements of x, count, C, first

@compute @workgroup_size(256)
fn add_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    y[i / run.y * run.z + run.w + i % run.y] += x[i];
}
