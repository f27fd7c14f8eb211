// A 16 x 32 tile of a product in the registers of one subgroup of 8 lanes: every lane holds four columns of 16 rows.

// Four steps of k. Lane l brings A[l, k .. k + 4] in `low` and A[l + 8, k .. k + 4] in `high`, which the others get by
// broadcast; b[j] holds the lane's columns of row k + j of B.
fn tile_steps(sum: ptr<function, array<vec4<f32>, 16>>, low: vec4<f32>, high: vec4<f32>, b: mat4x4<f32>) {
    (*sum)[0] = tile_row((*sum)[0], subgroupBroadcast(low, 0u), b);
    (*sum)[1] = tile_row((*sum)[1], subgroupBroadcast(low, 1u), b);
    (*sum)[2] = tile_row((*sum)[2], subgroupBroadcast(low, 2u), b);
    (*sum)[3] = tile_row((*sum)[3], subgroupBroadcast(low, 3u), b);
    (*sum)[4] = tile_row((*sum)[4], subgroupBroadcast(low, 4u), b);
    (*sum)[5] = tile_row((*sum)[5], subgroupBroadcast(low, 5u), b);
    (*sum)[6] = tile_row((*sum)[6], subgroupBroadcast(low, 6u), b);
    (*sum)[7] = tile_row((*sum)[7], subgroupBroadcast(low, 7u), b);
    (*sum)[8] = tile_row((*sum)[8], subgroupBroadcast(high, 0u), b);
    (*sum)[9] = tile_row((*sum)[9], subgroupBroadcast(high, 1u), b);
    (*sum)[10] = tile_row((*sum)[10], subgroupBroadcast(high, 2u), b);
    (*sum)[11] = tile_row((*sum)[11], subgroupBroadcast(high, 3u), b);
    (*sum)[12] = tile_row((*sum)[12], subgroupBroadcast(high, 4u), b);
    (*sum)[13] = tile_row((*sum)[13], subgroupBroadcast(high, 5u), b);
    (*sum)[14] = tile_row((*sum)[14], subgroupBroadcast(high, 6u), b);
    (*sum)[15] = tile_row((*sum)[15], subgroupBroadcast(high, 7u), b);
}

fn tile_row(sum: vec4<f32>, a: vec4<f32>, b: mat4x4<f32>) -> vec4<f32> {
    var s = fma(vec4(a.x), b[0], sum);
    s = fma(vec4(a.y), b[1], s);
    s = fma(vec4(a.z), b[2], s);
    return fma(vec4(a.w), b[3], s);
}

// Thirty-two steps of k, with A a tile of its own: row i of A lies across the lanes in a[i], and b[l] holds the lane's
// columns of rows 4 l to 4 l + 3 of B.
fn tile_product(sum: ptr<function, array<vec4<f32>, 16>>, a: ptr<function, array<vec4<f32>, 16>>,
                b: ptr<function, array<mat4x4<f32>, 8>>) {
    (*sum)[0] = tile_product_row((*sum)[0], (*a)[0], b);
    (*sum)[1] = tile_product_row((*sum)[1], (*a)[1], b);
    (*sum)[2] = tile_product_row((*sum)[2], (*a)[2], b);
    (*sum)[3] = tile_product_row((*sum)[3], (*a)[3], b);
    (*sum)[4] = tile_product_row((*sum)[4], (*a)[4], b);
    (*sum)[5] = tile_product_row((*sum)[5], (*a)[5], b);
    (*sum)[6] = tile_product_row((*sum)[6], (*a)[6], b);
    (*sum)[7] = tile_product_row((*sum)[7], (*a)[7], b);
    (*sum)[8] = tile_product_row((*sum)[8], (*a)[8], b);
    (*sum)[9] = tile_product_row((*sum)[9], (*a)[9], b);
    (*sum)[10] = tile_product_row((*sum)[10], (*a)[10], b);
    (*sum)[11] = tile_product_row((*sum)[11], (*a)[11], b);
    (*sum)[12] = tile_product_row((*sum)[12], (*a)[12], b);
    (*sum)[13] = tile_product_row((*sum)[13], (*a)[13], b);
    (*sum)[14] = tile_product_row((*sum)[14], (*a)[14], b);
    (*sum)[15] = tile_product_row((*sum)[15], (*a)[15], b);
}

fn tile_product_row(sum: vec4<f32>, a: vec4<f32>, b: ptr<function, array<mat4x4<f32>, 8>>) -> vec4<f32> {
    var s = tile_row(sum, subgroupBroadcast(a, 0u), (*b)[0]);
    s = tile_row(s, subgroupBroadcast(a, 1u), (*b)[1]);
    s = tile_row(s, subgroupBroadcast(a, 2u), (*b)[2]);
    s = tile_row(s, subgroupBroadcast(a, 3u), (*b)[3]);
    s = tile_row(s, subgroupBroadcast(a, 4u), (*b)[4]);
    s = tile_row(s, subgroupBroadcast(a, 5u), (*b)[5]);
    s = tile_row(s, subgroupBroadcast(a, 6u), (*b)[6]);
    return tile_row(s, subgroupBroadcast(a, 7u), (*b)[7]);
}
