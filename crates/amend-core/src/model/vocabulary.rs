//! A model's vocabulary, for those who count tokens without running the model.

/// The vocabulary of a model, without its weights.
pub trait Vocabulary {
    /// The tokens of a text, with none added. Control tokens in the text are parsed, as
    /// trainers do.
    fn encode(&self, text: &str) -> Vec<i32>;

    /// The texts of the control tokens.
    fn control_tokens(&self) -> Vec<String>;

    /// The chat template, if there is one, and the texts of the tokens that begin and
    /// end a sequence, empty where the vocabulary has none.
    fn chat_template(&self) -> Option<(String, String, String)>;
}
