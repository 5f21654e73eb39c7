// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/publisher.hpp>

shm::pubsub::PublisherBin<12> publisher("topic");
