//! Batches, copies between contexts, and wishes about managed memory, over a host of a test.

use zerocopy::FromZeros;

use super::batch;
use super::copy;
use super::device;
use super::graph_tests::Setup;
use super::graph_tests::at;
use super::graph_tests::got;
use super::graph_tests::new_stream;
use super::graph_tests::out;
use super::memory;
use super::occupancy;
use crate::current;
use crate::driver;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::generated::enums::*;
use crate::generated::handles::*;
use crate::generated::structs::*;
use crate::types::Answer;
use crate::types::CUdevice;
use crate::types::CUdeviceptr;

const INVALID: Answer = Err(CUresult::ERROR_INVALID_VALUE);

fn list<T>(values: &[T]) -> Mut<T> {
    Address(values.as_ptr().expose_provenance()).typed()
}

fn attributes(order: CUmemcpySrcAccessOrder) -> CUmemcpyAttributes {
    let mut attributes = CUmemcpyAttributes::new_zeroed();
    attributes.src_access_order = order;
    attributes
}

#[test]
fn batch_copies_each_and_says_which_one_cannot_be() {
    let setup = Setup::new();
    let stream = new_stream();
    let from = [3, 4].map(|value| CUdeviceptr(setup.memory(value)));
    let to = [0, 0].map(|value| CUdeviceptr(setup.memory(value)));
    let orders = [CUmemcpySrcAccessOrder::STREAM, CUmemcpySrcAccessOrder::DURING_API_CALL].map(attributes);
    let run = |sizes: [usize; 2], begins: [usize; 2], fail: &mut usize, stream| {
        let (to, from, sizes) = (list(&to), list(&from), list(&sizes));
        batch::copies(to, from, sizes, 2, list(&orders), list(&begins), 2, out(fail), stream)
    };
    let mut fail = 0;
    assert_eq!(run([4, 4], [0, 1], &mut fail, stream), Ok(()));
    assert_eq!((setup.value(to[0].0), setup.value(to[1].0)), (3, 4));
    assert_eq!((run([4, 0], [0, 1], &mut fail, stream), fail), (INVALID, 1));
    assert_eq!((run([4, 4], [1, 1], &mut fail, stream), fail), (INVALID, usize::MAX));
    assert_eq!((run([4, 4], [0, 2], &mut fail, stream), fail), (INVALID, usize::MAX));
    assert_eq!(run([4, 4], [0, 1], &mut fail, CUstream::NULL), INVALID);
    let wrong = attributes(CUmemcpySrcAccessOrder::INVALID);
    assert_eq!(batch::copy_with(to[0], from[1], 4, list(&[wrong]), stream), INVALID);
    batch::copy_with(to[0], from[1], 4, list(&[orders[1]]), stream).unwrap();
    assert_eq!(setup.value(to[0].0), 4);
}

#[test]
fn batch_of_boxes_copies_rows_and_leaves_what_is_between_them() {
    let setup = Setup::new();
    let stream = new_stream();
    let from: Vec<u8> = (0..32).collect();
    let to: CUdeviceptr = got(|out| memory::alloc(out, 32)).unwrap();
    super::fill::d8(to, 0xff, 32).unwrap();
    setup.context.synchronize_all().unwrap();
    let address = |bytes: &[u8]| bytes.as_ptr().expose_provenance() as u64;
    let kind = CUmemcpy3DOperandType::POINTER.0 as u64;
    let order = u64::from(CUmemcpySrcAccessOrder::STREAM.0 as u32);
    // Two rows of three bytes, from rows of eight to rows of four.
    let operation = |height| [kind, address(&from), 8, 0, 0, kind, to.0, 4, 0, 0, 3, height, 1, order];
    let (list, mut fail) = ([operation(2), operation(0)], 0);
    let run = |count, fail: &mut usize| batch::boxes(count, at(&list), out(fail), 0, stream);
    assert_eq!(run(1, &mut fail), Ok(()));
    setup.context.synchronize_all().unwrap();
    let found = crate::ffi::memory::read(Address(to.0 as usize), 8);
    assert_eq!(found, [0, 1, 2, 0xff, 8, 9, 10, 0xff]);
    assert_eq!((run(2, &mut fail), fail), (INVALID, 1));
    let mut array = operation(1);
    array[0] = CUmemcpy3DOperandType::ARRAY.0 as u64;
    assert_eq!(batch::box_with(at(&array), 0, stream), Err(CUresult::ERROR_NOT_SUPPORTED));
}

