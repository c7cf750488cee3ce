//! The control flow of a function: successors, predecessors, an order, loops.

use crate::ir::BlockId;
use crate::ir::Function;
use crate::ir::Terminator;

/// Control flow of a function.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Blocks that can be reached, each before what it leads to, except along back edges.
    pub order: Vec<BlockId>,
    /// Predecessors of each block among those that can be reached; one entry per edge.
    pub predecessors: Vec<Vec<BlockId>>,
    /// Whether a block is the target of a back edge.
    pub is_header: Vec<bool>,
    /// The place of each block in `order`.
    position: Vec<u32>,
}

/// Where the end of a block can lead.
pub fn successors(end: &Terminator) -> impl Iterator<Item = BlockId> + '_ {
    let (pair, list): ([Option<BlockId>; 2], &[BlockId]) = match end {
        Terminator::Jump(to) => ([Some(*to), None], &[]),
        Terminator::Branch { then, otherwise, .. } => ([Some(*then), Some(*otherwise)], &[]),
        Terminator::Switch { targets, .. } => ([None, None], targets),
        Terminator::Return | Terminator::Exit | Terminator::Trap => ([None, None], &[]),
    };
    pair.into_iter().flatten().chain(list.iter().copied())
}

impl Flow {
    /// Control flow of a function with at least one block.
    #[must_use]
    pub fn of(function: &Function) -> Self {
        const UNSEEN: u32 = u32::MAX;
        let count = function.blocks.len();
        let mut flow = Self {
            order: Vec::with_capacity(count),
            predecessors: vec![Vec::new(); count],
            is_header: vec![false; count],
            position: vec![UNSEEN; count],
        };
        if count == 0 {
            return flow;
        }
        let mut is_open = vec![false; count];
        let mut seen = vec![false; count];
        let mut stack: Vec<(BlockId, Vec<BlockId>)> = Vec::new();
        let targets = |block: BlockId| {
            // The last successor is visited first, so that the first comes first in the order.
            successors(&function.blocks[block.0 as usize].end).collect::<Vec<_>>()
        };
        seen[0] = true;
        is_open[0] = true;
        stack.push((BlockId(0), targets(BlockId(0))));
        while let Some((block, rest)) = stack.last_mut() {
            let block = *block;
            if let Some(next) = rest.pop() {
                let index = next.0 as usize;
                flow.predecessors[index].push(block);
                if is_open[index] {
                    flow.is_header[index] = true;
                }
                if !seen[index] {
                    seen[index] = true;
                    is_open[index] = true;
                    stack.push((next, targets(next)));
                }
            } else {
                is_open[block.0 as usize] = false;
                flow.order.push(block);
                stack.pop();
            }
        }
        flow.order.reverse();
        for (position, block) in (0..).zip(&flow.order) {
            flow.position[block.0 as usize] = position;
        }
        flow
    }

    /// Whether the block can be reached.
    #[must_use]
    pub fn is_reached(&self, block: BlockId) -> bool {
        self.position[block.0 as usize] != u32::MAX
    }

    /// Whether an edge leads back.
    #[must_use]
    pub fn is_back_edge(&self, from: BlockId, to: BlockId) -> bool {
        self.position[to.0 as usize] <= self.position[from.0 as usize]
    }

    /// For each block, how many loops it is in, as natural loops of back edges say.
    #[must_use]
    pub fn loop_bodies(&self) -> Vec<(BlockId, Vec<BlockId>)> {
        let mut loops = Vec::new();
        for &header in self.order.iter().filter(|block| self.is_header[block.0 as usize]) {
            let mut body = vec![header];
            let mut seen = vec![false; self.position.len()];
            seen[header.0 as usize] = true;
            let back =
                self.predecessors[header.0 as usize].iter().filter(|&&from| self.is_back_edge(from, header));
            let mut work: Vec<BlockId> = back.copied().collect();
            while let Some(block) = work.pop() {
                if std::mem::replace(&mut seen[block.0 as usize], true) {
                    continue;
                }
                body.push(block);
                work.extend(&self.predecessors[block.0 as usize]);
            }
            loops.push((header, body));
        }
        loops
    }
}
