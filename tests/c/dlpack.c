/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Samples and loans as tensors, and tensors as messages. */
#include "check.h"

#include <dlpack/dlpack.h>
#include <pthread.h>

static char marker;
#define UNTOUCHED ((void *)&marker)
#define HOLDS 2
#define TYPE(dims, code, bits) \
    {sizeof(shm_tensor_type), (dims), sizeof(dims) / sizeof((dims)[0]), (code), (bits), 1}

static shm_subscriber *subscriber_with_holds(const char *topic) {
    shm_subscriber_options options = subscriber_defaults();
    options.holds = HOLDS;
    return new_subscriber(topic, &options);
}

static void publish_bytes(shm_publisher *publisher, uint8_t byte, size_t size) {
    uint8_t bytes[64];
    CHECK(size <= sizeof bytes);
    memset(bytes, byte, sizeof bytes);
    CHECK_STATUS(shm_publisher_publish(publisher, bytes, size, NULL), SHM_OK);
}

/* In place, with what it is, and of each form. */
static void samples(void) {
    shm_subscriber *subscriber = subscriber_with_holds("/samples");
    shm_publisher *publisher = new_publisher("/samples", NULL);
    const int64_t shape[] = {2, 3};
    const shm_tensor_type type = TYPE(shape, kDLFloat, 64);
    publish_bytes(publisher, 1, 48);
    publish_bytes(publisher, 2, 48);

    shm_sample *sample = next_sample(subscriber);
    const void *data = shm_sample_data(sample);
    DLManagedTensor *tensor;
    CHECK_STATUS(shm_sample_to_dlpack(sample, &type, &tensor), SHM_OK);
    const DLTensor *plain = &tensor->dl_tensor;
    CHECK(plain->data == data && plain->byte_offset == 0 && plain->ndim == 2);
    CHECK(plain->device.device_type == kDLCPU && plain->device.device_id == 0);
    CHECK(plain->dtype.code == kDLFloat && plain->dtype.bits == 64 && plain->dtype.lanes == 1);
    CHECK(plain->shape[0] == 2 && plain->shape[1] == 3 && plain->strides[0] == 3 && plain->strides[1] == 1);
    CHECK(((const uint8_t *)plain->data)[47] == 1);

    sample = next_sample(subscriber);
    data = shm_sample_data(sample);
    DLManagedTensorVersioned *newer;
    CHECK_STATUS(shm_sample_to_dlpack_versioned(sample, &type, &newer), SHM_OK);
    CHECK(newer->version.major == 1 && newer->flags == DLPACK_FLAG_BITMASK_READ_ONLY);
    CHECK(newer->dl_tensor.data == data && ((const uint8_t *)data)[47] == 2);

    tensor->deleter(tensor);
    newer->deleter(newer);
    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
}

