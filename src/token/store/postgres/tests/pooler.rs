//! A store behind a real PgBouncer in transaction mode.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::*;

/// PgBouncer in transaction mode, with one connection to the server for all its clients.
struct Pooler {
    running: Child,
    url: String,
}

#[tokio::test]
async fn a_store_behind_a_pooler_works_and_leaves_nothing_to_its_other_clients() {
    let Some(program) = find() else {
        return eprintln!("not run: PgBouncer is not installed (Debian, Ubuntu: apt-get install pgbouncer)");
    };
    let server = Postgres::shared();
    fresh_database(&server, "pooled").await;
    let pooler = Pooler::start(&program, &server);
    let (writer, watcher) = (open(&pooler.url, "one"), open(&pooler.url, "one"));
    writer.prepare().await.unwrap();
    watcher.changed().await;
    write(&writer, NOTHING, &grant(1, "1")).await;
    timeout(SECOND, watcher.changed()).await.expect("the first write is seen");

    for generation in 2..5 {
        let lease = held(writer.lease("one", LONG).await.unwrap());
        let (old, new) = (watcher.load().await.unwrap().unwrap(), grant(generation, "x"));
        let fenced = Expect { fence: Some(lease.fence), ..expecting(&old) };
        let (seen, ()) = tokio::join!(timeout(SECOND, watcher.changed()), write(&writer, fenced, &new));
        seen.expect("a write is seen");
        writer.release(lease).await;
    }

    // There is one connection to the server, so this is the one that the store has used.
    let other = client(&pooler.url).await;
    for leak in ["pg_listening_channels()", "pg_prepared_statements"] {
        let rows = other.simple_query(&format!("SELECT * FROM {leak}")).await.unwrap();
        let rows = rows.iter().filter(|row| matches!(row, tokio_postgres::SimpleQueryMessage::Row(_))).count();
        assert_eq!(rows, 0, "{leak}");
    }
    let setting = other.simple_query("SELECT current_setting('bearer_proxy.watcher', true)").await.unwrap();
    let set = setting.iter().any(|row| matches!(row, tokio_postgres::SimpleQueryMessage::Row(row) if row.get(0).is_some_and(|value| !value.is_empty())));
    assert!(!set);
}

// === impl Pooler ===

impl Pooler {
    fn start(program: &Path, server: &Postgres) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // It reads the file as the server's user.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let file = folder.path().join("pgbouncer.ini");
            let settings = format!(
                "[databases]\n* = host=127.0.0.1 port={} user=tester\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 1\n",
                server.port()
            );
            fs::write(&file, settings).unwrap();
            let mut command = server.run(program);
            let mut running = command.arg(&file).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let mut log = BufReader::new(running.stderr.take().unwrap()).lines().map_while(Result::ok);
            if log.any(|line| line.contains("process up")) {
                // It must not wait for a reader of its log.
                std::thread::spawn(move || log.for_each(drop));
                return Self { running, url: format!("postgres://tester@127.0.0.1:{port}/pooled") };
            }
            running.wait().unwrap();
        }
        panic!("PgBouncer does not start");
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("pgbouncer")).find(|file| file.is_file())
}
