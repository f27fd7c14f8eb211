// dx = dy (1 - s), dh = dy s where h > 0, else 0, dt = dy s (1 - s) (max(h, 0) - x), s = 1 / (1 + exp(-t))
// One thread per four elements.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (n)
@group(0) @binding(1) var<storage, read> h: array<vec4<f32>>; // (n)
@group(0) @binding(2) var<storage, read> t: array<vec4<f32>>; // (n)
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>; // (n)
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>; // (n)
@group(0) @binding(5) var<storage, read_write> dh: array<vec4<f32>>; // (n)
@group(0) @binding(6) var<storage, read_write> dt: array<vec4<f32>>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // vec4s

@compute @workgroup_size(256)
fn highway_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
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
    dx[i] = dy[i] * carried;
    dh[i] = select(vec4(0.0), dy[i] * s, h[i] > vec4(0.0));
    dt[i] = dy[i] * (s * carried) * (select(h[i], vec4(0.0), h[i] < vec4(0.0)) - x[i]);
}
