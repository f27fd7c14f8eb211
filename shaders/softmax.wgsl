// y = softmax(SCALE x) over the columns that the mask leaves, 0 elsewhere: key lengths, and c <= t where CAUSAL
// LANES threads share a row, 64 / LANES rows a workgroup. A row with no column left is all zeros.
import package::lib::grid::{workgroup_index};
import package::lib::lanes::{LANES, lanes_sum, lanes_max};

override SCALE: f32;
override CAUSAL: bool;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (B, H, T, S)
@group(0) @binding(1) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (B, H, T, S)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B*H*T, S, T, H

@compute @workgroup_size(64)
fn softmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) index: u32) {
    let row = workgroup_index(group, groups) * (64u / LANES) + index / LANES;
    let live = row < run.x;
    var valid = 0u;
    if (live) {
        valid = min(lengths[row / (run.z * run.w)], run.y);
        if (CAUSAL) {
            valid = min(valid, row % run.z + 1u);
        }
    }
    let base = row * run.y;

    var top = -3.4e38;
    for (var c = index % LANES; c < valid; c += LANES) {
        top = max(top, SCALE * x[base + c]);
    }
    top = lanes_max(top, index);
    var part = 0.0;
    for (var c = index % LANES; c < valid; c += LANES) {
        let e = exp(SCALE * x[base + c] - top);
        y[base + c] = e;
        part += e;
    }
    let sum = lanes_sum(part, index);
    for (var c = index % LANES; c < select(0u, run.y, live); c += LANES) {
        if (c < valid) {
            y[base + c] /= sum;
        } else {
            y[base + c] = 0.0;
        }
    }
}
