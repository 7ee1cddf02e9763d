//! A PostgreSQL server of the tests' own: made in a directory, reached through a socket in it, stopped with it.
//!
//! Without the server's binaries the tests fail: `scripts/install.sh` installs them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long the server may take to start; far above what it takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Its administrator.
pub const USER: &str = "test";
/// Its password, which nobody asks for.
pub const PASSWORD: &str = "only for tests";
/// Who may come without a password: everybody but one. (Unoptimised, SCRAM takes a tenth of a second.)
const ACCESS: &str = "local all guarded scram-sha-256\nlocal all all trust\n";

/// A server and its directory.
pub struct Cluster {
    directory: TempDir,
    binaries: PathBuf,
    /// Who owns the data: PostgreSQL refuses to run as root.
    owner: Option<(u32, u32)>,
    child: Option<Child>,
}

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

impl Cluster {
    /// The server that tests share; it stops with the last of them.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::start());
            *shared = Arc::downgrade(&made);
            made
        })
    }

    /// A new server.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let owner = (directory.path().metadata().unwrap().uid() == 0).then(|| (id("-u"), id("-g")));
        let mut cluster = Self { directory, binaries: binaries(), owner, child: None };
        let readable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(cluster.directory.path(), readable).unwrap();
        for name in ["data", "socket"] {
            std::fs::create_dir(cluster.directory.path().join(name)).unwrap();
            if let Some((user, group)) = owner {
                chown(cluster.directory.path().join(name), Some(user), Some(group)).unwrap();
            }
        }
        let made = cluster
            .command("initdb")
            .args(["-D", "data", "-U", USER, "-A", "trust"])
            .args(["-E", "UTF8", "--no-locale", "--no-sync"])
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(cluster.directory.path().join("data/pg_hba.conf"), ACCESS).unwrap();
        cluster.resume();
        cluster
    }

    /// The directory of its socket, which clients take for the host.
    pub fn host(&self) -> String {
        self.directory.path().join("socket").display().to_string()
    }

    /// Ends all of its processes at once, without a checkpoint, and starts it again.
    pub fn restart_immediately(&mut self) {
        self.kill();
        self.resume();
    }

    /// As `pg_ctl stop -m immediate`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    /// Starts it and waits until it answers.
    pub fn resume(&mut self) {
        let began = Instant::now();
        loop {
            let running = match &mut self.child {
                Some(child) => child.try_wait().unwrap().is_none(),
                None => false,
            };
            if !running {
                // Processes of the life before may need a moment to end.
                self.child = Some(self.spawn());
            }
            let asked = self.command("pg_isready").args(["-q", "-h", &self.host()]).status().unwrap();
            if asked.success() {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "postgres does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn spawn(&self) -> Child {
        let path = self.directory.path().join("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let sockets = self.host();
        self.command("postgres")
            .args(["-D", "data", "-k", &sockets, "-c", "listen_addresses=", "-c", "fsync=off"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir(self.directory.path()).env("PGUSER", USER);
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The user or group that Debian's package makes for the server.
fn id(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().expect("a user postgres, since PostgreSQL refuses to run as root; see scripts/install.sh")
}

/// Where the server's programs are: the newest version that is installed.
fn binaries() -> PathBuf {
    let complete = |path: &PathBuf| ["initdb", "postgres", "pg_isready"].iter().all(|name| path.join(name).exists());
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut installed: Vec<(u32, PathBuf)> = Path::new("/usr/lib/postgresql")
        .read_dir()
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    installed.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = installed.into_iter().rev().map(|(_, path)| path).chain(told).chain(std::env::split_paths(&path));
    all.into_iter().find(complete).expect("initdb and postgres; scripts/install.sh installs them")
}
