//! Modules, functions, libraries, kernels, linkers.

use std::sync::Arc;

use crate::context::Context;
use crate::current;
use crate::driver;
use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Text;
use crate::generated::enums::CUfunc_cache;
use crate::generated::enums::CUfunction_attribute;
use crate::generated::enums::CUfunctionLoadingState;
use crate::generated::enums::CUjit_option;
use crate::generated::enums::CUjitInputType;
use crate::generated::enums::CUlibraryOption;
use crate::generated::enums::CUresult;
use crate::generated::enums::CUsharedconfig;
use crate::generated::handles::*;
use crate::image;
use crate::image::Image;
use crate::image::Target;
use crate::jit::LinkState;
use crate::jit::Linker;
use crate::jit::Options;
use crate::module::Function;
use crate::module::Kernel;
use crate::module::Library;
use crate::module::Module;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdevice;
use crate::types::CUdeviceptr;

/// No input of a linker is larger.
const MAX_INPUT_BYTES: usize = 1 << 30;

fn target(context: &Context) -> Target {
    context.device.target()
}

fn read_file(path: Text) -> Answer<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    let path = std::ffi::OsString::from_vec(path.bytes()?);
    std::fs::read(path).map_err(|_| CUresult::ERROR_FILE_NOT_FOUND)
}

fn load(out: Mut<CUmodule>, image: impl FnOnce(&Context) -> Answer<Image>, options: &Options) -> Answer {
    let context = current::context()?;
    out.given()?;
    let image = image(&context)?;
    let module = Module::load(&context, &image, options)?;
    out.set(tables::MODULES.insert(module)?)
}

/// `cuModuleLoad`.
pub fn load_file(out: Mut<CUmodule>, path: Text) -> Answer {
    load(out, |context| image::of(&read_file(path)?, target(context)), &Options::default())
}

/// `cuModuleLoadData` and `cuModuleLoadFatBinary`.
pub fn load_data(out: Mut<CUmodule>, image: Address) -> Answer {
    load(out, |context| image::at(image, target(context)), &Options::default())
}

/// `cuModuleLoadDataEx`.
pub fn load_data_ex(
    out: Mut<CUmodule>,
    image: Address,
    count: u32,
    options: Mut<CUjit_option>,
    values: Mut<Address>,
) -> Answer {
    let options = Options::read(count, options, values)?;
    load(out, |context| image::at(image, target(context)), &options)
}

/// `cuModuleUnload`.
pub fn unload(module: CUmodule) -> Answer {
    driver::driver()?;
    let module = tables::MODULES.remove(module)?;
    module.forget_functions();
    module.context.synchronize_all()
}

/// The module of a handle, which a library's may be too.
fn module(handle: CUmodule) -> Answer<Arc<Module>> {
    driver::driver()?;
    tables::MODULES.get(handle)
}

/// `cuModuleGetFunction`.
pub fn function(out: Mut<CUfunction>, handle: CUmodule, name: Text) -> Answer {
    let module = module(handle)?;
    out.given()?;
    out.set(module.function(&name.bytes()?)?)
}

/// `cuModuleGetFunctionCount`.
pub fn function_count(count: Mut<u32>, handle: CUmodule) -> Answer {
    count.set(u32::try_from(module(handle)?.info.functions.0.len()).unwrap_or(u32::MAX))
}

/// `cuModuleEnumerateFunctions`.
pub fn functions(out: Mut<CUfunction>, count: u32, handle: CUmodule) -> Answer {
    let module = module(handle)?;
    let there = u32::try_from(module.info.functions.0.len()).unwrap_or(u32::MAX);
    (0..count.min(there)).try_for_each(|at| out.set_at(at as usize, module.function_at(at)?))
}

fn put_variable(module: &Module, out: Mut<CUdeviceptr>, bytes: Mut<usize>, name: Text) -> Answer {
    let (address, size) = module.variable(&name.bytes()?)?;
    out.put(CUdeviceptr(address));
    bytes.put(size as usize);
    Ok(())
}

