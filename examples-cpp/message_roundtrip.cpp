// SPDX-License-Identifier: MIT OR Apache-2.0
// Sends messages to an echo (examples/message_echo.rs) and compares what comes back on the topic
// "<topic>.back".

#include "custom_message.hpp"
#include "example.hpp"

#include <cstdio>
#include <exception>
#include <system_error>

namespace {

CustomMessage make(unsigned long n) {
    const auto number = static_cast<std::int32_t>(n);
    CustomMessage message;
    message.init_time(shm::SYSTEM);
    message.seq = static_cast<std::uint32_t>(n);
    message.val = -number;
    message.values.assign(n % 100, number);  // from no bytes to more than a first guess
    message.name = "message " + std::to_string(n);
    message.inner.inner_val = number * 2;
    message.inner.inner_str = "inner " + std::to_string(n);
    return message;
}

bool same(const CustomMessage& a, const CustomMessage& b) {
    return a.seq == b.seq && a.timestamp == b.timestamp && a.val == b.val && a.values == b.values &&
           a.name == b.name && a.inner.inner_val == b.inner.inner_val &&
           a.inner.inner_str == b.inner.inner_str;
}

}  // namespace

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/echo");
    CustomMessage sent;
    shm::pubsub::Subscriber<CustomMessage, 64> back(
        args.topic + ".back", [&](const std::shared_ptr<CustomMessage>& message) {
            if (!same(sent, *message)) throw std::runtime_error("another message came back");
        });
    shm::pubsub::Publisher<CustomMessage, 64> there(args.topic);

    for (unsigned long n = 0; n < args.count; ++n) {
        sent = make(n);
        if (!there.publish(sent)) throw std::system_error(there.last_error());
        if (!back.spin_once(example::patience)) throw std::runtime_error("no message came back");
    }
    std::printf("%lu messages went there and came back\n", args.count);
} catch (const std::exception& e) {
    std::fprintf(stderr, "message_roundtrip: %s\n", e.what());
    return 1;
}
