//! Databases of a run's own, for benchmarks and tests: made on the server that a URL names, and dropped after.

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::Error;

/// Makes an empty database on the server of `url`.
pub async fn create_database(url: &SecretString, name: &str) -> Result<(), Error> {
    run(url, format!("create database {}", quoted(name))).await
}

/// Drops a database with whoever is still connected to it; one that is not there is no error.
pub async fn drop_database(url: &SecretString, name: &str) -> Result<(), Error> {
    run(url, format!("drop database if exists {} with (force)", quoted(name))).await
}

/// The same server and user as `url`, with the database `name`.
pub fn database_url(url: &SecretString, name: &str) -> SecretString {
    let url = url.expose_secret();
    let (rest, query) = url.split_once('?').map_or((url, None), |(rest, query)| (rest, Some(query)));
    let authority = rest.find("://").map_or(0, |at| at + 3);
    let server = rest[authority..].find('/').map_or(rest, |at| &rest[..authority + at]);
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    format!("{server}/{name}{query}").into()
}

/// Runs one statement beside all databases but the one that every server has.
async fn run(url: &SecretString, statement: String) -> Result<(), Error> {
    let options = url.expose_secret().parse::<PgConnectOptions>()?.database("postgres");
    let mut connection = PgConnection::connect_with(&options).await?;
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_changes() {
        for (url, expected) in [
            ("postgres://a:b@host:5432/busbar", "postgres://a:b@host:5432/mine"),
            ("postgres://host", "postgres://host/mine"),
            ("postgres:///busbar?host=/run/postgresql", "postgres:///mine?host=/run/postgresql"),
            ("postgres://host/busbar?sslmode=require", "postgres://host/mine?sslmode=require"),
        ] {
            assert_eq!(database_url(&url.into(), "mine").expose_secret(), expected);
        }
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
