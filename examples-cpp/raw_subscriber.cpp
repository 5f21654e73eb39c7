// SPDX-License-Identifier: MIT OR Apache-2.0
// Receives bytes, and reads them where they are.

#include "example.hpp"

#include <cstdio>
#include <exception>

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/raw");
    shm::subscriber subscriber(args.topic);
    example::acknowledger ack(args.topic);
    ack.say("ready");

    for (unsigned long n = 0; n < args.count; ++n) {
        const shm::sample sample = subscriber.receive_for(example::patience).value();
        const std::string_view text = example::text_of(sample);
        std::printf("received %lu %.*s\n", n, static_cast<int>(text.size()), text.data());
    }
    ack.say("done");
} catch (const std::exception& e) {
    std::fprintf(stderr, "raw_subscriber: %s\n", e.what());
    return 1;
}
