//! The place of a grant, for tests that run on each store.

use std::path::Path;

use serde_json::Value;
use tokio_postgres::NoTls;

use crate::postgres::Postgres;
use crate::support::Setup;

/// The place of one grant.
#[derive(Clone)]
pub enum Site {
    File,
    Postgres {
        url: String,
        /// `store.name`.
        name: String,
    },
}

impl Site {
    pub fn postgres(server: &Postgres, name: impl ToString) -> Self {
        Self::Postgres { url: server.url(), name: name.to_string().replace(' ', "-") }
    }

    pub fn configure(&self, setup: Setup) -> Setup {
        match self {
            Self::File => setup,
            Self::Postgres { url, name } => setup
                .unset("STORE__PATH")
                .set("STORE__KIND", "postgres")
                .set("STORE__URL", url)
                .set("STORE__NAME", name),
        }
    }

    /// The stored document, read without the program. `None`: nothing was ever stored. A result that a killed process wrote and did not
    /// rename counts as stored, so the judge requires that the program stores it.
    pub async fn document(&self, setup: &Setup) -> Option<Value> {
        let text = match self {
            Self::File => {
                let text = std::fs::read_to_string(setup.store()).ok()?;
                unrenamed(&setup.store(), &text).unwrap_or(text)
            }
            Self::Postgres { url, name } => {
                let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
                tokio::spawn(connection);
                if client.query_one("SELECT to_regclass('bearer_proxy_grant') IS NULL", &[]).await.unwrap().get(0) {
                    return None;
                }
                let sql = "SELECT document FROM bearer_proxy_grant WHERE name = $1";
                client.query_opt(sql, &[name]).await.unwrap()?.get::<_, Option<String>>(0)?
            }
        };
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {} bytes", text.len())))
    }
}

/// The temporary document, if it is complete and holds the result of the call that this document announces.
fn unrenamed(store: &Path, document: &str) -> Option<String> {
    let text = std::fs::read_to_string(store.with_file_name("grant.json.tmp")).ok()?;
    let (document, temporary): (Value, Value) =
        (serde_json::from_str(document).ok()?, serde_json::from_str(&text).ok()?);
    let follows = document["intent"].is_object()
        && temporary["intent"].is_null()
        && temporary["generation"].as_u64() == document["generation"].as_u64().map(|generation| generation + 1);
    follows.then_some(text)
}
