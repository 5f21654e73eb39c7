// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

// Shadesmar's name for <shm/copier.hpp>, with the standard headers that came with it.

#include <shm/copier.hpp>

#include <cstdlib>
#include <cstring>
#include <memory>
