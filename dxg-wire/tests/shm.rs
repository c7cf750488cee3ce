//! Sealed memfds, mappings and slices.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use dxg_wire::shm::Access;
use dxg_wire::shm::AccessFault;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::ShmError;
use dxg_wire::shm::create_sealed;
use dxg_wire::shm::create_sealed_with;
use dxg_wire::shm::verify_sealed;
use proptest::prelude::*;
use rustix::fs::MemfdFlags;
use support::shared;
use support::two_views;

#[test]
fn sealed_memfd_cannot_change_its_size() {
    let file = File::from(create_sealed("test", 8192).unwrap());
    assert_eq!(verify_sealed(&file, 8192).unwrap(), 8192);
    assert!(file.set_len(4096).is_err());
    assert!(file.set_len(16384).is_err());
    assert!(rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::WRITE).is_err());
    assert!(file.write_at(b"contents", 0).is_ok());
}

#[test]
fn sealed_memfd_is_sparse_and_closed_on_exec() {
    let fd = create_sealed("test", 1 << 36).unwrap();
    assert_eq!(rustix::fs::fstat(&fd).unwrap().st_blocks, 0);
    assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn memfd_with_contents_cannot_be_written() {
    let file = File::from(create_sealed_with("test", b"private data").unwrap());
    assert_eq!(verify_sealed(&file, 12).unwrap(), 12);
    let mut contents = [0; 12];
    file.read_exact_at(&mut contents, 0).unwrap();
    assert_eq!(&contents, b"private data");
    assert!(file.write_at(b"x", 0).is_err());
    assert_eq!(verify_sealed(create_sealed_with("empty", b"").unwrap(), 0).unwrap(), 0);
}

#[test]
fn descriptors_that_are_no_sealed_memfd_are_refused() {
    let null = File::open("/dev/null").unwrap();
    assert!(matches!(verify_sealed(&null, 0), Err(ShmError::NotMemfd)));
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(matches!(verify_sealed(&socket, 0), Err(ShmError::NotMemfd)));
    let open = rustix::fs::memfd_create("open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    File::from(open.try_clone().unwrap()).write_all(&[0; 4096]).unwrap();
    assert!(matches!(verify_sealed(&open, 0), Err(ShmError::Unsealed { .. })));
    let mapped = Mapping::map(open.as_fd(), 0, 4096, Access::ReadWrite, Populate::Lazy);
    assert!(matches!(mapped, Err(ShmError::Unsealed { .. })));
}

#[test]
fn mapping_stays_within_the_memfd() {
    let fd = create_sealed("test", 8192).unwrap();
    let map = |offset, len| Mapping::map(fd.as_fd(), offset, len, Access::ReadWrite, Populate::Lazy);
    assert_eq!(map(4096, 4096).unwrap().len(), 4096);
    assert!(matches!(map(0, 8193), Err(ShmError::TooSmall { have_bytes: 8192, wanted_bytes: 8193 })));
    assert!(matches!(map(8192, 1), Err(ShmError::TooSmall { .. })));
    assert!(matches!(map(0, 0), Err(ShmError::BadRange { .. })));
    assert!(matches!(map(100, 100), Err(ShmError::BadRange { .. })));
    assert!(matches!(map(u64::MAX - 4095, 4096), Err(ShmError::BadRange { .. })));
    assert!(matches!(map(0, usize::MAX), Err(ShmError::BadRange { .. })));
}

#[test]
fn prefault_allocates_the_pages() {
    let fd = create_sealed("test", 65536).unwrap();
    let _mapping = Mapping::map(fd.as_fd(), 0, 65536, Access::ReadWrite, Populate::Prefault).unwrap();
    assert_eq!(rustix::fs::fstat(&fd).unwrap().st_blocks * 512, 65536);
}

#[test]
fn two_mappings_of_a_memfd_are_the_same_memory() {
    let (one, two) = two_views(4096);
    one.copy_in(100, b"hello").unwrap();
    let mut bytes = [0; 5];
    two.copy_out(100, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    one.atomic_u64(8).unwrap().store(7, Ordering::Release);
    assert_eq!(two.read::<u64>(8).unwrap(), 7);
    two.write(16, &9_u32).unwrap();
    assert_eq!(one.atomic_u32(16).unwrap().load(Ordering::Acquire), 9);
}

#[test]
fn slice_refuses_what_is_not_in_it() {
    let whole = shared(4096);
    let slice = whole.sub(64, 128).unwrap();
    assert_eq!(slice.len(), 128);
    let fault = |result: Result<(), dxg_wire::shm::OutOfBounds>| result.unwrap_err().fault;
    assert_eq!(fault(slice.copy_out(121, &mut [0; 8])), AccessFault::Range);
    assert_eq!(fault(slice.copy_in(121, &[0; 8])), AccessFault::Range);
    assert_eq!(fault(slice.copy_in(usize::MAX, &[0; 8])), AccessFault::Range);
    assert_eq!(fault(slice.read::<u64>(128).map(drop)), AccessFault::Range);
    assert_eq!(fault(slice.atomic_u32(126).map(drop)), AccessFault::Range);
    assert_eq!(fault(slice.atomic_u32(122).map(drop)), AccessFault::Alignment);
    assert_eq!(fault(slice.atomic_u64(4).map(drop)), AccessFault::Alignment);
    assert_eq!(fault(slice.sub(1, 128).map(drop)), AccessFault::Range);
    assert_eq!(fault(slice.sub(2, usize::MAX).map(drop)), AccessFault::Range);
    assert!(slice.sub(128, 0).unwrap().is_empty());
    assert!(slice.copy_out(128, &mut []).is_ok());
}

#[test]
fn read_only_mapping_can_be_read_only() {
    let fd = create_sealed("test", 4096).unwrap();
    File::from(fd.try_clone().unwrap()).write_at(b"contents", 0).unwrap();
    let mapping = Mapping::map(fd.as_fd(), 0, 4096, Access::ReadOnly, Populate::Lazy).unwrap();
    let slice = SharedSlice::whole(&mapping);
    assert_eq!(&slice.read::<[u8; 8]>(0).unwrap(), b"contents");
    assert_eq!(slice.copy_in(0, &[1]).unwrap_err().fault, AccessFault::ReadOnly);
    assert_eq!(slice.atomic_u32(0).unwrap_err().fault, AccessFault::ReadOnly);
}

#[test]
fn zero_clears_exactly_its_range() {
    let slice = shared(4096);
    slice.copy_in(0, &[0xff; 4096]).unwrap();
    slice.zero(10, 1000).unwrap();
    let mut bytes = [1; 4096];
    slice.copy_out(0, &mut bytes).unwrap();
    let expected: Vec<u8> = (0..4096).map(|at| if (10..1010).contains(&at) { 0 } else { 0xff }).collect();
    assert_eq!(bytes[..], expected[..]);
}

proptest! {
    /// Lengths on both sides of every switch between bytes, words and blocks, at every alignment.
    #[test]
    fn copies_move_exactly_their_bytes(at in 0_usize..64, len in 0_usize..1200, seed in any::<u8>()) {
        let slice = shared(4096);
        slice.copy_in(0, &[0xee; 4096]).unwrap();
        let bytes: Vec<u8> = (0..len).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        slice.copy_in(at, &bytes).unwrap();
        let mut all = [0; 4096];
        slice.copy_out(0, &mut all).unwrap();
        let mut expected = [0xee; 4096];
        expected[at..at + len].copy_from_slice(&bytes);
        prop_assert_eq!(&all[..], &expected[..]);
        let mut back = vec![0; len];
        slice.copy_out(at, &mut back).unwrap();
        prop_assert_eq!(back, bytes);
    }
}
