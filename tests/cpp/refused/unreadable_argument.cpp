// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/server.hpp>

struct Plain {
    int value;
};

void offer() {
    shm::rpc::Function<int(Plain)> function("name", [](Plain plain) { return plain.value; });
}
