// SPDX-License-Identifier: MIT OR Apache-2.0
// Services as bytes: clients, servers, and how calls end. tests/cpp/function_test.cpp has the typed ones.
#include <shm/shm.hpp>

#include <chrono>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "messages.hpp"

using namespace std::chrono_literals;

namespace {

static_assert(check::moves_only<shm::client> && check::moves_only<shm::server>);
static_assert(check::moves_only<shm::pending> && check::moves_only<shm::reply>);
static_assert(check::moves_only<shm::request_loan> && check::moves_only<shm::reply_loan>);
static_assert(check::moves_only<shm::request>);
static_assert(check::moves_only<shm::rpc::Result>);

template <typename Bytes>
std::string text_of(const Bytes& bytes) {
    return {static_cast<const char*>(bytes.data()), bytes.size()};
}

shm::pending send(shm::client& client, const std::string& text) {
    return client.send(text.data(), text.size()).value();
}

shm::status reply(shm::request& request, const std::string& text) {
    return request.reply(text.data(), text.size());
}

}  // namespace

TEST(requests_and_replies_of_bytes) {
    shm::client client("bytes");
    shm::server server("bytes");
    CHECK(client && server && client.get() != nullptr && server.get() != nullptr);
    CHECK_EQUAL(server.try_receive().status(), shm::status::would_block);
    CHECK_EQUAL(server.receive_for(1ms).status(), shm::status::timed_out);
    shm::pending first = send(client, "one"), second = send(client, "two");
    CHECK_EQUAL(first.try_reply().status(), shm::status::would_block);
    CHECK_EQUAL(first.wait_for(1ms).status(), shm::status::timed_out);
    shm::request one = server.receive().value(), two = server.receive_for(10s).value();
    CHECK_EQUAL(text_of(one), "one");
    CHECK(reinterpret_cast<std::uintptr_t>(one.data()) % 64 == 0 && !one.is_cancelled());
    CHECK_EQUAL(reply(two, "zwei"), shm::status::ok);
    CHECK(!two && two.data() == nullptr && two.size() == 0);
    CHECK_EQUAL(reply(two, "zwei"), shm::status::null_argument);
    CHECK_EQUAL(reply(one, "eins"), shm::status::ok);
    const shm::reply answered = second.wait().value();
    CHECK_EQUAL(text_of(answered), "zwei");
    CHECK_EQUAL(second.try_reply().status(), shm::status::end);
    CHECK(!second.try_reply().error());
    CHECK_EQUAL(text_of(first.wait_for(10s).value()), "eins");
}

TEST(written_in_place_and_grown) {
    shm::client client("place");
    shm::server server("place");
    shm::request_loan loan = client.loan(8).value();
    std::memcpy(loan.data(), "12345678", 8);
    CHECK_EQUAL(loan.resize(100000), shm::status::ok);
    CHECK(loan.size() == 100000 && loan.capacity() >= 100000);
    static_cast<char*>(loan.data())[99999] = 'z';
    CHECK_EQUAL(loan.resize(std::numeric_limits<std::size_t>::max()), shm::status::too_large);
    shm::pending pending = loan.send().value();
    CHECK(!loan && loan.data() == nullptr);
    CHECK_EQUAL(loan.send().status(), shm::status::null_argument);

    shm::request request = server.try_receive().value();
    CHECK_EQUAL(text_of(request).substr(0, 8), "12345678");
    CHECK_EQUAL(text_of(request).back(), 'z');
    CHECK_EQUAL(request.loan(std::numeric_limits<std::size_t>::max()).status(), shm::status::too_large);
    CHECK(static_cast<bool>(request));
    shm::reply_loan room = request.loan(4).value();
    CHECK(!request && room.request().size() == 100000);
    std::memcpy(room.data(), room.request().data(), 4);
    CHECK_EQUAL(room.resize(70000), shm::status::ok);
    CHECK_EQUAL(room.send(), shm::status::ok);
    CHECK(!room && !room.request());
    CHECK_EQUAL(room.send(), shm::status::null_argument);
    const shm::reply reply = pending.wait().value();
    CHECK(reply.size() == 70000 && text_of(reply).substr(0, 4) == "1234");
}

