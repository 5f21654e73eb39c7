// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/subscriber.hpp>

#include <string>

const std::string* read(const shm::sample& sample) { return sample.as<std::string>(); }
