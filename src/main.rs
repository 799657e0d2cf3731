//! temp
use bearer_proxy::*;
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[allow(clippy::all, clippy::print_stderr, clippy::unwrap_used)]
fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async move {
        match args[1].as_str() {
            "serve" => {
                let file = args.iter().position(|a| a == "--config").map(|i| args[i + 1].clone().into());
                let loaded = match config::Config::load(&config::Sources::new(file, std::env::vars_os())) {
                    Ok(l) => l,
                    Err(e) => {
                        eprintln!("{e}");
                        return 78.into();
                    }
                };
                let _logs = telemetry::Logs::init(&loaded.config.log).unwrap();
                if let Err(e) = cli::serve::run(loaded).await {
                    tracing::error!("{e}");
                    return 1.into();
                }
            }
            "demo" => {
                let mut stop = cli::serve::Stop::new().unwrap();
                let r = cli::demo::run(args.iter().any(|a| a == "--once"), &mut std::io::stdout(), async move {
                    stop.received().await;
                })
                .await;
                if let Err(e) = r {
                    eprintln!("{e}");
                    return 1.into();
                }
            }
            _ => return 2.into(),
        }
        0.into()
    })
}