/// `cuModuleGetGlobal_v2`.
pub fn global(out: Mut<CUdeviceptr>, bytes: Mut<usize>, handle: CUmodule, name: Text) -> Answer {
    put_variable(&*module(handle)?, out, bytes, name)
}

fn named_function(handle: CUfunction) -> Answer<Arc<Function>> {
    driver::driver()?;
    if tables::KERNELS.is_of(handle.0) {
        return super::launch::function(&current::context()?, handle);
    }
    tables::FUNCTIONS.get(handle)
}

/// `cuFuncGetAttribute`.
pub fn function_attribute(value: Mut<i32>, attribute: CUfunction_attribute, function: CUfunction) -> Answer {
    value.given()?.set(named_function(function)?.attribute(attribute)?)
}

/// `cuFuncSetAttribute`.
pub fn set_function_attribute(function: CUfunction, attribute: CUfunction_attribute, value: i32) -> Answer {
    named_function(function)?.set_attribute(attribute, value)
}

/// `cuFuncSetCacheConfig`: a wish.
pub fn set_function_cache(function: CUfunction, _config: CUfunc_cache) -> Answer {
    named_function(function).map(drop)
}

/// `cuFuncSetSharedMemConfig`: a wish.
pub fn set_function_shared(function: CUfunction, _config: CUsharedconfig) -> Answer {
    named_function(function).map(drop)
}

/// `cuFuncGetModule`.
pub fn function_module(out: Mut<CUmodule>, function: CUfunction) -> Answer {
    let function = named_function(function)?;
    out.given()?.set(tables::MODULES.name_of(&function.module).ok_or(CUresult::ERROR_INVALID_HANDLE)?)
}

/// A name that stays where it is: names of functions are few, and programs keep what they are given.
fn kept_text(text: &[u8]) -> Address {
    use std::collections::BTreeSet;

    use parking_lot::Mutex;
    static NAMES: Mutex<BTreeSet<&'static [u8]>> = Mutex::new(BTreeSet::new());
    let mut whole = text.to_vec();
    whole.push(0);
    let mut names = NAMES.lock();
    if let Some(kept) = names.get(whole.as_slice()) {
        return Address(kept.as_ptr().expose_provenance());
    }
    let kept: &'static [u8] = Box::leak(whole.into_boxed_slice());
    names.insert(kept);
    Address(kept.as_ptr().expose_provenance())
}

/// `cuFuncGetName`.
pub fn function_name(out: Mut<Address>, function: CUfunction) -> Answer {
    out.given()?.set(kept_text(&named_function(function)?.name))
}

fn put_param(function: &Function, index: usize, offset: Mut<usize>, size: Mut<usize>) -> Answer {
    let param = function.info()?.params.0.get(index).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    offset.given()?.set(param.offset as usize)?;
    size.put(param.size as usize);
    Ok(())
}

/// `cuFuncGetParamInfo`.
pub fn function_param(function: CUfunction, index: usize, offset: Mut<usize>, size: Mut<usize>) -> Answer {
    put_param(&*named_function(function)?, index, offset, size)
}

/// `cuFuncGetParamCount`.
pub fn function_param_count(function: CUfunction, count: Mut<usize>) -> Answer {
    count.set(named_function(function)?.info()?.params.0.len())
}

/// `cuFuncIsLoaded`.
pub fn function_is_loaded(state: Mut<CUfunctionLoadingState>, function: CUfunction) -> Answer {
    named_function(function)?;
    state.set(CUfunctionLoadingState::LOADED)
}

/// `cuFuncLoad`.
pub fn load_function(function: CUfunction) -> Answer {
    named_function(function).map(drop)
}

