//! One thread of ours that runs blocks of a grid.

// UNSAFETY: enters generated code with a context that fits it, and names exchange areas in the frames.
#![expect(unsafe_code, reason = "enters generated code")]

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::exec::Fault;
use crate::exec::FaultKind;
use crate::exec::Host;
use crate::exec::Launch;
use crate::interp::memory::Buffer;
use crate::interp::memory::Memory;
use crate::interp::memory::Stack;
use crate::ir::Inst;
use crate::ir::Place;
use crate::ir::Space;
use crate::native::call;
use crate::native::call::Lanes;
use crate::native::callbacks::HELPERS;
use crate::native::code::Code;
use crate::native::context::Context;
use crate::native::context::Lane;
use crate::native::context::fault;
use crate::native::context::status;
use crate::native::prepare::Prepared;
use crate::native::words::Exchange;
use crate::native::words::LaneTable;

/// At least the greatest access.
const MEMORY_ALIGN: u64 = 64;

/// What all blocks of a grid share.
pub(crate) struct Grid<'g> {
    pub(super) prepared: &'g Prepared,
    pub(super) code: &'g Code,
    pub(super) globals: &'g [u64],
    pub(super) launch: &'g Launch,
    pub(super) host: &'g dyn Host,
    pub(super) started: Instant,
}

impl Grid<'_> {
    pub(super) fn threads(&self) -> u32 {
        u32::try_from(self.launch.thread_count()).unwrap_or(0)
    }

    /// Shared memory of a block.
    pub(super) fn shared_bytes(&self) -> u64 {
        self.prepared.dynamic_start.saturating_add(u64::from(self.launch.dynamic_shared_bytes))
    }

    /// Threads that have a stack of their own.
    fn stacks(&self) -> u32 {
        self.prepared.stacks(self.threads())
    }
}

/// Memory of a block, used again by the next one.
pub(super) struct Resources {
    /// Shared memory, parameters.
    spaces: [Buffer; 2],
    stacks: Buffer,
}

impl Resources {
    pub(super) fn new(grid: &Grid<'_>) -> Self {
        let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX / 4);
        let stacks = u64::from(grid.stacks()) * u64::from(grid.prepared.stack_bytes);
        let shared = Buffer::new(bytes(grid.shared_bytes()) + 16);
        // A little more than asked: parameters are read in whole words.
        let params = Buffer::new(grid.launch.params.len() + 16);
        Self { spaces: [shared, params], stacks: Buffer::new(bytes(stacks)) }
    }
}

/// A block that runs.
pub(crate) struct Run<'g> {
    pub(super) grid: &'g Grid<'g>,
    pub(super) memory: Memory<'g>,
    stacks: std::ops::Range<u64>,
    pub(super) lanes: LaneTable,
    context: Context,
    told: Cell<Option<FaultKind>>,
}

impl<'g> Run<'g> {
    pub(super) fn new(grid: &'g Grid<'g>, resources: &'g Resources) -> Self {
        let memory = Memory::new(grid.host, &resources.spaces, grid.shared_bytes());
        memory.set_params(&grid.launch.params);
        let range = grid.host.memory();
        // Alignment is checked from the base on; a base that is less aligned than any access moves up.
        let memory_base = range.start.checked_next_multiple_of(MEMORY_ALIGN).unwrap_or(range.end);
        let at = |address: u64| std::ptr::with_exposed_provenance_mut::<u8>(address as usize);
        let count = if grid.prepared.is_alone() { 0 } else { grid.threads() as usize };
        let lanes = LaneTable::new(count);
        let context = Context {
            helpers: &raw const HELPERS,
            globals: grid.globals.as_ptr(),
            params: at(memory.window(Space::Param, &Stack::default())),
            memory_base,
            memory_bytes: range.end.saturating_sub(memory_base),
            shared: at(memory.window(Space::Shared, &Stack::default())),
            shared_bytes: grid.shared_bytes(),
            frames: at(resources.stacks.range().start),
            frame_stride: u64::from(grid.prepared.stack_bytes),
            lanes: std::ptr::null_mut(),
            block_extent: grid.launch.block,
            grid_extent: grid.launch.grid,
            block_index: [0; 3],
            first_thread: [0; 3],
            grid_id: grid.launch.grid_id,
            workspace: grid.launch.workspace,
            static_shared_bytes: u32::try_from(grid.prepared.static_shared_bytes).unwrap_or(0),
            dynamic_shared_bytes: grid.launch.dynamic_shared_bytes,
            stop: std::ptr::from_ref(grid.host.stop()),
            fault_kind: 0,
            fault_inst: 0,
            fault_lane: 0,
            unit: 0,
            fault_address: 0,
            scratch: [0; 8],
            run: std::ptr::null(),
            saved_stack: 0,
            code_start: grid.code.range().start,
            code_end: grid.code.range().end,
            signal: 0,
            padding: 0,
            signal_pc: 0,
            signal_address: 0,
        };
        Self { grid, memory, stacks: resources.stacks.range(), lanes, context, told: Cell::new(None) }
    }

