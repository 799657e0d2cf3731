//! The list of files.

/// A file of the page.
#[derive(Debug)]
pub(in crate::admin) struct File {
    pub(in crate::admin) path: &'static str,
    pub(super) media_type: &'static str,
    pub(super) gzip: &'static [u8],
}

macro_rules! file {
    ($path:literal, $name:literal, $media_type:literal) => {
        File { path: $path, media_type: $media_type, gzip: include_bytes!(concat!("assets/", $name, ".gz")) }
    };
}

/// Every file of the page. `/` is `index.html`.
pub(in crate::admin) const FILES: &[File] = &[
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/assets/actions.js", "actions.js", "text/javascript; charset=utf-8"),
    file!("/assets/api.js", "api.js", "text/javascript; charset=utf-8"),
    file!("/assets/charts.js", "charts.js", "text/javascript; charset=utf-8"),
    file!("/assets/dom.js", "dom.js", "text/javascript; charset=utf-8"),
    file!("/assets/icon.svg", "icon.svg", "image/svg+xml"),
    file!("/assets/lists.js", "lists.js", "text/javascript; charset=utf-8"),
    file!("/assets/login.js", "login.js", "text/javascript; charset=utf-8"),
    file!("/assets/main.js", "main.js", "text/javascript; charset=utf-8"),
    file!("/assets/parts.js", "parts.js", "text/javascript; charset=utf-8"),
    file!("/assets/scale.js", "scale.js", "text/javascript; charset=utf-8"),
    file!("/assets/stream.js", "stream.js", "text/javascript; charset=utf-8"),
    file!("/assets/style.css", "style.css", "text/css; charset=utf-8"),
    file!("/assets/time.js", "time.js", "text/javascript; charset=utf-8"),
    file!("/assets/view.js", "view.js", "text/javascript; charset=utf-8"),
    file!("/assets/words.js", "words.js", "text/javascript; charset=utf-8"),
];