fn load_library(
    out: Mut<CUlibrary>,
    image: impl FnOnce(Target) -> Answer<Image>,
    options: &Options,
) -> Answer {
    let driver = driver::driver()?;
    out.given()?;
    let current = current::get()?;
    let any = driver.devices().first().map_or(Target::from(0), |device| device.target());
    let image = image(current.as_ref().map_or(any, |context| target(context)))?;
    let library = Library::new(image, options.optimization);
    // What is wrong with the code is said now, where there is somebody to compile it.
    if let Some(context) = &current {
        library.module(context, Some(options))?;
    }
    out.set(tables::LIBRARIES.insert(Arc::new(library))?)
}

/// `cuLibraryLoadData`.
pub fn library_load(
    out: Mut<CUlibrary>,
    code: Address,
    options: Mut<CUjit_option>,
    values: Mut<Address>,
    count: u32,
    _library_options: Mut<CUlibraryOption>,
    _library_values: Mut<Address>,
    _library_count: u32,
) -> Answer {
    let options = Options::read(count, options, values)?;
    load_library(out, |target| image::at(code, target), &options)
}

/// `cuLibraryLoadFromFile`.
pub fn library_load_file(
    out: Mut<CUlibrary>,
    path: Text,
    options: Mut<CUjit_option>,
    values: Mut<Address>,
    count: u32,
    _library_options: Mut<CUlibraryOption>,
    _library_values: Mut<Address>,
    _library_count: u32,
) -> Answer {
    let options = Options::read(count, options, values)?;
    load_library(out, |target| image::of(&read_file(path)?, target), &options)
}

/// `cuLibraryUnload`.
pub fn library_unload(library: CUlibrary) -> Answer {
    driver::driver()?;
    let library = tables::LIBRARIES.remove(library)?;
    for (_, kernel) in std::mem::take(&mut *library.kernels.lock()) {
        let _ = tables::KERNELS.remove(kernel);
    }
    for module in library.unload() {
        module.forget_functions();
        if let Some(name) = tables::MODULES.name_of(&module) {
            let _ = tables::MODULES.remove(name);
        }
        module.context.synchronize_all()?;
    }
    Ok(())
}

/// A module to ask about names: the current context's, or any.
fn library_module(library: &Arc<Library>) -> Answer<Arc<Module>> {
    match current::get()? {
        Some(context) => library.module(&context, None),
        None => library.any_module().ok_or(CUresult::ERROR_INVALID_CONTEXT),
    }
}

fn kernel_named(library: &Arc<Library>, name: Vec<u8>) -> Answer<CUkernel> {
    let mut kernels = library.kernels.lock();
    if let Some(kernel) = kernels.get(&name) {
        return Ok(*kernel);
    }
    let kernel = Kernel { library: Arc::clone(library), name: name.clone() };
    let handle = tables::KERNELS.insert(Arc::new(kernel))?;
    kernels.insert(name, handle);
    Ok(handle)
}

/// `cuLibraryGetKernel`.
pub fn library_kernel(out: Mut<CUkernel>, library: CUlibrary, name: Text) -> Answer {
    driver::driver()?;
    out.given()?;
    let library = tables::LIBRARIES.get(library)?;
    let name = name.bytes()?;
    match library_module(&library) {
        Ok(module) => module.function(&name).map(drop)?,
        // Without a context nobody has compiled it yet; an unknown name shows when the kernel is used.
        Err(CUresult::ERROR_INVALID_CONTEXT) => {}
        Err(error) => return Err(error),
    }
    out.set(kernel_named(&library, name)?)
}

/// `cuLibraryGetKernelCount`.
pub fn library_kernel_count(count: Mut<u32>, library: CUlibrary) -> Answer {
    driver::driver()?;
    let module = library_module(&tables::LIBRARIES.get(library)?)?;
    count.set(u32::try_from(module.info.functions.0.len()).unwrap_or(u32::MAX))
}

/// `cuLibraryEnumerateKernels`.
pub fn library_kernels(out: Mut<CUkernel>, count: u32, library: CUlibrary) -> Answer {
    driver::driver()?;
    let library = tables::LIBRARIES.get(library)?;
    let module = library_module(&library)?;
    for (at, function) in module.info.functions.0.iter().take(count as usize).enumerate() {
        out.set_at(at, kernel_named(&library, function.name.clone())?)?;
    }
    Ok(())
}

