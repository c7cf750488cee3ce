//! A command: which struct it is, what answers it, and where it travels.

use dxg_ioctl::RawHandle;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

use crate::messages::ChannelType;
use crate::messages::GlobalCommandId;
use crate::messages::HostToVmCommandId;
use crate::messages::HostToVmHeader;
use crate::messages::HostToVmHeaderChannel;
use crate::messages::VgpuCommandId;
use crate::messages::VgpuToHostHeader;
use crate::messages::VgpuToHostHeaderChannel;
use crate::messages::VmToHostHeader;

/// Which of a guest's channels a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The one channel of the guest: processes, shared objects, the IO space.
    Global,
    /// The channel of a virtual GPU. These travel on the global channel when asynchronous messages are enabled.
    Vgpu,
}

/// Whether a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Always.
    Answered,
    /// Not when asynchronous messages are enabled: then the sender does not wait and no completion comes.
    AsyncWhenEnabled,
}

/// Whether a message is its struct or has a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The struct and nothing else.
    Fixed,
    /// The struct and a tail, or a part of the struct: has a type of its own.
    Variable,
}

/// A struct that the guest sends.
pub trait Command: FromBytes + IntoBytes + Immutable + KnownLayout + Copy {
    /// The struct that starts the answer. [`NtStatus`](dxg_ioctl::NtStatus) or [`RawHandle`] where there is nothing
    /// else in it, `()` where it has no struct, `Self` where the answer is the command with fields filled in.
    type Reply;
    /// Where it travels.
    const CHANNEL: Channel;
    /// The id, one of [`GlobalCommandId`] or [`VgpuCommandId`] by channel.
    const ID: u32;
    /// The name of the id.
    const NAME: &'static str;
    /// Whether it is answered.
    const DELIVERY: Delivery;
    /// Whether it has a tail.
    const REQUEST_SHAPE: Shape;
    /// Whether its answer has a tail.
    const REPLY_SHAPE: Shape;

    /// A command of zeroes with its header filled in. `process` is the host's handle of the process that asks.
    fn for_process(process: RawHandle) -> Self {
        let mut command = Self::new_zeroed();
        let bytes = command.as_mut_bytes();
        let written = match Self::CHANNEL {
            Channel::Global => {
                VmToHostHeader::new(GlobalCommandId(Self::ID), process).write_to_prefix(bytes).ok()
            }
            Channel::Vgpu => {
                VgpuToHostHeader::new(VgpuCommandId(Self::ID), process).write_to_prefix(bytes).ok()
            }
        };
        written.expect("every command starts with a header of its channel");
        command
    }
}

impl VmToHostHeader {
    /// The header of a global command.
    pub fn new(command: GlobalCommandId, process: RawHandle) -> Self {
        let mut header = Self::new_zeroed();
        header.process = process;
        header.channel_type = ChannelType::VM_TO_HOST;
        header.command_type = command;
        header
    }
}

impl VgpuToHostHeader {
    /// The header of a command of a virtual GPU, to be answered.
    pub fn new(command: VgpuCommandId, process: RawHandle) -> Self {
        let mut header = Self::new_zeroed();
        header.process = process;
        header.channel = VgpuToHostHeaderChannel(0).with_channel_type(ChannelType::VGPU_TO_HOST.0);
        header.command_type = command;
        header
    }

    /// The same header for a command that is not answered.
    #[must_use]
    pub fn asynchronous(mut self) -> Self {
        self.channel |= VgpuToHostHeaderChannel::ASYNC_MSG;
        self
    }
}

impl HostToVmHeader {
    /// The header of a packet from the host.
    pub fn new(command: HostToVmCommandId) -> Self {
        let mut header = Self::new_zeroed();
        header.channel = HostToVmHeaderChannel(0).with_channel_type(ChannelType::HOST_TO_VM.0);
        header.command_type = command;
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::CreateDeviceCommand;
    use crate::messages::CreateProcessCommand;

    #[test]
    fn for_process_writes_the_header_of_the_channel_and_zero_behind_it() {
        let device = CreateDeviceCommand::for_process(RawHandle(7));
        assert_eq!(device.hdr.command_type, VgpuCommandId::CREATEDEVICE);
        assert_eq!((device.hdr.process, device.hdr.channel.0), (RawHandle(7), 0));
        assert!(device.as_bytes()[24..].iter().all(|b| *b == 0));

        let process = CreateProcessCommand::for_process(RawHandle::NONE);
        assert_eq!(process.hdr.command_type, GlobalCommandId::CREATEPROCESS);
        assert_eq!(process.hdr.channel_type, ChannelType::VM_TO_HOST);
    }

    #[test]
    fn asynchronous_header_has_bit_8() {
        let header = VgpuToHostHeader::new(VgpuCommandId::SUBMITCOMMAND, RawHandle(1)).asynchronous();
        assert_eq!(header.channel.0, 0x100);
    }
}