TEST(a_dropped_reply_loan_gives_the_request_up) {
    shm::client client("dropped");
    shm::server server("dropped");
    shm::pending pending = send(client, "x");
    { const shm::reply_loan room = server.try_receive().value().loan(1).value(); }
    CHECK_EQUAL(pending.wait().status(), shm::status::no_reply);
    pending = send(client, "x");
    server.try_receive().value().release();
    CHECK_EQUAL(pending.wait().status(), shm::status::no_reply);
    pending = send(client, "x");
    shm::reply_loan room = server.try_receive().value().loan(1).value();
    CHECK_EQUAL(room.fail(3, "three"), shm::status::ok);
    CHECK_EQUAL(pending.wait().status(), shm::status::remote);
    pending = send(client, "x");
    room = server.try_receive().value().loan(1).value();
    room = shm::reply_loan(nullptr, shm::request(nullptr));
    CHECK_EQUAL(pending.wait().status(), shm::status::no_reply);
}

TEST(remote_errors_have_a_code_and_words) {
    shm::client client("remote");
    shm::server server("remote");
    shm::pending pending = send(client, "x");
    CHECK_EQUAL(server.receive().value().fail(42, "no such bin"), shm::status::ok);
    auto failed = pending.wait();
    CHECK_EQUAL(failed.status(), shm::status::remote);
    bool thrown = false;
    try {
        failed.value();
    } catch (const shm::remote_error& e) {
        thrown = true;
        CHECK_EQUAL(e.remote_code(), 42);
        CHECK_EQUAL(std::string(e.what()), "no such bin");
        CHECK_EQUAL(e.status(), shm::status::remote);
        CHECK(e.code() == shm::status::remote);
    }
    CHECK(thrown);
    CHECK_STATUS(end, pending.wait().value());
}

TEST(calls_that_wait) {
    shm::client client("call");
    CHECK_EQUAL(client.call("x", 1).status(), shm::status::no_server);
    CHECK(client.call("x", 1).error() == std::errc::connection_refused);
    shm::server server("call");
    const auto start = std::chrono::steady_clock::now();
    CHECK_EQUAL(client.call_for("x", 1, 1ms).status(), shm::status::timed_out);
    CHECK(std::chrono::steady_clock::now() - start < 10s);
    // It was cancelled, and is nobody's request any more.
    CHECK_EQUAL(server.try_receive().status(), shm::status::would_block);
    std::thread serving([&] {
        for (int i = 0; i < 2; ++i) static_cast<void>(server.receive().value().reply("pong", 4));
    });
    const std::string called = text_of(client.call("ping", 4).value());
    const std::string called_for = text_of(client.call_for("ping", 4, 10s).value());
    serving.join();
    CHECK_EQUAL(called, "pong");
    CHECK_EQUAL(called_for, "pong");
}

TEST(a_server_learns_that_its_call_was_cancelled) {
    shm::client client("cancel");
    shm::server server("cancel");
    shm::pending pending = send(client, "x");
    shm::request request = server.receive().value();
    CHECK(!request.is_cancelled());
    pending.cancel();
    CHECK(!pending && request.is_cancelled());
    CHECK_EQUAL(reply(request, "late"), shm::status::cancelled);
    CHECK(!request);
    CHECK(make_error_code(shm::status::cancelled) == std::errc::operation_canceled);
}

