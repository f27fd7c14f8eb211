// Four columns of a head, which begin anywhere in an array of vec4s: between two of them where D is no multiple of 4.

override D: u32; // columns of a head

// Columns d to d + 4 of a head: the elements from `shift` on of two vec4s; what lies past the head's end is zero.
fn quad_between(low: vec4<f32>, high: vec4<f32>, shift: u32, d: u32) -> vec4<f32> {
    let by_two = (shift & 2u) > 0u;
    let even = select(low, vec4(low.zw, high.xy), by_two);
    let quad = select(even, vec4(even.yzw, select(high.x, high.z, by_two)), (shift & 1u) > 0u);
    return select(vec4(0.0), quad, vec4(d) + vec4(0u, 1u, 2u, 3u) < vec4(D));
}
