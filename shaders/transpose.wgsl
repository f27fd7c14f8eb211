// y[c, r] = x[r, c]
// One workgroup per tile of 32 x 32: read along rows of x and written along rows of y, by way of workgroup memory.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (R, C)
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (C, R)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // R, C

var<workgroup> tile: array<f32, 1056>; // 32 rows of 33: a column's elements are in as many banks

@compute @workgroup_size(256)
fn transpose(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let across = (run.y + 31u) / 32u;
    let number = workgroup_index(group, groups);
    let r0 = number / across * 32u;
    let c0 = number % across * 32u;
    let near = lane % 32u;
    for (var i = lane / 32u; i < 32u; i += 8u) {
        if (r0 + i < run.x && c0 + near < run.y) {
            tile[33u * i + near] = x[(r0 + i) * run.y + c0 + near];
        }
    }
    workgroupBarrier();
    for (var i = lane / 32u; i < 32u; i += 8u) {
        if (c0 + i < run.y && r0 + near < run.x) {
            y[(c0 + i) * run.x + r0 + near] = tile[33u * near + i];
        }
    }
}
