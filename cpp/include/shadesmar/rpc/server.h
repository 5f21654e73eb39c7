// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

// Shadesmar's name for <shm/server.hpp>, with the standard headers that came with it.
//
// What its programs compile to here, but with another effect (more in client.h):
// - `serve_once` waits for a call, serves it, and returns true; false once `stop` was called.
// - What a function throws, and arguments that aren't its, don't end the server: its caller is told.
// - A function is served from one thread at a time, but for `stop`: `serve(threads)` makes several.

#include <shm/server.hpp>

#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
