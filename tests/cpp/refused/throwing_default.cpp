// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/publisher.hpp>

struct Throwing {
    int value;
    Throwing() { throw 1; }
};

void lend(shm::publisher& publisher) { static_cast<void>(publisher.loan_as<Throwing>()); }
