//! WGSL in place of the program's: a mistake is one line, and no text uses the stack up.

use super::mutate::{edited_text, edits};
use super::{config, refused};
use proptest::prelude::*;
use proptest::sample::select;
use seqloom::op::{Launch, Shader};
use seqloom::shader::{Kernel, Shaders};

/// Shaders without tiles, with different libraries.
const GOOD: [(&str, &str); 4] = [
    ("bias", include_str!("../../shaders/bias.wgsl")),
    ("softmax", include_str!("../../shaders/softmax.wgsl")),
    ("sum", include_str!("../../shaders/sum.wgsl")),
    ("embedding", include_str!("../../shaders/embedding.wgsl")),
];

/// Reads a text as the shader of this name, as far as the driver.
fn check(name: &'static str, text: &str) -> Option<String> {
    let source = GOOD.iter().find(|(good, _)| *good == name).expect("one of the shaders").1;
    let shaders = Shaders::replace([(format!("{name}.wgsl"), text.to_string())]);
    let mut launch = Launch::groups(Shader { name, source }, 1, [0; 4]);
    let constant = |line: &'static str| Some((line.strip_prefix("override ")?.split_once(':')?.0, 1.0));
    launch.constants = source.lines().filter_map(constant).collect();
    let kernel = Kernel::new(&shaders, &launch);
    match kernel.and_then(|kernel| {
        kernel.spirv(true).map(|_| ()).and(kernel.msl(true).map(|_| ())).and(kernel.hlsl(true).map(|_| ()))
    }) {
        Ok(()) => None,
        Err(e) => Some(refused(&e, ".wgsl")),
    }
}

fn body(statement: &str) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read_write> x: array<u32>;\n@compute @workgroup_size(1) fn bias() {{\n{statement}\n}}\n"
    )
}

#[test]
fn deep_texts_are_refused_with_a_reason() {
    let repeated = |n: usize| -> Vec<(&'static str, String)> {
        let chain = |what: &str| {
            (0..n).map(|i| what.replace("#", &i.to_string()).replace("@", &(i + 1).to_string())).collect::<String>()
        };
        vec![
            ("a sum", body(&format!("x[0] = x[1]{};", "+x[2]".repeat(n)))),
            ("a sum of constants", body(&format!("const c = 1{};", "+1".repeat(n)))),
            ("conditions", body(&format!("if x[0] == 0u{} {{}}", "&&x[0]==1u".repeat(n)))),
            ("signs", body(&format!("x[0] = {}x[1];", "~".repeat(n)))),
            ("parentheses", body(&format!("x[0] = {}1u{};", "(".repeat(n), ")".repeat(n)))),
            ("indices", body(&format!("x[0] = {}0{};", "x[".repeat(n), "]".repeat(n)))),
            ("accesses", body(&format!("x[0] = x{};", "[0]".repeat(n)))),
            ("calls", body(&format!("x[0] = {}x[1]{};", "min(1u,".repeat(n), ")".repeat(n)))),
            ("blocks", body(&format!("{}{}", "{".repeat(n), "}".repeat(n)))),
            ("loops", body(&format!("{}{}", "loop{".repeat(n), "}".repeat(n)))),
            ("else", body(&format!("if x[0] == 0u {{}} {}", "else if x[0] == 1u {}".repeat(n)))),
            ("types", body(&format!("var t: {}u32{};", "array<".repeat(n), ",2>".repeat(n)))),
            ("functions", chain("fn f#() { f@(); }\n") + &body("f0();")),
            ("constants", chain("const c# = c@ + 1;\n") + &format!("const c{n} = 1;\n") + &body("x[0] = c0;")),
            ("aliases", chain("alias A# = A@;\n") + &format!("alias A{n} = u32;\n") + &body("var a: A0;")),
            (
                "structures",
                chain("struct S# { s: S@ }\n") + &format!("struct S{n} {{ s: u32 }}\n") + &body("var s: S0;"),
            ),
        ]
    };
    // What compilers are made for is read, or refused by them; none of it ends the process, on the small stack of a test.
    for n in [10, 100, 290] {
        repeated(n).into_iter().for_each(|(_, text)| drop(check("bias", &text)));
    }
    for (name, text) in repeated(20_000) {
        let message = check("bias", &text).unwrap_or_else(|| panic!("{name} are read"));
        assert!(message.starts_with("bias.wgsl:"), "{name}: {message}");
    }
    // Within the length that is read; a thousand signs are.
    for (name, mut text) in repeated(1100) {
        text.truncate(65_000);
        let message = check("bias", &text);
        assert!(message.is_some() || name == "signs", "{name} are read");
    }
    let long =
        body(&format!("// {}\n/* {} */ x[0] = 1u;", "no statement ".repeat(400), "/* nested */ text".repeat(400)));
    assert_eq!(check("bias", &long), None);
    let at = |text: &str| check("bias", text).expect("a mistake");
    assert!(at(&body(&format!("x[0] = 1u;\nx[1] = x[2]{};", " + x[3]".repeat(500)))).starts_with("bias.wgsl:4:"));
    assert!(at(&body(&"x".repeat(3000))).contains("a statement of more than 2048 bytes"));
    assert!(at(&body(&format!("x[0] = é{};", "é".repeat(3000)))).contains("a statement of more than 2048 bytes"));
    assert!(at("").starts_with("bias.wgsl"));
    assert!(at("/*").starts_with("bias.wgsl"));
    assert!(at("import package::lib::../../x::{};\n").contains("there is no module"));
}

#[test]
fn the_shaders_are_read() {
    for (name, text) in GOOD {
        assert_eq!(check(name, text), None);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn edits_of_a_shader((name, text) in select(&GOOD[..]), edits in edits()) {
        check(name, &edited_text(text, &edits));
    }

    #[test]
    fn characters_by_chance(text in "[a-c0-9_<>(){}\\[\\];:,.=+*/&|@!~ \\n\\PC]{0,60}") {
        check("bias", &text);
        check("bias", &body(&text));
    }
}
