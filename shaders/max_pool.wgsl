// y[b, c] = max of x[b, t, c] over t < lengths[b], at = the first t that has it; zeros and no time where there is none
// One thread per element of y, which walks over the times.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (B, T, C)
@group(0) @binding(1) var<storage, read> lengths: array<u32>; // (B)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (B, C)
@group(0) @binding(3) var<storage, read_write> at: array<u32>; // (B, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B*C, C, T

// By its bits: drivers may compile as if there were none.
fn is_nan(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u;
}

@compute @workgroup_size(256)
fn max_pool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(group, groups) * 256u + lane;
    if (i >= run.x) {
        return;
    }
    let b = i / run.y;
    let length = min(lengths[b], run.z);
    let base = b * run.z * run.y + i % run.y;
    if (length == 0u) {
        y[i] = 0.0;
        at[i] = 0xffffffffu;
        return;
    }
    var top = x[base];
    var first = 0u;
    for (var t = 1u; t < length; t++) {
        let value = x[base + t * run.y];
        if ((value > top || is_nan(value)) && !is_nan(top)) {
            top = value;
            first = t;
        }
    }
    y[i] = top;
    at[i] = first;
}
