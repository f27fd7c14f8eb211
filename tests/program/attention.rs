//! `translate --attention`: four ways to look at what a model looks at, none of which changes a translation.

use super::Place;
use serde_json::Value;

const INPUT: &str = "der hund sieht\n\n<b>&\"\u{1}é großer mann\n";

/// Two layers in the encoder, one in the decoder, two heads, a vocabulary for each side.
fn trained() -> Place {
    let place = Place::new();
    let settings = "--set train.steps=60 --set train.eval_every=60 --set model.encoder_layers=2";
    place.train(&format!("--out run {settings} --set tokenizer.shared=false")).succeeds();
    place
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

/// The lines of a .json file of a model without an encoder, whose maps are causal.
#[track_caller]
pub fn texts(place: &Place, file: &str) -> Vec<Value> {
    let lines = list(&place.json(file)).clone();
    for line in &lines {
        assert!(list(&line["source"]).is_empty() && !list(&line["maps"]).is_empty(), "{line}");
        for map in list(&line["maps"]) {
            let weights = numbers(map);
            assert_eq!((map["kind"].as_str(), weights.len()), (Some("decoder"), list(&line["target"]).len()));
            for (r, row) in weights.iter().enumerate() {
                assert!(row.len() == weights.len() && row[r + 1..].iter().all(|w| *w == 0.0), "{row:?}");
                assert!((row.iter().sum::<f64>() - 1.0).abs() <= 1e-5, "{row:?}");
            }
        }
    }
    lines
}

fn numbers(map: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(map["weights"].clone()).expect("rows of numbers")
}

#[test]
fn attention_is_written_in_every_form() {
    let place = trained();
    let translate = "translate --device cpu --model run";
    let plain = place.feed(translate, INPUT.as_bytes()).succeeds();
    let attend = |options: &str| {
        let outcome = place.feed(&format!("{translate} --attention {options}"), INPUT.as_bytes()).succeeds();
        assert_eq!(outcome.out, plain.out, "{options}");
        outcome.err
    };

    attend("all.json");
    let all = place.json("all.json");
    let lines = list(&all);
    assert_eq!([&lines[0]["line"], &lines[1]["line"]], [1, 3], "blank lines have none");
    assert_eq!(lines.len(), 2);
    let kinds = [("encoder", 1), ("encoder", 2), ("decoder", 1), ("cross", 1)];
    let wanted: Vec<_> = kinds.iter().flat_map(|&(kind, layer)| [1, 2].map(|head| (kind, layer, head))).collect();
    for (line, translation) in lines.iter().zip([0, 2].map(|i| plain.out.lines().nth(i).expect("a line"))) {
        let tokens = |key: &str| list(&line[key]).iter().map(|t| t.as_str().expect("text")).collect::<Vec<_>>();
        assert_eq!([&line["given"], &line["dropped"]], [1, 0]);
        let (source, target, written) = (tokens("source"), tokens("target"), tokens("written"));
        let input = INPUT.lines().nth(line["line"].as_u64().expect("a number") as usize - 1).expect("a line");
        assert_eq!(source.concat(), format!("{}</s>", input.replace('é', "<0xC3><0xA9>")));
        assert_eq!((target[0], &target[1..]), ("<s>", &written[..written.len() - 1]));
        // What the model has put together of bytes may be no text.
        if !translation.contains('\u{fffd}') && !written.concat().contains("<0x") {
            assert!(written.concat().starts_with(translation), "{written:?}: {translation}");
        }
        let have: Vec<_> = list(&line["maps"]).iter().map(|m| [&m["kind"], &m["layer"], &m["head"]]).collect();
        let wanted: Vec<[Value; 3]> = wanted.iter().map(|&(k, l, h)| [k.into(), l.into(), h.into()]).collect();
        assert!(have.iter().copied().eq(wanted.iter().map(|w| [&w[0], &w[1], &w[2]])), "{have:?}");
        for map in list(&line["maps"]) {
            let (rows, columns) = match map["kind"].as_str() {
                Some("encoder") => (source.len(), source.len()),
                Some("decoder") => (target.len(), target.len()),
                _ => (written.len(), source.len()),
            };
            let weights = numbers(map);
            assert!(weights.len() == rows && weights.iter().all(|row| row.len() == columns), "{map}");
            assert!(weights.iter().all(|row| (row.iter().sum::<f64>() - 1.0).abs() <= 1e-5), "{map}");
        }
    }

    // A choice leaves the rest out and changes no number.
    attend("one.json --kind encoder --layer 2 --head 1");
    assert_eq!(place.json("one.json")[1]["maps"], Value::Array(vec![lines[1]["maps"][2].clone()]));
    attend("mean.json --kind cross --head mean");
    let mean = &place.json("mean.json")[0]["maps"];
    let [a, b] = [6, 7].map(|i| numbers(&lines[0]["maps"][i]));
    assert_eq!((list(mean).len(), &mean[0]["head"]), (1, &"mean".into()));
    for (r, row) in numbers(&mean[0]).iter().enumerate() {
        let of_both = |c: usize| (a[r][c] + b[r][c]) / 2.0;
        assert!(row.iter().enumerate().all(|(c, w)| (w - of_both(c)).abs() <= 1e-6), "{row:?}");
    }

    attend("all.SVG");
    let svg = place.text("all.SVG");
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("prefers-color-scheme:dark"));
    assert_eq!(svg.matches("<use ").count(), 2 * wanted.len());
    for tag in ["g", "text", "tspan", "defs", "svg"] {
        let opened = svg.matches(&format!("<{tag} ")).count() + svg.matches(&format!("<{tag}>")).count();
        assert_eq!(opened, svg.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(svg.contains("&lt;/s&gt;") && svg.contains("&amp;") && svg.contains('␁'), "{svg}");
    assert!(!svg.contains("<b>") && !svg.contains('\u{1}') && !svg.contains("NaN"), "{svg}");

    attend("all.html");
    let html = place.text("all.html");
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!html.contains(outside), "the page asks for something: {outside}");
    }

    // The last layer of encoder–decoder attention, its heads averaged, unless something else is asked for.
    let map = attend("-");
    assert_eq!(map.matches("encoder–decoder attention, layer 1, mean of the heads: what").count(), 2, "{map}");
    let rows: usize = lines.iter().map(|line| list(&line["written"]).len()).sum();
    assert_eq!(map.matches(" │").count(), rows, "{map}");
    let map = attend("- --kind encoder --head 2");
    assert_eq!(map.matches("encoder self-attention, layer 2, head 2: source looks at source").count(), 2, "{map}");
}

