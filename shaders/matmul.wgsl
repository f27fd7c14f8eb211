// C = activation(op(A) op(B) + bias), plus what C holds where ADD; one matrix of the batch per z, op transposes or not
// One workgroup per BM x BN tile of C, a TM x TN part of it in the registers of each thread; slices of BK columns of A
// and rows of B pass through workgroup memory. Sums run over k in ascending order. Contiguous dimensions are multiples
// of 4.
import package::lib::activation::{activate};
import package::lib::matrices::{matrix_base};

const BM: u32 = 64u;
const BN: u32 = 64u;
const BK: u32 = 16u;
const TM: u32 = 4u;
const TN: u32 = 4u;
const THREADS: u32 = (BM / TM) * (BN / TN);
// Four more than the tile: neighbouring rows then start in different banks.
const A_ROW: u32 = BM + 4u;
const B_ROW: u32 = BN + 4u;

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

var<workgroup> a_tile: array<f32, BK * A_ROW>; // [k][m]
var<workgroup> b_tile: array<f32, BK * B_ROW>; // [k][n]

@compute @workgroup_size(THREADS)
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let m0 = group.y * BM;
    let n0 = group.x * BN;
    let tx = index % (BN / TN);
    // The bound holds anyway; with it compilers see that four times this is aligned, and load four rows at once.
    let ty = min(index / (BN / TN), BM / TM - 1u);
    let a_rows = select(run.x, run.z, TRANS_A);
    let a_columns = select(run.z, run.x, TRANS_A);
    let b_rows = select(run.z, run.y, TRANS_B);
    let b_columns = select(run.y, run.z, TRANS_B);
    let a_base = matrix_base(group.z, a_rows, a_columns, HEADS_A) / 4u;
    let b_base = matrix_base(group.z, b_rows, b_columns, HEADS_B) / 4u;
    let a_stride = a_columns * HEADS_A / 4u;
    let b_stride = b_columns * HEADS_B / 4u;

    var sum: array<f32, TM * TN>;
    for (var k0 = 0u; k0 < run.z; k0 += BK) {
        for (var e = index; e < BM * BK / 4u; e += THREADS) {
            if (TRANS_A) {
                let m = e % (BM / 4u) * 4u;
                let k = e / (BM / 4u);
                var v = vec4(0.0);
                if (m0 + m < run.x && k0 + k < run.z) {
                    v = a[a_base + (k0 + k) * a_stride + (m0 + m) / 4u];
                }
                for (var i = 0u; i < 4u; i++) {
                    a_tile[k * A_ROW + m + i] = v[i];
                }
            } else {
                let k = e % (BK / 4u) * 4u;
                let m = e / (BK / 4u);
                var v = vec4(0.0);
                if (m0 + m < run.x && k0 + k < run.z) {
                    v = a[a_base + (m0 + m) * a_stride + (k0 + k) / 4u];
                }
                for (var i = 0u; i < 4u; i++) {
                    a_tile[(k + i) * A_ROW + m] = v[i];
                }
            }
        }
        for (var e = index; e < BN * BK / 4u; e += THREADS) {
            if (TRANS_B) {
                let k = e % (BK / 4u) * 4u;
                let n = e / (BK / 4u);
                var v = vec4(0.0);
                if (n0 + n < run.y && k0 + k < run.z) {
                    v = b[b_base + (n0 + n) * b_stride + (k0 + k) / 4u];
                }
                for (var i = 0u; i < 4u; i++) {
                    b_tile[(k + i) * B_ROW + n] = v[i];
                }
            } else {
                let n = e % (BN / 4u) * 4u;
                let k = e / (BN / 4u);
                var v = vec4(0.0);
                if (n0 + n < run.y && k0 + k < run.z) {
                    v = b[b_base + (k0 + k) * b_stride + (n0 + n) / 4u];
                }
                for (var i = 0u; i < 4u; i++) {
                    b_tile[k * B_ROW + n + i] = v[i];
                }
            }
        }
        workgroupBarrier();
        // A thread's rows lie in groups of four, BM / (TM / 4) apart, so that neighbours read neighbouring banks.
        for (var k = 0u; k < BK; k++) {
            var at: array<f32, TM>;
            var bt: array<f32, TN>;
            for (var i = 0u; i < TM; i++) {
                at[i] = a_tile[k * A_ROW + i / 4u * (4u * BM / TM) + ty * 4u + i % 4u];
            }
            for (var j = 0u; j < TN; j++) {
                bt[j] = b_tile[k * B_ROW + j / 4u * (4u * BN / TN) + tx * 4u + j % 4u];
            }
            for (var i = 0u; i < TM; i++) {
                for (var j = 0u; j < TN; j++) {
                    sum[i * TN + j] = fma(at[i], bt[j], sum[i * TN + j]);
                }
            }
        }
        workgroupBarrier();
    }

    let c_base = matrix_base(group.z, run.x, run.y, HEADS_C);
    for (var i = 0u; i < TM; i++) {
        let m = m0 + i / 4u * (4u * BM / TM) + ty * 4u + i % 4u;
        for (var j = 0u; j < TN; j++) {
            let n = n0 + j / 4u * (4u * BN / TN) + tx * 4u + j % 4u;
            if (m < run.x && n < run.y) {
                var value = sum[i * TN + j];
                if (BIAS) {
                    value += bias[n];
                }
                let at = c_base + m * run.y * HEADS_C + n;
                value = activate(value);
                if (ADD) {
                    value += c[at];
                }
                c[at] = value;
            }
        }
    }
}
