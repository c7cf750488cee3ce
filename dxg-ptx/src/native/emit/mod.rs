//! IR to machine code, by Cranelift.
//!
//! *Shape.* One function of the module becomes one machine function `(context, begin, end, point) -> status` that runs the lanes
//! `begin..end` from one point, one after the other, each until its next point or its end. What is uniform is computed before the
//! loop over lanes. There are no relocations: helpers are called through a table that the context points to, and variables of
//! the module are found through another.

mod alu;
mod atomic;
mod checks;
mod convert;
mod copy;
mod cuts;
mod directed;
mod float;
mod half;
mod integer;
mod machine;
mod memory;
mod packet;
mod special;
mod types;
mod values;

use cranelift_codegen::cursor::Cursor as _;
use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir;
use cranelift_codegen::ir::BlockArg;
use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilder;
use cranelift_frontend::FunctionBuilderContext;
use cranelift_frontend::Variable;

use self::checks::Plan;
use self::packet::Packet;
use crate::ir::BlockId;
use crate::ir::Inst;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::Reg;
use crate::ir::Special;
use crate::ir::Terminator;
use crate::native::code::Targets;
use crate::native::context::EXITED;
use crate::native::context::at;
use crate::native::context::fault;
use crate::native::context::status;
use crate::native::prepare::Prepared;
use crate::native::prepare::Tier;
use crate::native::prepare::Unit;

/// Why a function could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{function}: {what}")]
pub struct EmitError {
    /// Which.
    pub function: String,
    /// What Cranelift or we said.
    pub what: String,
}

/// Machine code of a unit.
pub(crate) struct Emitted {
    pub(crate) code: Vec<u8>,
    /// From code offsets to instructions of the unit, in order.
    pub(crate) places: Vec<(u32, u32)>,
}

/// What the context says, loaded before the loop over lanes where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Helpers,
    Globals,
    Params,
    MemoryBase,
    MemoryBytes,
    Shared,
    SharedBytes,
    Frames,
    FrameStride,
    Lanes,
    Stop,
    BlockExtent(u8),
}

impl Known {
    const fn place(self) -> (usize, i32, Type) {
        let wide = ir::types::I64;
        match self {
            Self::Helpers => (0, at::HELPERS, wide),
            Self::Globals => (1, at::GLOBALS, wide),
            Self::Params => (2, at::PARAMS, wide),
            Self::MemoryBase => (3, at::MEMORY_BASE, wide),
            Self::MemoryBytes => (4, at::MEMORY_BYTES, wide),
            Self::Shared => (5, at::SHARED, wide),
            Self::SharedBytes => (6, at::SHARED_BYTES, wide),
            Self::Frames => (7, at::FRAMES, wide),
            Self::FrameStride => (8, at::FRAME_STRIDE, wide),
            Self::Lanes => (9, at::LANES, wide),
            Self::Stop => (10, at::STOP, wide),
            Self::BlockExtent(axis) => {
                (11 + axis as usize, at::BLOCK_EXTENT + 4 * axis as i32, ir::types::I32)
            }
        }
    }
}

pub(super) struct Emitter<'a, 'f> {
    b: FunctionBuilder<'f>,
    isa: &'a dyn TargetIsa,
    module: &'a Module,
    prepared: &'a Prepared,
    unit: &'a Unit,
    types: Vec<Type>,
    vars: Vec<Option<Variable>>,
    apart: Vec<Option<Value>>,
    blocks: Vec<Option<ir::Block>>,
    plans: Vec<Option<Plan>>,
    context: Value,
    known: [Option<Value>; 14],
    entry: ir::Block,
    /// The jump into the loop over lanes, once it is there.
    entry_end: Option<ir::Inst>,
    bounds: Vec<((u8, u32, u32), Value)>,
    /// The lane's number, `%tid` and frame.
    lane: Value,
    thread: [Value; 3],
    frame: Value,
    next_lane: ir::Block,
    fail: ir::Block,
    /// Where lanes go on, by point.
    resumes: Vec<ir::Block>,
    back_edges: Vec<(ir::Block, BlockId, u32)>,
    spins: Option<Variable>,
    /// The instruction that is emitted.
    inst: u32,
    /// The predicate of the guard of the instruction that is emitted.
    guard_holds: Option<Value>,
    /// Whether the access that is emitted is an atomic operation.
    is_atomic: bool,
    has_fma: bool,
    has_round: bool,
    helper_signatures: [Option<ir::SigRef>; 8],
    /// What the loop over lanes knows of packets, until they are emitted.
    packets_planned: Option<packet::Planned>,
    /// While code for four lanes at once is emitted.
    packet: Option<Packet>,
}

