use super::{CLIENT, Files};

/// The text of a file, and what is said of it.
#[rustfmt::skip]
const IN_A_FILE: &[(&str, &str)] = &[
    // Shape.
    ("colour = 1", "colour (file DIR/x.toml line 1): no such key"),
    ("lsten = '127.0.0.1:1'", "lsten (file DIR/x.toml line 1): no such key; did you mean listen?"),
    ("[upstream]\nurI = 'https://a.example'", "upstream.urI (file DIR/x.toml line 2): no such key; did you mean upstream.url?"),
    ("[upsteam]\nurl = 'https://a.example'", "upsteam.url (file DIR/x.toml line 2): no such key; did you mean upstream.url?"),
    ("client_id = 'x'", "client_id (file DIR/x.toml line 1): no such key; did you mean oauth.client_id?"),
    ("'upstream.url' = 'https://a.example'", "upstream.url (file DIR/x.toml line 1): no such key; did you mean upstream.url?"),
    ("[oauth.client]\nid = 'x'", "oauth.client (file DIR/x.toml line 1): no such key; did you mean oauth.client_id?"),
    ("[[listen]]\na = 1", "listen (file DIR/x.toml line 1): has an item that is a table; accepted: one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`"),
    ("oauth = 3", "oauth (file DIR/x.toml line 1): is no section; accepted: a table `[oauth]`"),
    ("profile = true", "profile (file DIR/x.toml line 1): is a boolean; accepted: `passolution`, `priava` or `custom`"),
    ("[oauth]\nclient_id = 12", "oauth.client_id (file DIR/x.toml line 2): is an integer; accepted: a text of printable ASCII characters, in quotes in the file"),
    ("guard.pass_cookies = 'true'", "guard.pass_cookies (file DIR/x.toml line 1): is a text; accepted: `true` or `false`"),
    ("guard.max_connections = '5'", "guard.max_connections (file DIR/x.toml line 1): is a text; accepted: a number from 1 to 1000000"),
    ("guard.hosts = 'a'", "guard.hosts (file DIR/x.toml line 1): is a text; accepted: a list of host names and addresses, or `*`"),
    ("upstream.headers = 'a'", "upstream.headers (file DIR/x.toml line 1): is a text; accepted: a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("not toml", "file DIR/x.toml line 1 column 5: not TOML: key with no value, expected `=`"),
    // Values.
    ("profile = 'other'", "profile (file DIR/x.toml line 1): `other` is none of them; accepted: `passolution`, `priava` or `custom`"),
    ("listen = ':8080'", "listen (file DIR/x.toml line 1): `:8080` is no IP address with a port; accepted: one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`"),
    ("listen = ['127.0.0.1:1', 'unix:a']", "listen (file DIR/x.toml line 1): `unix:a` has a path that does not begin with `/`; accepted: one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`"),
    ("listen_mode = '0888'", "listen_mode (file DIR/x.toml line 1): `0888` is no such mode; accepted: an octal mode from `0` to `0777`, in quotes in the file"),
    ("listen_mode = '1777'", "listen_mode (file DIR/x.toml line 1): `1777` is no such mode; accepted: an octal mode from `0` to `0777`, in quotes in the file"),
    ("via = 'my proxy'", "via (file DIR/x.toml line 1): `my proxy` is no such token; accepted: a token (RFC 9110 §5.6.2) of at most 128 characters"),
    ("outbound.proxy = 'socks5://a'", "outbound.proxy (file DIR/x.toml line 1): is no `http` URL; accepted: `http://[user:password@]host:port`, or `off`"),
    ("upstream.url = 'http://a.example'", "upstream.url (file DIR/x.toml line 1): is `http` to an address that is not loopback; accepted: an `https` URL, or an `http` one to a loopback address, without user name, password, query and fragment"),
    ("upstream.url = 'https://a.example?x'", "upstream.url (file DIR/x.toml line 1): has a query; accepted: an `https` URL, or an `http` one to a loopback address, without user name, password, query and fragment"),
    ("oauth.token_url = 'http://a.example'", "oauth.token_url (file DIR/x.toml line 1): is `http` to an address that is not loopback; accepted: an `https` URL, or an `http` one to a loopback address, without user name, password and fragment"),
    ("oauth.authorize_url = 'https://u@a.example'", "oauth.authorize_url (file DIR/x.toml line 1): has a user name or password; accepted: an `https` URL, or an `http` one to a loopback address, without user name, password and fragment"),
    ("oauth.redirect_uri = 'callback'", "oauth.redirect_uri (file DIR/x.toml line 1): is no absolute URI; accepted: an absolute URI without fragment, as it is registered"),
    ("otlp.endpoint = 'collector:4317'", "otlp.endpoint (file DIR/x.toml line 1): is no URL with a host; accepted: an `http` or `https` URL"),
    ("upstream.headers.Authorization = 'x'", "upstream.headers.Authorization (file DIR/x.toml line 1): is a field that the proxy sets itself, or that belongs to one connection; accepted: a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("[oauth.headers]\nX-A = 'a'\nTE = 'x'", "oauth.headers.TE (file DIR/x.toml line 3): is a field that the proxy sets itself, or that belongs to one connection; accepted: a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("oauth.headers = { 'a b' = 'x' }", "oauth.headers.a b (file DIR/x.toml line 1): is no field name (RFC 9110 §5.1); accepted: a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("[oauth.parameters]\naudience = 'a'\nscope = 'x'", "oauth.parameters.scope (file DIR/x.toml line 3): is reserved by the protocol: the proxy sets it itself, or it belongs to a response; accepted: a table of parameters and their values, such as `{ audience = \"https://api.example\" }`"),
    ("oauth.authorize_parameters = { State = 'x' }", "oauth.authorize_parameters.State (file DIR/x.toml line 1): is reserved by the protocol: the proxy sets it itself, or it belongs to a response; accepted: a table of parameters and their values, such as `{ audience = \"https://api.example\" }`"),
    ("oauth.headers = { A = 'x', a = 'y' }", "oauth.headers (file DIR/x.toml line 1): has `a` twice (case makes no difference); accepted: a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("oauth.headers = { A = 1 }", "oauth.headers (file DIR/x.toml line 1): has `A`, which is an integer; accepted: a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("upstream.http = 3", "upstream.http (file DIR/x.toml line 1): `3` is none of them; accepted: `auto`, `1` or `2`"),
    ("upstream.refusal = [200]", "upstream.refusal (file DIR/x.toml line 1): `200` names no status from 300 to 599; accepted: a list of a status from 300 to 599, alone, with a path pattern of `Location`, or with the error of a Bearer challenge: `401`, `302 **/login`, `403 invalid_token`"),
    ("upstream.refusal = ['401 /a']", "upstream.refusal (file DIR/x.toml line 1): `401 /a` has a pattern of `Location` on a status that is no redirect; accepted: a list of a status from 300 to 599, alone, with a path pattern of `Location`, or with the error of a Bearer challenge: `401`, `302 **/login`, `403 invalid_token`"),
    ("upstream.default_accept = \"a\\nb\"", "upstream.default_accept (file DIR/x.toml line 1): `a\\nb` holds a character that a field's value can't have; accepted: a header's value"),
    ("upstream.connect_timeout = '5'", "upstream.connect_timeout (file DIR/x.toml line 1): `5` is no number with a unit (`ms`, `s`, `m`, `h` or `d`); accepted: a duration from 10ms to 10m, such as `250ms`, `5s`, `10m`, `2h` or `30d`"),
    ("upstream.connect_timeout = '0s'", "upstream.connect_timeout (file DIR/x.toml line 1): `0s` is out of range; accepted: a duration from 10ms to 10m, such as `250ms`, `5s`, `10m`, `2h` or `30d`"),
    ("upstream.connect_timeout = 5", "upstream.connect_timeout (file DIR/x.toml line 1): is an integer; accepted: a duration from 10ms to 10m, such as `250ms`, `5s`, `10m`, `2h` or `30d`"),
    ("upstream.max_in_flight = 0", "upstream.max_in_flight (file DIR/x.toml line 1): `0` is out of range; accepted: a number from 1 to 1000000"),
    ("upstream.max_in_flight = -1", "upstream.max_in_flight (file DIR/x.toml line 1): is out of range; accepted: a number from 1 to 1000000"),
    ("upstream.replay_limit = '1MB'", "upstream.replay_limit (file DIR/x.toml line 1): `1MB` is no number, bare or with a unit (`KiB`, `MiB` or `GiB`); accepted: a size from 0 to 1GiB, such as `64KiB`, `1MiB` or a number of bytes"),
    ("guard.max_header_size = 4096", "guard.max_header_size (file DIR/x.toml line 1): `4096` is out of range; accepted: a size from 8KiB to 16MiB, such as `64KiB`, `1MiB` or a number of bytes"),
    ("oauth.scope = 'a  b'", "oauth.scope (file DIR/x.toml line 1): `a  b` is no such list; accepted: scopes, separated by one blank (RFC 6749 §3.3)"),
    ("refresh.margin = '0%'", "refresh.margin (file DIR/x.toml line 1): `0%` is out of range; accepted: a share of the lifetime from `1%` to `100%`, or a duration from 1s to 365d"),
    ("guard.allow = ['GET']", "guard.allow (file DIR/x.toml line 1): `GET` is not a method and a path; accepted: a list of `METHOD /path/pattern`, where `*` is one segment, `**` any number, and `*` as method any"),
    ("guard.allow = ['get /a']", "guard.allow (file DIR/x.toml line 1): `get /a` names a method in lower case, and methods are told apart by case (RFC 9110 §9.1); accepted: a list of `METHOD /path/pattern`, where `*` is one segment, `**` any number, and `*` as method any"),
    ("guard.hosts = ['*.example.com']", "guard.hosts (file DIR/x.toml line 1): `*.example.com` is no host; accepted: a list of host names and addresses, or `*`"),
    ("guard.client_keys = ['canary']", "guard.client_keys (file DIR/x.toml line 1): is no such digest; accepted: a list of SHA-256 digests, 64 hexadecimal digits each"),
    ("guard.client_keys = ['YOUR-KEYS-SHA-256-DIGEST']", "guard.client_keys (file DIR/x.toml line 1): is still the placeholder of an example: make a key, and put its digest here; accepted: a list of SHA-256 digests, 64 hexadecimal digits each"),
    ("guard.client_keys = ['e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855']", "guard.client_keys (file DIR/x.toml line 1): is the digest of an empty key, which would let everybody in; accepted: a list of SHA-256 digests, 64 hexadecimal digits each"),
    ("guard.origins = ['app.example']", "guard.origins (file DIR/x.toml line 1): `app.example` is no origin; accepted: a list of origins, `scheme://host` with or without a port"),
    ("guard.origins = ['https://app.example/']", "guard.origins (file DIR/x.toml line 1): `https://app.example/` is no origin; accepted: a list of origins, `scheme://host` with or without a port"),
    ("guard.origins = ['*']", "guard.origins (file DIR/x.toml line 1): `*` would admit every page: name the origins; accepted: a list of origins, `scheme://host` with or without a port"),
    ("guard.origins = ['null']", "guard.origins (file DIR/x.toml line 1): `null` is what a browser sends for every sandboxed page and local file: it names nobody; accepted: a list of origins, `scheme://host` with or without a port"),
    // A guard that is left empty.
    ("guard.allow = []", "guard.allow (file DIR/x.toml line 1): is empty, but unset it means that clients may ask for everything: give it a value, or remove it"),
    ("guard.allow = ['', '']", "guard.allow (file DIR/x.toml line 1): is empty, but unset it means that clients may ask for everything: give it a value, or remove it"),
    ("guard.allow = ''", "guard.allow (file DIR/x.toml line 1): is empty, but unset it means that clients may ask for everything: give it a value, or remove it"),
    ("guard.client_keys = ['']", "guard.client_keys (file DIR/x.toml line 1): is empty, but unset it means that clients need no key: give it a value, or remove it"),
    ("tls.client_ca_file = ''", "tls.client_ca_file (file DIR/x.toml line 1): is empty, but unset it means that clients need no certificate: give it a value, or remove it"),
    ("store.keys = []", "store.keys (file DIR/x.toml line 1): is empty, but unset it means that the grant is stored in plaintext: give it a value, or remove it"),
    ("store.keys_file = ''", "store.keys_file (file DIR/x.toml line 1): is empty, but unset it means that the grant is stored in plaintext: give it a value, or remove it"),
    ("[admin]\nlisten = '0.0.0.0:1'\nkey = ''", "admin.key (file DIR/x.toml line 3): is empty, but unset it means that whoever reaches the admin listener may use it: give it a value, or remove it"),
    ("store.keys = ['AAAA']", "store.keys (file DIR/x.toml line 1): has a key that is not of 32 bytes; accepted: a list of 32-byte keys in base64"),
    ("store.keys = ['!']", "store.keys (file DIR/x.toml line 1): has an item that is not base64; accepted: a list of 32-byte keys in base64"),
    ("check.path = 'me'", "check.path (file DIR/x.toml line 1): `me` does not begin with `/`; accepted: a path that begins with `/`, or nothing"),
    ("check.path = '/a b'", "check.path (file DIR/x.toml line 1): `/a b` contains a character that must be percent-encoded; accepted: a path that begins with `/`, or nothing"),
    ("runtime.event_batching = 1", "runtime.event_batching (file DIR/x.toml line 1): is an integer; accepted: `true` or `false`"),
    ("store.path = '/var/'", "store.path (file DIR/x.toml line 1): `/var/` is a directory; accepted: a path"),
    ("log.level = '3'", "log.level (file DIR/x.toml line 1): `3` is none of them; accepted: `error`, `warn`, `info`, `debug` or `trace`"),
    ("[oauth]\ngrant = 'static'\naccess_token = 'canary two'", "oauth.access_token (file DIR/x.toml line 3): holds a blank, a line break or another character that is not visible ASCII; accepted: visible ASCII characters"),
    ("oauth.refresh_token = \"canary\\n\"", "oauth.refresh_token (file DIR/x.toml line 1): holds a line break or another character that is not printable ASCII; accepted: printable ASCII characters"),
    // Rules between keys.
    ("tls.cert_file = 'a'", "tls.cert_file (file DIR/x.toml line 1): is of no use without tls.key_file: set both or none"),
    ("tls.client_ca_file = 'a'", "tls.client_ca_file (file DIR/x.toml line 1): is of no use without TLS: set tls.cert_file and tls.key_file"),
    ("upstream.key_file = 'a'", "upstream.key_file (file DIR/x.toml line 1): is of no use without upstream.cert_file: set both or none"),
    ("listen = '127.0.0.1:9901'", "admin.listen (default): `127.0.0.1:9901` can't be had beside `127.0.0.1:9901` of listen; choose another port or path"),
    ("listen = ['unix:/a', 'unix:/a']", "listen (file DIR/x.toml line 1): `unix:/a` can't be had beside `unix:/a` of listen; choose another port or path"),
    ("listen = [\"unix:/a\\nb\", \"unix:/a\\nb\"]", "listen (file DIR/x.toml line 1): `unix:/a\\nb` can't be had beside `unix:/a\\nb` of listen; choose another port or path"),
    ("admin.key_file = \"/none\\nb\"", "admin.key_file (file DIR/x.toml line 1): the file /none\\nb cannot be read: No such file or directory (os error 2)"),
    ("probes.listen = '0.0.0.0:8080'", "probes.listen (file DIR/x.toml line 1): `0.0.0.0:8080` can't be had beside `127.0.0.1:8080` of listen; choose another port or path"),
    ("admin.listen = '0.0.0.0:1'", "admin.listen (file DIR/x.toml line 1): is beyond the loopback: set admin.key too, or listen on a loopback address"),
    ("upstream.url = 'http://localhost:8080'", "upstream.url (file DIR/x.toml line 1): is this proxy's own `listen`: every request would come back to it"),
    ("store.kind = 'memory'", "store.kind (file DIR/x.toml line 1): `memory` would lose the refresh token with the process, and with it the grant; use `file` or `postgres`"),
    ("store.kind = 'kubernetes'", "store.kind (file DIR/x.toml line 1): `kubernetes` is not in this version; use `file` on one machine, or `postgres`"),
    ("oauth.grant = 'static'", "oauth.access_token: missing: the token of the grant `static`; set it in the file, or as BEARER_PROXY_OAUTH__ACCESS_TOKEN (or by a file: the same name and _file)"),
    ("admin.key_file = 'DIR/none'", "admin.key_file (file DIR/x.toml line 1): the file DIR/none cannot be read: No such file or directory (os error 2)"),
    ("admin.key_file = 'DIR'", "admin.key_file (file DIR/x.toml line 1): the file DIR cannot be read: Is a directory (os error 21)"),
    ("admin.key_file = 'DIR/empty'", "admin.key_file (file DIR/x.toml line 1): the file DIR/empty is empty; put the secret there"),
    ("store.keys_file = 'DIR/blank'", "store.keys_file (file DIR/x.toml line 1): the file holds nothing but blanks; put the secrets there, one a line"),
    ("[admin]\nkey = 'canary'\nkey_file = 'DIR/empty'", "admin.key (file DIR/x.toml line 3): given twice, also by file DIR/x.toml line 2; give one of admin.key and admin.key_file"),
];

/// As above, where the build has the store.
#[cfg(feature = "postgres")]
#[rustfmt::skip]
const WITH_POSTGRES: &[(&str, &str)] = &[
    ("[store]\nkind = 'postgres'\nurl = 'mysql://canary'", "store.url (file DIR/x.toml line 3): is no such URL; accepted: a `postgres://` or `postgresql://` URL"),
    ("[store]\nkind = 'postgres'\nurl = 'postgres://a'\nname = 'a b'", "store.name (file DIR/x.toml line 4): `a b` is no such name; accepted: 1 to 128 letters, digits, `.`, `_` and `-`"),
    ("store.kind = 'postgres'", "store.url: missing: the connection URL of the store `postgres`; set it in the file, or as BEARER_PROXY_STORE__URL (or by a file: the same name and _file)"),
];

/// One variable, and what is said of it.
#[rustfmt::skip]
const IN_THE_ENVIRONMENT: &[(&str, &str, &str)] = &[
    ("BEARER_PROXY_LSTEN", "", "BEARER_PROXY_LSTEN (environment BEARER_PROXY_LSTEN): no such key; did you mean BEARER_PROXY_LISTEN?"),
    ("BEARER_PROXY_OAUTH_CLIENT_ID", "x", "BEARER_PROXY_OAUTH_CLIENT_ID (environment BEARER_PROXY_OAUTH_CLIENT_ID): no such key; did you mean BEARER_PROXY_OAUTH__CLIENT_ID?"),
    ("BEARER_PROXY_listen", "x", "BEARER_PROXY_listen (environment BEARER_PROXY_listen): no such key"),
    ("BEARER_PROXY_GUARD__CLIENT_KEYS_FILE", "x", "BEARER_PROXY_GUARD__CLIENT_KEYS_FILE (environment BEARER_PROXY_GUARD__CLIENT_KEYS_FILE): no such key; did you mean BEARER_PROXY_GUARD__CLIENT_KEYS?"),
    ("BEARER_PROXY_ADMIN_PORT_9901_TCP_ADDR", "x", "BEARER_PROXY_ADMIN_PORT_9901_TCP_ADDR (environment BEARER_PROXY_ADMIN_PORT_9901_TCP_ADDR): no such key; if Kubernetes injects it, set enableServiceLinks: false in the pod"),
    ("BEARER_PROXY_LISTEN", "127.0.0.1:1, x", "listen (environment BEARER_PROXY_LISTEN): `x` is no IP address with a port; accepted: one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`"),
    ("BEARER_PROXY_GUARD__ALLOW", "", "guard.allow (environment BEARER_PROXY_GUARD__ALLOW): is empty, but unset it means that clients may ask for everything: give it a value, or remove it"),
    ("BEARER_PROXY_GUARD__ALLOW", " , ", "guard.allow (environment BEARER_PROXY_GUARD__ALLOW): is empty, but unset it means that clients may ask for everything: give it a value, or remove it"),
    ("BEARER_PROXY_GUARD__CLIENT_KEYS", "", "guard.client_keys (environment BEARER_PROXY_GUARD__CLIENT_KEYS): is empty, but unset it means that clients need no key: give it a value, or remove it"),
    ("BEARER_PROXY_TLS__CLIENT_CA_FILE", "", "tls.client_ca_file (environment BEARER_PROXY_TLS__CLIENT_CA_FILE): is empty, but unset it means that clients need no certificate: give it a value, or remove it"),
    ("BEARER_PROXY_STORE__KEYS", ",", "store.keys (environment BEARER_PROXY_STORE__KEYS): is empty, but unset it means that the grant is stored in plaintext: give it a value, or remove it"),
    ("BEARER_PROXY_STORE__KEYS_FILE", "", "store.keys_file (environment BEARER_PROXY_STORE__KEYS_FILE): is empty, but unset it means that the grant is stored in plaintext: give it a value, or remove it"),
    ("BEARER_PROXY_ADMIN__KEY", "", "admin.key (environment BEARER_PROXY_ADMIN__KEY): is empty, but unset it means that whoever reaches the admin listener may use it: give it a value, or remove it"),
    ("BEARER_PROXY_ADMIN__KEY_FILE", "", "admin.key_file (environment BEARER_PROXY_ADMIN__KEY_FILE): is empty, but unset it means that whoever reaches the admin listener may use it: give it a value, or remove it"),
    ("BEARER_PROXY_GUARD__PASS_COOKIES", "yes", "guard.pass_cookies (environment BEARER_PROXY_GUARD__PASS_COOKIES): `yes` is neither; accepted: `true` or `false`"),
    ("BEARER_PROXY_REFRESH__MAX_PER_HOUR", "many", "refresh.max_per_hour (environment BEARER_PROXY_REFRESH__MAX_PER_HOUR): `many` is no whole number; accepted: a number from 0 to 100000"),
    ("BEARER_PROXY_OAUTH__HEADERS", "{A = canary}", "oauth.headers (environment BEARER_PROXY_OAUTH__HEADERS): is not inline TOML: string values must be quoted, expected literal string; accepted: a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("BEARER_PROXY_OAUTH__HEADERS", "'canary'", "oauth.headers (environment BEARER_PROXY_OAUTH__HEADERS): is a text; accepted: a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("HTTPS_PROXY", "socks5://me:canary@a", "outbound.proxy (environment HTTPS_PROXY): is no `http` URL; accepted: `http://[user:password@]host:port`, or `off`"),
];

#[test]
fn a_bad_value_in_the_file_is_named_with_its_place_and_what_is_accepted() {
    let files = Files::new();
    files.write("empty", "\n");
    files.write("blank", " \n \n");
    for (toml, expected) in IN_A_FILE {
        assert_eq!(files.errors(toml, &CLIENT), [*expected], "{toml}");
    }
}

#[test]
#[cfg(feature = "postgres")]
fn a_bad_value_of_the_postgres_store_is_named_too() {
    for (toml, expected) in WITH_POSTGRES {
        assert_eq!(Files::new().errors(toml, &CLIENT), [*expected], "{toml}");
    }
}

#[test]
#[cfg(not(feature = "postgres"))]
fn a_store_that_the_build_lacks_is_named_so() {
    assert_eq!(
        Files::new().errors("[store]\nkind = 'postgres'\nurl = 'postgres://a'", &CLIENT),
        [
            "store.kind (file DIR/x.toml line 2): this build has no `postgres` (the cargo feature `postgres`); use `file`"
        ],
    );
}

#[test]
fn a_bad_variable_is_named_with_what_is_accepted() {
    for (name, value, expected) in IN_THE_ENVIRONMENT {
        let environment = [&CLIENT[..], &[(name, value)]].concat();
        assert_eq!(Files::new().errors("", &environment), [*expected], "{name}={value}");
    }
}

#[test]
fn a_value_of_the_wrong_shape_is_not_called_missing_too() {
    for (toml, key) in [
        ("[oauth]\nclient_id = 12\nclient_secret = 'x'", "oauth.client_id"),
        ("[oauth]\nclient_id = 'x'\nclient_secret = 12", "oauth.client_secret"),
        ("[oauth]\nclient_id = 'x'\nclient_secret_file = 12", "oauth.client_secret_file"),
        ("[oauth]\nclient_id = 'x'\nclient_secret_file = '/none'", "oauth.client_secret_file"),
        ("profile = 'custom'\noauth.grant = 'static'\noauth.access_token = 't'\nupstream.url = 1", "upstream.url"),
    ] {
        let errors = Files::new().errors(toml, &[]);
        assert!(errors.len() == 1 && errors[0].starts_with(&format!("{key} (")), "{toml}: {errors:?}");
    }
}

#[test]
fn all_errors_come_at_once() {
    let found = Files::new().errors(
        "colour = 1\nlisten = 'x'\n[upstream]\nconnect_timeout = '0s'\nrefusal = ['1', '2']\n[oauth]\ngrant = 'magic'\n\
         token_format = 'xml'\n[store]\nkind = 'cloud'\nname = 'a b'",
        &[("BEARER_PROXY_VIA", "a b"), ("BEARER_PROXY_NONE", "1")],
    );
    let keys: Vec<_> = found.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let expected = [
        "colour",
        "BEARER_PROXY_NONE",
        "listen",
        "via",
        "upstream.connect_timeout",
        "upstream.refusal",
        "upstream.refusal",
        "oauth.grant",
        "oauth.token_format",
        "store.kind",
        "store.name",
    ];
    let sorted = |mut keys: Vec<&str>| {
        keys.sort_unstable();
        keys.join(" ")
    };
    assert_eq!(sorted(keys), sorted(expected.to_vec()));
}

#[test]
fn a_file_that_can_not_be_read_does_not_make_its_keys_missing() {
    let files = Files::new();
    assert_eq!(
        files.errors("listen = \n[oauth]\nclient_id = 'x'", &[("BEARER_PROXY_VIA", "a b")]),
        [
            "file DIR/x.toml line 1 column 10: not TOML: string values must be quoted, expected literal string",
            "via (environment BEARER_PROXY_VIA): `a b` is no such token; accepted: a token (RFC 9110 §5.6.2) of at most 128 characters",
        ],
    );
    let none = crate::config::Sources::new(Some("/nowhere/x.toml".into()), [("A", "b")]);
    assert_eq!(
        crate::config::Config::load(&none).unwrap_err().to_string(),
        "file /nowhere/x.toml: cannot be read: No such file or directory (os error 2)",
    );
    files.write("binary", [0xff, 0xfe]);
    let binary = crate::config::Sources::new(Some(files.0.path().join("binary")), [("A", "b")]);
    assert!(
        crate::config::Config::load(&binary).unwrap_err().to_string().ends_with("stream did not contain valid UTF-8")
    );
}
