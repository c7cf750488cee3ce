//! Graphs that can be launched: their steps in an order in which they can run.
//!
//! *Branches.* A plan says which steps follow each other on one stream. The stream of a launch is the first; the others belong to the
//! graph, as its launches come one after the other. Steps of graphs within are planned like all others.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::condition::Branches;
use crate::condition::Condition;
use crate::context::Context;
use crate::context::Posting;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUgraphNode;
use crate::graph;
use crate::graph::Child;
use crate::graph::Graph;
use crate::graph::GraphMemory;
use crate::graph::Node;
use crate::graph::Params;
use crate::lane::Lane;
use crate::plan::Plan;
use crate::step::Step;
use crate::types::Answer;
use crate::user_object::Held;
use crate::work::Work;

/// A step of a graph that can be launched.
#[derive(Clone, Debug)]
pub struct PreparedStep {
    /// Its node's name.
    pub name: CUgraphNode,
    /// What it does.
    pub step: Step,
    /// What the program said.
    pub params: Params,
    /// Steps before this one that it comes after, by their places, in order.
    before: Vec<usize>,
    /// Whether it is run.
    pub enabled: bool,
    memory: Option<Arc<GraphMemory>>,
}

/// The steps of a graph in an order in which they can run.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The steps.
    pub steps: Vec<PreparedStep>,
}

/// Why steps cannot take the place of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Another number of nodes, or another order; where it can be told, the node that differs.
    Topology(Option<CUgraphNode>),
    /// A node is of another kind.
    Kind(CUgraphNode),
    /// A kernel is of another context.
    Function(CUgraphNode),
    /// A conditional node, which stays as it is.
    Conditional(CUgraphNode),
}

