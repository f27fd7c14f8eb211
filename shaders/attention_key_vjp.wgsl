// dv = dropout(P)T do and dk = SCALE dST q per head, P and dS as in attention_query_vjp
// One workgroup per 32 keys of a head and CHUNKS * 32 columns of dk and dv, in the registers of its threads. Queries pass
// in blocks of 32; blocks have keys as rows and queries as columns.
import package::lib::blocks::{BLOCK, BLOCK_ROW, blocks, block_keep, block_product};
import package::lib::matrices::{matrix_base};
import package::lib::philox::{philox};
import package::lib::mask::{THRESHOLD, keys_seen, kept, mask_lengths};

const CHUNKS: u32 = 2u;

override HEADS: u32;
override D: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> q: array<f32>; // (B, T, H*D)
@group(0) @binding(1) var<storage, read> k: array<f32>; // (B, S, H*D)
@group(0) @binding(2) var<storage, read> v: array<f32>; // (B, S, H*D)
@group(0) @binding(3) var<storage, read> d_o: array<f32>; // (B, T, H*D)
@group(0) @binding(4) var<storage, read> statistics: array<vec2<f32>>; // (B, H, T): lse, delta
@group(0) @binding(5) var<storage, read> mask: array<u32>; // (16 + B): step state, lengths; (B) without dropout
@group(0) @binding(6) var<storage, read_write> dk: array<f32>; // (B, S, H*D)
@group(0) @binding(7) var<storage, read_write> dv: array<f32>; // (B, S, H*D)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // T, S, site

// Columns d0 to d0 + 31 of 32 rows of k and of q, or of v and of do, as operands A and B; zeros past the last column.
fn stage(of_scores: bool, q_base: u32, t0: u32, k_base: u32, s0: u32, d0: u32, index: u32) {
    workgroupBarrier();
    for (var e = index; e < 256u; e += 64u) {
        let d = d0 + e % 32u;
        let rows = vec4(4u * (e / 32u)) + vec4(0u, 1u, 2u, 3u);
        let t = min(vec4(t0) + rows, vec4(run.x - 1u)) * (HEADS * D) + q_base + d;
        let s = min(vec4(s0) + rows, vec4(run.y - 1u)) * (HEADS * D) + k_base + d;
        var a = vec4(0.0);
        var b = vec4(0.0);
        if (d < D && of_scores) {
            a = vec4(k[s.x], k[s.y], k[s.z], k[s.w]);
            b = vec4(q[t.x], q[t.y], q[t.z], q[t.w]);
        } else if (d < D) {
            a = vec4(v[s.x], v[s.y], v[s.z], v[s.w]);
            b = vec4(d_o[t.x], d_o[t.y], d_o[t.z], d_o[t.w]);
        }
        blocks[e % 32u * BLOCK_ROW + e / 32u] = a;
        blocks[BLOCK + e % 32u * BLOCK_ROW + e / 32u] = b;
    }
    workgroupBarrier();
}

@compute @workgroup_size(64)
fn attention_key_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let s0 = 32u * group.x;
    let c0 = 32u * CHUNKS * group.y;
    let head = group.z;
    let stride = HEADS * D;
    let q_base = matrix_base(head, run.x, D, HEADS);
    let k_base = matrix_base(head, run.y, D, HEADS);
    let length = min(mask[mask_lengths() + head / HEADS], run.y);
    let s = s0 + 4u * (index / 8u); // first of the thread's four keys
    let x = 4u * (index % 8u); // first of its four columns of a block

    var sum_k: array<vec4<f32>, 4u * CHUNKS>;
    var sum_v: array<vec4<f32>, 4u * CHUNKS>;
    let end = select(0u, run.x, s0 < length);
    for (var t0 = select(0u, s0, CAUSAL); t0 < end; t0 += 32u) {
        var score: array<vec4<f32>, 4>;
        var slope: array<vec4<f32>, 4>;
        for (var d0 = 0u; d0 < D; d0 += 32u) {
            stage(true, q_base, t0, k_base, s0, d0, index);
            block_product(&score, 0u, index);
            stage(false, q_base, t0, k_base, s0, d0, index);
            block_product(&slope, 0u, index);
        }
        var keep = mat4x4(vec4(1.0), vec4(1.0), vec4(1.0), vec4(1.0)); // [query][key]
        var p: mat4x4<f32>; // [query][key]
        var d_s: mat4x4<f32>;
        for (var j = 0u; j < 4u; j++) {
            let t = t0 + x + j;
            let row = statistics[head * run.x + min(t, run.x - 1u)];
            if (THRESHOLD > 0u) {
                keep[j] = kept(philox(vec4(s / 4u, t, head, mask[1]), vec2(mask[0], run.z)));
            }
            let seen = select(0u, keys_seen(t, length), t < run.x);
            let scores = vec4(score[0][j], score[1][j], score[2][j], score[3][j]);
            p[j] = select(vec4(0.0), exp(min(SCALE * scores - row.x, vec4(0.0))), vec4(s) + vec4(0u, 1u, 2u, 3u) < vec4(seen));
            d_s[j] = SCALE * p[j] * (keep[j] * vec4(slope[0][j], slope[1][j], slope[2][j], slope[3][j]) - row.y);
            p[j] *= keep[j];
        }
        for (var which = 0u; which < 2u; which++) {
            // Every thread is done with the operands of the product before.
            workgroupBarrier();
            for (var j = 0u; j < 4u; j++) {
                blocks[2u * BLOCK + (x + j) * BLOCK_ROW + index / 8u] = select(d_s[j], p[j], which == 0u);
            }
            for (var c = 0u; c < CHUNKS; c++) {
                workgroupBarrier();
                for (var e = index; e < 256u; e += 64u) {
                    let row = q_base + min(t0 + e / 8u, run.x - 1u) * stride;
                    let at = row + min(vec4(c0 + 32u * c + 4u * (e % 8u)) + vec4(0u, 1u, 2u, 3u), vec4(D - 1u));
                    var value: vec4<f32>;
                    if (which == 0u) {
                        value = vec4(d_o[at.x], d_o[at.y], d_o[at.z], d_o[at.w]);
                    } else {
                        value = vec4(q[at.x], q[at.y], q[at.z], q[at.w]);
                    }
                    blocks[BLOCK + e / 8u * BLOCK_ROW + e % 8u] = value;
                }
                workgroupBarrier();
                if (which == 0u) {
                    var part = array(sum_v[4u * c], sum_v[4u * c + 1u], sum_v[4u * c + 2u], sum_v[4u * c + 3u]);
                    block_product(&part, 2u, index);
                    for (var i = 0u; i < 4u; i++) {
                        sum_v[4u * c + i] = part[i];
                    }
                } else {
                    var part = array(sum_k[4u * c], sum_k[4u * c + 1u], sum_k[4u * c + 2u], sum_k[4u * c + 3u]);
                    block_product(&part, 2u, index);
                    for (var i = 0u; i < 4u; i++) {
                        sum_k[4u * c + i] = part[i];
                    }
                }
            }
        }
    }
    for (var i = 0u; i < 4u; i++) {
        for (var c = 0u; c < CHUNKS; c++) {
            for (var j = 0u; j < 4u; j++) {
                let column = c0 + 32u * c + x + j;
                if (s + i < run.y && column < D) {
                    dk[k_base + (s + i) * stride + column] = sum_k[4u * c + i][j];
                    dv[k_base + (s + i) * stride + column] = sum_v[4u * c + i][j];
                }
            }
        }
    }
}
