// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#ifndef MSGPACK_NO_BOOST
#define MSGPACK_NO_BOOST
#endif
#include <msgpack.hpp>

#include <shm/error.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif

/// @file
/// Messages: C++ classes as message definitions, on the wire as msgpack.
///
///     class InnerMessage : public shm::BaseMsg {
///     public:
///         int inner_val{};
///         std::string inner_str{};
///         SHM_PACK(inner_val, inner_str);
///         InnerMessage() = default;
///     };
///
/// A message is the msgpack array `[seq, timestamp, fields...]`, its nested messages likewise; that
/// is what a Rust struct with `seq`, `timestamp` and the same fields is to serde and `rmp-serde`.
/// A field is anything that msgpack-cxx packs: numbers, strings, vectors, arrays, maps, optionals,
/// other messages. `std::vector<std::uint8_t>` and `std::vector<char>` become msgpack's `bin`, which
/// in Rust takes `serde_bytes`. A field must own what it holds, as the received bytes go back to the
/// publisher once the message is decoded: `std::string_view`, `msgpack::object`, msgpack's `*_ref`
/// types and pointers are refused, also inside of containers (not inside of classes of your own).
///
/// Messages may grow at the end. Fields that the received array doesn't have keep their default;
/// elements beyond the last field are ignored. Anything else is a decode error: bytes that aren't
/// msgpack, are cut short or go on after the array, a field of another type, a number that doesn't
/// fit its field, containers nested deeper than 128, fields that take more memory than there is.

namespace shm {

/// The clocks that `BaseMsg::init_time` knows.
enum TimeType {
    SYSTEM,  ///< Since the Unix epoch; may be set, also backwards.
    STEADY,  ///< Since the machine's start; the same for all its processes, never goes back.
};

/// What every message starts with. Derive publicly and list the fields in `SHM_PACK`.
class BaseMsg {
public:
    /// The sender's own count, received as it was sent: the library neither sets nor reads it.
    std::uint32_t seq{};

    /// When the message was made, in nanoseconds of the clock that `init_time` was given; 0: unset.
    std::uint64_t timestamp{};

    BaseMsg() = default;

    /// Sets `timestamp` to now.
    void init_time(TimeType clock = SYSTEM) noexcept {
        timestamp = clock == STEADY ? now<std::chrono::steady_clock>()
                                    : now<std::chrono::system_clock>();
    }

private:
    template <typename Clock>
    static std::uint64_t now() noexcept {
        const auto since_epoch = Clock::now().time_since_epoch();
        return static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::nanoseconds>(since_epoch).count());
    }
};

namespace detail {

template <typename T>
constexpr void require_plain() {
    static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>,
                  "only trivially copyable data without pointers means the same elsewhere");
    static_assert(alignof(T) <= 64, "messages start on 64-byte boundaries");
}

// Whether a `T` that msgpack reads refers to memory that it doesn't own.
template <typename T>
struct borrows : std::is_pointer<T> {};
template <typename T>
struct borrows<const T> : borrows<T> {};
template <typename T, std::size_t Size>
struct borrows<T[Size]> : borrows<T> {};
template <typename T, std::size_t Size>
struct borrows<const T[Size]> : borrows<T> {};
template <typename T, std::size_t Size>
struct borrows<std::array<T, Size>> : borrows<T> {};
template <template <typename...> class Container, typename... Args>
struct borrows<Container<Args...>> : std::disjunction<borrows<Args>...> {};
template <typename Char, typename Traits>
struct borrows<std::basic_string_view<Char, Traits>> : std::true_type {};
#ifdef __cpp_lib_span
template <typename T, std::size_t Size>
struct borrows<std::span<T, Size>> : std::true_type {};
#endif
template <>
struct borrows<msgpack::object> : std::true_type {};
template <>
struct borrows<msgpack::object_kv> : std::true_type {};
template <>
struct borrows<msgpack::type::raw_ref> : std::true_type {};
template <>
struct borrows<msgpack::type::v4raw_ref> : std::true_type {};
template <>
struct borrows<msgpack::type::ext_ref> : std::true_type {};

