//! What AMD machine code consists of, and the loop that holds most of its arithmetic.

use std::collections::BTreeMap;

/// Kinds of instructions, as [`Mix`] counts them.
pub const CLASSES: [&str; 9] = ["fma", "vector", "scalar", "lds", "load", "store", "wait", "branch", "barrier"];

/// How many instructions of each of [`CLASSES`] there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix(pub [usize; CLASSES.len()]);

impl Mix {
    fn of<'a>(instructions: impl IntoIterator<Item = &'a str>) -> Mix {
        let mut mix = Mix::default();
        instructions.into_iter().for_each(|i| mix.0[class(i)] += 1);
        mix
    }

    /// All instructions.
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// How many instructions of a class there are. Panics when it is none of [`CLASSES`].
    pub fn count(&self, class: &str) -> usize {
        self.0[CLASSES.iter().position(|c| *c == class).expect("a class")]
    }

    /// The share of a class in all instructions, between 0 and 1.
    pub fn share(&self, class: &str) -> f64 {
        self.count(class) as f64 / self.total().max(1) as f64
    }
}

/// Index in [`CLASSES`] of an instruction.
fn class(name: &str) -> usize {
    let memory = ["buffer_", "global_", "flat_", "scratch_"].iter().any(|p| name.starts_with(p));
    let multiply_add = ["fma", "v_mac_f32", "v_mad_f32", "dot2", "wmma"].iter().any(|w| name.contains(w));
    let which = match name {
        _ if name.starts_with("v_") && multiply_add => "fma",
        _ if name.starts_with("v_") => "vector",
        _ if name.starts_with("ds_") => "lds",
        _ if memory && name.contains("store") => "store",
        _ if memory || name.starts_with("s_load") || name.starts_with("s_buffer_load") => "load",
        _ if name.starts_with("s_waitcnt") || name.starts_with("s_wait_") => "wait",
        _ if name.contains("branch") => "branch",
        "s_barrier" => "barrier",
        _ => "scalar",
    };
    CLASSES.iter().position(|c| *c == which).expect("a class")
}

fn is_instruction(word: &str) -> bool {
    ["s_", "v_", "ds_", "buffer_", "global_", "flat_", "scratch_"].iter().any(|p| word.starts_with(p))
}

/// The instructions of the loop whose own body, without the loops in it, holds most FMAs; none where no loop has one.
/// Blocks are `BBn:`, a loop is a branch back to one.
pub fn innermost(assembly: &str) -> Option<Mix> {
    let block = |word: &str| word.strip_prefix("BB")?.trim_end_matches(':').parse::<u32>().ok();
    let (mut instructions, mut starts) = (vec![], BTreeMap::new());
    // By its first instruction, where a loop ends: several branches may lead back to it.
    let mut loops: BTreeMap<usize, usize> = BTreeMap::new();
    for line in assembly.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(n) = block(first) {
            starts.insert(n, instructions.len());
        } else if is_instruction(first) {
            instructions.push(first);
            let target = words.next().and_then(block).filter(|_| first.contains("branch"));
            if let Some(&from) = target.and_then(|n| starts.get(&n)) {
                loops.insert(from, instructions.len());
            }
        }
    }
    // The body of the innermost loop around it is the instruction's.
    let owner = |i: usize| loops.iter().filter(|l| (*l.0..*l.1).contains(&i)).max_by_key(|l| l.0).map(|l| *l.0);
    let mut bodies: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (i, instruction) in instructions.iter().enumerate() {
        if let Some(owner) = owner(i) {
            bodies.entry(owner).or_default().push(instruction);
        }
    }
    let mixes = bodies.into_values().map(Mix::of);
    mixes.filter(|mix| mix.count("fma") > 0).max_by_key(|mix| mix.count("fma"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_with_most_fmas_is_told_without_the_loops_in_it() {
        let assembly = "
            BB0:
            s_load_dwordx4 s[0:3], s[0:1], 0x0 ; f4080000
            v_fma_f32 v0, v1, v2, v3
            v_fma_f32 v0, v1, v2, v3
            v_fma_f32 v0, v1, v2, v3
            BB1:
            buffer_load_dwordx4 v[0:3], v4, s[0:3], 0 offen
            s_waitcnt vmcnt(0)
            ds_store_b128 v4, v[0:3]
            s_barrier
            BB2:
            v_fmac_f32 v0, v1, v2
            v_add_f32 v0, v1, v2
            s_cbranch_scc1 BB2
            v_fma_f32 v0, v1, v2, v3
            v_mac_f32 v0, v1, v2
            s_cbranch_scc1 BB1
            s_branch BB1
            global_store_b32 v0, v1, off
            s_endpgm";
        let mix = innermost(assembly).expect("a loop");
        let counts: Vec<_> = CLASSES.iter().map(|c| (*c, mix.count(c))).filter(|(_, n)| *n > 0).collect();
        assert_eq!(counts, [("fma", 2), ("lds", 1), ("load", 1), ("wait", 1), ("branch", 2), ("barrier", 1)]);
        assert_eq!((mix.total(), mix.share("fma")), (8, 0.25));
        assert_eq!(innermost("BB0:\nv_fma_f32 v0, v1, v2, v3\ns_endpgm"), None);
    }
}
