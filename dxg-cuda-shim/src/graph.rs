//! Graphs: steps with an order, to be launched many times.
//!
//! *Why here.* A launch puts the steps on streams, which wait for each other as the edges say: the host needs to know nothing of graphs.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::arena::Kind;
use crate::condition::Condition;
use crate::condition::Conditional;
use crate::condition::Turn;
use crate::context::Context;
use crate::context::Posting;
use crate::generated::enums::CUgraphNodeType;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUevent;
use crate::generated::handles::CUexternalSemaphore;
use crate::generated::handles::CUfunction;
use crate::generated::handles::CUgraph;
use crate::generated::handles::CUgraphNode;
use crate::generated::structs::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS;
use crate::generated::structs::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS;
use crate::generated::structs::CUDA_HOST_NODE_PARAMS;
use crate::generated::structs::CUDA_MEMCPY3D;
use crate::generated::structs::CUDA_MEMSET_NODE_PARAMS_v2;
use crate::generated::structs::CUstreamBatchMemOpParams;
use crate::lane::Lane;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;
use crate::types::CUlaunchAttributeValue;
use crate::user_object::Held;
use crate::work::Work;

/// Numbers of graphs, launchable or not.
pub(crate) static IDS: AtomicU64 = AtomicU64::new(1);

/// What a program said of a node, for it to ask.
#[derive(Clone, Debug)]
pub enum Params {
    /// A kernel: the function as the program named it, and its context.
    Kernel(CUfunction, CUcontext),
    /// A copy.
    Memcpy(Box<CUDA_MEMCPY3D>),
    /// A fill.
    Memset(CUDA_MEMSET_NODE_PARAMS_v2),
    /// A function of the program.
    Host(CUDA_HOST_NODE_PARAMS),
    /// A graph.
    Child(Arc<Child>),
    /// Nothing.
    Empty,
    /// Records an event.
    Record(CUevent),
    /// Waits for an event.
    Wait(CUevent),
    /// Raises semaphores.
    Signal(Arc<Semaphores<CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS>>),
    /// Waits for semaphores.
    Await(Arc<Semaphores<CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS>>),
    /// Allocates: address and bytes.
    Alloc(u64, u64),
    /// Frees an address.
    Free(u64),
    /// Waits and writes in memory.
    Values(CUcontext, Arc<[CUstreamBatchMemOpParams]>),
    /// Graphs that run by a value.
    Conditional(Arc<Conditional>),
}

impl Params {
    /// The kind of node.
    #[must_use]
    pub fn kind(&self) -> CUgraphNodeType {
        match self {
            Self::Kernel(..) => CUgraphNodeType::KERNEL,
            Self::Memcpy(_) => CUgraphNodeType::MEMCPY,
            Self::Memset(_) => CUgraphNodeType::MEMSET,
            Self::Host(_) => CUgraphNodeType::HOST,
            Self::Child(_) => CUgraphNodeType::GRAPH,
            Self::Empty => CUgraphNodeType::EMPTY,
            Self::Record(_) => CUgraphNodeType::EVENT_RECORD,
            Self::Wait(_) => CUgraphNodeType::WAIT_EVENT,
            Self::Signal(_) => CUgraphNodeType::EXT_SEMAS_SIGNAL,
            Self::Await(_) => CUgraphNodeType::EXT_SEMAS_WAIT,
            Self::Alloc(..) => CUgraphNodeType::MEM_ALLOC,
            Self::Free(_) => CUgraphNodeType::MEM_FREE,
            Self::Values(..) => CUgraphNodeType::BATCH_MEM_OP,
            Self::Conditional(_) => CUgraphNodeType::CONDITIONAL,
        }
    }
}

/// Semaphores, and what is done with each, as the program said it.
#[derive(Debug)]
pub struct Semaphores<T> {
    /// Their names.
    pub names: Vec<CUexternalSemaphore>,
    /// What is done.
    pub params: Vec<T>,
}

/// A graph within a graph, which has a name of its own for as long as its node is there.
#[derive(Debug)]
pub struct Child {
    /// Its name.
    pub name: CUgraph,
    /// The graph.
    pub graph: Arc<Graph>,
}

impl Child {
    /// A copy of a graph.
    ///
    /// # Errors
    /// Out of memory.
    pub fn of(graph: &Graph) -> Answer<Arc<Self>> {
        Ok(Arc::new(Self::named(graph.duplicate()?)?))
    }

    /// A graph without nodes.
    ///
    /// # Errors
    /// Out of memory.
    pub fn empty() -> Answer<Self> {
        Self::named(Arc::new(Graph::default()))
    }

