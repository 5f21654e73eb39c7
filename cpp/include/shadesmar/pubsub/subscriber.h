// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

// Shadesmar's name for <shm/subscriber.hpp>, with the standard headers that came with it.
//
// What its programs compile to here, but with another effect (more in publisher.h):
// - `seq` is what the sender set; Shadesmar's subscriber wrote its own count there. The count that
//   all subscribers of a topic share is the subscriber's `position()`.
// - `timestamp` is in nanoseconds, whatever TIMESCALE is defined as.
// - A subscriber is used by one thread at a time, but for `stop`.
// - A payload that isn't the message makes `spin_once` throw `shm::error`, and the next call goes on
//   with the next message. Besides msgpack's type errors, that is one with bytes after the message,
//   nested deeper than 128, or that memory doesn't hold; <shm/message.hpp> has the rules.

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
