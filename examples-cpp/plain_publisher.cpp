// SPDX-License-Identifier: MIT OR Apache-2.0
// Publishes plain data, which is made in shared memory and never copied.

#include "example.hpp"
#include "pose.hpp"

#include <cstdio>
#include <exception>

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/plain");
    shm::publisher publisher(args.topic);
    example::acks acks(args.topic);
    acks.wait_for("ready");

    for (unsigned long n = 0; n < args.count; ++n) {
        const auto number = static_cast<double>(n);
        auto pose = publisher.loan_as<Pose>().value();
        pose->id = n;
        pose->x = number * 0.5;
        pose->y = number * 1.5;
        pose->z = number * 2.5;
        pose.publish().value();
    }
    std::printf("published %lu\n", args.count);

    acks.wait_for("done");
} catch (const std::exception& e) {
    std::fprintf(stderr, "plain_publisher: %s\n", e.what());
    return 1;
}
