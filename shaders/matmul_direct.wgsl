// C = activation(op(A) op(B) + bias), one matrix of the batch per z, op transposes or not
// One thread per TM x TN tile of C, in registers and straight from the buffers: for adapters on which a barrier costs
// more than a load. Sums run over k in ascending order. Contiguous dimensions are multiples of 4.
import package::lib::activation::{activate};
import package::lib::matrices::{matrix_base};

const TM: u32 = 8u;
const TN: u32 = 8u;

override TRANS_A: bool; // A is (K, M), not (M, K)
override TRANS_B: bool; // B is (N, K), not (K, N)
override HEADS_A: u32;
override HEADS_B: u32;
override HEADS_C: u32;
override BIAS: bool;

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>; // (batch, M, K)
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>; // (batch, K, N)
@group(0) @binding(2) var<storage, read> bias: array<f32>; // (N), or B again where there is none
@group(0) @binding(3) var<storage, read_write> c: array<f32>; // (batch, M, N)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // M, N, K

@compute @workgroup_size(8, 4)
fn matmul_direct(@builtin(global_invocation_id) id: vec3<u32>) {
    let m0 = id.y * TM;
    let n0 = id.x * TN;
    if (m0 >= run.x || n0 >= run.y) {
        return;
    }
    let a_rows = select(run.x, run.z, TRANS_A);
    let a_columns = select(run.z, run.x, TRANS_A);
    let b_rows = select(run.z, run.y, TRANS_B);
    let b_columns = select(run.y, run.z, TRANS_B);
    let a_base = matrix_base(id.z, a_rows, a_columns, HEADS_A) / 4u;
    let b_base = matrix_base(id.z, b_rows, b_columns, HEADS_B) / 4u;
    let a_stride = a_columns * HEADS_A / 4u;
    let b_stride = b_columns * HEADS_B / 4u;

    var sum: array<f32, TM * TN>;
    for (var k = 0u; k < run.z; k += 4u) {
        // Four steps of k at once: element i holds A[m0 + i, k .. k + 4], element j holds B[k .. k + 4, n0 + j].
        // Rows past the end are read from the last one and not written.
        var at: array<vec4<f32>, TM>;
        var bt: array<vec4<f32>, TN>;
        if (TRANS_A) {
            for (var i = 0u; i < TM; i += 4u) {
                let first = a_base + k * a_stride + min(m0 + i, run.x - 4u) / 4u;
                let r0 = a[first];
                let r1 = a[first + a_stride];
                let r2 = a[first + 2u * a_stride];
                let r3 = a[first + 3u * a_stride];
                at[i] = vec4(r0.x, r1.x, r2.x, r3.x);
                at[i + 1u] = vec4(r0.y, r1.y, r2.y, r3.y);
                at[i + 2u] = vec4(r0.z, r1.z, r2.z, r3.z);
                at[i + 3u] = vec4(r0.w, r1.w, r2.w, r3.w);
            }
        } else {
            for (var i = 0u; i < TM; i++) {
                at[i] = a[a_base + min(m0 + i, run.x - 1u) * a_stride + k / 4u];
            }
        }
        if (TRANS_B) {
            for (var j = 0u; j < TN; j++) {
                bt[j] = b[b_base + min(n0 + j, run.y - 1u) * b_stride + k / 4u];
            }
        } else {
            for (var j = 0u; j < TN; j += 4u) {
                let first = b_base + k * b_stride + min(n0 + j, run.y - 4u) / 4u;
                let r0 = b[first];
                let r1 = b[first + b_stride];
                let r2 = b[first + 2u * b_stride];
                let r3 = b[first + 3u * b_stride];
                bt[j] = vec4(r0.x, r1.x, r2.x, r3.x);
                bt[j + 1u] = vec4(r0.y, r1.y, r2.y, r3.y);
                bt[j + 2u] = vec4(r0.z, r1.z, r2.z, r3.z);
                bt[j + 3u] = vec4(r0.w, r1.w, r2.w, r3.w);
            }
        }
        for (var i = 0u; i < TM; i++) {
            for (var j = 0u; j < TN; j++) {
                var s = sum[i * TN + j];
                s = fma(at[i].x, bt[j].x, s);
                s = fma(at[i].y, bt[j].y, s);
                s = fma(at[i].z, bt[j].z, s);
                s = fma(at[i].w, bt[j].w, s);
                sum[i * TN + j] = s;
            }
        }
    }

    let c_base = matrix_base(id.z, run.x, run.y, HEADS_C);
    for (var i = 0u; i < TM; i++) {
        for (var j = 0u; j < TN; j++) {
            let n = n0 + j;
            if (m0 + i < run.x && n < run.y) {
                var value = sum[i * TN + j];
                if (BIAS) {
                    value += bias[n];
                }
                c[c_base + (m0 + i) * run.y * HEADS_C + n] = activate(value);
            }
        }
    }
}
