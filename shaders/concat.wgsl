// y = a, then b
// One thread per word.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> a: array<u32>; // (M)
@group(0) @binding(1) var<storage, read> b: array<u32>; // (N)
@group(0) @binding(2) var<storage, read_write> y: array<u32>; // (M + N)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // M, M + N

@compute @workgroup_size(256)
fn concat(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.y) {
        return;
    }
    if (i < run.x) {
        y[i] = a[i];
    } else {
        y[i] = b[i - run.x];
    }
}
