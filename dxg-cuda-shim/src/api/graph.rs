//! Graphs: made, copied, looked at; and the things of the program that they hold.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::condition::Condition;
use crate::driver;
use crate::ffi::callbacks::HostFunction;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::ffi::pointers::Text;
use crate::generated::enums::CUgraphMem_attribute as M;
use crate::generated::enums::CUgraphNodeType;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUgraph;
use crate::generated::handles::CUgraphNode;
use crate::generated::handles::CUuserObject;
use crate::generated::structs::CUgraphEdgeData;
use crate::graph::Graph;
use crate::graph::Node;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdevice;
use crate::user_object::UserObject;

use super::nodes;

/// `CU_GRAPH_USER_OBJECT_MOVE`.
const MOVE: u32 = 1;
/// `CU_USER_OBJECT_NO_DESTRUCTOR_SYNC`, which must be said.
const NO_DESTRUCTOR_SYNC: u32 = 1;
/// Between two nodes.
type Edge = (CUgraphNode, CUgraphNode);

fn graph(name: CUgraph) -> Answer<Arc<Graph>> {
    driver::driver()?;
    tables::GRAPHS.get(name)
}

/// `cuGraphCreate`.
pub fn create(out: Mut<CUgraph>, flags: u32) -> Answer {
    driver::driver()?;
    out.given()?;
    if flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    out.set(tables::GRAPHS.insert(Arc::new(Graph::default()))?)
}

/// `cuGraphDestroy`.
pub fn destroy(name: CUgraph) -> Answer {
    driver::driver()?;
    tables::GRAPHS.remove(name).map(drop)
}

/// `cuGraphClone`.
pub fn duplicate(out: Mut<CUgraph>, original: CUgraph) -> Answer {
    let original = graph(original)?;
    out.given()?.set(tables::GRAPHS.insert(original.duplicate()?)?)
}

