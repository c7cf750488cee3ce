//! Calls of commands from the program's side to the driver's: what both sides see is compared.

use std::cell::Cell;
use std::cell::RefCell;
use std::cell::RefMut;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::panic::resume_unwind;
use std::rc::Rc;

use ash::vk;
use ash::vk::Handle;
use bumpalo::Bump;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::stream::ENTRY_HEADER_BYTES;
use dxg_wire::stream::Entries;

use crate::context::AsyncFailure;
use crate::context::DeviceContext;
use crate::context::InstanceContext;
use crate::fill::Fill;
use crate::fill::KNOWN;
use crate::forward::Target;
use crate::host_dispatch;
use crate::host_native::DeviceFns;
use crate::host_native::InstanceFns;
use crate::objects::Objects;
use crate::reader::Reader;
use crate::reader::arena;
use crate::table::BadId;

pub(crate) mod driver;

/// What the driver's functions are called on.
const NATIVE: u64 = 0xD0;

/// The stream that a request goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Instance,
    Device,
}

/// The host's half of one stream of each kind.
pub(crate) struct State {
    device_fns: RefCell<DeviceFns>,
    instance_fns: RefCell<InstanceFns>,
    objects: RefCell<Objects>,
    /// Kept until the next round: what the driver filled is compared behind its pointers.
    arena: Bump,
    next_slot: Cell<u64>,
    failure: RefCell<Option<AsyncFailure>>,
}

impl State {
    fn new() -> Self {
        let mut objects = Objects::default();
        for kind in 0..ObjectKind::COUNT {
            let kind = ObjectKind(kind as u8);
            // Objects of pools come from the first pool.
            let pooled = kind == ObjectKind::DESCRIPTOR_SET || kind == ObjectKind::COMMAND_BUFFER;
            let parent = if pooled { Host::known(1) } else { 0 };
            for slot in 1..=KNOWN {
                let id = Host::known(slot);
                assert_eq!(objects.insert(kind, id, id, parent), Ok(()));
            }
        }
        Self {
            device_fns: RefCell::default(),
            instance_fns: RefCell::default(),
            objects: RefCell::new(objects),
            arena: arena(),
            next_slot: Cell::new(KNOWN),
            failure: RefCell::default(),
        }
    }

    pub(crate) fn new_id(&self) -> u64 {
        self.next_slot.set(self.next_slot.get() + 1);
        Host::known(self.next_slot.get())
    }

    /// Runs a request as the worker does.
    pub(crate) fn dispatch(&self, stream: Stream, op: VkOp, body: &[u8], reply: Option<&mut Encoder>) {
        let outcome = match stream {
            Stream::Instance => {
                let mut context = InstanceContext {
                    fns: &self.instance_fns.borrow(),
                    physical_device: vk::PhysicalDevice::from_raw(NATIVE),
                    objects: Objects::default(),
                    bump: &self.arena,
                    failure: None,
                };
                let outcome = host_dispatch::dispatch_instance(&mut context, op, body, reply);
                self.failure.replace(context.failure);
                outcome
            }
            Stream::Device => {
                let mut context = DeviceContext {
                    fns: &self.device_fns.borrow(),
                    device: vk::Device::from_raw(NATIVE),
                    objects: &mut self.objects.borrow_mut(),
                    bump: &self.arena,
                    failure: None,
                };
                let outcome = host_dispatch::dispatch_device(&mut context, op, body, reply);
                self.failure.replace(context.failure);
                outcome
            }
        };
        outcome.expect("dispatch");
    }
}

/// Both ends of the streams.
pub(crate) struct Host {
    state: Rc<State>,
    device: Box<Target>,
    physical_device: Box<Target>,
    recording: *mut Encoder,
    /// Added to the second word of a recorded command on its way.
    change: u32,
}

impl Host {
    fn new(change: u32) -> Self {
        let state = Rc::new(State::new());
        let target = |stream| Box::new(Target { state: Rc::clone(&state), stream });
        Self {
            device: target(Stream::Device),
            physical_device: target(Stream::Instance),
            recording: Box::into_raw(Box::default()),
            change,
            state,
        }
    }

