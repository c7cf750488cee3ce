//! Where variables lie: those of the module in one block of memory, those of a block of threads in its shared memory.

use crate::exec::Placement;
use crate::ir::FuncId;
use crate::ir::Linkage;
use crate::ir::Module;
use crate::ir::Space;
use crate::ir::Symbol;

/// The least alignment of dynamic shared memory.
const DYNAMIC_ALIGN: u32 = 16;

/// Where the global and constant variables of a module lie, counted from one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VariablesLayout {
    /// Bytes of all.
    pub bytes: u64,
    /// What the address must be a multiple of.
    pub align: u32,
    /// Of each variable by its number; none for those in shared memory.
    pub offsets: Vec<Option<u64>>,
}

impl VariablesLayout {
    /// The addresses when the variables start at `base`.
    #[must_use]
    pub fn at(&self, base: u64) -> Placement {
        let addresses =
            self.offsets.iter().map(|offset| offset.map_or(0, |offset| base.wrapping_add(offset))).collect();
        Placement { addresses }
    }
}

/// Lays the global and constant variables of a module out.
///
/// A variable of no bytes gets an address of its own all the same.
#[must_use]
pub fn variables_layout(module: &Module) -> VariablesLayout {
    let mut layout =
        VariablesLayout { bytes: 0, align: 16, offsets: Vec::with_capacity(module.globals.len()) };
    for global in &module.globals {
        if !matches!(global.space, Space::Global | Space::Const) {
            layout.offsets.push(None);
            continue;
        }
        let offset = layout.bytes.next_multiple_of(u64::from(global.align.max(1)));
        layout.offsets.push(Some(offset));
        layout.bytes = offset.saturating_add(global.size.max(1));
        layout.align = layout.align.max(global.align);
    }
    layout
}

/// Hands out the initial bytes of all variables, addresses in them included: an address and what is there. What is not handed
/// out is zero.
pub fn write_variables(module: &Module, placement: &Placement, mut write: impl FnMut(u64, &[u8])) {
    let address_of = |id: u32| placement.addresses.get(id as usize).copied().unwrap_or(0);
    for (index, global) in module.globals.iter().enumerate() {
        if global.init.is_empty() || !matches!(global.space, Space::Global | Space::Const) {
            continue;
        }
        let address = placement.addresses.get(index).copied().unwrap_or(0);
        if global.relocations.is_empty() {
            write(address, &global.init);
            continue;
        }
        let mut bytes = global.init.clone();
        for relocation in &global.relocations {
            let target = match relocation.symbol {
                Symbol::Global(id) => address_of(id.0),
                Symbol::Function(id) => Module::function_address(id),
                Symbol::Local(_) | Symbol::Param(_) => 0,
            };
            let value =
                target.wrapping_add_signed(relocation.addend).checked_shr(u32::from(relocation.shift));
            let value = value.unwrap_or(0).to_le_bytes();
            let size = usize::from(relocation.size.min(8));
            let place =
                usize::try_from(relocation.offset).ok().and_then(|at| bytes.get_mut(at..)?.get_mut(..size));
            if let Some(place) = place {
                place.copy_from_slice(&value[..size]);
            }
        }
        write(address, &bytes);
    }
}

/// The initial bytes of the variables when they start at `base`: [`VariablesLayout::bytes`] of them.
///
/// The caller looks at that number first: a text may ask for any amount.
#[must_use]
pub fn fill_variables(module: &Module, base: u64) -> Vec<u8> {
    let layout = variables_layout(module);
    let mut all = vec![0; usize::try_from(layout.bytes).unwrap_or(0)];
    write_variables(module, &layout.at(base), |address, bytes| {
        let at = usize::try_from(address.wrapping_sub(base)).unwrap_or(usize::MAX);
        if let Some(place) = all.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    });
    all
}

/// The functions that an entry may reach, itself included, in no particular order.
#[must_use]
pub fn reachable(module: &Module, entry: FuncId) -> Vec<FuncId> {
    let mut seen = vec![false; module.functions.len()];
    let mut reached = Vec::new();
    let mut open = vec![entry];
    while let Some(id) = open.pop() {
        match seen.get_mut(id.0 as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        reached.push(id);
        let Some(function) = module.functions.get(id.0 as usize) else { continue };
        for inst in function.blocks.iter().flat_map(|block| &block.insts) {
            inst.op.for_each_symbol(|symbol| {
                if let Symbol::Function(id) = symbol {
                    open.push(id);
                }
            });
        }
    }
    reached
}

/// Where the shared variables that an entry reaches lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedLayout {
    /// Of each variable by its number: its offset in the block's shared memory; none for those that the entry does not reach.
    pub offsets: Vec<Option<u32>>,
    /// Bytes of static shared memory.
    pub static_bytes: u32,
    /// Where dynamic shared memory starts; not below `static_bytes`.
    pub dynamic_offset: u32,
    /// Bytes of the constant variables within reach.
    pub const_bytes: u32,
}

/// Lays the shared variables that an entry reaches out.
#[must_use]
pub fn shared_layout(module: &Module, entry: FuncId) -> SharedLayout {
    let mut used = vec![false; module.globals.len()];
    for id in reachable(module, entry) {
        let Some(function) = module.functions.get(id.0 as usize) else { continue };
        for inst in function.blocks.iter().flat_map(|block| &block.insts) {
            inst.op.for_each_symbol(|symbol| {
                if let Symbol::Global(id) = symbol
                    && let Some(used) = used.get_mut(id.0 as usize)
                {
                    *used = true;
                }
            });
        }
    }
    let mut layout = SharedLayout { offsets: vec![None; used.len()], ..SharedLayout::default() };
    let mut dynamic_align = DYNAMIC_ALIGN;
    let of = |space: Space| {
        let used = &used;
        module.globals.iter().enumerate().filter(move |&(index, global)| global.space == space && used[index])
    };
    for (_, global) in of(Space::Const) {
        let size = u32::try_from(global.size).unwrap_or(u32::MAX);
        layout.const_bytes = round_up(layout.const_bytes, global.align).saturating_add(size);
    }
    for (index, global) in of(Space::Shared) {
        if is_dynamic(global.size, global.linkage) {
            dynamic_align = dynamic_align.max(global.align);
            continue;
        }
        let offset = round_up(layout.static_bytes, global.align);
        layout.offsets[index] = Some(offset);
        layout.static_bytes = offset.saturating_add(u32::try_from(global.size).unwrap_or(u32::MAX));
    }
    layout.dynamic_offset = round_up(layout.static_bytes, dynamic_align);
    for (index, global) in of(Space::Shared) {
        if is_dynamic(global.size, global.linkage) {
            layout.offsets[index] = Some(layout.dynamic_offset);
        }
    }
    layout
}

fn is_dynamic(size: u64, linkage: Linkage) -> bool {
    size == 0 || linkage == Linkage::Extern
}

fn round_up(value: u32, align: u32) -> u32 {
    value.checked_next_multiple_of(align.max(1)).unwrap_or(u32::MAX)
}
