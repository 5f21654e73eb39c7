// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <chrono>

// The unit of a message's `timestamp`, as Shadesmar's programs ask for it.
#ifndef TIMESCALE
#define TIMESCALE std::chrono::nanoseconds
#define TIMESCALE_COUNT 1e9
#define TIMESCALE_NAME "nanoseconds"
#endif
