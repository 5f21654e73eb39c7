// SPDX-License-Identifier: MIT OR Apache-2.0
// Offers a function to programs in any language.

#include "example.hpp"

#include <shm/server.hpp>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>

namespace {

std::int64_t add(std::int64_t a, std::int64_t b) { return a + b; }

}  // namespace

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/add");
    shm::rpc::Function<std::int64_t(std::int64_t, std::int64_t)> function(args.topic, add);
    for (unsigned long n = 0; n < args.count; ++n) {
        if (!function.serve_once(example::patience)) throw std::runtime_error("nobody called");
    }
    std::printf("served %lu\n", args.count);
} catch (const std::exception& e) {
    std::fprintf(stderr, "add_server: %s\n", e.what());
    return 1;
}
