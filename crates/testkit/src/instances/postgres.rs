//! A PostgreSQL server of a test's own: real durability, trust authentication, loopback only.

use std::fs::File;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{Folder, START_WITHIN, children, is_alive, kill, loopback, run, steady_port};
use crate::eventually;

/// Where Debian's packages put what is not on the path.
const INSTALLED: &str = "/usr/lib/postgresql";
/// What starts every connection: the length, version 3.0, and who wants which database.
const STARTUP: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
/// The first byte of the answer to those who may come in.
const AUTHENTICATION: u8 = b'R';

/// A running server, or one that was killed and may be started again.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    port: u16,
    owner: Option<(u32, u32)>,
    server: Option<Child>,
    folder: Folder,
}

impl Postgres {
    /// Makes and starts a server with these settings on top of the usual ones.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = Folder::make();
        let mut postgres = Self { programs: programs(), port: steady_port(), owner: owner(), server: None, folder };
        if let Some((user, group)) = postgres.owner {
            chown(postgres.folder.path(), Some(user), Some(group)).expect("root can give a folder away");
        }
        let mut initdb = postgres.command("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        initdb.arg(postgres.data());
        run(initdb).await;
        let mut lines = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nfsync = on\n\
             log_checkpoints = off\nmax_connections = 100\n",
            postgres.port
        );
        for (name, value) in settings {
            lines.push_str(name);
            lines.push_str(" = ");
            lines.push_str(value);
            lines.push('\n');
        }
        let file = postgres.data().join("postgresql.auto.conf");
        std::fs::write(file, lines).expect("the settings can be written");
        postgres.launch();
        postgres.wait_accepting().await;
        postgres
    }

    /// `postgres://` with the user that may do everything.
    pub fn url(&self) -> SecretString {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port).into()
    }

    /// Kills the server and everything that it has started, as a crash of the machine would.
    pub async fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let victims = family(&server);
        kill(&victims);
        server.wait().await.expect("a killed server ends");
        wait_gone(&victims).await;
    }

    /// Stops the server at once; it recovers when it is started, as after a crash.
    pub async fn stop_immediately(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let victims = family(&server);
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "--silent", "--mode=immediate", "--pgdata"]).arg(self.data());
        run(stop).await;
        server.wait().await.expect("a stopped server ends");
        wait_gone(&victims).await;
    }

    /// Starts a server that was stopped or killed, on the same port and data, and does not wait for it.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn launch(&mut self) {
        let log = self.folder.path().join("server.log");
        let log = File::options().create(true).append(true).open(log).expect("the log can be written");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("the log can be shared")).stderr(log);
        self.server = Some(command.kill_on_drop(true).spawn().expect("PostgreSQL can be started"));
    }

    /// Waits until the server lets clients in.
    pub async fn wait_accepting(&self) {
        eventually("PostgreSQL accepting connections", START_WITHIN, || async { self.connect().await.map(drop) }).await;
    }

    /// A connection that does nothing but take a place; `None` if the server has none to give.
    pub async fn connect(&self) -> Option<TcpStream> {
        #[expect(clippy::disallowed_methods, reason = "it looks whether its own database listens")]
        let mut stream = TcpStream::connect(loopback(self.port)).await.ok()?;
        stream.write_all(STARTUP).await.ok()?;
        (stream.read_u8().await.ok()? == AUTHENTICATION).then_some(stream)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of the server's, as the user that the server runs as.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            kill(&family(server));
        }
    }
}

/// The server's process and its children.
fn family(server: &Child) -> Vec<u32> {
    let Some(pid) = server.id() else { return Vec::new() };
    [vec![pid], children(pid)].concat()
}

/// Data must not be opened while a process of the former server still writes to it.
async fn wait_gone(pids: &[u32]) {
    eventually("every process of PostgreSQL being gone", Duration::from_secs(10), || async {
        (!pids.iter().any(|pid| is_alive(*pid))).then_some(())
    })
    .await;
}

/// The newest installed version's programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir(INSTALLED).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let newest = versions.filter(|folder| folder.join("postgres").is_file()).max_by_key(|folder| version(folder));
    newest.expect("PostgreSQL's programs are in /usr/lib/postgresql/<version>/bin")
}

fn version(folder: &Path) -> Option<u32> {
    folder.parent()?.file_name()?.to_str()?.parse().ok()
}

/// Whom the server runs as: PostgreSQL refuses to be root, and then the user of Debian's package has to serve.
fn owner() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata("/proc/self").expect("/proc is there").uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("users are listed");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("there is a user called postgres");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("ids are numbers"));
    fields.next().zip(fields.next())
}
