//! [`ErrorHint`]: the remedy of an error, apart from its text. Error types of the library implement it; whether and how a
//! remedy is shown is left to the program that shows the error.

use std::borrow::Cow;
use std::error::Error;

/// An error that may know its remedy.
pub trait ErrorHint: Error {
    /// The advice for the person who meets the error, in the imperative and without a full stop. It speaks of keys, files and
    /// variables, as a program that uses the library need not have options.
    fn hint(&self) -> Option<Cow<'_, str>>;

    /// The error with its remedy as one text, for a place that has no room of its own for the remedy: the result of a
    /// tool, a warning, a log.
    fn with_hint(&self) -> String {
        let text = self.to_string();
        match self.hint() {
            Some(hint) if text.contains('\n') => format!("{text}\n{hint}"),
            Some(hint) => format!("{text}; {hint}"),
            None => text,
        }
    }
}