impl Prepared {
    /// Of a graph as it is now.
    ///
    /// # Errors
    /// Invalid value for a cycle.
    pub fn of(graph: &Graph) -> Answer<Self> {
        let nodes = graph.nodes.lock();
        let mut steps: Vec<PreparedStep> = Vec::new();
        let mut places: HashMap<usize, usize> = HashMap::new();
        let mut left: Vec<(usize, &Node)> =
            nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.as_ref()?))).collect();
        while !left.is_empty() {
            let is_ready =
                |(_, node): &(usize, &Node)| node.before.iter().all(|one| places.contains_key(one));
            let (ready, waiting): (Vec<_>, Vec<_>) = left.into_iter().partition(is_ready);
            if ready.is_empty() {
                return Err(CUresult::ERROR_INVALID_VALUE);
            }
            for (index, node) in ready {
                let mut before: Vec<usize> =
                    node.before.iter().filter_map(|one| places.get(one).copied()).collect();
                before.sort_unstable();
                places.insert(index, steps.len());
                let step = match &node.params {
                    // The program may have changed it through its name.
                    Params::Child(child) => Step::Graph(Arc::new(Self::of(&child.graph)?)),
                    Params::Conditional(conditional) => Step::Branch(Branches::of(conditional)?),
                    _ => node.step.clone(),
                };
                steps.push(PreparedStep {
                    name: node.name,
                    step,
                    params: node.params.clone(),
                    before,
                    enabled: true,
                    memory: node.memory.clone(),
                });
            }
            left = waiting;
        }
        Ok(Self { steps })
    }

    /// A graph of these steps, for a capture of a launch.
    ///
    /// # Errors
    /// Out of memory; not supported with conditional nodes.
    pub fn to_graph(&self) -> Answer<Arc<Graph>> {
        let graph = Arc::new(Graph::default());
        for step in &self.steps {
            let (step_now, params) = match (&step.params, step.enabled) {
                (_, false) => (Step::Empty, Params::Empty),
                (Params::Conditional(_), true) => return Err(CUresult::ERROR_NOT_SUPPORTED),
                (Params::Child(child), true) => (step.step.clone(), Params::Child(Child::of(&child.graph)?)),
                (params, true) => (step.step.clone(), params.clone()),
            };
            let (_, index) = graph.add(step_now, params, step.before.clone())?;
            if let Some(Some(node)) = graph.nodes.lock().get_mut(index) {
                node.memory = step.memory.clone();
            }
        }
        Ok(graph)
    }

    /// Whether steps can take the place of these.
    fn compare(&self, fresh: &Self) -> Result<(), Mismatch> {
        if self.steps.len() != fresh.steps.len() {
            return Err(Mismatch::Topology(None));
        }
        for (old, new) in self.steps.iter().zip(&fresh.steps) {
            if old.params.kind() != new.params.kind() {
                return Err(Mismatch::Kind(new.name));
            }
            if old.before != new.before {
                return Err(Mismatch::Topology(Some(new.name)));
            }
            match (&old.step, &new.step) {
                (Step::Launch(old), Step::Launch(fresh))
                    if old.function.module.context.id != fresh.function.module.context.id =>
                {
                    return Err(Mismatch::Function(new.name));
                }
                (Step::Graph(old), Step::Graph(fresh)) => old.compare(fresh)?,
                (Step::Branch(_), _) => return Err(Mismatch::Conditional(new.name)),
                _ => {}
            }
        }
        Ok(())
    }

    fn replace(&mut self, fresh: Self) {
        for (old, new) in self.steps.iter_mut().zip(fresh.steps) {
            // The names stay those of the graph that was instantiated.
            (old.params, old.memory) = (new.params, new.memory);
            match (&mut old.step, new.step) {
                (Step::Graph(old), Step::Graph(new)) => Arc::make_mut(old).replace(Arc::unwrap_or_clone(new)),
                (old, new) => *old = new,
            }
        }
    }

    fn find(&mut self, node: CUgraphNode) -> Option<&mut PreparedStep> {
        // Twice, as what was found may not be looked at again.
        if let Some(at) = self.steps.iter().position(|step| step.name == node) {
            return self.steps.get_mut(at);
        }
        self.steps.iter_mut().find_map(|step| match &mut step.step {
            Step::Graph(within) => Arc::make_mut(within).find(node),
            _ => None,
        })
    }

    /// What each step comes after, with those of graphs within in their place, which come after `outside`. Answers the last ones.
    fn flatten(&self, outside: &[usize], flat: &mut Vec<Vec<usize>>) -> Vec<usize> {
        let mut ends: Vec<Vec<usize>> = Vec::with_capacity(self.steps.len());
        let mut is_last = vec![true; self.steps.len()];
        for step in &self.steps {
            let mut before: Vec<usize> = if step.before.is_empty() { outside.to_vec() } else { Vec::new() };
            for one in &step.before {
                before.extend(ends.get(*one).into_iter().flatten());
                if let Some(is_last) = is_last.get_mut(*one) {
                    *is_last = false;
                }
            }
            before.sort_unstable();
            before.dedup();
            ends.push(match &step.step {
                Step::Graph(within) if !within.steps.is_empty() => within.flatten(&before, flat),
                Step::Graph(_) => before,
                _ => {
                    flat.push(before);
                    vec![flat.len() - 1]
                }
            });
        }
        let last = ends.into_iter().zip(is_last).filter(|(_, is_last)| *is_last);
        last.flat_map(|(ends, _)| ends).collect()
    }

    /// The steps as the plan has them: those of graphs within in their place.
    fn for_each<'a>(&'a self, run: &mut dyn FnMut(&'a PreparedStep) -> Answer) -> Answer {
        self.steps.iter().try_for_each(|step| match &step.step {
            Step::Graph(within) => within.for_each(run),
            _ => run(step),
        })
    }

    /// Graphs that run by a value.
    fn bodies(&self) -> Vec<Arc<Exec>> {
        let mut bodies = Vec::new();
        for step in &self.steps {
            match &step.step {
                Step::Graph(within) => bodies.extend(within.bodies()),
                Step::Branch(branches) => bodies.extend(branches.bodies().iter().cloned()),
                _ => {}
            }
        }
        bodies
    }

    /// Whether any step is, those of graphs within too.
    fn any(&self, is_one: &dyn Fn(&Step) -> bool) -> bool {
        self.steps.iter().any(|step| match &step.step {
            Step::Graph(within) => within.any(is_one),
            step => is_one(step),
        })
    }

    fn is_of(&self, context: &Context) -> bool {
        self.steps.iter().filter(|step| step.enabled).all(|step| match &step.step {
            Step::Launch(launch) => launch.function.module.context.id == context.id,
            Step::Graph(within) => within.is_of(context),
            Step::Branch(branches) => branches.bodies().iter().all(|body| body.prepared().is_of(context)),
            _ => true,
        })
    }
}

#[derive(Debug)]
struct Launched {
    context: u64,
    lane: Arc<Lane>,
    sequence: u64,
    tracks: Option<Tracks>,
}

/// Streams of a context that a graph has for its branches.
#[derive(Debug)]
pub struct Tracks {
    context: Arc<Context>,
    /// The streams.
    pub lanes: Vec<Arc<Lane>>,
}

impl Tracks {
    /// Takes so many.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn take(context: &Arc<Context>, count: usize) -> Answer<Self> {
        Ok(Self { context: Arc::clone(context), lanes: context.take_tracks(count)? })
    }
}

impl Drop for Tracks {
    fn drop(&mut self) {
        self.context.give_tracks(std::mem::take(&mut self.lanes));
    }
}