    fn named(graph: Arc<Graph>) -> Answer<Self> {
        let name = tables::GRAPHS.insert(Arc::clone(&graph))?;
        Ok(Self { name, graph })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A program that destroyed it was wrong, and nothing worse.
        let _ = tables::GRAPHS.remove(self.name);
    }
}

/// Memory that belongs to a graph.
#[derive(Debug)]
pub struct GraphMemory {
    /// Whose it is.
    pub context: Arc<Context>,
    /// Where.
    pub address: u64,
}

impl Drop for GraphMemory {
    fn drop(&mut self) {
        if !self.context.is_destroyed() {
            let _ = self.context.synchronize_all();
            // A program may have freed it itself.
            let _ = self.context.arena.free(&self.context.ring, self.address, &[Kind::Graph]);
        }
    }
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: CUgraphNode,
    /// What it does.
    pub step: Step,
    /// What the program said.
    pub params: Params,
    /// What comes before.
    pub before: Vec<usize>,
    /// Parameter pointers that were handed out.
    pub pointers: Option<Arc<[usize]>>,
    /// Attributes of a kernel that are only wishes.
    pub attributes: Vec<(i32, CUlaunchAttributeValue)>,
    /// Memory that goes with it.
    pub memory: Option<Arc<GraphMemory>>,
    /// Which node of the original this one was cloned from.
    pub original: usize,
}

/// A graph.
#[derive(Debug)]
pub struct Graph {
    /// A number of its own.
    pub id: u64,
    /// The number of the graph that it was cloned from.
    pub origin: u64,
    /// The nodes; those that were destroyed leave a hole.
    pub nodes: Mutex<Vec<Option<Node>>>,
    /// Things of the program that must stay as long as the graph.
    pub held: Held,
    /// Values that decide for nodes.
    pub conditions: Mutex<Vec<Arc<Condition>>>,
}

/// A node by its graph.
#[derive(Debug)]
pub struct NodeRef {
    /// The graph.
    pub graph: Weak<Graph>,
    /// The place in it.
    pub index: usize,
}

impl NodeRef {
    /// The graph, if it is still there.
    ///
    /// # Errors
    /// Invalid handle.
    pub fn graph(&self) -> Answer<Arc<Graph>> {
        self.graph.upgrade().ok_or(CUresult::ERROR_INVALID_HANDLE)
    }

    /// Does something with the node.
    ///
    /// # Errors
    /// Invalid handle; what `run` answers.
    pub fn with<R>(&self, run: impl FnOnce(&mut Node) -> Answer<R>) -> Answer<R> {
        let graph = self.graph()?;
        let mut nodes = graph.nodes.lock();
        let node = nodes.get_mut(self.index).and_then(Option::as_mut);
        run(node.ok_or(CUresult::ERROR_INVALID_HANDLE)?)
    }
}

impl Default for Graph {
    fn default() -> Self {
        Self::cloned(0, Held::default())
    }
}

impl Graph {
    fn cloned(origin: u64, held: Held) -> Self {
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Self { id, origin, nodes: Mutex::default(), held, conditions: Mutex::default() }
    }
}

