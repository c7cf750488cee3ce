//! Modules, functions, libraries and kernels.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering;

use dxg_wire::codec::Decoder;
use dxg_wire::cuda;
use dxg_wire::cuda::op;
use parking_lot::Mutex;

use crate::arena::Kind;
use crate::arena::Residence;
use crate::condition;
use crate::context::Context;
use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::generated::enums::CUfunction_attribute as F;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUfunction;
use crate::generated::handles::CUkernel;
use crate::image::Image;
use crate::jit::Options;
use crate::link::LOST;
use crate::tables;
use crate::types::Answer;

/// Shared memory of a block that a kernel may have unless it asks for more.
const SHARED_BYTES: i32 = 48 << 10;
/// Bytes of an encoded module that are read at once.
const READ_BYTES: u64 = 32 << 10;

/// Numbers of modules: slots that are free, with their next generation, oldest first.
static NUMBERS: Mutex<(u64, VecDeque<u64>)> = Mutex::new((0, VecDeque::new()));

fn take_number() -> u64 {
    let (next, free) = &mut *NUMBERS.lock();
    free.pop_front().unwrap_or_else(|| {
        *next += 1;
        *next - 1
    })
}

fn give_number(number: u64) {
    NUMBERS.lock().1.push_back(number.wrapping_add(1 << 32));
}

/// Loaded code.
#[derive(Debug)]
pub struct Module {
    /// Its context.
    pub context: Arc<Context>,
    /// Its number on the host.
    pub id: u64,
    /// What it holds.
    pub info: cuda::ModuleInfo,
    /// Where its variables are; 0 if it has none.
    variables: u64,
    align: u64,
    functions: Mutex<HashMap<u32, CUfunction>>,
    /// Variables that the host's driver was asked for: address and bytes.
    found_variables: Mutex<HashMap<Vec<u8>, (u64, u64)>>,
}

/// An entry of a module.
#[derive(Debug)]
pub struct Function {
    /// Its module.
    pub module: Arc<Module>,
    /// Its number there.
    pub index: u32,
    /// Its name.
    pub name: Vec<u8>,
    /// The most dynamic shared memory that the program asked to allow.
    pub max_dynamic_shared: AtomicI32,
    carveout: AtomicI32,
    /// What the functions of before CUDA 4 have set.
    pub legacy: Mutex<Legacy>,
}

/// What the launch functions of before CUDA 4 work on.
#[derive(Clone, Debug)]
pub struct Legacy {
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// The parameter block.
    pub params: Vec<u8>,
}

impl Module {
    /// Loads an image.
    ///
    /// # Errors
    /// What the compiler says; out of memory; the device is gone.
    pub fn load(context: &Arc<Context>, image: &Image, options: &Options) -> Answer<Arc<Self>> {
        context.check()?;
        context.equip()?;
        let id = take_number();
        let loaded = Self::load_as(context, image, options, id);
        if loaded.is_err() {
            give_number(id);
        }
        loaded
    }

