//! Commands of a CUDA stream that a guest could mean, as bytes choose them.

use dxg_wire::codec::Encoder;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::image_kind;
use dxg_wire::cuda::op;

use crate::cuda_texts::ENTRIES;
use crate::input::Input;
use crate::input::Known;

/// Where the guest's block lies in IO space.
pub(crate) const BLOCK: u64 = 0x2_0000_0000;
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
/// Where cells lie.
const CELLS_IO: u64 = BLOCK + 0x1_0000;
/// Where the status block lies.
pub(crate) const STATUS_IO: u64 = BLOCK + 0x1_F000;
/// Where an indirect block lies.
pub(crate) const INDIRECT_OFFSET: usize = 0x2_0000;
pub(crate) const INDIRECT: u64 = BLOCK + INDIRECT_OFFSET as u64;
/// Where a text lies.
pub(crate) const TEXT_OFFSET: usize = 0x4_0000;
pub(crate) const TEXT_BYTES: usize = 0x1_0000;
const TEXT_IO: u64 = BLOCK + TEXT_OFFSET as u64;
/// Where the FIFO lies.
const FIFO_IO: u64 = BLOCK + 0x6_0000;
/// What is device memory.
pub(crate) const DEVICE_IO: u64 = BLOCK + 0x8_0000;
pub(crate) const DEVICE_BYTES: u64 = 0x8_0000;
/// Addresses of the context.
pub(crate) const RANGE: u64 = 0x2000_0000_0000;
pub(crate) const RANGE_BYTES: u64 = 1 << 32;
/// Where modules' variables lie, and how far apart.
const VARIABLES: u64 = RANGE + 0x7_0000;
const APART: u64 = 0x1000;
/// Streams that commands name.
const STREAMS: usize = 6;

/// All operations, those that are reached through others more often.
const OPS: [u16; 32] = [
    op::LAUNCH,
    op::LAUNCH,
    op::LAUNCH,
    op::LAUNCH,
    op::LAUNCH,
    op::LAUNCH,
    op::LOAD_MODULE,
    op::LOAD_MODULE,
    op::PLACE_MODULE,
    op::PLACE_MODULE,
    op::PLACE_MODULE,
    op::COPY,
    op::COPY,
    op::COPY_3D,
    op::COPY_3D,
    op::FILL,
    op::FILL,
    op::WAIT_STREAM,
    op::WAIT_CELL,
    op::SIGNAL_CELL,
    op::TIMESTAMP,
    op::WRITE_VALUE,
    op::WAIT_VALUE,
    op::MAP,
    op::UNMAP,
    op::CREATE_STREAM,
    op::DESTROY_STREAM,
    op::SET_FIFO,
    op::SET_HEAP,
    op::READ_MODULE,
    op::UNLOAD_MODULE,
    op::OPEN,
];

/// A command.
pub(crate) struct Chosen {
    pub(crate) opcode: u16,
    pub(crate) body: Vec<u8>,
}

/// What the guest knows of what it made.
pub(crate) struct Guessing {
    pub(crate) known: Known,
    /// Bytes of the text that is to be loaded.
    pub(crate) text_bytes: u64,
    /// Numbers of the streams that there are, with that of their last entry.
    streams: Vec<(u32, u64)>,
    next_stream: u32,
    next_module: u64,
    loaded: Vec<u64>,
    placed: Vec<u64>,
}

impl Guessing {
    pub(crate) fn new() -> Self {
        let known = Known::new(&[
            RANGE,
            RANGE + DEVICE_BYTES,
            RANGE + DEVICE_BYTES - 8,
            RANGE + RANGE_BYTES,
            RANGE + RANGE_BYTES - 0x1_0000,
            BLOCK,
            DEVICE_IO,
            CELLS_IO,
            STATUS_IO,
            TEXT_IO,
            BLOCK + BLOCK_BYTES as u64,
            1,
            2,
        ]);
        Self {
            known,
            text_bytes: 0,
            streams: Vec::new(),
            next_stream: 0,
            next_module: 1,
            loaded: Vec::new(),
            placed: Vec::new(),
        }
    }

    /// A stream that there was not.
    pub(crate) fn new_stream(&mut self) -> wire::CreateStream {
        let stream = self.next_stream;
        self.next_stream += 1;
        if self.streams.len() < STREAMS {
            self.streams.push((stream, 0));
        }
        let progress_io = CELLS_IO + u64::from(stream) * 64;
        wire::CreateStream { stream, priority: 0, progress_io }
    }

    /// A module was loaded, or not.
    pub(crate) fn loaded(&mut self, answer: &wire::ModuleLoaded) {
        if answer.result == 0 {
            self.loaded.push(self.next_module - 1);
        }
    }

