// SPDX-License-Identifier: MIT OR Apache-2.0
//! include/shm/shm.h is what src/ffi says. `SHM_UPDATE_HEADER=1 cargo test --test header` writes it.

use std::fs;
use std::path::Path;

/// The files of src/ffi that have something for the header, in its order.
const SOURCES: [&str; 26] = [
    "version",
    "status",
    "error",
    "options",
    "publisher",
    "loan",
    "subscriber",
    "sample",
    "dlpack",
    "service_options",
    "client",
    "request_loan",
    "pending",
    "reply",
    "server",
    "request",
    "reply_loan",
    "copier",
    "copier_cpu",
    "copier_cuda",
    "stream_publisher",
    "device_publisher",
    "device_loan",
    "device_subscriber",
    "device_sample",
    "upkeep",
];

fn source(name: &str) -> String {
    format!("{}/src/ffi/{name}.rs", env!("CARGO_MANIFEST_DIR"))
}

/// The licence, a warning, and the contract for C callers: the module documentation of src/ffi/mod.rs.
fn head() -> String {
    let module = fs::read_to_string(source("mod")).expect("src/ffi/mod.rs");
    let contract = module.lines().filter_map(|line| line.strip_prefix("//!"));
    let contract: String = contract.map(|line| format!(" *{line}\n")).collect();
    format!(
        "/* SPDX-License-Identifier: MIT OR Apache-2.0 */\n\
         /* Generated from src/ffi: don't edit. SHM_UPDATE_HEADER=1 cargo test --test header writes it. */\n\n\
         /**\n * @file\n{contract} */"
    )
}

fn generate() -> String {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("cbindgen.toml");
    let mut config = cbindgen::Config::from_file(config).expect("cbindgen.toml");
    config.header = Some(head());
    let builder =
        SOURCES.iter().fold(cbindgen::Builder::new(), |builder, name| builder.with_src(source(name)));
    let mut header = Vec::new();
    builder.with_config(config).generate().expect("src/ffi parses").write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn the_header_is_what_the_source_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/shm/shm.h");
    let generated = generate();
    if std::env::var_os("SHM_UPDATE_HEADER").is_some() {
        fs::write(&path, &generated).expect("include/shm/shm.h can be written");
    }
    let checked_in = fs::read_to_string(&path).expect("include/shm/shm.h");
    let different = checked_in.lines().zip(generated.lines()).find(|(old, new)| old != new);
    assert!(
        checked_in == generated,
        "include/shm/shm.h is stale (first difference: {different:?}); SHM_UPDATE_HEADER=1 cargo test --test header writes it"
    );
}

#[test]
fn every_function_is_in_the_header_once() {
    let header = generate();
    let sources = fs::read_dir(Path::new(&source("mod")).parent().expect("src/ffi")).expect("src/ffi");
    for file in sources {
        let text = fs::read_to_string(file.expect("an entry").path()).expect("a source");
        let functions = text.lines().filter(|line| line.starts_with("pub "));
        let functions =
            functions.filter_map(|line| line.split_once("extern \"C\" fn ")).map(|(_, rest)| rest);
        for name in functions.filter_map(|rest| rest.split('(').next()) {
            assert_eq!(header.matches(&format!("{name}(")).count(), 1, "{name} in the header");
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let header = generate();
    let number = |name: &str| {
        let define = format!("#define {name} ");
        header.lines().find_map(|line| line.strip_prefix(&define)).expect("a version macro").to_owned()
    };
    let version = ["SHM_VERSION_MAJOR", "SHM_VERSION_MINOR", "SHM_VERSION_PATCH"].map(number).join(".");
    assert_eq!(version, env!("CARGO_PKG_VERSION").split(['-', '+']).next().expect("a version"));
}

/// DLPack's own, which its header defines.
const FOREIGN: [&str; 2] = ["struct DLManagedTensor;", "struct DLManagedTensorVersioned;"];

/// Every name that the header gives to the preprocessor or the linker begins with shm_ or SHM_.
#[test]
fn the_header_keeps_to_its_names() {
    for line in generate().lines().filter(|line| !FOREIGN.contains(line)) {
        let name = if let Some(define) = line.strip_prefix("#define ") {
            define.split(' ').next()
        } else if line.starts_with([' ', '/', '#', '}']) || line.is_empty() {
            None
        } else if let Some((_, pointer)) = line.split_once("typedef void (*") {
            pointer.split(')').next()
        } else {
            line.split('(')
                .next()
                .and_then(|start| start.split([' ', '*', ';']).rfind(|word| !word.is_empty()))
        };
        if let Some(name) = name.filter(|&name| !["{", "\"C\""].contains(&name)) {
            assert!(name.starts_with("shm_") || name.starts_with("SHM_"), "{name} in {line:?}");
        }
    }
}
