//! The three ABI structs that are written by hand.

use std::mem::offset_of;

use dxg_ioctl::Luid;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::handle::INDEX_BITS;
use dxg_ioctl::handle::INDEX_MAX;
use dxg_ioctl::handle::INSTANCE_BITS;
use dxg_ioctl::handle::UNIQUE_MAX;

use crate::reading::Case;
use crate::reading::bytes;
use crate::reading::case;
use crate::reading::field;

/// Their fields.
pub(crate) fn cases() -> Vec<Case> {
    let index = u64::from(INDEX_MAX) << INSTANCE_BITS;
    let unique = u64::from(UNIQUE_MAX) << (INSTANCE_BITS + INDEX_BITS);
    vec![
        case::<RawHandle>(
            "d3dkmthandle",
            vec![
                field("instance", 0, (1 << INSTANCE_BITS) - 1, |s: &RawHandle| bytes(s.0)),
                field("index", 0, index, |s: &RawHandle| bytes(s.0)),
                field("unique", 0, unique, |s: &RawHandle| bytes(s.0)),
                field("v", 0, 0, |s: &RawHandle| bytes(s.0)),
            ],
        ),
        case::<NtStatus>(
            "ntstatus",
            vec![
                field("code", 0, NtStatus(u32::MAX).code().into(), |s: &NtStatus| bytes(s.0)),
                field("facility", 0, u64::from(NtStatus(u32::MAX).facility()) << 16, |s: &NtStatus| {
                    bytes(s.0)
                }),
                field("customer", 0, 1 << 29, |s: &NtStatus| bytes(s.0)),
                field("severity", 0, u64::from(NtStatus(u32::MAX).severity()) << 30, |s: &NtStatus| {
                    bytes(s.0)
                }),
                field("v", 0, 0, |s: &NtStatus| bytes(s.0)),
            ],
        ),
        case::<Luid>(
            "winluid",
            vec![
                field("a", offset_of!(Luid, a), 0, |s: &Luid| bytes(s.a)),
                field("b", offset_of!(Luid, b), 0, |s: &Luid| bytes(s.b)),
            ],
        ),
    ]
}
