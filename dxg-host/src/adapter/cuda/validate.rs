//! From bytes to commands: everything that can be judged without knowing what exists.
//!
//! What exists (streams, modules, windows) is looked up by [`super::server`], which takes only these types.

use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::cuda;
use dxg_wire::cuda::launch_flags;
use dxg_wire::cuda::op;
use dxg_wire::cuda::wait_value;

use super::range;
use super::range::FillUnit;
use super::work::Awaited;
use super::work::Box3d;
use super::work::Comparison;
use super::work::Number;
use super::work::Rows;
use super::work::Side;
use crate::failure::Violation;

/// Most bytes of the images of one module together.
const MOST_IMAGE_BYTES: u64 = 256 << 20;
/// Most images of one module.
const MOST_IMAGES: usize = 1024;
/// Most bytes of an image's name.
const MOST_NAME_BYTES: usize = 4096;
/// Stream numbers are below this.
const STREAMS: u32 = 1 << 16;
/// Most bytes of a parameter block.
const MOST_PARAM_BYTES: usize = 32 << 10;

/// Work of a stream, in the order of its sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Launch(cuda::Launch),
    Copy { to: u64, from: u64, bytes: u64 },
    Copy3d(Box3d),
    Fill(Rows),
    WaitStream { other: u32, sequence: u64 },
    WaitCell { cell_io: u64, value: u64 },
    SignalCell { cell_io: u64, value: u64 },
    Timestamp { io: u64 },
    WriteValue { number: Number, value: u64 },
    WaitValue(Awaited),
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Open(cuda::Open),
    Map(cuda::Map),
    Unmap(cuda::Unmap),
    Allocate(u64),
    Free(u64),
    LoadModule(cuda::LoadModule),
    ReadModule(cuda::ReadModule),
    PlaceModule(cuda::PlaceModule),
    FindSymbol(cuda::FindSymbol),
    UnloadModule(u64),
    CreateStream(cuda::CreateStream),
    DestroyStream(u32),
    SetFifo(cuda::SetFifo),
    SetHeap(cuda::SetHeap),
    SetLimit(cuda::SetLimit),
    Work { stream: u32, sequence: u64, task: Task },
}

/// The name of an operation.
pub(super) fn name(opcode: u16) -> &'static str {
    match opcode {
        op::OPEN => "OPEN",
        op::MAP => "MAP",
        op::UNMAP => "UNMAP",
        op::ALLOCATE => "ALLOCATE",
        op::FREE => "FREE",
        op::LOAD_MODULE => "LOAD_MODULE",
        op::READ_MODULE => "READ_MODULE",
        op::PLACE_MODULE => "PLACE_MODULE",
        op::UNLOAD_MODULE => "UNLOAD_MODULE",
        op::FIND_SYMBOL => "FIND_SYMBOL",
        op::CREATE_STREAM => "CREATE_STREAM",
        op::DESTROY_STREAM => "DESTROY_STREAM",
        op::SET_FIFO => "SET_FIFO",
        op::SET_HEAP => "SET_HEAP",
        op::SET_LIMIT => "SET_LIMIT",
        op::LAUNCH => "LAUNCH",
        op::COPY => "COPY",
        op::COPY_3D => "COPY_3D",
        op::FILL => "FILL",
        op::WAIT_STREAM => "WAIT_STREAM",
        op::WAIT_CELL => "WAIT_CELL",
        op::SIGNAL_CELL => "SIGNAL_CELL",
        op::TIMESTAMP => "TIMESTAMP",
        op::WRITE_VALUE => "WRITE_VALUE",
        op::WAIT_VALUE => "WAIT_VALUE",
        _ => "unknown operation",
    }
}

/// Whether an operation is nothing without a place for its answer.
pub(super) fn is_question(opcode: u16) -> bool {
    matches!(opcode, op::OPEN | op::ALLOCATE | op::LOAD_MODULE | op::READ_MODULE | op::FIND_SYMBOL)
}

/// The command of an entry.
///
/// # Errors
/// When no honest guest sends it.
pub(super) fn command(opcode: u16, body: &[u8]) -> Result<Command, Violation> {
    let name = name(opcode);
    let mut from = Decoder::new(body);
    let command = decode(opcode, &mut from).map_err(|_| Violation::new(name, "malformed"))?;
    from.finish().map_err(|_| Violation::new(name, "bytes behind the end"))?;
    let command = command.ok_or(Violation::new("CUDA stream", "unknown operation"))?;
    check(&command).map_err(|what| Violation::new(name, what))?;
    Ok(command)
}

fn work(stream: u32, sequence: u64, task: Task) -> Command {
    Command::Work { stream, sequence, task }
}

fn number(at: u64, bytes: u32) -> Number {
    Number { at, bytes: bytes.into() }
}

