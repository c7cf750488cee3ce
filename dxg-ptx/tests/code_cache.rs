//! Code that was made once is not made again, and runs the same.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use dxg_ptx::exec::Executable;
use dxg_ptx::exec::Placement;
use dxg_ptx::ir::Module;
use dxg_ptx::native::CodeCache;
use dxg_ptx::native::CodeStore;
use dxg_ptx::native::NativeProgram;
use dxg_ptx::native::SourceKey;
use support::case;

/// What files would be.
#[derive(Default)]
struct Shelf(Mutex<HashMap<[u8; 32], Vec<u8>>>);

impl Shelf {
    fn change(&self, change: impl Fn(&mut Vec<u8>)) {
        self.0.lock().expect("no test failed").values_mut().for_each(change);
    }
}

impl CodeStore for Shelf {
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        self.0.lock().expect("no test failed").get(key).cloned()
    }

    fn put(&self, key: &[u8; 32], bytes: &[u8]) {
        self.0.lock().expect("no test failed").insert(*key, bytes.to_vec());
    }
}

/// A cache over a store, as the first or the next process has it.
fn over(store: &Arc<Shelf>) -> Arc<CodeCache> {
    let cache = CodeCache::new(1 << 20);
    cache.keep_in(Arc::clone(store) as _);
    Arc::new(cache)
}

fn run(case: &Path, cache: &Arc<CodeCache>) -> Result<(), String> {
    let text = std::fs::read(case.with_extension("ptx")).expect("the case is there");
    let make = |module: Arc<Module>, placement: Placement| -> Box<dyn Executable> {
        let program = NativeProgram::new(module, placement).expect("there is a code generator");
        Box::new(program.with_cache(Arc::clone(cache), SourceKey::of(&[&text])))
    };
    case::run(case, &make)
}

fn cases() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

#[test]
fn code_from_memory_and_from_a_store_gives_what_fresh_code_gives() {
    let store = Arc::new(Shelf::default());
    for name in
        ["clang/nbody_shared_sm70", "clang/recursion_sm70", "handwritten/branch_table_predicates_sm30"]
    {
        let case = cases().join(name).with_extension("json");
        let cache = over(&store);
        assert_eq!(run(&case, &cache), Ok(()), "{name}, fresh");
        assert_eq!((cache.len(), cache.compiled()), (1, 1));
        assert_eq!(run(&case, &cache), Ok(()), "{name}, from memory");
        assert_eq!((cache.len(), cache.compiled()), (1, 1));
        let next = over(&store);
        assert_eq!(run(&case, &next), Ok(()), "{name}, from the store");
        assert_eq!((next.len(), next.compiled()), (1, 0));
    }
}

#[test]
fn what_is_no_code_is_made_again_and_replaced() {
    let store = Arc::new(Shelf::default());
    let case = cases().join("clang/recursion_sm70").with_extension("json");
    assert_eq!(run(&case, &over(&store)), Ok(()));
    store.change(|bytes| bytes.truncate(bytes.len() / 2));
    let cut = over(&store);
    assert_eq!(run(&case, &cut), Ok(()));
    assert_eq!(cut.compiled(), 1);
    let mended = over(&store);
    assert_eq!(run(&case, &mended), Ok(()));
    assert_eq!(mended.compiled(), 0);
}
