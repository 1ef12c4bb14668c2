//! Storage against a real PostgreSQL, with a database for each test.

mod statements;
