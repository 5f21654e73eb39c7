// SPDX-License-Identifier: MIT OR Apache-2.0
// Publishes bytes: "hello 0", "hello 1", and so on.

#include "example.hpp"

#include <cstdio>
#include <exception>

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/raw");
    shm::publisher publisher(args.topic);
    example::acks acks(args.topic);
    acks.wait_for("ready");

    for (unsigned long n = 0; n < args.count; ++n) {
        const std::string text = "hello " + std::to_string(n);
        publisher.publish(text.data(), text.size()).value();
    }
    std::printf("published %lu\n", args.count);

    acks.wait_for("done");
} catch (const std::exception& e) {
    std::fprintf(stderr, "raw_publisher: %s\n", e.what());
    return 1;
}
