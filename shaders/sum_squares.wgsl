// partial[FIRST + k] = sum of x[i]^2 over the i with i mod 1024 = k
// One thread per partial sum.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (n)
@group(0) @binding(1) var<storage, read_write> partial: array<f32>; // (P)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // n, first partial

@compute @workgroup_size(256)
fn sum_squares(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= 1024u) {
        return;
    }
    var sum = 0.0;
    for (var k = i; k < run.x; k += 1024u) {
        sum = fma(x[k], x[k], sum);
    }
    partial[run.y + i] = sum;
}
