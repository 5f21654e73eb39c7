// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/publisher.hpp>

void publish(shm::publisher& publisher, float image) { publisher.publish_dlpack(image); }
