// y[r, c] = x[r, c] s[r]
// One thread per element.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, C)
@group(0) @binding(1) var<storage, read> s: array<f32>; // (rows)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (rows, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements, C

@compute @workgroup_size(256)
fn mul_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    y[i] = x[i] * s[i / run.y];
}
