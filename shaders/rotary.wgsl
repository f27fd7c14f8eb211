// y[i] = x[i] cos a - x[i + D/2] sin a, y[i + D/2] = x[i + D/2] cos a + x[i] sin a, a = (start + t) 10000^(-2i/D)
// One thread per pair.
import package::lib::grid::{workgroup_index};

override INVERSE: bool;
override PER_ROW: bool;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (B, T, H * D)
@group(0) @binding(1) var<storage, read> table: array<f32>; // (P, D): sines, then cosines
@group(0) @binding(2) var<storage, read> start: array<u32>; // (B), or (1) for all
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (B, T, H * D)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // pairs, H * D, T, D

@compute @workgroup_size(256)
fn rotary(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let pair = workgroup_index(group, groups) * 256u + lane;
    if (pair >= run.x) {
        return;
    }
    // Heads are contiguous, so the rows of all heads are one list of runs of D.
    let half = run.w / 2u;
    let i = pair % half;
    let first = pair / half * run.w + i;
    let p = start[select(0u, first / run.y / run.z, PER_ROW)] + first / run.y % run.z;
    let sine = table[p * run.w + i];
    let s = select(sine, -sine, INVERSE);
    let c = table[p * run.w + half + i];
    let a = x[first];
    let b = x[first + half];
    y[first] = a * c - b * s;
    y[first + half] = b * c + a * s;
}
