// y[n, c] = SCALE table[ids[n], c]
// One thread per element.
import package::lib::grid::{workgroup_index};

override SCALE: f32;

@group(0) @binding(0) var<storage, read> ids: array<u32>; // (N)
@group(0) @binding(1) var<storage, read> table: array<f32>; // (V, C)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (N, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements, C

@compute @workgroup_size(256)
fn embedding(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    y[i] = SCALE * table[ids[i / run.y] * run.y + i % run.y];
}
