// dx = dy (Phi(x) + x phi(x))
// One thread per four elements.
import package::lib::grid::{workgroup_index};
import package::lib::erf::{erf};

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (n)
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>; // (n)
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // vec4s

@compute @workgroup_size(256)
fn gelu_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    // Beyond 13 the slope is 1 or 0 to all digits, and x phi(x) must not grow with x.
    let a = clamp(x[i], vec4(-13.0), vec4(13.0));
    let phi = 0.39894228 * exp(-0.5 * a * a);
    dx[i] = dy[i] * (0.5 * (1.0 + erf(a * 0.70710678)) + a * phi);
}
