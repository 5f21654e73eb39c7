// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

// Shadesmar's name for <shm/client.hpp>, with the standard headers that came with it.
//
// What its programs compile to here, but with another effect (more in server.h):
// - A call throws `shm::error` when nobody serves the function, or its server dies; Shadesmar waited, for
//   ever if need be. With the option `wait_for_server` a call waits for a server to come.
// - A call throws `shm::remote_error` when the function threw, or takes other arguments.
// - The result owns what it holds, so it may be kept; it is an `rpc::Result`, of which `as` reads.
// - A caller is used by one thread at a time; threads that call together have one each.

#include <shm/client.hpp>

#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