    /// Loads the text.
    pub(crate) fn load(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        let module = self.next_module;
        self.next_module += 1;
        let how = input.u8();
        let kind = if how == 0xFF { image_kind::BINARY } else { image_kind::PTX };
        let image = wire::Image { kind, io: TEXT_IO, bytes: self.text_bytes, name: b"text".to_vec() };
        let images = if how & 0xF0 == 0xE0 { vec![image.clone(), image] } else { vec![image] };
        let load =
            wire::LoadModule { module, images: wire::List(images), optimization: 4, log_bytes: how.into() };
        encoded(|e| load.encode(e))
    }

    /// Places a module that has no place.
    pub(crate) fn place(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        let module = match self.loaded.pop() {
            Some(module) => {
                self.placed.push(module);
                module
            }
            None => u64::from(input.u8() % 4),
        };
        let place = wire::PlaceModule { module, address: VARIABLES + module % 8 * APART };
        encoded(|e| place.encode(e))
    }

    /// The next command. What loads and places modules has no body yet.
    pub(crate) fn choose(&mut self, input: &mut Input<'_>) -> Chosen {
        let opcode = OPS[usize::from(input.u8()) % OPS.len()];
        let has_module = !self.loaded.is_empty() || !self.placed.is_empty();
        let opcode = match opcode {
            op::PLACE_MODULE | op::LAUNCH | op::READ_MODULE | op::UNLOAD_MODULE if !has_module => {
                op::LOAD_MODULE
            }
            op::LAUNCH if self.placed.is_empty() => op::PLACE_MODULE,
            op::PLACE_MODULE if self.loaded.is_empty() => op::LAUNCH,
            other => other,
        };
        let body = match opcode {
            op::LOAD_MODULE | op::PLACE_MODULE => Vec::new(),
            op::LAUNCH | op::COPY | op::COPY_3D | op::FILL => self.work(opcode, input),
            op::WAIT_STREAM..=op::WAIT_VALUE => self.meeting(opcode, input),
            _ => self.state(opcode, input),
        };
        Chosen { opcode, body }
    }

    /// A stream and the number of its next entry.
    fn turn(&mut self, input: &mut Input<'_>) -> (u32, u64) {
        let pick = usize::from(input.u8()) % self.streams.len().max(1);
        match self.streams.get_mut(pick) {
            Some((stream, sequence)) => {
                *sequence += 1;
                (*stream, *sequence)
            }
            None => (0, 1),
        }
    }

    fn address(&self, input: &mut Input<'_>) -> u64 {
        match input.u8() {
            0..0xC0 => RANGE + u64::from(input.u16()) * 8,
            0xC0..0xE0 => RANGE + DEVICE_BYTES - u64::from(input.u8()),
            pick @ 0xE0..0xFC => self.known.pick(pick - 0xE0),
            _ => input.u64(),
        }
    }

    fn amount(&self, input: &mut Input<'_>) -> u64 {
        match input.u8() {
            0..0x80 => input.u8().into(),
            0x80..0xE8 => input.u16().into(),
            pick @ 0xE8..0xFC => self.known.pick(pick - 0xE8),
            _ => input.u64(),
        }
    }

    fn io(&self, input: &mut Input<'_>) -> u64 {
        match input.u8() {
            0..0xF0 => CELLS_IO + u64::from(input.u8() % 16) * 64,
            pick => self.known.pick(pick - 0xF0),
        }
    }

