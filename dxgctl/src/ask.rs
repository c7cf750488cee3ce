//! Asks daemons over their control sockets.

use std::env;
use std::io;
use std::io::BufReader;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use dxg_wire::control;
use dxg_wire::control::Reply;
use dxg_wire::control::Request;
use dxg_wire::control::State;
use dxg_wire::control::Vgpu;
use dxg_wire::runtime_dir;

/// Longest wait for an answer of a daemon, which answers from memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon and what it said.
pub(crate) struct Answer {
    /// Its runtime directory.
    pub(crate) runtime_dir: PathBuf,
    /// What it has, as far as we may use it.
    pub(crate) state: State,
}

/// The daemons that this user reaches, in the order in which guests look for them.
pub(crate) struct Daemons {
    /// Those that answered.
    pub(crate) answers: Vec<Answer>,
    /// Where we looked.
    looked_in: Vec<PathBuf>,
}

impl Daemons {
    /// Asks the daemon in `runtime_dir`, or all where guests would look.
    pub(crate) fn find(runtime_dir: Option<&Path>) -> anyhow::Result<Self> {
        let looked_in = match runtime_dir {
            Some(dir) => vec![dir.to_owned()],
            None => runtime_dir::of_guest(|name| env::var_os(name)),
        };
        let mut answers = Vec::new();
        for dir in &looked_in {
            if let Some(mut state) = ask_state(dir)? {
                state.vgpus.sort_by(|one, other| one.uuid.cmp(&other.uuid));
                answers.push(Answer { runtime_dir: dir.clone(), state });
            }
        }
        Ok(Self { answers, looked_in })
    }

    /// All virtual GPUs in the order in which guests count them: by UUID, and of several with one UUID the first.
    pub(crate) fn gpus(&self) -> Vec<(&Answer, &Vgpu)> {
        let mut all: Vec<_> = self
            .answers
            .iter()
            .flat_map(|answer| answer.state.vgpus.iter().map(move |gpu| (answer, gpu)))
            .collect();
        // Stable: the daemon that guests find first stays first.
        all.sort_by(|(_, one), (_, other)| one.uuid.cmp(&other.uuid));
        all.dedup_by(|(_, later), (_, earlier)| later.uuid == earlier.uuid);
        all
    }

    /// The UUID of the one virtual GPU that `name` means: an index, a UUID or the beginning of one.
    pub(crate) fn one_gpu(&self, name: &str) -> anyhow::Result<String> {
        let all: Vec<&Vgpu> = self.gpus().into_iter().map(|(_, gpu)| gpu).collect();
        let name = name.to_ascii_lowercase();
        let by_index = name.parse::<usize>().ok().filter(|index| *index < all.len());
        if let Some(gpu) = by_index.and_then(|index| all.get(index)) {
            return Ok(gpu.uuid.clone());
        }
        let matching: Vec<&&Vgpu> = all.iter().filter(|gpu| gpu.uuid.starts_with(&name)).collect();
        match matching.as_slice() {
            [gpu] => Ok(gpu.uuid.clone()),
            [] if all.is_empty() => bail!("{}", self.why_none()),
            [] => {
                bail!("no virtual GPU is called {name}; `dxgctl list` shows the {} that there are", all.len())
            }
            several => bail!("{name} may mean {} virtual GPUs; give more of the UUID", several.len()),
        }
    }

    /// What to say, and what to do, when there is nothing to list.
    pub(crate) fn why_none(&self) -> String {
        let places: Vec<String> = self.looked_in.iter().map(|dir| dir.display().to_string()).collect();
        if self.answers.is_empty() {
            format!(
                "no daemon answers in {}. Start one (`dxgd serve`), or run the command with a private one \
                 (`dxgctl run --private -- CMD`)",
                places.join(" or ")
            )
        } else {
            "a daemon runs, but it has no virtual GPU that you may use: see the permissions of its sockets"
                .to_owned()
        }
    }
}

/// Asks one daemon; `None` when none is there or we may not ask it.
fn ask_state(dir: &Path) -> anyhow::Result<Option<State>> {
    let path = runtime_dir::control_socket(dir);
    let socket = match UnixStream::connect(&path) {
        Ok(socket) => socket,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot reach the daemon at {}", path.display()));
        }
    };
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let talk = || -> anyhow::Result<Reply> {
        control::write(&socket, Request::List)?;
        Ok(control::read(&mut BufReader::new(&socket))?)
    };
    match talk().with_context(|| format!("the daemon at {} does not answer", path.display()))? {
        Reply::State(state) => Ok(Some(state)),
        Reply::Error { message } => bail!("the daemon at {} refused: {message}", path.display()),
        other => bail!("the daemon at {} gave an answer to another question: {other:?}", path.display()),
    }
}

/// No daemon, a dead daemon's socket, or a socket that is not for us.
fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemons(uuids: &[&str]) -> Daemons {
        let vgpus = uuids.iter().map(|uuid| Vgpu { uuid: (*uuid).to_owned(), ..Vgpu::default() }).collect();
        let state = State { vgpus, ..State::default() };
        Daemons { answers: vec![Answer { runtime_dir: PathBuf::new(), state }], looked_in: Vec::new() }
    }

    #[test]
    fn one_gpu_is_found_by_index_and_by_the_beginning_of_its_uuid() {
        let daemons = daemons(&["aa11-1", "aa22-2", "7b33-3"]);
        assert_eq!(daemons.one_gpu("1").unwrap(), "aa11-1");
        assert_eq!(daemons.one_gpu("AA1").unwrap(), "aa11-1");
        assert_eq!(daemons.one_gpu("7").unwrap(), "7b33-3", "7 is no index here");
    }

    #[test]
    fn gpus_of_two_daemons_are_counted_as_guests_count_them() {
        let mut both = daemons(&["cc-3", "bb-2"]);
        both.answers[0].runtime_dir = PathBuf::from("/first");
        both.answers.extend(daemons(&["bb-2", "aa-1"]).answers);
        let uuids: Vec<&str> = both.gpus().iter().map(|(_, gpu)| gpu.uuid.as_str()).collect();
        assert_eq!(uuids, ["aa-1", "bb-2", "cc-3"]);
        assert_eq!(both.gpus()[1].0.runtime_dir, Path::new("/first"), "guests find this one first");
        assert_eq!(both.one_gpu("bb").unwrap(), "bb-2");
    }

    #[test]
    fn one_gpu_that_is_unknown_or_ambiguous_is_refused_with_what_to_do() {
        let daemons = daemons(&["aa11-1", "aa22-2"]);
        assert!(daemons.one_gpu("aa").unwrap_err().to_string().contains("more of the UUID"));
        assert!(daemons.one_gpu("9").unwrap_err().to_string().contains("dxgctl list"));
    }

    #[test]
    fn a_directory_without_a_daemon_is_no_error() {
        let found = Daemons::find(Some(Path::new("/nonexistent/dxg"))).unwrap();
        assert!(found.answers.is_empty());
        assert!(found.why_none().contains("/nonexistent/dxg"));
    }
}
