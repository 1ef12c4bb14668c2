//! A RabbitMQ node of a test's own, without plugins. The port mapper of Erlang is the machine's and is left alone.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{Folder, START_WITHIN, kill, loopback, steady_port};
use crate::eventually;

const PROGRAMS: [&str; 2] = ["/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq/sbin/rabbitmq-server"];
/// What an AMQP 0-9-1 client says first.
const GREETING: &[u8] = b"AMQP\0\0\x09\x01";
/// The first byte of the answer: a method's frame, which asks for credentials.
const METHOD: u8 = 1;

/// A running node, or one that was killed and may be started again.
#[derive(Debug)]
pub struct RabbitMq {
    program: PathBuf,
    port: u16,
    environment: Vec<(&'static str, String)>,
    node: Option<Child>,
    folder: Folder,
}

impl RabbitMq {
    /// Makes and starts a node.
    ///
    /// # Panics
    /// When RabbitMQ is not installed or does not start.
    pub async fn start() -> Self {
        let program = PROGRAMS.iter().map(PathBuf::from).find(|program| program.is_file());
        let program = program.expect("rabbitmq-server is in /usr/lib/rabbitmq/bin or /opt/rabbitmq/sbin");
        let (folder, port) = (Folder::make(), steady_port());
        let environment = environment(&folder, port);
        let mut rabbitmq = Self { program, port, environment, node: None, folder };
        rabbitmq.launch();
        rabbitmq.wait_accepting().await;
        rabbitmq
    }

    /// `amqp://` with the user that every new node has.
    pub fn url(&self) -> SecretString {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port).into()
    }

    /// Kills the node as a crash would.
    pub async fn kill(&mut self) {
        let Some(mut node) = self.node.take() else { return };
        kill(node.id().as_slice());
        node.wait().await.expect("a killed node ends");
    }

    /// Runs `rabbitmqctl` on the node.
    ///
    /// # Panics
    /// When it fails.
    pub async fn control(&self, arguments: &[&str]) {
        let mut command = Command::new(self.program.with_file_name("rabbitmqctl"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).arg("-n").arg(&self.environment[0].1);
        let output = command.args(arguments).output().await.expect("rabbitmqctl can be started");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a node that was killed, on the same port and data, and does not wait for it.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn launch(&mut self) {
        let log = self.folder.path().join("console.log");
        let log = File::options().create(true).append(true).open(log).expect("the log can be written");
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("the log can be shared")).stderr(log);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.node = Some(command.kill_on_drop(true).spawn().expect("RabbitMQ can be started"));
    }

    /// Waits until the node speaks AMQP with those who come.
    pub async fn wait_accepting(&self) {
        eventually("RabbitMQ accepting connections", START_WITHIN, || async {
            #[expect(clippy::disallowed_methods, reason = "it looks whether its own broker listens")]
            let mut stream = TcpStream::connect(loopback(self.port)).await.ok()?;
            stream.write_all(GREETING).await.ok()?;
            (stream.read_u8().await.ok()? == METHOD).then_some(())
        })
        .await;
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Some(node) = &self.node {
            kill(node.id().as_slice());
        }
    }
}

/// Everything that would otherwise be the machine's node.
fn environment(folder: &Folder, port: u16) -> Vec<(&'static str, String)> {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let settings = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\nlog.file.level = warning\ndisk_free_limit.absolute = 50MB\n\
         vm_memory_high_watermark.absolute = 1GB\n"
    );
    vec![
        ("RABBITMQ_NODENAME", format!("busbar_{:08x}@localhost", fastrand::u32(..))),
        ("RABBITMQ_NODE_PORT", port.to_string()),
        ("RABBITMQ_DIST_PORT", steady_port().to_string()),
        ("RABBITMQ_MNESIA_BASE", path("mnesia")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_PID_FILE", path("pid")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", folder.write("enabled_plugins", "[].\n").display().to_string()),
        ("RABBITMQ_CONFIG_FILE", folder.write("rabbitmq.conf", &settings).display().to_string()),
        ("RABBITMQ_CONF_ENV_FILE", folder.write("rabbitmq-env.conf", "").display().to_string()),
        ("HOME", folder.path().display().to_string()),
        // One process instead of a shell with one, so that whom we started is whom we kill.
        ("RUNNING_UNDER_SYSTEMD", "1".to_owned()),
        // Two threads that do not spin: the machine has other things to do.
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none".to_owned()),
    ]
}
