// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/shm.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

/// @file
/// Statuses, errors and results.
///
/// Creating something throws `shm::error`, or fills a `std::error_code` in the overloads that take
/// one. The hot path never throws: it returns a `shm::status`, or a `shm::result` that holds either
/// a value or a status.
///
/// As a `std::error_code`, success is the default-constructed one wherever it comes from: it is
/// false, and equals `std::error_code()` and `shm::status::ok`.

namespace shm {

/// What a call came to: the numbers of the C ABI, which are frozen.
///
/// 0 is success, a positive number is an outcome that was to be expected, a negative one an error.
enum class status : std::int32_t {
    ok = SHM_OK,                    ///< Done.
    would_block = SHM_WOULD_BLOCK,  ///< Nothing has come yet, or no room for a message.
    timed_out = SHM_TIMED_OUT,      ///< Nothing came in the time given, or no room for a message.
    end = SHM_END,                  ///< No further reply comes: the call is over.
    cancelled = SHM_CANCELLED,      ///< Nobody waits for the reply any more.

    null_argument = SHM_ERR_NULL,             ///< An argument is null, or the object empty.
    invalid_name = SHM_ERR_INVALID_NAME,      ///< The topic's name can't be used.
    invalid_option = SHM_ERR_INVALID_OPTION,  ///< An option is outside what it may be.
    out_of_memory = SHM_ERR_OUT_OF_MEMORY,    ///< The memory budget is used up.
    no_space = SHM_ERR_NO_SPACE,              ///< The file system that holds the topics is full.
    no_participant = SHM_ERR_NO_PARTICIPANT,  ///< Every participant entry of the topic is taken.
    no_hold = SHM_ERR_NO_HOLD,                ///< The subscriber holds as many samples as it may.
    no_segment = SHM_ERR_NO_SEGMENT,          ///< The topic's segment table is full.
    mismatch = SHM_ERR_MISMATCH,              ///< The topic isn't what was asked for.
    corrupt = SHM_ERR_CORRUPT,                ///< A file of the topic doesn't say what it should.
    version = SHM_ERR_VERSION,                ///< The topic has another version's layout.
    not_trusted = SHM_ERR_NOT_TRUSTED,        ///< A directory or file isn't safe to use.
    forked = SHM_ERR_FORKED,                  ///< This process is a fork of the one that made it.
    os = SHM_ERR_OS,                          ///< The operating system refused.
    encode = SHM_ERR_ENCODE,                  ///< The message can't be written as msgpack.
    decode = SHM_ERR_DECODE,                  ///< The payload isn't the message asked for.
    wrong_size = SHM_ERR_WRONG_SIZE,          ///< The payload's size isn't that of the plain type.
    closed = SHM_ERR_CLOSED,                  ///< The loan's publisher was destroyed.
    internal = SHM_ERR_INTERNAL,              ///< A bug in the library.
    too_large = SHM_ERR_TOO_LARGE,            ///< No message can be this large.
    too_many_calls = SHM_ERR_TOO_MANY_CALLS,  ///< As many calls are in flight as may be.
    queue_full = SHM_ERR_QUEUE_FULL,          ///< The service's queue has no room for a request.
    no_server = SHM_ERR_NO_SERVER,            ///< Nobody serves the service.
    peer_died = SHM_ERR_PEER_DIED,            ///< The server died before it replied.
    no_reply = SHM_ERR_NO_REPLY,              ///< The server gave the request up.
    remote = SHM_ERR_REMOTE,                  ///< The function that was called failed.
    copier = SHM_ERR_COPIER,                  ///< A copier, or the device behind it, failed.
    no_device = SHM_ERR_NO_DEVICE,            ///< There is no such device, or nothing that drives it.
};

/// Whether `s` is an error, rather than success or an expected outcome.
[[nodiscard]] constexpr bool is_error(status s) noexcept {
    return static_cast<std::int32_t>(s) < 0;
}

namespace detail {

constexpr std::int32_t to_c(status s) noexcept { return static_cast<std::int32_t>(s); }
constexpr status from_c(std::int32_t code) noexcept { return static_cast<status>(code); }

class category final : public std::error_category {
public:
    [[nodiscard]] const char* name() const noexcept override { return "shm"; }

    [[nodiscard]] std::string message(int code) const override { return shm_status_string(code); }

