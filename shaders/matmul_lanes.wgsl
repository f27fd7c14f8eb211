// C = activation(op(A) op(B) + bias), plus what C holds where ADD; one matrix of the batch per z, op transposes or not
// One subgroup of 8 lanes per 16 x 32 tile of C. Lanes lie along N with four columns each; a 16 x 4 block of A is sixteen
// vec4s, of which each lane loads two and gets the others by broadcast. For software adapters, on which a load costs as
// much as eight multiply-adds. Sums run over k in ascending order. Contiguous dimensions are multiples of 4.
import package::lib::activation::{activate};
import package::lib::matrices::{matrix_base};

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

// One row of the tile, four steps of k: at holds A[m, k .. k + 4].
fn four_steps(sum: vec4<f32>, at: vec4<f32>, bt: ptr<function, array<vec4<f32>, 4>>) -> vec4<f32> {
    var s = fma(vec4(at.x), (*bt)[0], sum);
    s = fma(vec4(at.y), (*bt)[1], s);
    s = fma(vec4(at.z), (*bt)[2], s);
    return fma(vec4(at.w), (*bt)[3], s);
}

// Four rows of the tile, one step of k: at holds A[m .. m + 4, k].
fn one_step(sum: ptr<function, array<vec4<f32>, 16>>, row: u32, at: vec4<f32>, bt: vec4<f32>) {
    (*sum)[row] = fma(vec4(at.x), bt, (*sum)[row]);
    (*sum)[row + 1u] = fma(vec4(at.y), bt, (*sum)[row + 1u]);
    (*sum)[row + 2u] = fma(vec4(at.z), bt, (*sum)[row + 2u]);
    (*sum)[row + 3u] = fma(vec4(at.w), bt, (*sum)[row + 3u]);
}

@compute @workgroup_size(8)
fn matmul_lanes(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let m0 = group.y * 16u;
    let n0 = group.x * 32u + 4u * lane;
    let a_rows = select(run.x, run.z, TRANS_A);
    let a_columns = select(run.z, run.x, TRANS_A);
    let b_rows = select(run.z, run.y, TRANS_B);
    let b_columns = select(run.y, run.z, TRANS_B);
    let a_base = matrix_base(group.z, a_rows, a_columns, HEADS_A) / 4u;
    let b_base = matrix_base(group.z, b_rows, b_columns, HEADS_B) / 4u;
    let a_stride = a_columns * HEADS_A / 4u;
    let b_stride = b_columns * HEADS_B / 4u;

    // What lies past the end is read from the last row or column and not written. Where A is transposed, the lane's two
    // vec4s are number `lane` and `lane + 8` of the block's four rows of k; else they are two rows of m.
    let m = min(m0 + 4u * (lane % 4u), run.x - 4u) / 4u + a_base + (lane / 4u) * a_stride;
    let upper = min(m0 + lane, run.x - 1u) * a_stride + a_base;
    let lower = min(m0 + lane + 8u, run.x - 1u) * a_stride + a_base;
    let n = min(vec4(n0) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * b_stride + b_base;
    let column = min(n0, run.y - 4u) / 4u + b_base;

    var sum: array<vec4<f32>, 16>;
    for (var k = 0u; k < run.z; k += 4u) {
        var bt: array<vec4<f32>, 4>; // element l holds B[k + l, n0 .. n0 + 4]
        if (TRANS_B) {
            let rows = transpose(mat4x4(b[n.x + k / 4u], b[n.y + k / 4u], b[n.z + k / 4u], b[n.w + k / 4u]));
            bt[0] = rows[0];
            bt[1] = rows[1];
            bt[2] = rows[2];
            bt[3] = rows[3];
        } else {
            bt[0] = b[column + k * b_stride];
            bt[1] = b[column + (k + 1u) * b_stride];
            bt[2] = b[column + (k + 2u) * b_stride];
            bt[3] = b[column + (k + 3u) * b_stride];
        }
        var at: array<vec4<f32>, 2>;
        if (TRANS_A) {
            at[0] = a[m + k * a_stride];
            at[1] = a[m + (k + 2u) * a_stride];
            one_step(&sum, 0u, subgroupBroadcast(at[0], 0u), bt[0]);
            one_step(&sum, 4u, subgroupBroadcast(at[0], 1u), bt[0]);
            one_step(&sum, 8u, subgroupBroadcast(at[0], 2u), bt[0]);
            one_step(&sum, 12u, subgroupBroadcast(at[0], 3u), bt[0]);
            one_step(&sum, 0u, subgroupBroadcast(at[0], 4u), bt[1]);
            one_step(&sum, 4u, subgroupBroadcast(at[0], 5u), bt[1]);
            one_step(&sum, 8u, subgroupBroadcast(at[0], 6u), bt[1]);
            one_step(&sum, 12u, subgroupBroadcast(at[0], 7u), bt[1]);
            one_step(&sum, 0u, subgroupBroadcast(at[1], 0u), bt[2]);
            one_step(&sum, 4u, subgroupBroadcast(at[1], 1u), bt[2]);
            one_step(&sum, 8u, subgroupBroadcast(at[1], 2u), bt[2]);
            one_step(&sum, 12u, subgroupBroadcast(at[1], 3u), bt[2]);
            one_step(&sum, 0u, subgroupBroadcast(at[1], 4u), bt[3]);
            one_step(&sum, 4u, subgroupBroadcast(at[1], 5u), bt[3]);
            one_step(&sum, 8u, subgroupBroadcast(at[1], 6u), bt[3]);
            one_step(&sum, 12u, subgroupBroadcast(at[1], 7u), bt[3]);
        } else {
            at[0] = a[upper + k / 4u];
            at[1] = a[lower + k / 4u];
            sum[0] = four_steps(sum[0], subgroupBroadcast(at[0], 0u), &bt);
            sum[1] = four_steps(sum[1], subgroupBroadcast(at[0], 1u), &bt);
            sum[2] = four_steps(sum[2], subgroupBroadcast(at[0], 2u), &bt);
            sum[3] = four_steps(sum[3], subgroupBroadcast(at[0], 3u), &bt);
            sum[4] = four_steps(sum[4], subgroupBroadcast(at[0], 4u), &bt);
            sum[5] = four_steps(sum[5], subgroupBroadcast(at[0], 5u), &bt);
            sum[6] = four_steps(sum[6], subgroupBroadcast(at[0], 6u), &bt);
            sum[7] = four_steps(sum[7], subgroupBroadcast(at[0], 7u), &bt);
            sum[8] = four_steps(sum[8], subgroupBroadcast(at[1], 0u), &bt);
            sum[9] = four_steps(sum[9], subgroupBroadcast(at[1], 1u), &bt);
            sum[10] = four_steps(sum[10], subgroupBroadcast(at[1], 2u), &bt);
            sum[11] = four_steps(sum[11], subgroupBroadcast(at[1], 3u), &bt);
            sum[12] = four_steps(sum[12], subgroupBroadcast(at[1], 4u), &bt);
            sum[13] = four_steps(sum[13], subgroupBroadcast(at[1], 5u), &bt);
            sum[14] = four_steps(sum[14], subgroupBroadcast(at[1], 6u), &bt);
            sum[15] = four_steps(sum[15], subgroupBroadcast(at[1], 7u), &bt);
        }
    }

    let c_base = matrix_base(group.z, run.x, run.y, HEADS_C);
    for (var i = 0u; i < 16u; i++) {
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
