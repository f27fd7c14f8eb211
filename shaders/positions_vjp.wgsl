// dtable[p, c] = sum of dy[b, p - start, c] over b, zeros where no position was p
// One thread per element of the table, the batch in ascending order.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> dy: array<f32>; // (B, T, C)
@group(0) @binding(1) var<storage, read> start: array<u32>; // (1)
@group(0) @binding(2) var<storage, read_write> dtable: array<f32>; // (P, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements of the table, C, T, B

@compute @workgroup_size(256)
fn positions_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let p = i / run.y;
    var sum = 0.0;
    if (p >= start[0] && p - start[0] < run.z) {
        let first = (p - start[0]) * run.y + i % run.y;
        for (var b = 0u; b < run.w; b++) {
            sum += dy[first + b * run.z * run.y];
        }
    }
    dtable[i] = sum;
}