    [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override {
        switch (from_c(code)) {
            case status::would_block: return std::errc::operation_would_block;
            case status::timed_out: return std::errc::timed_out;
            case status::null_argument:
            case status::invalid_name:
            case status::invalid_option: return std::errc::invalid_argument;
            case status::out_of_memory: return std::errc::not_enough_memory;
            case status::no_space: return std::errc::no_space_on_device;
            case status::not_trusted: return std::errc::permission_denied;
            case status::too_large: return std::errc::message_size;
            case status::decode: return std::errc::bad_message;
            case status::cancelled: return std::errc::operation_canceled;
            case status::too_many_calls:
            case status::queue_full: return std::errc::resource_unavailable_try_again;
            case status::no_server: return std::errc::connection_refused;
            case status::peer_died: return std::errc::connection_reset;
            case status::no_device: return std::errc::no_such_device;
            default: return {code, *this};
        }
    }
};

// The C ABI writes its message only when it is the one that fails; encoding and decoding fail here.
inline std::string describe(status s) {
    const bool from_abi = is_error(s) && s != status::encode && s != status::decode;
    const char* message = from_abi ? shm_last_error_message() : "";
    return *message != '\0' ? message : shm_status_string(to_c(s));
}

}  // namespace detail

/// The category of the library's `std::error_code`s other than success: `value()` is the C ABI's status and
/// `message()` what `shm_status_string` says of it.
[[nodiscard]] inline const std::error_category& category() noexcept {
    static const detail::category instance;
    return instance;
}

/// Makes `shm::status` usable where a `std::error_code` is expected. `status::ok` is the
/// default-constructed one: another, although false as well, would not compare equal to it.
[[nodiscard]] inline std::error_code make_error_code(status s) noexcept {
    if (s == status::ok) return {};
    return {detail::to_c(s), category()};
}

/// What the library throws. `code()` is in `shm::category()`.
class error : public std::system_error {
public:
    /// What the last failed call in this thread said; `shm_status_string` where it said nothing.
    explicit error(shm::status s) : error(s, detail::describe(s)) {}

    /// With a text of its own.
    error(shm::status s, const std::string& message)
        : std::system_error(make_error_code(s)), message_(message) {}

    /// The text alone, in UTF-8: what went wrong, with which topic or number.
    [[nodiscard]] const char* what() const noexcept override { return message_.what(); }

    /// The status behind `code()`.
    [[nodiscard]] shm::status status() const noexcept { return detail::from_c(code().value()); }

private:
    std::runtime_error message_;  // unlike a string, copies without throwing
};

namespace rpc::code {

/// Codes of `remote_error` that the library itself gives: those of JSON-RPC 2.0, section 5.1.
inline constexpr std::int32_t no_such_function = -32601;   ///< The service has none of that name.
inline constexpr std::int32_t invalid_arguments = -32602;  ///< The function takes other arguments.
inline constexpr std::int32_t failed = -32603;             ///< The function threw an exception, or
                                                           ///< its result can't be written.

}  // namespace rpc::code

/// The function that was called failed, as its server says it: `what()` is in the server's words.
///
/// A function of `rpc::Function` or `rpc::Service` may throw one, to choose the code that its caller gets.
class remote_error : public error {
public:
    /// With a code of one's own; JSON-RPC 2.0 keeps those from -32768 to -32000 for itself.
    remote_error(std::int32_t code, const std::string& message)
        : error(shm::status::remote, message), remote_code_(code) {}

    /// The number that the server gave. The library's own are in `rpc::code`.
    [[nodiscard]] std::int32_t remote_code() const noexcept { return remote_code_; }

private:
    std::int32_t remote_code_;
};

namespace detail {

// Throws what the last failed call in this thread came to.
[[noreturn]] inline void raise(status s) {
    if (s == status::remote) throw remote_error(shm_last_error_code(), shm_last_error_message());
    throw error(s);
}

}  // namespace detail

/// A value, or the status that says why there is none.
///
/// True when it holds a value. "Would block" and "timed out" are no errors, so `error()` is false
/// for them:
///
///     auto sample = subscriber.receive_for(1s);
///     if (sample) use(sample->data(), sample->size());
///     else if (sample.error()) std::cerr << sample.error().message() << '\n';
template <typename T>
class [[nodiscard]] result {
public:
    using value_type = T;

    /// Holds `value`.
    result(T value) noexcept(std::is_nothrow_move_constructible_v<T>) : value_(std::move(value)) {}