    fn load_as(context: &Arc<Context>, image: &Image, options: &Options, id: u64) -> Answer<Arc<Self>> {
        let mut staged = Vec::new();
        let is_wanted = context.arena.residence() == Residence::Shared
            && image.texts.iter().any(|(_, text)| condition::is_wanted(text));
        let brought = is_wanted.then(|| (b"conditions".to_vec(), condition::TEXT.to_vec()));
        let texts = image.texts.iter().chain(&brought);
        let texts = texts.map(|(name, text)| (cuda::image_kind::PTX, name.clone(), text));
        let binary = image.binary.iter().map(|bytes| (cuda::image_kind::BINARY, Vec::new(), bytes));
        let answer = texts
            .chain(binary)
            .map(|(kind, name, text)| {
                let at = context.arena.allocate(&context.ring, text.len() as u64, Kind::Own, 0)?;
                staged.push(at);
                memory::write(Address(at as usize), text);
                let io = context.arena.io(at).ok_or(CUresult::ERROR_UNKNOWN)?;
                Ok(cuda::Image { kind, io, bytes: text.len() as u64, name })
            })
            .collect::<Answer<Vec<_>>>()
            .and_then(|images| {
                let load = cuda::LoadModule {
                    module: id,
                    images: cuda::List(images),
                    optimization: options.optimization,
                    log_bytes: options.log_bytes(),
                };
                context.ring.call(op::LOAD_MODULE, |to| load.encode(to), cuda::ModuleLoaded::decode)
            });
        for at in staged {
            // The host has answered, so it has read them.
            let _ = context.arena.free(&context.ring, at, &[Kind::Own]);
        }
        let loaded = answer?;
        options.report(&loaded.info_log, &loaded.error_log, loaded.nanoseconds);
        if loaded.result != 0 {
            let reason = String::from_utf8_lossy(&loaded.error_log);
            tracing::warn!(result = ?CUresult(loaded.result), %reason, "module refused");
            return Err(CUresult(loaded.result));
        }
        Self::place(context, id, &loaded).inspect_err(|_| {
            let message = cuda::ModuleRef { module: id };
            let _ = context.ring.post(op::UNLOAD_MODULE, |to| message.encode(to));
        })
    }

