// SPDX-License-Identifier: MIT OR Apache-2.0
// Functions with arguments: what they get and give, what is said of mistakes, threads and processes.
#include <shm/shm.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <filesystem>
#include <cmath>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "messages.hpp"
#include "process.hpp"

using namespace std::chrono_literals;
using shm::rpc::Function;
using shm::rpc::FunctionCaller;
using shm::rpc::Service;

namespace {

// Serves in a thread of its own as long as it lives.
template <typename Served>
class served {
public:
    template <typename... Arguments>
    explicit served(Served& functions, Arguments... arguments)
        : functions_(functions), thread_([this, arguments...] {
              ended_ = check::thrown_by([&] { functions_.serve(arguments...); });
          }) {}
    // A check that failed already says more.
    ~served() {
        if (thread_.joinable() && stop() != shm::status::ok && std::uncaught_exceptions() == 0) std::terminate();
    }

    // What serving came to.
    shm::status stop() {
        functions_.stop();
        thread_.join();
        return ended_;
    }

private:
    Served& functions_;
    shm::status ended_ = shm::status::ok;
    std::thread thread_;
};

// The code and the words of the remote_error that `call` throws.
template <typename Call>
std::pair<int, std::string> failure_of(Call call) {
    try {
        call();
    } catch (const shm::remote_error& e) {
        return {e.remote_code(), e.what()};
    }
    return {0, "nothing was thrown"};
}

int add(int a, int b) { return a + b; }

class Unwritable {
public:
    template <typename Packer>
    void msgpack_pack(Packer& packer) const {
        packer.pack_array(2);
        throw std::runtime_error("half of it");
    }
};

}  // namespace

TEST(arguments_and_results_travel) {
    Function<int(int, int)> function("add", add);
    const served<Function<int(int, int)>> serving(function);
    FunctionCaller caller("add");
    CHECK_EQUAL(caller(4, 5).as<int>(), 9);
    CHECK_EQUAL(caller.call<int>(-4, 5L), 1);
    CHECK_EQUAL(caller.call_for<int>(10s, 1, 2).value(), 3);
    const auto result = caller(1, 1);
    CHECK(result.as<std::int64_t>() == 2 && result.as<double>() == 2.0);
    CHECK_STATUS(decode, result.as<std::string>());
    CHECK_STATUS(decode, result.as<void>());
}

TEST(all_kinds_of_arguments_and_results) {
    Service service("kinds");
    service.add<std::string(const std::string&, std::vector<std::string>)>(
        "join", [](const std::string& with, std::vector<std::string> texts) {
            std::string joined;
            for (const auto& one : texts) joined += (joined.empty() ? "" : with) + one;
            return joined;
        });
    service.add<std::map<std::string, int>(const std::map<std::string, int>&)>(
        "doubled", [](std::map<std::string, int> numbers) {
            for (auto& [name, number] : numbers) number *= 2;
            return numbers;
        });
    service.add<Outer(Inner, std::vector<Inner>&&)>("wrap", [](Inner one, std::vector<Inner>&& more) {
        Outer outer;
        outer.seq = 3;
        outer.inner = std::move(one);
        outer.val = static_cast<int>(more.size());
        return outer;
    });
    service.add<double(double)>("same", [](double x) { return x; });
    service.add<std::size_t(const std::string&)>("length", &std::string::size);
    service.add<std::string(std::size_t)>("long", [](std::size_t n) { return std::string(n, 'x'); });
    int calls = 0;
    service.add<void()>("count", [&] { ++calls; });
    const served<Service> serving(service);

    const auto call = [](const char* name) { return FunctionCaller("kinds", name); };
    const std::vector<std::string> texts{"a", "b"};
    CHECK_EQUAL(call("join").call<std::string>("-", texts), "a-b");
    using numbers = std::map<std::string, int>;
    const numbers given{{"a", 1}, {"b", 2}}, twice{{"a", 2}, {"b", 4}};
    CHECK(call("doubled").call<numbers>(given) == twice);
    Inner inner;
    inner.inner_str = "in";
    const auto wrapped = call("wrap").call<Outer>(inner, std::vector<Inner>(3));
    CHECK(wrapped.seq == 3 && wrapped.val == 3 && wrapped.inner.inner_str == "in");
    CHECK(std::signbit(call("same").call<double>(-0.0)));
    CHECK_EQUAL(call("same").call<double>(3), 3.0);
    // Both ways larger than what a loan begins with.
    CHECK_EQUAL(call("length").call<std::size_t>(std::string(1 << 20, 'x')), std::size_t{1} << 20);
    CHECK_EQUAL(call("long").call<std::string>(1 << 20).size(), std::size_t{1} << 20);
    call("count").call<void>();
    call("count")();
    CHECK(call("count").call_for<void>(10s));
    CHECK_EQUAL(calls, 3);
    CHECK((FunctionCaller::list("kinds") ==
           std::vector<std::string>{"count", "doubled", "join", "length", "long", "same", "wrap"}));
}

