//! How the value of a key is read, by its type.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;

use super::key::Kind;
use super::reader::Reader;
use crate::secret::Secret;

pub(super) trait Value: Sized {
    /// `None`: it is unset, or wrong and noted.
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self>;
}

/// A key that may be unset.
impl<T: Value> Value for Option<T> {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        if reader.is_set(name) { T::read(reader, name).map(Some) } else { Some(None) }
    }
}

impl Value for bool {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        reader.flag(name)
    }
}

impl Value for Duration {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        reader.duration(name)
    }
}

impl Value for u64 {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        match reader.key(name).kind {
            Kind::Count { .. } => reader.count(name),
            _ => reader.size(name),
        }
    }
}

impl Value for u32 {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        u64::read(reader, name).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }
}

impl Value for usize {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        u64::read(reader, name).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }
}

/// The range of the key excludes 0.
impl Value for NonZeroUsize {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        usize::read(reader, name).and_then(Self::new)
    }
}

impl Value for PathBuf {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        reader.file(name)
    }
}

impl Value for HeaderMap {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        reader.headers(name)
    }
}

impl Value for Vec<(String, Secret)> {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        reader.parameters(name)
    }
}
