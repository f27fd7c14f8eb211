// dx = rstd (g - mean(g) - n mean(g n)), plus what dx holds where ADD; dy = dx keep / (1 - p); g = dz w, n = (s - mean) rstd
// One workgroup per block of rows: LANES threads share a row for dx and dy, four columns at a time, then each thread sums
// columns of dz n and dz over the block. The blocks are added by layer_norm_weight_vjp, the mask is that of add_norm.
import package::lib::lanes::{LANES, lanes_sum};
import package::lib::philox::{philox};

override ADD: bool; // dx holds a cotangent of s from elsewhere
override THRESHOLD: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> dz: array<vec4<f32>>; // (B, T, C)
@group(0) @binding(1) var<storage, read> s: array<vec4<f32>>; // (B, T, C)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>; // (C)
@group(0) @binding(3) var<storage, read> statistics: array<vec2<f32>>; // (rows): mean, rstd
@group(0) @binding(4) var<storage, read> step: array<u32>; // (16), see step.rs
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>; // (B, T, C)
@group(0) @binding(6) var<storage, read_write> dy: array<vec4<f32>>; // (B, T, C)
@group(0) @binding(7) var<storage, read_write> partial: array<vec4<f32>>; // (G, 2, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, C / 4, T, site

@compute @workgroup_size(64)
fn add_norm_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) index: u32) {
    let rows = (run.x + groups.x - 1u) / groups.x;
    let first = group.x * rows;
    let end = min(first + rows, run.x);
    for (var r = 0u; r < rows; r += 64u / LANES) {
        let row = first + r + index / LANES;
        let quads = select(0u, run.y, row < end);
        let base = row * run.y;
        let m = statistics[min(row, run.x - 1u)];
        var part_g = 0.0;
        var part_gn = 0.0;
        for (var q = index % LANES; q < quads; q += LANES) {
            let g = dz[base + q] * w[q];
            part_g += g.x + g.y + g.z + g.w;
            part_gn += dot(g, (s[base + q] - m.x) * m.y);
        }
        let mean_g = lanes_sum(part_g, index) / f32(4u * run.y);
        let mean_gn = lanes_sum(part_gn, index) / f32(4u * run.y);
        for (var q = index % LANES; q < quads; q += LANES) {
            let n = (s[base + q] - m.x) * m.y;
            var d = m.y * (dz[base + q] * w[q] - mean_g - n * mean_gn);
            if (ADD) {
                d += dx[base + q];
            }
            dx[base + q] = d;
            let words = philox(vec4(q, row % run.z, row / run.z, step[1]), vec2(step[0], run.w));
            dy[base + q] = select(vec4(0.0), d * SCALE, words >= vec4(THRESHOLD));
        }
    }
    for (var q = index; q < run.y; q += 64u) {
        var sum_w = vec4(0.0);
        var sum_b = vec4(0.0);
        for (var row = first; row < end; row++) {
            let m = statistics[row];
            let at = row * run.y + q;
            sum_w = fma(dz[at], (s[at] - m.x) * m.y, sum_w);
            sum_b += dz[at];
        }
        partial[2u * group.x * run.y + q] = sum_w;
        partial[(2u * group.x + 1u) * run.y + q] = sum_b;
    }
}
