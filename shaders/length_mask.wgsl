// y[b, o, c] = x[b, o, c] where o is below the number of outputs that the row's length gives, else 0
// One thread per element.
import package::lib::grid::{workgroup_index};

override K: u32;
override STRIDE: u32;
override PADDING: u32; // zeros on both sides together

@group(0) @binding(0) var<storage, read> x: array<f32>; // (B, O, C)
@group(0) @binding(1) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (B, O, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements, C, O

@compute @workgroup_size(256)
fn length_mask(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let row = i / run.y;
    // Where the output's window ends must not be beyond the row with its zeros.
    let live = row % run.z * STRIDE + K <= lengths[row / run.z] + PADDING;
    y[i] = select(0.0, x[i], live);
}
