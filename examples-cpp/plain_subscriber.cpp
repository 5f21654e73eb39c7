// SPDX-License-Identifier: MIT OR Apache-2.0
// Receives plain data, and reads it where it is.

#include "example.hpp"
#include "pose.hpp"

#include <cinttypes>
#include <cstdio>
#include <exception>

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/plain");
    shm::subscriber subscriber(args.topic);
    example::acknowledger ack(args.topic);
    ack.say("ready");

    for (unsigned long n = 0; n < args.count; ++n) {
        const shm::sample sample = subscriber.receive_for(example::patience).value();
        const Pose* pose = sample.as<Pose>();
        if (pose == nullptr) throw std::runtime_error("a message is no pose");
        std::printf("received %lu id=%" PRIu64 " x=%g y=%g z=%g\n", n, pose->id, pose->x, pose->y,
                    pose->z);
    }
    ack.say("done");
} catch (const std::exception& e) {
    std::fprintf(stderr, "plain_subscriber: %s\n", e.what());
    return 1;
}
