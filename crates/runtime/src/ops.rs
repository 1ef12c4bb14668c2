//! The ops listener of a process: `/livez`, `/readyz` and `/metrics`, on an address that is never public.
//! It has a thread of its own, so that it answers while the service is busy.

use std::io;
use std::net::{SocketAddr, TcpListener};

use actix_web::dev::Server;
use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::health::{Health, Status};
use crate::metrics::Metrics;

/// A bound ops listener that does not answer until it runs.
pub struct Ops {
    address: SocketAddr,
    server: Server,
}

impl Ops {
    /// Binds `listen`, so that a taken port stops the start; port 0 takes a free one.
    pub fn bind(listen: SocketAddr, health: Health, metrics: Metrics) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(health.clone()))
                .app_data(web::Data::new(metrics.clone()))
                .route("/livez", web::get().to(livez))
                .route("/readyz", web::get().to(readyz))
                .route("/metrics", web::get().to(exposition))
        })
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1)
        .listen(listener)?
        .run();
        Ok(Self { address, server })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped or fails.
    pub async fn run(self) -> io::Result<()> {
        self.server.await
    }
}

/// Binds `listen` and answers until dropped: [`Ops::bind`] and [`Ops::run`] in one.
pub async fn serve(listen: SocketAddr, health: Health, metrics: Metrics) -> io::Result<()> {
    Ops::bind(listen, health, metrics)?.run().await
}

async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

async fn readyz(health: web::Data<Health>) -> HttpResponse {
    let readiness = health.readiness();
    let status = match readiness.status {
        Status::Ready => StatusCode::OK,
        Status::Unready | Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    HttpResponse::build(status).json(readiness)
}

async fn exposition(metrics: web::Data<Metrics>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(metrics.render())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::shutdown::Shutdown;

    async fn get(address: SocketAddr, path: &str) -> String {
        #[expect(clippy::disallowed_methods, reason = "the test is the listener's caller")]
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_listener_tells_life_readiness_and_metrics() {
        let shutdown = Shutdown::immediate(Duration::from_secs(1));
        let health = Health::new(shutdown.clone());
        let broker = health.register("broker");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let ops = Ops::bind(any, health.clone(), Metrics::install().unwrap()).unwrap();
        let address = ops.address();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(ops.run());

        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let unready = get(address, "/readyz").await;
        assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
        let expected = r#"{"status":"unready","checks":{"broker":{"ok":false,"reason":"starting"}}}"#;
        assert!(unready.ends_with(expected), "{unready}");
        broker.up();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.contains("busbar_build_info"));

        shutdown.trigger();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    }
}
