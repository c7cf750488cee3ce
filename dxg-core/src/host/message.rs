//! The way of a message: prefix and command out, payload back.
//!
//! *Source.* Observed: the prefix names the virtual GPU for commands of its channel and none for global ones; a command that
//! fits only without its prefix is EINVAL, one that does not fit at all EOVERFLOW, and so is an answer that is too short.

use dxg_ioctl::CallError;
use dxg_ioctl::Luid;
use dxg_wire::messages::Channel;
use dxg_wire::messages::DecodeError;
use dxg_wire::messages::EncodeError;
use dxg_wire::messages::ExtHeader;
use dxg_wire::vmbus::MAX_PAYLOAD_BYTES;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use crate::errno;

/// A command, encoded, with where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    prefix: ExtHeader,
    command: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message for a virtual GPU, or for nobody in particular on the global channel.
    pub(super) fn new(channel: Channel, vgpu: Luid, command: &'a [u8]) -> Self {
        let vgpu_luid = match channel {
            Channel::Vgpu => vgpu,
            Channel::Global => Luid::default(),
        };
        let prefix = ExtHeader { command_offset: size_of::<ExtHeader>() as u32, reserved: 0, vgpu_luid };
        Self { prefix, command }
    }

    /// What to put in the ring. EINVAL for more than a packet may carry.
    pub(super) fn parts(&self) -> Result<[&[u8]; 2], CallError> {
        let parts = [self.prefix.as_bytes(), self.command];
        if parts[0].len() + parts[1].len() > MAX_PAYLOAD_BYTES { Err(errno::INVALID) } else { Ok(parts) }
    }
}

/// The fixed part of a reply. EOVERFLOW when the payload is shorter.
pub(super) fn head<T: FromBytes>(payload: &[u8]) -> Result<T, CallError> {
    T::read_from_prefix(payload).map(|(head, _)| head).map_err(|_| errno::OVERFLOW)
}

/// A reply that does not hold what it should is one that is too short.
pub(super) fn too_short(error: DecodeError) -> CallError {
    tracing::debug!(%error, "reply not understood");
    errno::OVERFLOW
}

/// A command that cannot be encoded is one that is too long; lists that do not match are the caller's mistake.
pub(super) fn too_long(error: EncodeError) -> CallError {
    match error {
        EncodeError::TooLong { .. } => errno::OVERFLOW,
        _ => errno::INVALID,
    }
}

#[cfg(test)]
mod tests {
    use dxg_ioctl::RawHandle;
    use dxg_ioctl::UserPtr;
    use dxg_ioctl::abi::CreateDeviceFlags;
    use dxg_wire::messages::Command;
    use dxg_wire::messages::CreateDeviceCommand;
    use dxg_wire::messages::DestroySyncObjectCommand;

    use super::*;

    const VGPU: Luid = Luid { a: 0x11, b: 0x22 };
    const PROCESS: RawHandle = RawHandle(0x4000_0100);

    fn words(message: &Message<'_>) -> Vec<u32> {
        let bytes = message.parts().unwrap().concat();
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    #[test]
    fn message_of_the_vgpu_channel_has_the_documented_bytes() {
        let mut command = CreateDeviceCommand::for_process(PROCESS);
        command.flags = CreateDeviceFlags::DISABLE_GPU_TIMEOUT;
        command.error_code = UserPtr(0xabcd);
        let message = Message::new(CreateDeviceCommand::CHANNEL, VGPU, command.as_bytes());
        let prefix = [0x10, 0, 0x11, 0x22];
        let header = [0, 0, PROCESS.0, 0, 0, 0];
        let body = [4, 0, 0xabcd, 0];
        assert_eq!(words(&message), [prefix.as_slice(), &header, &body].concat());
    }

    #[test]
    fn message_of_the_global_channel_names_no_virtual_gpu() {
        let mut command = DestroySyncObjectCommand::for_process(PROCESS);
        command.sync_object = RawHandle(0x4000_0040);
        let message = Message::new(DestroySyncObjectCommand::CHANNEL, VGPU, command.as_bytes());
        assert_eq!(words(&message), [0x10, 0, 0, 0, 0, 0, PROCESS.0, 1, 1003, 0, 0x4000_0040, 0]);
    }

    #[test]
    fn message_one_byte_over_the_limit_is_refused() {
        let command = vec![0; MAX_PAYLOAD_BYTES - 15];
        assert!(Message::new(Channel::Vgpu, VGPU, &command[1..]).parts().is_ok());
        assert_eq!(Message::new(Channel::Vgpu, VGPU, &command).parts().unwrap_err(), errno::INVALID);
    }

    #[test]
    fn reply_shorter_than_asked_is_overflow() {
        let payload = [1; 12];
        assert!(head::<[u32; 3]>(&payload).is_ok());
        assert_eq!(head::<[u32; 4]>(&payload).unwrap_err(), errno::OVERFLOW);
    }
}