    /// Holds no value, because of `why` (not `status::ok`).
    result(shm::status why) noexcept : status_(why) {}

    /// Whether a value is held.
    explicit operator bool() const noexcept { return value_.has_value(); }
    /// Whether a value is held.
    [[nodiscard]] bool has_value() const noexcept { return value_.has_value(); }

    /// The value. There must be one.
    T& operator*() & noexcept { return *value_; }
    const T& operator*() const& noexcept { return *value_; }
    T&& operator*() && noexcept { return *std::move(value_); }
    T* operator->() noexcept { return &*value_; }
    const T* operator->() const noexcept { return &*value_; }

    /// The value. Throws `shm::error`, or `shm::remote_error`, when there is none; call it in the thread that got the
    /// result, before another call fails there, for the exception to say why in full.
    T& value() & { return require(), *value_; }
    const T& value() const& { return require(), *value_; }
    T&& value() && { return require(), *std::move(value_); }

    /// `status::ok` with a value, else the outcome or the error.
    [[nodiscard]] shm::status status() const noexcept { return status_; }

    /// The error; success with a value and for an expected outcome.
    [[nodiscard]] std::error_code error() const noexcept {
        return is_error(status_) ? make_error_code(status_) : std::error_code{};
    }

private:
    void require() const {
        if (!value_) detail::raise(status_);
    }

    std::optional<T> value_;
    shm::status status_ = shm::status::ok;
};

/// What a topic is; the same for all its participants.
struct topic_info {
    std::uint64_t instance = 0;      ///< Random number of this instance of the topic; it changes
                                     ///< when the topic is removed and made again.
    std::uint32_t capacity = 0;      ///< Messages that the ring keeps.
    std::uint32_t participants = 0;  ///< Publishers and subscribers that the topic can have.
    std::uint32_t holds = 0;         ///< Samples that one subscriber may hold.
};

namespace detail {

// The C ABI takes C strings: a NUL inside would silently make another name of it.
inline bool has_nul(const std::string& text) noexcept {
    return text.find('\0') != std::string::npos;
}

// What every root's options have. `c` becomes the defaults first, and borrows from `options`.
template <typename Options, typename C>
status convert_root(const Options& options, std::int32_t (*defaults)(C*), C& c) noexcept {
    if (has_nul(options.root)) return status::invalid_option;
    if (const status s = from_c(defaults(&c)); s != status::ok) return s;
    c.root = options.root.empty() ? nullptr : options.root.c_str();
    c.has_group = options.group.has_value() ? 1 : 0;
    c.group = options.group.value_or(0);
    return status::ok;
}

// What those of every participant in the topic or service `name` have as well.
template <typename Options, typename C>
status convert(const std::string& name, const Options& options, std::int32_t (*defaults)(C*),
               C& c) noexcept {
    if (has_nul(name)) return status::invalid_name;
    if (const status s = convert_root(options, defaults, c); s != status::ok) return s;
    c.capacity = options.capacity;
    c.participants = options.participants;
    c.holds = options.holds;
    c.mode = options.mode;
    return status::ok;
}

template <typename Options>
[[noreturn]] void throw_not_open(status s, const std::string& topic, const Options& options) {
    if (has_nul(topic) || has_nul(options.root)) throw error(s, "a name holds a NUL byte");
    throw error(s);
}

// A negative time is none; what doesn't fit is the longest there is, some 292 years.
template <typename Rep, typename Period>
std::uint64_t nanoseconds(std::chrono::duration<Rep, Period> time) noexcept {
    using std::chrono::nanoseconds;
    if (!(time > time.zero())) return 0;
    const std::chrono::duration<double, std::nano> approximate = time;
    if (approximate.count() >= 9.2e18) return std::numeric_limits<std::int64_t>::max();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<nanoseconds>(time).count());
}

template <typename Handle>
topic_info read_info(const Handle* handle,
                     std::int32_t (*read)(const Handle*, shm_topic_info*)) {
    shm_topic_info info{};
    info.struct_size = sizeof info;
    if (const status s = from_c(read(handle, &info)); s != status::ok) throw error(s);
    return {info.instance, info.capacity, info.participants, info.holds};
}

}  // namespace detail
}  // namespace shm

template <>
struct std::is_error_code_enum<shm::status> : std::true_type {};