/// Arguments for the parameters that `lane_params` adds.
fn lane_args(used: [bool; 3], lane: Value, thread: [Value; 3]) -> Vec<BlockArg> {
    let axes = (0..3).filter(|&axis| used[axis]).map(|axis| thread[axis]);
    std::iter::once(lane).chain(axes).map(BlockArg::Value).collect()
}

pub(super) const READONLY: MemFlagsData = MemFlagsData::trusted().with_readonly().with_can_move();

/// Compiles a unit.
pub(crate) fn emit(
    targets: Targets<'_>,
    module: &Module,
    (prepared, unit): (&Prepared, &Unit),
    contexts: (&mut cranelift_codegen::Context, &mut FunctionBuilderContext),
) -> Result<Emitted, EmitError> {
    let isa = targets.machine;
    let (context, builder_context) = contexts;
    context.clear();
    let mut signature = ir::Signature::new(isa.default_call_conv());
    signature
        .params
        .extend([ir::types::I64, ir::types::I32, ir::types::I32, ir::types::I32].map(ir::AbiParam::new));
    signature.returns.push(ir::AbiParam::new(ir::types::I32));
    context.func.signature = signature;
    let builder = FunctionBuilder::new(&mut context.func, builder_context);
    let mut emitter = Emitter::start(builder, isa, module, (prepared, unit));
    emitter.function();
    emitter.packets();
    emitter.b.seal_all_blocks();
    emitter.b.finalize(isa.frontend_config());
    let fail = |what: String| EmitError { function: unit.function.name.clone(), what };
    let mut control = cranelift_codegen::control::ControlPlane::default();
    let isa = match prepared.tier {
        Tier::Scalar => targets.of_length(context.func.dfg.num_insts()),
        Tier::Packets => targets.machine,
    };
    let compiled = context.compile(isa, &mut control).map_err(|error| fail(format!("{:?}", error.inner)))?;
    if !compiled.buffer.relocs().is_empty() {
        return Err(fail("the code has relocations".to_owned()));
    }
    let places =
        compiled.buffer.get_srclocs_sorted().iter().map(|place| (place.start, place.loc.bits())).collect();
    Ok(Emitted { code: compiled.code_buffer().to_vec(), places })
}

impl<'a, 'f> Emitter<'a, 'f> {
    fn start(
        mut b: FunctionBuilder<'f>,
        isa: &'a dyn TargetIsa,
        module: &'a Module,
        (prepared, unit): (&'a Prepared, &'a Unit),
    ) -> Self {
        use cranelift_codegen::ir::types::I32;
        use cranelift_codegen::ir::types::I64;
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let context = b.block_params(entry)[0];
        let begin = b.block_params(entry)[1];
        let first = [0, 4, 8].map(|more| b.ins().load(I32, READONLY, context, at::FIRST_THREAD + more));
        let frames = b.ins().load(I64, READONLY, context, at::FRAMES);
        let spins = unit.regions.heads.iter().any(Option::is_some).then(|| b.declare_var(I32));
        let types = types::choose(&unit.function, &unit.flow);
        let vars = vec![None; types.len()];
        let flags = isa.isa_flags();
        let is_set = |name: &str| flags.iter().any(|flag| flag.name == name && flag.as_bool() == Some(true));
        let is_x86 = matches!(isa.triple().architecture.to_string().as_str(), "x86_64");
        let mut emitter = Self {
            apart: vec![None; types.len()],
            blocks: vec![None; unit.function.blocks.len()],
            plans: Vec::new(),
            entry_end: None,
            bounds: Vec::new(),
            lane: begin,
            thread: first,
            frame: frames,
            next_lane: b.create_block(),
            fail: b.create_block(),
            inst: 0,
            guard_holds: None,
            is_atomic: false,
            has_fma: !is_x86 || is_set("has_fma"),
            has_round: !is_x86 || is_set("has_sse41"),
            helper_signatures: [None; 8],
            packets_planned: None,
            packet: None,
            b,
            isa,
            module,
            prepared,
            unit,
            resumes: Vec::new(),
            back_edges: Vec::new(),
            types,
            vars,
            context,
            known: [None; 14],
            entry,
            spins,
        };
        emitter.uniform();
        emitter.lane_loop(entry, begin, first);
        emitter
    }

