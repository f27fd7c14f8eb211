//! The keys' values that are one name of several.

use super::table::choices;

choices! {
    /// The architectures.
    ModelKind {
        /// Encoder and decoder of Vaswani et al. 2017, "Attention Is All You Need".
        Transformer = "transformer",
        /// The decoder alone, pre-norm, as a language model (Radford et al. 2019, GPT-2).
        Gpt = "gpt",
        /// Encoder and decoder of recurrent cells (Sutskever et al. 2014), with attention or without.
        Seq2Seq = "seq2seq",
    }
    /// What a recurrent layer computes at every time.
    Cell {
        /// Long short-term memory (Hochreiter and Schmidhuber 1997): gates i, f, g and o, and a cell beside the state.
        Lstm = "lstm",
        /// The gated recurrent unit (Cho et al. 2014): gates r, z and n.
        Gru = "gru",
        /// tanh of two products (Elman 1990).
        Rnn = "rnn",
    }
    /// How a recurrent decoder looks at the states of its encoder.
    Attention {
        /// Not at all: it has the last state.
        None = "none",
        /// v tanh(W s + U h) with the state before a step, whose input the context joins (Bahdanau et al. 2015).
        Bahdanau = "bahdanau",
        /// s h with the state after a step, whose output the context joins (Luong et al. 2015).
        Dot = "dot",
        /// s W h, likewise.
        General = "general",
    }
    /// Where a recurrent decoder without attention meets the context vector.
    ContextUse {
        /// Its first state is made of it.
        First = "first",
        /// And it joins the input and the output of every step (Cho et al. 2014).
        Every = "every",
    }
    /// What becomes of the characters behind the convolutions of a character CNN.
    Pool {
        /// They stay, with a vector each.
        None = "none",
        /// The largest over a word's characters: one vector a word.
        Word = "word",
    }
    /// Where the layer norms are.
    Norm {
        /// After each residual connection, as in the paper.
        Post = "post",
        /// Before each sublayer, inside the residual connection, and once more behind the last one.
        Pre = "pre",
    }
    /// What is between the two projections of a feed-forward layer.
    Activation {
        /// max(0, x).
        Relu = "relu",
        /// x Phi(x) with the error function (Hendrycks and Gimpel 2016).
        Gelu = "gelu",
        /// Its approximation with tanh.
        GeluNew = "gelu_new",
    }
    /// How a position is told to the network.
    Positions {
        /// The paper's sines and cosines, interleaved, added to the embeddings.
        Sinusoidal = "sinusoidal",
        /// The same numbers in Marian's order: the sines in the first half of the columns, the cosines in the second.
        SinusoidalSplit = "sinusoidal_split",
        /// A vector per position, a parameter, added to the embeddings.
        Learned = "learned",
        /// Queries and keys of self-attention turned by an angle that grows with the position (Su et al. 2021).
        Rotary = "rotary",
    }
    /// How weights start.
    Init {
        /// Xavier-uniform projections, embeddings and learned positions from N(0, d_model^-0.5), biases 0.
        Xavier = "xavier",
        /// Matrices from N(0, 0.02), those before a residual connection divided by the root of how many there are.
        Gpt2 = "gpt2",
        /// Everything, biases too, from -range to range, as PyTorch's recurrent layers.
        Uniform = "uniform",
    }
    /// What long hypotheses of a beam are forgiven.
    Penalty {
        /// ((5 + length) / 6)^alpha (Wu et al. 2016).
        Gnmt = "gnmt",
        /// length^alpha, as transformers has it.
        Power = "power",
    }
    /// The corpora inside the program.
    Builtin {
        /// None: the data comes from files.
        None = "",
        /// Everyday phrases and their translations.
        Phrasebook = "phrasebook",
        /// Ten symbols from 1 to 10, the first a 1, to be given back.
        Copy = "copy",
        /// Two numbers below 100 and the digits of their sum, the last first.
        Addition = "addition",
        /// Six digits 0, 1 and 2, to be put in order.
        Sort = "sort",
        /// Numbers below 50, to be written from the last to the first.
        Reverse = "reverse",
        /// Sentences whose verb must agree with a noun 1 to 40 words back.
        Agreement = "agreement",
    }
    /// How text becomes tokens.
    TokenizerKind {
        /// Byte-pair encoding, learned from the training text (Sennrich et al. 2016).
        Bpe = "bpe",
        /// One token per character.
        Char = "char",
        /// One token per word and per punctuation mark.
        Word = "word",
    }
    /// How gradients become steps.
    Optimizer {
        /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
        AdamW = "adamw",
        /// Adam, weight decay added to the gradient (Kingma and Ba 2015).
        Adam = "adam",
        /// Gradient descent with momentum.
        Sgd = "sgd",
    }
    /// How the learning rate changes with the step; [`learning_rate`](super::learning_rate) has the formulas.
    Schedule {
        /// Warm-up to `lr`, then with the inverse square root of the step.
        InverseSqrt = "inverse_sqrt",
        /// The paper's: as `inverse_sqrt`, with `lr` a factor before d_model^-0.5.
        Noam = "noam",
        /// Warm-up to `lr`, then `lr`.
        Constant = "constant",
        /// Warm-up to `lr`, then half a cosine down to `min_lr` at the last step.
        Cosine = "cosine",
        /// Warm-up to `lr`, then a straight line down to `min_lr` at the last step.
        Linear = "linear",
        /// Warm-up to `lr`, then `lr` (stable), and over the last fifth of the steps a line down to `min_lr` (decay).
        Wsd = "wsd",
        /// Warm-up to `lr`, then `lr`, lowered whenever the validation loss stops falling.
        Plateau = "plateau",
    }
}
