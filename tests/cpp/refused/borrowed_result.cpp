// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/client.hpp>

#include <string_view>

std::string_view call(shm::rpc::FunctionCaller& caller) { return caller.call<std::string_view>(); }
