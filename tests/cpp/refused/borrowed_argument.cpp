// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/server.hpp>

#include <string_view>

void offer() {
    shm::rpc::Function<int(std::string_view)> function("name", [](std::string_view) { return 1; });
}
