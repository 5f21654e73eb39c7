// SPDX-License-Identifier: MIT OR Apache-2.0
// Publishes messages with fields, written as msgpack straight into shared memory.

#include "custom_message.hpp"
#include "example.hpp"

#include <cstdio>
#include <exception>
#include <system_error>

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/message");
    shm::pubsub::Publisher<CustomMessage, 64> publisher(args.topic);
    example::acks acks(args.topic);
    acks.wait_for("ready");

    for (unsigned long n = 0; n < args.count; ++n) {
        const auto number = static_cast<std::int32_t>(n);
        CustomMessage message;
        message.init_time(shm::SYSTEM);
        message.seq = static_cast<std::uint32_t>(n);
        message.val = number;
        message.values = {number, number + 1, number + 2};
        message.name = "message " + std::to_string(n);
        message.inner.inner_val = number * 2;
        message.inner.inner_str = "inner " + std::to_string(n);
        if (!publisher.publish(message)) throw std::system_error(publisher.last_error());
    }
    std::printf("published %lu\n", args.count);

    acks.wait_for("done");
} catch (const std::exception& e) {
    std::fprintf(stderr, "message_publisher: %s\n", e.what());
    return 1;
}