/// `cuGraphNodeFindInClone`.
pub fn find_in_clone(out: Mut<CUgraphNode>, original: CUgraphNode, clone: CUgraph) -> Answer {
    let clone = graph(clone)?;
    out.given()?;
    let node = tables::NODES.get(original)?;
    if node.graph()?.id != clone.origin {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let nodes = clone.nodes.lock();
    let found = nodes.iter().flatten().find(|one| one.original == node.index);
    out.set(found.ok_or(CUresult::ERROR_INVALID_VALUE)?.name)
}

/// `cuGraphConditionalHandleCreate`. Flag 1: the value is the default at the begin of each launch.
pub fn condition(out: Mut<u64>, name: CUgraph, ctx: CUcontext, default: u32, flags: u32) -> Answer {
    let graph = graph(name)?;
    out.given()?;
    let context = nodes::context(ctx)?;
    context.check()?;
    context.device.want_shared_memory()?;
    if flags > 1 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let made = Condition::new(&context, graph.id, (flags == 1).then_some(default))?;
    out.set(made.address)?;
    graph.conditions.lock().push(made);
    Ok(())
}

/// `cuGraphDestroyNode`.
pub fn destroy_node(name: CUgraphNode) -> Answer {
    driver::driver()?;
    let node = tables::NODES.get(name)?;
    node.graph()?.remove(node.index);
    Ok(())
}

fn change_edges(
    name: CUgraph,
    from: Ref<CUgraphNode>,
    to: Ref<CUgraphNode>,
    count: usize,
    change: impl Fn(&mut Vec<usize>, usize) -> Answer,
) -> Answer {
    let graph = graph(name)?;
    let from = graph.places(&from.list(count)?)?;
    let to = graph.places(&to.list(count)?)?;
    let mut nodes = graph.nodes.lock();
    for (from, to) in from.into_iter().zip(to) {
        let node = nodes.get_mut(to).and_then(Option::as_mut).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        change(&mut node.before, from)?;
        if from == to {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
    }
    Ok(())
}

/// `cuGraphAddDependencies`. A cycle is found when the graph is instantiated.
pub fn add_dependencies(name: CUgraph, from: Ref<CUgraphNode>, to: Ref<CUgraphNode>, count: usize) -> Answer {
    change_edges(name, from, to, count, |before, one| {
        if before.contains(&one) {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        before.push(one);
        Ok(())
    })
}

/// `cuGraphAddDependencies_v2`: a node comes after the whole of another, whatever the edge says.
pub fn add_dependencies_v2(
    name: CUgraph,
    from: Ref<CUgraphNode>,
    to: Ref<CUgraphNode>,
    _data: Ref<CUgraphEdgeData>,
    count: usize,
) -> Answer {
    add_dependencies(name, from, to, count)
}

/// `cuGraphRemoveDependencies`.
pub fn remove_dependencies(
    name: CUgraph,
    from: Ref<CUgraphNode>,
    to: Ref<CUgraphNode>,
    count: usize,
) -> Answer {
    change_edges(name, from, to, count, |before, one| {
        let at = before.iter().position(|other| *other == one).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        before.remove(at);
        Ok(())
    })
}

/// `cuGraphRemoveDependencies_v2`.
pub fn remove_dependencies_v2(
    name: CUgraph,
    from: Ref<CUgraphNode>,
    to: Ref<CUgraphNode>,
    _data: Ref<CUgraphEdgeData>,
    count: usize,
) -> Answer {
    remove_dependencies(name, from, to, count)
}

/// Answers with a list: how many there are where there is no place, else as many as fit, and nothing behind them.
fn answer(out: Mut<CUgraphNode>, count: Mut<usize>, list: &[CUgraphNode]) -> Answer {
    if !out.is_null() {
        let room = count.read()?;
        for at in 0..room {
            out.set_at(at, list.get(at).copied().unwrap_or_default())?;
        }
        return count.set(list.len().min(room));
    }
    count.set(list.len())
}

fn answer_edges(
    from: Mut<CUgraphNode>,
    to: Mut<CUgraphNode>,
    data: Mut<CUgraphEdgeData>,
    count: Mut<usize>,
    list: &[Edge],
) -> Answer {
    if from.is_null() && to.is_null() {
        return count.set(list.len());
    }
    let room = count.read()?;
    for at in 0..room {
        let (one, other) = list.get(at).copied().unwrap_or_default();
        from.set_at(at, one)?;
        to.set_at(at, other)?;
        if !data.is_null() {
            data.set_at(at, zerocopy::FromZeros::new_zeroed())?;
        }
    }
    count.set(list.len().min(room))
}

/// `cuGraphGetNodes`.
pub fn nodes(name: CUgraph, out: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    let graph = graph(name)?;
    let names: Vec<_> = graph.nodes.lock().iter().flatten().map(|node| node.name).collect();
    answer(out, count.given()?, &names)
}

/// `cuGraphGetRootNodes`.
pub fn root_nodes(name: CUgraph, out: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    let graph = graph(name)?;
    let is_root = |node: &&Node| node.before.is_empty();
    let names: Vec<_> = graph.nodes.lock().iter().flatten().filter(is_root).map(|node| node.name).collect();
    answer(out, count.given()?, &names)
}

fn edges_of(graph: &Graph) -> Vec<Edge> {
    let nodes = graph.nodes.lock();
    let name = |at: &usize| Some(nodes.get(*at)?.as_ref()?.name);
    let into =
        |node: &Node| node.before.iter().filter_map(name).map(|one| (one, node.name)).collect::<Vec<_>>();
    nodes.iter().flatten().flat_map(into).collect()
}

/// `cuGraphGetEdges`.
pub fn edges(name: CUgraph, from: Mut<CUgraphNode>, to: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    edges_v2(name, from, to, Mut::NULL, count)
}

/// `cuGraphGetEdges_v2`.
pub fn edges_v2(
    name: CUgraph,
    from: Mut<CUgraphNode>,
    to: Mut<CUgraphNode>,
    data: Mut<CUgraphEdgeData>,
    count: Mut<usize>,
) -> Answer {
    answer_edges(from, to, data, count.given()?, &edges_of(&*graph(name)?))
}

fn graph_of(node: CUgraphNode) -> Answer<Arc<Graph>> {
    driver::driver()?;
    tables::NODES.get(node)?.graph()
}

fn neighbours(
    out: Mut<CUgraphNode>,
    data: Mut<CUgraphEdgeData>,
    count: Mut<usize>,
    list: &[CUgraphNode],
) -> Answer {
    if !data.is_null() && !out.is_null() {
        for at in 0..count.read()? {
            data.set_at(at, zerocopy::FromZeros::new_zeroed())?;
        }
    }
    answer(out, count.given()?, list)
}

/// `cuGraphNodeGetDependencies`.
pub fn dependencies(node: CUgraphNode, out: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    dependencies_v2(node, out, Mut::NULL, count)
}

/// `cuGraphNodeGetDependencies_v2`.
pub fn dependencies_v2(
    node: CUgraphNode,
    out: Mut<CUgraphNode>,
    data: Mut<CUgraphEdgeData>,
    count: Mut<usize>,
) -> Answer {
    let edges = edges_of(&*graph_of(node)?);
    let list: Vec<_> = edges.into_iter().filter(|(_, to)| *to == node).map(|(from, _)| from).collect();
    neighbours(out, data, count, &list)
}

/// `cuGraphNodeGetDependentNodes`.
pub fn dependents(node: CUgraphNode, out: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    dependents_v2(node, out, Mut::NULL, count)
}

/// `cuGraphNodeGetDependentNodes_v2`.
pub fn dependents_v2(
    node: CUgraphNode,
    out: Mut<CUgraphNode>,
    data: Mut<CUgraphEdgeData>,
    count: Mut<usize>,
) -> Answer {
    let edges = edges_of(&*graph_of(node)?);
    let list: Vec<_> = edges.into_iter().filter(|(from, _)| *from == node).map(|(_, to)| to).collect();
    neighbours(out, data, count, &list)
}

/// `cuGraphNodeGetType`.
pub fn node_type(node: CUgraphNode, out: Mut<CUgraphNodeType>) -> Answer {
    driver::driver()?;
    out.set(tables::NODES.get(node)?.with(|node| Ok(node.params.kind()))?)
}

/// `cuGraphGetId`.
pub fn id(name: CUgraph, out: Mut<u32>) -> Answer {
    out.set(graph(name)?.id as u32)
}

/// `cuGraphNodeGetContainingGraph`.
pub fn containing_graph(node: CUgraphNode, out: Mut<CUgraph>) -> Answer {
    let graph = graph_of(node)?;
    out.set(tables::GRAPHS.name_of(&graph).ok_or(CUresult::ERROR_INVALID_HANDLE)?)
}

/// `cuGraphNodeGetLocalId`.
pub fn local_id(node: CUgraphNode, out: Mut<u32>) -> Answer {
    driver::driver()?;
    out.set(u32::try_from(tables::NODES.get(node)?.index).unwrap_or(u32::MAX))
}

/// `cuGraphNodeGetToolsId`.
pub fn tools_id(node: CUgraphNode, out: Mut<u64>) -> Answer {
    driver::driver()?;
    let node = tables::NODES.get(node)?;
    out.set(node.graph()?.id << 32 | node.index as u64)
}

/// `cuGraphDebugDotPrint`.
pub fn print(name: CUgraph, path: Text, _flags: u32) -> Answer {
    let graph = graph(name)?;
    let path = path.bytes()?;
    let mut text = String::from("digraph dot {\n");
    {
        let nodes = graph.nodes.lock();
        for (at, node) in nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.as_ref()?))) {
            let kind = node.params.kind();
            // Writing to a string does not fail.
            let _ = writeln!(text, "  n{at} [label=\"{at}: {kind:?}\"];");
            for before in &node.before {
                let _ = writeln!(text, "  n{before} -> n{at};");
            }
        }
    }
    text.push_str("}\n");
    std::fs::write(std::ffi::OsStr::from_bytes(&path), text).map_err(|_| CUresult::ERROR_OPERATING_SYSTEM)
}

