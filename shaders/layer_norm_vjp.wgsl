// dx = rstd (g - mean(g) - z mean(g z)), g = dy w, z = (x - mean) rstd
// LANES threads share a row, 64 / LANES rows a workgroup.
import package::lib::grid::{workgroup_index};
import package::lib::lanes::{lanes_sum};

@group(0) @binding(0) var<storage, read> dy: array<f32>; // (rows, C)
@group(0) @binding(1) var<storage, read> x: array<f32>; // (rows, C)
@group(0) @binding(2) var<storage, read> w: array<f32>; // (C)
@group(0) @binding(3) var<storage, read> statistics: array<vec2<f32>>; // (rows): mean, rstd
@group(0) @binding(4) var<storage, read_write> dx: array<f32>; // (rows, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, C

@compute @workgroup_size(64)
fn layer_norm_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) index: u32) {
    let row = workgroup_index(group, groups) * (64u / LANES) + index / LANES;
    let columns = select(0u, run.y, row < run.x);
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
        dx[base + c] = s.y * (dy[base + c] * w[c] - mean_g - z * mean_gz);
    }
}
