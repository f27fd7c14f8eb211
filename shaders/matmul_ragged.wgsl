// C = activation(op(A) op(B) + bias), plus what C holds where ADD; one matrix of the batch per z, op transposes or not
// One thread per 4 x 4 tile of C; any sizes. Sums run over k in ascending order.
import package::lib::activation::{activate};
import package::lib::matrices::{matrix_base};

override TRANS_A: bool; // A is (K, M), not (M, K)
override TRANS_B: bool; // B is (N, K), not (K, N)
override HEADS_A: u32;
override HEADS_B: u32;
override HEADS_C: u32;
override BIAS: bool;
override ADD: bool = false; // C holds what the product is added to

@group(0) @binding(0) var<storage, read> a: array<f32>; // (batch, M, K)
@group(0) @binding(1) var<storage, read> b: array<f32>; // (batch, K, N)
@group(0) @binding(2) var<storage, read> bias: array<f32>; // (N), or B again where there is none
@group(0) @binding(3) var<storage, read_write> c: array<f32>; // (batch, M, N)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // M, N, K

@compute @workgroup_size(8, 8)
fn matmul_ragged(@builtin(global_invocation_id) id: vec3<u32>) {
    let m0 = id.y * 4u;
    let n0 = id.x * 4u;
    if (m0 >= run.x || n0 >= run.y) {
        return;
    }
    let a_rows = select(run.x, run.z, TRANS_A);
    let a_columns = select(run.z, run.x, TRANS_A);
    let b_rows = select(run.z, run.y, TRANS_B);
    let b_columns = select(run.y, run.z, TRANS_B);
    let a_base = matrix_base(id.z, a_rows, a_columns, HEADS_A);
    let b_base = matrix_base(id.z, b_rows, b_columns, HEADS_B);
    // Distance of neighbours in m and k, in n and k. Rows past the end are read from the last one and not written.
    let a_step = select(vec2(a_columns * HEADS_A, 1u), vec2(1u, a_columns * HEADS_A), TRANS_A);
    let b_step = select(vec2(1u, b_columns * HEADS_B), vec2(b_columns * HEADS_B, 1u), TRANS_B);
    let m = min(vec4(m0) + vec4(0u, 1u, 2u, 3u), vec4(run.x - 1u)) * a_step.x + a_base;
    let n = min(vec4(n0) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * b_step.x + b_base;

    var sum: array<vec4<f32>, 4>;
    for (var k = 0u; k < run.z; k++) {
        let ka = k * a_step.y;
        let kb = k * b_step.y;
        let row = vec4(b[n.x + kb], b[n.y + kb], b[n.z + kb], b[n.w + kb]);
        sum[0] = fma(vec4(a[m.x + ka]), row, sum[0]);
        sum[1] = fma(vec4(a[m.y + ka]), row, sum[1]);
        sum[2] = fma(vec4(a[m.z + ka]), row, sum[2]);
        sum[3] = fma(vec4(a[m.w + ka]), row, sum[3]);
    }

    let c_base = matrix_base(id.z, run.x, run.y, HEADS_C);
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            if (m0 + i < run.x && n0 + j < run.y) {
                var value = sum[i][j];
                if (BIAS) {
                    value += bias[n0 + j];
                }
                let at = c_base + (m0 + i) * run.y * HEADS_C + n0 + j;
                value = activate(value);
                if (ADD) {
                    value += c[at];
                }
                c[at] = value;
            }
        }
    }
}
