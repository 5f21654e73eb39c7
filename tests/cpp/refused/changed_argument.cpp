// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/server.hpp>

void offer() {
    shm::rpc::Function<void(int&)> function("name", [](int& n) { ++n; });
}