    /// The id and native handle of an object that exists from the start, of any type.
    pub(crate) fn known(slot: u64) -> u64 {
        slot | 1 << 32
    }

    pub(crate) fn device_fns(&self) -> RefMut<'_, DeviceFns> {
        self.state.device_fns.borrow_mut()
    }

    pub(crate) fn instance_fns(&self) -> RefMut<'_, InstanceFns> {
        self.state.instance_fns.borrow_mut()
    }

    pub(crate) fn device(&self) -> vk::Device {
        vk::Device::from_raw(&raw const *self.device as u64)
    }

    pub(crate) fn physical_device(&self) -> vk::PhysicalDevice {
        vk::PhysicalDevice::from_raw(&raw const *self.physical_device as u64)
    }

    pub(crate) fn command_buffer(&self) -> vk::CommandBuffer {
        vk::CommandBuffer::from_raw(self.recording as u64)
    }

    pub(crate) fn new_id(&self, _kind: ObjectKind) -> u64 {
        self.state.new_id()
    }

    pub(crate) fn lookup(&self, kind: ObjectKind, id: u64) -> Result<u64, BadId> {
        self.state.objects.borrow().lookup(kind, id)
    }

    pub(crate) fn device_stream(&self, op: VkOp, body: &[u8]) -> Vec<u8> {
        let mut answer = Encoder::new();
        self.state.dispatch(Stream::Device, op, body, Some(&mut answer));
        answer.into_vec()
    }

    pub(crate) fn instance_stream(&self, op: VkOp, body: &[u8]) -> Vec<u8> {
        let mut answer = Encoder::new();
        self.state.dispatch(Stream::Instance, op, body, Some(&mut answer));
        answer.into_vec()
    }

    /// Whether the driver refused a request that nobody waits for; then the stream notes which and why.
    pub(crate) fn failed(&self, op: VkOp) -> bool {
        let result = driver::verdict();
        let expected = (result.as_raw() < 0).then_some(AsyncFailure { op, result });
        assert_eq!(*self.state.failure.borrow(), expected, "failure");
        expected.is_some()
    }

    /// Plays what was recorded, which is one command.
    pub(crate) fn play(&self, op: VkOp) {
        self.play_recorded(op, driver::taken(self.recording));
    }

    /// Plays this recording of one command.
    pub(crate) fn play_recorded(&self, op: VkOp, mut recorded: Vec<u8>) {
        if self.change != 0 {
            let second = ENTRY_HEADER_BYTES + 4;
            let word = recorded[second..].first_chunk_mut().expect("two words");
            *word = u32::from_le_bytes(*word).wrapping_add(self.change).to_le_bytes();
        }
        let entries: Vec<_> = Entries::new(&recorded).collect();
        let [Ok(entry)] = entries.as_slice() else { panic!("recorded {} entries", entries.len()) };
        assert_eq!(entry.header.opcode, op.0, "opcode");
        let objects = self.state.objects.borrow();
        let mut reader = Reader::new(entry.body, &self.state.arena, &objects);
        let native = vk::CommandBuffer::from_raw(NATIVE);
        host_dispatch::dispatch_cmd(&self.state.device_fns.borrow(), native, op, &mut reader)
            .expect("dispatch");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        driver::free(self.recording);
    }
}

/// How often commands are called.
pub(crate) struct Calls {
    rounds: usize,
    /// Added to a word of what is recorded.
    change: u32,
    pub(crate) commands: usize,
}

impl Calls {
    pub(crate) fn new(rounds: usize, change: u32) -> Self {
        Self { rounds, change, commands: 0 }
    }

    pub(crate) fn rounds(&mut self, name: &str, call: impl Fn(&Host, &mut Fill)) {
        for round in 0..self.rounds {
            let host = Host::new(self.change);
            let mut fill = Fill::new((round as u64) << 8 ^ name.len() as u64, round);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(&host, &mut fill))) {
                eprintln!("in {name}, round {round}");
                resume_unwind(panic);
            }
        }
        self.commands += 1;
    }
}
