// SPDX-License-Identifier: MIT OR Apache-2.0
// Receives messages with fields, one call of a function each.

#include "custom_message.hpp"
#include "example.hpp"

#include <cstdio>
#include <exception>
#include <memory>

namespace {

void print(unsigned long n, const CustomMessage& message) {
    std::string values;
    for (const std::int32_t value : message.values) {
        values += (values.empty() ? "" : ",") + std::to_string(value);
    }
    std::printf("received %lu seq=%u val=%d values=%s name=%s inner=%d,%s\n", n, message.seq,
                message.val, values.c_str(), message.name.c_str(), message.inner.inner_val,
                message.inner.inner_str.c_str());
}

}  // namespace

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/message");
    unsigned long n = 0;
    shm::pubsub::Subscriber<CustomMessage, 64> subscriber(
        args.topic, [&](const std::shared_ptr<CustomMessage>& message) { print(n, *message); });
    example::acknowledger ack(args.topic);
    ack.say("ready");

    for (; n < args.count; ++n) {
        if (!subscriber.spin_once(example::patience)) throw std::runtime_error("no message came");
    }
    ack.say("done");
} catch (const std::exception& e) {
    std::fprintf(stderr, "message_subscriber: %s\n", e.what());
    return 1;
}