/// `cuUserObjectCreate`.
pub fn create_object(
    out: Mut<CUuserObject>,
    data: Address,
    destroy: Address,
    references: u32,
    flags: u32,
) -> Answer {
    driver::driver()?;
    out.given()?;
    if references == 0 || references > i32::MAX as u32 || flags != NO_DESTRUCTOR_SYNC {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    out.set(UserObject::create(HostFunction::at(destroy)?, data, references)?)
}

fn object(name: CUuserObject, count: u32) -> Answer<Arc<UserObject>> {
    driver::driver()?;
    if count == 0 || count > i32::MAX as u32 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    tables::USER_OBJECTS.find(name).ok_or(CUresult::ERROR_INVALID_VALUE)
}

/// `cuUserObjectRetain`.
pub fn retain_object(name: CUuserObject, count: u32) -> Answer {
    object(name, count)?.retain(count)
}

/// `cuUserObjectRelease`.
pub fn release_object(name: CUuserObject, count: u32) -> Answer {
    object(name, count)?.release(count)
}

/// `cuGraphRetainUserObject`.
pub fn hold_object(name: CUgraph, of: CUuserObject, count: u32, flags: u32) -> Answer {
    let (graph, object) = (graph(name)?, object(of, count)?);
    match flags {
        0 => object.retain(count)?,
        MOVE => {}
        _ => return Err(CUresult::ERROR_INVALID_VALUE),
    }
    graph.held.adopt(object, count);
    Ok(())
}

/// `cuGraphReleaseUserObject`.
pub fn let_go_of_object(name: CUgraph, of: CUuserObject, count: u32) -> Answer {
    graph(name)?.held.release(&object(of, count)?, count)
}

/// The most that memory of graphs was seen to be, by device.
static HIGH: Mutex<BTreeMap<usize, u64>> = Mutex::new(BTreeMap::new());

/// Bytes of graphs on a device, now and at most.
fn memory(ordinal: usize) -> (u64, u64) {
    let now = nodes::graph_memory_bytes(ordinal);
    let mut high = HIGH.lock();
    let most = high.entry(ordinal).or_default();
    *most = now.max(*most);
    (now, *most)
}

/// Memory of graphs has grown.
pub(super) fn note_memory(ordinal: usize) {
    memory(ordinal);
}

/// `cuDeviceGetGraphMemAttribute`.
pub fn memory_attribute(device: CUdevice, attribute: M, value: Address) -> Answer {
    let (now, most) = memory(driver::device(device)?.ordinal);
    let found = match attribute {
        M::USED_MEM_CURRENT | M::RESERVED_MEM_CURRENT => now,
        M::USED_MEM_HIGH | M::RESERVED_MEM_HIGH => most,
        _ => return Err(CUresult::ERROR_INVALID_VALUE),
    };
    value.typed::<u64>().set(found)
}

/// `cuDeviceSetGraphMemAttribute`: high marks can be set to zero.
pub fn set_memory_attribute(device: CUdevice, attribute: M, value: Address) -> Answer {
    let ordinal = driver::device(device)?.ordinal;
    let is_high = matches!(attribute, M::USED_MEM_HIGH | M::RESERVED_MEM_HIGH);
    if !is_high || value.typed::<u64>().read()? != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    HIGH.lock().remove(&ordinal);
    Ok(())
}

/// `cuDeviceGraphMemTrim`: a graph has what it needs and no more.
pub fn trim_memory(device: CUdevice) -> Answer {
    driver::device(device).map(drop)
}
