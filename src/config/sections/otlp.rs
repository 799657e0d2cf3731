//! Traces.

use url::Url;

use crate::config::address;
use crate::config::error::Topic;
use crate::config::key::url;
use crate::config::reader::Reader;
use crate::config::section::section;

section! {
    pub(super) struct Otlp in "otlp." {
        /// OTLP endpoint for traces. Has no effect in this version.
        endpoint: Option<Url> = url("an `http` or `https` URL") => parse_if_set(address::collector);
    }
}

pub(super) fn read(reader: &mut Reader) {
    if Otlp::read(reader).is_some_and(|otlp| otlp.endpoint.is_some()) {
        reader.warn_about(
            Topic::UnusedKey,
            "otlp.endpoint",
            "this version does not send traces; the key has no effect",
        );
    }
}