    /// Computes the uniform registers.
    fn uniform(&mut self) {
        let unit = self.unit;
        for &(block, at) in &unit.uniform.order {
            self.inst = unit.inst_number(block, at);
            let inst = &unit.function.blocks[block as usize].insts[at as usize];
            self.instruction(inst, at as usize);
        }
    }

    fn reads_special(&self, wanted: &[Special]) -> bool {
        self.unit.specials.iter().any(|special| wanted.contains(special))
    }

    /// The loop over lanes, up to where a lane starts.
    fn lane_loop(&mut self, entry: ir::Block, begin: Value, first: [Value; 3]) {
        let used = self.used_axes();
        let head = self.b.create_block();
        let (lane, thread) = self.lane_params(head, first);
        let (end, point) = (self.b.block_params(entry)[2], self.b.block_params(entry)[3]);
        let mut packets = self.unit.packets.is_some().then(|| self.plan_packets(head, end));
        let args = lane_args(used, begin, first);
        self.entry_end = Some(self.b.ins().jump(head, &args));

        self.b.switch_to_block(self.next_lane);
        let (next, next_thread) = self.advance(lane, thread, 1);
        if let Some(packets) = &packets {
            self.end_exit(packets, next);
        }
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, next, end);
        let done = self.b.create_block();
        let args = lane_args(used, next, next_thread);
        self.b.ins().brif(more, head, &args, done, &[]);

        self.b.switch_to_block(done);
        let ok = self.b.ins().iconst(ir::types::I32, i64::from(status::DONE));
        self.b.ins().return_(&[ok]);

