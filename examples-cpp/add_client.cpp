// SPDX-License-Identifier: MIT OR Apache-2.0
// Calls the function of add_server, the last time with an argument too few.

#include "example.hpp"

#include <shm/client.hpp>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <exception>

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/add");
    shm::client_options options;
    options.wait_for_server = true;
    shm::rpc::FunctionCaller add(args.topic, options);

    std::int64_t n = 0;
    for (; n + 1 < static_cast<std::int64_t>(args.count); ++n) {
        std::printf("add(%" PRId64 ", %" PRId64 ") = %" PRId64 "\n", n, n + 1,
                    add(n, n + 1).as<std::int64_t>());
    }
    try {
        add(n);
    } catch (const shm::remote_error& e) {
        std::printf("add(%" PRId64 ") failed: %d %s\n", n, static_cast<int>(e.remote_code()), e.what());
    }
} catch (const std::exception& e) {
    std::fprintf(stderr, "add_client: %s\n", e.what());
    return 1;
}
