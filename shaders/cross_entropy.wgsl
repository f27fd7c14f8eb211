// loss = weight (lse(x) - (1 - eps) x[t] - eps mean(x)), nll = weight (lse(x) - x[t]), x := d loss / d x
// LANES threads share a row, 64 / LANES rows a workgroup. The gradient replaces the logits where GRADIENT.
import package::lib::grid::{workgroup_index};
import package::lib::lanes::{LANES, lanes_sum, lanes_max};

override SMOOTHING: f32;
override GRADIENT: bool;

@group(0) @binding(0) var<storage, read> targets: array<u32>; // (N), 0xffffffff where there is nothing to predict
@group(0) @binding(1) var<storage, read> weight: array<f32>; // (1)
@group(0) @binding(2) var<storage, read_write> loss: array<f32>; // (N)
@group(0) @binding(3) var<storage, read_write> nll: array<f32>; // (N)
@group(0) @binding(4) var<storage, read_write> x: array<f32>; // (N, V)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // N, V

@compute @workgroup_size(64)
fn cross_entropy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) index: u32) {
    let row = workgroup_index(group, groups) * (64u / LANES) + index / LANES;
    let live = row < run.x;
    let first = index % LANES;
    let classes = run.y;
    let base = row * classes;
    var target_class = 0xffffffffu;
    if (live) {
        target_class = targets[row];
    }
    let real = target_class < classes;
    let columns = select(0u, classes, real);

    var top = -3.4e38;
    for (var c = first; c < columns; c += LANES) {
        top = max(top, x[base + c]);
    }
    top = lanes_max(top, index);
    // Logits are taken relative to the largest: the sums below then stay small whatever their level.
    var part_exp = 0.0;
    var part_x = 0.0;
    for (var c = first; c < columns; c += LANES) {
        let centred = x[base + c] - top;
        part_exp += exp(centred);
        part_x += centred;
    }
    let sum_exp = lanes_sum(part_exp, index);
    let mean = lanes_sum(part_x, index) / f32(classes);
    if (first == 0u && live) {
        var l = 0.0;
        var n = 0.0;
        if (real) {
            let lse = log(sum_exp);
            let x_t = x[base + target_class] - top;
            n = weight[0] * (lse - x_t);
            l = weight[0] * (lse - (1.0 - SMOOTHING) * x_t - SMOOTHING * mean);
        }
        loss[row] = l;
        nll[row] = n;
    }
    if (GRADIENT) {
        // The target's logit was read above by one lane and is overwritten below by another.
        if (LANES > 1u) {
            storageBarrier();
        }
        for (var c = first; c < select(0u, classes, live); c += LANES) {
            var d = 0.0;
            if (real) {
                let q = select(0.0, 1.0 - SMOOTHING, c == target_class) + SMOOTHING / f32(classes);
                d = weight[0] * (exp(x[base + c] - top) / sum_exp - q);
            }
            x[base + c] = d;
        }
    }
}
