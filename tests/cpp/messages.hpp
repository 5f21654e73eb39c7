// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/message.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

class Empty : public shm::BaseMsg {
public:
    SHM_PACK()
};

class Inner : public shm::BaseMsg {
public:
    int inner_val{};
    std::string inner_str;
    SHM_PACK(inner_val, inner_str)
};

class Outer : public shm::BaseMsg {
public:
    int val{};
    std::vector<int> values;
    std::string name;
    Inner inner;
    SHM_PACK(val, values, name, inner);
};

class Everything : public shm::BaseMsg {
public:
    bool flag{};
    std::int8_t small{};
    std::uint64_t big{};
    float single{};
    double real{};
    std::vector<std::uint8_t> bytes;
    std::array<int, 3> triple{};
    std::map<std::string, int> counts;
    std::vector<Inner> inners;
    std::map<int, std::vector<Inner>> groups;
    std::optional<int> maybe;
    msgpack::type::ext extension;
    SHM_PACK(flag, small, big, single, real, bytes, triple, counts, inners, groups, maybe,
             extension);
};

// Inner as an earlier and as a later version of a program knows it.
class Earlier : public shm::BaseMsg {
public:
    int inner_val{};
    SHM_PACK(inner_val);
};
class Later : public shm::BaseMsg {
public:
    int inner_val{};
    std::string inner_str;
    int added = 7;
    SHM_PACK(inner_val, inner_str, added);
};

// Holds itself, so that bytes choose how deep it goes.
class Tree : public shm::BaseMsg {
public:
    std::vector<Tree> children;
    SHM_PACK(children);
};
