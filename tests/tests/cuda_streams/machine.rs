//! A daemon whose workers must be closed in wholly, and what is known about it from outside.

use std::cell::OnceCell;
use std::cell::RefCell;
use std::fs;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use dxg_core::Node;
use dxg_tests::daemon::Daemon;
use dxg_wire::control;
use dxg_wire::runtime_dir;

use crate::guest::BASE;
use crate::guest::Context;
use crate::guest::HANG;
use crate::guest::Module;
use crate::guest::Shape;

/// What most tests run.
pub(crate) const KERNELS: &str = "
.version 7.0
.target sm_75
.address_size 64
.global .align 4 .u32 total;
.visible .entry count(.param .u64 to)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [to];
    mov.u32 %r1, %tid.x;
    atom.global.add.u32 %r2, [%rd1], %r1;
    ret;
}
.visible .entry store(.param .u64 to)
{
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [to];
    st.global.u64 [%rd1], 1;
    ret;
}
.visible .entry spin(.param .u64 to)
{
    .reg .pred %p<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [to];
LOOP:
    ld.volatile.global.u32 %r1, [%rd1];
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra LOOP;
    ret;
}
.visible .entry idle()
{
LOOP:
    bra LOOP;
}
.visible .entry empty()
{
    ret;
}
.visible .entry fill(.param .u64 from, .param .u64 bytes, .param .u64 value)
{
    .reg .pred %p<2>;
    .reg .b32 %r<5>;
    .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [from];
    ld.param.u64 %rd2, [bytes];
    ld.param.u64 %rd3, [value];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.u32 %r4, %r1, %r2, %r3;
    mul.wide.u32 %rd4, %r4, 8;
    mov.u32 %r1, %nctaid.x;
    mul.lo.u32 %r1, %r1, %r2;
    mul.wide.u32 %rd5, %r1, 8;
LOOP:
    setp.ge.u64 %p1, %rd4, %rd2;
    @%p1 bra DONE;
    add.u64 %rd6, %rd1, %rd4;
    st.global.u64 [%rd6], %rd3;
    add.u64 %rd4, %rd4, %rd5;
    bra LOOP;
DONE:
    ret;
}
";

/// A daemon with one virtual GPU of the CPU.
pub(crate) struct Machine {
    daemon: Daemon,
    /// One connection for all questions: each is a descriptor of the daemon.
    control: OnceCell<RefCell<BufReader<UnixStream>>>,
}

impl Machine {
    /// A daemon without further configuration. None where there is no daemon, or where the system lets nobody be closed in.
    pub(crate) fn new() -> Option<Self> {
        Self::with("")
    }

    /// The same with more lines of configuration.
    pub(crate) fn with(config: &str) -> Option<Self> {
        let start = |policy: &str| {
            let config = format!("sandbox = \"{policy}\"\nwarm_workers = 1\nmost_warm_workers = 1\n{config}");
            Daemon::configured_with(&["--adapter", "cpu"], &config)
                .map(|daemon| Self { daemon, control: OnceCell::new() })
        };
        let Some(machine) = start("require") else {
            println!("skipped: no dxgd");
            return None;
        };
        if let Err(error) = Node::connect(&machine.socket()) {
            // Only a system that cannot close workers in may refuse; whatever else is missing shows here.
            let open = start("best")?;
            drop(Node::connect(&open.socket()).unwrap());
            let level = open.state().daemon.sandbox;
            assert!(!level.starts_with("full"), "{error}, although {level}");
            println!("skipped: the system does not let us close workers in: {level}");
            return None;
        }
        machine.rests();
        Some(machine)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.daemon.socket()
    }

    /// What the daemon says of itself.
    pub(crate) fn state(&self) -> control::State {
        let control = self.control.get_or_init(|| {
            let stream = UnixStream::connect(runtime_dir::control_socket(self.daemon.runtime_dir())).unwrap();
            stream.set_read_timeout(Some(HANG)).unwrap();
            RefCell::new(BufReader::new(stream))
        });
        let mut control = control.borrow_mut();
        control::write(control.get_mut(), control::Request::List).unwrap();
        match control::read(&mut *control).unwrap() {
            control::Reply::State(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// The processes of the daemon that serve a client: they have the threads of a session.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let threads = |pid: &u32| fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        self.children().into_iter().filter(|pid| threads(pid) > 1).collect()
    }

    fn children(&self) -> Vec<u32> {
        let pid = self.daemon.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(|child| child.parse().unwrap()).collect()
    }

    /// Open descriptors of the daemon, by what they are.
    pub(crate) fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.daemon.pid())).unwrap();
        let mut kinds: Vec<String> = entries
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|target| target.to_string_lossy().split(':').next().unwrap_or_default().to_owned())
            .collect();
        kinds.sort();
        kinds
    }

    /// Waits until there is no client, no charge, and no process, not even a dead one, but the one that waits for the next client.
    pub(crate) fn rests(&self) {
        eventually("the daemon rests", || {
            let state = self.state();
            let is_idle = |vgpu: &control::Vgpu| vgpu.clients.is_empty() && vgpu.used_bytes == 0;
            state.vgpus.iter().all(is_idle) && self.workers().is_empty() && self.children().len() == 1
        });
        // What the daemon was about to do when it was found so is done when it answers.
        self.state();
    }
}

/// A number of `/proc/PID/status`, in bytes.
pub(crate) fn memory_of(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + HANG;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::yield_now();
    }
}

/// A client that does no harm, and whose work must go on.
pub(crate) struct Neighbour {
    context: Context,
    module: Module,
    sum: u32,
}

impl Neighbour {
    pub(crate) fn of(machine: &Machine) -> Self {
        let mut context = Context::open(&machine.socket());
        let module = context.load(KERNELS, 0x10000);
        Self { context, module, sum: 0 }
    }

    /// Computes something, and looks whether it is right.
    pub(crate) fn computes(&mut self) {
        self.context.launch((&self.module, "count"), Shape::of(8, 32), &[BASE]);
        self.sum += 8 * 31 * 16;
        assert_eq!((self.context.synchronise(), self.context.word(0)), (0, self.sum));
    }
}