        self.emit_fail();
        self.b.switch_to_block(head);
        (self.lane, self.thread) = (lane, thread);
        self.find_frame();
        if let Some(packets) = &mut packets {
            packets.done = Some(done);
            self.choose_packet(packets);
        }
        self.dispatch(point);
        self.packets_planned = packets;
    }

    /// Which axes of `%tid` a lane needs.
    fn used_axes(&self) -> [bool; 3] {
        let [y_used, z_used] =
            [self.reads_special(&[Special::TidY, Special::TidZ]), self.reads_special(&[Special::TidZ])];
        [y_used || self.reads_special(&[Special::TidX]), y_used, z_used]
    }

    /// Adds the lane's number and `%tid` to the parameters of a block.
    fn lane_params(&mut self, block: ir::Block, first: [Value; 3]) -> (Value, [Value; 3]) {
        use cranelift_codegen::ir::types::I32;
        let used = self.used_axes();
        let lane = self.b.append_block_param(block, I32);
        let thread = [0, 1, 2]
            .map(|axis| if used[axis] { self.b.append_block_param(block, I32) } else { first[axis] });
        (lane, thread)
    }

    /// The lane `step` further, which is in the same row or starts another.
    fn advance(&mut self, lane: Value, thread: [Value; 3], step: u32) -> (Value, [Value; 3]) {
        use cranelift_codegen::ir::types::I32;
        let used = self.used_axes();
        let next = self.b.ins().iadd_imm_s(lane, i64::from(step));
        let mut next_thread = thread;
        let mut carry = None;
        for axis in 0..3 {
            if !used[axis] {
                break;
            }
            let stepped = match carry {
                None => self.b.ins().iadd_imm_s(thread[axis], i64::from(step)),
                Some(carry) => {
                    let carry = self.b.ins().uextend(I32, carry);
                    self.b.ins().iadd(thread[axis], carry)
                }
            };
            let extent = self.known(Known::BlockExtent(axis as u8));
            let is_over = self.b.ins().icmp(IntCC::Equal, stepped, extent);
            let zero = self.b.ins().iconst(I32, 0);
            next_thread[axis] = self.b.ins().select(is_over, zero, stepped);
            carry = Some(is_over);
        }
        (next, next_thread)
    }

    /// Where failed checks go: kind, instruction, address, lane.
    fn emit_fail(&mut self) {
        use cranelift_codegen::ir::types::I32;
        use cranelift_codegen::ir::types::I64;
        let fail = self.fail;
        self.b.set_cold_block(fail);
        let [kind, inst, address, lane] = [I32, I32, I64, I32].map(|ty| self.b.append_block_param(fail, ty));
        self.b.switch_to_block(fail);
        let flags = MemFlagsData::trusted();
        for (value, offset) in [
            (kind, at::FAULT_KIND),
            (inst, at::FAULT_INST),
            (address, at::FAULT_ADDRESS),
            (lane, at::FAULT_LANE),
        ] {
            self.b.ins().store(flags, value, self.context, offset);
        }
        let failed = self.b.ins().iconst(I32, i64::from(status::FAULT));
        self.b.ins().return_(&[failed]);
    }

    pub(super) fn fail_args(&mut self, kind: u32, address: Option<Value>) -> [BlockArg; 4] {
        use cranelift_codegen::ir::types::I32;
        let kind = self.b.ins().iconst(I32, i64::from(kind));
        let inst = self.b.ins().iconst(I32, i64::from(self.inst));
        let address = address.unwrap_or_else(|| self.b.ins().iconst(ir::types::I64, 0));
        [kind, inst, address, self.lane].map(BlockArg::Value)
    }

    /// Ends the block here with a fault.
    pub(super) fn fail_always(&mut self, kind: u32) {
        let args = self.fail_args(kind, None);
        self.b.ins().jump(self.fail, &args);
    }

    /// Goes on in a new block unless `bad` is set.
    ///
    /// What leaves a loop comes first in a branch here and elsewhere: Cranelift visits blocks so that it would otherwise not move
    /// what does not change out of the rest of the loop.
    pub(super) fn fail_if(
        &mut self,
        bad: Value,
        kind: u32,
        address: impl FnOnce(&mut Self) -> Option<Value>,
    ) {
        let [cold, next] = [self.b.create_block(), self.b.create_block()];
        self.b.set_cold_block(cold);
        self.b.ins().brif(bad, cold, &[], next, &[]);
        self.b.switch_to_block(cold);
        self.b.seal_block(cold);
        let address = address(self);
        let args = self.fail_args(kind, address);
        self.b.ins().jump(self.fail, &args);
        self.b.switch_to_block(next);
        self.b.seal_block(next);
    }

    /// The same, unless `ok` is not set.
    pub(super) fn fail_unless(&mut self, ok: Value, kind: u32) {
        let bad = self.b.ins().icmp_imm_u(IntCC::Equal, ok, 0);
        self.fail_if(bad, kind, |_| None);
    }

    /// What the context says.
    pub(super) fn known(&mut self, what: Known) -> Value {
        let (index, offset, ty) = what.place();
        if let Some(value) = self.known[index] {
            return value;
        }
        let context = self.context;
        let mut cursor = FuncCursor::new(self.b.func).at_first_insertion_point(self.entry);
        let value = cursor.ins().load(ty, READONLY, context, offset);
        self.known[index] = Some(value);
        value
    }

    /// Emits pure instructions at the end of the entry block.
    pub(super) fn at_entry<T>(&mut self, emit: impl FnOnce(&mut FuncCursor<'_>) -> T) -> T {
        let cursor = FuncCursor::new(self.b.func);
        let mut cursor = match self.entry_end {
            Some(end) => cursor.at_inst(end),
            None => cursor.at_bottom(self.entry),
        };
        cursor.set_srcloc(ir::SourceLoc::default());
        emit(&mut cursor)
    }

    fn cl_block(&mut self, block: BlockId) -> ir::Block {
        let b = &mut self.b;
        *self.blocks[block.0 as usize].get_or_insert_with(|| b.create_block())
    }

    /// All blocks.
    fn function(&mut self) {
        let unit = self.unit;
        for &block in &unit.flow.order {
            let target = self.cl_block(block);
            self.b.switch_to_block(target);
            self.plans = checks::plan(&unit.function.blocks[block.0 as usize]);
            let source = &unit.function.blocks[block.0 as usize];
            for (at, inst) in source.insts.iter().enumerate() {
                let number = unit.inst_number(block.0, at as u32);
                self.inst = number;
                self.b.set_srcloc(ir::SourceLoc::new(number));
                if self.is_apart(inst) {
                    continue;
                }
                if let Some(point) = unit.regions.cut_after(block, at as u32) {
                    self.cut(inst, point);
                } else {
                    self.instruction(inst, at);
                }
            }
            self.inst = unit.inst_number(block.0, source.insts.len() as u32);
            self.b.set_srcloc(ir::SourceLoc::new(self.inst));
            self.end(block, &source.end);
            self.emit_back_edges();
        }
    }

    /// Whether it was computed before the loop over lanes.
    fn is_apart(&self, inst: &Inst) -> bool {
        let mut apart = false;
        crate::analysis::visit::writes(inst, |reg| apart |= self.unit.uniform.regs.has(reg));
        apart
    }

    fn end(&mut self, block: BlockId, end: &Terminator) {
        match end {
            Terminator::Jump(to) => {
                let to = self.edge(block, *to);
                self.b.ins().jump(to, &[]);
            }
            Terminator::Branch { guard, then, otherwise } => {
                let mut holds = self.read(guard.reg);
                let depth = |to: &BlockId| self.unit.loop_depths[to.0 as usize];
                let is_exit_last = depth(otherwise) < depth(&block) && depth(then) >= depth(&block);
                let mut targets = [*then, *otherwise].map(|to| self.edge(block, to));
                if is_exit_last {
                    targets.reverse();
                }
                if is_exit_last == guard.when {
                    holds = self.b.ins().icmp_imm_u(IntCC::Equal, holds, 0);
                }
                self.b.ins().brif(holds, targets[0], &[], targets[1], &[]);
            }
            Terminator::Switch { index, targets } => {
                let index = self.operand(*index, ir::types::I32);
                let trap = self.b.create_block();
                let targets: Vec<ir::Block> = targets.iter().map(|&to| self.edge(block, to)).collect();
                let calls: Vec<ir::BlockCall> = {
                    let pool = &mut self.b.func.dfg.value_lists;
                    targets.iter().map(|&to| ir::BlockCall::new(to, [], pool)).collect()
                };
                let other = ir::BlockCall::new(trap, [], &mut self.b.func.dfg.value_lists);
                let table = self.b.create_jump_table(ir::JumpTableData::new(other, &calls));
                self.b.ins().br_table(index, table);
                self.b.switch_to_block(trap);
                self.fail_always(fault::INVALID_TARGET);
            }
            Terminator::Return if !self.unit.function.is_entry => self.leave(),
            Terminator::Return | Terminator::Exit => {
                if !self.unit.is_alone {
                    self.store_state(EXITED);
                }
                self.b.ins().jump(self.next_lane, &[]);
            }
            Terminator::Trap => self.fail_always(fault::TRAP),
        }
    }

    fn instruction(&mut self, inst: &Inst, at: usize) {
        self.guard_holds = inst.guard.map(|guard| self.read(guard.reg));
        match &inst.op {
            Op::Alu(alu) => self.alu(alu, inst.guard),
            Op::Pack { ty, dst, parts } => self.pack(*ty, *dst, parts, inst.guard),
            Op::Unpack { ty, parts, src } => self.unpack(*ty, parts, *src, inst.guard),
            Op::AddressOf { dst, symbol, offset } => self.address_of(*dst, *symbol, *offset, inst.guard),
            Op::Cvta { dst, src, space, direction } => {
                self.cvta(*dst, *src, (*space, *direction), inst.guard)
            }
            Op::IsSpacep { dst, src, space } => self.is_spacep(*dst, *src, *space, inst.guard),
            Op::Load { .. } => self.load(&inst.op, at),
            Op::Store { .. } => self.store(&inst.op, at),
            Op::Atomic { .. } => self.atomic(&inst.op, at),
            Op::Fence => {
                self.b.ins().fence();
            }
            Op::CopyAsync { .. } => self.copy_async(&inst.op),
            Op::Mbarrier { .. } => self.mbarrier(&inst.op),
            Op::Call(_) => {
                self.effect(&[]);
            }
            Op::Alloca { dst, size, align } => self.alloca(*dst, *size, *align),
            Op::StackSave { dst } => self.stack_save(*dst),
            Op::StackRestore { src } => self.stack_restore(*src),
            Op::Trap | Op::Breakpoint => {
                self.fail_always(fault::TRAP);
                let next = self.b.create_block();
                self.b.switch_to_block(next);
            }
            // These are points: see `cut`.
            Op::Barrier { .. } | Op::Warp { .. } | Op::Yield => {}
        }
    }

    pub(super) fn var(&mut self, reg: Reg) -> Variable {
        let index = reg.0 as usize;
        match self.vars[index] {
            Some(var) => var,
            None => {
                let var = self.b.declare_var(self.types[index]);
                self.vars[index] = Some(var);
                var
            }
        }
    }
}
