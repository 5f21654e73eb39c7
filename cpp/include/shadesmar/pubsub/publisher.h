// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

// Shadesmar's name for <shm/publisher.hpp>, with the standard headers that came with it.

#include <shadesmar/memory/copier.h>
#include <shadesmar/message.h>
#include <shm/publisher.hpp>

#include <cstdint>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
