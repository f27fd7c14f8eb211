// y[b, t] = table[ids[b, t]] where t < lengths[b], else 0
// One thread per element.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> ids: array<u32>; // (B, T)
@group(0) @binding(1) var<storage, read> table: array<u32>; // (V)
@group(0) @binding(2) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(3) var<storage, read_write> y: array<u32>; // (B, T)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B T, T

@compute @workgroup_size(256)
fn lookup(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    y[i] = select(0u, table[ids[i]], i % run.y < lengths[i / run.y]);
}
