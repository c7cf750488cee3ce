//! The function that is being read: its registers, blocks and frame.

use crate::front::types;
use crate::ir::Block;
use crate::ir::BlockId;
use crate::ir::FuncId;
use crate::ir::Guard;
use crate::ir::Inst;
use crate::ir::LocalId;
use crate::ir::Op;
use crate::ir::Place;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Scalar;
use crate::ir::Slot;
use crate::ir::Terminator;

/// A parameter or a result that the text declares as a register.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegisterParam {
    pub(super) local: LocalId,
    pub(super) reg: Reg,
    pub(super) ty: Scalar,
}

/// A function under construction.
#[derive(Debug, Default)]
pub(super) struct Code<'a> {
    pub(super) id: Option<FuncId>,
    pub(super) is_entry: bool,
    pub(super) regs: Vec<RegClass>,
    pub(super) locals: Vec<Slot>,
    /// Bytes of an element of each.
    pub(super) elements: Vec<u32>,
    /// Bytes of the variables that live as long as the activation.
    pub(super) lasting_bytes: u32,
    /// Locals whose offset counts from the end of those: variables of call sites, by scope.
    pub(super) passing: Vec<LocalId>,
    /// Bytes of them that are in use in the innermost scope, and by scope.
    pub(super) passing_now: u32,
    pub(super) passing_marks: Vec<u32>,
    pub(super) passing_most: u32,
    pub(super) local_align: u32,
    /// Results declared as registers: stored before each return.
    pub(super) register_rets: Vec<RegisterParam>,
    blocks: Vec<Pending>,
    order: Vec<BlockId>,
    current: Option<BlockId>,
    carry: Option<Reg>,
    /// Labels that are named and not defined, with the place of the first use.
    pub(super) label_uses: Vec<(BlockId, &'a str, Place)>,
}