    fn place(context: &Arc<Context>, id: u64, loaded: &cuda::ModuleLoaded) -> Answer<Arc<Self>> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < loaded.info_bytes {
            let ask = cuda::ReadModule { module: id, offset: bytes.len() as u64, bytes: READ_BYTES };
            let piece: Vec<u8> =
                context.ring.call(op::READ_MODULE, |to| ask.encode(to), |from| Ok(from.rest().to_vec()))?;
            if piece.is_empty() {
                return Err(LOST);
            }
            bytes.extend_from_slice(&piece);
        }
        bytes.truncate(usize::try_from(loaded.info_bytes).map_err(|_| LOST)?);
        let info = cuda::ModuleInfo::decode(&mut Decoder::new(&bytes)).map_err(|error| {
            tracing::error!(%error, "malformed module");
            LOST
        })?;
        let variables = match loaded.variable_bytes {
            0 => 0,
            bytes => {
                // The alignment of large variables is at most a page's, and blocks begin at more.
                let room = if loaded.variable_align > crate::arena::ALIGN_BYTES {
                    bytes.saturating_add(loaded.variable_align)
                } else {
                    bytes
                };
                context.arena.allocate(&context.ring, room, Kind::Own, 0)?
            }
        };
        let module = Arc::new(Self {
            context: Arc::clone(context),
            id,
            info,
            variables,
            align: loaded.variable_align.max(1),
            functions: Mutex::default(),
            found_variables: Mutex::default(),
        });
        module.context.arena.add_variables(module.remote_variables());
        let address = module.base();
        let message = cuda::PlaceModule { module: id, address };
        context.ring.post(op::PLACE_MODULE, |to| message.encode(to))?;
        // The initial values are there once the host has read this; programs may look at them directly.
        context.ring.drain()?;
        Ok(module)
    }

    /// Address and bytes of the variables that the host's driver has placed.
    fn remote_variables(&self) -> impl Iterator<Item = (u64, u64)> {
        let is_remote = self.context.arena.residence() == Residence::Remote;
        self.info.symbols.0.iter().filter(move |_| is_remote).map(|symbol| (symbol.offset, symbol.bytes))
    }

    fn base(&self) -> u64 {
        if self.variables == 0 { 0 } else { self.variables.next_multiple_of(self.align) }
    }

    /// The entry with a name.
    ///
    /// # Errors
    /// Not found.
    pub fn function(self: &Arc<Self>, name: &[u8]) -> Answer<CUfunction> {
        let at = self.info.functions.0.iter().position(|one| one.name == name);
        let index = at.and_then(|at| u32::try_from(at).ok()).ok_or(CUresult::ERROR_NOT_FOUND)?;
        self.function_at(index)
    }

    /// The entry with a number.
    ///
    /// # Errors
    /// Not found.
    pub fn function_at(self: &Arc<Self>, index: u32) -> Answer<CUfunction> {
        let mut functions = self.functions.lock();
        if let Some(handle) = functions.get(&index) {
            return Ok(*handle);
        }
        let info = self.info.functions.0.get(index as usize).ok_or(CUresult::ERROR_NOT_FOUND)?;
        let handle = tables::FUNCTIONS.insert(Arc::new(Function {
            module: Arc::clone(self),
            index,
            name: info.name.clone(),
            max_dynamic_shared: AtomicI32::new(
                SHARED_BYTES.saturating_sub(i32::try_from(info.shared_bytes).unwrap_or(i32::MAX)),
            ),
            carveout: AtomicI32::new(-1),
            legacy: Mutex::new(Legacy { block: [1, 1, 1], shared_bytes: 0, params: Vec::new() }),
        }))?;
        functions.insert(index, handle);
        Ok(handle)
    }

    /// Address and bytes of the variable with a name.
    ///
    /// # Errors
    /// Not found.
    pub fn variable(&self, name: &[u8]) -> Answer<(u64, u64)> {
        let found = self.info.symbols.0.iter().find(|one| one.name == name);
        match found {
            Some(symbol) => Ok((self.base() + symbol.offset, symbol.bytes)),
            None if self.context.arena.residence() == Residence::Remote => self.find_variable(name),
            None => Err(CUresult::ERROR_NOT_FOUND),
        }
    }

    /// Asks the host's driver, which does not list what is in binaries.
    fn find_variable(&self, name: &[u8]) -> Answer<(u64, u64)> {
        let mut found = self.found_variables.lock();
        if let Some(place) = found.get(name) {
            return Ok(*place);
        }
        let ask = cuda::FindSymbol { module: self.id, name: name.to_vec() };
        let ring = &self.context.ring;
        let answer = ring.call(op::FIND_SYMBOL, |to| ask.encode(to), cuda::SymbolFound::decode)?;
        if answer.result != 0 {
            return Err(CUresult(answer.result));
        }
        let place = (answer.address, answer.bytes);
        self.context.arena.add_variables([place].into_iter());
        found.insert(name.to_vec(), place);
        Ok(place)
    }

    /// Takes the names of its functions away.
    pub fn forget_functions(&self) {
        for (_, handle) in self.functions.lock().drain() {
            let _ = tables::FUNCTIONS.remove(handle);
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.is_destroyed() {
            return;
        }
        let message = cuda::ModuleRef { module: self.id };
        self.context.arena.remove_variables(self.remote_variables().map(|(address, _)| address));
        self.context
            .arena
            .remove_variables(self.found_variables.lock().values().map(|(address, _)| *address));
        let _ = self.context.ring.post(op::UNLOAD_MODULE, |to| message.encode(to));
        give_number(self.id);
        if self.variables != 0 {
            // Launches that are queued may still use them.
            let _ = self.context.synchronize_all();
            let _ = self.context.arena.free(&self.context.ring, self.variables, &[Kind::Own]);
        }
    }
}

impl Function {
    /// What the compiler says of it.
    ///
    /// # Errors
    /// Never, for a function of its module.
    pub fn info(&self) -> Answer<&cuda::FunctionInfo> {
        self.module.info.functions.0.get(self.index as usize).ok_or(CUresult::ERROR_INVALID_HANDLE)
    }

