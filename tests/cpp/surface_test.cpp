// SPDX-License-Identifier: MIT OR Apache-2.0
// Runs the programs in surface/, as built with either set of include lines, against itself and the other.

#include <string>

#include "check.hpp"
#include "process.hpp"

namespace {

const std::string programs[] = {PROGRAM_WITH_SHM_NAMES, PROGRAM_WITH_SHADESMAR_NAMES};
const std::string rpc_programs[] = {RPC_PROGRAM_WITH_SHM_NAMES, RPC_PROGRAM_WITH_SHADESMAR_NAMES};

// What `receiving` prints of the messages that `sending` publishes.
std::string exchange(const std::string& from, const std::string& sending, const std::string& to,
                     const std::string& receiving) {
    check::process publisher(from, {sending});
    check::process subscriber(to, {receiving});
    CHECK_EQUAL(subscriber.read_line(), "ready");
    publisher.write_line("go");
    const std::string output = subscriber.finish();
    publisher.write_line("leave");
    publisher.finish();
    return output;
}

}  // namespace

TEST(messages_travel_between_both_spellings) {
    std::string expected;
    for (int i = 0; i < 10; ++i) {
        expected += std::to_string(i) + " " + std::to_string(i) + " 0 inner 1\n";
    }
    for (const auto& from : programs) {
        for (const auto& to : programs) {
            CHECK_EQUAL(exchange(from, "publisher", to, "subscriber"), expected);
            CHECK_EQUAL(exchange(from, "publisher", to, "subscriber_with_extra_copy"), expected);
        }
    }
}

TEST(bytes_travel_between_both_spellings) {
    std::string expected;
    for (int i = 0; i < 10; ++i) expected += "1024 x\n";
    for (const auto& from : programs) {
        for (const auto& to : programs) {
            CHECK_EQUAL(exchange(from, "bin_publisher", to, "bin_subscriber"), expected);
            CHECK_EQUAL(exchange(from, "bin_publisher_without_copier", to,
                                 "bin_subscriber_with_own_copier"),
                        expected);
        }
    }
}

TEST(functions_are_called_between_both_spellings) {
    for (const auto& serving : rpc_programs) {
        for (const auto& calling : rpc_programs) {
            check::process server(serving, {"server"});
            CHECK_EQUAL(server.read_line(), "ready");
            CHECK_EQUAL(check::process(calling, {"client"}).finish(), "9\n1\n3\n5\n");
            server.finish();

            check::process serving_on(serving, {"serving_server"});
            CHECK_EQUAL(serving_on.read_line(), "ready");
            CHECK_EQUAL(check::process(calling, {"fmadd_client"}).finish(), "-2.75\n");
            serving_on.write_line("stop");
            serving_on.finish();
        }
    }
}
