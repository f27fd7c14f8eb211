//! The character CNN (Kim et al. 2016): convolutions of several widths over characters, highway layers, a projection. An
//! input layer, in the place of a table of tokens.

use super::spelling::{CHARS, LONGEST};
use crate::graph::{Graph, Value};
use crate::models::Tokens;
use crate::ops::conv1d::Window;
use crate::ops::matmul::Activation;
use crate::parameters::{Declaration, Init, Weights};
use crate::recipe::{self, Pool};

/// Sizes of a character CNN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharCnn {
    /// How many characters are known.
    pub chars: usize,
    /// Width of a character's embedding, E.
    pub embedding: usize,
    /// Characters that a convolution sees, one for each convolution.
    pub widths: Vec<usize>,
    /// Channels that each of them gives, as many as there are widths. D is all of them together. Multiples of four are
    /// computed fastest.
    pub filters: Vec<usize>,
    /// Highway layers.
    pub highway: usize,
    /// Width of the model that reads the result, C.
    pub out: usize,
    /// Whether it reads a sequence of characters, or words by their spelling.
    pub pool: Pool,
}

/// Where the gates of highway layers start: at first they mostly carry.
const CARRY: f32 = -2.0;

impl CharCnn {
    /// That of a recipe, for a source of so many tokens, before a model of this width.
    pub fn new(c: &recipe::CharCnn, tokens: usize, out: usize) -> CharCnn {
        let recipe::CharCnn { widths, filters, highway, embedding, pool } = c.clone();
        let chars = if pool == Pool::Word { CHARS } else { tokens };
        CharCnn { chars, embedding, widths, filters, highway, out, pool }
    }

    /// Elements that the widest value between two operations has at a token: channels, or windows of embeddings, of each
    /// character that it has.
    pub fn widest(&self) -> usize {
        let window = self.embedding * self.widths.iter().max().expect("a width");
        match self.pool {
            Pool::None => self.channels().max(window),
            Pool::Word => LONGEST * self.filters.iter().copied().max().expect("a width").max(window),
        }
    }

    /// D: channels of all convolutions.
    pub fn channels(&self) -> usize {
        self.filters.iter().sum()
    }

    /// Every parameter. Convolutions have PyTorch's weights (C_out, C_in, K), linear layers (out, in).
    ///
    /// # Panics
    ///
    /// If there are not as many filters as widths.
    pub fn declarations(&self) -> Vec<Declaration> {
        assert_eq!(self.widths.len(), self.filters.len(), "filters for every width");
        let mut all = vec![];
        let mut declare = |name: String, dims: &[usize], init| {
            all.push(Declaration { name: format!("char_cnn.{name}"), dims: dims.into(), init })
        };
        let e = self.embedding;
        declare("embedding.weight".into(), &[self.chars, e], Init::Normal((e as f64).powf(-0.5)));
        let mut layer = |name: String, dims: &[usize], bias| {
            declare(format!("{name}.weight"), dims, Init::Xavier);
            declare(format!("{name}.bias"), &dims[..1], Init::Constant(bias));
        };
        for (i, (&width, &filters)) in self.widths.iter().zip(&self.filters).enumerate() {
            layer(format!("convolutions.{i}"), &[filters, e, width], 0.0);
        }
        let d = self.channels();
        for i in 0..self.highway {
            layer(format!("highway.{i}.hidden"), &[d, d], 0.0);
            layer(format!("highway.{i}.transform"), &[d, d], CARRY);
        }
        layer("projection".into(), &[self.out, d], 0.0);
        all
    }

    /// A vector for every token of the source (B, S, C), which is a character, or a word of several.
    pub fn read(&self, g: &mut Graph, w: &Weights, source: Tokens) -> Value {
        match self.pool {
            Pool::None => self.sequence(g, w, source),
            Pool::Word => self.words(g, w, source),
        }
    }

