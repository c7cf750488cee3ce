//! A driver for tests: functions of the same signatures over memory of the test's process, which run everything at once.
//!
//! Its kernels go by their names: `add_one` (u64 address, u32 count) adds 1 to so many u32, `endless` is never complete, `fault` touches
//! what is not there.

// UNSAFETY: reads and writes where callers of a driver's functions say.
#![expect(unsafe_code, reason = "a driver's functions take raw pointers")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_void;
use std::time::Instant;

use dxg_ptx::outline;
use parking_lot::Mutex;

use super::library::Functions;
use super::library::Library;
use super::library::Maker;
use super::library::Memcpy2d;

/// The UUID of the one device.
pub(super) const UUID: [u8; 16] = *b"a device in test";
const INVALID_VALUE: i32 = 1;
const OUT_OF_MEMORY: i32 = 2;
const INVALID_PTX: i32 = 218;
const NOT_FOUND: i32 = 500;
const NOT_READY: i32 = 600;
const ILLEGAL_ADDRESS: i32 = 700;
/// Allocations above this fail.
pub(super) const MOST_BYTES: usize = 1 << 20;

#[derive(Default)]
struct State {
    next: usize,
    memory: BTreeMap<u64, Vec<u8>>,
    errors: HashMap<usize, i32>,
    modules: HashMap<usize, HashMap<String, u64>>,
    functions: HashMap<usize, String>,
    events: HashMap<usize, Instant>,
    /// Streams with a kernel that is never complete, and the events behind it.
    endless: HashSet<usize>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

impl State {
    fn handle(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn allocate(&mut self, bytes: usize) -> u64 {
        let address = 0x7000_0000_0000 + (self.handle() as u64) * (4 << 20);
        self.memory.insert(address, vec![0; bytes]);
        address
    }

    fn bytes(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        let (start, memory) = self.memory.range_mut(..=address).next_back()?;
        let from = usize::try_from(address - start).ok()?;
        memory.get_mut(from..from.checked_add(len)?)
    }
}

fn with(run: impl FnOnce(&mut State) -> Result<(), i32>) -> i32 {
    let mut state = STATE.lock();
    let state = state.get_or_insert_with(State::default);
    if let Some(error) = state.errors.get(&CURRENT.get()) {
        return *error;
    }
    run(state).err().unwrap_or(0)
}

/// Bytes of device memory that are allocated at an address.
pub(super) fn allocated(address: u64) -> Option<usize> {
    STATE.lock().as_ref()?.memory.get(&address).map(Vec::len)
}

fn put<T>(at: *mut T, value: T) {
    // SAFETY: callers of a driver's functions say where a value may be written.
    unsafe { at.write(value) };
}

fn read(at: *const c_void, len: usize) -> Vec<u8> {
    // SAFETY: callers of a driver's functions say what may be read.
    unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) }.to_vec()
}

fn write(at: *mut c_void, bytes: &[u8]) {
    // SAFETY: callers of a driver's functions say where bytes may be written, which no reference points to.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast::<u8>(), bytes.len()) };
}

