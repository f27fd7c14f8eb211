// C = activation(op(A) op(B) + bias), plus what C holds where ADD; one matrix of the batch per z, op transposes or not
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
override ADD: bool = false; // C holds what the product is added to

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

    var sum: array<vec4<f32>, TM * TN / 4u>;
    for (var k = 0u; k < run.z; k += 4u) {
        // Four steps of k at once: element i holds A[m0 + i, k .. k + 4], element 4 j + l holds
        // B[k + l, n0 + 4 j .. n0 + 4 j + 4]. What lies past the end is read from the last row and not written.
        var at: array<vec4<f32>, TM>;
        var bt: array<vec4<f32>, TN>;
        if (TRANS_A) {
            for (var i = 0u; i < TM; i += 4u) {
                let first = a_base + k * a_stride + min(m0 + i, run.x - 4u) / 4u;
                let columns = transpose(mat4x4(a[first], a[first + a_stride], a[first + 2u * a_stride],
                                               a[first + 3u * a_stride]));
                at[i] = columns[0];
                at[i + 1u] = columns[1];
                at[i + 2u] = columns[2];
                at[i + 3u] = columns[3];
            }
        } else {
            for (var i = 0u; i < TM; i++) {
                at[i] = a[a_base + min(m0 + i, run.x - 1u) * a_stride + k / 4u];
            }
        }
        for (var j = 0u; j < TN; j += 4u) {
            if (TRANS_B) {
                let n = min(vec4(n0 + j) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * b_stride + b_base + k / 4u;
                let rows = transpose(mat4x4(b[n.x], b[n.y], b[n.z], b[n.w]));
                bt[j] = rows[0];
                bt[j + 1u] = rows[1];
                bt[j + 2u] = rows[2];
                bt[j + 3u] = rows[3];
            } else {
                let first = b_base + k * b_stride + min(n0 + j, run.y - 4u) / 4u;
                bt[j] = b[first];
                bt[j + 1u] = b[first + b_stride];
                bt[j + 2u] = b[first + 2u * b_stride];
                bt[j + 3u] = b[first + 3u * b_stride];
            }
        }
        for (var i = 0u; i < TM; i++) {
            for (var j = 0u; j < TN / 4u; j++) {
                var s = sum[i * (TN / 4u) + j];
                s = fma(vec4(at[i].x), bt[4u * j], s);
                s = fma(vec4(at[i].y), bt[4u * j + 1u], s);
                s = fma(vec4(at[i].z), bt[4u * j + 2u], s);
                s = fma(vec4(at[i].w), bt[4u * j + 3u], s);
                sum[i * (TN / 4u) + j] = s;
            }
        }
    }

    let c_base = matrix_base(id.z, run.x, run.y, HEADS_C);
    for (var i = 0u; i < TM; i++) {
        for (var j = 0u; j < TN; j++) {
            let n = n0 + j;
            if (m0 + i < run.x && n < run.y) {
                var value = sum[(i * TN + j) / 4u][j % 4u];
                if (BIAS) {
                    value += bias[n];
                }
                let at = c_base + (m0 + i) * run.y * HEADS_C + n;
                value = activate(value);
                if (ADD) {
                    value += c[at];
                }
                c[at] = value;
            }
        }
    }
}
