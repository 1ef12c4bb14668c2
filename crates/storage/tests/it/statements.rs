//! Every statement of the crate can be prepared on the migrated schema, so that a misspelt column is found here.
//! The statements are read from the sources, and none may be written where this test cannot find it.
#![expect(clippy::expect_used, reason = "a test that cannot go on says why and ends")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use busbar_storage::seal::Keyring;
use busbar_storage::{Config, Database, PgConnection, migrate, scratch};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Executor};

/// The file that makes and drops databases, whose names cannot be parameters.
const WITHOUT_STATIC_TEXT: &str = "scratch.rs";
const VERBS: [&str; 5] = ["select", "insert", "update", "delete", "with"];

/// A statement and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    place: String,
    text: String,
}

/// The string literals of Rust source with their lines, comments and characters left out.
fn literals(source: &str) -> Vec<(usize, String)> {
    let letters: Vec<char> = source.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < letters.len() {
        match (letters[at], letters.get(at + 1)) {
            ('/', Some('/')) => {
                while at < letters.len() && letters[at] != '\n' {
                    at += 1;
                }
            }
            // A character, or else a lifetime, which has no second quote.
            ('\'', Some('\\')) => at += 4,
            ('\'', Some(_)) if letters.get(at + 2) == Some(&'\'') => at += 3,
            ('"', _) => {
                let (begin, mut text) = (line, String::new());
                at += 1;
                while at < letters.len() && letters[at] != '"' {
                    let escaped = letters[at] == '\\';
                    at += usize::from(escaped);
                    line += usize::from(letters[at] == '\n');
                    text.push(letters[at]);
                    at += 1;
                }
                found.push((begin, text));
                at += 1;
            }
            (letter, _) => {
                line += usize::from(letter == '\n');
                at += 1;
            }
        }
    }
    found
}

fn is_statement(text: &str) -> bool {
    text.split_whitespace().next().is_some_and(|verb| VERBS.contains(&verb)) && text.split_whitespace().nth(1).is_some()
}

fn statements(file: &str, source: &str) -> Vec<Statement> {
    let texts = literals(source).into_iter().filter(|(_, text)| is_statement(text));
    texts.map(|(line, text)| Statement { place: format!("{file}:{line}"), text }).collect()
}

/// Calls of `sqlx::query*` whose text is neither a literal nor a constant of the same file.
fn hidden(file: &str, source: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (at, _) in source.match_indices("sqlx::query") {
        let Some((_, argument)) = source[at..].split_once('(') else { continue };
        let argument = argument.trim_start();
        let name: String =
            argument.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect();
        let constant = !name.is_empty() && source.contains(&format!("const {name}: &str = \""));
        if !argument.starts_with('"') && !constant {
            let line = source[..at].lines().count();
            broken.push(format!("{file}:{line} hides its statement from the test that prepares it"));
        }
    }
    broken
}

fn sources() -> Vec<(String, String)> {
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the sources can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source is text");
                // Unit tests stand at the end of a file.
                let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                found.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), code));
            }
        }
    }
    found
}

/// The highest parameter of a statement.
fn parameters(text: &str) -> usize {
    let numbers = text.split('$').skip(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    numbers.filter_map(|digits| digits.parse().ok()).max().unwrap_or(0)
}

/// Prepares a statement whose parameters have the types that PostgreSQL infers, but for the one that is a time.
async fn prepare(connection: &mut PgConnection, text: &str, time: Option<usize>) -> Result<(), sqlx::Error> {
    let kind = |number| if Some(number) == time { "timestamptz" } else { "unknown" };
    let kinds: Vec<&str> = (1..=parameters(text)).map(kind).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!("({})", kinds.join(", ")) };
    connection.execute(AssertSqlSafe(format!("prepare tried {kinds} as {text}"))).await?;
    connection.execute("deallocate tried").await?;
    Ok(())
}

/// The sentence that PostgreSQL says about a statement that it cannot prepare.
///
/// The program tells the type of each parameter, and this test does not know them. Where PostgreSQL cannot infer one,
/// it is always the time, which stands beside nulls and in comparisons with itself.
async fn refusal(connection: &mut PgConnection, statement: &Statement) -> Option<String> {
    let error = prepare(connection, &statement.text, None).await.err()?;
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned();
    // Ambiguous parameter, indeterminate type, type mismatch.
    if ["42P08", "42P18", "42804"].contains(&code.as_str()) {
        for number in 1..=parameters(&statement.text) {
            if prepare(connection, &statement.text, Some(number)).await.is_ok() {
                return None;
            }
        }
    }
    Some(format!("{}: {error}", statement.place))
}

/// The server that the environment names, or the one on this machine.
fn server() -> SecretString {
    let named = std::env::vars().find(|(name, _)| name == "BUSBAR_DATABASE__URL").map(|(_, url)| url);
    named.unwrap_or_else(|| "postgres://postgres@127.0.0.1:5432/busbar".to_owned()).into()
}

#[tokio::test]
async fn every_statement_can_be_prepared_on_the_migrated_schema() {
    let (server, name) = (server(), format!("busbar_test_{:016x}", fastrand::u64(..)));
    scratch::create_database(&server, &name).await.expect("a database can be made");
    let config = Config {
        url: scratch::database_url(&server, &name),
        max_connections: 1,
        statement_timeout: Duration::from_secs(10),
        application_name: "busbar-test".to_owned(),
    };
    let database = Database::new(&config, Keyring::empty()).expect("the URL is good");
    migrate::apply(&database).await.expect("a new database can be migrated");

    let (mut broken, mut prepared) = (Vec::new(), 0);
    {
        let mut connection = database.acquire().await.expect("a connection");
        for (file, source) in sources() {
            for statement in statements(&file, &source) {
                broken.extend(refusal(&mut connection, &statement).await);
                prepared += 1;
            }
        }
        let misspelt = Statement { place: "here".to_owned(), text: "select nothing from deliveries".to_owned() };
        assert!(refusal(&mut connection, &misspelt).await.is_some(), "a misspelt column is not found");
    }
    database.close().await;
    scratch::drop_database(&server, &name).await.expect("the database can be dropped");
    assert!(prepared > 40, "statements are not found any more: {prepared}");
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn no_statement_hides_from_the_test() {
    let sources = sources();
    assert!(sources.iter().any(|(file, _)| Path::new(file) == Path::new(WITHOUT_STATIC_TEXT)));
    let others = sources.iter().filter(|(file, _)| file != WITHOUT_STATIC_TEXT);
    let broken: Vec<String> = others.flat_map(|(file, source)| hidden(file, source)).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
    assert_eq!(hidden("a.rs", "let sql = f();\nsqlx::query(&sql)").len(), 1);
    assert_eq!(hidden("a.rs", "sqlx::query(FIND)").len(), 1);
    assert!(hidden("a.rs", "sqlx::query(FIND)\nconst FIND: &str = \"select 1\";").is_empty());
}

#[test]
fn statements_are_found_where_they_stand() {
    assert_eq!((parameters("select $1, $12 from x where y = $3"), parameters("select 1")), (12, 0));
    let source = "// \"select a comment\"\nfn f<'a>() { g('\"', '\\'', \"select '\\\"' from x\", \"selected\") }\n\
                  const Q: &str = \"\nupdate y set z = 1\";";
    let found = statements("a.rs", source);
    let statement = |place: &str, text: &str| Statement { place: place.to_owned(), text: text.to_owned() };
    assert_eq!(found, [statement("a.rs:2", "select '\"' from x"), statement("a.rs:3", "\nupdate y set z = 1")]);
}