// What SHM_PACK's functions do. Each is made of the message and then called with its fields, so that
// there may be none.

template <typename Packer>
struct pack_fields {
    Packer& packer;
    const BaseMsg& message;

    template <typename... Fields>
    void operator()(const Fields&... fields) const {
        packer.pack_array(static_cast<std::uint32_t>(2 + sizeof...(Fields)));
        packer.pack(message.seq);
        packer.pack(message.timestamp);
        (static_cast<void>(packer.pack(fields)), ...);
    }
};

struct unpack_fields {
    const msgpack::object& array;
    BaseMsg& message;

    template <typename... Fields>
    void operator()(Fields&... fields) const {
        if (array.type != msgpack::type::ARRAY) throw msgpack::type_error();
        std::uint32_t next = 0;
        unpack(next, message.seq);
        unpack(next, message.timestamp);
        (unpack(next, fields), ...);
    }

    template <typename Field>
    void unpack(std::uint32_t& next, Field& field) const {
        static_assert(!borrows<Field>::value,
                      "a field must own what it holds: the bytes that it is read from go back");
        if (next < array.via.array.size) array.via.array.ptr[next++].convert(field);
    }
};

struct object_of_fields {
    msgpack::object& object;
    msgpack::zone& zone;
    const BaseMsg& message;

    template <typename... Fields>
    void operator()(const Fields&... fields) const {
        constexpr std::size_t count = 2 + sizeof...(Fields);
        auto* items = static_cast<msgpack::object*>(
            zone.allocate_align(sizeof(msgpack::object) * count, alignof(msgpack::object)));
        object.type = msgpack::type::ARRAY;
        object.via.array.size = static_cast<std::uint32_t>(count);
        object.via.array.ptr = items;
        *items++ = msgpack::object(message.seq, zone);
        *items++ = msgpack::object(message.timestamp, zone);
        ((*items++ = msgpack::object(fields, zone)), ...);
    }
};

// Builds msgpack's objects from a message's bytes, in one pass: those bytes are someone else's and
// may change meanwhile. Each announced element takes a byte at least, so a message that announces
// more of them than it has bytes is cut short, and memory is never allocated on its word alone:
// what is taken stays below `bytes * sizeof(msgpack::object)`. Strings refer to the bytes.
class object_builder : public msgpack::null_visitor {
public:
    object_builder(msgpack::zone& zone, std::size_t bytes) : zone_(zone), bytes_(bytes) {}

    [[nodiscard]] const msgpack::object& root() const noexcept { return root_; }
    [[nodiscard]] const char* failure() const noexcept { return failure_; }

    bool visit_nil() { return put(msgpack::object()); }
    bool visit_boolean(bool v) { return put(msgpack::object(v)); }
    bool visit_positive_integer(std::uint64_t v) { return put(msgpack::object(v)); }
    bool visit_negative_integer(std::int64_t v) { return put(msgpack::object(v)); }
    bool visit_float32(float v) { return put(msgpack::object(v)); }
    bool visit_float64(double v) { return put(msgpack::object(v)); }

    bool visit_str(const char* v, std::uint32_t size) {
        target_->type = msgpack::type::STR;
        target_->via.str.ptr = v;
        target_->via.str.size = size;
        return true;
    }
    bool visit_bin(const char* v, std::uint32_t size) {
        target_->type = msgpack::type::BIN;
        target_->via.bin.ptr = v;
        target_->via.bin.size = size;
        return true;
    }
    bool visit_ext(const char* v, std::uint32_t size) {  // `size` counts the type's byte too
        target_->type = msgpack::type::EXT;
        target_->via.ext.ptr = v;
        target_->via.ext.size = size - 1;
        return true;
    }

