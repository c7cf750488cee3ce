//! The dxgvmbus messages: what a guest driver and a host say to each other.
//!
//! A guest sends *commands*: a 24-byte header, the rest of a struct, and for some a tail whose length the struct tells.
//! The host answers each with a *reply*, which has no header, or sends a packet of its own accord.
//!
//! - The structs, generated from the header, are in this module: `DXGK_VMBCOMMAND_CREATEDEVICE` is
//!   [`CreateDeviceCommand`], answered by [`CreateDeviceReply`]. [`Command`] ties the two to the id and the channel.
//! - A command or reply with a tail has a second type beside its struct, with the tail in vectors, and implements
//!   [`Message`] or has a `decode` that takes what only the request knows. They are in [`allocation`], [`context`],
//!   [`gpu_va`], [`info`], [`submit`] and [`sync`].
//! - [`incoming`] is the host's view: any command, decoded.
//! - [`framing`] is the prefix in front of a command and the header in it.
//!
//! *Lengths.* What was sent for a message is decided by the length rule of its command, which is not always what the
//! struct and the tail add up to; encoding follows the rule to the byte. The ring rounds lengths up to 8, so decoding
//! accepts more bytes than the rule says and ignores them; fewer are a [`DecodeError`]. No count, whatever its
//! value, makes decoding read outside of the bytes given, or reserve more memory than they have.
//!
//! Source: header (layouts, ids), observed (length rules).

pub mod allocation;
pub mod codec;
pub mod command;
pub mod context;
pub mod framing;
pub mod gpu_va;
pub mod incoming;
pub mod info;
pub mod submit;
pub mod sync;

pub use crate::generated::messages::*;
pub use crate::messages::codec::DecodeError;
pub use crate::messages::codec::EncodeError;
pub use crate::messages::codec::Message;
pub use crate::messages::command::Channel;
pub use crate::messages::command::Command;
pub use crate::messages::command::Delivery;
pub use crate::messages::command::Shape;
pub use crate::messages::framing::InterfaceVersion;
