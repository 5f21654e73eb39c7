/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef POSE_H
#define POSE_H

#include <stdint.h>

/* A plain struct is its own message: the same bytes in C, C++ and Rust (repr(C)). */
struct pose {
    uint64_t id;
    double x, y, z;
};

#endif