fn decode(opcode: u16, from: &mut Decoder<'_>) -> Result<Option<Command>, DecodeError> {
    Ok(Some(match opcode {
        op::OPEN => Command::Open(cuda::Open::decode(from)?),
        op::MAP => Command::Map(cuda::Map::decode(from)?),
        op::UNMAP => Command::Unmap(cuda::Unmap::decode(from)?),
        op::ALLOCATE => Command::Allocate(cuda::Allocate::decode(from)?.bytes),
        op::FREE => Command::Free(cuda::Free::decode(from)?.address),
        op::LOAD_MODULE => Command::LoadModule(cuda::LoadModule::decode(from)?),
        op::READ_MODULE => Command::ReadModule(cuda::ReadModule::decode(from)?),
        op::PLACE_MODULE => Command::PlaceModule(cuda::PlaceModule::decode(from)?),
        op::FIND_SYMBOL => Command::FindSymbol(cuda::FindSymbol::decode(from)?),
        op::UNLOAD_MODULE => Command::UnloadModule(cuda::ModuleRef::decode(from)?.module),
        op::CREATE_STREAM => Command::CreateStream(cuda::CreateStream::decode(from)?),
        op::DESTROY_STREAM => Command::DestroyStream(cuda::StreamRef::decode(from)?.stream),
        op::SET_FIFO => Command::SetFifo(cuda::SetFifo::decode(from)?),
        op::SET_HEAP => Command::SetHeap(cuda::SetHeap::decode(from)?),
        op::SET_LIMIT => Command::SetLimit(cuda::SetLimit::decode(from)?),
        _ => return decode_work(opcode, from),
    }))
}

fn decode_work(opcode: u16, from: &mut Decoder<'_>) -> Result<Option<Command>, DecodeError> {
    Ok(Some(match opcode {
        op::LAUNCH => {
            let it = cuda::Launch::decode(from)?;
            work(it.stream, it.sequence, Task::Launch(it))
        }
        op::COPY => {
            let it = cuda::Copy::decode(from)?;
            work(it.stream, it.sequence, Task::Copy { to: it.to, from: it.from, bytes: it.bytes })
        }
        op::COPY_3D => {
            let it = cuda::Copy3d::decode(from)?;
            let copy = Box3d {
                to: Side { at: it.to, pitch: it.to_pitch, slice: it.to_slice },
                from: Side { at: it.from, pitch: it.from_pitch, slice: it.from_slice },
                width_bytes: it.width_bytes,
                height: it.height,
                depth: it.depth,
            };
            work(it.stream, it.sequence, Task::Copy3d(copy))
        }
        op::FILL => {
            let it = cuda::Fill::decode(from)?;
            let unit = FillUnit::of(it.value_bytes).ok_or(DecodeError::Malformed)?;
            let row_bytes = it.width.checked_mul(unit.bytes()).ok_or(DecodeError::Malformed)?;
            let (to, pitch, height, value) = (it.to, it.pitch, it.height, it.value);
            work(it.stream, it.sequence, Task::Fill(Rows { to, pitch, row_bytes, height, value, unit }))
        }
        op::WAIT_STREAM => {
            let it = cuda::WaitStream::decode(from)?;
            let task = Task::WaitStream { other: it.other, sequence: it.other_sequence };
            work(it.stream, it.sequence, task)
        }
        op::WAIT_CELL => {
            let it = cuda::WaitCell::decode(from)?;
            work(it.stream, it.sequence, Task::WaitCell { cell_io: it.cell_io, value: it.value })
        }
        op::SIGNAL_CELL => {
            let it = cuda::SignalCell::decode(from)?;
            work(it.stream, it.sequence, Task::SignalCell { cell_io: it.cell_io, value: it.value })
        }
        op::TIMESTAMP => {
            let it = cuda::Timestamp::decode(from)?;
            work(it.stream, it.sequence, Task::Timestamp { io: it.io })
        }
        op::WRITE_VALUE => {
            let it = cuda::WriteValue::decode(from)?;
            let task = Task::WriteValue { number: number(it.to, it.bytes), value: it.value };
            work(it.stream, it.sequence, task)
        }
        op::WAIT_VALUE => {
            let it = cuda::WaitValue::decode(from)?;
            let comparison = match it.compare & 3 {
                wait_value::GEQ => Comparison::NotBehind,
                wait_value::EQ => Comparison::Equal,
                wait_value::AND => Comparison::AnyBit,
                _ => Comparison::NotAllBits,
            };
            let awaited = Awaited { number: number(it.at, it.bytes), value: it.value, comparison };
            work(it.stream, it.sequence, Task::WaitValue(awaited))
        }
        _ => return Ok(None),
    }))
}

