// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

// Shadesmar's name for <shm/subscriber.hpp>, with the standard headers that came with it.

#include <shadesmar/memory/copier.h>
#include <shadesmar/message.h>
#include <shm/subscriber.hpp>

#include <cstdint>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
