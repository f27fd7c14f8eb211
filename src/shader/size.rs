//! Whether a shader's text is of a size that compilers are made for: they call themselves once for every term of a sum, every
//! `else` and every function that calls another, until the stack is used up and the process ends.

/// Bytes of a shader with all that it imports.
const LONGEST: usize = 1 << 16;
/// Bytes between two of `;`, `{` and `}`.
const LONGEST_STATEMENT: usize = 2048;
/// Words of each of [`DEEP`] in a shader.
const MOST: usize = 300;
/// What begins something that may be within another, or use it.
const DEEP: [&str; 6] = ["else", "fn", "const", "override", "struct", "alias"];

/// The byte at which it becomes too much, and what.
pub(super) fn excess(text: &str) -> Option<(usize, String)> {
    if text.len() > LONGEST {
        return Some((0, format!("{} bytes with its imports, at most {LONGEST} are read", text.len())));
    }
    let bytes = text.as_bytes();
    let (mut at, mut statement, mut counts) = (0, 0, [0; DEEP.len()]);
    while at < bytes.len() {
        match bytes[at] {
            b'/' if text[at..].starts_with("//") => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            b'/' if text[at..].starts_with("/*") => {
                at += comment(&bytes[at..]);
                continue;
            }
            b';' | b'{' | b'}' => statement = 0,
            c if c.is_ascii_whitespace() => {}
            c if c.is_ascii_alphabetic() => {
                let ends = |c: &u8| !(c.is_ascii_alphanumeric() || *c == b'_' || !c.is_ascii());
                let length = bytes[at..].iter().position(ends).unwrap_or(bytes.len() - at);
                let word = &text[at..at + length];
                if let Some(i) = DEEP.iter().position(|deep| *deep == word) {
                    counts[i] += 1;
                    if counts[i] > MOST {
                        return Some((at, format!("more than {MOST} times {word}, which compilers may not survive")));
                    }
                }
                (at, statement) = (at + length, statement + length);
                if statement <= LONGEST_STATEMENT {
                    continue;
                }
            }
            _ => statement += 1,
        }
        if statement > LONGEST_STATEMENT {
            let what = format!("a statement of more than {LONGEST_STATEMENT} bytes, which compilers may not survive");
            let within = (0..=at.min(bytes.len() - 1)).rev().find(|&at| text.is_char_boundary(at));
            return Some((within.unwrap_or(0), what));
        }
        at += 1;
    }
    None
}

/// Length of the comment that a text begins with; others may be in it.
fn comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}
