/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The life of a loan. */
#include "check.h"

static char marker;
#define UNTOUCHED ((void *)&marker)

static shm_loan *new_loan(shm_publisher *publisher, size_t size) {
    shm_loan *loan = NULL;
    CHECK_STATUS(shm_publisher_loan(publisher, size, &loan), SHM_OK);
    CHECK(shm_loan_size(loan) == size);
    CHECK(shm_loan_capacity(loan) >= size);
    CHECK(shm_loan_data(loan) != NULL && (uintptr_t)shm_loan_data(loan) % 64 == 0);
    return loan;
}

static shm_loan *loan_number(shm_publisher *publisher, uint64_t number) {
    shm_loan *loan = new_loan(publisher, sizeof number);
    memcpy(shm_loan_data(loan), &number, sizeof number);
    return loan;
}

/* Loans end in any order, and their handles are used again. */
static void publish_in_place(shm_publisher *publisher, shm_subscriber *subscriber) {
    for (uint64_t round = 0; round < 3; round++) {
        shm_loan *loans[5];
        for (uint64_t n = 0; n < 5; n++) loans[n] = loan_number(publisher, round * 10 + n);
        shm_loan_destroy(loans[2]);
        const int order[] = {4, 0, 3, 1};
        for (int i = 0; i < 4; i++) {
            uint64_t position = 0;
            CHECK_STATUS(shm_loan_publish(loans[order[i]], i % 2 == 0 ? &position : NULL), SHM_OK);
            shm_sample *sample = next_sample(subscriber);
            CHECK(number_in(sample) == round * 10 + (uint64_t)order[i]);
            CHECK(i % 2 != 0 || shm_sample_position(sample) == position);
            shm_sample_release(sample);
        }
    }
    shm_sample *sample;
    CHECK_STATUS(shm_subscriber_try_receive(subscriber, &sample), SHM_WOULD_BLOCK);
}

/* The memory of a published loan isn't lent again as long as the message is there. */
static void published_memory(shm_publisher *publisher, shm_subscriber *subscriber) {
    for (uint64_t n = 0; n < 20; n++) CHECK_STATUS(shm_loan_publish(loan_number(publisher, n), NULL), SHM_OK);
    for (uint64_t n = 0; n < 20; n++) CHECK(receive_number(subscriber) == n);
}

static void resize(shm_publisher *publisher, shm_subscriber *subscriber) {
    shm_loan *loan = new_loan(publisher, 100);
    memset(shm_loan_data(loan), 'a', 100);
    size_t within = shm_loan_capacity(loan);
    void *before = shm_loan_data(loan);
    CHECK_STATUS(shm_loan_resize(loan, within), SHM_OK);
    CHECK(shm_loan_data(loan) == before && shm_loan_size(loan) == within);

    CHECK_STATUS(shm_loan_resize(loan, 70000), SHM_OK);
    CHECK(shm_loan_size(loan) == 70000 && shm_loan_capacity(loan) >= 70000);
    char *data = shm_loan_data(loan);
    for (size_t i = 0; i < 100; i++) CHECK(data[i] == 'a');
    memset(data + 100, 'b', 70000 - 100);

    CHECK_STATUS(shm_loan_resize(loan, SIZE_MAX), SHM_ERR_TOO_LARGE);
    CHECK(shm_loan_size(loan) == 70000 && shm_loan_data(loan) == data);
    CHECK_STATUS(shm_loan_resize(loan, 101), SHM_OK);
    CHECK_STATUS(shm_loan_publish(loan, NULL), SHM_OK);
    shm_sample *sample = next_sample(subscriber);
    const char *received = shm_sample_data(sample);
    CHECK(shm_sample_size(sample) == 101);
    for (size_t i = 0; i < 101; i++) CHECK(received[i] == (i < 100 ? 'a' : 'b'));
    shm_sample_release(sample);

    loan = new_loan(publisher, 0);
    CHECK_STATUS(shm_loan_publish(loan, NULL), SHM_OK);
    sample = next_sample(subscriber);
    CHECK(shm_sample_size(sample) == 0);
    shm_sample_release(sample);
}

static void used_up_memory(void) {
    shm_publisher_options options = publisher_defaults();
    options.memory = 1 << 20;
    shm_publisher *publisher = new_publisher("/memory", &options);
    shm_loan *loans[64];
    size_t count = 0;
    int32_t status;
    for (;;) {
        CHECK(count < 64);
        loans[count] = UNTOUCHED;
        status = shm_publisher_loan(publisher, 100000, &loans[count]);
        if (status != SHM_OK) break;
        count++;
    }
    CHECK_STATUS(status, SHM_ERR_OUT_OF_MEMORY);
    CHECK(count > 0 && loans[count] == UNTOUCHED);
    CHECK(strstr(shm_last_error_message(), "memory") != NULL);
    static const char payload[100000];
    uint64_t position = 7;
    CHECK_STATUS(shm_publisher_publish(publisher, payload, sizeof payload, &position), SHM_ERR_OUT_OF_MEMORY);
    CHECK(position == 7);

    shm_loan_destroy(loans[--count]);
    CHECK_STATUS(shm_publisher_loan(publisher, 100000, &loans[count]), SHM_OK);
    count++;
    while (count > 0) shm_loan_destroy(loans[--count]);

    shm_loan *loan = UNTOUCHED;
    CHECK_STATUS(shm_publisher_loan(publisher, SIZE_MAX, &loan), SHM_ERR_TOO_LARGE);
    CHECK(loan == UNTOUCHED);
    shm_publisher_destroy(publisher);
}