TEST(mistakes_are_said_to_the_caller) {
    Function<int(int, int)> function("add", add);
    const served<Function<int(int, int)>> serving(function);
    FunctionCaller caller("add");
    using failure = std::pair<int, std::string>;
    const auto check = [](const failure& found, const failure& expected) {
        CHECK_EQUAL(found.second, expected.second);
        CHECK_EQUAL(found.first, expected.first);
    };
    check(failure_of([&] { caller(1); }), {-32602, "add takes 2 arguments, but 1 were given"});
    check(failure_of([&] { caller(1, 2, 3); }), {-32602, "add takes 2 arguments, but 3 were given"});
    check(failure_of([&] { caller(); }), {-32602, "add takes 2 arguments, but 0 were given"});
    check(failure_of([&] { caller(1, "two"); }), {-32602, "add: argument 2 has another type"});
    check(failure_of([&] { caller(1LL << 40, 2); }), {-32602, "add: argument 1 has another type"});
    check(failure_of([] { FunctionCaller("add", "other")(1, 2); }),
          {-32601, "add has no function of that name"});

    shm::client client("add");
    const auto sent = [&](const std::string& bytes) {
        return failure_of([&] { client.call(bytes.data(), bytes.size()).value(); });
    };
    check(sent("\x07"), {-32602, "add takes an array of 2 arguments, but the request isn't one"});
    CHECK_EQUAL(sent("").first, -32602);
    CHECK_EQUAL(sent("\x92\x01").first, -32602);
    CHECK_EQUAL(sent("\x92\x01\x02\x03").first, -32602);
    CHECK_EQUAL(sent("\xdd\xff\xff\xff\xff").first, -32602);
    CHECK_EQUAL(sent(std::string(300, '\x91')).first, -32602);
    CHECK_EQUAL(sent("\xc1").first, -32602);
    CHECK_EQUAL(caller.call<int>(1, 2), 3);
    CHECK(FunctionCaller::list("add").empty());
}

TEST(what_a_function_throws_reaches_its_caller) {
    Service service("throws");
    service.add<int(int)>("exception", [](int n) -> int { throw std::runtime_error("no " + std::to_string(n)); });
    service.add<int()>("something", []() -> int { throw 5; });
    service.add<int()>("coded", []() -> int { throw shm::remote_error(42, "chosen"); });
    service.add<Unwritable()>("unwritable", [] { return Unwritable(); });
    service.add<std::string()>("fine", [] { return "fine"; });
    const served<Service> serving(service);
    const auto failure = [](const char* name, auto... arguments) {
        return failure_of([&] { FunctionCaller("throws", name)(arguments...); });
    };
    CHECK((failure("exception", 7) == std::pair<int, std::string>(-32603, "throws.exception threw: no 7")));
    CHECK((failure("something") == std::pair<int, std::string>(-32603, "throws.something threw: without words")));
    CHECK((failure("coded") == std::pair<int, std::string>(42, "chosen")));
    CHECK_EQUAL(failure("unwritable").first, -32603);
    CHECK(failure("unwritable").second.find("half of it") != std::string::npos);
    CHECK_EQUAL(FunctionCaller("throws", "fine").call<std::string>(), "fine");
    CHECK_STATUS(encode, FunctionCaller("throws", "fine")(Unwritable()));
}

TEST(results_larger_than_the_servers_memory_are_failures) {
    shm::server_options options;
    options.memory = 1 << 20;
    Function<std::string(std::size_t)> function(
        "large", [](std::size_t n) { return std::string(n, 'x'); }, options);
    const served<Function<std::string(std::size_t)>> serving(function);
    FunctionCaller caller("large");
    CHECK_EQUAL(failure_of([&] { caller(8 << 20); }).first, -32603);
    CHECK_EQUAL(caller.call<std::string>(10), std::string(10, 'x'));
}

