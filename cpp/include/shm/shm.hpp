// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

/// @file
/// All of the library's C++ headers.

#include <shm/client.hpp>
#include <shm/copier.hpp>
#include <shm/device.hpp>
#include <shm/error.hpp>
#include <shm/message.hpp>
#include <shm/publisher.hpp>
#include <shm/server.hpp>
#include <shm/stream_publisher.hpp>
#include <shm/subscriber.hpp>
#include <shm/tensor.hpp>
#include <shm/upkeep.hpp>