    bool start_array(std::uint32_t count) {
        if (!announce(count)) return false;
        target_->type = msgpack::type::ARRAY;
        target_->via.array.size = count;
        target_->via.array.ptr = allocate<msgpack::object>(count);
        frames_[depth_++].item = target_->via.array.ptr;
        return true;
    }
    bool start_array_item() {
        target_ = top().item++;
        return true;
    }
    bool end_array() { return close(); }

    bool start_map(std::uint32_t count) {
        if (!announce(std::uint64_t{count} * 2)) return false;
        target_->type = msgpack::type::MAP;
        target_->via.map.size = count;
        target_->via.map.ptr = allocate<msgpack::object_kv>(count);
        frames_[depth_++].pair = target_->via.map.ptr;
        return true;
    }
    bool start_map_key() {
        target_ = &top().pair->key;
        return true;
    }
    bool start_map_value() {
        target_ = &top().pair++->val;
        return true;
    }
    bool end_map() { return close(); }

    void parse_error(std::size_t, std::size_t) { failure_ = "not msgpack"; }
    void insufficient_bytes(std::size_t, std::size_t) { failure_ = "cut short"; }

private:
    static constexpr std::size_t max_depth = 128;

    union frame {
        msgpack::object* item;     // an array's next element
        msgpack::object_kv* pair;  // a map's next pair
    };

    frame& top() noexcept { return frames_[depth_ - 1]; }

    bool put(const msgpack::object& value) noexcept {
        *target_ = value;
        return true;
    }

    bool announce(std::uint64_t elements) noexcept {
        if (depth_ == max_depth) failure_ = "nested too deep";
        else if (elements > bytes_ - announced_) failure_ = "cut short";
        else announced_ += static_cast<std::size_t>(elements);
        return failure_ == nullptr;
    }

    template <typename T>
    T* allocate(std::uint32_t count) {
        if (count == 0) return nullptr;
        return static_cast<T*>(zone_.allocate_align(count * sizeof(T), alignof(T)));
    }

    bool close() noexcept {
        --depth_;
        return true;
    }

    msgpack::zone& zone_;
    std::size_t bytes_;
    std::size_t announced_ = 0;
    msgpack::object root_;
    msgpack::object* target_ = &root_;
    std::array<frame, max_depth> frames_;
    std::size_t depth_ = 0;
    const char* failure_ = nullptr;
};

[[noreturn]] inline void throw_unreadable(const std::string& why) {
    throw error(status::decode, "a message can't be read: " + why);
}

// The object that takes up all of `size` bytes, in `zone`; throws `error(status::decode)`. Strings in
// it refer to the bytes.
inline msgpack::object parse(const void* data, std::size_t size, msgpack::zone& zone) {
    object_builder builder(zone, size);
    std::size_t end = 0;
    const bool parsed = msgpack::parse(static_cast<const char*>(data), size, end, builder);
    const char* failure = builder.failure();
    if (failure == nullptr && !parsed) failure = "not msgpack";
    if (failure == nullptr && end != size) failure = "longer than one message";
    if (failure != nullptr) throw_unreadable(std::string("it is ") + failure);
    return builder.root();
}

// Does what reads a message; what that throws becomes `error(status::decode)`. Running out of memory
// is the message's fault: the sender chooses how many of the elements there are that the receiver's
// type makes large.
template <typename Read>
void reading(Read read) {
    try {
        read();
    } catch (const msgpack::type_error&) {
        throw_unreadable("a field has another type");
    } catch (const std::bad_alloc&) {
        throw_unreadable("it takes more memory than there is");
    } catch (const std::length_error&) {
        throw_unreadable("it takes more memory than there is");
    }
}

// Reads one message that takes up all of `size` bytes; throws `error(status::decode)`. `message`
// may be half read then.
template <typename Msg>
void decode(const void* data, std::size_t size, Msg& message) {
    reading([&] {
        msgpack::zone zone;
        parse(data, size, zone).convert(message);
    });
}

// A loan's first size, before anything was packed.
inline constexpr std::size_t first_guess = 256;

