//! Reading and writing messages with a tail.

use thiserror::Error;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

/// The largest message, with its prefix, and the largest reply.
pub const MAX_MESSAGE_BYTES: usize = 131_072;

/// Bytes of the prefix in front of a command.
pub const PREFIX_BYTES: usize = 16;

/// The largest command without its prefix.
pub const MAX_COMMAND_BYTES: usize = MAX_MESSAGE_BYTES - PREFIX_BYTES;

/// A message that cannot be sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// It would be larger than a message may be.
    #[error("message of {length_bytes} bytes is over the limit of {limit_bytes}")]
    TooLong {
        /// Its length.
        length_bytes: usize,
        /// What it may have.
        limit_bytes: usize,
    },
    /// Two of its lists must have the same length and have not.
    #[error("{what}: {actual} entries where there must be {expected}")]
    Count {
        /// The list.
        what: &'static str,
        /// Its length.
        actual: usize,
        /// The length it must have.
        expected: usize,
    },
}

/// Bytes that are not the message they should be. An honest peer sends none of these.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than the message has.
    #[error("message of {actual_bytes} bytes, {needed_bytes} needed")]
    Short {
        /// Bytes given.
        actual_bytes: usize,
        /// Bytes needed, or the largest number when they cannot be counted.
        needed_bytes: usize,
    },
    /// More bytes than any message may have.
    #[error("message of {0} bytes is over the limit")]
    TooLong(usize),
    /// A field has a value that no sender writes.
    #[error("field {field} has value {value:#x}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The id is not one of a command that a guest sends.
    #[error("command {id} is not known on the {channel} channel")]
    UnknownCommand {
        /// The id.
        id: u32,
        /// The kind of channel in the header.
        channel: &'static str,
    },
}

/// A message with a tail.
pub trait Message: Sized {
    /// The bytes to send, to the length that the message's rule says. Counts in the struct are set from the tail.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] when the result would be over the limit, [`EncodeError::Count`] when lists that belong
    /// together do not match.
    fn encode(&self) -> Result<Vec<u8>, EncodeError>;

    /// The message in `bytes`. Bytes behind it are ignored.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when the counts in the struct ask for more than there is, [`DecodeError::TooLong`] when
    /// there is more than a message can have.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
}

/// Reads a struct from the front of `bytes`. What is behind it is ignored.
///
/// # Errors
///
/// [`DecodeError::Short`] when there are fewer bytes than the struct has.
pub fn decode_fixed<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    let short = DecodeError::Short { actual_bytes: bytes.len(), needed_bytes: size_of::<T>() };
    T::read_from_prefix(bytes).map(|(value, _)| value).map_err(|_| short)
}

/// The next multiple of 8.
pub(crate) fn round_up_8(length: usize) -> Option<usize> {
    length.checked_next_multiple_of(8)
}

/// A count in a struct, from the length of its list. Lists too long for the message are refused by [`Writer`].
pub(crate) fn count_of<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// Puts a message together.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// What the message would have, which may be more than was kept.
    length: usize,
    limit: usize,
}

impl Writer {
    /// A message that starts with the first `tail_at` bytes of `head`.
    pub(crate) fn new<H: IntoBytes + Immutable>(head: &H, tail_at: usize, limit: usize) -> Self {
        let bytes: Vec<u8> = head.as_bytes().iter().take(tail_at).copied().collect();
        Self { length: bytes.len(), bytes, limit }
    }

    /// Appends a list.
    pub(crate) fn list<T: IntoBytes + Immutable>(&mut self, list: &[T]) -> &mut Self {
        self.length = self.length.saturating_add(size_of_val(list));
        if self.length <= self.limit {
            self.bytes.extend_from_slice(list.as_bytes());
        }
        self
    }

    /// Appends zeroes.
    pub(crate) fn zeroes(&mut self, count: usize) -> &mut Self {
        self.length = self.length.saturating_add(count);
        if self.length <= self.limit {
            self.bytes.resize(self.length, 0);
        }
        self
    }

    /// Appends zeroes up to a length that a ring can carry.
    pub(crate) fn pad_to_8(&mut self) -> &mut Self {
        let padded = round_up_8(self.length).unwrap_or(self.length);
        self.zeroes(padded - self.length)
    }

    /// The message.
    pub(crate) fn finish(&mut self) -> Result<Vec<u8>, EncodeError> {
        if self.length > self.limit {
            return Err(EncodeError::TooLong { length_bytes: self.length, limit_bytes: self.limit });
        }
        Ok(std::mem::take(&mut self.bytes))
    }
}

/// Takes a message apart.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        Ok(Self { bytes, at: 0 })
    }

    /// The first `tail_at` bytes of the struct `H`; the rest of it is zero.
    pub(crate) fn head<H: FromBytes + IntoBytes>(&mut self, tail_at: usize) -> Result<H, DecodeError> {
        let taken = self.take(tail_at)?;
        let mut head = H::new_zeroed();
        for (to, from) in head.as_mut_bytes().iter_mut().zip(taken) {
            *to = *from;
        }
        Ok(head)
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        match (taken, end) {
            (Some(taken), Some(end)) => {
                self.at = end;
                Ok(taken)
            }
            _ => Err(DecodeError::Short {
                actual_bytes: self.bytes.len(),
                needed_bytes: end.unwrap_or(usize::MAX),
            }),
        }
    }

    /// The next `count` entries of a list. The bytes are there before memory for them is taken.
    pub(crate) fn list<T: FromBytes + IntoBytes + Copy>(
        &mut self,
        count: u32,
    ) -> Result<Vec<T>, DecodeError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let taken = self.take(count.saturating_mul(size_of::<T>()))?;
        let mut list = vec![T::new_zeroed(); count];
        // The two have one length: `taken` is `count` entries.
        list.as_mut_bytes().copy_from_slice(taken);
        Ok(list)
    }

    /// Bytes not yet taken.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }
}

/// A message that is a struct, lists counted by fields of the struct, and bytes that only fill the length.
macro_rules! tail_message {
    (
        $(#[$doc:meta])*
        $name:ident: $head:ident, tail at $tail:expr, slack $slack:expr;
        $($(#[$list_doc:meta])* $list:ident: $entry:ty, counted by $count:ident $(. $sub:ident)*;)+
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            /// The struct. Its counts are set by `encode`.
            pub command: $head,
            $($(#[$list_doc])* pub $list: Vec<$entry>,)+
        }

        impl $crate::messages::codec::Message for $name {
            fn encode(&self) -> Result<Vec<u8>, $crate::messages::codec::EncodeError> {
                let mut command = self.command;
                $(command.$count$(.$sub)* = $crate::messages::codec::count_of(&self.$list);)+
                let mut writer =
                    $crate::messages::codec::Writer::new(&command, $tail, $crate::messages::codec::MAX_COMMAND_BYTES);
                $(writer.list(&self.$list);)+
                let slack: fn(&$head) -> usize = $slack;
                writer.zeroes(slack(&command)).finish()
            }

            fn decode(bytes: &[u8]) -> Result<Self, $crate::messages::codec::DecodeError> {
                let mut reader = $crate::messages::codec::Reader::new(bytes)?;
                let command: $head = reader.head($tail)?;
                $(let $list = reader.list(command.$count$(.$sub)*)?;)+
                let slack: fn(&$head) -> usize = $slack;
                reader.take(slack(&command))?;
                Ok(Self { command, $($list,)+ })
            }
        }
    };
}

pub(crate) use tail_message;