fn check(command: &Command) -> Result<(), &'static str> {
    let refuse = |is_wrong: bool, what: &'static str| if is_wrong { Err(what) } else { Ok(()) };
    match command {
        Command::Open(open) => {
            refuse(open.version != cuda::VERSION, "unknown version")?;
            refuse(!matches!(open.compute_capability, 0 | 50..=130), "no compute capability")?;
            refuse(!range::is_plausible(open.range_start, open.range_bytes), "impossible range")
        }
        Command::Map(map) => {
            refuse(!is_pages(map.address) || !is_pages(map.io) || !is_pages(map.bytes), "not whole pages")?;
            refuse(map.bytes == 0, "nothing")
        }
        Command::Unmap(unmap) => {
            refuse(!is_pages(unmap.address) || !is_pages(unmap.bytes), "not whole pages")?;
            refuse(unmap.bytes == 0, "nothing")
        }
        Command::Allocate(bytes) => refuse(*bytes == 0, "nothing"),
        Command::LoadModule(load) => {
            let images = &load.images.0;
            refuse(images.is_empty() || images.len() > MOST_IMAGES, "impossible number of images")?;
            let bytes = images.iter().fold(0_u64, |sum, image| sum.saturating_add(image.bytes));
            refuse(bytes > MOST_IMAGE_BYTES, "images too large")?;
            refuse(load.optimization > 4, "unknown optimisation level")?;
            refuse(
                images.iter().any(|image| image.kind > cuda::image_kind::BINARY),
                "unknown kind of image",
            )?;
            refuse(images.iter().any(|image| image.name.len() > MOST_NAME_BYTES), "name too long")
        }
        Command::FindSymbol(find) => refuse(find.name.len() > MOST_NAME_BYTES, "name too long"),
        Command::CreateStream(create) => refuse(create.stream >= STREAMS, "stream number too large"),
        Command::Work { task, .. } => check_task(task),
        _ => Ok(()),
    }
}

fn check_task(task: &Task) -> Result<(), &'static str> {
    let is_number = |number: &Number| matches!(number.bytes, 4 | 8) && number.at.is_multiple_of(number.bytes);
    match task {
        Task::Launch(launch) if launch.flags & !launch_flags::COOPERATIVE != 0 => Err("unknown flags"),
        Task::Launch(launch) if launch.params.len() > MOST_PARAM_BYTES => Err("too many parameter bytes"),
        Task::WriteValue { number, .. } if !is_number(number) => Err("no number of 4 or 8 bytes"),
        Task::WaitValue(awaited) if !is_number(&awaited.number) => Err("no number of 4 or 8 bytes"),
        _ => Ok(()),
    }
}

fn is_pages(value: u64) -> bool {
    value.is_multiple_of(range::PAGE)
}

#[cfg(test)]
mod tests {
    use dxg_wire::codec::Encoder;

    use super::*;

    fn entry(put: impl FnOnce(&mut Encoder)) -> Vec<u8> {
        let mut encoder = Encoder::new();
        put(&mut encoder);
        encoder.as_slice().to_vec()
    }

    #[test]
    fn fill_knows_the_bytes_of_its_rows() {
        let fill = cuda::Fill {
            stream: 3,
            value_bytes: 2,
            sequence: 9,
            to: 0x1000,
            pitch: 64,
            width: 10,
            height: 2,
            value: 7,
        };
        let Ok(Command::Work { stream, sequence, task: Task::Fill(rows) }) =
            command(op::FILL, &entry(|e| fill.encode(e)))
        else {
            panic!("no fill");
        };
        assert_eq!((stream, sequence, rows.row_bytes, rows.unit), (3, 9, 20, FillUnit::Half));
    }

    #[test]
    fn comparison_bits_above_the_second_are_ignored() {
        let wait =
            cuda::WaitValue { stream: 0, bytes: 4, sequence: 1, at: 64, value: 0, compare: 0x40000001 };
        let Ok(Command::Work { task: Task::WaitValue(awaited), .. }) =
            command(op::WAIT_VALUE, &entry(|e| wait.encode(e)))
        else {
            panic!("no wait");
        };
        assert_eq!(awaited.comparison, Comparison::Equal);
    }

    #[test]
    fn every_operation_has_a_name() {
        let known = [0x8000..=0x8004, 0x8010..=0x8014, 0x8020..=0x8024, 0x8030..=0x8039];
        for opcode in known.into_iter().flatten() {
            assert_ne!(name(opcode), "unknown operation", "{opcode:#x}");
        }
    }

    #[test]
    fn truncated_and_longer_bodies_are_violations() {
        let map = cuda::Map { address: 0x1000, io: 0x1000, bytes: 0x1000 };
        let body = entry(|e| map.encode(e));
        assert!(command(op::MAP, &body).is_ok());
        assert!(command(op::MAP, &body[..16]).is_err());
        assert!(command(op::MAP, &[body, vec![0; 8]].concat()).is_err());
    }
}
