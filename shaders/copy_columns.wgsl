// y[r, c] = x[r, first + c]
// One thread per word of y.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<u32>; // (rows, C)
@group(0) @binding(1) var<storage, read_write> y: array<u32>; // (rows, count)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // words of y, count, C, first

@compute @workgroup_size(256)
fn copy_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    y[i] = x[i / run.y * run.z + run.w + i % run.y];
}
