//! Reverse-mode differentiation: gradients are more operations of the same graph.

use crate::graph::{Graph, Source, Value};

/// Appends the gradient of `loss` (one element) with respect to each of `wrt`. A parameter that the loss does not
/// depend on gets zeros.
#[track_caller]
pub fn grad(g: &mut Graph, loss: Value, wrt: &[Value]) -> Vec<Value> {
    assert_eq!(g.ty(loss).elements(), 1, "the loss has the type {}", g.ty(loss));
    let seed = g.fill(1.0, &g.ty(loss).dims.clone());
    vjp(g, &[(loss, seed)], wrt)
}

/// Appends the vector–Jacobian product: cotangents of `wrt` from those of some results. Rules that are only
/// mathematics stand in the rooms; who needs a gradient, and that several uses of a value add up, is settled here.
#[track_caller]
pub fn vjp(g: &mut Graph, results: &[(Value, Value)], wrt: &[Value]) -> Vec<Value> {
    let nodes = g.nodes().len();
    let mut cotangent: Vec<Option<Value>> = vec![None; g.values()];
    let active = active_values(g, wrt);
    for &(y, dy) in results {
        assert_eq!(g.ty(y), g.ty(dy), "cotangent of {}", g.name(y));
        add_cotangent(g, &mut cotangent, y, dy);
    }
    for i in (0..nodes).rev() {
        let node = g.nodes()[i].clone();
        if !node.outputs.iter().any(|y| active[y.0]) {
            continue;
        }
        let dy: Vec<Option<Value>> = node.outputs.iter().map(|y| cotangent[y.0]).collect();
        if dy.iter().all(Option::is_none) {
            continue;
        }
        g.set_scope(&node.scope);
        let dx = node.op.vjp(g, &node.inputs, &node.outputs, &dy);
        assert_eq!(dx.len(), node.inputs.len(), "cotangents of {:?}", node.op);
        for (&x, dx) in node.inputs.iter().zip(dx) {
            if let (true, Some(dx)) = (active[x.0], dx) {
                assert_eq!(g.ty(dx), g.ty(x), "cotangent of an input of {:?}", node.op);
                add_cotangent(g, &mut cotangent, x, dx);
            }
        }
    }
    g.set_scope("");
    let gradient = |&x: &Value| {
        let dims = g.ty(x).dims.clone();
        match cotangent[g.base(x).0] {
            Some(dx) => g.reshape(dx, &dims),
            None => g.fill(0.0, &dims),
        }
    };
    wrt.iter().map(gradient).collect()
}

/// Cotangents are kept by the base of a view: a view's share is reshaped on its way.
fn add_cotangent(g: &mut Graph, cotangent: &mut [Option<Value>], x: Value, dx: Value) {
    let base = g.base(x);
    let dims = g.ty(base).dims.clone();
    let dx = g.reshape(dx, &dims);
    let sum = match cotangent[base.0] {
        Some(sum) => g.add(sum, dx),
        None => dx,
    };
    cotangent[base.0] = Some(sum);
}

/// Which values depend on `wrt`.
fn active_values(g: &Graph, wrt: &[Value]) -> Vec<bool> {
    let mut active = vec![false; g.values()];
    for &x in wrt {
        active[g.base(x).0] = true;
    }
    for v in 0..g.values() {
        active[v] |= match g.source(Value(v)) {
            Source::Node { node, .. } => g.nodes()[*node].inputs.iter().any(|x| active[x.0]),
            Source::View(of) => active[of.0],
            Source::Input | Source::Resident(..) => false,
        };
    }
    active
}
