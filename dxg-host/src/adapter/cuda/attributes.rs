//! What `cuDeviceGetAttribute` answers.
//!
//! *Source.* The numbers and meanings of `CUdevice_attribute` are those of `cuda.h`. What is not listed is 0. Limits of textures and
//! surfaces are those of all devices of such a compute capability; programs that read them make no textures here.

use dxg_wire::cuda::Attribute;

use super::grid::MOST_SHARED_BYTES;

/// What the machine says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// Threads that run at once.
    pub(super) cores: u32,
    /// Clock of a core.
    pub(super) clock_khz: u32,
}

/// Registers and threads that a multiprocessor is said to have, by compute capability.
fn threads_per_multiprocessor(compute_capability: u32) -> i32 {
    match compute_capability {
        75 => 1024,
        86..=89 => 1536,
        _ => 2048,
    }
}

/// All attributes that are not 0.
pub(super) fn attributes(machine: Machine, compute_capability: u32) -> Vec<Attribute> {
    let int = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let cores = int(machine.cores.into());
    let clock = int(machine.clock_khz.into());
    let shared = int(MOST_SHARED_BYTES);
    let (major, minor) = (int(u64::from(compute_capability / 10)), int(u64::from(compute_capability % 10)));
    let table: &[(u32, i32)] = &[
        (1, 1024),      // threads per block
        (2, 1024),      // block x
        (3, 1024),      // block y
        (4, 64),        // block z
        (5, i32::MAX),  // grid x
        (6, 65_535),    // grid y
        (7, 65_535),    // grid z
        (8, 48 << 10),  // shared memory per block
        (9, 64 << 10),  // constant memory
        (10, 32),       // warp
        (11, i32::MAX), // pitch
        (12, 65_536),   // registers per block
        (13, clock),
        (14, 512),   // texture alignment
        (15, 1),     // copies overlap kernels
        (16, cores), // multiprocessors
        (18, 1),     // shares memory with the host
        (19, 1),     // maps host memory
        (21, 131_072),
        (22, 131_072),
        (23, 65_536),
        (24, 16_384),
        (25, 16_384),
        (26, 16_384),
        (27, 32_768),
        (28, 32_768),
        (29, 2048),
        (30, 512), // surface alignment
        (31, 1),   // kernels overlap
        (36, 1_600_000),
        (37, 128),
        (38, 4 << 20), // second-level cache
        (39, threads_per_multiprocessor(compute_capability)),
        (40, 2), // copy engines
        (41, 1), // unified addresses
        (42, 32_768),
        (43, 2048),
        (45, 32_768),
        (46, 32_768),
        (47, 8192),
        (48, 8192),
        (49, 32_768),
        (51, 32), // texture pitch alignment
        (52, 32_768),
        (53, 32_768),
        (54, 2046),
        (55, 32_768),
        (56, 131_072),
        (57, 65_536),
        (58, 16_384),
        (59, 16_384),
        (60, 16_384),
        (61, 32_768),
        (62, 2048),
        (63, 32_768),
        (64, 32_768),
        (65, 2048),
        (66, 32_768),
        (67, 32_768),
        (68, 2046),
        (69, 268_435_456),
        (70, 131_072),
        (71, 65_000),
        (72, 2_097_120),
        (73, 32_768),
        (74, 32_768),
        (75, major),
        (76, minor),
        (77, 32_768),
        (78, 1), // stream priorities
        (79, 1), // global memory is cached
        (80, 1), // local memory is cached
        (81, shared + 1024),
        (82, 65_536), // registers per multiprocessor
        (83, 1),      // managed memory
        (86, 1),      // atomics of the host are seen by kernels and the other way round
        (87, 2),      // single to double precision speed
        (89, 1),      // host and kernels use managed memory at once
        (90, 1),      // grids give way to each other
        (92, 1),      // stream memory operations
        (93, 1),      // the same of 64 bits
        (94, 1),      // wait for NOR
        (95, 1),      // cooperative launch
        (97, shared), // shared memory per block, on request
        (99, 1),      // host memory can be registered
        (101, 1),     // the host uses managed memory directly
        (102, 1),     // virtual memory management
        (103, 1),     // descriptors of memory
        (106, 16),    // blocks per multiprocessor
        (113, 1),     // read-only host memory can be registered
        (114, 1),     // timeline semaphores
        (115, 1),     // memory pools
        (119, 1),     // descriptors of memory pools
        (122, 1),     // stream memory operations of 64 bits, second version
        (123, 1),     // wait for NOR, second version
        (125, 1),     // events of other processes
        (126, 1),     // memory synchronisation domains
        (131, -1),    // NUMA node
        (134, -1),    // NUMA node of the host
    ];
    table.iter().map(|&(attribute, value)| Attribute { attribute, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(list: &[Attribute], attribute: u32) -> i32 {
        list.iter().find(|it| it.attribute == attribute).map_or(0, |it| it.value)
    }

    #[test]
    fn attributes_are_sorted_unique_and_never_zero() {
        let list = attributes(Machine { cores: 4, clock_khz: 3_000_000 }, 75);
        assert!(list.windows(2).all(|pair| pair[0].attribute < pair[1].attribute));
        assert!(list.iter().all(|it| it.value != 0));
    }

    #[test]
    fn machine_and_capability_are_in_the_list() {
        let list = attributes(Machine { cores: 12, clock_khz: 3_000_000 }, 86);
        assert_eq!((value(&list, 16), value(&list, 13)), (12, 3_000_000));
        assert_eq!((value(&list, 75), value(&list, 76), value(&list, 39)), (8, 6, 1536));
    }
}
