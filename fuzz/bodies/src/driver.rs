//! The driver without a device, loaded once, with its controls.

// UNSAFETY: loads the fake driver a second time, to reach its controls.
#![expect(unsafe_code, reason = "loads a library and calls its functions")]

use std::path::PathBuf;
use std::sync::Arc;

use dxg_host::adapter::Adapter;
use dxg_host::adapter::vulkan;

const LIBRARY: &str = "libfake_vk_driver.so";

/// Whether the device is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceState {
    Present,
    Lost,
}

/// The driver.
pub(crate) struct Driver {
    pub(crate) adapter: Arc<dyn Adapter>,
    library: libloading::Library,
}

impl Driver {
    /// Loads it from where `DXG_FUZZ_VK_DRIVER` says, or from beside this program, where cargo puts it.
    pub(crate) fn load() -> Self {
        let path = std::env::var_os("DXG_FUZZ_VK_DRIVER").map_or_else(beside, PathBuf::from);
        // SAFETY:
        // - the library has no constructors.
        let library = unsafe { libloading::Library::new(&path) }
            .unwrap_or_else(|error| panic!("{}: {error}; set DXG_FUZZ_VK_DRIVER", path.display()));
        let adapter = vulkan::open_library(&path, None).expect("the driver has a device");
        Self { adapter, library }
    }

    /// Takes the device away, for all that is to come, or brings it back.
    pub(crate) fn set(&self, state: DeviceState) {
        self.control(2, u64::from(state == DeviceState::Lost));
    }

    /// Objects that were made and not destroyed.
    pub(crate) fn live(&self) -> u64 {
        // SAFETY:
        // - the driver has this function, of this type.
        let count = unsafe { self.library.get::<extern "C" fn(u32) -> u64>(b"fake_count\0") };
        count.map_or(0, |count| count(0))
    }

    fn control(&self, kind: u32, value: u64) {
        // SAFETY:
        // - the driver has this function, of this type.
        let control = unsafe { self.library.get::<extern "C" fn(u32, u64)>(b"fake_control\0") };
        if let Ok(control) = control {
            control(kind, value);
        }
    }
}

fn beside() -> PathBuf {
    std::env::current_exe().map(|path| path.with_file_name(LIBRARY)).unwrap_or_default()
}
