// y = x / (1 - p) where a random word reaches THRESHOLD = p 2^32, else 0
// One thread per four columns of a row: one Philox call. The counter is (column / 4, row, batch, micro-batch), the key (seed, site),
// so that the mask does not depend on the padding or the adapter.
import package::lib::grid::{workgroup_index};
import package::lib::philox::{philox};

override THRESHOLD: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (B, T, C)
@group(0) @binding(1) var<storage, read> step: array<u32>; // (16), see step.rs
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (B, T, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // quads, T, C, site

@compute @workgroup_size(256)
fn dropout(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let quads = (run.z + 3u) / 4u;
    let quad = i % quads;
    let row = i / quads;
    let words = philox(vec4(quad, row % run.y, row / run.y, step[1]), vec2(step[0], run.w));
    for (var k = 0u; k < min(4u, run.z - 4u * quad); k++) {
        let at = row * run.z + 4u * quad + k;
        y[at] = select(0.0, x[at] * SCALE, words[k] >= THRESHOLD);
    }
}
