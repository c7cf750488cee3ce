//! Conditions: graphs within a graph that run, or run again, by a value that kernels set.
//!
//! *How.* The handle of a condition is the address of its value. Kernels set it by a function that the driver brings: a module that
//! declares [`FUNCTION`] is joined by [`TEXT`], which stores. A conditional node is a call between two pieces of work, like that of a
//! function of the program: the thread of calls looks at the value, puts the graph that it means on a stream that the node has for
//! itself, and lets the node's stream go on when that is over.
//!
//! *Places.* A value is never given back while its context lives, only reused: a kernel that sets it too late writes to nobody else's memory.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::context::Context;
use crate::exec::Exec;
use crate::exec::Tracks;
use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::generated::enums::CUgraphConditionalNodeType as Kind;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUgraph;
use crate::graph::Child;
use crate::lane::Lane;
use crate::types::Answer;
use crate::work::Work;

/// What kernels set a value with.
pub const FUNCTION: &[u8] = b"cudaGraphSetConditional";
/// The function.
pub const TEXT: &[u8] = b".version 6.0
.target sm_30
.address_size 64
.visible .func cudaGraphSetConditional(.param .b64 place, .param .b32 value)
{
    .reg .b64 %rd<2>;
    .reg .b32 %r<2>;
    ld.param.b64 %rd1, [place];
    ld.param.b32 %r1, [value];
    st.global.b32 [%rd1], %r1;
    ret;
}
";
/// Graphs of one node.
const MOST_BODIES: u32 = 4096;

static CONDITIONS: Mutex<BTreeMap<u64, Weak<Condition>>> = Mutex::new(BTreeMap::new());

/// Whether a module declares the function and does not bring it.
#[must_use]
pub fn is_wanted(text: &[u8]) -> bool {
    let ends = |text: &[u8], word: &[u8]| text.strip_suffix(word).map(|rest| rest.trim_ascii_end().len());
    let mut places = text.windows(FUNCTION.len()).enumerate().filter(|(_, word)| *word == FUNCTION);
    places.any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default().trim_ascii_end();
        let before = ends(before, b".func").and_then(|len| before.get(..len));
        before.is_some_and(|before| before.ends_with(b".extern"))
    })
}

/// A value that decides.
#[derive(Debug)]
pub struct Condition {
    context: Arc<Context>,
    /// Where the value is: the handle.
    pub address: u64,
    /// The graph whose node it decides for.
    pub graph: u64,
    /// What it is at the begin of each launch.
    default: Option<u32>,
    is_used: AtomicBool,
}

impl Condition {
    /// A value for a node of a graph.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn new(context: &Arc<Context>, graph: u64, default: Option<u32>) -> Answer<Arc<Self>> {
        let address = context.take_value()?;
        memory::write(Address(address as usize), &[0; 4]);
        let is_used = AtomicBool::new(false);
        let made = Arc::new(Self { context: Arc::clone(context), address, graph, default, is_used });
        CONDITIONS.lock().insert(address, Arc::downgrade(&made));
        Ok(made)
    }

    /// The value with a handle, for the one node that may use it.
    ///
    /// # Errors
    /// Invalid value when there is none, or a node has it.
    pub fn claim(handle: u64) -> Answer<Arc<Self>> {
        let found = CONDITIONS.lock().get(&handle).and_then(Weak::upgrade);
        let found = found.ok_or(CUresult::ERROR_INVALID_VALUE)?;
        if found.is_used.swap(true, Ordering::Relaxed) {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        Ok(found)
    }

    /// What a launch begins with.
    #[must_use]
    pub fn reset(&self) -> Option<Work> {
        Some(Work::WriteValue(self.address, 4, u64::from(self.default?)))
    }

    fn value(&self) -> u32 {
        let bytes = memory::read(Address(self.address as usize), 4);
        bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        CONDITIONS.lock().remove(&self.address);
        self.context.give_value(self.address);
    }
}

/// A conditional node, as the program said it.
#[derive(Debug)]
pub struct Conditional {
    /// What decides.
    pub condition: Arc<Condition>,
    /// How.
    pub kind: Kind,
    /// The graphs.
    pub bodies: Vec<Child>,
    /// Their names, where the program finds them.
    pub names: Vec<CUgraph>,
}

