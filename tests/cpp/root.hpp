// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

namespace check {

// A directory of topics of its own for this process and those it starts; removed at the end.
class temporary_root {
public:
    temporary_root() {
        if (::mkdtemp(path_.data()) == nullptr) {
            throw std::system_error(errno, std::generic_category(), path_);
        }
        ::setenv("SHM_ROOT", path_.c_str(), 1);
    }
    temporary_root(const temporary_root&) = delete;
    temporary_root& operator=(const temporary_root&) = delete;
    ~temporary_root() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

private:
    std::string path_ = "/dev/shm/shm-cpp-test-XXXXXX";
};

}  // namespace check
