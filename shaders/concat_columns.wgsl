// y[r] = a[r], then b[r]
// One thread per element of y.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> a: array<f32>; // (rows, M)
@group(0) @binding(1) var<storage, read> b: array<f32>; // (rows, N)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (rows, M + N)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // elements of y, M, N

@compute @workgroup_size(256)
fn concat_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let wide = run.y + run.z;
    let r = i / wide;
    let c = i % wide;
    if (c < run.y) {
        y[i] = a[r * run.y + c];
    } else {
        y[i] = b[r * run.z + c - run.y];
    }
}
