// s = x + y keep / (1 - p), z = (s - mean) rstd w + b, mean and rstd = 1 / sqrt(variance + EPS) over the C columns of a row
// LANES threads share a row, 64 / LANES rows a workgroup; a thread takes four columns at a time, which are one call of the
// generator. Its counter and key are those of dropout.wgsl.
import package::lib::grid::{workgroup_index};
import package::lib::lanes::{LANES, lanes_sum};
import package::lib::philox::{philox};

override EPS: f32;
override DROPOUT: bool;
override THRESHOLD: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (B, T, C)
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>; // (C)
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>; // (C)
@group(0) @binding(3) var<storage, read> step: array<u32>; // (16), see step.rs, or b again where there is no dropout
@group(0) @binding(4) var<storage, read_write> s: array<vec4<f32>>; // (B, T, C), y before
@group(0) @binding(5) var<storage, read_write> z: array<vec4<f32>>; // (B, T, C)
@group(0) @binding(6) var<storage, read_write> statistics: array<vec2<f32>>; // (rows): mean, rstd
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, C / 4, T, site

@compute @workgroup_size(64)
fn add_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) index: u32) {
    let row = workgroup_index(group, groups) * (64u / LANES) + index / LANES;
    let quads = select(0u, run.y, row < run.x);
    let base = row * run.y;
    let columns = f32(4u * run.y);
    var part = 0.0;
    for (var q = index % LANES; q < quads; q += LANES) {
        var y = s[base + q];
        if (DROPOUT) {
            let words = philox(vec4(q, row % run.z, row / run.z, step[1]), vec2(step[0], run.w));
            y = select(vec4(0.0), y * SCALE, words >= vec4(THRESHOLD));
        }
        y += x[base + q];
        s[base + q] = y;
        part += y.x + y.y + y.z + y.w;
    }
    let mean = lanes_sum(part, index) / columns;
    part = 0.0;
    for (var q = index % LANES; q < quads; q += LANES) {
        let centred = s[base + q] - mean;
        part += dot(centred, centred);
    }
    let rstd = inverseSqrt(lanes_sum(part, index) / columns + EPS);
    for (var q = index % LANES; q < quads; q += LANES) {
        z[base + q] = fma((s[base + q] - mean) * rstd, w[q], b[q]);
    }
    if (index % LANES == 0u && row < run.x) {
        statistics[row] = vec2(mean, rstd);
    }
}
