// What gates apply to their sums. A comparison with NaN is false, so that NaN stays NaN: `clamp` and `max` may drop it.

fn sigmoid_of(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-select(x, -80.0, x < -80.0)));
}

fn tanh_of(x: f32) -> f32 {
    // Past 9.5 the result rounds to one, and exp would overflow in the end.
    let near = select(select(x, 9.5, x > 9.5), -9.5, x < -9.5);
    return 1.0 - 2.0 / (exp(2.0 * near) + 1.0);
}

// The same of four sums.
fn sigmoids_of(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-select(x, vec4(-80.0), x < vec4(-80.0))));
}

fn tanhs_of(x: vec4<f32>) -> vec4<f32> {
    let most = vec4(9.5);
    let near = select(select(x, most, x > most), -most, x < -most);
    return 1.0 - 2.0 / (exp(2.0 * near) + 1.0);
}
