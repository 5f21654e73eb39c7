// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#ifdef SHADESMAR_NAMES
#include <shadesmar/message.h>
#else
#include <shm/message.hpp>
#endif

class InnerMessage : public shm::BaseMsg {
  public:
    int inner_val{};
    std::string inner_str{};
    SHM_PACK(inner_val, inner_str);

    InnerMessage() = default;
};

class CustomMessage : public shm::BaseMsg {
  public:
    int val{};
    std::vector<int> arr;
    InnerMessage im;
    SHM_PACK(val, arr, im);

    explicit CustomMessage(int n) {
      val = n;
      for (int i = 0; i < 1000; ++i) {
        arr.push_back(val);
      }
    }

    CustomMessage() = default;
};