TEST(names_of_functions) {
    Service service("names");
    service.add<int(int, int)>("add", add);
    const std::function<int()> none;
    CHECK_STATUS(invalid_name, service.add<int(int, int)>("add", add));
    CHECK_STATUS(invalid_name, service.add<int(int, int)>("", add));
    CHECK_STATUS(invalid_name, service.add<int(int, int)>("shm.list", add));
    CHECK_STATUS(invalid_name, service.add<int(int, int)>(std::string("a\0b", 3), add));
    CHECK_STATUS(invalid_name, service.add<int(int, int)>("\xff", add));
    CHECK_STATUS(null_argument, service.add<int()>("none", none));
    CHECK_STATUS(null_argument, Function<int()>("none", none));
    CHECK_STATUS(invalid_name, Function<int(int, int)>("", add));
    CHECK_STATUS(invalid_name, FunctionCaller("names", std::string("a\0b", 3)));
    CHECK_STATUS(no_server, FunctionCaller("nobody")(1));
    std::error_code ec;
    Function<int(int, int)> unmade("", add, ec);
    CHECK(ec == shm::status::invalid_name);
    CHECK_STATUS(null_argument, unmade.serve());
    FunctionCaller caller("", ec);
    CHECK(ec == shm::status::invalid_name);
    CHECK_STATUS(null_argument, caller(1));
    Function<int()> empty("empty", none, ec);
    CHECK(ec == shm::status::null_argument);
    CHECK_STATUS(null_argument, empty.serve());
    FunctionCaller fine("names", "add", ec);
    CHECK(!ec);
}

TEST(deadlines) {
    Function<int(int, int)> function("slow", add);
    FunctionCaller caller("slow");
    CHECK(!caller.call_for<int>(1ms, 1, 2).has_value());
    CHECK(!caller.call_for<void>(0ms, 1, 2));
    // Both were cancelled before anybody saw them.
    CHECK(!function.serve_once(0ms));
    CHECK(!function.serve_once(30ms));
    std::thread calling([&] { caller.call<int>(1, 2); });
    CHECK(function.serve_once());
    calling.join();
    std::thread again([&] { caller.call<int>(1, 2); });
    CHECK(function.serveOnce());
    again.join();
}

TEST(stopping) {
    Function<int(int, int)> function("stop", add);
    bool has_served = true;
    std::thread waiting([&] { has_served = function.serve_once(); });
    std::this_thread::sleep_for(5ms);
    const auto start = std::chrono::steady_clock::now();
    function.stop();
    waiting.join();
    CHECK(!has_served);
    CHECK(std::chrono::steady_clock::now() - start < 5s);
    function.serve();
    function.serve(3);
    CHECK(!function.serve_once(10s));

    // A function stops its own service.
    Service service("own");
    service.add<void()>("stop", [&] { service.stop(); });
    std::thread serving([&] { service.serve(2); });
    FunctionCaller("own", "stop").call<void>();
    serving.join();
}

// The destructor ends what other threads serve, and only then takes the functions away.
TEST(the_destructor_waits_for_serving) {
    std::atomic<int> begun{0}, ended{0};
    auto service = std::make_unique<Service>("destroyed");
    service->add<void()>("slow", [&] {
        ++begun;
        std::this_thread::sleep_for(50ms);
        ++ended;
    });
    std::thread serving([&s = *service] { s.serve(); });
    std::thread calling([] { FunctionCaller("destroyed", "slow").call<void>(); });
    while (begun == 0) std::this_thread::yield();
    service.reset();
    CHECK_EQUAL(ended.load(), 1);
    calling.join();
    serving.join();
}

TEST(threads_share_the_load) {
    std::atomic<int> together{0}, most{0};
    Function<int(int)> function("threads", [&](int n) {
        const int now = ++together;
        int seen = most;
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        std::this_thread::sleep_for(1ms);
        --together;
        return n + 1;
    });
    std::atomic<int> wrong{0};
    {
        const served<Function<int(int)>> serving(function, std::size_t{3});
        std::vector<std::thread> callers;
        for (int t = 0; t < 4; ++t) {
            callers.emplace_back([&wrong, t] {
                FunctionCaller caller("threads");
                for (int i = 0; i < 50; ++i) {
                    if (caller.call<int>(t * 1000 + i) != t * 1000 + i + 1) ++wrong;
                }
            });
        }
        for (auto& one : callers) one.join();
    }
    CHECK_EQUAL(wrong.load(), 0);
    CHECK(most > 1);
}

TEST(an_error_in_one_thread_ends_all) {
    shm::server_options options;
    options.participants = 2;
    Function<int(int, int)> function("full", add, options);
    CHECK_STATUS(no_participant, function.serve(3));
}

// Replies that nobody takes, until the server has no memory for one more.
TEST(one_request_that_fails_is_given_up_and_serving_goes_on) {
    shm::server_options options;
    options.memory = 17 << 10;
    Function<std::string(std::size_t)> function(
        "large", [](std::size_t n) { return std::string(n, 'x'); }, options);
    served<Function<std::string(std::size_t)>> serving(function);
    shm::client client("large");
    std::vector<shm::pending> all;
    for (int i = 0; i < 60; ++i) all.push_back(client.send("\x91\x0a", 2).value());  // (10)
    FunctionCaller caller("large");
    // Behind them; without memory for its reply it has none either.
    const shm::status behind = check::thrown_by([&] { static_cast<void>(caller.call_for<std::string>(5s, 1)); });
    CHECK(behind == shm::status::ok || behind == shm::status::no_reply);
    int given_up = 0;
    for (shm::pending& one : all) {
        const shm::status status = one.wait_for(5s).status();
        CHECK(status == shm::status::ok || status == shm::status::no_reply);
        given_up += status == shm::status::no_reply ? 1 : 0;
    }
    CHECK(given_up > 0);
    CHECK_EQUAL(caller.call_for<std::string>(5s, 3).value_or("nothing"), "xxx");
    CHECK_EQUAL(serving.stop(), shm::status::ok);
}

