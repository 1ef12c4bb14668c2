//! The program's only option.

use std::net::{Ipv4Addr, SocketAddr};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8_090);

/// Arguments that the program does not understand.
#[derive(Debug, PartialEq, Eq)]
pub struct OptionsError(String);

impl std::fmt::Display for OptionsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; usage: busbar-sandbox [--listen 127.0.0.1:8090]", self.0)
    }
}

impl std::error::Error for OptionsError {}

/// Reads `--listen ADDRESS` or `--listen=ADDRESS`; without it, `127.0.0.1:8090`.
pub fn parse_listen(args: impl Iterator<Item = String>) -> Result<SocketAddr, OptionsError> {
    let mut args = args;
    let mut listen = DEFAULT_LISTEN;
    while let Some(arg) = args.next() {
        let text = match arg.strip_prefix("--listen") {
            Some("") => args.next(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        }
        .ok_or_else(|| OptionsError(format!("unknown or incomplete argument {arg:?}")))?;
        listen = text.parse().map_err(|_| OptionsError(format!("{text:?} is no address")))?;
    }
    Ok(listen)
}
