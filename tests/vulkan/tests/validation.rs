//! The Khronos validation layer: over the driver, and inside the worker over the host's, it has nothing to say that it does not
//! say of the same program natively.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use dxg_tests_vulkan::scenarios;
use dxg_tests_vulkan::stage;
use dxg_tests_vulkan::stage::Place;
use dxg_tests_vulkan::stage::XServer;
use dxg_tests_vulkan::validation;
use dxg_tests_vulkan::validation::LAYER;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vk-scenarios");

/// A guard against hangs only: the layer is slow, and so is a loaded machine.
const LIMIT: Duration = Duration::from_secs(1200);

/// What one scenario does on purpose, so that a layer that is in place always says it: asks for more than a heap has.
const ALWAYS: &str = "VUID-vkAllocateMemory-pAllocateInfo-01713";

/// What is said of the host's driver in the worker and not natively, all for one reason: the memory that guests map is imported
/// there, and the buffers and images that are bound to it have to say that they are for such memory.
const OF_IMPORTED_MEMORY: &[&str] = &[
    "VUID-VkBindBufferMemoryInfo-memory-02727",
    "VUID-VkBindImageMemoryInfo-memory-02729",
    "VUID-VkMemoryDedicatedAllocateInfo-buffer-01435",
    "VUID-VkMemoryDedicatedAllocateInfo-image-01433",
    "VUID-vkBindBufferMemory-memory-02727",
    "VUID-vkBindImageMemory-memory-02729",
];

/// How what the layer says of two threads begins. Scenarios wait for a fence that another thread submits meanwhile; whether the layer
/// sees the two calls meet is chance, natively too.
const OF_CHANCE: &str = "UNASSIGNED-Threading-";

/// The scenarios: all but those in which the layer gets stuck natively as well, waiting ten seconds at each turn for its own idea
/// of a timeline semaphore.
fn names() -> Vec<&'static str> {
    scenarios::names().filter(|name| !name.contains("timeline")).collect()
}

/// What a run printed: the program, and what is around it.
struct Said {
    program: String,
    around: String,
}

/// Runs the scenarios with these variables in the environment of the program alone.
fn run(place: &Place, variables: &[String]) -> Said {
    let mut arguments: Vec<&str> = variables.iter().map(String::as_str).collect();
    arguments.extend([PROGRAM, "run"]);
    arguments.extend(names());
    let output = place.output("env", &arguments, LIMIT).expect("the scenarios run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { program: text(&output.stdout), around: text(&output.stderr) };
    assert!(
        output.status.success(),
        "{place:?} ended with {}:\n{}\n{}",
        output.status,
        said.program,
        said.around
    );
    said
}

fn layered() -> Vec<String> {
    vec![format!("VK_INSTANCE_LAYERS={LAYER}")]
}

/// What the layer says natively; asked once.
fn native() -> &'static BTreeMap<String, String> {
    static NATIVE: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    NATIVE.get_or_init(|| {
        let errors = validation::errors(&run(&Place::Native, &layered()).program);
        assert!(errors.contains_key(ALWAYS), "the layer is not in place natively: {errors:?}");
        errors
    })
}

/// The staged prefix, where there is something to test.
fn prefix() -> Option<PathBuf> {
    let prefix = stage::find();
    if prefix.is_none() {
        println!("skipped: no staged prefix");
    } else if !validation::is_installed() {
        println!("skipped: no {LAYER}");
        return None;
    }
    prefix
}

/// That nothing is said beyond what is said natively.
fn assert_nothing_new(errors: &BTreeMap<String, String>) {
    let new: Vec<&str> =
        errors.iter().filter(|(id, _)| !native().contains_key(*id)).map(|(_, line)| line.as_str()).collect();
    assert!(new.is_empty(), "{} errors that there are not natively:\n{}", new.len(), new.join("\n"));
}

#[test]
fn layer_over_the_driver_says_no_more_than_natively() {
    let Some(prefix) = prefix() else { return };
    let _server = XServer::shared().expect("an X server, where there is Xvfb");
    let mut errors = validation::errors(&run(&Place::Staged(prefix), &layered()).program);
    assert!(errors.contains_key(ALWAYS), "the layer is not in place: {errors:?}");
    // The program's own threads: those of the worker have no such excuse.
    errors.retain(|id, _| !id.starts_with(OF_CHANCE));
    assert_nothing_new(&errors);
}

#[test]
fn layer_over_the_host_driver_says_no_more_than_natively() {
    let Some(prefix) = prefix() else { return };
    let _server = XServer::shared().expect("an X server, where there is Xvfb");
    let host_env = [("VK_INSTANCE_LAYERS", LAYER), ("VK_LOADER_DEBUG", "layer")];
    let host_env = host_env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let said = run(&Place::StagedWith(prefix, host_env), &[]);
    // The loader tells each process that loads it.
    let loads = said.around.lines().filter(|line| line.contains(LAYER)).count();
    assert!(loads > 1, "the layer is not in place in the worker:\n{}", said.around);
    let mut errors = validation::errors(&said.around);
    errors.retain(|id, _| !OF_IMPORTED_MEMORY.contains(&id.as_str()));
    assert_nothing_new(&errors);
}