/* What is refused leaves the sample, the loan and the output as they were. */
static void refused(void) {
    shm_subscriber *subscriber = subscriber_with_holds("/refused");
    shm_publisher *publisher = new_publisher("/refused", NULL);
    publish_bytes(publisher, 3, 12);
    shm_sample *sample = next_sample(subscriber);
    shm_loan *loan;
    CHECK_STATUS(shm_publisher_loan(publisher, 12, &loan), SHM_OK);

    const int64_t fits[] = {3}, shorter[] = {2}, wraps[] = {INT64_C(1) << 32, INT64_C(1) << 32}, negative[] = {-3};
    const struct {
        shm_tensor_type type;
        int32_t status;
    } wrong[] = {
        {TYPE(shorter, kDLFloat, 32), SHM_ERR_WRONG_SIZE},
        {TYPE(fits, kDLFloat, 64), SHM_ERR_WRONG_SIZE},
        {{sizeof(shm_tensor_type), NULL, 0, kDLInt, 8, 1}, SHM_ERR_WRONG_SIZE},
        {TYPE(wraps, kDLInt, 8), SHM_ERR_TOO_LARGE},
        {TYPE(negative, kDLInt, 32), SHM_ERR_INVALID_OPTION},
        {TYPE(fits, kDLInt, 31), SHM_ERR_INVALID_OPTION},
        {{sizeof(shm_tensor_type), fits, 1, kDLInt, 32, 0}, SHM_ERR_INVALID_OPTION},
        {{0, fits, 1, kDLInt, 32, 1}, SHM_ERR_INVALID_OPTION},
        {{sizeof(shm_tensor_type), NULL, 1, kDLInt, 32, 1}, SHM_ERR_NULL},
    };
    DLManagedTensor *tensor = UNTOUCHED;
    DLManagedTensorVersioned *newer = UNTOUCHED;
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        const shm_tensor_type *type = &wrong[n].type;
        CHECK_STATUS(shm_sample_to_dlpack(sample, type, &tensor), wrong[n].status);
        CHECK_STATUS(shm_sample_to_dlpack_versioned(sample, type, &newer), wrong[n].status);
        CHECK_STATUS(shm_loan_to_dlpack(loan, type, &tensor), wrong[n].status);
        CHECK_STATUS(shm_loan_to_dlpack_versioned(loan, type, &newer), wrong[n].status);
    }
    CHECK(tensor == UNTOUCHED && newer == UNTOUCHED);
    CHECK(shm_sample_size(sample) == 12 && shm_loan_size(loan) == 12);

    /* A struct from before `lanes` has one. */
    shm_tensor_type older = TYPE(fits, kDLFloat, 32);
    older.struct_size = offsetof(shm_tensor_type, lanes);
    older.lanes = 77;
    CHECK_STATUS(shm_sample_to_dlpack(sample, &older, &tensor), SHM_OK);
    CHECK(tensor->dl_tensor.dtype.lanes == 1);
    shm_dlpack_destroy(tensor);
    shm_loan_destroy(loan);
    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
}

static void *end_tensor(void *tensor) {
    shm_dlpack_destroy(tensor);
    return NULL;
}

static void *end_newer(void *tensor) {
    shm_dlpack_destroy_versioned(tensor);
    return NULL;
}

/* A hold is taken as long as a tensor lives, and free after that, whoever ended it. */
static void held(void) {
    shm_subscriber *subscriber = subscriber_with_holds("/held");
    shm_publisher *publisher = new_publisher("/held", NULL);
    const int64_t shape[] = {8};
    const shm_tensor_type type = TYPE(shape, kDLUInt, 8);
    for (int round = 0; round < 100; round++) {
        DLManagedTensor *older;
        DLManagedTensorVersioned *newer;
        shm_sample *sample = UNTOUCHED;
        for (uint64_t n = 0; n < HOLDS + 1; n++) publish_number(publisher, n);
        CHECK_STATUS(shm_sample_to_dlpack(next_sample(subscriber), &type, &older), SHM_OK);
        CHECK_STATUS(shm_sample_to_dlpack_versioned(next_sample(subscriber), &type, &newer), SHM_OK);
        CHECK_STATUS(shm_subscriber_try_receive(subscriber, &sample), SHM_ERR_NO_HOLD);
        CHECK(sample == UNTOUCHED && *(uint64_t *)older->dl_tensor.data == 0);
        pthread_t threads[2];
        CHECK(pthread_create(&threads[0], NULL, end_tensor, older) == 0);
        CHECK(pthread_create(&threads[1], NULL, end_newer, newer) == 0);
        for (int n = 0; n < 2; n++) CHECK(pthread_join(threads[n], NULL) == 0);
        CHECK(receive_number(subscriber) == HOLDS);
    }
    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
}

