//! Pools over a host of a test: what they keep, and for how long.

use zerocopy::FromZeros;

use super::context;
use super::graph_tests::Setup;
use super::graph_tests::at;
use super::graph_tests::got;
use super::graph_tests::new_stream;
use super::graph_tests::out;
use super::pool;
use super::stream;
use super::tests::alone;
use crate::ffi::pointers::Address;
use crate::generated::enums::CUmemAllocationHandleType;
use crate::generated::enums::CUmemAllocationType;
use crate::generated::enums::CUmemLocationType;
use crate::generated::enums::CUmemPool_attribute as P;
use crate::generated::enums::CUresult;
use crate::generated::handles::*;
use crate::generated::structs::CUmemPoolProps;
use crate::types::Answer;
use crate::types::CUdevice;
use crate::types::CUdeviceptr;

const KIB: usize = 1 << 10;

fn pool_of(max_size: usize) -> CUmemoryPool {
    let mut props = CUmemPoolProps::new_zeroed();
    props.alloc_type = CUmemAllocationType::PINNED;
    props.location.kind = CUmemLocationType::DEVICE;
    props.max_size = max_size;
    got(|out| pool::create(out, at(&props).typed_const())).unwrap()
}

fn alloc(pool: CUmemoryPool, bytes: usize, stream: CUstream) -> Answer<CUdeviceptr> {
    got(|out| pool::alloc_from(out, bytes, pool, stream))
}

fn attribute(pool: CUmemoryPool, attribute: P) -> u64 {
    let mut value = 0_u64;
    pool::attribute(pool, attribute, at(&value)).unwrap();
    let _ = &mut value;
    at(&value).typed::<u64>().get().unwrap()
}

fn set(pool: CUmemoryPool, attribute: P, value: u64) {
    pool::set_attribute(pool, attribute, at(&value)).unwrap();
}

#[test]
fn pool_keeps_what_is_freed_until_somebody_waits_and_then_as_much_as_it_may() {
    let (_one, _setup) = (alone(), Setup::new());
    let (pool, stream) = (pool_of(0), new_stream());
    let both = || (attribute(pool, P::USED_MEM_CURRENT), attribute(pool, P::RESERVED_MEM_CURRENT));
    let (one, two) = (alloc(pool, 64 * KIB, stream).unwrap(), alloc(pool, 128 * KIB, stream).unwrap());
    pool::free(one, stream).unwrap();
    pool::free(two, stream).unwrap();
    assert_eq!(both(), (0, 192 << 10));
    // The stream has what it freed back at once.
    assert_eq!(alloc(pool, 60 * KIB, stream), Ok(one));
    pool::free(one, stream).unwrap();
    set(pool, P::RELEASE_THRESHOLD, 100 << 10);
    stream::synchronize(stream).unwrap();
    let kept = attribute(pool, P::RESERVED_MEM_CURRENT);
    assert!(kept > 0 && kept <= 100 << 10, "{kept}");
    set(pool, P::RELEASE_THRESHOLD, 0);
    context::synchronize().unwrap();
    assert_eq!(both(), (0, 0));
    let highs = || (attribute(pool, P::USED_MEM_HIGH), attribute(pool, P::RESERVED_MEM_HIGH));
    assert_eq!(highs(), (192 << 10, 192 << 10));
    set(pool, P::USED_MEM_HIGH, 0);
    set(pool, P::RESERVED_MEM_HIGH, 0);
    assert_eq!(highs(), (0, 0));
    let one = 1_u64;
    let refused = pool::set_attribute(pool, P::USED_MEM_HIGH, at(&one));
    assert_eq!(refused, Err(CUresult::ERROR_INVALID_VALUE));
}

#[test]
fn pool_has_no_more_than_its_most_bytes_and_trims_to_what_it_is_told() {
    let (_one, _setup) = (alone(), Setup::new());
    let (pool, stream) = (pool_of(256 * KIB), new_stream());
    let first = alloc(pool, 200 * KIB, stream).unwrap();
    assert_eq!(alloc(pool, 100 * KIB, stream), Err(CUresult::ERROR_OUT_OF_MEMORY));
    pool::free(first, stream).unwrap();
    // What is kept makes room.
    let small = alloc(pool, 64 * KIB, stream).unwrap();
    let other = alloc(pool, 64 * KIB, stream).unwrap();
    pool::free(small, stream).unwrap();
    pool::free(other, stream).unwrap();
    pool::trim(pool, 128 * KIB).unwrap();
    assert!(attribute(pool, P::RESERVED_MEM_CURRENT) >= 64 << 10);
    pool::trim(pool, 0).unwrap();
    assert_eq!(attribute(pool, P::RESERVED_MEM_CURRENT), 0);
}

#[test]
fn memory_outlives_the_name_of_its_pool_and_is_freed_in_the_order_of_a_stream() {
    let (_one, setup) = (alone(), Setup::new());
    let before = setup.context.arena.used_bytes();
    let (pool, stream) = (pool_of(0), new_stream());
    let at = alloc(pool, 64 * KIB, stream).unwrap();
    pool::destroy(pool).unwrap();
    assert_eq!(pool::destroy(pool), Err(CUresult::ERROR_INVALID_HANDLE));
    assert_eq!(pool::free(at, stream), Ok(()));
    assert_eq!(pool::free(at, stream), Err(CUresult::ERROR_INVALID_VALUE));
    stream::synchronize(stream).unwrap();
    assert_eq!(setup.context.arena.used_bytes(), before);
}

#[test]
fn pool_that_is_not_for_others_is_not_exported_and_other_descriptors_are_no_pools() {
    const FD: CUmemAllocationHandleType = CUmemAllocationHandleType::POSIX_FILE_DESCRIPTOR;
    let (_one, _setup) = (alone(), Setup::new());
    let (pool, stream) = (pool_of(0), new_stream());
    let mut number = -1_i32;
    let invalid = Err(CUresult::ERROR_INVALID_VALUE);
    assert_eq!(pool::export(at(&number), pool, FD, 0), invalid);
    let memory = alloc(pool, KIB, stream).unwrap();
    assert_eq!(got(|out| pool::export_pointer(out, memory)).map(|_| ()), invalid);
    let file = std::fs::File::open("/dev/null").unwrap();
    number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let imported: Answer<CUmemoryPool> = got(|out| pool::import(out, Address(number as usize), FD, 0));
    assert_eq!(imported.map(drop), invalid);
    let mut current = CUmemoryPool::NULL;
    pool::default(out(&mut current), CUdevice(0)).unwrap();
    assert_ne!(current, pool);
}
