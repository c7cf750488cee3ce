//! Compiled code of one entry: bytes, where each unit starts, and which instruction each byte belongs to.

use std::sync::OnceLock;

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::settings;
use cranelift_codegen::settings::Configurable as _;
use cranelift_frontend::FunctionBuilderContext;

use crate::ir::Module;
use crate::native::emit;
use crate::native::jit_memory::JitMemory;
use crate::native::prepare::Prepared;

/// How the start of a unit is aligned.
const ALIGN: usize = 64;

/// A unit of more instructions of Cranelift gets its registers in one pass: that takes a quarter of the time, and the code runs
/// two to four times as long.
const LONG: usize = 1000;

/// For what code is made.
#[derive(Clone, Copy)]
pub(crate) struct Targets<'t> {
    /// This machine.
    pub(crate) machine: &'t dyn TargetIsa,
    /// The same, with less work spent.
    quick: &'t dyn TargetIsa,
}

impl<'t> Targets<'t> {
    /// The one for a unit of so many instructions of Cranelift.
    pub(crate) fn of_length(self, insts: usize) -> &'t dyn TargetIsa {
        if insts > LONG { self.quick } else { self.machine }
    }
}

/// Code that is not mapped yet; can be kept and read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CodeImage {
    pub(crate) bytes: Vec<u8>,
    /// Where each unit starts.
    pub(crate) starts: Vec<u32>,
    /// Offset, unit, instruction; sorted by offset.
    pub(crate) places: Vec<[u32; 3]>,
}

/// Code that can run.
#[derive(Debug)]
pub(crate) struct Code {
    memory: JitMemory,
    image: CodeImage,
}

/// The machine that code is made for: this one.
///
/// # Errors
/// Cranelift knows no such machine.
pub(crate) fn target() -> Result<OwnedTargetIsa, String> {
    static TARGET: OnceLock<Result<OwnedTargetIsa, String>> = OnceLock::new();
    TARGET.get_or_init(|| target_with("backtracking")).clone()
}

/// The same, with registers given in one pass.
fn quick_target() -> Result<OwnedTargetIsa, String> {
    static TARGET: OnceLock<Result<OwnedTargetIsa, String>> = OnceLock::new();
    TARGET.get_or_init(|| target_with("single_pass")).clone()
}

fn target_with(allocator: &str) -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("regalloc_algorithm", allocator),
        // What compilers of PTX have moved out of loops stays there; Cranelift would bring some of it back.
        ("opt_level", "none"),
        ("is_pic", "true"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("enable_alias_analysis", "true"),
        ("unwind_info", "false"),
    ] {
        flags.set(name, value).map_err(|error| error.to_string())?;
    }
    let builder = cranelift_native::builder().map_err(str::to_owned)?;
    builder.finish(settings::Flags::new(flags)).map_err(|error| error.to_string())
}

impl CodeImage {
    /// Compiles all units of an entry.
    ///
    /// # Errors
    /// What could not be compiled.
    pub(crate) fn compile(
        target: &OwnedTargetIsa,
        module: &Module,
        prepared: &Prepared,
    ) -> Result<Self, emit::EmitError> {
        let quick = quick_target();
        let targets = Targets { machine: target.as_ref(), quick: quick.as_ref().unwrap_or(target).as_ref() };
        let mut image = Self::default();
        let mut context = cranelift_codegen::Context::new();
        let mut builder = FunctionBuilderContext::new();
        for unit in &prepared.units {
            let emitted = emit::emit(targets, module, (prepared, unit), (&mut context, &mut builder))?;
            image.bytes.resize(image.bytes.len().next_multiple_of(ALIGN), 0xcc);
            let start = u32::try_from(image.bytes.len()).unwrap_or(u32::MAX);
            image.starts.push(start);
            image
                .places
                .extend(emitted.places.iter().map(|&(offset, inst)| [start + offset, unit.number, inst]));
            image.bytes.extend_from_slice(&emitted.code);
        }
        Ok(image)
    }
}

impl Code {
    /// Maps an image.
    ///
    /// # Errors
    /// The system has no memory, or forbids executable pages.
    pub(crate) fn new(image: CodeImage) -> std::io::Result<Self> {
        Ok(Self { memory: JitMemory::new(&image.bytes)?, image })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.image.bytes
    }

    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        self.memory.range()
    }

    /// Where a unit's function is.
    pub(crate) fn function(&self, unit: u32) -> Option<u64> {
        let start = self.image.starts.get(unit as usize)?;
        Some(self.memory.range().start + u64::from(*start))
    }

    /// The unit and the instruction of an address in it.
    pub(crate) fn find(&self, address: u64) -> Option<(u32, u32)> {
        let offset = u32::try_from(address.checked_sub(self.memory.range().start)?).ok()?;
        let index = self.image.places.partition_point(|place| place[0] <= offset).checked_sub(1)?;
        let [_, unit, inst] = *self.image.places.get(index)?;
        Some((unit, inst))
    }
}
