// y[g, c] = sum of x[r, c] over the rows r of block g
// One thread per column of a block: the order of additions is that of the rows.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, C)
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (G, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, C, rows of a block, G

@compute @workgroup_size(256)
fn column_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.w * run.y) {
        return;
    }
    let c = i % run.y;
    let first = i / run.y * run.z;
    var sum = 0.0;
    for (var r = first; r < min(first + run.z, run.x); r++) {
        sum += x[r * run.y + c];
    }
    y[i] = sum;
}
