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
pub(in crate::admin) const FILES: &[File] = &[file!("/", "index.html", "text/html; charset=utf-8")];
