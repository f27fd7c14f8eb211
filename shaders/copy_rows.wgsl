// y[to + i] = x[from + i]
// One thread per word.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<u32>; // (N, ...) or (count, ...)
@group(0) @binding(1) var<storage, read_write> y: array<u32>; // (count, ...) or (N, ...)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // words, from, to

@compute @workgroup_size(256)
fn copy_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    y[run.z + i] = x[run.y + i];
}
