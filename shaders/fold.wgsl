// dx[b, t, c] = sum over k of du[b, o, c K + k] where o STRIDE + k - LEFT = t, 0 from the row's length on; plus what dx holds where ADD
// One thread per element of dx: it gathers, so that no two add to one number.
import package::lib::grid::{workgroup_index};

override K: u32;
override C: u32;
override STRIDE: u32;
override LEFT: u32; // zeros before the first time
override ADD: bool; // dx holds a cotangent of x from elsewhere

@group(0) @binding(0) var<storage, read> du: array<f32>; // (B, O, C K)
@group(0) @binding(1) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // (B, T, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements of dx, T, O

@compute @workgroup_size(256)
fn fold(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let c = i % C;
    let row = i / C;
    let b = row / run.y;
    let t = row % run.y;
    var sum = 0.0;
    if (t < lengths[b]) {
        for (var k = 0u; k < K; k++) {
            // Below zero this is a large number, which no output has.
            let from_start = t + LEFT - k;
            let o = from_start / STRIDE;
            if (o < run.z && o * STRIDE == from_start) {
                sum += du[((b * run.z + o) * C + c) * K + k];
            }
        }
    }
    if (ADD) {
        sum += dx[i];
    }
    dx[i] = sum;
}
