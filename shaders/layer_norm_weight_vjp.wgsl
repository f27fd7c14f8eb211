// dw[g, c] = sum of dy z, db[g, c] = sum of dy over the rows of block g, z = (x - mean) rstd
// One thread per column of a block; the blocks are added by column_sum.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> dy: array<f32>; // (rows, C)
@group(0) @binding(1) var<storage, read> x: array<f32>; // (rows, C)
@group(0) @binding(2) var<storage, read> statistics: array<vec2<f32>>; // (rows): mean, rstd
@group(0) @binding(3) var<storage, read_write> dw: array<f32>; // (G, C)
@group(0) @binding(4) var<storage, read_write> db: array<f32>; // (G, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, C, rows of a block, G

@compute @workgroup_size(256)
fn layer_norm_weight_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                         @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.w * run.y) {
        return;
    }
    let c = i % run.y;
    let first = i / run.y * run.z;
    var sum_w = 0.0;
    var sum_b = 0.0;
    for (var r = first; r < min(first + run.z, run.x); r++) {
        let s = statistics[r];
        let at = r * run.y + c;
        sum_w = fma(dy[at], (x[at] - s.x) * s.y, sum_w);
        sum_b += dy[at];
    }
    dw[i] = sum_w;
    db[i] = sum_b;
}