TEST(several_replies_to_one_request) {
    shm::client client("stream");
    shm::server server("stream");
    std::thread serving([&] {
        shm::request request = server.receive().value();
        for (int part = 0; part < 20; ++part) static_cast<void>(request.send_part(&part, sizeof part));
        static_cast<void>(request.finish());
    });
    shm::pending pending = send(client, "x");
    int parts = 0;
    while (const auto reply = pending.wait()) {
        if (*reply->as<int>() == parts) ++parts;
    }
    serving.join();
    CHECK_EQUAL(parts, 20);
    CHECK_EQUAL(pending.wait().status(), shm::status::end);
}

TEST(parts_in_time) {
    shm::client client("time");
    shm::server server("time");
    shm::pending pending = send(client, "x");
    shm::request request = server.receive().value();
    CHECK_EQUAL(request.send_part_for("1", 1, 0ms), shm::status::ok);
    CHECK_EQUAL(request.send_part_for("2", 1, 1ms), shm::status::timed_out);
    CHECK_EQUAL(request.finish_for(1ms), shm::status::timed_out);
    CHECK_EQUAL(request.fail_for(1, "no", 1ms), shm::status::timed_out);
    CHECK(request);
    shm::reply_loan part = request.loan(1).value();
    std::memcpy(part.data(), "2", 1);
    CHECK_EQUAL(part.send_part_for(1ms).status(), shm::status::timed_out);
    CHECK(part && !request);
    CHECK_EQUAL(text_of(pending.wait().value()), "1");
    request = part.send_part_for(10s).value();
    CHECK(!part && request);
    CHECK_EQUAL(text_of(pending.wait().value()), "2");
    part = request.loan(1).value();
    std::memcpy(part.data(), "3", 1);
    request = part.send_part().value();
    CHECK_EQUAL(text_of(pending.wait().value()), "3");
    CHECK_EQUAL(request.finish_for(10s), shm::status::ok);
    CHECK(!request);
    CHECK_EQUAL(pending.wait().status(), shm::status::end);

    pending = send(client, "x");
    request = server.receive().value();
    CHECK_EQUAL(request.send_part("1", 1), shm::status::ok);
    part = request.loan(1).value();
    pending.cancel();
    CHECK_EQUAL(part.send_part_for(10s).status(), shm::status::cancelled);
    CHECK(!part && !part.request());
}

TEST(who_gives_a_time_waits_for_room) {
    shm::client_options options;
    options.capacity = 2;
    shm::client client("room", options);
    shm::server server("room");
    shm::rpc::FunctionCaller caller("room");
    std::vector<shm::pending> pendings;
    for (int i = 0; i < 2; ++i) pendings.push_back(send(client, "x"));
    CHECK_EQUAL(client.send("x", 1).status(), shm::status::queue_full);
    CHECK_EQUAL(client.call_for("x", 1, 1ms).status(), shm::status::timed_out);
    shm::request_loan loan = client.loan(1).value();
    CHECK_EQUAL(loan.call_for(1ms).status(), shm::status::timed_out);
    CHECK(!loan);
    CHECK_EQUAL(loan.call_for(1ms).status(), shm::status::null_argument);
    CHECK(!caller.call_for<int>(1ms, 1));
    std::thread serving([&] {
        std::this_thread::sleep_for(5ms);
        for (int i = 0; i < 5; ++i) static_cast<void>(server.receive().value().reply("\1", 1));
    });
    loan = client.loan(1).value();
    const std::string called = text_of(loan.call().value());
    const int first = caller.call<int>(1);
    const std::optional<int> second = caller.call_for<int>(10s, 1);
    serving.join();
    CHECK_EQUAL(called, "\1");
    CHECK(first == 1 && second == 1);
}

