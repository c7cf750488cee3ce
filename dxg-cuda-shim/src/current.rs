//! Which context is current in a thread: a stack of them.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc;

use crate::context::Context;
use crate::driver;
use crate::ffi::entry::DefaultStream;
use crate::ffi::entry::default_stream;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUstream;
use crate::lane::Lane;
use crate::tables;
use crate::types::Answer;

thread_local! {
    static STACK: RefCell<Vec<Arc<Context>>> = const { RefCell::new(Vec::new()) };
}

/// The current context, if there is one.
///
/// # Errors
/// Not initialised.
pub fn get() -> Answer<Option<Arc<Context>>> {
    driver::driver()?;
    // A thread that ends has none.
    Ok(STACK.try_with(|stack| stack.borrow().last().cloned()).unwrap_or(None))
}

/// The current context, usable.
///
/// # Errors
/// Invalid context when there is none; what [`Context::check`] says.
pub fn context() -> Answer<Arc<Context>> {
    let context = get()?.ok_or(CUresult::ERROR_INVALID_CONTEXT)?;
    context.check()?;
    Ok(context)
}

/// Makes a context current in place of the top of the stack.
pub fn set(context: Option<Arc<Context>>) {
    let old = STACK.try_with(|stack| {
        let mut stack = stack.borrow_mut();
        let old = stack.pop();
        stack.extend(context);
        old
    });
    drop(old);
}

/// Makes a context current on top of the stack.
pub fn push(context: Arc<Context>) {
    let _ = STACK.try_with(|stack| stack.borrow_mut().push(context));
}

/// Takes the top off the stack.
///
/// # Errors
/// Invalid context when the stack is empty.
pub fn pop() -> Answer<Arc<Context>> {
    driver::driver()?;
    let top = STACK.try_with(|stack| stack.borrow_mut().pop()).unwrap_or(None);
    top.ok_or(CUresult::ERROR_INVALID_CONTEXT)
}

/// The context and the stream that a handle names.
///
/// # Errors
/// Invalid context, invalid handle; what [`Context::check`] says.
pub fn stream(stream: CUstream) -> Answer<(Arc<Context>, Arc<Lane>)> {
    let is_per_thread = match stream.0 {
        0 => default_stream() == DefaultStream::PerThread,
        1 => false,
        2 => true,
        _ => {
            let stream = tables::STREAMS.get(stream)?;
            stream.context.check()?;
            return Ok((Arc::clone(&stream.context), Arc::clone(&stream.lane)));
        }
    };
    let context = context()?;
    let lane = if is_per_thread { context.per_thread_lane()? } else { Arc::clone(&context.legacy) };
    Ok((context, lane))
}
