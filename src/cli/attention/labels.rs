//! Tokens as labels: nothing invisible, nothing too long for its place.

/// The longest label beside a map, in characters.
const LONGEST: usize = 16;

/// A token with spaces as `·`, control characters as their pictures, other invisible characters by their number.
pub fn visible(token: &str) -> String {
    let mut label = String::new();
    for c in token.chars() {
        match c {
            ' ' => label.push('·'),
            '\u{0}'..='\u{1f}' => label.extend(char::from_u32(0x2400 + c as u32)),
            '\u{7f}' => label.push('\u{2421}'),
            _ if invisible(c) => label += &format!("<U+{:04X}>", c as u32),
            _ => label.push(c),
        }
    }
    label
}

/// What fits beside a map.
pub fn short(token: &str) -> String {
    let label = visible(token);
    match label.char_indices().nth(LONGEST) {
        Some(_) => label.chars().take(LONGEST - 1).chain(['…']).collect(),
        None => label,
    }
}

/// Controls, blanks, joiners and marks of direction; noncharacters, which XML forbids.
fn invisible(c: char) -> bool {
    let formats = ['\u{ad}', '\u{61c}', '\u{feff}'];
    let ranges = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
    let noncharacter = c as u32 & 0xfffe == 0xfffe || matches!(c, '\u{fdd0}'..='\u{fdef}');
    c.is_control() || c.is_whitespace() || formats.contains(&c) || ranges.iter().any(|r| r.contains(&c)) || noncharacter
}

/// Columns of a terminal that a label takes: East Asian characters and pictographs take two, combining marks none.
pub fn columns(label: &str) -> usize {
    let one = |c: char| match c as u32 {
        0x300..=0x36f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    };
    label.chars().map(one).sum()
}

/// Text of an XML document.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_show_what_cannot_be_seen() {
        assert_eq!(visible(" suis"), "·suis");
        assert_eq!(visible("\u{0}\t\n\u{7f}"), "␀␉␊␡");
        assert_eq!(visible("\u{a0}\u{200b}\u{202e}\u{85}\u{ffff}"), "<U+00A0><U+200B><U+202E><U+0085><U+FFFF>");
        assert_eq!(visible("<0xC3>é猫"), "<0xC3>é猫");
        assert_eq!(short(&"é".repeat(16)), "é".repeat(16));
        assert_eq!(short(&"é".repeat(17)), "é".repeat(15) + "…");
        assert_eq!([columns("a猫é"), columns("e\u{301}"), columns("·▒")], [4, 1, 2]);
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escaped("</s> & \"<tspan>\""), "&lt;/s&gt; &amp; &quot;&lt;tspan&gt;&quot;");
    }
}
