// dx = dy where y > 0, else 0
// One thread per four elements.
import package::lib::grid::{workgroup_index};
@group(0) @binding(0) var<storage, read> y: array<vec4<f32>>; // (n)
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>; // (n)
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // vec4s

@compute @workgroup_size(256)
fn relu_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    dx[i] = select(vec4(0.0), dy[i], y[i] > vec4(0.0));
}
