// y = x: how many bytes the adapter reads and writes in a second
// One thread per EACH vec4s, a workgroup's width apart, so that neighbouring threads touch neighbouring addresses.
import package::lib::grid::{workgroup_index};

const EACH: u32 = 4u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (n)
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // vec4s

@compute @workgroup_size(256)
fn peak_copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let first = workgroup_index(group, groups) * 256u * EACH + lane;
    for (var k = 0u; k < EACH; k++) {
        let i = first + k * 256u;
        if (i < run.x) {
            y[i] = x[i];
        }
    }
}
