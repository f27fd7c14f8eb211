// Products of 32 x 32 blocks in workgroup memory by 64 threads, 8 x 8 of them with 4 x 4 elements each.

// A vec4 more than a block's row: neighbouring rows then start in different banks.
const BLOCK_ROW: u32 = 9u;
const BLOCK: u32 = 32u * BLOCK_ROW;

// Three blocks of [k][column / 4]: operands A (transposed) and B, and A of the second product. Threads write whole vec4s: a
// write of one component may touch the others.
var<workgroup> blocks: array<vec4<f32>, 3u * BLOCK>;
var<workgroup> block_scratch: array<vec4<f32>, 64>;

// sum += A B with A in block `a`, B in block 1; element (4 y + i, 4 x + j) of thread 8 y + x is sum[i][j].
fn block_product(sum: ptr<function, array<vec4<f32>, 4>>, a: u32, index: u32) {
    for (var k = 0u; k < 32u; k++) {
        let at = blocks[a * BLOCK + k * BLOCK_ROW + index / 8u];
        let bt = blocks[BLOCK + k * BLOCK_ROW + index % 8u];
        (*sum)[0] = fma(vec4(at.x), bt, (*sum)[0]);
        (*sum)[1] = fma(vec4(at.y), bt, (*sum)[1]);
        (*sum)[2] = fma(vec4(at.z), bt, (*sum)[2]);
        (*sum)[3] = fma(vec4(at.w), bt, (*sum)[3]);
    }
}

// Puts a thread's elements into block 2 as operand A of the next product, transposed.
fn block_keep(sum: array<vec4<f32>, 4>, index: u32) {
    let t = transpose(mat4x4(sum[0], sum[1], sum[2], sum[3]));
    for (var j = 0u; j < 4u; j++) {
        blocks[2u * BLOCK + (4u * (index % 8u) + j) * BLOCK_ROW + index / 8u] = t[j];
    }
}

// The largest and the sum over the 8 threads of a row of blocks, four rows at once, in a fixed order.
fn block_max(value: vec4<f32>, index: u32) -> vec4<f32> {
    block_scratch[index] = value;
    workgroupBarrier();
    var top = block_scratch[index / 8u * 8u];
    for (var x = 1u; x < 8u; x++) {
        top = max(top, block_scratch[index / 8u * 8u + x]);
    }
    workgroupBarrier();
    return top;
}

fn block_sum(value: vec4<f32>, index: u32) -> vec4<f32> {
    block_scratch[index] = value;
    workgroupBarrier();
    var sum = block_scratch[index / 8u * 8u];
    for (var x = 1u; x < 8u; x++) {
        sum += block_scratch[index / 8u * 8u + x];
    }
    workgroupBarrier();
    return sum;
}
