// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/message.hpp>

#include <cstdint>
#include <string>
#include <vector>

class Inner : public shm::BaseMsg {
public:
    std::int32_t inner_val{};
    std::string inner_str;
    SHM_PACK(inner_val, inner_str);
};

class CustomMessage : public shm::BaseMsg {
public:
    std::int32_t val{};
    std::vector<std::int32_t> values;
    std::string name;
    Inner inner;
    SHM_PACK(val, values, name, inner);
};
