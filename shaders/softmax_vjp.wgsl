// dx = SCALE y (dy - sum of y dy over the row)
// LANES threads share a row, 64 / LANES rows a workgroup. Masked columns have y = 0 and get 0.
import package::lib::grid::{workgroup_index};
import package::lib::lanes::{LANES, lanes_sum};

override SCALE: f32;

@group(0) @binding(0) var<storage, read> y: array<f32>; // (rows, S)
@group(0) @binding(1) var<storage, read> dy: array<f32>; // (rows, S)
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // (rows, S)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, S

@compute @workgroup_size(64)
fn softmax_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) index: u32) {
    let row = workgroup_index(group, groups) * (64u / LANES) + index / LANES;
    let columns = select(0u, run.y, row < run.x);
    let base = row * run.y;
    var part = 0.0;
    for (var c = index % LANES; c < columns; c += LANES) {
        part = fma(y[base + c], dy[base + c], part);
    }
    let dot = lanes_sum(part, index);
    for (var c = index % LANES; c < columns; c += LANES) {
        dx[base + c] = SCALE * y[base + c] * (dy[base + c] - dot);
    }
}