#[derive(Debug, Default)]
struct Pending {
    insts: Vec<Inst>,
    end: Option<(Terminator, Place)>,
}

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Code<'_> {
    pub(super) fn new(id: Option<FuncId>, kind: Kind) -> Self {
        Self { id, is_entry: kind == Kind::Entry, local_align: 1, ..Self::default() }
    }

    pub(super) fn new_reg(&mut self, class: RegClass) -> Reg {
        self.regs.push(class);
        Reg(number(self.regs.len() - 1))
    }

    /// A new register for a value of a type.
    pub(super) fn temp(&mut self, ty: Scalar) -> Reg {
        self.new_reg(types::class(ty))
    }

    /// The carry flag.
    pub(super) fn carry(&mut self) -> Reg {
        match self.carry {
            Some(reg) => reg,
            None => *self.carry.insert({
                self.regs.push(RegClass::Pred);
                Reg(number(self.regs.len() - 1))
            }),
        }
    }

    /// A block that is nowhere yet.
    pub(super) fn new_block(&mut self) -> BlockId {
        self.blocks.push(Pending::default());
        BlockId(number(self.blocks.len() - 1))
    }

    /// Puts a block here; what comes before goes on into it.
    pub(super) fn place_block(&mut self, block: BlockId, place: Place) {
        if self.current.is_some() {
            self.end(Terminator::Jump(block), place);
        }
        self.order.push(block);
        self.current = Some(block);
    }

    /// The block that a label here names: the present one if nothing is in it.
    pub(super) fn block_here(&mut self, place: Place) -> BlockId {
        if let Some(current) = self.current
            && self.pending(current).insts.is_empty()
        {
            return current;
        }
        let block = self.new_block();
        self.place_block(block, place);
        block
    }

    fn pending(&mut self, block: BlockId) -> &mut Pending {
        let index = block.0 as usize;
        if index >= self.blocks.len() {
            self.blocks.resize_with(index + 1, Pending::default);
        }
        &mut self.blocks[index]
    }

    fn open_block(&mut self) -> BlockId {
        match self.current {
            Some(block) => block,
            None => {
                let block = self.new_block();
                self.order.push(block);
                self.current = Some(block);
                block
            }
        }
    }

    pub(super) fn push(&mut self, guard: Option<Guard>, op: Op, place: Place) {
        let block = self.open_block();
        self.pending(block).insts.push(Inst { guard, op, place });
    }

    /// Ends the present block.
    pub(super) fn end(&mut self, terminator: Terminator, place: Place) {
        let block = self.open_block();
        self.pending(block).end = Some((terminator, place));
        self.current = None;
    }

    /// Ends the present block where a guard holds, and goes on in a new block where it does not.
    pub(super) fn end_guarded(&mut self, guard: Option<Guard>, terminator: Terminator, place: Place) {
        let Some(guard) = guard else { return self.end(terminator, place) };
        let otherwise = self.new_block();
        match terminator {
            Terminator::Jump(then) => self.end(Terminator::Branch { guard, then, otherwise }, place),
            _ => {
                let then = self.new_block();
                self.end(Terminator::Branch { guard, then, otherwise }, place);
                self.order.push(then);
                self.current = Some(then);
                self.end(terminator, place);
            }
        }
        self.order.push(otherwise);
        self.current = Some(otherwise);
    }

    /// Whether there is code at all.
    pub(super) fn has_blocks(&self) -> bool {
        !self.order.is_empty()
    }

    /// Whether code that is read now follows something.
    pub(super) fn is_open(&self) -> bool {
        self.current.is_some()
    }

    /// A variable of the frame. False if the frame would be too large.
    pub(super) fn new_local(&mut self, name: String, size: u32, align: u32, life: Life) -> Option<LocalId> {
        let start = match life {
            Life::Activation => self.lasting_bytes,
            Life::Scope => self.passing_now,
        };
        let offset = start.checked_next_multiple_of(align)?;
        let end = offset.checked_add(size).filter(|&end| end <= MOST_FRAME_BYTES)?;
        let id = LocalId(number(self.locals.len()));
        match life {
            Life::Activation => self.lasting_bytes = end,
            Life::Scope => {
                self.passing_now = end;
                self.passing_most = self.passing_most.max(end);
                self.passing.push(id);
            }
        }
        self.local_align = self.local_align.max(align);
        self.locals.push(Slot { name, offset, size, align });
        Some(id)
    }

    /// The blocks in the order of the text, and the bytes of the frame.
    pub(super) fn finish(&mut self) -> (Vec<Block>, u32) {
        let mut map = vec![BlockId(0); self.blocks.len()];
        for (index, block) in self.order.iter().enumerate() {
            if let Some(slot) = map.get_mut(block.0 as usize) {
                *slot = BlockId(number(index));
            }
        }
        let renumber = |block: &mut BlockId| *block = map.get(block.0 as usize).copied().unwrap_or(*block);
        let mut blocks = Vec::with_capacity(self.order.len());
        for id in std::mem::take(&mut self.order) {
            let pending = std::mem::take(&mut self.blocks[id.0 as usize]);
            let (mut end, end_place) = pending.end.unwrap_or((Terminator::Trap, Place::default()));
            match &mut end {
                Terminator::Jump(to) => renumber(to),
                Terminator::Branch { then, otherwise, .. } => {
                    renumber(then);
                    renumber(otherwise);
                }
                Terminator::Switch { targets, .. } => targets.iter_mut().for_each(renumber),
                Terminator::Return | Terminator::Exit | Terminator::Trap => {}
            }
            blocks.push(Block { insts: pending.insts, end, end_place });
        }
        let align = self.local_align.max(16);
        let base = self.lasting_bytes.next_multiple_of(align);
        for id in &self.passing {
            self.locals[id.0 as usize].offset += base;
        }
        let bytes = if self.passing_most == 0 { self.lasting_bytes } else { base + self.passing_most };
        (blocks, bytes.next_multiple_of(align))
    }
}

/// The largest frame of one activation.
const MOST_FRAME_BYTES: u32 = 1 << 24;

/// How long a variable of a frame is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// As long as the activation.
    Activation,
    /// As long as its scope is open.
    Scope,
}

/// What a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It can be launched.
    Entry,
    /// It can be called.
    Func,
}