#[test]
fn attention_refuses_before_it_translates() {
    let place = trained();
    let attend = |options: &str, input: &str| {
        place.feed(&format!("translate --device cpu --attention {options}"), input.as_bytes())
    };
    // Where there is no model either, the file is what is complained of.
    for (options, parts) in [
        ("a.png --model no", &["--attention a.png: expected a name that ends in .svg, .html or .json"][..]),
        ("svg --model no", &["--attention svg: expected"]),
        ("no/a.svg --model no", &["cannot write no/a.svg: no such file or directory"]),
        ("a.de/a.svg --model no", &["cannot write a.de/a.svg", "not a directory"]),
        ("folder.json --model no", &["cannot write folder.json: is a directory"]),
    ] {
        std::fs::create_dir_all(place.path("folder.json")).expect("a directory");
        attend(options, "der hund\n").refuses(parts);
    }
    let many = "der hund\n".repeat(21);
    let long = "hund ".repeat(300);
    let heavy = ("hund ".repeat(200) + "\n").repeat(200);
    let before = place.names(".");
    for (options, input, part) in [
        ("a.svg", "\n \n", "--attention a.svg: there is no text on standard input"),
        ("a.svg", &many, "21 lines of text, 20 is the most; a .json file shows more"),
        ("-", &long, "tokens, 256 is the most; a .json file shows more"),
        ("a.json", &long.repeat(4), "tokens, 1024 is the most; take shorter ones"),
        ("a.html --layer 3", "der hund\n", "--layer 3: there are layers 1 to 2"),
        ("a.html --kind cross --layer 2", "der hund\n", "--layer 2: there are layers 1 to 1"),
        // A heat map is of encoder–decoder attention, of which there is one layer.
        ("- --layer 2", "der hund\n", "--layer 2: there are layers 1 to 1"),
        ("a.json", &heavy, "million weights, 32 million is the most; choose some with --kind, --layer or --head"),
        ("- --head 0", "der hund\n", "--head 0: there are heads 1 to 2"),
        ("- --head 3", "der hund\n", "--head 3: there are heads 1 to 2"),
    ] {
        attend(&format!("{options} --model run"), input).refuses(&[part]);
        assert_eq!(place.names("."), before, "{options} left something");
    }
    for options in ["- --kind self", "- --head all", "- --layer last"] {
        let outcome = attend(&format!("{options} --model run"), "der hund\n");
        assert!(
            outcome.code == Some(2) && outcome.out.is_empty() && outcome.err.contains("invalid value"),
            "{}",
            outcome.err
        );
    }
    assert_eq!(place.run("translate --model run --kind cross").code, Some(2));
}
