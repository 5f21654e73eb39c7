// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/subscriber.hpp>

shm::pubsub::Subscriber<int> subscriber("topic", [](const std::shared_ptr<int>&) {});
