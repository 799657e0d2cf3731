//! Where a grant is stored, for tests that ask the same of each store.

use serde_json::Value;
use tokio_postgres::NoTls;

use crate::postgres::Postgres;
use crate::support::Setup;

/// One grant's place.
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

    /// What is stored, read past the program; `None`: nothing was ever stored.
    pub async fn document(&self, setup: &Setup) -> Option<Value> {
        let text = match self {
            Self::File => std::fs::read_to_string(setup.store()).ok()?,
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
