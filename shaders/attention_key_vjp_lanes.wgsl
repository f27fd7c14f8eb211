// dv = dropout(P)T do and dk = SCALE dST q per head, P and dS as in attention_query_vjp
// One subgroup of 8 lanes per 16 keys of a head; queries pass in tiles of 32, and everything stays in registers. For
// software adapters, as attention_lanes. D is a multiple of 4.
import package::lib::matrices::{matrix_base};
import package::lib::philox::{philox};
import package::lib::tile::{tile_product, tile_steps};
import package::lib::mask::{THRESHOLD, keys_seen, kept_row, mask_lengths};

override HEADS: u32;
override D: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (B, T, H*D)
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(3) var<storage, read> d_o: array<vec4<f32>>; // (B, T, H*D)
@group(0) @binding(4) var<storage, read> statistics: array<vec2<f32>>; // (B, H, T): lse, delta
@group(0) @binding(5) var<storage, read> mask: array<u32>; // (16 + B): step state, lengths; (B) without dropout
@group(0) @binding(6) var<storage, read_write> dk: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(7) var<storage, read_write> dv: array<vec4<f32>>; // (B, S, H*D)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // T, S, site

// Which weights of keys s0 to s0 + 15 and queries t to t + 3 dropout keeps: one call of the generator has four keys.
fn kept_columns(s0: u32, t: u32, head: u32) -> vec2<u32> {
    var bits = vec2(0u);
    for (var i = 0u; i < 16u; i++) {
        let words = philox(vec4((s0 + i) / 4u, t + i % 4u, head, mask[1]), vec2(mask[0], run.z));
        let four = select(vec4(0u), vec4(1u, 16u, 256u, 4096u), words >= vec4(THRESHOLD));
        let column = (four.x | four.y | four.z | four.w) << (16u * (i / 4u % 2u) + i % 4u);
        bits |= select(vec2(column, 0u), vec2(0u, column), i >= 8u);
    }
    return bits;
}

// sum += A do, or A q, in the lane's four columns from `column` on.
fn add_rows(sum: ptr<function, array<vec4<f32>, 16>>, a: ptr<function, array<vec4<f32>, 16>>, of_q: bool, q_base: u32,
            t0: u32, column: u32) {
    let stride = HEADS * D / 4u;
    var b: array<mat4x4<f32>, 8>;
    for (var l = 0u; l < 8u; l++) {
        let row = min(vec4(t0 + 4u * l) + vec4(0u, 1u, 2u, 3u), vec4(run.x - 1u)) * stride
            + q_base + min(column, D / 4u - 1u);
        if (of_q) {
            b[l] = mat4x4(q[row.x], q[row.y], q[row.z], q[row.w]);
        } else {
            b[l] = mat4x4(d_o[row.x], d_o[row.y], d_o[row.z], d_o[row.w]);
        }
    }
    tile_product(sum, a, &b);
}

fn write_rows(sum_k: ptr<function, array<vec4<f32>, 16>>, sum_v: ptr<function, array<vec4<f32>, 16>>, k_base: u32,
              s0: u32, column: u32) {
    for (var i = 0u; i < 16u; i++) {
        if (s0 + i < run.y && column < D / 4u) {
            let at = k_base + (s0 + i) * (HEADS * D / 4u) + column;
            dk[at] = (*sum_k)[i];
            dv[at] = (*sum_v)[i];
        }
    }
}