    fn extent(&self, input: &mut Input<'_>) -> [u32; 3] {
        let along = |input: &mut Input<'_>| match input.u8() {
            0..0xA0 => 1,
            small @ 0xA0..0xF8 => u32::from(small % 32) + 1,
            0xF8 => 0,
            _ => input.u16().into(),
        };
        [along(input), along(input), along(input)]
    }

    fn work(&mut self, opcode: u16, input: &mut Input<'_>) -> Vec<u8> {
        let (stream, sequence) = self.turn(input);
        let (to, from) = (self.address(input), self.address(input));
        match opcode {
            op::LAUNCH => {
                let pick = usize::from(input.u8()) % self.placed.len().max(1);
                let which = input.u8();
                let mut params = Vec::new();
                for number in [to, from, self.amount(input), 0] {
                    params.extend(number.to_le_bytes());
                }
                let launch = wire::Launch {
                    stream,
                    flags: u32::from(which >> 7),
                    sequence,
                    module: self.placed.get(pick).copied().unwrap_or(1),
                    function: u32::from(which) % ENTRIES,
                    grid: self.extent(input),
                    block: self.extent(input),
                    shared_bytes: if which & 0x40 == 0 { 0 } else { input.u16().into() },
                    params,
                };
                encoded(|e| launch.encode(e))
            }
            op::COPY => {
                let copy = wire::Copy { stream, sequence, to, from, bytes: self.amount(input) };
                encoded(|e| copy.encode(e))
            }
            op::COPY_3D => {
                let copy = wire::Copy3d {
                    stream,
                    sequence,
                    to,
                    to_pitch: self.amount(input),
                    to_slice: self.amount(input),
                    from,
                    from_pitch: self.amount(input),
                    from_slice: self.amount(input),
                    width_bytes: self.amount(input),
                    height: self.amount(input),
                    depth: self.amount(input),
                };
                encoded(|e| copy.encode(e))
            }
            _ => {
                let fill = wire::Fill {
                    stream,
                    value_bytes: 1 << (input.u8() % 3),
                    sequence,
                    to,
                    pitch: self.amount(input),
                    width: self.amount(input),
                    height: self.amount(input),
                    value: input.u32(),
                };
                encoded(|e| fill.encode(e))
            }
        }
    }

    /// What streams meet at: each other, cells, numbers in memory.
    fn meeting(&mut self, opcode: u16, input: &mut Input<'_>) -> Vec<u8> {
        let (stream, sequence) = self.turn(input);
        let bytes = if input.u8() & 1 == 0 { 4 } else { 8 };
        let place = self.address(input) & !u64::from(bytes - 1);
        match opcode {
            op::WAIT_STREAM => {
                let other = u32::from(input.u8()) % (self.next_stream + 1);
                let other_sequence = if other == stream { sequence - 1 } else { u64::from(input.u8() % 16) };
                let wait = wire::WaitStream { stream, other, sequence, other_sequence };
                encoded(|e| wait.encode(e))
            }
            op::WAIT_CELL => {
                let wait =
                    wire::WaitCell { stream, sequence, cell_io: self.io(input), value: input.u8().into() };
                encoded(|e| wait.encode(e))
            }
            op::SIGNAL_CELL => {
                let (cell_io, value) = (self.io(input), self.amount(input));
                encoded(|e| wire::SignalCell { stream, sequence, cell_io, value }.encode(e))
            }
            op::TIMESTAMP => {
                let io = self.io(input) + 8 * u64::from(input.u8() % 8);
                encoded(|e| wire::Timestamp { stream, sequence, io }.encode(e))
            }
            op::WRITE_VALUE => {
                let value = self.amount(input);
                encoded(|e| wire::WriteValue { stream, bytes, sequence, to: place, value }.encode(e))
            }
            _ => {
                let (value, compare) = (self.amount(input), u32::from(input.u8()));
                let wait = wire::WaitValue { stream, bytes, sequence, at: place, value, compare };
                encoded(|e| wait.encode(e))
            }
        }
    }

    /// What acts at once.
    fn state(&mut self, opcode: u16, input: &mut Input<'_>) -> Vec<u8> {
        let page = |input: &mut Input<'_>| u64::from(input.u8()) * 0x1000;
        match opcode {
            op::MAP => {
                let address = RANGE + DEVICE_BYTES + page(input) * 8;
                let map = wire::Map {
                    address,
                    io: BLOCK + page(input) % 0xF_0000,
                    bytes: 0x1000 + page(input) % 0x8000,
                };
                encoded(|e| map.encode(e))
            }
            op::UNMAP => {
                let unmap = wire::Unmap {
                    address: RANGE + page(input) % DEVICE_BYTES,
                    bytes: 0x1000 + page(input) % 0x4000,
                };
                encoded(|e| unmap.encode(e))
            }
            op::CREATE_STREAM => {
                let create = self.new_stream();
                let create = wire::CreateStream { priority: i32::from(input.u8() % 6) - 5, ..create };
                encoded(|e| create.encode(e))
            }
            op::DESTROY_STREAM => {
                let pick = usize::from(input.u8()) % self.streams.len().max(1);
                let known = pick < self.streams.len();
                let stream = if known { self.streams.swap_remove(pick).0 } else { 0 };
                encoded(|e| wire::StreamRef { stream }.encode(e))
            }
            op::SET_FIFO => {
                let bytes = match input.u8() {
                    0 => 0,
                    pick => 128 + (1 << (pick % 13)),
                };
                encoded(|e| wire::SetFifo { io: FIFO_IO, bytes }.encode(e))
            }
            op::SET_HEAP => {
                let heap = wire::SetHeap { address: RANGE + page(input), bytes: self.amount(input) };
                encoded(|e| heap.encode(e))
            }
            op::READ_MODULE => {
                let module = self.some_module(input);
                let read = wire::ReadModule { module, offset: input.u8().into(), bytes: self.amount(input) };
                encoded(|e| read.encode(e))
            }
            op::UNLOAD_MODULE => {
                let module = self.some_module(input);
                self.loaded.retain(|other| *other != module);
                self.placed.retain(|other| *other != module);
                encoded(|e| wire::ModuleRef { module }.encode(e))
            }
            _ => {
                let open = wire::Open {
                    version: wire::VERSION,
                    compute_capability: 75,
                    range_start: RANGE + page(input),
                    range_bytes: page(input),
                    status_io: self.io(input),
                };
                encoded(|e| open.encode(e))
            }
        }
    }

    fn some_module(&self, input: &mut Input<'_>) -> u64 {
        let pick = usize::from(input.u8()) % (self.loaded.len() + self.placed.len()).max(1);
        self.placed.iter().chain(&self.loaded).nth(pick).copied().unwrap_or(1)
    }
}

fn encoded(put: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut e = Encoder::new();
    put(&mut e);
    e.as_slice().to_vec()
}
