//! A producer that looks closely at what it is answered, and a look into the database that needs no service.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use busbar_egress::{
    Answer, Egress, Failure, HeaderMap, HeaderName, HeaderValue, Limits, Method, Outgoing, Policy, Target,
};
use busbar_testkit::hub::Reply;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// A producer with its key.
pub(crate) struct Client {
    egress: Egress,
    key: String,
}

impl Client {
    pub(crate) fn new(key: &str) -> Self {
        busbar_runtime::process::install_tls_provider();
        let policy = Policy::parse(&["0.0.0.0/0".to_owned()], &[], false).unwrap();
        Self { egress: Egress::new(policy, Limits::default()).unwrap(), key: key.to_owned() }
    }

    /// Posts an event and answers what the door said.
    pub(crate) async fn post(&self, door: SocketAddr, key: Option<&str>, body: Vec<u8>) -> Reply {
        self.try_post(door, key, body, Duration::from_secs(10)).await.unwrap()
    }

    /// The same, where there may be no answer.
    pub(crate) async fn try_post(
        &self,
        door: SocketAddr,
        key: Option<&str>,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Reply, Failure> {
        self.call(&format!("http://{door}/api/v1/events"), key, body, deadline).await
    }

    /// Posts a body to any route.
    pub(crate) async fn call(
        &self,
        url: &str,
        key: Option<&str>,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Reply, Failure> {
        let target = Target::parse(url, self.egress.policy()).unwrap();
        let mut headers = HeaderMap::new();
        let own = [
            ("x-api-key", Some(self.key.as_str())),
            ("content-type", Some("application/json")),
            ("idempotency-key", key),
        ];
        for (name, value) in own {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
            }
        }
        let outgoing = Outgoing { target: &target, headers, body: body.into(), deadline };
        let Answer { status, headers, body, .. } = self.egress.send(Method::POST, outgoing).await?;
        Ok(Reply { status, headers, body })
    }
}

/// Runs one statement and answers the only value of its only row.
pub(crate) async fn ask(database: &SecretString, statement: &str) -> String {
    let output = psql(database).args(["-c", statement]).output().await.expect("psql can be started");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A transaction that somebody has begun and does not end; dropping it rolls it back.
pub(crate) struct OpenTransaction(Child);

impl OpenTransaction {
    /// Begins a transaction, runs `statement` in it, and leaves it open.
    pub(crate) async fn begin(database: &SecretString, statement: &str) -> Self {
        let mut child = psql(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("psql can be started");
        let script = format!("begin;\n{statement};\n\\echo held\n");
        let mut input = child.stdin.take().unwrap();
        input.write_all(script.as_bytes()).await.unwrap();
        child.stdin = Some(input);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while lines.next_line().await.unwrap().expect("psql keeps the transaction open") != "held" {}
        Self(child)
    }

    /// Rolls it back.
    pub(crate) async fn roll_back(mut self) {
        self.0.kill().await.unwrap();
    }
}

fn psql(database: &SecretString) -> Command {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1", "-d"]);
    command.arg(database.expose_secret());
    command
}
