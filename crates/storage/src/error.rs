//! What can go wrong with the database, told apart by what may be done about it.

use busbar_domain::Failure;

/// A statement that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke, so whether the statement was committed is not known.
    #[error("the database connection failed: {0}")]
    Connection(#[source] sqlx::Error),
    /// The database refused for a reason that passes: a deadlock, a serialisation failure, a time-out, a shutdown.
    #[error("the database refused for now: {0}")]
    Busy(#[source] sqlx::Error),
    /// A named constraint was violated.
    #[error("constraint {constraint} was violated")]
    Constraint {
        /// Its name.
        constraint: String,
    },
    /// A row holds what this program cannot read.
    #[error("{table} row {row} is inconsistent: {what}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Sealed text that cannot be opened.
    #[error(transparent)]
    Seal(#[from] crate::seal::Error),
    /// The schema is not the one that this program was written for.
    #[error("the schema is not up to date: {0}; run `busbar migrate`")]
    Schema(String),
    /// Anything else: a defect of the statement.
    #[error("the database refused: {0}")]
    Refused(#[source] sqlx::Error),
}

impl Error {
    /// What a statement that was not answered in time counts as: its outcome is unknown.
    pub fn timed_out() -> Self {
        Self::Connection(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    }

    /// Whether a statement took longer than it may; one of half the size may not.
    pub fn is_timeout(&self) -> bool {
        let Self::Busy(error) = self else { return false };
        error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "57014")
    }

    /// Whether the same statement may succeed later.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Busy(_) => true,
            Self::Constraint { .. }
            | Self::Inconsistent { .. }
            | Self::Seal(_)
            | Self::Schema(_)
            | Self::Refused(_) => false,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let Some(refusal) = error.as_database_error() else {
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => Self::Connection(error),
                other => Self::Refused(other),
            };
        };
        let code = refusal.code().unwrap_or_default().into_owned();
        match code.as_str() {
            // Serialisation failure, deadlock, lock not available, statement cancelled or timed out,
            // too many connections, disk full, read-only standby.
            "40001" | "40P01" | "55P03" | "57014" | "53300" | "53100" | "25006" => Self::Busy(error),
            // Shutdown, crash of another backend, starting up, connection failures.
            _ if code.starts_with("57P") || code.starts_with("08") => Self::Connection(error),
            "23505" | "23503" | "23514" => {
                Self::Constraint { constraint: refusal.constraint().unwrap_or_default().to_owned() }
            }
            _ => Self::Refused(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.is_transient() { Self::transient(error) } else { Self::permanent(error) }
    }
}
