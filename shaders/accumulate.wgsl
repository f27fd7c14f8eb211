// sum = x, or sum + x where step[6] is not 0
// One thread per four elements. What lies behind the last element is not this one's: it stays.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (n)
@group(0) @binding(1) var<storage, read> step: array<u32>; // (16), see step.rs
@group(0) @binding(2) var<storage, read_write> sum: array<f32>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // n

@compute @workgroup_size(256)
fn accumulate(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let first = 4u * (workgroup_index(group, groups) * 256u + lane);
    if (first >= run.x) {
        return;
    }
    // A branch and no product: what was there before may be NaN.
    if (step[6] == 0u) {
        for (var i = first; i < min(first + 4u, run.x); i++) {
            sum[i] = x[i];
        }
    } else {
        for (var i = first; i < min(first + 4u, run.x); i++) {
            sum[i] += x[i];
        }
    }
}
