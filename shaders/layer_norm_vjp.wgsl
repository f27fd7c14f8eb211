// dx = rstd (g - mean(g) - z mean(g z)), plus what dx holds where ADD; g = dy w, z = (x - mean) rstd; partial = sums of dy z and dy
// One workgroup per block of rows: LANES threads share a row for dx, then each thread sums columns over the block. The
// blocks are added by layer_norm_weight_vjp.
import package::lib::grid::{workgroup_index};
import package::lib::lanes::{LANES, lanes_sum};

override ADD: bool; // dx holds a cotangent of x from elsewhere

@group(0) @binding(0) var<storage, read> dy: array<f32>; // (rows, C)
@group(0) @binding(1) var<storage, read> x: array<f32>; // (rows, C)
@group(0) @binding(2) var<storage, read> w: array<f32>; // (C)
@group(0) @binding(3) var<storage, read> statistics: array<vec2<f32>>; // (rows): mean, rstd
@group(0) @binding(4) var<storage, read_write> dx: array<f32>; // (rows, C)
@group(0) @binding(5) var<storage, read_write> partial: array<f32>; // (G, 2, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, C, rows of a block

@compute @workgroup_size(64)
fn layer_norm_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) index: u32) {
    let block = workgroup_index(group, groups);
    let first = block * run.z;
    let end = min(first + run.z, run.x);
    for (var r = 0u; r < run.z; r += 64u / LANES) {
        let row = first + r + index / LANES;
        let columns = select(0u, run.y, row < end);
        let base = row * run.y;
        let s = statistics[min(row, run.x - 1u)];
        var part_g = 0.0;
        var part_gz = 0.0;
        for (var c = index % LANES; c < columns; c += LANES) {
            let g = dy[base + c] * w[c];
            part_g += g;
            part_gz = fma(g, (x[base + c] - s.x) * s.y, part_gz);
        }
        let mean_g = lanes_sum(part_g, index) / f32(run.y);
        let mean_gz = lanes_sum(part_gz, index) / f32(run.y);
        for (var c = index % LANES; c < columns; c += LANES) {
            let z = (x[base + c] - s.x) * s.y;
            var d = s.y * (dy[base + c] * w[c] - mean_g - z * mean_gz);
            if (ADD) {
                d += dx[base + c];
            }
            dx[base + c] = d;
        }
    }
    for (var c = index; c < run.y; c += 64u) {
        var sum_w = 0.0;
        var sum_b = 0.0;
        for (var row = first; row < end; row++) {
            let s = statistics[row];
            let at = row * run.y + c;
            sum_w = fma(dy[at], (x[at] - s.x) * s.y, sum_w);
            sum_b += dy[at];
        }
        partial[2u * block * run.y + c] = sum_w;
        partial[(2u * block + 1u) * run.y + c] = sum_b;
    }
}
