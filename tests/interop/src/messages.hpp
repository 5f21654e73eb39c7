// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/message.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace interop {

class InnerMessage : public shm::BaseMsg {
public:
    std::int32_t value{};
    std::string text{};
    SHM_PACK(value, text);
    InnerMessage() = default;
};

class EverythingMessage : public shm::BaseMsg {
public:
    bool flag{};
    std::int8_t i8{};
    std::int16_t i16{};
    std::int32_t i32{};
    std::int64_t i64{};
    std::uint8_t u8{};
    std::uint16_t u16{};
    std::uint32_t u32{};
    std::uint64_t u64{};
    float f32{};
    double f64{};
    std::string text{};
    std::vector<std::uint8_t> blob{};
    std::vector<std::int64_t> integers{};
    std::vector<double> doubles{};
    std::vector<std::string> texts{};
    std::array<float, 3> point{};
    InnerMessage inner{};
    std::vector<InnerMessage> inners{};
    std::map<std::string, std::int64_t> counts{};
    std::map<std::uint32_t, InnerMessage> numbered{};
    SHM_PACK(flag, i8, i16, i32, i64, u8, u16, u32, u64, f32, f64, text, blob, integers, doubles,
             texts, point, inner, inners, counts, numbered);
    EverythingMessage() = default;
};

}  // namespace interop
