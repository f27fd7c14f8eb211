// C = activation(op(A) op(B) + bias), plus what C holds where ADD; one matrix of the batch per z, op transposes or not
// One subgroup of 8 lanes per 16 x 32 tile of C. Lanes lie along N with four columns each; a 16 x 4 block of A is sixteen
// vec4s, of which each lane loads two and gets the others by broadcast. For software adapters, on which a load costs as
// much as eight multiply-adds. Sums run over k in ascending order. Contiguous dimensions are multiples of 4.
import package::lib::activation::{activate};
import package::lib::matrices::{matrix_base};
import package::lib::tile::{tile_steps};

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
        var bt: mat4x4<f32>; // element l holds B[k + l, n0 .. n0 + 4]
        if (TRANS_B) {
            bt = transpose(mat4x4(b[n.x + k / 4u], b[n.y + k / 4u], b[n.z + k / 4u], b[n.w + k / 4u]));
        } else {
            bt = mat4x4(b[column + k * b_stride], b[column + (k + 1u) * b_stride], b[column + (k + 2u) * b_stride],
                        b[column + (k + 3u) * b_stride]);
        }
        if (TRANS_A) {
            let first = a[m + k * a_stride];
            let second = a[m + (k + 2u) * a_stride];
            one_step(&sum, 0u, subgroupBroadcast(first, 0u), bt[0]);
            one_step(&sum, 4u, subgroupBroadcast(first, 1u), bt[0]);
            one_step(&sum, 8u, subgroupBroadcast(first, 2u), bt[0]);
            one_step(&sum, 12u, subgroupBroadcast(first, 3u), bt[0]);
            one_step(&sum, 0u, subgroupBroadcast(first, 4u), bt[1]);
            one_step(&sum, 4u, subgroupBroadcast(first, 5u), bt[1]);
            one_step(&sum, 8u, subgroupBroadcast(first, 6u), bt[1]);
            one_step(&sum, 12u, subgroupBroadcast(first, 7u), bt[1]);
            one_step(&sum, 0u, subgroupBroadcast(second, 0u), bt[2]);
            one_step(&sum, 4u, subgroupBroadcast(second, 1u), bt[2]);
            one_step(&sum, 8u, subgroupBroadcast(second, 2u), bt[2]);
            one_step(&sum, 12u, subgroupBroadcast(second, 3u), bt[2]);
            one_step(&sum, 0u, subgroupBroadcast(second, 4u), bt[3]);
            one_step(&sum, 4u, subgroupBroadcast(second, 5u), bt[3]);
            one_step(&sum, 8u, subgroupBroadcast(second, 6u), bt[3]);
            one_step(&sum, 12u, subgroupBroadcast(second, 7u), bt[3]);
        } else {
            tile_steps(&sum, a[upper + k / 4u], a[lower + k / 4u], bt);
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
