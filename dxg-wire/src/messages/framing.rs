//! The prefix in front of a command, and the header that says which command it is.
//!
//! From interface version 40 on, every command of the guest starts with an [`ExtHeader`] that tells where the command
//! itself starts and which virtual GPU it is for. Replies and packets from the host have no prefix.
//!
//! Source: header, observed.

use dxg_ioctl::Luid;
use dxg_ioctl::RawHandle;
use zerocopy::IntoBytes;

use crate::messages::ChannelType;
use crate::messages::ExtHeader;
use crate::messages::GlobalCommandId;
use crate::messages::HostToVmCommandId;
use crate::messages::HostToVmHeader;
use crate::messages::SetGuestDataCommand;
use crate::messages::SignalGuestEventCommand;
use crate::messages::VgpuCommandId;
use crate::messages::VgpuToHostHeader;
use crate::messages::VgpuToHostHeaderChannel;
use crate::messages::VmToHostHeader;
use crate::messages::codec::DecodeError;
use crate::messages::codec::EncodeError;
use crate::messages::codec::MAX_MESSAGE_BYTES;
use crate::messages::codec::PREFIX_BYTES;
use crate::messages::codec::decode_fixed;

/// The version of the message interface that guest and host agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceVersion(pub u32);

impl InterfaceVersion {
    /// The version with prefixes, statuses in adapter-info replies, and LUIDs.
    pub const CURRENT: Self = Self(40);
    /// What a host without a version register speaks.
    pub const OLD: Self = Self(27);
    /// The oldest version that the current one is compatible with.
    pub const LAST_COMPATIBLE: Self = Self(16);

    /// Whether commands have a prefix.
    pub fn has_prefix(self) -> bool {
        self >= Self::CURRENT
    }
}

/// Puts the prefix in front of a command, where the version has one.
///
/// # Errors
///
/// [`EncodeError::TooLong`] when the result is over the limit.
pub fn frame(version: InterfaceVersion, vgpu_luid: Luid, command: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let prefix = if version.has_prefix() { PREFIX_BYTES } else { 0 };
    let length_bytes = prefix.saturating_add(command.len());
    if length_bytes > MAX_MESSAGE_BYTES {
        return Err(EncodeError::TooLong { length_bytes, limit_bytes: MAX_MESSAGE_BYTES });
    }
    let mut message = Vec::with_capacity(length_bytes);
    if version.has_prefix() {
        let header = ExtHeader { command_offset: PREFIX_BYTES as u32, reserved: 0, vgpu_luid };
        message.extend_from_slice(header.as_bytes());
    }
    message.extend_from_slice(command);
    Ok(message)
}

/// Takes the prefix off: the virtual GPU it names (zero in global commands) and the command.
///
/// # Errors
///
/// [`DecodeError::Short`] when there is no room for the prefix or the command it points to,
/// [`DecodeError::TooLong`] over the limit, [`DecodeError::Field`] when the prefix is not one that a guest writes.
pub fn unframe(version: InterfaceVersion, message: &[u8]) -> Result<(Luid, &[u8]), DecodeError> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong(message.len()));
    }
    if !version.has_prefix() {
        return Ok((Luid::default(), message));
    }
    let header: ExtHeader = decode_fixed(message)?;
    if header.reserved != 0 {
        return Err(DecodeError::Field { field: "reserved", value: header.reserved.into() });
    }
    if header.command_offset != PREFIX_BYTES as u32 {
        return Err(DecodeError::Field { field: "command_offset", value: header.command_offset.into() });
    }
    let short = DecodeError::Short { actual_bytes: message.len(), needed_bytes: PREFIX_BYTES };
    Ok((header.vgpu_luid, message.get(PREFIX_BYTES..).ok_or(short)?))
}

/// The header of a command, read by the channel type in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandHeader {
    /// A global command.
    Global {
        /// Which.
        id: GlobalCommandId,
        /// The host's handle of the process that asks, or none.
        process: RawHandle,
    },
    /// A command of a virtual GPU.
    Vgpu {
        /// Which.
        id: VgpuCommandId,
        /// The host's handle of the process that asks, or none.
        process: RawHandle,
        /// Whether the sender waits for an answer.
        answer: Answer,
    },
}

/// Whether the sender of a command waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does.
    Wanted,
    /// It does not; there must be none.
    NotWanted,
}

impl CommandHeader {
    /// Reads the header of a command without prefix.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when there is none, [`DecodeError::Field`] when its channel type is not one of a guest, or
    /// a field that is always zero is not.
    pub fn read(command: &[u8]) -> Result<Self, DecodeError> {
        // Both headers have the channel type in the low byte of the same word.
        let vgpu: VgpuToHostHeader = decode_fixed(command)?;
        let channel = vgpu.channel;
        if vgpu.command_id != 0 {
            return Err(DecodeError::Field { field: "command_id", value: vgpu.command_id });
        }
        match ChannelType(channel.channel_type()) {
            ChannelType::VGPU_TO_HOST if channel.reserved() == 0 => {
                let is_async = channel.contains(VgpuToHostHeaderChannel::ASYNC_MSG);
                let answer = if is_async { Answer::NotWanted } else { Answer::Wanted };
                Ok(Self::Vgpu { id: vgpu.command_type, process: vgpu.process, answer })
            }
            ChannelType::VM_TO_HOST if channel.0 == ChannelType::VM_TO_HOST.0 => {
                let global: VmToHostHeader = decode_fixed(command)?;
                Ok(Self::Global { id: global.command_type, process: global.process })
            }
            _ => Err(DecodeError::Field { field: "channel_type", value: channel.0.into() }),
        }
    }
}

/// A packet that the host sent of its own accord.
#[derive(Clone, Copy, Debug)]
pub enum HostPacket {
    /// Something that the guest waits for has happened. The two forms of it mean the same.
    SignalGuestEvent(SignalGuestEventCommand),
    /// A word at an address that the guest gave has changed.
    SetGuestData(SetGuestDataCommand),
    /// A packet whose payload is not known or that means nothing to a guest of this kind.
    Other(HostToVmCommandId),
}

impl HostPacket {
    /// Reads a packet of the global channel.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when it has fewer bytes than its struct, [`DecodeError::Field`] when its channel type is not
    /// that of a packet from the host.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: HostToVmHeader = decode_fixed(bytes)?;
        if ChannelType(header.channel.channel_type()) != ChannelType::HOST_TO_VM {
            return Err(DecodeError::Field { field: "channel_type", value: header.channel.0.into() });
        }
        Ok(match header.command_type {
            HostToVmCommandId::SIGNALGUESTEVENT | HostToVmCommandId::SIGNALGUESTEVENTPASSIVE => {
                Self::SignalGuestEvent(decode_fixed(bytes)?)
            }
            HostToVmCommandId::SETGUESTDATA => Self::SetGuestData(decode_fixed(bytes)?),
            other => Self::Other(other),
        })
    }
}
