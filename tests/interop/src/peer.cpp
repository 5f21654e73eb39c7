// SPDX-License-Identifier: MIT OR Apache-2.0
#include "shm-interop-tests/src/peer.hpp"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "shm-interop-tests/src/lib.rs.h"

namespace interop {
namespace {

// Rust's vectors and strings to C++'s and back, with `convert` for each element.
template <typename To, typename From, typename Convert>
To each(const From& from, Convert convert) {
    To to;
    std::transform(from.begin(), from.end(), std::back_inserter(to), convert);
    return to;
}
const auto same = [](const auto& value) { return value; };
const auto to_cxx_string = [](const rust::String& text) { return std::string(text); };
const auto to_rust_string = [](const std::string& text) { return rust::String(text); };

InnerMessage from_rust(const Inner& from) {
    InnerMessage to;
    to.seq = from.seq;
    to.timestamp = from.timestamp;
    to.value = from.value;
    to.text = std::string(from.text);
    return to;
}

Inner to_rust(const InnerMessage& from) {
    return Inner{from.seq, from.timestamp, from.value, rust::String(from.text)};
}

EverythingMessage from_rust(const Everything& from) {
    const auto inner = [](const Inner& message) { return from_rust(message); };
    EverythingMessage to;
    to.seq = from.seq;
    to.timestamp = from.timestamp;
    to.flag = from.flag;
    to.i8 = from.i8;
    to.i16 = from.i16;
    to.i32 = from.i32;
    to.i64 = from.i64;
    to.u8 = from.u8;
    to.u16 = from.u16;
    to.u32 = from.u32;
    to.u64 = from.u64;
    to.f32 = from.f32;
    to.f64 = from.f64;
    to.text = std::string(from.text);
    to.blob = each<decltype(to.blob)>(from.blob, same);
    to.integers = each<decltype(to.integers)>(from.integers, same);
    to.doubles = each<decltype(to.doubles)>(from.doubles, same);
    to.texts = each<decltype(to.texts)>(from.texts, to_cxx_string);
    to.point = from.point;
    to.inner = from_rust(from.inner);
    to.inners = each<decltype(to.inners)>(from.inners, inner);
    for (const Count& count : from.counts) to.counts[std::string(count.key)] = count.value;
    for (const Numbered& numbered : from.numbered) to.numbered[numbered.key] = from_rust(numbered.value);
    return to;
}

Everything to_rust(const EverythingMessage& from) {
    const auto inner = [](const InnerMessage& message) { return to_rust(message); };
    Everything to{};
    to.seq = from.seq;
    to.timestamp = from.timestamp;
    to.flag = from.flag;
    to.i8 = from.i8;
    to.i16 = from.i16;
    to.i32 = from.i32;
    to.i64 = from.i64;
    to.u8 = from.u8;
    to.u16 = from.u16;
    to.u32 = from.u32;
    to.u64 = from.u64;
    to.f32 = from.f32;
    to.f64 = from.f64;
    to.text = rust::String(from.text);
    to.blob = each<decltype(to.blob)>(from.blob, same);
    to.integers = each<decltype(to.integers)>(from.integers, same);
    to.doubles = each<decltype(to.doubles)>(from.doubles, same);
    to.texts = each<decltype(to.texts)>(from.texts, to_rust_string);
    to.point = from.point;
    to.inner = to_rust(from.inner);
    to.inners = each<decltype(to.inners)>(from.inners, inner);
    for (const auto& [key, value] : from.counts) to.counts.push_back(Count{rust::String(key), value});
    for (const auto& [key, value] : from.numbered) to.numbered.push_back(Numbered{key, to_rust(value)});
    return to;
}

template <typename Options>
Options in_root(const std::string& root) {
    Options options;
    options.root = root;
    return options;
}

}  // namespace

Peer::Peer(const std::string& topic, const std::string& root)
    : publisher_(topic, in_root<shm::publisher_options>(root)),
      subscriber_(
          topic, [this](const std::shared_ptr<EverythingMessage>& message) { received_ = message; },
          in_root<shm::subscriber_options>(root)) {}

void Peer::publish(const Everything& message) {
    if (!publisher_.publish(from_rust(message))) throw std::system_error(publisher_.last_error());
}

Everything Peer::receive() {
    if (!subscriber_.spin_once()) throw std::runtime_error("there is no message");
    return to_rust(*received_);
}

Echo::Echo(const std::string& name, const std::string& root)
    : function_(
          name,
          [](EverythingMessage message, std::uint32_t more) {
              message.u32 += more;
              return message;
          },
          in_root<shm::server_options>(root)),
      thread_([this] { function_.serve(); }) {}

Echo::~Echo() {
    function_.stop();
    thread_.join();
}

std::unique_ptr<Echo> offer(rust::Str name, rust::Str root) {
    return std::make_unique<Echo>(std::string(name), std::string(root));
}

Everything call(rust::Str name, rust::Str root, const Everything& message, std::uint32_t more) {
    shm::rpc::FunctionCaller caller(std::string(name), in_root<shm::client_options>(std::string(root)));
    return to_rust(caller.call<EverythingMessage>(from_rust(message), more));
}

std::unique_ptr<Peer> open(rust::Str topic, rust::Str root) {
    return std::make_unique<Peer>(std::string(topic), std::string(root));
}

}  // namespace interop
