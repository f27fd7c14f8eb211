// y[b, t, c] = x[b, t, c] + table[start[b] + t, c], zeros behind the table's end
// One thread per element.
import package::lib::grid::{workgroup_index};

override PER_ROW: bool;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (B, T, C)
@group(0) @binding(1) var<storage, read> table: array<f32>; // (P, C)
@group(0) @binding(2) var<storage, read> start: array<u32>; // (B), or (1) for all
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (B, T, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements, C, T, P

@compute @workgroup_size(256)
fn positions(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let c = i % run.y;
    let p = start[select(0u, i / run.y / run.z, PER_ROW)] + i / run.y % run.z;
    var sum = x[i];
    if (p < run.w) {
        sum += table[p * run.y + c];
    }
    y[i] = sum;
}