    /// An attribute.
    ///
    /// # Errors
    /// Invalid value for none.
    pub fn attribute(&self, attribute: F) -> Answer<i32> {
        let info = self.info()?;
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        Ok(match attribute {
            F::MAX_THREADS_PER_BLOCK => number(info.max_threads),
            F::SHARED_SIZE_BYTES => number(info.shared_bytes),
            F::CONST_SIZE_BYTES => number(info.const_bytes),
            F::LOCAL_SIZE_BYTES => number(info.local_bytes),
            F::NUM_REGS => number(info.registers),
            F::PTX_VERSION => number(info.ptx_version),
            F::BINARY_VERSION => number(info.binary_version),
            F::MAX_DYNAMIC_SHARED_SIZE_BYTES => self.max_dynamic_shared.load(Ordering::Relaxed),
            F::PREFERRED_SHARED_MEMORY_CARVEOUT => self.carveout.load(Ordering::Relaxed),
            other if (0..F::MAX.0).contains(&other.0) => 0,
            _ => return Err(CUresult::ERROR_INVALID_VALUE),
        })
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// Invalid value for one that cannot be set, or a value beyond the device.
    pub fn set_attribute(&self, attribute: F, value: i32) -> Answer {
        use crate::generated::enums::CUdevice_attribute as A;
        match attribute {
            F::MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                let fixed = i32::try_from(self.info()?.shared_bytes).unwrap_or(i32::MAX);
                let most = self.module.context.device.attribute(A::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
                if value < 0 || value.saturating_add(fixed) > most {
                    return Err(CUresult::ERROR_INVALID_VALUE);
                }
                self.max_dynamic_shared.store(value, Ordering::Relaxed);
            }
            F::PREFERRED_SHARED_MEMORY_CARVEOUT => {
                if !(-1..=100).contains(&value) {
                    return Err(CUresult::ERROR_INVALID_VALUE);
                }
                self.carveout.store(value, Ordering::Relaxed);
            }
            F::NON_PORTABLE_CLUSTER_SIZE_ALLOWED | F::CLUSTER_SCHEDULING_POLICY_PREFERENCE => {}
            _ => return Err(CUresult::ERROR_INVALID_VALUE),
        }
        Ok(())
    }
}

/// Code that every context loads when it needs it.
#[derive(Debug)]
pub struct Library {
    /// The image.
    pub image: Image,
    /// Optimisation level.
    pub optimization: u32,
    modules: Mutex<HashMap<u64, Arc<Module>>>,
    /// Names given out.
    pub kernels: Mutex<BTreeMap<Vec<u8>, CUkernel>>,
}

/// An entry of a library.
#[derive(Debug)]
pub struct Kernel {
    /// Its library.
    pub library: Arc<Library>,
    /// Its name.
    pub name: Vec<u8>,
}

impl Library {
    /// A library that nobody has loaded yet.
    #[must_use]
    pub fn new(image: Image, optimization: u32) -> Self {
        Self { image, optimization, modules: Mutex::default(), kernels: Mutex::default() }
    }

    /// The module of a context, loaded if it is not.
    ///
    /// # Errors
    /// As [`Module::load`].
    pub fn module(&self, context: &Arc<Context>, options: Option<&Options>) -> Answer<Arc<Module>> {
        let mut modules = self.modules.lock();
        if let Some(module) = modules.get(&context.id) {
            return Ok(Arc::clone(module));
        }
        let usual = Options::of_level(self.optimization);
        let module = Module::load(context, &self.image, options.unwrap_or(&usual))?;
        modules.insert(context.id, Arc::clone(&module));
        Ok(module)
    }

    /// A module of any context, for questions about names.
    #[must_use]
    pub fn any_module(&self) -> Option<Arc<Module>> {
        self.modules.lock().values().next().cloned()
    }

    /// Lets go of all modules.
    pub fn unload(&self) -> Vec<Arc<Module>> {
        self.modules.lock().drain().map(|(_, module)| module).collect()
    }
}

impl Kernel {
    /// The function of a context.
    ///
    /// # Errors
    /// As [`Module::load`].
    pub fn function(&self, context: &Arc<Context>) -> Answer<CUfunction> {
        self.library.module(context, None)?.function(&self.name)
    }
}

/// Takes a context's modules out of all libraries.
pub fn forget_in_libraries(context: &Context) {
    for library in tables::LIBRARIES.all() {
        let module = library.modules.lock().remove(&context.id);
        drop(module);
    }
}