/* Tensors outlive their subscriber, and the last one takes it away. */
static void destroyed_subscriber(void) {
    const int64_t shape[] = {1};
    const shm_tensor_type type = TYPE(shape, kDLUInt, 64);
    for (int round = 0; round < 20; round++) {
        shm_subscriber *subscriber = subscriber_with_holds("/destroyed");
        shm_publisher *publisher = new_publisher("/destroyed", NULL);
        for (uint64_t n = 0; n < HOLDS; n++) publish_number(publisher, 40 + n);
        DLManagedTensor *tensors[HOLDS];
        for (int n = 0; n < HOLDS; n++) CHECK_STATUS(shm_sample_to_dlpack(next_sample(subscriber), &type, &tensors[n]), SHM_OK);
        shm_subscriber_destroy(subscriber);
        for (uint64_t n = 0; n < 200; n++) publish_number(publisher, n);
        shm_publisher_destroy(publisher);
        pthread_t threads[HOLDS];
        for (uint64_t n = 0; n < HOLDS; n++) {
            CHECK(*(uint64_t *)tensors[n]->dl_tensor.data == 40 + n);
            CHECK(pthread_create(&threads[n], NULL, end_tensor, tensors[n]) == 0);
        }
        for (int n = 0; n < HOLDS; n++) CHECK(pthread_join(threads[n], NULL) == 0);
        check_root_is_empty();
    }
}

/* A loan is written to through a view of it, which doesn't end it. */
static void loans(void) {
    shm_subscriber *subscriber = subscriber_with_holds("/loans");
    shm_publisher *publisher = new_publisher("/loans", NULL);
    const int64_t shape[] = {1};
    const shm_tensor_type type = TYPE(shape, kDLUInt, 64);
    shm_loan *loan;
    CHECK_STATUS(shm_publisher_loan(publisher, 8, &loan), SHM_OK);
    DLManagedTensor *view;
    DLManagedTensorVersioned *newer;
    CHECK_STATUS(shm_loan_to_dlpack(loan, &type, &view), SHM_OK);
    CHECK_STATUS(shm_loan_to_dlpack_versioned(loan, &type, &newer), SHM_OK);
    CHECK(view->dl_tensor.data == shm_loan_data(loan) && newer->dl_tensor.data == shm_loan_data(loan));
    CHECK(newer->flags == 0);
    *(uint64_t *)view->dl_tensor.data = 77;
    shm_dlpack_destroy(view);
    CHECK_STATUS(shm_loan_publish(loan, NULL), SHM_OK);
    shm_dlpack_destroy_versioned(newer);
    CHECK(receive_number(subscriber) == 77);
    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
}

static void published(void) {
    shm_subscriber *subscriber = subscriber_with_holds("/published");
    shm_publisher *publisher = new_publisher("/published", NULL);
    int32_t numbers[] = {0, 1, 2, 3, 4, 5, 6, 7};
    int64_t shape[] = {2, 3}, strides[] = {1, 2};
    DLTensor tensor = {numbers, {kDLCPU, 0}, 2, {kDLInt, 32, 1}, shape, strides, sizeof(int32_t)};
    uint64_t before = publish_number(publisher, 0), position = 0;
    CHECK(receive_number(subscriber) == 0);
    CHECK_STATUS(shm_publisher_publish_dlpack(publisher, &tensor, &position), SHM_OK);
    CHECK(position == before + 1);
    const int32_t expected[] = {1, 3, 5, 2, 4, 6};
    shm_sample *sample = next_sample(subscriber);
    CHECK(shm_sample_size(sample) == sizeof expected);
    CHECK(memcmp(shm_sample_data(sample), expected, sizeof expected) == 0);
    shm_sample_release(sample);

    tensor.device.device_type = kDLCUDA;
    CHECK_STATUS(shm_publisher_publish_dlpack(publisher, &tensor, &position), SHM_ERR_NO_DEVICE);
    CHECK(strstr(shm_last_error_message(), "CUDA") != NULL);
    tensor.device.device_type = kDLCPU;
    tensor.dtype.bits = 0;
    CHECK_STATUS(shm_publisher_publish_dlpack(publisher, &tensor, &position), SHM_ERR_INVALID_OPTION);
    CHECK(position == before + 1);
    CHECK_STATUS(shm_subscriber_try_receive(subscriber, &sample), SHM_WOULD_BLOCK);
    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
}

int main(void) {
    fresh_root();
    samples();
    refused();
    held();
    destroyed_subscriber();
    loans();
    published();
    check_root_is_empty();
    return 0;
}
