// dw[c] = sum of partial[g, 0, c], db[c] = sum of partial[g, 1, c] over the blocks g
// One thread per column: the order of additions is that of the blocks.

@group(0) @binding(0) var<storage, read> partial: array<f32>; // (G, 2, C)
@group(0) @binding(1) var<storage, read_write> dw: array<f32>; // (C)
@group(0) @binding(2) var<storage, read_write> db: array<f32>; // (C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // G, C

@compute @workgroup_size(64)
fn layer_norm_weight_vjp(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    if (c >= run.y) {
        return;
    }
    var sum_w = 0.0;
    var sum_b = 0.0;
    for (var g = 0u; g < run.x; g++) {
        sum_w += partial[2u * g * run.y + c];
        sum_b += partial[(2u * g + 1u) * run.y + c];
    }
    dw[c] = sum_w;
    db[c] = sum_b;
}
