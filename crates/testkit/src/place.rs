//! A database and a broker namespace of a test's own, on the real servers, removed when it ends.

use std::time::Duration;

use busbar_messaging::topology;
use busbar_runtime::{Settings, parts, settings};
use busbar_storage::{migrate, scratch};
use secrecy::{ExposeSecret, SecretString};

/// Where one test works.
#[derive(Debug)]
pub struct Place {
    settings: Settings,
    server: SecretString,
    database: String,
}

impl Place {
    /// Makes a migrated database and declared queues; `change` adjusts the settings that they are made for.
    ///
    /// # Panics
    /// When PostgreSQL or RabbitMQ cannot be used, since no test can go on then.
    pub async fn make(change: impl FnOnce(&mut Vec<(String, String)>)) -> Self {
        busbar_runtime::process::install_tls_provider();
        let name = format!("busbar_test_{:016x}", fastrand::u64(..));
        let base = Settings::load(None, settings::environment()).expect("the environment's settings are good");
        let server = base.database.url.clone();
        scratch::create_database(&server, &name).await.expect("a test's database can be made");
        let mut values = vec![
            ("BUSBAR_DATABASE__URL".to_owned(), scratch::database_url(&server, &name).expose_secret().to_owned()),
            ("BUSBAR_BROKER__URL".to_owned(), base.broker.url.expose_secret().to_owned()),
            ("BUSBAR_BROKER__NAMESPACE".to_owned(), name.clone()),
            ("BUSBAR_SECRETS__MASTER_KEY".to_owned(), busbar_storage::seal::Keyring::generate(1)),
            ("BUSBAR_EGRESS__ALLOW".to_owned(), "127.0.0.0/8".to_owned()),
            ("BUSBAR_DRAIN__READY_OFF_MS".to_owned(), "0".to_owned()),
            ("BUSBAR_SCHEDULER__TICK_MS".to_owned(), "100".to_owned()),
            ("BUSBAR_INGRESS__WORKERS".to_owned(), "1".to_owned()),
        ];
        for service in ["INGRESS", "ADMIN"] {
            values.push((format!("BUSBAR_{service}__LISTEN"), format!("127.0.0.1:{}", free_port())));
        }
        change(&mut values);
        let settings = Settings::load(None, values.into_iter()).expect("the test's settings are good");
        let database = parts::database(&settings, "test").expect("the database's URL is good");
        migrate::apply(&database).await.expect("a new database can be migrated");
        database.close().await;
        topology::apply(&parts::broker(&settings).expect("broker")).await.expect("queues can be declared");
        Self { settings, server, database: name }
    }

    /// The settings of every service here.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Removes the database and the queues.
    ///
    /// # Panics
    /// When the database stays, since leftovers pile up.
    pub async fn remove(self) {
        if let Ok(broker) = parts::broker(&self.settings) {
            // Queues of a broker that a test has stopped are gone with it.
            let _gone = tokio::time::timeout(Duration::from_secs(10), topology::remove(&broker)).await;
        }
        scratch::drop_database(&self.server, &self.database).await.expect("a test's database can be dropped");
    }
}

/// A port that was free a moment ago.
///
/// # Panics
/// When no port can be bound at all.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
