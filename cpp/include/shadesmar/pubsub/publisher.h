// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

// Shadesmar's name for <shm/publisher.hpp>, with the standard headers that came with it.
//
// What its programs compile to here, but with another effect (more in subscriber.h):
// - `seq` and `timestamp` travel as the sender set them. `init_time` counts in nanoseconds, so
//   TIMESCALE, which was microseconds, is nanoseconds too.
// - A publisher is used by one thread at a time; threads that publish together have one each.

#include <shadesmar/memory/copier.h>
#include <shadesmar/message.h>
#include <shm/publisher.hpp>

#include <cstdint>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
