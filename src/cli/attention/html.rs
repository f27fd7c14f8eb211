//! One page that holds its data and its program, to be opened from a disk.

use super::labels::visible;
use super::ramp::{DARK, LIGHT};
use super::shown::{Line, Shown};
use seqloom::attention::Kind;
use serde_json::{Map, Value, json};

const PAGE: &str = include_str!("page.html");
/// Weights are whole numbers of this part: the page is read by people, and half the size so.
const PARTS: f32 = 10_000.0;

/// The page of some lines.
pub fn page(lines: &[Line]) -> String {
    let lines: Vec<Value> = lines.iter().map(line).collect();
    let data = json!({ "parts": PARTS, "light": LIGHT, "dark": DARK, "lines": lines });
    // A token must not end the script that it stands in.
    PAGE.replacen("DATA", &data.to_string().replace('<', "\\u003c"), 1)
}

fn by_kind(of: impl Fn(Kind) -> Value) -> Map<String, Value> {
    Kind::ALL.into_iter().map(|kind| (kind.name().into(), of(kind))).collect()
}

fn line(line: &Line) -> Value {
    let labels = |tokens: &[String]| tokens.iter().map(|t| visible(t)).collect::<Vec<_>>();
    let sides = by_kind(|kind| {
        let (rows, keys) = line.sides(kind);
        json!({ "rows": labels(rows), "keys": labels(keys) })
    });
    let maps: Vec<Value> = line.maps.iter().map(map).collect();
    let titles = by_kind(|kind| json!(line.heading(kind)));
    let (reads, text, given) = match line.is_one_text() {
        true => ("text", labels(&line.target), line.given),
        false => ("target", labels(&line.source), 0),
    };
    json!({
        "name": line.name(), "dropped": line.dropped, "text": text, "reads": reads, "given": given,
        "titles": titles, "sides": sides, "maps": maps
    })
}

fn map(map: &Shown) -> Value {
    let row = |row: &Vec<f32>| row.iter().map(|w| (w * PARTS).round() as u32).collect::<Vec<_>>();
    let parts: Vec<_> = map.weights.iter().map(row).collect();
    json!({ "kind": map.kind, "layer": map.layer, "head": map.head, "parts": parts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::attention::shown::Head;

    #[test]
    fn tokens_stay_in_their_script() {
        let tokens = vec!["</script><b>&\"'DATA".to_string()];
        let [source, target, written] = [tokens.clone(), tokens.clone(), tokens];
        let maps = vec![Shown { kind: Kind::Cross, layer: 1, head: Head::One(2), weights: vec![vec![0.25]] }];
        let page = page(&[Line { line: 3, source, target, written, given: 1, dropped: 0, maps }]);
        let after = page.split_once("id=\"data\">").expect("the script of the data").1;
        let data: Value = serde_json::from_str(after.split("</script>").next().expect("its text")).expect("JSON");
        assert_eq!(data["lines"][0]["sides"]["cross"]["rows"], json!(["</script><b>&\"'DATA"]));
        assert_eq!(data["lines"][0]["maps"][0], json!({ "kind": "cross", "layer": 1, "head": 2, "parts": [[2500]] }));
        assert_eq!(page.matches("</script>").count(), 2);
    }
}