    /// A vector for every word (B, T, C), of its characters: ids (B, T, L), as many of each word as its letters (B·T)
    /// say. Convolutions keep a word's length, with zeros around it; then tanh, and the maximum over the word. A word of
    /// no characters, which is padding, is all zeros.
    ///
    /// # Panics
    ///
    /// If the tokens are no words.
    pub fn words(&self, g: &mut Graph, w: &Weights, words: Tokens) -> Value {
        let [b, t, l] = g.ty(words.ids).dims[..] else { panic!("characters of words are (B, T, L)") };
        let letters = words.letters.expect("words have letters");
        g.scoped("char_cnn", |g| {
            let x = self.embed(g, w, words);
            let x = g.reshape(x, &[b * t, l, self.embedding]);
            let y = self.pooled(g, w, x, letters);
            g.reshape(y, &[b, t, self.out])
        })
    }

    /// A vector for every word (N, 1, C) of its characters' (N, L, E), as many as its length (N) says.
    fn pooled(&self, g: &mut Graph, w: &Weights, x: Value, lengths: Value) -> Value {
        let words = g.ty(x).dims[0];
        // What does not fall has its maximum where its argument has it: bias and tanh can wait until few are left.
        let pooled = self.convolutions(g, w, |g, window, weight, bias| {
            let y = g.convolve(x, weight, None, lengths, window, Activation::None);
            let y = g.max_pool(y, lengths);
            g.bias(y, bias)
        });
        let y = g.tanh(pooled);
        let y = self.project(g, w, y);
        let y = g.reshape(y, &[words, 1, self.out]);
        g.length_mask(y, lengths)
    }

    /// A vector for every character (B, T, C): ids (B, T), lengths (B). Convolutions keep the length, with zeros around a
    /// row, and end in ReLU. What is beyond a row's length is zero.
    pub fn sequence(&self, g: &mut Graph, w: &Weights, chars: Tokens) -> Value {
        g.scoped("char_cnn", |g| {
            let x = self.embed(g, w, chars);
            let y = self.convolutions(g, w, |g, window, weight, bias| {
                g.convolve(x, weight, Some(bias), chars.lengths, window, Activation::Relu)
            });
            let y = self.project(g, w, y);
            g.length_mask(y, chars.lengths)
        })
    }

    fn embed(&self, g: &mut Graph, w: &Weights, chars: Tokens) -> Value {
        g.embedding(chars.ids, w.get("char_cnn.embedding.weight"), chars.by_token, 1.0)
    }

    /// What `one` makes of each convolution's window, weight and bias, side by side.
    fn convolutions(
        &self,
        g: &mut Graph,
        w: &Weights,
        one: impl Fn(&mut Graph, Window, Value, Value) -> Value,
    ) -> Value {
        let parts: Vec<Value> = (0..self.widths.len())
            .map(|i| {
                let name = format!("convolutions.{i}");
                let [weight, bias] = ["weight", "bias"].map(|part| w.get(&format!("char_cnn.{name}.{part}")));
                g.scoped(&name, |g| one(g, Window::same(self.widths[i]), weight, bias))
            })
            .collect();
        let join = |a, &b: &Value| g.concat_columns(a, b);
        parts[1..].iter().fold(parts[0], join)
    }

    /// The highway layers and the projection of x (..., D).
    fn project(&self, g: &mut Graph, w: &Weights, mut x: Value) -> Value {
        let linear = |g: &mut Graph, x: Value, name: &str| {
            let [weight, bias] = ["weight", "bias"].map(|part| w.get(&format!("char_cnn.{name}.{part}")));
            g.linear(x, weight, Some(bias), Activation::None)
        };
        for i in 0..self.highway {
            let name = format!("highway.{i}");
            x = g.scoped(&name, |g| {
                let h = linear(g, x, &format!("{name}.hidden"));
                let t = linear(g, x, &format!("{name}.transform"));
                g.highway(x, h, t)
            });
        }
        g.scoped("projection", |g| linear(g, x, "projection"))
    }
}
