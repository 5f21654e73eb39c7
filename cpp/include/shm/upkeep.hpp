// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/error.hpp>

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

/// @file
/// Looking after a root: `shm::gc` takes away what the dead left, `shm::audit` says whether what lies
/// there is as it should be. Any thread may call them at any time, several at once.

namespace shm {

/// Which directory of topics to look after.
struct root_options {
    /// Directory of the topics. Empty: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    std::string root;
    /// The group, by its id, that shares the topics, as for a publisher. None: they are this user's
    /// alone.
    std::optional<std::uint32_t> group = {};
};

/// What `gc` did.
struct collected {
    std::uint64_t removed = 0;    ///< Topics and services that nobody used any more, which are gone
                                  ///< now.
    std::uint64_t in_use = 0;     ///< Topics and services that somebody uses.
    std::uint64_t recovered = 0;  ///< Participants that were dead, whose entries and holds were freed
                                  ///< in what others use.
    std::uint64_t swept = 0;      ///< Directories of topics or services, or of a root that a group
                                  ///< shares, which were never put in place.
    std::uint64_t refused = 0;    ///< Topics and services that were left alone because they are
                                  ///< damaged, aren't safe to use or couldn't be worked on.
};

/// What a name stands for. A topic and a service may have the same name.
enum class kind : std::uint32_t {
    topic = SHM_KIND_TOPIC,      ///< Messages from publishers to subscribers.
    service = SHM_KIND_SERVICE,  ///< Calls from clients to servers.
};

/// Something that should not be.
struct finding {
    shm::kind kind;    ///< Whether it is about a topic or a service.
    std::string name;  ///< The name of that.
    std::string what;  ///< What was found, and where, in UTF-8.
};

/// What `audit` found in a root.
struct audit_report {
    std::uint64_t topics = 0;     ///< The topics.
    std::uint64_t services = 0;   ///< The services.
    std::uint64_t living = 0;     ///< Participants of all topics and services that are alive.
    std::uint64_t dead = 0;       ///< Entries of the dead, which the next to join, or `gc`, frees.
    std::uint64_t orphans = 0;    ///< Segments of participants that are gone, which the next
                                  ///< publisher, client or server takes or deletes once nothing in
                                  ///< them is needed.
    std::uint64_t abandoned = 0;  ///< Directories of topics or services that were never put in place,
                                  ///< or are being taken away, and whose maker is dead.
    std::uint64_t foreign = 0;    ///< Names in the root that aren't the library's.
    /// What contradicts the library's invariants. Empty unless something is broken.
    std::vector<finding> findings = {};
};

namespace detail {

inline status gc(const root_options& options, collected& done) noexcept {
    shm_root_options c{};
    const status converted = convert_root(options, shm_root_options_init, c);
    if (converted != status::ok) return converted;
    shm_collected counts{};
    counts.struct_size = sizeof counts;
    const status s = from_c(shm_gc(&c, &counts));
    done = {counts.removed, counts.in_use, counts.recovered, counts.swept, counts.refused};
    return s;
}

// What the C ABI calls with each finding. An exception must not pass through it, so it waits here.
struct finding_collector {
    std::vector<finding> findings = {};
    std::exception_ptr failure = {};

    static void found(std::uint32_t of, const char* name, const char* what, void* self) noexcept {
        auto& collector = *static_cast<finding_collector*>(self);
        try {
            collector.findings.push_back({static_cast<kind>(of), name, what});
        } catch (...) {
            collector.failure = std::current_exception();
        }
    }
};

// Throws only what keeping the findings throws.
inline status audit(const root_options& options, audit_report& report) {
    shm_root_options c{};
    const status converted = convert_root(options, shm_root_options_init, c);
    if (converted != status::ok) return converted;
    shm_audit_summary counts{};
    counts.struct_size = sizeof counts;
    finding_collector collector;
    const status s = from_c(shm_audit(&c, finding_collector::found, &collector, &counts));
    if (s != status::ok) return s;
    if (collector.failure) std::rethrow_exception(collector.failure);
    report = {counts.topics,  counts.services,  counts.living,  counts.dead,
              counts.orphans, counts.abandoned, counts.foreign, std::move(collector.findings)};
    return s;
}

}  // namespace detail

/// Takes away what the dead left in a root: topics and services that nobody uses, those that were never
/// finished, and in those that are in use the entries and the holds of the dead. Never what is in use.
///
/// The root is for topics and services alone: an empty directory in it is taken for what a removal
/// left, and goes.
///
/// Nobody needs to call this: whoever joins one does the same for it. It is for those that nobody joins
/// any more.
///
/// Throws `shm::error`: `invalid_option`, `not_trusted` and `os` for the root. What can't be done to
/// one of them counts as `refused`, and `audit` says more of it. A root that isn't there has nothing to
/// take away.
inline collected gc(const root_options& options = {}) {
    collected done;
    const status s = detail::gc(options, done);
    if (s != status::ok) detail::throw_not_open(s, {}, options);
    return done;
}

/// The same without exceptions: sets `ec`. After an error all counts are 0.
inline collected gc(const root_options& options, std::error_code& ec) noexcept {
    collected done;
    ec = make_error_code(detail::gc(options, done));
    return done;
}
inline collected gc(std::error_code& ec) noexcept {
    collected done;
    ec = make_error_code(detail::gc({}, done));
    return done;
}

/// Looks through all topics and services of a root, and at the files and the words of each. Changes
/// nothing and takes no part.
///
/// It may run at any time and disturbs nobody, but is exact only while nobody joins, leaves, publishes,
/// receives or calls: what is in motion while it looks may be reported though nothing is wrong.
///
/// Throws `shm::error`: `invalid_option`, `not_trusted` and `os` for the root; and `std::bad_alloc`.
/// What can't be read of one of them is a finding, and a root that isn't there has none.
[[nodiscard]] inline audit_report audit(const root_options& options = {}) {
    audit_report report;
    const status s = detail::audit(options, report);
    if (s != status::ok) detail::throw_not_open(s, {}, options);
    return report;
}

/// The same without exceptions: sets `ec`, where `std::bad_alloc` is `std::errc::not_enough_memory`.
/// After an error the report is empty.
[[nodiscard]] inline audit_report audit(const root_options& options, std::error_code& ec) noexcept {
    audit_report report;
    try {
        ec = make_error_code(detail::audit(options, report));
    } catch (...) {
        ec = std::make_error_code(std::errc::not_enough_memory);
    }
    return report;
}
[[nodiscard]] inline audit_report audit(std::error_code& ec) noexcept {
    return audit(root_options{}, ec);
}

}  // namespace shm