    /// Starts with a block.
    pub(super) fn set_block(&mut self, number: u64) {
        self.context.block_index = self.grid.launch.block_index(number);
        self.lanes.get_mut().fill(Lane::default());
    }

    pub(super) fn inst(&self, unit: u32, number: u32) -> Option<&'g Inst> {
        self.grid.prepared.units.get(unit as usize)?.inst(number)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.grid.host.stop().load(Ordering::Relaxed)
    }

    pub(super) fn started(&self) -> Instant {
        self.grid.started
    }

    /// Notes a fault that a helper found.
    pub(super) fn tell(&self, kind: FaultKind) {
        self.told.set(Some(kind));
    }

    /// `%tid` of a lane.
    pub(super) fn thread_of(&self, lane: u32) -> [u32; 3] {
        let [x, y, _] = self.grid.launch.block.map(|extent| extent.max(1));
        [lane % x, lane / x % y, lane / x / y]
    }

    /// The stack of a lane, with its running frame's variables at the base.
    pub(super) fn stack(&self, lane: u32, frame: u64) -> Stack {
        let stride = u64::from(self.grid.prepared.stack_bytes);
        let prepared = self.grid.prepared;
        let lane = if prepared.is_alone() { lane % prepared.stacks(1) } else { lane };
        let start = self.stacks.start + u64::from(lane) * stride;
        Stack { range: start..start + stride, frame }
    }

    /// In which space other than global all these addresses are.
    pub(super) fn space_of(&self, context: &Context, address: u64, bytes: u32) -> Option<Space> {
        let within = |start: u64, length: u64| {
            address.checked_sub(start).is_some_and(|offset| offset.saturating_add(u64::from(bytes)) <= length)
        };
        if within(context.shared.addr() as u64, context.shared_bytes) {
            Some(Space::Shared)
        } else if within(self.stacks.start, self.stacks.end - self.stacks.start) {
            Some(Space::Local)
        } else if within(context.params.addr() as u64, self.grid.launch.params.len() as u64) {
            Some(Space::Param)
        } else {
            None
        }
    }

    /// The frame of a lane's running activation.
    pub(super) fn frame(&self, lane: u32) -> u64 {
        let own = self.lanes.get().get(lane as usize).copied().unwrap_or_default();
        self.stack(lane, 0).range.start + u64::from(own.frame)
    }

    /// Where a lane that stands at a point of a unit has put its operands.
    pub(super) fn exchange(&self, lane: u32, unit: u32) -> Option<Exchange> {
        let frame = &self.grid.prepared.units.get(unit as usize)?.regions.frame;
        // SAFETY: generated code keeps frames within the stacks, which live as long as the run and are named by address only.
        Some(unsafe { Exchange::new(self.frame(lane) + u64::from(frame.exchange), frame.exchange_words) })
    }

    /// The same of lanes that follow each other and stand at points of one unit.
    pub(super) fn exchanges(&self, first: usize, count: usize, unit: u32) -> [Option<Exchange>; 32] {
        let mut found = [None; 32];
        let Some(unit) = self.grid.prepared.units.get(unit as usize) else { return found };
        let frame = &unit.regions.frame;
        let stride = u64::from(self.grid.prepared.stack_bytes);
        let start = self.stack(u32::try_from(first).unwrap_or(0), 0).range.start + u64::from(frame.exchange);
        let lanes = self.lanes.get().iter().skip(first).take(count);
        for ((found, lane), number) in found.iter_mut().zip(lanes).zip(0_u64..) {
            let address = start + number * stride + u64::from(lane.frame);
            // SAFETY: as for `exchange`.
            *found = Some(unsafe { Exchange::new(address, frame.exchange_words) });
        }
        found
    }

    /// Runs lanes of a unit from a point of it.
    pub(super) fn enter(&mut self, unit: u32, lanes: Lanes) -> Result<(), Fault> {
        let Some(code) = self.grid.code.function(unit) else {
            return Err(self.fault(FaultKind::InvalidTarget));
        };
        let [x, y, z] = self.thread_of(lanes.begin);
        self.context.first_thread = [x, y, z];
        self.context.unit = unit;
        self.context.lanes = self.lanes.pointer();
        self.context.run = (&raw const *self).cast();
        let context = &raw mut self.context;
        // SAFETY: the context is ours; helpers get it back as the one reference to it, and reach the rest of `self` as shared.
        let context = unsafe { &mut *context };
        // SAFETY: `code` is the function of a unit of this program, in memory that the grid keeps; the context was made for the program:
        // ranges and pointers are those of the launch, lanes are within the block.
        let status = unsafe { call::call(code, context, lanes) };
        match status {
            status::DONE => Ok(()),
            status::SIGNAL => Err(self.signal_fault()),
            _ => Err(self.check_fault(unit)),
        }
    }

    /// A fault without a place.
    pub(super) fn fault(&self, kind: FaultKind) -> Fault {
        let function = self.grid.prepared.units.first().map(|unit| unit.function.name.clone());
        Fault {
            kind,
            function: function.unwrap_or_default(),
            place: Place::default(),
            block: self.context.block_index,
            thread: None,
        }
    }

    /// A fault at an instruction.
    pub(super) fn fault_at(&self, kind: FaultKind, (unit, inst): (u32, u32), lane: Option<u32>) -> Fault {
        let mut fault = self.fault(kind);
        if let Some(unit) = self.grid.prepared.units.get(unit as usize) {
            fault.function.clone_from(&unit.function.name);
            fault.place = unit.place(inst);
        }
        fault.thread = lane.map(|lane| self.thread_of(lane));
        fault
    }

    fn signal_fault(&self) -> Fault {
        let address = self.context.signal_address;
        let kind = match self.context.signal.cast_signed() {
            libc::SIGSEGV => FaultKind::IllegalAddress { address: Some(address) },
            libc::SIGBUS => FaultKind::IllegalAddress { address: Some(address) },
            _ => FaultKind::Trap,
        };
        let place = self.grid.code.find(self.context.signal_pc).unwrap_or_default();
        self.fault_at(kind, place, None)
    }

    fn check_fault(&self, unit: u32) -> Fault {
        let address = self.context.fault_address;
        let kind = match self.context.fault_kind {
            fault::TOLD => self.told.take().unwrap_or(FaultKind::Trap),
            fault::TRAP => FaultKind::Trap,
            fault::STOPPED => FaultKind::Stopped,
            fault::INVALID_TARGET => FaultKind::InvalidTarget,
            fault::STACK_OVERFLOW => FaultKind::StackOverflow,
            // A helper may know better why.
            align => match self.told.take() {
                Some(kind) => kind,
                None if !address.is_multiple_of(u64::from(align.max(1))) => FaultKind::Misaligned { address },
                None => FaultKind::IllegalAddress { address: Some(address) },
            },
        };
        self.fault_at(kind, (unit, self.context.fault_inst), Some(self.context.fault_lane))
    }
}
