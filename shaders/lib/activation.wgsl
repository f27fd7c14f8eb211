// The activation of an epilogue, chosen when the plan is made: 0 none, 1 ReLU, 2 tanh, 3 sigmoid.
import package::lib::gates::{sigmoid_of, tanh_of};

override ACTIVATION: u32 = 0u;

fn activate(x: f32) -> f32 {
    if (ACTIVATION == 1u) {
        return select(x, 0.0, x < 0.0);
    }
    if (ACTIVATION == 2u) {
        return tanh_of(x);
    }
    if (ACTIVATION == 3u) {
        return sigmoid_of(x);
    }
    return x;
}
