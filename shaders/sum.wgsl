// y = sum of x
// One workgroup; thread k adds the elements k, k + LANES, ... in order, then the lanes are added in order.
import package::lib::lanes::{LANES, lanes_sum};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (n)
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (1)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // n

@compute @workgroup_size(64)
fn sum(@builtin(local_invocation_index) index: u32) {
    var part = 0.0;
    for (var k = index % LANES; k < run.x; k += LANES) {
        part += x[k];
    }
    let total = lanes_sum(part, index);
    if (index == 0u) {
        y[0] = total;
    }
}