/// A launch in the making.
struct Launching<'a> {
    context: &'a Arc<Context>,
    /// The stream of the launch, then those of the branches.
    lanes: Vec<Arc<Lane>>,
    /// What the stream had before.
    begin: u64,
    /// The number that each step's stream has reached after it.
    reached: Vec<u64>,
    posting: Option<Posting<'a>>,
    /// Values that are set before the first step.
    conditions: &'a [Arc<Condition>],
}

impl<'a> Launching<'a> {
    fn posting(&mut self) -> Answer<&mut Posting<'a>> {
        if self.posting.is_none() {
            self.posting = Some(self.context.posting()?);
        }
        self.posting.as_mut().ok_or(CUresult::ERROR_UNKNOWN)
    }

    fn flush(&mut self) -> Answer {
        self.posting.take().map_or(Ok(()), Posting::finish)
    }

    fn lane(&self, track: usize) -> Answer<Arc<Lane>> {
        self.lanes.get(track).cloned().ok_or(CUresult::ERROR_UNKNOWN)
    }

    /// Makes a stream wait for steps of others.
    fn wait(&mut self, plan: &Plan, lane: &Arc<Lane>, steps: &[usize]) -> Answer {
        for step in steps {
            let place = plan.places.get(*step).ok_or(CUresult::ERROR_UNKNOWN)?;
            let (other, reached) = (self.lane(place.track)?, self.reached.get(*step).copied().unwrap_or(0));
            self.posting()?.wait(lane, &other, reached)?;
        }
        Ok(())
    }

    fn step(&mut self, plan: &Plan, step: &PreparedStep) -> Answer {
        let place = plan.places.get(self.reached.len()).ok_or(CUresult::ERROR_UNKNOWN)?;
        let lane = self.lane(place.track)?;
        if place.is_first {
            let (first, begin) = (self.lane(0)?, self.begin);
            self.posting()?.wait(&lane, &first, begin)?;
        }
        self.wait(plan, &lane, &place.waits)?;
        if step.enabled && graph::is_work(&step.step) {
            graph::post(self.posting()?, &lane, &step.step)?;
        } else if step.enabled {
            self.flush()?;
            graph::run(self.context, &lane, &step.step)?;
        }
        let reached = self.posting.as_ref().map_or_else(|| lane.last(), |posting| posting.last(&lane));
        self.reached.push(reached);
        Ok(())
    }

    fn run(&mut self, plan: &Plan, prepared: &Prepared) -> Answer {
        let first = self.lane(0)?;
        let conditions = self.conditions;
        for reset in conditions.iter().filter_map(|condition| condition.reset()) {
            self.posting()?.put(&first, &reset)?;
        }
        self.begin = *self.posting()?.begin(&first);
        prepared.for_each(&mut |step| self.step(plan, step))?;
        self.wait(plan, &first, &plan.last)?;
        self.flush()
    }
}

/// A graph that can be launched.
#[derive(Debug)]
pub struct Exec {
    /// A number of its own.
    pub id: u64,
    /// Flags of the call that made it.
    pub flags: u64,
    prepared: Mutex<Arc<Prepared>>,
    /// Where its steps run; no change of the steps changes it.
    plan: Plan,
    /// Whether something in it runs by a value.
    has_branches: bool,
    /// The last launch: the next comes after it.
    launched: Mutex<Option<Launched>>,
    held: Held,
    /// Values that decide for its nodes.
    conditions: Vec<Arc<Condition>>,
}

impl Exec {
    /// Of a graph as it is now.
    ///
    /// # Errors
    /// Invalid value for a cycle.
    pub fn new(graph: &Graph, flags: u64) -> Answer<Self> {
        let prepared = Prepared::of(graph)?;
        let mut flat = Vec::new();
        prepared.flatten(&[], &mut flat);
        let plan = Plan::of(&flat);
        let has_branches = prepared.any(&|step| matches!(step, Step::Branch(_)));
        let prepared = Mutex::new(Arc::new(prepared));
        let id = graph::IDS.fetch_add(1, Ordering::Relaxed);
        let (held, conditions) = (graph.held.duplicate(), graph.conditions.lock().clone());
        Ok(Self { id, flags, prepared, plan, has_branches, launched: Mutex::default(), held, conditions })
    }

    /// Puts another step in the place of a node's.
    ///
    /// # Errors
    /// Invalid value when there is no such node, or the kind is another.
    pub fn replace(&self, node: CUgraphNode, mut step: Step, params: Params) -> Answer {
        self.with(node, |old| {
            if old.params.kind() != params.kind() {
                return Err(CUresult::ERROR_INVALID_VALUE);
            }
            match (&old.step, &mut step) {
                (Step::Launch(old), Step::Launch(new)) => {
                    if old.function.module.context.id != new.function.module.context.id {
                        return Err(CUresult::ERROR_INVALID_VALUE);
                    }
                    new.flags = old.flags;
                }
                (Step::Graph(old), Step::Graph(new)) => {
                    old.compare(new).map_err(|_| CUresult::ERROR_INVALID_VALUE)?;
                }
                _ => {}
            }
            (old.step, old.params) = (step, params);
            Ok(())
        })
    }

