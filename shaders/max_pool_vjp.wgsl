// dx[b, t, c] = dy[b, c] where t = at[b, c], else 0
// One thread per element of dx.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> dy: array<f32>; // (B, C)
@group(0) @binding(1) var<storage, read> at: array<u32>; // (B, C)
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // (B, T, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements of dx, C, T

@compute @workgroup_size(256)
fn max_pool_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let row = i / run.y;
    let pooled = row / run.z * run.y + i % run.y;
    dx[i] = select(0.0, dy[pooled], at[pooled] == row % run.z);
}
