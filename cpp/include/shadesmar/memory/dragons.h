// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

// Shadesmar's name for <shm/cpu_copier.hpp>.

#include <shadesmar/memory/copier.h>
#include <shm/cpu_copier.hpp>