TEST(plain_data_and_messages) {
    shm::client client("kinds");
    shm::server server("kinds");
    const double number = 1.5;
    shm::pending pending = client.send(&number, sizeof number).value();
    shm::request request = server.receive().value();
    CHECK(request.as<double>() != nullptr && *request.as<double>() == 1.5 && request.as<int>() == nullptr);
    CHECK_STATUS(decode, request.message<Inner>());
    const unsigned char packed[] = {0x94, 7, 0, 5, 0xa2, 'h', 'i'};
    CHECK_EQUAL(request.reply(packed, sizeof packed), shm::status::ok);
    const shm::reply reply = pending.wait().value();
    const Inner inner = reply.message<Inner>();
    CHECK(inner.seq == 7 && inner.inner_val == 5 && inner.inner_str == "hi");
    CHECK(reply.as<double>() == nullptr);
    CHECK_STATUS(decode, reply.message<std::string>());
}

TEST(the_function_that_is_meant) {
    shm::client client("which");
    shm::server server("which");
    shm::request_loan loan = client.loan(0).value();
    CHECK_EQUAL(loan.set_function(std::string("a\0b", 3)), shm::status::invalid_name);
    CHECK_EQUAL(loan.set_function("foobar"), shm::status::ok);
    shm::pending pending = loan.send().value();
    CHECK_EQUAL(server.receive().value().function(), shm::function_number("foobar"));
    CHECK_EQUAL(shm::function_number("foobar"), 0x85944171f73967e8U);
    pending = send(client, "x");
    CHECK_EQUAL(server.receive().value().function(), 0U);
}

TEST(limits_are_statuses) {
    shm::client_options options;
    options.capacity = 2;
    options.calls = 3;
    options.holds = 1;
    options.wait_for_server = true;
    shm::client client("limits", options);
    std::vector<shm::pending> pendings;
    for (int i = 0; i < 2; ++i) pendings.push_back(send(client, "x"));
    shm::request_loan kept = client.loan(1).value();
    CHECK_EQUAL(kept.send().status(), shm::status::queue_full);
    CHECK(static_cast<bool>(kept));
    shm::server server("limits");
    shm::request held = server.receive().value();
    CHECK_EQUAL(server.try_receive().status(), shm::status::no_hold);
    pendings.push_back(kept.send().value());
    CHECK_EQUAL(client.send("x", 1).status(), shm::status::too_many_calls);
    held.release();
    shm::server_options larger;
    larger.calls = 4;
    std::error_code ec;
    CHECK(!shm::server("limits", larger, ec) && ec == shm::status::mismatch);
    CHECK_STATUS(mismatch, shm::server("limits", larger));
}

TEST(creation_throws_or_sets_a_code) {
    CHECK_STATUS(invalid_name, shm::client(""));
    CHECK_STATUS(invalid_name, shm::server(""));
    CHECK_STATUS(invalid_name, shm::client(std::string("a\0b", 3)));
    std::error_code ec;
    shm::client client("", ec);
    CHECK(ec == shm::status::invalid_name && !client);
    CHECK_EQUAL(client.send("x", 1).status(), shm::status::null_argument);
    CHECK_EQUAL(client.call("x", 1).status(), shm::status::null_argument);
    CHECK_EQUAL(client.loan(1).status(), shm::status::null_argument);
    shm::server server("", ec);
    CHECK(ec == shm::status::invalid_name && !server);
    CHECK_EQUAL(server.receive().status(), shm::status::null_argument);
    shm::server fine("fine", ec);
    CHECK(!ec && fine);
}

TEST(what_was_given_out_outlives_its_handle) {
    auto client = std::make_unique<shm::client>("outlives");
    auto server = std::make_unique<shm::server>("outlives");
    shm::pending pending = send(*client, "asked");
    shm::request request = server->receive().value();
    shm::request_loan loan = client->loan(1).value();
    client.reset();
    server.reset();
    CHECK_EQUAL(loan.send().status(), shm::status::closed);
    CHECK_EQUAL(text_of(request), "asked");
    CHECK_EQUAL(reply(request, "replied"), shm::status::ok);
    const shm::reply kept = pending.wait().value();
    pending.cancel();
    CHECK_EQUAL(text_of(kept), "replied");
}
