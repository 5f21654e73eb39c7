// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <cstdint>

struct Pose {
    std::uint64_t id;
    double x, y, z;
};
