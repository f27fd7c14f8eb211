// statistics = (lse, delta), delta = sum of do o over the D columns of a head
// LANES threads share a row of a head, 64 / LANES rows a workgroup.
import package::lib::grid::{workgroup_index};
import package::lib::lanes::{LANES, lanes_sum};

override HEADS: u32;

@group(0) @binding(0) var<storage, read> o: array<f32>; // (B, T, H*D)
@group(0) @binding(1) var<storage, read> d_o: array<f32>; // (B, T, H*D)
@group(0) @binding(2) var<storage, read> lse: array<f32>; // (B, H, T)
@group(0) @binding(3) var<storage, read_write> statistics: array<vec2<f32>>; // (B, H, T): lse, delta
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B*H*T, D, T

@compute @workgroup_size(64)
fn attention_statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                        @builtin(local_invocation_index) index: u32) {
    let row = workgroup_index(group, groups) * (64u / LANES) + index / LANES;
    let columns = select(0u, run.y, row < run.x);
    let head = row / run.z;
    let base = ((head / HEADS * run.z + row % run.z) * HEADS + head % HEADS) * run.y;
    var part = 0.0;
    for (var c = index % LANES; c < columns; c += LANES) {
        part = fma(o[base + c], d_o[base + c], part);
    }
    let delta = lanes_sum(part, index);
    if (index % LANES == 0u && row < run.x) {
        statistics[row] = vec2(lse[row], delta);
    }
}
