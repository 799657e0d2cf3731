//! A new user follows the documents to a login, at a terminal and with a browser, in an empty home. Only URLs and placeholders are replaced.
//!
//! The commands are those of the documents. `init` prints the first 200, and `serve` the documents' way serves the next.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use simulator::{CLIENT_ID, CLIENT_SECRET, Flavour, Options};
use tokio::process::Command;

use crate::login::browser;
use crate::session::Session;
use crate::site::{Serving, Site, User};

/// At most so many commands, and so much time of the machine, to the first 200.
const COMMANDS: usize = 2;
const TIME: Duration = Duration::from_secs(60);

/// A question at the terminal, and its answer.
type Answer = (&'static str, &'static str);

const SECRET: Answer = ("Client secret (not shown", CLIENT_SECRET);
const ID: Answer = ("Client id:", CLIENT_ID);
/// The default.
const REDIRECT_URI: Answer = ("Redirect URI, exactly as it is registered", "");

struct Reader {
    site: Site,
    flavour: Flavour,
    commands: usize,
    began: Instant,
}

// === impl Reader ===

impl Reader {
    async fn new(user: User, options: Options) -> Self {
        let flavour = options.flavour;
        let site = Site::with(user, options).await;
        fs::remove_file(site.home().join("given-secret")).unwrap();
        assert_eq!(fs::read_dir(site.home()).unwrap().count(), 0, "the home is empty");
        let bin = site.bin();
        fs::create_dir(&bin).unwrap();
        symlink(site.program(), bin.join("bearer-proxy")).unwrap();
        Self { site, flavour, commands: 0, began: Instant::now() }
    }

