// SPDX-License-Identifier: MIT OR Apache-2.0
//! A topic's name as a file name: every byte but letters, digits, `-`, `_` and inner `.` is percent-escaped.

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

/// The topic whose directory is `file`, or `rpc:` and the service; `None` when it is neither's.
pub(crate) fn unescape(file: &str) -> Option<String> {
    let escaped = file.strip_prefix(SERVICE).unwrap_or(file);
    let name = percent_decode_str(escaped).decode_utf8().ok()?.into_owned();
    (escape(&name).ok()? == escaped).then(|| if escaped == file { name } else { format!("rpc:{name}") })
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
        for name in ["camera", "/camera/left.raw", "..", "größe", "a%b", " "] {
            assert_eq!(unescape(&escape(name).unwrap()).unwrap(), name);
        }
        for file in ["", ".new-0123", "a b", "a%2", "%61", "%ff", "%2f", "a%00"] {
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
