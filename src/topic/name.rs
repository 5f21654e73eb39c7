// SPDX-License-Identifier: MIT OR Apache-2.0
//! The name of a topic or a service as a file name: every byte but letters, digits, `-`, `_` and inner `.` is percent-escaped, and before
//! a service's stands a `+`. No topic's begins with that, whatever it is called.

use std::fmt;

use percent_encoding::{percent_decode_str, utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};

use crate::error::{Error, Result};

/// What is escaped. A leading dot is too: names with one are the library's own.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The longest file name that Linux takes (NAME_MAX).
const LONGEST: usize = 255;

/// The directory of topic `name`.
pub(crate) fn escape(name: &str) -> Result<String> {
    let reason = if name.is_empty() {
        "it is empty; give it one character at least"
    } else if name.contains('\0') {
        "it contains a NUL byte; leave that out"
    } else {
        let mut escaped = utf8_percent_encode(name, ESCAPED).to_string();
        if escaped.starts_with('.') {
            escaped.replace_range(..1, "%2E");
        }
        if escaped.len() <= LONGEST {
            return Ok(escaped);
        }
        "it is longer than 255 bytes, where each byte but A-Z a-z 0-9 - _ . counts three times; shorten it"
    };
    Err(Error::InvalidName { name: name.chars().take(64).collect(), reason })
}

/// What a name in a root stands for. A topic and a service may have the same name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum Kind {
    /// Messages from publishers to subscribers.
    #[default]
    Topic,
    /// Calls from clients to servers.
    Service,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Topic => "topic",
            Kind::Service => "service",
        })
    }
}

/// A topic or a service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub struct Named {
    /// Which of them.
    pub kind: Kind,
    /// The name, as it was opened.
    pub name: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What the directories of services begin with: no topic's does, since it is escaped there.
const SERVICE: char = '+';

/// The directory of service `name`.
pub(crate) fn escape_service(name: &str) -> Result<String> {
    let file = format!("{SERVICE}{}", escape(name)?);
    if file.len() > LONGEST {
        let reason = "it is longer than 254 bytes, where each byte but A-Z a-z 0-9 - _ . counts three times; shorten it";
        return Err(Error::InvalidName { name: name.chars().take(64).collect(), reason });
    }
    Ok(file)
}

/// What the directory `file` is; `None` when it is neither a topic's nor a service's.
pub(crate) fn unescape(file: &str) -> Option<Named> {
    let (kind, escaped) = match file.strip_prefix(SERVICE) {
        Some(escaped) => (Kind::Service, escaped),
        None => (Kind::Topic, file),
    };
    let name = percent_decode_str(escaped).decode_utf8().ok()?.into_owned();
    (escape(&name).ok()? == escaped).then_some(Named { kind, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_file_names() {
        assert_eq!(escape("camera").unwrap(), "camera");
        assert_eq!(escape("/camera/left.raw").unwrap(), "%2Fcamera%2Fleft.raw");
        assert_eq!(escape("..").unwrap(), "%2E.");
        assert_eq!(escape("größe").unwrap(), "gr%C3%B6%C3%9Fe");
        assert_eq!(escape("a%b").unwrap(), "a%25b");
    }

    #[test]
    fn file_names_become_names_again() {
        for name in ["camera", "/camera/left.raw", "..", "größe", "a%b", " ", "+camera", "rpc:camera"] {
            let named = |kind| Named { kind, name: name.into() };
            assert_eq!(unescape(&escape(name).unwrap()), Some(named(Kind::Topic)));
            assert_eq!(unescape(&escape_service(name).unwrap()), Some(named(Kind::Service)));
        }
        for file in ["", ".new-0123", "a b", "a%2", "+", "++", "%61", "%ff", "%2f", "a%00"] {
            assert_eq!(unescape(file), None, "{file}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["", "a\0b", &"x".repeat(256), &"/".repeat(86), &"y".repeat(10_240)] {
            assert!(matches!(escape(name), Err(Error::InvalidName { .. })), "{name:?}");
        }
        assert!(escape(&"x".repeat(255)).is_ok());
    }
}
