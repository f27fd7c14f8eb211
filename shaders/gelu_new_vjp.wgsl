// dx = dy (s + x s (1 - s) v') with v = 2 sqrt(2/pi) (x + 0.044715 x^3) and s = 1 / (1 + exp(-v))
// One thread per four elements.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (n)
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>; // (n)
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // vec4s

@compute @workgroup_size(256)
fn gelu_new_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    // Beyond 10 the slope is 1 or 0 to all digits, and the cube would overflow before long.
    let a = clamp(x[i], vec4(-10.0), vec4(10.0));
    let v = 1.5957691 * (a + 0.044715 * a * a * a);
    let slope = 1.5957691 * (1.0 + 0.134145 * a * a);
    let s = 1.0 / (1.0 + exp(-v));
    dx[i] = select(dy[i] * (s + a * s * (1.0 - s) * slope), vec4(0.0), x[i] < vec4(-10.0));
}
