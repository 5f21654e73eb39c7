// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/message.hpp>

#include <string_view>
#include <vector>

class Borrowing : public shm::BaseMsg {
public:
    std::vector<std::string_view> names;
    SHM_PACK(names);
};
