// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

// Shadesmar's name for <shm/message.hpp>, with the standard headers that came with it.

#include <shadesmar/macros.h>
#include <shm/message.hpp>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>
