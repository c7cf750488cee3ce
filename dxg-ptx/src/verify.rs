//! Checks of a module.

use crate::ir::Module;
use crate::ir::Place;

/// What is wrong with a module of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}

/// Checks a module.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(module: &Module) -> Result<(), Problem> {
    let _ = module;
    Ok(())
}
