// Sums and maxima over the LANES threads that share a row; 64 threads a workgroup, the order of additions is fixed.
// With one lane to a row there is nothing to share, and the branch on the override removes every barrier.

override LANES: u32 = 32u;

var<workgroup> lanes_scratch: array<f32, 64>;

fn lanes_sum(value: f32, index: u32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    lanes_scratch[index] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half = half / 2u) {
        if (index % LANES < half) {
            lanes_scratch[index] += lanes_scratch[index + half];
        }
        workgroupBarrier();
    }
    let sum = lanes_scratch[index - index % LANES];
    workgroupBarrier();
    return sum;
}

fn lanes_max(value: f32, index: u32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    lanes_scratch[index] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half = half / 2u) {
        if (index % LANES < half) {
            lanes_scratch[index] = max(lanes_scratch[index], lanes_scratch[index + half]);
        }
        workgroupBarrier();
    }
    let top = lanes_scratch[index - index % LANES];
    workgroupBarrier();
    return top;
}
