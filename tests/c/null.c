/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* NULL in every place gives SHM_ERR_NULL, NULL, 0 or nothing; outputs stay as they were. */
#include "check.h"

static char marker;
#define UNTOUCHED ((void *)&marker)

static void calls_on_no_handle(void) {
    uint64_t number = 7;
    shm_loan *loan = UNTOUCHED;
    shm_sample *sample = UNTOUCHED;
    shm_topic_info info = {.struct_size = sizeof info, .capacity = 7};

    CHECK_STATUS(shm_publisher_publish(NULL, "x", 1, &number), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "publisher is NULL") == 0);
    CHECK_STATUS(shm_publisher_try_publish(NULL, "x", 1, &number), SHM_ERR_NULL);
    CHECK_STATUS(shm_publisher_loan(NULL, 1, &loan), SHM_ERR_NULL);
    CHECK_STATUS(shm_publisher_info(NULL, &info), SHM_ERR_NULL);
    CHECK_STATUS(shm_loan_resize(NULL, 1), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "loan is NULL") == 0);
    CHECK_STATUS(shm_loan_publish(NULL, &number), SHM_ERR_NULL);
    CHECK_STATUS(shm_loan_try_publish(NULL, &number), SHM_ERR_NULL);
    CHECK_STATUS(shm_loan_publish_timeout(NULL, 0, &number), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_try_receive(NULL, &sample), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "subscriber is NULL") == 0);
    CHECK_STATUS(shm_subscriber_receive(NULL, &sample), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_receive_timeout(NULL, 0, &sample), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_lost(NULL, &number), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_info(NULL, &info), SHM_ERR_NULL);
    CHECK(number == 7 && loan == UNTOUCHED && sample == UNTOUCHED && info.capacity == 7);
}

static void values_of_nothing(void) {
    CHECK(shm_loan_data(NULL) == NULL);
    CHECK(shm_loan_size(NULL) == 0);
    CHECK(shm_loan_capacity(NULL) == 0);
    CHECK(shm_sample_data(NULL) == NULL);
    CHECK(shm_sample_size(NULL) == 0);
    CHECK(shm_sample_position(NULL) == 0);
    CHECK(shm_sample_timestamp(NULL) == 0);
    shm_loan_destroy(NULL);
    shm_publisher_destroy(NULL);
    shm_subscriber_destroy(NULL);
    shm_sample_release(NULL);
}

static void missing_arguments(void) {
    shm_publisher *publisher = UNTOUCHED;
    shm_subscriber *subscriber = UNTOUCHED;
    CHECK_STATUS(shm_publisher_options_init(NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_options_init(NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_root_options_init(NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_publisher_create(NULL, NULL, &publisher), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "topic is NULL") == 0);
    CHECK_STATUS(shm_publisher_create("/null", NULL, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_create(NULL, NULL, &subscriber), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_create("/null", NULL, NULL), SHM_ERR_NULL);
    CHECK(publisher == UNTOUCHED && subscriber == UNTOUCHED);
    check_root_is_empty();
}

static void missing_outputs(void) {
    shm_publisher *publisher = new_publisher("/null", NULL);
    shm_subscriber *subscriber = new_subscriber("/null", NULL);
    uint64_t position = 7;

    CHECK_STATUS(shm_publisher_publish(publisher, NULL, 1, &position), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "data is NULL") == 0);
    CHECK_STATUS(shm_publisher_try_publish(publisher, NULL, 1, &position), SHM_ERR_NULL);
    CHECK(position == 7);
    CHECK_STATUS(shm_publisher_publish(publisher, NULL, 0, NULL), SHM_OK);
    CHECK_STATUS(shm_publisher_loan(publisher, 1, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_publisher_info(publisher, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_info(subscriber, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_lost(subscriber, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_try_receive(subscriber, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_receive(subscriber, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_subscriber_receive_timeout(subscriber, 0, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_gc(NULL, NULL), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "collected is NULL") == 0);
    CHECK_STATUS(shm_audit(NULL, NULL, NULL, NULL), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "summary is NULL") == 0);

    /* None of these received the empty message. */
    shm_sample *sample = next_sample(subscriber);
    CHECK(shm_sample_size(sample) == 0);
    shm_sample_release(sample);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
}

int main(void) {
    fresh_root();
    calls_on_no_handle();
    values_of_nothing();
    missing_arguments();
    missing_outputs();
    check_root_is_empty();
    return 0;
}