fn text(at: *const c_char) -> String {
    // SAFETY: names end with a zero.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}

fn item<T: Copy>(list: *mut T, index: u32) -> T {
    // SAFETY: the caller says how long the list is, and the index is below that.
    let at = unsafe { list.add(index as usize) };
    // SAFETY: as above.
    unsafe { at.read() }
}

extern "C" fn init(_flags: u32) -> i32 {
    0
}

extern "C" fn version(at: *mut i32) -> i32 {
    put(at, 12020);
    0
}

extern "C" fn count(at: *mut i32) -> i32 {
    put(at, 1);
    0
}

extern "C" fn device(at: *mut i32, ordinal: i32) -> i32 {
    put(at, ordinal);
    0
}

extern "C" fn name(at: *mut c_char, _bytes: i32, _device: i32) -> i32 {
    write(at.cast(), b"fake\0");
    0
}

extern "C" fn uuid(at: *mut [u8; 16], _device: i32) -> i32 {
    put(at, UUID);
    0
}

extern "C" fn total(at: *mut usize, _device: i32) -> i32 {
    put(at, 64 << 20);
    0
}

extern "C" fn attribute(at: *mut i32, attribute: i32, _device: i32) -> i32 {
    match attribute {
        75 => put(at, 8),
        76 => put(at, 6),
        83 => put(at, 1),
        1..=140 => put(at, 0),
        _ => return INVALID_VALUE,
    }
    0
}

extern "C" fn ctx_create(at: *mut usize, _flags: u32, _device: i32) -> i32 {
    CURRENT.set(0);
    with(|state| {
        let context = state.handle();
        put(at, context);
        CURRENT.set(context);
        Ok(())
    })
}

extern "C" fn take_handle(_handle: usize) -> i32 {
    0
}

extern "C" fn set_current(context: usize) -> i32 {
    CURRENT.set(context);
    0
}

extern "C" fn set_limit(_limit: i32, _value: usize) -> i32 {
    0
}

extern "C" fn alloc(at: *mut u64, bytes: usize) -> i32 {
    with(|state| {
        if bytes > MOST_BYTES {
            return Err(OUT_OF_MEMORY);
        }
        put(at, state.allocate(bytes));
        Ok(())
    })
}

extern "C" fn free(address: u64) -> i32 {
    with(|state| state.memory.remove(&address).map(drop).ok_or(INVALID_VALUE))
}

extern "C" fn register(_at: *mut c_void, _bytes: usize, _flags: u32) -> i32 {
    0
}

extern "C" fn unregister(_at: *mut c_void) -> i32 {
    0
}

extern "C" fn to_device(to: u64, from: *const c_void, bytes: usize, _stream: usize) -> i32 {
    with(|state| {
        state.bytes(to, bytes).ok_or(INVALID_VALUE)?.copy_from_slice(&read(from, bytes));
        Ok(())
    })
}

extern "C" fn to_host(to: *mut c_void, from: u64, bytes: usize, _stream: usize) -> i32 {
    with(|state| {
        write(to, state.bytes(from, bytes).ok_or(INVALID_VALUE)?);
        Ok(())
    })
}

extern "C" fn on_device(to: u64, from: u64, bytes: usize, _stream: usize) -> i32 {
    with(|state| {
        let copied = state.bytes(from, bytes).ok_or(INVALID_VALUE)?.to_vec();
        state.bytes(to, bytes).ok_or(INVALID_VALUE)?.copy_from_slice(&copied);
        Ok(())
    })
}

extern "C" fn on_host(to: u64, from: u64, bytes: usize, _stream: usize) -> i32 {
    let place = |at: u64| std::ptr::with_exposed_provenance_mut::<c_void>(at as usize);
    write(place(to), &read(place(from), bytes));
    0
}

extern "C" fn rows(copy: *const Memcpy2d, stream: usize) -> i32 {
    // SAFETY: the caller hands in a description.
    let copy = unsafe { copy.read() };
    for row in 0..copy.height {
        let (to, from) = (row * copy.to.pitch, row * copy.from.pitch);
        let result = match (copy.to.memory_type, copy.from.memory_type) {
            (2, 1) => {
                let from = std::ptr::with_exposed_provenance(copy.from.host + from);
                to_device(copy.to.device + to as u64, from, copy.width_bytes, stream)
            }
            (1, 2) => {
                let to = std::ptr::with_exposed_provenance_mut(copy.to.host + to);
                to_host(to, copy.from.device + from as u64, copy.width_bytes, stream)
            }
            _ => INVALID_VALUE,
        };
        if result != 0 {
            return result;
        }
    }
    0
}

fn fill(to: u64, value: &[u8], count: usize) -> i32 {
    with(|state| {
        let bytes = state.bytes(to, value.len() * count).ok_or(INVALID_VALUE)?;
        bytes.chunks_mut(value.len()).for_each(|place| place.copy_from_slice(value));
        Ok(())
    })
}

extern "C" fn memset_8(to: u64, value: u8, count: usize, _stream: usize) -> i32 {
    fill(to, &[value], count)
}

extern "C" fn memset_16(to: u64, value: u16, count: usize, _stream: usize) -> i32 {
    fill(to, &value.to_le_bytes(), count)
}

extern "C" fn memset_32(to: u64, value: u32, count: usize, _stream: usize) -> i32 {
    fill(to, &value.to_le_bytes(), count)
}

fn fill_rows(to: u64, pitch: usize, value: &[u8], width: usize, height: usize) -> i32 {
    (0..height)
        .map(|row| fill(to + (row * pitch) as u64, value, width))
        .find(|result| *result != 0)
        .unwrap_or(0)
}

extern "C" fn memset_2d_8(to: u64, pitch: usize, value: u8, width: usize, height: usize, _: usize) -> i32 {
    fill_rows(to, pitch, &[value], width, height)
}

extern "C" fn memset_2d_16(to: u64, pitch: usize, value: u16, width: usize, height: usize, _: usize) -> i32 {
    fill_rows(to, pitch, &value.to_le_bytes(), width, height)
}

extern "C" fn memset_2d_32(to: u64, pitch: usize, value: u32, width: usize, height: usize, _: usize) -> i32 {
    fill_rows(to, pitch, &value.to_le_bytes(), width, height)
}

extern "C" fn module_load(
    at: *mut usize,
    image: *const c_void,
    option_count: u32,
    options: *mut i32,
    values: *mut *mut c_void,
) -> i32 {
    let source = text(image.cast());
    if source.contains("refuse me") {
        // CU_JIT_ERROR_LOG_BUFFER
        let log = (0..option_count).find(|index| item(options, *index) == 5);
        if let Some(index) = log {
            write(item(values, index), b"line 1: refused\0");
        }
        return INVALID_PTX;
    }
    with(|state| {
        let variables = outline::outline(source.as_bytes()).variables;
        let places = variables.into_iter().map(|variable| (variable.name, state.allocate(64))).collect();
        let module = state.handle();
        state.modules.insert(module, places);
        put(at, module);
        Ok(())
    })
}

extern "C" fn module_function(at: *mut usize, _module: usize, name: *const c_char) -> i32 {
    with(|state| {
        let function = state.handle();
        state.functions.insert(function, text(name));
        put(at, function);
        Ok(())
    })
}

extern "C" fn module_global(at: *mut u64, bytes: *mut usize, module: usize, name: *const c_char) -> i32 {
    with(|state| {
        let found = state.modules.get(&module).and_then(|places| places.get(&text(name))).copied();
        put(at, found.ok_or(NOT_FOUND)?);
        put(bytes, 64);
        Ok(())
    })
}

extern "C" fn function_attribute(at: *mut i32, attribute: i32, _function: usize) -> i32 {
    put(at, if attribute == 0 { 1024 } else { 0 });
    0
}

extern "C" fn set_function_attribute(_function: usize, _attribute: i32, _value: i32) -> i32 {
    0
}

extern "C" fn link_create(_: u32, _: *mut i32, _: *mut *mut c_void, _: *mut usize) -> i32 {
    INVALID_VALUE
}

extern "C" fn link_add(
    _: usize,
    _: i32,
    _: *mut c_void,
    _: usize,
    _: *const c_char,
    _: u32,
    _: *mut i32,
    _: *mut *mut c_void,
) -> i32 {
    INVALID_VALUE
}

extern "C" fn link_complete(_: usize, _: *mut *mut c_void, _: *mut usize) -> i32 {
    INVALID_VALUE
}

extern "C" fn launch(
    function: usize,
    _gx: u32,
    _gy: u32,
    _gz: u32,
    _bx: u32,
    _by: u32,
    _bz: u32,
    _shared: u32,
    stream: usize,
    params: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> i32 {
    with(|state| {
        if state.functions.get(&function).is_some_and(|name| name == "endless") {
            state.endless.insert(stream);
            return Ok(());
        }
        if state.functions.get(&function).is_none_or(|name| name != "add_one") {
            state.errors.insert(CURRENT.get(), ILLEGAL_ADDRESS);
            return Ok(());
        }
        let address =
            u64::from_le_bytes(read(item(params, 0).cast_const(), 8).try_into().map_err(|_| INVALID_VALUE)?);
        let count =
            u32::from_le_bytes(read(item(params, 1).cast_const(), 4).try_into().map_err(|_| INVALID_VALUE)?);
        let words = state.bytes(address, count as usize * 4).ok_or(INVALID_VALUE)?;
        for word in words.chunks_exact_mut(4) {
            let value = u32::from_le_bytes(word.try_into().map_err(|_| INVALID_VALUE)?);
            word.copy_from_slice(&(value + 1).to_le_bytes());
        }
        Ok(())
    })
}

extern "C" fn launch_cooperative(
    function: usize,
    gx: u32,
    gy: u32,
    gz: u32,
    bx: u32,
    by: u32,
    bz: u32,
    shared: u32,
    stream: usize,
    params: *mut *mut c_void,
) -> i32 {
    launch(function, gx, gy, gz, bx, by, bz, shared, stream, params, std::ptr::null_mut())
}

extern "C" fn stream_create(at: *mut usize, _flags: u32, _priority: i32) -> i32 {
    with(|state| {
        put(at, state.handle());
        Ok(())
    })
}

extern "C" fn wait_event(_stream: usize, _event: usize, _flags: u32) -> i32 {
    with(|_| Ok(()))
}

extern "C" fn event_create(at: *mut usize, _flags: u32) -> i32 {
    with(|state| {
        put(at, state.handle());
        Ok(())
    })
}

extern "C" fn event_record(event: usize, stream: usize) -> i32 {
    with(|state| {
        state.events.insert(event, Instant::now());
        if state.endless.contains(&stream) {
            state.endless.insert(event);
        } else {
            state.endless.remove(&event);
        }
        Ok(())
    })
}

extern "C" fn event_done(event: usize) -> i32 {
    with(|state| if state.endless.contains(&event) { Err(NOT_READY) } else { Ok(()) })
}

extern "C" fn elapsed(at: *mut f32, from: usize, to: usize) -> i32 {
    with(|state| {
        let (Some(from), Some(to)) = (state.events.get(&from), state.events.get(&to)) else {
            return Err(INVALID_VALUE);
        };
        put(at, to.duration_since(*from).as_secs_f32() * 1e3);
        Ok(())
    })
}

/// The driver, which does not know what CUDA 12.4 brought.
pub(super) fn library() -> Library {
    let functions = Functions {
        init,
        driver_get_version: version,
        device_get_count: count,
        device_get: device,
        device_get_name: name,
        device_get_uuid: uuid,
        device_total_mem: total,
        device_get_attribute: attribute,
        ctx_create,
        ctx_destroy: take_handle,
        ctx_set_current: set_current,
        ctx_set_limit: set_limit,
        mem_alloc: alloc,
        mem_free: free,
        mem_host_register: register,
        mem_host_unregister: unregister,
        memcpy: on_host,
        memcpy_to_device: to_device,
        memcpy_to_host: to_host,
        memcpy_on_device: on_device,
        memcpy_2d: rows,
        memset_8,
        memset_16,
        memset_32,
        memset_2d_8,
        memset_2d_16,
        memset_2d_32,
        module_load,
        module_unload: take_handle,
        module_get_function: module_function,
        module_get_global: module_global,
        func_get_attribute: function_attribute,
        func_set_attribute: set_function_attribute,
        link_create,
        link_add_data: link_add,
        link_complete,
        link_destroy: take_handle,
        launch,
        launch_cooperative,
        stream_create,
        stream_destroy: take_handle,
        stream_wait_event: wait_event,
        event_create,
        event_record,
        event_query: event_done,
        event_synchronize: event_done,
        event_elapsed: elapsed,
        module_function_count: None,
        module_functions: None,
        func_get_name: None,
        func_get_param_info: None,
        stream_write_32: None,
        stream_write_64: None,
        stream_wait_32: None,
        stream_wait_64: None,
    };
    Library { functions, maker: Maker::Other }
}
