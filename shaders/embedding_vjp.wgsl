// dtable[v, c] = SCALE sum of dy[n, c] over the positions n of token v
// One thread per element of the table; positions come sorted by token, so that no atomics are needed.
import package::lib::grid::{workgroup_index};

override SCALE: f32;

@group(0) @binding(0) var<storage, read> dy: array<f32>; // (N, C)
@group(0) @binding(1) var<storage, read> by_token: array<u32>; // (V + 1 offsets, N positions)
@group(0) @binding(2) var<storage, read_write> dtable: array<f32>; // (V, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // V, C

@compute @workgroup_size(256)
fn embedding_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x * run.y) {
        return;
    }
    let v = i / run.y;
    let c = i % run.y;
    var sum = 0.0;
    for (var k = by_token[v]; k < by_token[v + 1u]; k++) {
        sum += dy[by_token[run.x + 1u + k] * run.y + c];
    }
    dtable[i] = SCALE * sum;
}
