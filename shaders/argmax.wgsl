// y[r] = the lowest c at which x[r, c] is largest
// LANES threads share a row, 64 / LANES rows a workgroup.
import package::lib::grid::{workgroup_index};
import package::lib::lanes::{LANES, lanes_max};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, C)
@group(0) @binding(1) var<storage, read_write> y: array<u32>; // (rows)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, C

@compute @workgroup_size(64)
fn argmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) index: u32) {
    let row = workgroup_index(group, groups) * (64u / LANES) + index / LANES;
    let columns = select(0u, run.y, row < run.x);
    var top = -3.4e38;
    var at = 0u;
    for (var c = index % LANES; c < columns; c += LANES) {
        let value = x[row * run.y + c];
        if (value > top) {
            top = value;
            at = c;
        }
    }
    let highest = lanes_max(top, index);
    // The lowest column among the lanes that hold the maximum; columns are exact in f32 up to 2^24.
    let lowest = -lanes_max(select(-3.4e38, -f32(at), top == highest), index);
    if (index % LANES == 0u && row < run.x) {
        y[row] = u32(lowest);
    }
}