impl Conditional {
    /// A node with empty graphs.
    ///
    /// # Errors
    /// Invalid value for a kind or a number of graphs that is none; out of memory.
    pub fn new(handle: u64, kind: Kind, size: u32) -> Answer<Arc<Self>> {
        let is_right = match kind {
            Kind::IF => (1..=2).contains(&size),
            Kind::WHILE => size == 1,
            Kind::SWITCH => (1..=MOST_BODIES).contains(&size),
            _ => false,
        };
        if !is_right {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        let bodies = (0..size).map(|_| Child::empty()).collect::<Answer<Vec<_>>>()?;
        let names = bodies.iter().map(|body| body.name).collect();
        Ok(Arc::new(Self { condition: Condition::claim(handle)?, kind, bodies, names }))
    }
}

/// Whether a call looks at the value for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The node's turn has come.
    First,
    /// What it has run is over.
    After,
}

/// A conditional node that can be launched.
#[derive(Debug)]
pub struct Branches {
    condition: Arc<Condition>,
    kind: Kind,
    bodies: Vec<Arc<Exec>>,
    /// The stream that they run on.
    tracks: Mutex<Option<Tracks>>,
}

impl Branches {
    /// Of a node as it is now.
    ///
    /// # Errors
    /// Invalid value for a cycle; not supported for a step that cannot be conditional.
    pub fn of(node: &Conditional) -> Answer<Arc<Self>> {
        let bodies = node.bodies.iter().map(|body| {
            let exec = Exec::new(&body.graph, 0)?;
            if exec.can_be_conditional() { Ok(Arc::new(exec)) } else { Err(CUresult::ERROR_NOT_SUPPORTED) }
        });
        let bodies = bodies.collect::<Answer<Vec<_>>>()?;
        let condition = Arc::clone(&node.condition);
        Ok(Arc::new(Self { condition, kind: node.kind, bodies, tracks: Mutex::default() }))
    }

    /// The graphs.
    #[must_use]
    pub fn bodies(&self) -> &[Arc<Exec>] {
        &self.bodies
    }

    /// Puts what the value means on the node's own stream. Answers what is to be waited for then; nothing: the node is over.
    ///
    /// # Errors
    /// As of a launch.
    pub fn advance(&self, turn: Turn) -> Answer<Option<(Arc<Lane>, u64)>> {
        if turn == Turn::After && self.kind != Kind::WHILE {
            return Ok(None);
        }
        let value = self.condition.value() as usize;
        let body = match self.kind {
            Kind::SWITCH => self.bodies.get(value),
            _ if value != 0 => self.bodies.first(),
            Kind::IF => self.bodies.get(1),
            _ => None,
        };
        let Some(body) = body else { return Ok(None) };
        let context = &self.condition.context;
        let lane = {
            let mut tracks = self.tracks.lock();
            let tracks = match &mut *tracks {
                Some(tracks) => tracks,
                none => none.insert(Tracks::take(context, 1)?),
            };
            Arc::clone(tracks.lanes.first().ok_or(CUresult::ERROR_UNKNOWN)?)
        };
        body.launch(context, &lane)?;
        Ok(Some((Arc::clone(&lane), lane.last())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_is_brought_where_it_is_declared_and_not_where_it_is_defined_or_only_named() {
        for wanted in [
            &b".extern .func cudaGraphSetConditional(.param .b64 a, .param .b32 b);"[..],
            b".extern .func \ncudaGraphSetConditional\n(",
            b"// cudaGraphSetConditional\n.extern\t.func  cudaGraphSetConditional (",
        ] {
            assert!(is_wanted(wanted), "{}", String::from_utf8_lossy(wanted));
        }
        for unwanted in [
            &b".visible .func cudaGraphSetConditional(.param .b64 a, .param .b32 b) { ret; }"[..],
            b"call cudaGraphSetConditional, (a, b);",
            b"",
        ] {
            assert!(!is_wanted(unwanted));
        }
        assert!(!is_wanted(TEXT));
    }
}