@compute @workgroup_size(8)
fn attention_key_vjp_lanes(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let s0 = 16u * group.x;
    let head = group.z;
    let c0 = 32u * group.y + lane; // the lane's first four columns of four times 32
    let stride = HEADS * D / 4u;
    let q_base = matrix_base(head, run.x, D / 4u, HEADS);
    let k_base = matrix_base(head, run.y, D / 4u, HEADS);
    let length = min(mask[mask_lengths() + head / HEADS], run.y);
    // What lies past the end is read from the last row and not written.
    let low = k_base + min(s0 + lane, run.y - 1u) * stride;
    let high = k_base + min(s0 + lane + 8u, run.y - 1u) * stride;

    // Columns 0 to 31 of the slice of dk and dv, 32 to 63, 64 to 95, 96 to 127; what D leaves out is never used.
    var dk0: array<vec4<f32>, 16>;
    var dk1: array<vec4<f32>, 16>;
    var dk2: array<vec4<f32>, 16>;
    var dk3: array<vec4<f32>, 16>;
    var dv0: array<vec4<f32>, 16>;
    var dv1: array<vec4<f32>, 16>;
    var dv2: array<vec4<f32>, 16>;
    var dv3: array<vec4<f32>, 16>;
    let end = select(0u, run.x, s0 < length);
    for (var t0 = select(0u, s0 / 32u * 32u, CAUSAL); t0 < end; t0 += 32u) {
        let t = vec4(t0 + 4u * lane) + vec4(0u, 1u, 2u, 3u);
        let inside = min(t, vec4(run.x - 1u));
        let row = q_base + inside * stride;
        var d_s: array<vec4<f32>, 16>; // dPT, then dST
        for (var d = 0u; d < D / 4u; d++) {
            tile_steps(&d_s, v[low + d], v[high + d],
                       transpose(mat4x4(d_o[row.x + d], d_o[row.y + d], d_o[row.z + d], d_o[row.w + d])));
        }
        var p: array<vec4<f32>, 16>; // scores, then weights
        for (var d = 0u; d < D / 4u; d++) {
            tile_steps(&p, k[low + d], k[high + d],
                       transpose(mat4x4(q[row.x + d], q[row.y + d], q[row.z + d], q[row.w + d])));
        }
        let rows = transpose(mat4x2(statistics[head * run.x + inside.x], statistics[head * run.x + inside.y],
                                    statistics[head * run.x + inside.z], statistics[head * run.x + inside.w]));
        let seen = select(vec4(0u), vec4(keys_seen(t.x, length), keys_seen(t.y, length), keys_seen(t.z, length),
                                         keys_seen(t.w, length)), t < vec4(run.x));
        for (var i = 0u; i < 16u; i++) {
            p[i] = select(vec4(0.0), exp(min(SCALE * p[i] - rows[0], vec4(0.0))), vec4(s0 + i) < seen);
        }
        if (THRESHOLD > 0u) {
            let bits = kept_columns(s0, t.x, head);
            for (var i = 0u; i < 16u; i++) {
                let kept = kept_row(bits, i);
                d_s[i] = SCALE * p[i] * (kept * d_s[i] - rows[1]);
                p[i] *= kept;
            }
        } else {
            for (var i = 0u; i < 16u; i++) {
                d_s[i] = SCALE * p[i] * (d_s[i] - rows[1]);
            }
        }
        add_rows(&dv0, &p, false, q_base, t0, c0);
        add_rows(&dk0, &d_s, true, q_base, t0, c0);
        if (D > 32u) {
            add_rows(&dv1, &p, false, q_base, t0, c0 + 8u);
            add_rows(&dk1, &d_s, true, q_base, t0, c0 + 8u);
        }
        if (D > 64u) {
            add_rows(&dv2, &p, false, q_base, t0, c0 + 16u);
            add_rows(&dk2, &d_s, true, q_base, t0, c0 + 16u);
        }
        if (D > 96u) {
            add_rows(&dv3, &p, false, q_base, t0, c0 + 24u);
            add_rows(&dk3, &d_s, true, q_base, t0, c0 + 24u);
        }
    }
    write_rows(&dk0, &dv0, k_base, s0, c0);
    if (D > 32u) {
        write_rows(&dk1, &dv1, k_base, s0, c0 + 8u);
    }
    if (D > 64u) {
        write_rows(&dk2, &dv2, k_base, s0, c0 + 16u);
    }
    if (D > 96u) {
        write_rows(&dk3, &dv3, k_base, s0, c0 + 24u);
    }
}