/* Loans outlive their publisher, but can't be published then. */
static void destroyed_publisher(void) {
    shm_subscriber *subscriber = new_subscriber("/destroyed", NULL);
    shm_publisher *publisher = new_publisher("/destroyed", NULL);
    shm_loan_destroy(new_loan(publisher, 10));
    shm_loan *first = new_loan(publisher, 100), *second = new_loan(publisher, 200);
    shm_publisher_destroy(publisher);

    memset(shm_loan_data(first), 'x', 100);
    memset(shm_loan_data(second), 'y', 200);
    uint64_t position = 7;
    CHECK_STATUS(shm_loan_publish(first, &position), SHM_ERR_CLOSED);
    CHECK_STATUS(shm_loan_try_publish(first, &position), SHM_ERR_CLOSED);
    CHECK_STATUS(shm_loan_publish_timeout(first, 0, &position), SHM_ERR_CLOSED);
    CHECK(position == 7);
    const char *data = shm_loan_data(first);
    for (size_t i = 0; i < 100; i++) CHECK(data[i] == 'x');
    shm_loan_destroy(second);
    CHECK(shm_loan_size(first) == 100);
    shm_loan_destroy(first);

    shm_sample *sample;
    CHECK_STATUS(shm_subscriber_try_receive(subscriber, &sample), SHM_WOULD_BLOCK);
    shm_subscriber_destroy(subscriber);
}

/* Nothing is overwritten that a reliable subscriber has yet to read; what can't be published stays the caller's. */
static void full_ring(void) {
    shm_subscriber_options options = subscriber_defaults();
    options.capacity = 4;
    options.reliable = 1;
    shm_subscriber *subscriber = new_subscriber("/full", &options);
    shm_publisher *publisher = new_publisher("/full", NULL);
    uint64_t position = 0, last = 0, count = 0;
    while (shm_publisher_try_publish(publisher, &count, sizeof count, &position) == SHM_OK) {
        CHECK(count == 0 || position == last + 1);
        last = position;
        count++;
    }
    CHECK(count == 4);
    CHECK_STATUS(shm_publisher_try_publish(publisher, &count, sizeof count, &position), SHM_WOULD_BLOCK);

    shm_loan *loan = loan_number(publisher, count);
    void *data = shm_loan_data(loan);
    CHECK_STATUS(shm_loan_try_publish(loan, &position), SHM_WOULD_BLOCK);
    CHECK_STATUS(shm_loan_publish_timeout(loan, 0, &position), SHM_TIMED_OUT);
    CHECK_STATUS(shm_loan_publish_timeout(loan, 3000000, NULL), SHM_TIMED_OUT);
    CHECK(position == last);
    CHECK(shm_loan_data(loan) == data && shm_loan_size(loan) == sizeof count);
    CHECK(memcmp(data, &count, sizeof count) == 0);

    CHECK(receive_number(subscriber) == 0);
    CHECK_STATUS(shm_loan_try_publish(loan, &position), SHM_OK);
    CHECK(position == last + 1);
    CHECK(receive_number(subscriber) == 1);
    CHECK_STATUS(shm_loan_publish_timeout(loan_number(publisher, 5), TEN_SECONDS, NULL), SHM_OK);
    CHECK(receive_number(subscriber) == 2);
    CHECK_STATUS(shm_loan_publish_timeout(loan_number(publisher, 6), UINT64_MAX, &position), SHM_OK);
    CHECK(position == last + 3);
    CHECK(receive_number(subscriber) == 3);
    CHECK(publish_number(publisher, 7) == last + 4);

    /* One that is gone isn't waited for, though a sample of it is still held. */
    shm_sample *sample = next_sample(subscriber);
    shm_subscriber_destroy(subscriber);
    for (uint64_t n = 0; n < 20; n++) {
        CHECK_STATUS(shm_publisher_try_publish(publisher, &n, sizeof n, NULL), SHM_OK);
    }
    CHECK(number_in(sample) == 4);
    shm_sample_release(sample);
    shm_publisher_destroy(publisher);
}

int main(void) {
    fresh_root();
    shm_publisher *publisher = new_publisher("/loans", NULL);
    shm_subscriber *subscriber = new_subscriber("/loans", NULL);
    publish_in_place(publisher, subscriber);
    published_memory(publisher, subscriber);
    resize(publisher, subscriber);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    used_up_memory();
    destroyed_publisher();
    full_ring();
    check_root_is_empty();
    return 0;
}
