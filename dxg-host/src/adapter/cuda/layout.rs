//! Where a module's variables lie in the memory that the guest gives them, and what they hold at first.

use dxg_ptx::exec::Placement;
use dxg_ptx::ir::Global;
use dxg_ptx::ir::Linkage;
use dxg_ptx::ir::Module;
use dxg_ptx::ir::Space;
use dxg_ptx::layout::write_variables;

use super::memory::Memory;
use super::memory::NotMapped;
use super::range::FillUnit;

/// Largest alignment of a variable that is taken from the text.
const MOST_ALIGN: u64 = 4096;
/// The least that device memory is aligned to.
const LEAST_ALIGN: u64 = 256;

/// Offsets of a module's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// By number; `None` for variables that have no place in device memory.
    pub(super) offsets: Vec<Option<u64>>,
    pub(super) bytes: u64,
    pub(super) align: u64,
}

/// A module whose variables have no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Whether a variable lies in device memory.
fn is_placed(global: &Global) -> bool {
    matches!(global.space, Space::Global | Space::Const) && global.linkage != Linkage::Extern
}

impl Variables {
    /// Lays out the variables of a module.
    ///
    /// # Errors
    /// When they are larger than any memory.
    pub(super) fn of(module: &Module) -> Result<Self, TooLarge> {
        let mut end = 0_u64;
        let mut most = LEAST_ALIGN;
        let mut offsets = Vec::with_capacity(module.globals.len());
        for global in &module.globals {
            if !is_placed(global) {
                offsets.push(None);
                continue;
            }
            let align = u64::from(global.align).clamp(1, MOST_ALIGN);
            most = most.max(align);
            let offset = end.checked_next_multiple_of(align).ok_or(TooLarge)?;
            offsets.push(Some(offset));
            end = offset.checked_add(global.size.max(1)).filter(|end| *end < 1 << 46).ok_or(TooLarge)?;
        }
        Ok(Self { offsets, bytes: end, align: most })
    }

    /// Where the variables are when all of them begin at `base`.
    pub(super) fn placement(&self, base: u64) -> Placement {
        let address = |offset: &Option<u64>| offset.map_or(0, |offset| base.saturating_add(offset));
        Placement { addresses: self.offsets.iter().map(address).collect() }
    }

    /// Gives the variables their first values.
    ///
    /// # Errors
    /// When their memory is not mapped.
    pub(super) fn initialise(&self, module: &Module, base: u64, memory: &Memory) -> Result<(), NotMapped> {
        if self.bytes == 0 {
            return Ok(());
        }
        memory.fill(base, self.bytes, 0, FillUnit::Byte, &|| false)?;
        let mut done = Ok(());
        write_variables(module, &self.placement(base), |address, bytes| {
            if done.is_ok() {
                done = memory.write(address, bytes);
            }
        });
        done
    }
}

#[cfg(test)]
mod tests {
    use dxg_ptx::ir::Place;

    use super::*;

    fn global(space: Space, size: u64, align: u32) -> Global {
        Global {
            name: "x".to_owned(),
            space,
            align,
            size,
            init: Vec::new(),
            relocations: Vec::new(),
            linkage: Linkage::Visible,
            is_managed: false,
            place: Place::default(),
        }
    }

    #[test]
    fn variables_are_aligned_and_shared_ones_take_no_room() {
        let globals = vec![
            global(Space::Global, 3, 1),
            global(Space::Shared, 4096, 16),
            global(Space::Const, 8, 8),
            global(Space::Global, 1, 512),
        ];
        let module = Module { globals, ..Module::default() };
        let variables = Variables::of(&module).unwrap();
        assert_eq!(variables.offsets, [Some(0), None, Some(8), Some(512)]);
        assert_eq!((variables.bytes, variables.align), (513, 512));
        assert_eq!(variables.placement(0x1000).addresses, [0x1000, 0, 0x1008, 0x1200]);
    }

    #[test]
    fn variables_without_an_end_are_refused() {
        let module = Module { globals: vec![global(Space::Global, u64::MAX, 1)], ..Module::default() };
        assert_eq!(Variables::of(&module), Err(TooLarge));
    }
}
