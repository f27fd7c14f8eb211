//! How long values live in a plan's buffers, on random graphs: what a pass reads is alive, and one value at a time is.

use crate::random::{Random, seed};
use seqloom::case::Draw;
use seqloom::graph::Value;
use seqloom::plan::{Lifetime, Limits, Place, Plan};

/// Checks a plan and returns how many values it has in buffers of its own, and how many of them are overwritten in place.
fn check(plan: &Plan) -> (usize, usize) {
    let g = &plan.graph;
    let all = plan.lifetimes();
    let kept = |slot: usize| plan.outputs.iter().any(|(_, place, _)| *place == Place::Slot(slot));
    let end = plan.passes.len() - 1;
    // Of each lifetime the last pass that is known to need it.
    let mut needed: Vec<usize> = all.iter().map(|l| l.first).collect();
    let mut in_place = 0;
    let holds = |l: &Lifetime, v: Value| l.value.is_none_or(|have| have == g.base(v));
    for (i, pass) in plan.passes.iter().enumerate() {
        let Some(node) = pass.node.map(|node| &g.nodes()[node]) else {
            if let Place::Slot(slot) = pass.bindings[0].place {
                let at = all.iter().position(|l| l.slot == slot && l.first < i && i <= l.last);
                needed[at.unwrap_or_else(|| panic!("pass {i} copies from s{slot}, which holds nothing"))] = i;
            }
            continue;
        };
        let taken = |input: usize| node.op.in_place().iter().find(|pair| pair.0 == input).map(|pair| pair.1);
        let read: Vec<Value> = (0..node.inputs.len()).filter(|&x| taken(x).is_none()).map(|x| node.inputs[x]).collect();
        let (inputs, outputs) = pass.bindings.split_at(read.len());
        for (b, &v) in inputs.iter().zip(&read) {
            if let Place::Slot(slot) = b.place {
                let at = all.iter().position(|l| l.slot == slot && l.first < i && i <= l.last);
                let at = at.unwrap_or_else(|| panic!("pass {i} reads s{slot}, which holds nothing"));
                assert!(holds(&all[at], v), "pass {i} reads {} in {:?}", g.name(v), all[at]);
                needed[at] = i;
            }
        }
        for (o, b) in outputs.iter().enumerate() {
            let Place::Slot(slot) = b.place else { continue };
            let written = all.iter().find(|l| l.slot == slot && l.first == i).expect("what is written lives");
            assert_eq!((written.value, written.bytes), (Some(node.outputs[o]), b.bytes));
            if let Some(pair) = node.op.in_place().iter().find(|pair| pair.1 == o) {
                let at = all.iter().position(|l| l.slot == slot && l.last + 1 == i).expect("what is taken over lives");
                assert!(holds(&all[at], node.inputs[pair.0]), "pass {i} takes over {:?}", all[at]);
                needed[at] = i - 1;
                in_place += 1;
            }
        }
    }
    for (i, l) in all.iter().enumerate() {
        assert!(l.first <= l.last && l.last <= end && l.bytes <= plan.slots[l.slot], "{l:?}");
        let later = all[i + 1..].iter().find(|other| other.slot == l.slot);
        assert!(later.is_none_or(|other| other.first > l.last), "{l:?} and {later:?}");
        let to_the_end = later.is_none() && kept(l.slot) && l.last == end;
        assert!(l.last == needed[i] || to_the_end, "{l:?} is needed until {}", needed[i]);
        assert!(later.is_some() || !kept(l.slot) || l.last == end, "{l:?} is read by the host");
    }
    let live = plan.live_bytes();
    for (i, bytes) in live.iter().enumerate() {
        let alive = all.iter().filter(|l| (l.first..=l.last).contains(&i));
        assert_eq!(*bytes, alive.map(|l| l.bytes).sum::<usize>(), "during pass {i}");
        assert!(*bytes <= plan.slot_bytes(), "during pass {i}");
    }
    (all.len(), in_place)
}

#[test]
fn values_live_as_long_as_they_are_needed() {
    let seed = seed();
    let (mut values, mut in_place) = (0, 0);
    for i in 0..300 {
        println!("graph {i}");
        let random = Random::new(&mut Draw::new(seed * 1000 + i), 4 + i as usize % 25, false);
        let plan = Plan::new(random.graph, &Limits::default()).expect("small values");
        let counts = check(&plan);
        (values, in_place) = (values + counts.0, in_place + counts.1);
    }
    assert!(values > 1000 && in_place > 50, "{values} values, {in_place} overwritten: these graphs test nothing");
}
