// u[b, o, c K + k] = x[b, o STRIDE + k - LEFT, c], 0 beyond the ends of x and from the row's length on
// One thread per element of u.
import package::lib::grid::{workgroup_index};

override K: u32;
override C: u32;
override STRIDE: u32;
override LEFT: u32; // zeros before the first time

@group(0) @binding(0) var<storage, read> x: array<f32>; // (B, T, C)
@group(0) @binding(1) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(2) var<storage, read_write> u: array<f32>; // (B, O, C K)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements of u, T, O

@compute @workgroup_size(256)
fn unfold(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let column = i % (C * K);
    let row = i / (C * K);
    let b = row / run.z;
    // The time, counted from the first zero.
    let at = row % run.z * STRIDE + column % K;
    var value = 0.0;
    if (at >= LEFT && at < LEFT + min(lengths[b], run.y)) {
        value = x[(b * run.y + at - LEFT) * C + column / K];
    }
    u[i] = value;
}
