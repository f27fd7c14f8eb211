//! Words on their way to a sentence.

/// The words of a sentence, in order.
#[derive(Debug, Default)]
pub struct Words(pub Vec<String>);

impl Words {
    /// Appends the words of a text.
    pub fn push(&mut self, text: &str) {
        self.0.extend(text.split(' ').filter(|word| !word.is_empty()).map(String::from));
    }

    /// Appends other words.
    pub fn append(&mut self, mut words: Words) {
        self.0.append(&mut words.0);
    }

    /// Writes right behind the last word.
    pub fn suffix(&mut self, text: &str) {
        if let Some(last) = self.0.last_mut() {
            last.push_str(text);
        }
    }
}

/// The text with a capital letter and its final mark.
pub fn finish(text: &str, mark: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}{mark}", letters.as_str())
}
