//! What this machine is, seen as a device.

use std::fs;
use std::thread;

use uuid::Uuid;

use super::super::AdapterIdentity;
use super::super::AdapterKind;
use super::super::Heap;
use super::attributes::Machine;

/// Names the device UUID of this adapter; any fixed value does.
const NAMESPACE: Uuid = Uuid::from_u128(0x6478_675f_6370_755f_8000_0000_0000_0001);
/// Clock that is said where the system does not tell.
const USUAL_CLOCK_KHZ: u32 = 2_000_000;

/// The value of the first line of `/proc/cpuinfo` with a key.
fn value_of<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|it| it.trim() == key))?;
    Some(line.split_once(':')?.1.trim()).filter(|value| !value.is_empty())
}

fn cpuinfo() -> String {
    fs::read_to_string("/proc/cpuinfo").unwrap_or_default()
}

/// The cores that this process may use, and how fast they are.
pub(super) fn machine() -> Machine {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Machine { cores: u32::try_from(cores).unwrap_or(u32::MAX), clock_khz: clock_khz(&cpuinfo()) }
}

fn clock_khz(cpuinfo: &str) -> u32 {
    let mhz = value_of(cpuinfo, "cpu MHz").and_then(|value| value.split('.').next()?.parse::<u32>().ok());
    mhz.and_then(|mhz| mhz.checked_mul(1000)).filter(|khz| *khz != 0).unwrap_or(USUAL_CLOCK_KHZ)
}

fn name(cpuinfo: &str) -> String {
    match value_of(cpuinfo, "model name") {
        Some(model) => format!("dxg CPU ({model})"),
        None => "dxg CPU".to_owned(),
    }
}

/// What the probe reports for this adapter.
#[must_use]
pub fn identity() -> AdapterIdentity {
    let info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit.max(1));
    let machine = machine();
    let name = name(&cpuinfo());
    AdapterIdentity {
        device_uuid: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
        name,
        vendor_id: 0,
        device_id: 0,
        subsystem_id: 0,
        revision: 0,
        driver_name: "dxg CPU engine".to_owned(),
        driver_version: 1,
        driver_info: format!("CUDA on {} cores", machine.cores),
        kind: AdapterKind::Cpu,
        heaps: vec![Heap { size_bytes: info.totalram.saturating_mul(unit), device_local: false }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &str = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\ncpu MHz\t\t: 2596.096\n";

    #[test]
    fn name_and_clock_are_read_where_the_system_tells_them() {
        assert_eq!(name(SOME), "dxg CPU (Some CPU @ 2 GHz)");
        assert_eq!(clock_khz(SOME), 2_596_000);
    }

    #[test]
    fn machine_that_tells_nothing_has_a_name_and_a_clock() {
        assert_eq!(name("processor : 0"), "dxg CPU");
        assert_eq!(clock_khz("cpu MHz : 0.5"), USUAL_CLOCK_KHZ);
    }
}
