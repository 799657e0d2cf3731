use super::{CLIENT, Files};

/// The text of a file, and its error.
#[rustfmt::skip]
const IN_A_FILE: &[(&str, &str)] = &[
    // Shape.
    ("colour = 1", "colour (file DIR/x.toml line 1): unknown key"),
    ("lsten = '127.0.0.1:1'", "lsten (file DIR/x.toml line 1): unknown key; did you mean listen?"),
    ("[upstream]\nurI = 'https://a.example'", "upstream.urI (file DIR/x.toml line 2): unknown key; did you mean upstream.url?"),
    ("[upsteam]\nurl = 'https://a.example'", "upsteam.url (file DIR/x.toml line 2): unknown key; did you mean upstream.url?"),
    ("client_id = 'x'", "client_id (file DIR/x.toml line 1): unknown key; did you mean oauth.client_id?"),
    ("'upstream.url' = 'https://a.example'", "upstream.url (file DIR/x.toml line 1): unknown key; did you mean upstream.url?"),
    ("[oauth.client]\nid = 'x'", "oauth.client (file DIR/x.toml line 1): unknown key; did you mean oauth.client_id?"),
    ("[[listen]]\na = 1", "listen (file DIR/x.toml line 1): invalid value: in an item, found a table; expected one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`"),
    ("oauth = 3", "oauth (file DIR/x.toml line 1): invalid value: not a section; expected a table `[oauth]`"),
    ("profile = true", "profile (file DIR/x.toml line 1): invalid value: found a boolean; expected `passolution`, `priava` or `custom`"),
    ("[oauth]\nclient_id = 12", "oauth.client_id (file DIR/x.toml line 2): invalid value: found an integer; expected printable ASCII characters, in quotes in the file"),
    ("guard.pass_cookies = 'true'", "guard.pass_cookies (file DIR/x.toml line 1): invalid value: found a text; expected `true` or `false`"),
    ("guard.max_connections = '5'", "guard.max_connections (file DIR/x.toml line 1): invalid value: found a text; expected a number from 1 to 1000000"),
    ("guard.hosts = 'a'", "guard.hosts (file DIR/x.toml line 1): invalid value: found a text; expected a list of host names and addresses, or `*`"),
    ("upstream.headers = 'a'", "upstream.headers (file DIR/x.toml line 1): invalid value: found a text; expected a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("not toml", "file DIR/x.toml line 1 column 5: not TOML: key with no value, expected `=`"),
    // Values.
    ("profile = 'other'", "profile (file DIR/x.toml line 1): invalid value `other`: expected `passolution`, `priava` or `custom`"),
    ("listen = ':8080'", "listen (file DIR/x.toml line 1): invalid value `:8080`: not an IP address with a port; expected one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`"),
    ("listen = ['127.0.0.1:1', 'unix:a']", "listen (file DIR/x.toml line 1): invalid value `unix:a`: the path does not begin with `/`; expected one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`"),
    ("listen_mode = '0888'", "listen_mode (file DIR/x.toml line 1): invalid value `0888`: expected an octal mode from `0` to `0777`, in quotes in the file"),
    ("listen_mode = '1777'", "listen_mode (file DIR/x.toml line 1): invalid value `1777`: expected an octal mode from `0` to `0777`, in quotes in the file"),
    ("via = 'my proxy'", "via (file DIR/x.toml line 1): invalid value `my proxy`: expected a token (RFC 9110 §5.6.2) of at most 128 characters"),
    ("outbound.proxy = 'socks5://a'", "outbound.proxy (file DIR/x.toml line 1): invalid value: not an `http` URL with a host; expected `http://[user:password@]host:port`, or `off`"),
    ("upstream.url = 'http://a.example'", "upstream.url (file DIR/x.toml line 1): invalid value: `http` is allowed only to a loopback address; expected an `https` URL, or an `http` one to a loopback address, without user name, password, query and fragment"),
    ("upstream.url = 'https://a.example?x'", "upstream.url (file DIR/x.toml line 1): invalid value: the URL has a query; expected an `https` URL, or an `http` one to a loopback address, without user name, password, query and fragment"),
    ("oauth.token_url = 'http://a.example'", "oauth.token_url (file DIR/x.toml line 1): invalid value: `http` is allowed only to a loopback address; expected an `https` URL, or an `http` one to a loopback address, without user name, password and fragment"),
    ("oauth.authorize_url = 'https://u@a.example'", "oauth.authorize_url (file DIR/x.toml line 1): invalid value: the URL has a user name or password; expected an `https` URL, or an `http` one to a loopback address, without user name, password and fragment"),
    ("oauth.redirect_uri = 'callback'", "oauth.redirect_uri (file DIR/x.toml line 1): invalid value: not an absolute URI; expected an absolute URI without fragment, as it is registered"),
    ("otlp.endpoint = 'collector:4317'", "otlp.endpoint (file DIR/x.toml line 1): invalid value: not a URL with a host; expected an `http` or `https` URL"),
    ("upstream.headers.Authorization = 'x'", "upstream.headers.Authorization (file DIR/x.toml line 1): invalid value: the proxy sets this field itself, or it belongs to one connection; expected a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("[oauth.headers]\nX-A = 'a'\nTE = 'x'", "oauth.headers.TE (file DIR/x.toml line 3): invalid value: the proxy sets this field itself, or it belongs to one connection; expected a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("oauth.headers = { 'a b' = 'x' }", "oauth.headers.a b (file DIR/x.toml line 1): invalid value: not a field name (RFC 9110 §5.1); expected a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("[oauth.parameters]\naudience = 'a'\nscope = 'x'", "oauth.parameters.scope (file DIR/x.toml line 3): invalid value: the protocol reserves this name: the proxy sets it itself, or it belongs to a response; expected a table of parameters and their values, such as `{ audience = \"https://api.example\" }`"),
    ("oauth.authorize_parameters = { State = 'x' }", "oauth.authorize_parameters.State (file DIR/x.toml line 1): invalid value: the protocol reserves this name: the proxy sets it itself, or it belongs to a response; expected a table of parameters and their values, such as `{ audience = \"https://api.example\" }`"),
    ("oauth.headers = { A = 'x', a = 'y' }", "oauth.headers (file DIR/x.toml line 1): invalid value: `a` is given twice (names are not case-sensitive); expected a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("oauth.headers = { A = 1 }", "oauth.headers (file DIR/x.toml line 1): invalid value: for `A`, found an integer; expected a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("upstream.http = 3", "upstream.http (file DIR/x.toml line 1): invalid value `3`: expected `auto`, `1` or `2`"),
    ("upstream.refusal = [200]", "upstream.refusal (file DIR/x.toml line 1): invalid value `200`: not a status from 300 to 599; expected a list of statuses from 300 to 599, each alone, with a path pattern for `Location`, or with the error of a Bearer challenge: `401`, `302 **/login`, `403 invalid_token`"),
    ("upstream.refusal = ['401 /a']", "upstream.refusal (file DIR/x.toml line 1): invalid value `401 /a`: a pattern for `Location` requires a redirect status; expected a list of statuses from 300 to 599, each alone, with a path pattern for `Location`, or with the error of a Bearer challenge: `401`, `302 **/login`, `403 invalid_token`"),
    ("upstream.default_accept = \"a\\nb\"", "upstream.default_accept (file DIR/x.toml line 1): invalid value `a\\nb`: a character is not allowed in a field value; expected a header value"),
    ("upstream.connect_timeout = '5'", "upstream.connect_timeout (file DIR/x.toml line 1): invalid value `5`: not a number with a unit (`ms`, `s`, `m`, `h` or `d`); expected a duration from 10ms to 10m, such as `250ms`, `5s`, `10m`, `2h` or `30d`"),
    ("upstream.connect_timeout = '0s'", "upstream.connect_timeout (file DIR/x.toml line 1): invalid value `0s`: out of range; expected a duration from 10ms to 10m, such as `250ms`, `5s`, `10m`, `2h` or `30d`"),
    ("upstream.connect_timeout = 5", "upstream.connect_timeout (file DIR/x.toml line 1): invalid value: found an integer; expected a duration from 10ms to 10m, such as `250ms`, `5s`, `10m`, `2h` or `30d`"),
    ("upstream.max_in_flight = 0", "upstream.max_in_flight (file DIR/x.toml line 1): invalid value `0`: out of range; expected a number from 1 to 1000000"),
    ("upstream.max_in_flight = -1", "upstream.max_in_flight (file DIR/x.toml line 1): invalid value: out of range; expected a number from 1 to 1000000"),
    ("upstream.replay_limit = '1MB'", "upstream.replay_limit (file DIR/x.toml line 1): invalid value `1MB`: not a number, alone or with a unit (`KiB`, `MiB` or `GiB`); expected a size from 0 to 1GiB, such as `64KiB`, `1MiB` or a number of bytes"),
    ("guard.max_header_size = 4096", "guard.max_header_size (file DIR/x.toml line 1): invalid value `4096`: out of range; expected a size from 8KiB to 16MiB, such as `64KiB`, `1MiB` or a number of bytes"),
    ("oauth.scope = 'a  b'", "oauth.scope (file DIR/x.toml line 1): invalid value `a  b`: expected scopes, separated by one space (RFC 6749 §3.3)"),
    ("refresh.margin = '0%'", "refresh.margin (file DIR/x.toml line 1): invalid value `0%`: out of range; expected a percentage of the lifetime from `1%` to `100%`, or a duration from 1s to 365d"),
    ("guard.allow = ['GET']", "guard.allow (file DIR/x.toml line 1): invalid value `GET`: not a method and a path; expected a list of `METHOD /path/pattern`; in a path, `*` matches one segment and `**` any number; as the method, `*` matches any"),
    ("guard.allow = ['get /a']", "guard.allow (file DIR/x.toml line 1): invalid value `get /a`: the method is in lower case, and methods are case-sensitive (RFC 9110 §9.1); expected a list of `METHOD /path/pattern`; in a path, `*` matches one segment and `**` any number; as the method, `*` matches any"),
    ("guard.hosts = ['*.example.com']", "guard.hosts (file DIR/x.toml line 1): invalid value `*.example.com`: expected a list of host names and addresses, or `*`"),
    ("guard.client_keys = ['canary']", "guard.client_keys (file DIR/x.toml line 1): invalid value: expected a list of SHA-256 digests, 64 hexadecimal digits each"),
    ("guard.client_keys = ['YOUR-KEYS-SHA-256-DIGEST']", "guard.client_keys (file DIR/x.toml line 1): invalid value: this is the placeholder of an example, so make a key and put its digest here; expected a list of SHA-256 digests, 64 hexadecimal digits each"),
    ("guard.client_keys = ['e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855']", "guard.client_keys (file DIR/x.toml line 1): invalid value: this is the digest of an empty key, which would admit everyone; expected a list of SHA-256 digests, 64 hexadecimal digits each"),
    ("guard.origins = ['app.example']", "guard.origins (file DIR/x.toml line 1): invalid value `app.example`: expected a list of origins, `scheme://host` with or without a port"),
    ("guard.origins = ['https://app.example/']", "guard.origins (file DIR/x.toml line 1): invalid value `https://app.example/`: expected a list of origins, `scheme://host` with or without a port"),
    ("guard.origins = ['*']", "guard.origins (file DIR/x.toml line 1): invalid value `*`: this would admit every page, so name the origins; expected a list of origins, `scheme://host` with or without a port"),
    ("guard.origins = ['null']", "guard.origins (file DIR/x.toml line 1): invalid value `null`: browsers send this for every sandboxed page and local file, so it identifies nobody; expected a list of origins, `scheme://host` with or without a port"),
    // A guard that was left empty.
    ("guard.allow = []", "guard.allow (file DIR/x.toml line 1): the value is empty, and without the key clients may request everything: set a value, or remove the key"),
    ("guard.allow = ['', '']", "guard.allow (file DIR/x.toml line 1): the value is empty, and without the key clients may request everything: set a value, or remove the key"),
    ("guard.allow = ''", "guard.allow (file DIR/x.toml line 1): the value is empty, and without the key clients may request everything: set a value, or remove the key"),
    ("guard.client_keys = ['']", "guard.client_keys (file DIR/x.toml line 1): the value is empty, and without the key clients need no key: set a value, or remove the key"),
    ("tls.client_ca_file = ''", "tls.client_ca_file (file DIR/x.toml line 1): the value is empty, and without the key clients need no certificate: set a value, or remove the key"),
    ("store.keys = []", "store.keys (file DIR/x.toml line 1): the value is empty, and without the key the grant is stored in plaintext: set a value, or remove the key"),
    ("store.keys_file = ''", "store.keys_file (file DIR/x.toml line 1): the value is empty, and without the key the grant is stored in plaintext: set a value, or remove the key"),
    ("[admin]\nlisten = '0.0.0.0:1'\nkey = ''", "admin.key (file DIR/x.toml line 3): the value is empty, and without the key anyone who reaches the admin listener may use it: set a value, or remove the key"),
    ("store.keys = ['AAAA']", "store.keys (file DIR/x.toml line 1): invalid value: a key does not have 32 bytes; expected a list of 32-byte keys in base64"),
    ("store.keys = ['!']", "store.keys (file DIR/x.toml line 1): invalid value: an item is not base64; expected a list of 32-byte keys in base64"),
    ("check.path = 'me'", "check.path (file DIR/x.toml line 1): invalid value `me`: the path does not begin with `/`; expected a path that begins with `/`, or nothing"),
    ("check.path = '/a b'", "check.path (file DIR/x.toml line 1): invalid value `/a b`: a character must be percent-encoded; expected a path that begins with `/`, or nothing"),
    ("runtime.event_batching = 1", "runtime.event_batching (file DIR/x.toml line 1): invalid value: found an integer; expected `true` or `false`"),
    ("store.path = '/var/'", "store.path (file DIR/x.toml line 1): invalid value `/var/`: the path is a directory; expected a path"),
    ("log.level = '3'", "log.level (file DIR/x.toml line 1): invalid value `3`: expected `error`, `warn`, `info`, `debug` or `trace`"),
    ("[oauth]\ngrant = 'static'\naccess_token = 'canary two'", "oauth.access_token (file DIR/x.toml line 3): invalid value: a blank, a line break or another character is not visible ASCII; expected visible ASCII characters"),
    ("oauth.refresh_token = \"canary\\n\"", "oauth.refresh_token (file DIR/x.toml line 1): invalid value: a line break or another character is not printable ASCII; expected printable ASCII characters"),
    // Rules between keys.
    ("tls.cert_file = 'a'", "tls.cert_file (file DIR/x.toml line 1): has no effect without tls.key_file: set both or neither"),
    ("tls.client_ca_file = 'a'", "tls.client_ca_file (file DIR/x.toml line 1): has no effect without TLS: set tls.cert_file and tls.key_file"),
    ("upstream.key_file = 'a'", "upstream.key_file (file DIR/x.toml line 1): has no effect without upstream.cert_file: set both or neither"),
    ("listen = '127.0.0.1:9901'", "admin.listen (default): `127.0.0.1:9901` collides with `127.0.0.1:9901` of listen: choose another port or path"),
    ("listen = ['unix:/a', 'unix:/a']", "listen (file DIR/x.toml line 1): `unix:/a` collides with `unix:/a` of listen: choose another port or path"),
    ("listen = [\"unix:/a\\nb\", \"unix:/a\\nb\"]", "listen (file DIR/x.toml line 1): `unix:/a\\nb` collides with `unix:/a\\nb` of listen: choose another port or path"),
    ("admin.key_file = \"/none\\nb\"", "admin.key_file (file DIR/x.toml line 1): the file /none\\nb cannot be read: No such file or directory (os error 2)"),
    ("probes.listen = '0.0.0.0:8080'", "probes.listen (file DIR/x.toml line 1): `0.0.0.0:8080` collides with `127.0.0.1:8080` of listen: choose another port or path"),
    ("admin.listen = '0.0.0.0:1'", "admin.listen (file DIR/x.toml line 1): the address is beyond loopback: set admin.key, or listen on a loopback address"),
    ("upstream.url = 'http://localhost:8080'", "upstream.url (file DIR/x.toml line 1): this is the proxy's own `listen`: every request would come back"),
    ("store.kind = 'memory'", "store.kind (file DIR/x.toml line 1): with `memory`, the end of the process would lose the grant: use `file` or `postgres`"),
    ("oauth.grant = 'static'", "oauth.access_token: missing: the token of the grant `static`; set it in the file, or as BEARER_PROXY_OAUTH__ACCESS_TOKEN or BEARER_PROXY_OAUTH__ACCESS_TOKEN_FILE"),
    ("admin.key_file = 'DIR/none'", "admin.key_file (file DIR/x.toml line 1): the file DIR/none cannot be read: No such file or directory (os error 2)"),
    ("admin.key_file = 'DIR'", "admin.key_file (file DIR/x.toml line 1): the file DIR cannot be read: Is a directory (os error 21)"),
    ("admin.key_file = 'DIR/empty'", "admin.key_file (file DIR/x.toml line 1): the file DIR/empty is empty: put the secret there"),
    ("store.keys_file = 'DIR/blank'", "store.keys_file (file DIR/x.toml line 1): the file contains only blanks: put one secret on each line"),
    ("[admin]\nkey = 'canary'\nkey_file = 'DIR/empty'", "admin.key (file DIR/x.toml line 3): set twice, also by file DIR/x.toml line 2: set only one of admin.key and admin.key_file"),
];

/// As above, if the build has the store.
#[cfg(feature = "postgres")]
#[rustfmt::skip]
const WITH_POSTGRES: &[(&str, &str)] = &[
    ("[store]\nkind = 'postgres'\nurl = 'mysql://canary'", "store.url (file DIR/x.toml line 3): invalid value: expected a `postgres://` or `postgresql://` URL"),
    ("[store]\nkind = 'postgres'\nurl = 'postgres://a'\nname = 'a b'", "store.name (file DIR/x.toml line 4): invalid value `a b`: expected 1 to 128 letters, digits, `.`, `_` and `-`"),
    ("store.kind = 'postgres'", "store.url: missing: the connection URL of the store `postgres`; set it in the file, or as BEARER_PROXY_STORE__URL or BEARER_PROXY_STORE__URL_FILE"),
];

/// One variable, and its error.
#[rustfmt::skip]
const IN_THE_ENVIRONMENT: &[(&str, &str, &str)] = &[
    ("BEARER_PROXY_LSTEN", "", "BEARER_PROXY_LSTEN (environment BEARER_PROXY_LSTEN): unknown key; did you mean BEARER_PROXY_LISTEN?"),
    ("BEARER_PROXY_OAUTH_CLIENT_ID", "x", "BEARER_PROXY_OAUTH_CLIENT_ID (environment BEARER_PROXY_OAUTH_CLIENT_ID): unknown key; did you mean BEARER_PROXY_OAUTH__CLIENT_ID?"),
    ("BEARER_PROXY_listen", "x", "BEARER_PROXY_listen (environment BEARER_PROXY_listen): unknown key"),
    ("BEARER_PROXY_GUARD__CLIENT_KEYS_FILE", "x", "BEARER_PROXY_GUARD__CLIENT_KEYS_FILE (environment BEARER_PROXY_GUARD__CLIENT_KEYS_FILE): unknown key; did you mean BEARER_PROXY_GUARD__CLIENT_KEYS?"),
    ("BEARER_PROXY_ADMIN_PORT_9901_TCP_ADDR", "x", "BEARER_PROXY_ADMIN_PORT_9901_TCP_ADDR (environment BEARER_PROXY_ADMIN_PORT_9901_TCP_ADDR): unknown key; if Kubernetes injects it, set enableServiceLinks: false in the pod"),
    ("BEARER_PROXY_LISTEN", "127.0.0.1:1, x", "listen (environment BEARER_PROXY_LISTEN): invalid value `x`: not an IP address with a port; expected one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`"),
    ("BEARER_PROXY_GUARD__ALLOW", "", "guard.allow (environment BEARER_PROXY_GUARD__ALLOW): the value is empty, and without the key clients may request everything: set a value, or remove the key"),
    ("BEARER_PROXY_GUARD__ALLOW", " , ", "guard.allow (environment BEARER_PROXY_GUARD__ALLOW): the value is empty, and without the key clients may request everything: set a value, or remove the key"),
    ("BEARER_PROXY_GUARD__CLIENT_KEYS", "", "guard.client_keys (environment BEARER_PROXY_GUARD__CLIENT_KEYS): the value is empty, and without the key clients need no key: set a value, or remove the key"),
    ("BEARER_PROXY_TLS__CLIENT_CA_FILE", "", "tls.client_ca_file (environment BEARER_PROXY_TLS__CLIENT_CA_FILE): the value is empty, and without the key clients need no certificate: set a value, or remove the key"),
    ("BEARER_PROXY_STORE__KEYS", ",", "store.keys (environment BEARER_PROXY_STORE__KEYS): the value is empty, and without the key the grant is stored in plaintext: set a value, or remove the key"),
    ("BEARER_PROXY_STORE__KEYS_FILE", "", "store.keys_file (environment BEARER_PROXY_STORE__KEYS_FILE): the value is empty, and without the key the grant is stored in plaintext: set a value, or remove the key"),
    ("BEARER_PROXY_ADMIN__KEY", "", "admin.key (environment BEARER_PROXY_ADMIN__KEY): the value is empty, and without the key anyone who reaches the admin listener may use it: set a value, or remove the key"),
    ("BEARER_PROXY_ADMIN__KEY_FILE", "", "admin.key_file (environment BEARER_PROXY_ADMIN__KEY_FILE): the value is empty, and without the key anyone who reaches the admin listener may use it: set a value, or remove the key"),
    ("BEARER_PROXY_GUARD__PASS_COOKIES", "yes", "guard.pass_cookies (environment BEARER_PROXY_GUARD__PASS_COOKIES): invalid value `yes`: expected `true` or `false`"),
    ("BEARER_PROXY_REFRESH__MAX_PER_HOUR", "many", "refresh.max_per_hour (environment BEARER_PROXY_REFRESH__MAX_PER_HOUR): invalid value `many`: not a whole number; expected a number from 0 to 100000"),
    ("BEARER_PROXY_OAUTH__HEADERS", "{A = canary}", "oauth.headers (environment BEARER_PROXY_OAUTH__HEADERS): invalid value: not inline TOML (string values must be quoted, expected literal string); expected a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("BEARER_PROXY_OAUTH__HEADERS", "'canary'", "oauth.headers (environment BEARER_PROXY_OAUTH__HEADERS): invalid value: found a text; expected a table of header names and their values, such as `{ TenantRegion = \"EU\" }`"),
    ("HTTPS_PROXY", "socks5://me:canary@a", "outbound.proxy (environment HTTPS_PROXY): invalid value: not an `http` URL with a host; expected `http://[user:password@]host:port`, or `off`"),
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
#[cfg(feature = "kubernetes")]
fn a_bad_value_of_the_kubernetes_store_is_named_too() {
    let folder = tempfile::tempdir().unwrap();
    let account = folder.path().to_str().unwrap();
    let pod = [
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("KUBERNETES_SERVICE_PORT", "443"),
        ("KUBERNETES_SERVICE_ACCOUNT_DIR", account),
    ];
    let kind = "[store]\nkind = 'kubernetes'\n";
    let errors = |toml: &str, pod: &[_]| Files::new().errors(&format!("{kind}{toml}"), &[&CLIENT[..], pod].concat());
    let outside = errors("", &[]);
    assert!(outside.len() == 1 && outside[0].contains("works only in a pod"), "{outside:?}");
    for (toml, expected) in [
        ("", "store.namespace: missing: this container has no file `namespace`"),
        ("namespace = 'A'", "store.namespace (file DIR/x.toml line 3): invalid value `A`"),
        ("namespace = 'a.b'", "store.namespace (file DIR/x.toml line 3): invalid value `a.b`"),
        ("namespace = 'a'\nname = '../b'", "store.name (file DIR/x.toml line 4): invalid value `../b`"),
        ("namespace = 'a'\nname = 'B'", "store.name (file DIR/x.toml line 4): invalid value `B`"),
    ] {
        let errors = errors(toml, &pod);
        assert!(errors.len() == 1 && errors[0].starts_with(expected), "{toml}: {errors:?}");
    }
}

#[test]
#[cfg(not(feature = "postgres"))]
fn a_store_that_the_build_lacks_is_named_so() {
    assert_eq!(
        Files::new().errors("[store]\nkind = 'postgres'\nurl = 'postgres://a'", &CLIENT),
        [
            "store.kind (file DIR/x.toml line 2): this build does not have `postgres` (cargo feature `postgres`): use `file`"
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
            "via (environment BEARER_PROXY_VIA): invalid value `a b`: expected a token (RFC 9110 §5.6.2) of at most 128 characters",
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
