//! Code that was made once is not made again, and runs the same.

mod support;

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use dxg_ptx::exec::Executable;
use dxg_ptx::exec::Placement;
use dxg_ptx::ir::Module;
use dxg_ptx::native::CodeCache;
use dxg_ptx::native::Directory;
use dxg_ptx::native::NativeProgram;
use dxg_ptx::native::SourceKey;
use support::case;

fn open(path: &Path) -> Arc<CodeCache> {
    let directory = File::open(path).expect("the directory can be opened");
    Arc::new(CodeCache::new(1 << 20, Some(Directory::new(directory.into(), [1; 32], 1 << 20))))
}

fn run(case: &Path, cache: &Arc<CodeCache>) -> Result<(), String> {
    let text = std::fs::read(case.with_extension("ptx")).expect("the case is there");
    let make = |module: Arc<Module>, placement: Placement| -> Box<dyn Executable> {
        let program = NativeProgram::new(module, placement).expect("there is a code generator");
        Box::new(program.with_cache(Arc::clone(cache), SourceKey::of(&[&text])))
    };
    case::run(case, &make)
}

#[test]
fn code_from_memory_and_from_files_gives_what_fresh_code_gives() {
    let path = std::env::temp_dir().join(format!("dxg-ptx-cache-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path).expect("the directory can be made");
    let cases = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let files = || std::fs::read_dir(&path).expect("the directory is there").count();
    for name in
        ["clang/nbody_shared_sm70", "clang/recursion_sm70", "handwritten/branch_table_predicates_sm30"]
    {
        let case = cases.join(name).with_extension("json");
        let before = files();
        let cache = open(&path);
        assert_eq!(run(&case, &cache), Ok(()), "{name}, fresh");
        assert_eq!((cache.len(), files()), (1, before + 1));
        assert_eq!(run(&case, &cache), Ok(()), "{name}, from memory");
        assert_eq!((cache.len(), files()), (1, before + 1));
        // Another cache over the same files, as in the next process.
        let next = open(&path);
        assert_eq!(run(&case, &next), Ok(()), "{name}, from its file");
        assert_eq!((next.len(), files()), (1, before + 1));
    }
    std::fs::remove_dir_all(path).expect("the directory is there");
}
