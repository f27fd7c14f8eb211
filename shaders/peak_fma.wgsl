// y = f(f(... f(x))) + f(f(... f(x + 1))), f(t) = A t + B: how many multiply-adds the adapter does in a second
// One thread per four elements, eight chains of multiply-adds in its registers: none waits for another, and nothing is
// read between the first and the last. Eight steps a loop, by hand, so that the loop itself costs next to nothing.
import package::lib::grid::{workgroup_index};

override A: f32;
override B: f32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (n)
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>; // (n)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // vec4s, loops

@compute @workgroup_size(64)
fn peak_fma(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 64u + lane;
    if (i >= run.x) {
        return;
    }
    let a = vec4(A);
    let b = vec4(B);
    var t0 = x[i];
    var t1 = t0 + vec4(1.0);
    for (var n = 0u; n < run.y; n++) {
        t0 = fma(a, t0, b);
        t1 = fma(a, t1, b);
        t0 = fma(a, t0, b);
        t1 = fma(a, t1, b);
        t0 = fma(a, t0, b);
        t1 = fma(a, t1, b);
        t0 = fma(a, t0, b);
        t1 = fma(a, t1, b);
        t0 = fma(a, t0, b);
        t1 = fma(a, t1, b);
        t0 = fma(a, t0, b);
        t1 = fma(a, t1, b);
        t0 = fma(a, t0, b);
        t1 = fma(a, t1, b);
        t0 = fma(a, t0, b);
        t1 = fma(a, t1, b);
    }
    y[i] = t0 + t1;
}
