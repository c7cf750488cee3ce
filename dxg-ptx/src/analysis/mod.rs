//! What is true of a function, and rewrites that make it simpler without changing what it does.
//!
//! *Why.* Executors that compile want few calls, few variables in memory and no address computations; they also want to know
//! which registers live where. The interpreter needs none of this and runs a module as it was parsed.

pub mod flow;
pub mod fold;
pub mod guards;
pub mod inline;
pub mod liveness;
pub mod promote;
pub mod spaces;
pub mod uniform;
pub mod visit;