/// `cuLibraryGetModule`.
pub fn library_get_module(out: Mut<CUmodule>, library: CUlibrary) -> Answer {
    let context = current::context()?;
    let module = tables::LIBRARIES.get(library)?.module(&context, None)?;
    let name = match tables::MODULES.name_of(&module) {
        Some(name) => name,
        None => tables::MODULES.insert(module)?,
    };
    out.set(name)
}

/// `cuLibraryGetGlobal` and `cuLibraryGetManaged`.
pub fn library_global(out: Mut<CUdeviceptr>, bytes: Mut<usize>, library: CUlibrary, name: Text) -> Answer {
    let context = current::context()?;
    let module = tables::LIBRARIES.get(library)?.module(&context, None)?;
    put_variable(&module, out, bytes, name)
}

/// `cuLibraryGetUnifiedFunction`: none.
pub fn library_unified(out: Mut<Address>, library: CUlibrary, _name: Text) -> Answer {
    driver::driver()?;
    tables::LIBRARIES.get(library)?;
    out.put(Address::NULL);
    Err(CUresult::ERROR_NOT_FOUND)
}

/// `cuKernelGetFunction`.
pub fn kernel_function(out: Mut<CUfunction>, kernel: CUkernel) -> Answer {
    let context = current::context()?;
    out.given()?;
    out.set(tables::KERNELS.get(kernel)?.function(&context)?)
}

/// `cuKernelGetLibrary`.
pub fn kernel_library(out: Mut<CUlibrary>, kernel: CUkernel) -> Answer {
    driver::driver()?;
    let kernel = tables::KERNELS.get(kernel)?;
    out.set(tables::LIBRARIES.name_of(&kernel.library).ok_or(CUresult::ERROR_INVALID_HANDLE)?)
}

/// `cuKernelGetName`.
pub fn kernel_name(out: Mut<Address>, kernel: CUkernel) -> Answer {
    driver::driver()?;
    out.given()?.set(kept_text(&tables::KERNELS.get(kernel)?.name))
}

/// The function of a kernel on a device: the current context's, or the primary one's.
fn kernel_on(kernel: CUkernel, dev: CUdevice) -> Answer<Arc<Function>> {
    let device = driver::device(dev)?;
    let kernel = tables::KERNELS.get(kernel)?;
    let context = match current::get()?.filter(|context| context.device.ordinal == device.ordinal) {
        Some(context) => context,
        None => device.primary_context(&mut device.primary.lock())?,
    };
    tables::FUNCTIONS.get(kernel.function(&context)?)
}

/// `cuKernelGetAttribute`.
pub fn kernel_attribute(
    value: Mut<i32>,
    attribute: CUfunction_attribute,
    kernel: CUkernel,
    dev: CUdevice,
) -> Answer {
    value.given()?.set(kernel_on(kernel, dev)?.attribute(attribute)?)
}

/// `cuKernelSetAttribute`.
pub fn set_kernel_attribute(
    attribute: CUfunction_attribute,
    value: i32,
    kernel: CUkernel,
    dev: CUdevice,
) -> Answer {
    kernel_on(kernel, dev)?.set_attribute(attribute, value)
}

/// `cuKernelSetCacheConfig`: a wish.
pub fn set_kernel_cache(kernel: CUkernel, _config: CUfunc_cache, dev: CUdevice) -> Answer {
    driver::device(dev)?;
    tables::KERNELS.get(kernel).map(drop)
}

fn any_function(kernel: CUkernel) -> Answer<Arc<Function>> {
    driver::driver()?;
    let kernel = tables::KERNELS.get(kernel)?;
    let module = library_module(&kernel.library)?;
    tables::FUNCTIONS.get(module.function(&kernel.name)?)
}

/// `cuKernelGetParamInfo`.
pub fn kernel_param(kernel: CUkernel, index: usize, offset: Mut<usize>, size: Mut<usize>) -> Answer {
    put_param(&*any_function(kernel)?, index, offset, size)
}

