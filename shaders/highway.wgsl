// y = s max(h, 0) + (1 - s) x, s = 1 / (1 + exp(-t))
// One thread per four elements.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (n)
@group(0) @binding(1) var<storage, read> h: array<vec4<f32>>; // (n)
@group(0) @binding(2) var<storage, read> t: array<vec4<f32>>; // (n)
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // vec4s

@compute @workgroup_size(256)
fn highway(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    // The larger share and the smaller one, neither by a subtraction.
    let e = exp(-select(abs(t[i]), vec4(87.0), abs(t[i]) > vec4(87.0)));
    let most = 1.0 / (1.0 + e);
    let least = e * most;
    let s = select(least, most, t[i] >= vec4(0.0));
    let carried = select(most, least, t[i] >= vec4(0.0));
    y[i] = s * select(h[i], vec4(0.0), h[i] < vec4(0.0)) + carried * x[i];
}
