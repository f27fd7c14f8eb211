// cache[slot[b], start[b] + t, c] = x[b, t, c], as far as the cache reaches
// One thread per element of x.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (B, T, C)
@group(0) @binding(1) var<storage, read> slot: array<u32>; // (B)
@group(0) @binding(2) var<storage, read> start: array<u32>; // (B)
@group(0) @binding(3) var<storage, read_write> cache: array<f32>; // (N, S, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements of x, C, T, S

@compute @workgroup_size(256)
fn cache_append(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let b = i / run.y / run.z;
    let position = start[b] + i / run.y % run.z;
    if (position < run.w) {
        cache[(slot[b] * run.w + position) * run.y + i % run.y] = x[i];
    }
}