    /// Does something with the step of a node.
    ///
    /// # Errors
    /// Invalid value when there is no such node; what `run` answers.
    pub fn with<R>(&self, node: CUgraphNode, run: impl FnOnce(&mut PreparedStep) -> Answer<R>) -> Answer<R> {
        if let Some(body) = self.body_with(node) {
            return body.with_own(node, run);
        }
        self.with_own(node, run)
    }

    /// The graph that runs by a value and has a node, if one does.
    fn body_with(&self, node: CUgraphNode) -> Option<Arc<Self>> {
        self.prepared().bodies().into_iter().find_map(|body| {
            let is_there = Prepared::clone(&body.prepared()).find(node).is_some();
            if is_there { Some(body) } else { body.body_with(node) }
        })
    }

    fn with_own<R>(&self, node: CUgraphNode, run: impl FnOnce(&mut PreparedStep) -> Answer<R>) -> Answer<R> {
        let mut prepared = self.prepared.lock();
        let found = Arc::make_mut(&mut prepared).find(node);
        run(found.ok_or(CUresult::ERROR_INVALID_VALUE)?)
    }

    /// Takes over the steps of a graph of the same shape.
    ///
    /// # Errors
    /// How it differs.
    pub fn update(&self, graph: &Graph) -> Result<(), Mismatch> {
        let fresh = Prepared::of(graph).map_err(|_| Mismatch::Topology(None))?;
        let mut prepared = self.prepared.lock();
        prepared.compare(&fresh)?;
        Arc::make_mut(&mut prepared).replace(fresh);
        Ok(())
    }

    /// Whether all of it may run by a value.
    #[must_use]
    pub fn can_be_conditional(&self) -> bool {
        !self.prepared().any(&|step| {
            !matches!(
                step,
                Step::Empty
                    | Step::Launch(_)
                    | Step::Copy(_)
                    | Step::HostCopy(_)
                    | Step::Fill(_)
                    | Step::Branch(_)
            )
        })
    }

    /// The steps as they are now.
    #[must_use]
    pub fn prepared(&self) -> Arc<Prepared> {
        Arc::clone(&self.prepared.lock())
    }

    /// Runs it on a stream, after its last launch.
    ///
    /// # Errors
    /// Invalid context for kernels of another; as [`Context::submit`].
    pub fn launch(self: &Arc<Self>, context: &Arc<Context>, lane: &Arc<Lane>) -> Answer {
        let prepared = self.prepared();
        if !prepared.is_of(context) {
            return Err(CUresult::ERROR_INVALID_CONTEXT);
        }
        let mut launched = self.launched.lock();
        if self.has_branches
            && let Some(before) = &*launched
        {
            // The thread of calls puts its steps on streams: they must not be behind all that a program puts there.
            context.wait(&before.lane, before.sequence)?;
        }
        if let Some(before) = &*launched
            && !Arc::ptr_eq(&before.lane, lane)
            && !before.lane.is_done(before.sequence)
        {
            let wait = if before.context == context.id {
                Work::Wait(Arc::clone(&before.lane), before.sequence)
            } else {
                Work::WaitCell(before.lane.progress.io(), before.sequence)
            };
            context.submit(lane, &[wait])?;
        }
        let tracks = launched.as_mut().and_then(|before| before.tracks.take());
        let tracks = tracks.filter(|tracks| tracks.context.id == context.id);
        let tracks = match tracks {
            None if self.plan.tracks > 1 => Some(Tracks::take(context, self.plan.tracks - 1)?),
            kept => kept,
        };
        let others = tracks.iter().flat_map(|tracks| tracks.lanes.iter().cloned());
        let lanes = std::iter::once(Arc::clone(lane)).chain(others).collect();
        let reached = Vec::with_capacity(self.plan.places.len());
        let conditions = &self.conditions;
        Launching { context, lanes, begin: 0, reached, posting: None, conditions }
            .run(&self.plan, &prepared)?;
        let (context_id, sequence) = (context.id, lane.last());
        *launched = Some(Launched { context: context_id, lane: Arc::clone(lane), sequence, tracks });
        if !self.held.is_empty() {
            context.keep(lane, lane.last(), Arc::clone(self) as Arc<dyn std::any::Any + Send + Sync>);
        }
        Ok(())
    }
}