    /// A line of a document in the user's shell.
    fn shell(&self, line: &str) -> Command {
        let mut command = self.site.words(&["sh", "-euc", &format!("exec {line}")]);
        let path = format!("{}:{}", self.site.bin().display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("HOME", self.site.home());
        command
    }

    /// Runs `init`, and answers its questions in this order.
    fn begin(&mut self, line: &str) -> Session {
        let urls = [
            ("https://api.example/v1", self.site.simulator.origin()),
            ("https://login.example/oauth/token", self.site.simulator.token_url()),
            ("https://login.example/oauth/authorize", self.site.simulator.authorize_url()),
            ("YOUR-CLIENT-ID", CLIENT_ID.to_owned()),
            ("/PATH-OF-A-GET", format!("{}/version", self.flavour.api_prefix())),
            ("/users", format!("{}/version", self.flavour.api_prefix())),
        ];
        let line = urls.iter().fold(line.to_owned(), |line, (document, real)| line.replace(document, real));
        self.commands += 1;
        Session::start(self.shell(&line))
    }

    /// The URLs of this server, which replace those of a profile.
    fn urls(&self, authorize: bool) -> String {
        let simulator = &self.site.simulator;
        let urls = format!(" --upstream-url {} --token-url {}", simulator.origin(), simulator.token_url());
        if authorize { format!("{urls} --authorize-url {}", simulator.authorize_url()) } else { urls }
    }

    async fn logs_in(&self, session: &mut Session) {
        let url = self.site.simulator.authorize_url();
        session.shows(&url).await;
        session.shows("press Enter. Nothing is shown.").await;
        let screen = session.screen.borrow().clone();
        let start = screen.find(&url).unwrap();
        let shown = screen[start..].split(char::is_control).next().unwrap();
        browser(shown).await;
    }

    /// `init` ends with a 200, and the documents' `serve` answers the next request from the stored grant.
    #[allow(clippy::print_stdout, reason = "its figures")]
    async fn ends(mut self, mut session: Session, path: &str, serve: &str) {
        session.shows(&format!("GET {path}: 200 OK")).await;
        let (commands, took) = (self.commands, self.began.elapsed());
        session.shows("# Is it working?").await;
        assert!(session.ended().await.success(), "{}", *session.screen.borrow());
        assert!(!session.screen.borrow().contains(CLIENT_SECRET));
        assert!(commands <= COMMANDS && took <= TIME, "{commands} commands, {took:?}");
        println!("{commands} command, {took:.1?} to the first 200");

        let (exports, last) = serve.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(last, "bearer-proxy serve");
        self.commands += 1;
        let home = self.site.home().display().to_string();
        let script = format!("cd {home}\n{exports}\nexec {} serve", self.site.program().display());
        let words = [self.site.user().wrapper(), ["sh", "-euc", &script].map(str::to_owned).to_vec()].concat();
        let serving = Serving::start(&words, &[]).await;
        assert_eq!(serving.get(path).await, 200);
        assert_eq!(self.site.simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);
        assert!(self.commands <= COMMANDS, "{} commands", self.commands);
    }
}

async fn answer(session: &mut Session, answers: &[Answer]) {
    for (question, answer) in answers {
        session.answers(question, answer).await;
    }
}

fn read(page: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap()
}

/// The first block after a heading, on one line for each command.
fn block(page: &str, heading: &str) -> String {
    let (_, rest) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let (_, rest) = rest.split_once("```").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split("```").next().unwrap().replace("\\\n", "")
}

#[tokio::test]
async fn the_quick_start_with_a_login_ends_in_a_200() {
    let block = block(&read("README.md"), "### I must log in");
    let (init, serve) = block.split_once('\n').unwrap();
    for user in User::all() {
        let mut reader = Reader::new(user, Options::league9()).await;
        let mut session = reader.begin(&format!("{init}{}", reader.urls(true)));
        answer(&mut session, &[("Choice [1]:", "passolution"), ID, SECRET, REDIRECT_URI]).await;
        reader.logs_in(&mut session).await;
        reader.ends(session, "/api/v2/account/subscription", serve).await;
    }
}

#[tokio::test]
async fn the_tutorial_for_passolution_with_a_login_ends_in_a_200() {
    let page = read("docs/tutorials/passolution.md");
    let (init, serve) = (block(&page, "## 2. Configure, and send a first request"), block(&page, "## 3. Run"));
    for user in User::all() {
        let mut reader = Reader::new(user, Options::league9()).await;
        let mut session = reader.begin(&format!("{}{}", init.trim_end(), reader.urls(true)));
        answer(&mut session, &[("Choice [1]:", "login"), ID, SECRET, REDIRECT_URI]).await;
        reader.logs_in(&mut session).await;
        reader.ends(session, "/api/v2/account/subscription", &serve).await;
    }
}

#[tokio::test]
async fn the_tutorial_for_another_server_with_a_login_ends_in_a_200() {
    let page = read("docs/tutorials/another-server.md");
    let (init, serve) = (block(&page, "## 2. Configure, and send a first request"), block(&page, "## 3. Run"));
    // As the table below the block says. A person is asked for the secret.
    let login = "--grant login --authorize-url https://login.example/oauth/authorize";
    assert!(page.contains(&format!("`{login}`")), "the row of the login");
    let init = init.replace("--grant refresh_token", login).replace("--refresh-token-file refresh-token.txt", "");
    let init = init.replace("--client-secret-file client-secret", "");
    for user in User::all() {
        let mut reader = Reader::new(user, Options::rfc6749()).await;
        let mut session = reader.begin(init.trim_end());
        answer(&mut session, &[SECRET, REDIRECT_URI]).await;
        reader.logs_in(&mut session).await;
        reader.ends(session, "/api/v2/version", &serve).await;
    }
}

#[tokio::test]
async fn the_tutorial_for_priava_ends_in_a_200() {
    let page = read("docs/tutorials/priava.md");
    let (init, serve) = (block(&page, "## 1. Configure and log in"), block(&page, "## 2. Run"));
    for user in User::all() {
        let mut reader = Reader::new(user, Options::priava()).await;
        let mut session = reader.begin(&format!("{}{}", init.trim_end(), reader.urls(false)));
        answer(&mut session, &[SECRET]).await;
        session.shows("Paste it here, and press Enter.").await;
        // The code that Priava's user interface shows.
        session.types(&format!("{}\r", reader.site.simulator.code("https://app.example/callback", None)));
        reader.ends(session, &format!("{}/version", Flavour::Priava.api_prefix()), &serve).await;
    }
}