impl Graph {
    /// Adds a node behind others of the same graph.
    ///
    /// # Errors
    /// Invalid value for an index that is none.
    pub fn add(
        self: &Arc<Self>,
        step: Step,
        params: Params,
        before: Vec<usize>,
    ) -> Answer<(CUgraphNode, usize)> {
        let mut nodes = self.nodes.lock();
        if before.iter().any(|index| nodes.get(*index).is_none_or(Option::is_none)) {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        let index = nodes.len();
        let name = tables::NODES.insert(Arc::new(NodeRef { graph: Arc::downgrade(self), index }))?;
        nodes.push(Some(Node {
            name,
            step,
            params,
            before,
            pointers: None,
            attributes: Vec::new(),
            memory: None,
            original: index,
        }));
        Ok((name, index))
    }

    /// Places of the nodes with these names.
    ///
    /// # Errors
    /// Invalid value for a node of another graph.
    pub fn places(self: &Arc<Self>, names: &[CUgraphNode]) -> Answer<Vec<usize>> {
        names
            .iter()
            .map(|name| {
                let node = tables::NODES.find(*name).ok_or(CUresult::ERROR_INVALID_VALUE)?;
                let is_ours = node.graph.upgrade().is_some_and(|graph| Arc::ptr_eq(&graph, self));
                if is_ours { Ok(node.index) } else { Err(CUresult::ERROR_INVALID_VALUE) }
            })
            .collect()
    }

    /// Removes a node; what came after it does so no more.
    pub fn remove(&self, index: usize) {
        let mut nodes = self.nodes.lock();
        let removed = nodes.get_mut(index).and_then(Option::take);
        for node in nodes.iter_mut().flatten() {
            node.before.retain(|before| *before != index);
        }
        drop(nodes);
        if let Some(removed) = removed {
            let _ = tables::NODES.remove(removed.name);
        }
    }

    /// A copy with nodes of its own.
    ///
    /// # Errors
    /// Out of memory; not supported with conditional nodes, whose values belong to the original.
    pub fn duplicate(&self) -> Answer<Arc<Self>> {
        let copy = Arc::new(Self::cloned(self.id, self.held.duplicate()));
        let nodes = self.nodes.lock();
        let mut copied = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            copied.push(match node {
                None => None,
                Some(node) => {
                    let name = NodeRef { graph: Arc::downgrade(&copy), index };
                    let name = tables::NODES.insert(Arc::new(name))?;
                    let node = node.clone();
                    let params = match node.params {
                        Params::Child(child) => Params::Child(Child::of(&child.graph)?),
                        Params::Conditional(_) => return Err(CUresult::ERROR_NOT_SUPPORTED),
                        other => other,
                    };
                    Some(Node { name, params, pointers: None, original: index, ..node })
                }
            });
        }
        *copy.nodes.lock() = copied;
        Ok(copy)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        for node in self.nodes.get_mut().iter().flatten() {
            let _ = tables::NODES.remove(node.name);
        }
    }
}

/// Whether a step is nothing but work for the host.
pub(crate) fn is_work(step: &Step) -> bool {
    !matches!(
        step,
        Step::HostCopy(_)
            | Step::Host(_)
            | Step::Record(_)
            | Step::Wait(_)
            | Step::Graph(_)
            | Step::Branch(_)
    )
}

/// Puts a step that is nothing but work for the host on a stream.
pub(crate) fn post(posting: &mut Posting<'_>, lane: &Arc<Lane>, step: &Step) -> Answer {
    match step {
        Step::Launch(launch) => posting.launch(lane, launch),
        Step::Copy(copy) => posting.put(
            lane,
            &match copy.as_line() {
                Some(bytes) => Work::Copy(copy.to[0], copy.from[0], bytes),
                None => Work::Copy3d(*copy),
            },
        ),
        Step::Fill(fill) => posting.put(lane, &Work::Fill(*fill)),
        Step::Values(values) => values.iter().try_for_each(|work| posting.put(lane, work)),
        Step::Signal(signals) => signals.iter().try_for_each(|(one, value)| {
            posting.put(lane, &Work::SignalCell(one.io(), one.signal_value(*value)))
        }),
        Step::Await(waits) => waits.iter().try_for_each(|(one, value)| {
            posting.put(lane, &Work::WaitCell(one.io(), one.wait_value(*value)))
        }),
        _ => Ok(()),
    }
}

/// Runs a step on a stream.
///
/// # Errors
/// As [`Context::submit`].
pub fn run(context: &Arc<Context>, lane: &Arc<Lane>, step: &Step) -> Answer {
    match step {
        Step::HostCopy(copy) => context.submit_call(lane, crate::work::HostCall::Copy(*copy)).map(drop),
        Step::Host(call) => context.submit_call(lane, call.clone()).map(drop),
        Step::Branch(branches) => {
            let call = crate::work::HostCall::Branch(Arc::clone(branches), Turn::First);
            context.submit_call(lane, call).map(drop)
        }
        Step::Record(event) => event.record(lane),
        Step::Wait(event) => match event.waits(context)? {
            Some(wait) => context.submit(lane, &[wait]).map(drop),
            None => Ok(()),
        },
        Step::Graph(prepared) => prepared.steps.iter().try_for_each(|one| run(context, lane, &one.step)),
        other => {
            let mut posting = context.posting()?;
            post(&mut posting, lane, other)?;
            posting.finish()
        }
    }
}

/// Puts a step on a stream, or into the graph that the stream is being captured to.
///
/// # Errors
/// As [`Context::submit`]; what a capture does not allow.
pub fn enqueue(
    context: &Arc<Context>,
    lane: &Arc<Lane>,
    step: Step,
    params: impl FnOnce() -> Params,
) -> Answer {
    if lane.is_capturing.load(Ordering::Relaxed) {
        return crate::capture::add(lane, step, params());
    }
    crate::capture::check_legacy(context, lane)?;
    run(context, lane, &step)
}
