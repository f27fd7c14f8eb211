// norm = sqrt(sum of partial);  factor = min(1, MAX_NORM / (norm + 1e-6));  go stays if norm is finite
// One workgroup; thread k adds the partial sums k, k + 64, ... in order, then the lanes are added in order.
import package::lib::lanes::{LANES, lanes_sum};

override MAX_NORM: f32; // 0: no clipping

@group(0) @binding(0) var<storage, read> partial: array<f32>; // (P)
@group(0) @binding(1) var<storage, read_write> step: array<u32>; // (16), see step.rs
@group(1) @binding(0) var<uniform> run: vec4<u32>; // P

@compute @workgroup_size(64)
fn clip(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var k = index % LANES; k < run.x; k += LANES) {
        sum += partial[k];
    }
    let norm = sqrt(lanes_sum(sum, index));
    if (index == 0u) {
        var factor = 1.0;
        if (MAX_NORM > 0.0) {
            factor = min(1.0, MAX_NORM / (norm + 1e-6));
        }
        // An exponent of all ones is an infinity or a NaN; compilers with fast math may not see either.
        let finite = (bitcast<u32>(norm) & 0x7f800000u) != 0x7f800000u;
        step[8] = bitcast<u32>(norm);
        step[9] = bitcast<u32>(factor);
        step[10] = select(0u, step[10], finite);
    }
}
