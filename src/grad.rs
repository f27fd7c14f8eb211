//! Reverse-mode differentiation: gradients are more operations of the same graph.

use crate::graph::{Graph, Node, Source, Value};

/// Appends the gradient of `loss` (one element) with respect to each of `wrt`. A parameter that the loss does not
/// depend on gets zeros.
#[track_caller]
pub fn grad(g: &mut Graph, loss: Value, wrt: &[Value]) -> Vec<Value> {
    let seed = seed(g, loss);
    vjp(g, &[(loss, seed)], wrt)
}

/// Like [`grad`], and hands every gradient over, with its index in `wrt`, as soon as it is complete: the nodes that
/// `done` adds come before those of the gradients after it, which can then reuse its buffer.
#[track_caller]
pub fn grad_each(g: &mut Graph, loss: Value, wrt: &[Value], done: impl FnMut(&mut Graph, usize, Value)) {
    let seed = seed(g, loss);
    sweep(g, &[(loss, seed)], wrt, done);
}

#[track_caller]
fn seed(g: &mut Graph, loss: Value) -> Value {
    assert_eq!(g.ty(loss).elements(), 1, "the loss has the type {}", g.ty(loss));
    let outer = g.set_backward(true);
    let seed = g.fill(1.0, &g.ty(loss).dims.clone());
    g.set_backward(outer);
    seed
}

/// Appends the vector–Jacobian product: cotangents of `wrt` from those of some results. Rules that are only
/// mathematics stand in the rooms; who needs a gradient, and that several uses of a value add up, is settled here.
#[track_caller]
pub fn vjp(g: &mut Graph, results: &[(Value, Value)], wrt: &[Value]) -> Vec<Value> {
    let mut all = vec![None; wrt.len()];
    sweep(g, results, wrt, |_, i, dx| all[i] = Some(dx));
    all.into_iter().map(|dx| dx.expect("every cotangent is handed over")).collect()
}

#[track_caller]
fn sweep(g: &mut Graph, results: &[(Value, Value)], wrt: &[Value], mut done: impl FnMut(&mut Graph, usize, Value)) {
    let nodes = g.nodes().len();
    let outer = g.set_backward(true);
    let mut cotangent: Vec<Option<Value>> = vec![None; g.values()];
    let active = active_values(g, wrt);
    // What is read for the first time by a node is complete after the node's turn.
    let mut complete = vec![vec![]; nodes];
    let mut unread = vec![];
    for (i, &x) in wrt.iter().enumerate() {
        let reads = |node: &Node| node.inputs.iter().any(|&v| g.base(v) == g.base(x));
        match g.nodes().iter().position(reads) {
            Some(first) => complete[first].push(i),
            None => unread.push(i),
        }
    }
    for &(y, dy) in results {
        assert_eq!(g.ty(y), g.ty(dy), "cotangent of {}", g.name(y));
        add_cotangent(g, &mut cotangent, y, dy);
    }
    let mut hand_over = |g: &mut Graph, cotangent: &[Option<Value>], i: usize| {
        let dims = g.ty(wrt[i]).dims.clone();
        let dx = match cotangent[g.base(wrt[i]).0] {
            Some(dx) => g.reshape(dx, &dims),
            None => g.fill(0.0, &dims),
        };
        done(g, i, dx);
    };
    for i in (0..nodes).rev() {
        let node = g.nodes()[i].clone();
        let dy: Vec<Option<Value>> = node.outputs.iter().map(|y| cotangent[y.0]).collect();
        if node.outputs.iter().any(|y| active[y.0]) && dy.iter().any(Option::is_some) {
            g.set_scope(&node.scope);
            let fresh = g.nodes().len();
            let parts: Vec<(Value, Value)> = match (g.known_gradient(node.outputs[0]).map(<[_]>::to_vec), &dy[..]) {
                (Some(known), &[Some(dy)]) => known.into_iter().map(|(x, dx)| (x, times(g, dx, dy))).collect(),
                _ => {
                    let dx = node.op.vjp(g, &node.inputs, &node.outputs, &dy);
                    assert_eq!(dx.len(), node.inputs.len(), "cotangents of {:?}", node.op);
                    node.inputs.iter().zip(dx).filter_map(|(&x, dx)| Some((x, dx?))).collect()
                }
            };
            for &(x, dx) in parts.iter().filter(|(x, _)| active[x.0]) {
                assert_eq!(g.ty(dx), g.ty(x), "cotangent of an input of {:?}", node.op);
                let once = parts.iter().filter(|other| g.base(other.1) == g.base(dx)).count() == 1;
                let sum = cotangent[g.base(x).0].filter(|_| once).and_then(|sum| joined(g, sum, dx, fresh));
                match sum {
                    Some(sum) => cotangent[g.base(x).0] = Some(sum),
                    None => add_cotangent(g, &mut cotangent, x, dx),
                }
            }
            g.set_scope("");
        }
        for &i in &complete[i] {
            hand_over(g, &cotangent, i);
        }
    }
    for i in unread {
        hand_over(g, &cotangent, i);
    }
    g.set_backward(outer);
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

/// sum + dx by the kernel that computes dx, where it can add and nothing else reads dx: one of the nodes from `fresh` on,
/// which is then needed by nobody.
fn joined(g: &mut Graph, sum: Value, dx: Value, fresh: usize) -> Option<Value> {
    let part = g.base(dx);
    let reads = |v: &Value| g.base(*v) == part;
    if g.nodes()[fresh..].iter().any(|n| n.inputs.iter().any(reads)) {
        return None;
    }
    let node = match *g.source(part) {
        Source::Node { node, .. } if node >= fresh => g.nodes()[node].clone(),
        _ => return None,
    };
    let op = node.op.adding()?;
    let (dims, ty) = (g.ty(sum).dims.clone(), g.ty(part).dims.clone());
    let sum = g.reshape(sum, &ty);
    let sum = g.push_shared(op, &[node.inputs, vec![sum]].concat())[0];
    Some(g.reshape(sum, &dims))
}

/// dx times one number.
fn times(g: &mut Graph, dx: Value, dy: Value) -> Value {
    let dims = g.ty(dx).dims.clone();
    let dy = g.expand(dy, &dims);
    g.mul(dx, dy)
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
