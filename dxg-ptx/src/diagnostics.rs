//! What is wrong with a module, and where.

use std::fmt;

use crate::ir::Place;

/// How a module fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiagnosticKind {
    /// It is not PTX.
    Malformed,
    /// It is PTX, of a feature that is not supported.
    Unsupported,
    /// Its `.version` is beyond what is known.
    UnsupportedVersion,
    /// A symbol is not defined, or defined twice.
    Unresolved,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// How.
    pub kind: DiagnosticKind,
    /// What, without the place.
    pub message: String,
}

impl Diagnostic {
    /// Not PTX.
    pub(crate) fn malformed(place: Place, message: impl Into<String>) -> Self {
        Self { place, kind: DiagnosticKind::Malformed, message: message.into() }
    }

    /// Not supported.
    pub(crate) fn unsupported(place: Place, message: impl Into<String>) -> Self {
        Self { place, kind: DiagnosticKind::Unsupported, message: message.into() }
    }

    /// A symbol is missing.
    pub(crate) fn unresolved(place: Place, message: impl Into<String>) -> Self {
        Self { place, kind: DiagnosticKind::Unresolved, message: message.into() }
    }
}

/// All that is wrong with a module: never empty, in the order of the text, and not more than fits a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// The name of the module, as its caller calls it.
    pub name: String,
    /// What is wrong.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// After so many the rest of a text is not read.
    pub(crate) const MOST: usize = 20;

    pub(crate) fn one(name: &str, diagnostic: Diagnostic) -> Self {
        Self { name: name.to_owned(), list: vec![diagnostic] }
    }

    /// What the module fails with: text that is not PTX counts before what is not supported.
    #[must_use]
    pub fn kind(&self) -> DiagnosticKind {
        let has = |kind| self.list.iter().any(|diagnostic| diagnostic.kind == kind);
        [DiagnosticKind::UnsupportedVersion, DiagnosticKind::Malformed, DiagnosticKind::Unsupported]
            .into_iter()
            .find(|&kind| has(kind))
            .unwrap_or(DiagnosticKind::Unresolved)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}, ", self.name)?;
            if diagnostic.place.line > 0 {
                write!(f, "{}: ", diagnostic.place)?;
            }
            f.write_str(&diagnostic.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
