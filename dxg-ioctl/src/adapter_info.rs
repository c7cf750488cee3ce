//! What the query-adapter-info request answers.
//!
//! The request carries a type and a buffer; what the buffer holds depends on the type, and the node passes it on without
//! looking at it. [`query_adapter_info`] asks for a type by its marker in [`query`] and gives the struct that belongs to
//! it; [`query_raw`] asks for any type, with any buffer. Neither knows how the request travels: the caller gives a
//! function that performs it.
//!
//! *Sizes.* The structs here have the form that crosses to the host, with text in 2-byte units. Programs written against
//! the library see 4-byte units; [`text`] converts, as the library does.
//!
//! *Edits.* After a successful query of type 15 or 57 the driver sets `PARAVIRTUALIZED`, clears what concerns displays
//! and decides `COMPUTE_ONLY` itself. Nothing else is changed on the way.
//!
//! Source: header (layouts), observed (the rest).

pub mod text;

use thiserror::Error;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

use crate::abi::QueryAdapterInfo;
use crate::abi::QueryAdapterInfoType;
pub use crate::generated::adapter_info::*;
use crate::scalar::RawHandle;
use crate::scalar::UserPtr;
use crate::status::NtStatus;
use crate::sys::CallError;

/// The largest buffer that a query may carry, in bytes. The smallest is 1.
pub const MAX_PRIVATE_DATA_BYTES: usize = 131_072;

/// A query type whose answer has a known shape. The markers in [`query`] implement it.
pub trait AdapterInfo {
    /// The type that the request carries.
    const TYPE: QueryAdapterInfoType;
    /// What the buffer holds, before and after.
    type Out: FromBytes + IntoBytes + Immutable + KnownLayout + Copy;
}

/// A piece of an answer, for the text conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So many bytes that stay as they are.
    Bytes(usize),
    /// So many units of text.
    Text(usize),
}

/// Whether the library converts the text of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// No: the caller passes the wire form.
    None,
    /// Yes: the caller passes the form with 4-byte units.
    Library,
}

/// What is known about one query type.
#[derive(Clone, Copy, Debug)]
pub struct TypeInfo {
    /// The type.
    pub kind: QueryAdapterInfoType,
    /// Its name in the header.
    pub name: &'static str,
    /// The size of its data with 2-byte text; `None` when the shape is the vendor's or unknown.
    pub wire_size_bytes: Option<usize>,
    /// The size of its data with 4-byte text, where there is text.
    pub user_size_bytes: Option<usize>,
    /// Whether the library converts it.
    pub conversion: Conversion,
    /// The data in pieces, where there is text.
    pub runs: &'static [Run],
}

impl TypeInfo {
    /// Every known type, by number.
    pub fn table() -> &'static [TypeInfo] {
        &TYPES
    }

    /// The row of a type.
    pub fn of(kind: QueryAdapterInfoType) -> Option<&'static TypeInfo> {
        Self::table().iter().find(|row| row.kind == kind)
    }
}

/// Why a query gave no answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryError {
    /// The buffer is empty or larger than [`MAX_PRIVATE_DATA_BYTES`].
    #[error("adapter info buffer of {0} bytes is not in 1..=131072")]
    BufferSize(usize),
    /// The request failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Asks for `buffer.len()` bytes of private data of any type. What is in the buffer goes along as input.
///
/// `perform` gets the finished request and the buffer that its `private_data` points to.
///
/// # Errors
///
/// [`QueryError::BufferSize`] without asking when the node would refuse the size; else what `perform` answered.
pub fn query_raw<F>(
    adapter: RawHandle,
    kind: QueryAdapterInfoType,
    buffer: &mut [u8],
    perform: F,
) -> Result<NtStatus, QueryError>
where
    F: FnOnce(&mut QueryAdapterInfo, &mut [u8]) -> Result<NtStatus, CallError>,
{
    let refused = QueryError::BufferSize(buffer.len());
    if buffer.is_empty() || buffer.len() > MAX_PRIVATE_DATA_BYTES {
        return Err(refused);
    }
    let mut args = QueryAdapterInfo::new_zeroed();
    args.adapter = adapter;
    args.r#type = kind;
    args.private_data = UserPtr::to_buffer(buffer);
    args.private_data_size = u32::try_from(buffer.len()).map_err(|_| refused)?;
    Ok(perform(&mut args, buffer)?)
}

