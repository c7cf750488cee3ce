//! Judges a client's greeting.

use dxg_wire::session::Features;
use dxg_wire::session::Hello;
use dxg_wire::session::MAGIC;
use dxg_wire::session::Reason;
use dxg_wire::session::VERSION_MAX;
use dxg_wire::session::VERSION_MIN;

use super::client::Accepted;

/// The interface version that this host speaks.
pub(super) const INTERFACE_VERSION: u32 = 40;
/// A ring of the vgpu channel where the client leaves it to the host.
pub(super) const DEFAULT_VGPU_RING_BYTES: u32 = 256 << 10;
/// A ring of the global channel where the client leaves it to the host.
pub(super) const DEFAULT_GLOBAL_RING_BYTES: u32 = 64 << 10;
/// The smallest vgpu ring: it holds the largest message.
pub(super) const MIN_VGPU_RING_BYTES: u32 = 160 << 10;
/// The smallest global ring.
pub(super) const MIN_GLOBAL_RING_BYTES: u32 = 16 << 10;
/// The largest ring.
pub(super) const MAX_RING_BYTES: u32 = 16 << 20;
/// Rings are whole pages.
const RING_UNIT_BYTES: u32 = 4096;

/// A refusal with its sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Why.
    pub(super) reason: Reason,
    /// In words.
    pub(super) text: String,
}

impl Refusal {
    /// A refusal.
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

/// Accepts a greeting, or says why not. `offered` is what the virtual GPU has.
pub(super) fn accept(hello: &Hello, offered: Features) -> Result<Accepted, Refusal> {
    if hello.magic != MAGIC {
        return Err(Refusal::new(Reason::BAD_HELLO, "the first message is not a greeting of this protocol"));
    }
    if hello.version_min > hello.version_max {
        return Err(Refusal::new(Reason::BAD_HELLO, "the version range is empty"));
    }
    let version = hello.version_max.min(VERSION_MAX);
    if version < hello.version_min.max(VERSION_MIN) {
        let text = format!(
            "host speaks versions {VERSION_MIN} to {VERSION_MAX}, client {} to {}",
            hello.version_min, hello.version_max
        );
        return Err(Refusal::new(Reason::VERSION, text));
    }
    if hello.interface_version < INTERFACE_VERSION {
        let text =
            format!("host speaks interface version {INTERFACE_VERSION}, client {}", hello.interface_version);
        return Err(Refusal::new(Reason::VERSION, text));
    }
    Ok(Accepted {
        version,
        features: hello.features.intersection(offered),
        vgpu_ring_bytes: ring("vgpu", hello.vgpu_ring_bytes, DEFAULT_VGPU_RING_BYTES, MIN_VGPU_RING_BYTES)?,
        global_ring_bytes: ring(
            "global",
            hello.global_ring_bytes,
            DEFAULT_GLOBAL_RING_BYTES,
            MIN_GLOBAL_RING_BYTES,
        )?,
    })
}

fn ring(name: &str, wanted: u32, default: u32, min: u32) -> Result<u32, Refusal> {
    match wanted {
        0 => Ok(default),
        bytes if (min..=MAX_RING_BYTES).contains(&bytes) && bytes.is_multiple_of(RING_UNIT_BYTES) => {
            Ok(bytes)
        }
        bytes => Err(Refusal::new(
            Reason::RING_SIZE,
            format!("{name} ring of {bytes} bytes: {min} to {MAX_RING_BYTES} in pages are accepted"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            magic: MAGIC,
            version_min: 1,
            version_max: 1,
            interface_version: 40,
            features: Features::ALL,
            vgpu_ring_bytes: 0,
            global_ring_bytes: 0,
            name: [0; 32],
        }
    }

    fn refused(hello: &Hello) -> Reason {
        accept(hello, Features::ALL).unwrap_err().reason
    }

    #[test]
    fn plain_greeting_gets_the_defaults() {
        let accepted = accept(&hello(), Features::SHARING).unwrap();
        assert_eq!(accepted.version, 1);
        assert_eq!(accepted.features, Features::SHARING);
        assert_eq!(accepted.vgpu_ring_bytes, DEFAULT_VGPU_RING_BYTES);
        assert_eq!(accepted.global_ring_bytes, DEFAULT_GLOBAL_RING_BYTES);
    }

    #[test]
    fn newer_client_that_also_speaks_ours_is_accepted() {
        let hello = Hello { version_max: 9, interface_version: 41, ..hello() };
        assert_eq!(accept(&hello, Features::ALL).unwrap().version, VERSION_MAX);
    }

    #[test]
    fn wrong_magic_and_empty_range_are_bad_greetings() {
        assert_eq!(refused(&Hello { magic: 0, ..hello() }), Reason::BAD_HELLO);
        assert_eq!(refused(&Hello { version_min: 2, ..hello() }), Reason::BAD_HELLO);
    }

    #[test]
    fn foreign_versions_are_named() {
        assert_eq!(refused(&Hello { version_min: 2, version_max: 3, ..hello() }), Reason::VERSION);
        assert_eq!(refused(&Hello { version_min: 0, version_max: 0, ..hello() }), Reason::VERSION);
        assert_eq!(refused(&Hello { interface_version: 39, ..hello() }), Reason::VERSION);
    }

    #[test]
    fn ring_sizes_outside_the_bounds_are_refused_and_on_them_accepted() {
        let vgpu = |vgpu_ring_bytes| Hello { vgpu_ring_bytes, ..hello() };
        assert_eq!(refused(&vgpu(MIN_VGPU_RING_BYTES - 4096)), Reason::RING_SIZE);
        assert_eq!(refused(&vgpu(MIN_VGPU_RING_BYTES + 1)), Reason::RING_SIZE);
        assert_eq!(refused(&vgpu(MAX_RING_BYTES + 4096)), Reason::RING_SIZE);
        assert!(accept(&vgpu(MIN_VGPU_RING_BYTES), Features::ALL).is_ok());
        assert!(accept(&vgpu(MAX_RING_BYTES), Features::ALL).is_ok());
        assert_eq!(refused(&Hello { global_ring_bytes: 4096, ..hello() }), Reason::RING_SIZE);
    }
}