// msgpack's output, straight into a loan of whatever kind. Once the loan can't grow, the rest is
// dropped and `finish` says why.
class loan_sink {
public:
    template <typename Loan>
    explicit loan_sink(Loan& target) noexcept
        : loan_(&target), resize_(&resize<Loan>), begin_(static_cast<char*>(target.data())),
          room_(target.size()), capacity_(target.capacity()) {}

    void write(const char* bytes, std::size_t size) noexcept {
        if (size > room_ - used_ && !grow(size)) return;
        if (size != 0) std::memcpy(begin_ + used_, bytes, size);
        used_ += size;
    }

    // Cuts the loan to what was written.
    [[nodiscard]] status finish() noexcept {
        return status_ == status::ok ? resize_(*this, used_) : status_;
    }

private:
    template <typename Loan>
    static status resize(loan_sink& self, std::size_t size) noexcept {
        Loan& loan = *static_cast<Loan*>(self.loan_);
        const status s = loan.resize(size);
        self.begin_ = static_cast<char*>(loan.data());
        self.room_ = loan.size();
        self.capacity_ = loan.capacity();
        return s;
    }

    bool grow(std::size_t size) noexcept {
        if (status_ != status::ok) return false;
        const std::size_t least = used_ + size;
        const std::size_t wanted = least <= capacity_ ? capacity_ : std::max(least, 2 * room_);
        status_ = resize_(*this, wanted);
        // Twice as much may be more than there is where enough is not.
        if (status_ != status::ok && wanted != least) status_ = resize_(*this, least);
        return status_ == status::ok;
    }

    void* loan_;
    status (*resize_)(loan_sink&, std::size_t) noexcept;
    char* begin_;
    std::size_t room_;
    std::size_t capacity_;
    std::size_t used_ = 0;
    status status_ = status::ok;
};

}  // namespace detail
}  // namespace shm

// msgpack-cxx writes a floating-point number that is whole as an integer, which loses its type and the sign of
// zero. Messages are written as everyone else does: float32 and float64, always.
template <>
inline msgpack::packer<shm::detail::loan_sink>&
msgpack::packer<shm::detail::loan_sink>::pack_float(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    char bytes[5] = {'\xca'};
    for (int i = 0; i < 4; ++i) bytes[1 + i] = static_cast<char>(bits >> (24 - 8 * i));
    return pack_str_body(bytes, sizeof bytes);
}
template <>
inline msgpack::packer<shm::detail::loan_sink>&
msgpack::packer<shm::detail::loan_sink>::pack_double(double value) {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    char bytes[9] = {'\xcb'};
    for (int i = 0; i < 8; ++i) bytes[1 + i] = static_cast<char>(bits >> (56 - 8 * i));
    return pack_str_body(bytes, sizeof bytes);
}

/// Makes a message of a class that derives from `shm::BaseMsg`: stands once in its public part and
/// lists the fields that travel, in their order on the wire. May be empty and may be followed by a
/// semicolon. The class needs a default constructor to be received.
//
// The function that is no template stands last: after a template, GCC's -Wpedantic calls that
// semicolon extra. -Wextra-semi, GCC's and clang's, calls it extra after any function: who builds
// with it leaves the semicolon out.
#define SHM_PACK(...)                                                              \
    template <typename ShmPacker>                                                  \
    void msgpack_pack(ShmPacker& shm_packer) const {                               \
        ::shm::detail::pack_fields<ShmPacker>{shm_packer, *this}(__VA_ARGS__);     \
    }                                                                              \
    template <typename ShmObject>                                                  \
    void msgpack_object(ShmObject* shm_object, ::msgpack::zone& shm_zone) const {  \
        ::shm::detail::object_of_fields{*shm_object, shm_zone, *this}(__VA_ARGS__); \
    }                                                                              \
    void msgpack_unpack(const ::msgpack::object& shm_object) {                     \
        ::shm::detail::unpack_fields{shm_object, *this}(__VA_ARGS__);              \
    }
