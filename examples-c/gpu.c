/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Publishes from a GPU's memory, and receives into it. Without a GPU it says why. Usage: gpu [topic] [count] */
#include "support.h"

#include <string.h>

/* Stands in for a kernel's work, by way of a loan that isn't published. A program with CUDA code has memory of cudaMalloc, which does as well. */
static void write_text(shm_publisher *publisher, const shm_copier *copier, void *memory, const char *text, size_t size) {
    shm_loan *loan;
    check(shm_publisher_loan(publisher, size, &loan), "loan");
    memcpy(shm_loan_data(loan), text, size);
    check(shm_copier_shm_to_user(copier, memory, shm_loan_data(loan), size), "to the device");
    shm_loan_destroy(loan);
}

static void print_text(shm_publisher *publisher, const shm_copier *copier, const void *memory, size_t size) {
    shm_loan *loan;
    check(shm_publisher_loan(publisher, size, &loan), "loan");
    check(shm_copier_user_to_shm(copier, shm_loan_data(loan), memory, size), "from the device");
    printf("%.*s\n", (int)size, (const char *)shm_loan_data(loan));
    shm_loan_destroy(loan);
}

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/gpu");
    shm_copier *copier;
    int32_t status = shm_copier_cuda_create(NULL, &copier); /* NULL: the first GPU */
    if (status == SHM_ERR_NO_DEVICE) {
        printf("%s\n", shm_last_error_message());
        return 0;
    }
    check(status, "copier");
    shm_subscriber *subscriber;
    shm_publisher *publisher;
    check(shm_subscriber_create(given.topic, NULL, &subscriber), given.topic);
    check(shm_publisher_create(given.topic, NULL, &publisher), given.topic);

    for (uint64_t n = 0; n < given.count; n++) {
        char text[32];
        size_t size = (size_t)snprintf(text, sizeof text, "hello %" PRIu64, n);
        void *from;
        check(shm_copier_alloc(copier, size, &from), "alloc");
        write_text(publisher, copier, from, text, size);
        check(shm_publisher_publish_from(publisher, copier, from, size, NULL), "publish");
        check(shm_copier_dealloc(copier, from, size), "dealloc");

        shm_sample *sample;
        check(shm_subscriber_receive_timeout(subscriber, TEN_SECONDS, &sample), "receive");
        size = shm_sample_size(sample);
        void *to;
        check(shm_copier_copy_out(copier, shm_sample_data(sample), size, &to), "copy out");
        shm_sample_release(sample);
        printf("received %" PRIu64 " ", n);
        print_text(publisher, copier, to, size);
        check(shm_copier_dealloc(copier, to, size), "dealloc");
    }

    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
    shm_copier_destroy(copier);
    return 0;
}
