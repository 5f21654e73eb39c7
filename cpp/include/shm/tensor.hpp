// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/error.hpp>

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

/// @file
/// Messages as tensors, by DLPack: what `shm::sample::to_dlpack`, `shm::device_sample::to_dlpack`,
/// `shm::loan::to_dlpack` and `shm::publisher::publish_dlpack` give and take. Include
/// <dlpack/dlpack.h>, before or after, to look into a tensor; nothing here needs it.

namespace shm {

/// What a tensor's elements are, as DLPack counts types.
struct data_type {
    /// 0: signed integer, 1: unsigned, 2: floating point, 4: bfloat, 5: complex, 6: boolean.
    std::uint8_t code = 1;
    /// Bits of one lane of an element.
    std::uint8_t bits = 8;
    /// Lanes of an element: 1, but for vector types.
    std::uint16_t lanes = 1;

    /// That of a `T`, which must be a number or a bool.
    template <typename T>
    [[nodiscard]] static constexpr data_type of() noexcept {
        static_assert(std::is_arithmetic_v<T>, "an element must be a number or a bool");
        constexpr int code = std::is_same_v<T, bool>          ? 6
                             : std::is_floating_point_v<T> ? 2
                             : std::is_signed_v<T>         ? 0
                                                           : 1;
        return {code, sizeof(T) * 8, 1};
    }
};

namespace detail {

struct dlpack_deleter {
    void operator()(DLManagedTensor* tensor) const noexcept { shm_dlpack_destroy(tensor); }
    void operator()(DLManagedTensorVersioned* tensor) const noexcept {
        shm_dlpack_destroy_versioned(tensor);
    }
};

// Asks `convert`, of the C ABI, for a tensor.
template <typename Tensor, typename Handle>
result<std::unique_ptr<Tensor, dlpack_deleter>> tensor_of(
    Handle* handle, const std::vector<std::int64_t>& shape, data_type type,
    std::int32_t (*convert)(Handle*, const shm_tensor_type*, Tensor**)) noexcept {
    shm_tensor_type c{};
    c.struct_size = sizeof c;
    c.shape = shape.data();
    c.ndim = static_cast<std::uint32_t>(shape.size());
    c.code = type.code;
    c.bits = type.bits;
    c.lanes = type.lanes;
    Tensor* tensor = nullptr;
    if (const status s = from_c(convert(handle, &c, &tensor)); s != status::ok) return s;
    return std::unique_ptr<Tensor, dlpack_deleter>(tensor);
}

// The same for a message that becomes the tensor's, if there is one.
template <typename Tensor, typename Handle, typename Deleter>
result<std::unique_ptr<Tensor, dlpack_deleter>> handed_over(
    std::unique_ptr<Handle, Deleter>& handle, const std::vector<std::int64_t>& shape, data_type type,
    std::int32_t (*convert)(Handle*, const shm_tensor_type*, Tensor**)) noexcept {
    auto tensor = tensor_of(handle.get(), shape, type, convert);
    if (tensor) static_cast<void>(handle.release());
    return tensor;
}

}  // namespace detail

/// A tensor of DLPack's older form. Dropping it calls its deleter, from any thread; `release()` it to
/// hand it to a library that does.
using dlpack_tensor = std::unique_ptr<DLManagedTensor, detail::dlpack_deleter>;
/// The same in the form since DLPack 1.0, which can say that a tensor is read-only.
using dlpack_tensor_versioned = std::unique_ptr<DLManagedTensorVersioned, detail::dlpack_deleter>;

}  // namespace shm