// The servers' memory takes no reply at all.
TEST(requests_that_can_not_be_replied_to_end_no_serving) {
    shm::server_options options;
    options.memory = 1;
    Function<int(int, int)> function("nothing", add, options);
    std::thread calling([&] {
        FunctionCaller caller("nothing");
        for (int calls = 0; calls < 10'100; ++calls) {
            const shm::status failed =
                check::thrown_by([&] { static_cast<void>(caller.call_for<int>(10s, 1, 2)); });
            CHECK_EQUAL(failed, shm::status::no_reply);
        }
        function.stop();
    });
    function.serve();
    calling.join();
}

// The queue says that it is behind all requests that there can have been.
void damage_queue_of(const std::string& service) {
    const char* const root = std::getenv("SHM_ROOT");
    CHECK(root != nullptr);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
        const std::string path = entry.path().string();
        if (entry.path().filename() != "ring" || path.find(service) == std::string::npos) continue;
        std::fstream ring(path, std::ios::in | std::ios::out | std::ios::binary);
        const std::uint64_t head = std::uint64_t{1} << 40;
        ring.seekp(256 + 64);
        ring.write(reinterpret_cast<const char*>(&head), sizeof head);
        CHECK(ring.good());
    }
}

TEST(errors_that_do_not_cease_end_all_threads) {
    Function<int(int, int)> function("damaged", add);
    damage_queue_of("damaged");
    CHECK_STATUS(corrupt, function.serve(3));
}

TEST(what_is_served_by_the_parent_of_a_fork_ends_at_once) {
    Function<int(int, int)> function("forked", add);
    const pid_t child = ::fork();
    if (child == 0) {
        ::_exit(check::thrown_by([&] { function.serve(); }) == shm::status::forked ? 0 : 1);
    }
    int ended = -1;
    CHECK_EQUAL(::waitpid(child, &ended, 0), child);
    CHECK_EQUAL(ended, 0);
}

TEST(an_empty_stream_is_no_result) {
    shm::server server("empty");
    std::thread serving([&] { static_cast<void>(server.receive().value().finish()); });
    FunctionCaller caller("empty");
    CHECK_STATUS(no_reply, caller(1));
    serving.join();
}

// Serves until it is told to stop.
ROLE(serve) {
    Function<std::string(std::string, int)> function("processes", [](std::string text, int times) {
        if (times < 0) throw std::invalid_argument("less than nothing");
        std::string all;
        for (int i = 0; i < times; ++i) all += text;
        return all;
    });
    std::thread serving([&] { function.serve(2); });
    std::cout << "ready" << std::endl;
    std::string line;
    std::getline(std::cin, line);
    function.stop();
    serving.join();
}

ROLE(call) {
    FunctionCaller caller("processes");
    for (int i = 0; i < 300; ++i) {
        const std::string text = std::to_string(i);
        CHECK_EQUAL(caller.call<std::string>(text, 2), text + text);
        CHECK_EQUAL(failure_of([&] { caller(text, -1); }).first, -32603);
    }
}

TEST(processes_call_each_other) {
    using check::process;
    process one(check::this_executable, check::in_role("serve", {}));
    process two(check::this_executable, check::in_role("serve", {}));
    CHECK_EQUAL(one.read_line(), "ready");
    CHECK_EQUAL(two.read_line(), "ready");
    process first(check::this_executable, check::in_role("call", {}));
    process second(check::this_executable, check::in_role("call", {}));
    first.finish();
    second.finish();
    for (process* server : {&one, &two}) {
        server->write_line("stop");
        server->finish();
    }
    CHECK_STATUS(no_server, FunctionCaller("processes")(1));
}

ROLE(die) {
    Function<int()> function("dies", []() -> int { ::_exit(0); });
    std::cout << "ready" << std::endl;
    function.serve();
}

TEST(a_server_that_dies_is_an_error_for_its_caller) {
    check::process server(check::this_executable, check::in_role("die", {}));
    CHECK_EQUAL(server.read_line(), "ready");
    FunctionCaller caller("dies");
    CHECK_STATUS(peer_died, caller());
    server.finish();
}
