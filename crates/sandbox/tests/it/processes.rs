//! Services as processes: readiness, crash, restart and end, with the sandbox program as the service.

use std::time::Duration;

use busbar_sandbox::processes::{ProcessError, Processes, Service, free_addresses};

use crate::client::SOON;

fn service(program: &str) -> Service {
    let ops = free_addresses(1).unwrap()[0];
    // Without a control API every path, `/readyz` included, is answered with 200.
    let arguments = vec!["--listen".into(), ops.to_string().into()];
    Service { name: "sandbox".into(), program: program.into(), arguments, environment: Vec::new(), ops }
}

fn processes() -> (Processes, tempdir::Folder) {
    let folder = tempdir::Folder::new();
    (Processes::new(&folder.0).unwrap(), folder)
}

mod tempdir {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    static COUNT: AtomicU32 = AtomicU32::new(0);

    /// A folder that goes with its test.
    pub(super) struct Folder(pub(super) PathBuf);

    impl Folder {
        pub(super) fn new() -> Self {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            Self(std::env::temp_dir().join(format!("busbar-processes-{}-{number}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[tokio::test]
async fn a_service_is_killed_restarted_and_ended() {
    let (mut processes, _folder) = processes();
    processes.start(service(env!("CARGO_BIN_EXE_busbar-sandbox"))).unwrap();
    processes.wait_ready("sandbox", SOON).await.unwrap();
    let first = processes.pid("sandbox").unwrap();

    processes.kill("sandbox").await.unwrap();
    assert_eq!(processes.pid("sandbox"), None);
    processes.restart("sandbox").unwrap();
    processes.wait_ready("sandbox", SOON).await.unwrap();
    assert_ne!(processes.pid("sandbox"), Some(first));

    processes.signal("sandbox", "STOP").await.unwrap();
    processes.signal("sandbox", "CONT").await.unwrap();
    assert!(processes.terminate("sandbox", SOON).await.unwrap().is_some());
    assert!(processes.terminate("sandbox", SOON).await.unwrap().is_none());
}

#[tokio::test]
async fn a_service_that_ends_at_once_shows_its_log() {
    let (mut processes, _folder) = processes();
    let script = vec!["-c".into(), "echo no database >&2; sleep 0.1; exit 3".into()];
    processes.start(Service { arguments: script, ..service("/bin/sh") }).unwrap();
    let error = processes.wait_ready("sandbox", SOON).await.unwrap_err();
    assert!(matches!(error, ProcessError::Ended { .. }));
    assert!(error.to_string().contains("no database"), "{error}");
}

#[tokio::test]
async fn stopping_ends_what_does_not_listen() {
    let (mut processes, _folder) = processes();
    let script = vec!["-c".into(), "trap '' TERM; while :; do sleep 0.05; done".into()];
    processes.start(Service { arguments: script, ..service("/bin/sh") }).unwrap();
    let error = processes.wait_ready("sandbox", Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ProcessError::Late { .. }), "{error}");
    processes.stop(Duration::from_millis(200)).await;
    assert_eq!(processes.pid("sandbox"), None);
}
