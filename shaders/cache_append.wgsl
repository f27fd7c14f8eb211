// cache[b, position, c] = x[b, c]
// One thread per element of x.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (B, C)
@group(0) @binding(1) var<storage, read> position: array<u32>; // (1)
@group(0) @binding(2) var<storage, read_write> cache: array<f32>; // (B, T, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements of x, C, T

@compute @workgroup_size(256)
fn cache_append(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    cache[(i / run.y * run.z + position[0]) * run.y + i % run.y] = x[i];
}