/// `cuKernelGetParamCount`.
pub fn kernel_param_count(kernel: CUkernel, count: Mut<usize>) -> Answer {
    count.set(any_function(kernel)?.info()?.params.0.len())
}

/// `cuLinkCreate` and `_v2`.
pub fn link_create(
    count: u32,
    options: Mut<CUjit_option>,
    values: Mut<Address>,
    out: Mut<CUlinkState>,
) -> Answer {
    let context = current::context()?;
    out.given()?;
    let options = Options::read(count, options, values)?;
    let state = parking_lot::Mutex::new(LinkState::default());
    out.set(tables::LINKERS.insert(Arc::new(Linker { context, options, state }))?)
}

fn link_add(state: CUlinkState, kind: CUjitInputType, bytes: &[u8], name: Vec<u8>) -> Answer {
    let linker = tables::LINKERS.get(state)?;
    let state = &mut *linker.state.lock();
    if state.linked.is_some() {
        return Err(CUresult::ERROR_ILLEGAL_STATE);
    }
    // What is linked is PTX, also where a driver of the host takes binaries.
    let capability = linker.context.device.description.compute_capability;
    let image = match kind {
        CUjitInputType::INPUT_PTX | CUjitInputType::INPUT_FATBINARY => image::of(bytes, capability)?,
        CUjitInputType::INPUT_CUBIN if bytes.starts_with(b"\x7fELF") => {
            return Err(CUresult::ERROR_NO_BINARY_FOR_GPU);
        }
        CUjitInputType::INPUT_CUBIN => image::of(bytes, capability)?,
        CUjitInputType::INPUT_OBJECT | CUjitInputType::INPUT_LIBRARY | CUjitInputType::INPUT_NVVM => {
            return Err(CUresult::ERROR_NO_BINARY_FOR_GPU);
        }
        _ => return Err(CUresult::ERROR_INVALID_VALUE),
    };
    for (inner, text) in image.texts {
        let name = if inner.is_empty() { name.clone() } else { inner };
        state.image.texts.push((name, text));
    }
    Ok(())
}

/// `cuLinkAddData` and `_v2`.
pub fn link_add_data(
    state: CUlinkState,
    kind: CUjitInputType,
    data: Address,
    bytes: usize,
    name: Text,
    _count: u32,
    _options: Mut<CUjit_option>,
    _values: Mut<Address>,
) -> Answer {
    driver::driver()?;
    if bytes > MAX_INPUT_BYTES {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let name = if name.is_null() { Vec::new() } else { name.bytes()? };
    link_add(state, kind, &memory::read(data.given()?, bytes), name)
}

/// `cuLinkAddFile` and `_v2`.
pub fn link_add_file(
    state: CUlinkState,
    kind: CUjitInputType,
    path: Text,
    _count: u32,
    _options: Mut<CUjit_option>,
    _values: Mut<Address>,
) -> Answer {
    driver::driver()?;
    link_add(state, kind, &read_file(path)?, path.bytes()?)
}

/// `cuLinkComplete`. What comes out is the texts together; they are compiled once to say what is wrong with them.
pub fn link_complete(state: CUlinkState, out: Mut<Address>, bytes: Mut<usize>) -> Answer {
    driver::driver()?;
    let linker = tables::LINKERS.get(state)?;
    out.given()?;
    let state = &mut *linker.state.lock();
    if state.linked.is_none() {
        if state.image.texts.is_empty() {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        drop(Module::load(&linker.context, &state.image, &linker.options)?);
        state.linked = Some(state.image.encode().into_boxed_slice());
    }
    let linked = state.linked.as_deref().unwrap_or_default();
    out.set(Address(linked.as_ptr().expose_provenance()))?;
    bytes.put(linked.len());
    Ok(())
}

/// `cuLinkDestroy`.
pub fn link_destroy(state: CUlinkState) -> Answer {
    driver::driver()?;
    tables::LINKERS.remove(state).map(drop)
}