#[test]
fn copy_between_contexts_of_a_device_moves_bytes() {
    let setup = Setup::new();
    let from = setup.memory(9);
    let own = setup.context.name.get().copied().unwrap();
    let other = driver::for_tests().devices()[0].make_context(0).unwrap();
    let name = other.name.get().copied().unwrap();
    current::push(other.clone());
    let to: CUdeviceptr = got(|out| memory::alloc(out, 4)).unwrap();
    drop(current::pop());
    copy::peer(to, name, CUdeviceptr(from), own, 4).unwrap();
    let back = CUdeviceptr(setup.memory(0));
    copy::peer_async(back, own, to, name, 4, new_stream()).unwrap();
    assert_eq!(setup.value(back.0), 9);
    let nobody = CUcontext(1);
    let refused = copy::peer(to, nobody, CUdeviceptr(from), own, 4);
    assert_eq!(refused, Err(CUresult::ERROR_INVALID_CONTEXT));
    crate::tables::destroy_context(&other);
}

#[test]
fn wishes_about_managed_memory_are_checked_and_granted() {
    let setup = Setup::new();
    let managed: CUdeviceptr = got(|out| memory::alloc_managed(out, 64, 1)).unwrap();
    let (stream, device, host) = (new_stream(), CUdevice(0), CUdevice(-1));
    assert_eq!(memory::prefetch(managed, 64, device, stream), Ok(()));
    assert_eq!(memory::prefetch(managed, 64, host, stream), Ok(()));
    assert_eq!(memory::prefetch(managed, 65, device, stream), INVALID);
    assert_eq!(memory::prefetch(managed, 64, CUdevice(7), stream), Err(CUresult::ERROR_INVALID_DEVICE));
    assert_eq!(memory::prefetch(CUdeviceptr(setup.memory(0)), 4, device, stream), INVALID);
    assert_eq!(memory::advise(managed, 64, CUmem_advise::SET_PREFERRED_LOCATION, host), Ok(()));
    assert_eq!(memory::advise(managed, 64, CUmem_advise(9), device), INVALID);
    for (flags, stream, want) in
        [(1, stream, Ok(())), (4, stream, Ok(())), (4, CUstream::NULL, INVALID), (3, stream, INVALID)]
    {
        assert_eq!(memory::attach(stream, managed, 0, flags), want);
    }
    assert_eq!(memory::attach(stream, managed, 32, 1), INVALID);
    let mut location = CUmemLocation::new_zeroed();
    (location.kind, location.id) = (CUmemLocationType::DEVICE, 0);
    let prefetch = |kind| {
        let locations = [CUmemLocation { kind, ..location }];
        let (places, sizes, begins) = (list(&[managed]), list(&[64]), list(&[0]));
        batch::prefetch(places, sizes, 1, list(&locations), begins, 1, 0, stream)
    };
    assert_eq!(prefetch(CUmemLocationType::DEVICE), Ok(()));
    assert_eq!(prefetch(CUmemLocationType::NONE), INVALID);
    assert_eq!(batch::discard(list(&[managed]), list(&[65]), 1, 0, stream), INVALID);
}

#[test]
fn device_has_no_peers_and_clusters_are_of_one_block() {
    let setup = Setup::new();
    let access = CUdevice_P2PAttribute::ACCESS_SUPPORTED;
    let itself: Answer<i32> = got(|out| device::p2p_attribute(out, access, CUdevice(0), CUdevice(0)));
    assert_eq!(itself, Err(CUresult::ERROR_INVALID_DEVICE));
    let mut config = CUlaunchConfig::new_zeroed();
    (config.grid_dim_x, config.grid_dim_y, config.grid_dim_z) = (1, 1, 1);
    (config.block_dim_x, config.block_dim_y, config.block_dim_z) = (256, 1, 1);
    let clusters = |config: &CUlaunchConfig| -> Answer<i32> {
        got(|out| occupancy::max_active_clusters(out, setup.add, at(config).typed_const()))
    };
    let blocks: i32 = got(|out| occupancy::max_active_blocks(out, setup.add, 256, 0)).unwrap();
    assert!(blocks > 0);
    assert_eq!(clusters(&config), Ok(blocks * 4));
    let mut attribute = CUlaunchAttribute::new_zeroed();
    attribute.id = CUlaunchAttributeID::CLUSTER_DIMENSION;
    attribute.value[0] = 2 | 1 << 32;
    config.attrs = at(&attribute).typed();
    config.num_attrs = 1;
    assert_eq!(clusters(&config), Err(CUresult::ERROR_INVALID_CLUSTER_SIZE));
}
