// y = (x - mean) rstd w + b, mean and rstd = 1 / sqrt(variance + EPS) over the C columns of a row
// LANES threads share a row, 64 / LANES rows a workgroup.
import package::lib::grid::{workgroup_index};
import package::lib::lanes::{LANES, lanes_sum};

override EPS: f32;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, C)
@group(0) @binding(1) var<storage, read> w: array<f32>; // (C)
@group(0) @binding(2) var<storage, read> b: array<f32>; // (C)
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (rows, C)
@group(0) @binding(4) var<storage, read_write> statistics: array<vec2<f32>>; // (rows): mean, rstd
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, C

@compute @workgroup_size(64)
fn layer_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) index: u32) {
    let row = workgroup_index(group, groups) * (64u / LANES) + index / LANES;
    let columns = select(0u, run.y, row < run.x);
    let base = row * run.y;
    var part = 0.0;
    for (var c = index % LANES; c < columns; c += LANES) {
        part += x[base + c];
    }
    let mean = lanes_sum(part, index) / f32(run.y);
    part = 0.0;
    for (var c = index % LANES; c < columns; c += LANES) {
        let centred = x[base + c] - mean;
        part = fma(centred, centred, part);
    }
    let rstd = inverseSqrt(lanes_sum(part, index) / f32(run.y) + EPS);
    for (var c = index % LANES; c < columns; c += LANES) {
        y[base + c] = fma((x[base + c] - mean) * rstd, w[c], b[c]);
    }
    if (index % LANES == 0u && row < run.x) {
        statistics[row] = vec2(mean, rstd);
    }
}
