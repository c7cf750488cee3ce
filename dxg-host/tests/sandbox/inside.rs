//! The process that is closed in as a worker is, and says what it could do.

use std::path::PathBuf;

use dxg_host::sandbox;
use dxg_host::sandbox::Compilers;
use dxg_host::sandbox::Policy;

use super::attempts;
use super::cuda;

/// Variable with the policy.
pub(crate) const POLICY: &str = "DXG_TEST_POLICY";
/// Variable that is there where the process is one of the adapter `cpu`.
pub(crate) const CUDA: &str = "DXG_TEST_CUDA";
/// Variable with a directory outside what drivers read.
pub(crate) const DIRECTORY: &str = "DXG_TEST_DIRECTORY";

#[test]
#[ignore = "closes its process in; the other tests start it in one of its own"]
fn closed_in_process() {
    let policy = match std::env::var(POLICY).as_deref() {
        Ok("Best") => Policy::Best,
        Ok("Require") => Policy::Require,
        Ok("Off") => Policy::Off,
        other => panic!("not started by a test: {other:?}"),
    };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let before = attempts::Prepared::new(&directory);
    sandbox::harden_worker().unwrap();
    let enclosure = sandbox::enclose(policy, &[]).unwrap();
    let is_cuda = std::env::var_os(CUDA).is_some();
    let compilers = if is_cuda { Compilers::OurOwn } else { Compilers::OfDrivers };
    let level = enclosure.tighten(compilers).unwrap();
    println!("\nlevel {level}");
    for (name, error) in attempts::forbidden(&before) {
        println!("attempt {name} {error}");
    }
    for (name, error) in attempts::needed(&before) {
        println!("attempt {name} {error}");
    }
    for (name, error) in attempts::executable_memory() {
        println!("attempt {name} {error}");
    }
    if is_cuda {
        for (name, error) in cuda::kernels() {
            println!("attempt {name} {error}");
        }
    }
}