/// Asks for the type of the marker `Q`, with `input` in the buffer.
///
/// # Errors
///
/// What `perform` answered.
pub fn query_adapter_info_with<Q, F>(
    adapter: RawHandle,
    input: Q::Out,
    perform: F,
) -> Result<Q::Out, QueryError>
where
    Q: AdapterInfo,
    F: FnOnce(&mut QueryAdapterInfo, &mut [u8]) -> Result<NtStatus, CallError>,
{
    let mut data = input;
    query_raw(adapter, Q::TYPE, data.as_mut_bytes(), perform)?;
    Ok(data)
}

/// Asks for the type of the marker `Q`, with a buffer of zeroes.
///
/// ```
/// use dxg_ioctl::NtStatus;
/// use dxg_ioctl::RawHandle;
/// use dxg_ioctl::adapter_info::query;
/// use dxg_ioctl::adapter_info::query_adapter_info;
///
/// let version = query_adapter_info::<query::DriverVersion, _>(RawHandle(0x4000_0000), |args, buffer| {
///     assert_eq!(args.private_data_size, 4);
///     buffer.copy_from_slice(&2700u32.to_le_bytes()); // What the node does.
///     Ok(NtStatus::SUCCESS)
/// })?;
/// assert_eq!(version, dxg_ioctl::adapter_info::DriverVersion::WDDM_2_7);
/// # Ok::<(), dxg_ioctl::adapter_info::QueryError>(())
/// ```
///
/// # Errors
///
/// What `perform` answered.
pub fn query_adapter_info<Q, F>(adapter: RawHandle, perform: F) -> Result<Q::Out, QueryError>
where
    Q: AdapterInfo,
    F: FnOnce(&mut QueryAdapterInfo, &mut [u8]) -> Result<NtStatus, CallError>,
{
    query_adapter_info_with::<Q, F>(adapter, Q::Out::new_zeroed(), perform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_passes_type_size_address_and_input() {
        let mut input = NodePerfData::new_zeroed();
        input.node_ordinal = 3;
        let out =
            query_adapter_info_with::<query::NodePerfData, _>(RawHandle(0x40), input, |args, buffer| {
                assert_eq!(args.adapter, RawHandle(0x40));
                assert_eq!(args.r#type, QueryAdapterInfoType::NODEPERFDATA);
                assert_eq!(args.private_data_size as usize, buffer.len());
                assert_eq!(args.private_data, UserPtr::to_buffer(buffer));
                assert_eq!(buffer[0], 3);
                buffer[8] = 9;
                Ok(NtStatus::SUCCESS)
            });
        let out = out.unwrap();
        assert_eq!((out.node_ordinal, out.frequency), (3, 9));
    }

    #[test]
    fn query_of_a_size_the_node_refuses_is_not_asked() {
        let ask = |len: usize| {
            let mut buffer = vec![0; len];
            query_raw(RawHandle(1), QueryAdapterInfoType(0), &mut buffer, |_, _| Ok(NtStatus::SUCCESS))
        };
        assert_eq!(ask(0), Err(QueryError::BufferSize(0)));
        assert_eq!(ask(MAX_PRIVATE_DATA_BYTES + 1), Err(QueryError::BufferSize(MAX_PRIVATE_DATA_BYTES + 1)));
        assert_eq!(ask(MAX_PRIVATE_DATA_BYTES), Ok(NtStatus::SUCCESS));
    }

    #[test]
    fn query_keeps_the_error_of_the_call() {
        let error = CallError::Status(NtStatus::DEVICE_REMOVED);
        let result = query_adapter_info::<query::AdapterType, _>(RawHandle(1), |_, _| Err(error));
        assert_eq!(result.unwrap_err(), QueryError::Call(error));
    }
}
