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

static void calls_without_a_tensor(void) {
    struct DLManagedTensor *tensor = UNTOUCHED;
    struct DLManagedTensorVersioned *newer = UNTOUCHED;
    shm_tensor_type type = {sizeof type, NULL, 0, 1, 8, 1};
    shm_publisher *publisher = new_publisher("/no_tensor", NULL);
    shm_subscriber *subscriber = new_subscriber("/no_tensor", NULL);
    shm_loan *loan;
    uint64_t position = 7;

    CHECK_STATUS(shm_sample_to_dlpack(NULL, &type, &tensor), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "sample is NULL") == 0);
    CHECK_STATUS(shm_sample_to_dlpack_versioned(NULL, &type, &newer), SHM_ERR_NULL);
    CHECK_STATUS(shm_loan_to_dlpack(NULL, &type, &tensor), SHM_ERR_NULL);
    CHECK_STATUS(shm_loan_to_dlpack_versioned(NULL, &type, &newer), SHM_ERR_NULL);
    CHECK_STATUS(shm_publisher_publish_dlpack(NULL, UNTOUCHED, &position), SHM_ERR_NULL);
    CHECK_STATUS(shm_publisher_publish_dlpack(publisher, NULL, &position), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "tensor is NULL") == 0);

    CHECK_STATUS(shm_publisher_publish(publisher, "x", 1, NULL), SHM_OK);
    CHECK_STATUS(shm_publisher_loan(publisher, 1, &loan), SHM_OK);
    shm_sample *sample = next_sample(subscriber);
    CHECK_STATUS(shm_sample_to_dlpack(sample, NULL, &tensor), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "type is NULL") == 0);
    CHECK_STATUS(shm_sample_to_dlpack_versioned(sample, NULL, &newer), SHM_ERR_NULL);
    CHECK_STATUS(shm_sample_to_dlpack(sample, &type, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_sample_to_dlpack_versioned(sample, &type, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_loan_to_dlpack(loan, NULL, &tensor), SHM_ERR_NULL);
    CHECK_STATUS(shm_loan_to_dlpack_versioned(loan, NULL, &newer), SHM_ERR_NULL);
    CHECK_STATUS(shm_loan_to_dlpack(loan, &type, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_loan_to_dlpack_versioned(loan, &type, NULL), SHM_ERR_NULL);
    CHECK(tensor == UNTOUCHED && newer == UNTOUCHED && position == 7 && shm_sample_size(sample) == 1);
    shm_dlpack_destroy(NULL);
    shm_dlpack_destroy_versioned(NULL);
    shm_sample_release(sample);
    shm_loan_destroy(loan);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
}

static void calls_on_no_service(void) {
    shm_request_loan *request_loan = UNTOUCHED;
    shm_pending *pending = UNTOUCHED;
    shm_reply *reply = UNTOUCHED;
    shm_request *request = UNTOUCHED;
    shm_reply_loan *reply_loan = UNTOUCHED;

    CHECK_STATUS(shm_client_loan(NULL, 1, &request_loan), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "client is NULL") == 0);
    CHECK_STATUS(shm_client_send(NULL, "x", 1, &pending), SHM_ERR_NULL);
    CHECK_STATUS(shm_client_call(NULL, "x", 1, 0, &reply), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_loan_resize(NULL, 1), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_loan_set_function(NULL, "x"), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_loan_send(NULL, &pending), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_loan_call(NULL, 0, &reply), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "loan is NULL") == 0);
    CHECK_STATUS(shm_pending_try_reply(NULL, &reply), SHM_ERR_NULL);
    CHECK_STATUS(shm_pending_wait(NULL, 0, &reply), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "pending is NULL") == 0);
    CHECK_STATUS(shm_server_try_receive(NULL, &request), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "server is NULL") == 0);
    CHECK_STATUS(shm_server_receive(NULL, &request), SHM_ERR_NULL);
    CHECK_STATUS(shm_server_receive_timeout(NULL, 0, &request), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_reply(NULL, "x", 1), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "request is NULL") == 0);
    CHECK_STATUS(shm_request_fail(NULL, 1, "x"), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_send_part(NULL, "x", 1), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_send_part_timeout(NULL, "x", 1, 0), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_finish(NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_finish_timeout(NULL, 0), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_fail_timeout(NULL, 1, "x", 0), SHM_ERR_NULL);
    CHECK_STATUS(shm_reply_loan_create(NULL, 1, &reply_loan), SHM_ERR_NULL);
    CHECK_STATUS(shm_reply_loan_resize(NULL, 1), SHM_ERR_NULL);
    CHECK_STATUS(shm_reply_loan_send_part(NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_reply_loan_send_part_timeout(NULL, 0), SHM_ERR_NULL);
    CHECK_STATUS(shm_reply_loan_send(NULL), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "loan is NULL") == 0);
    CHECK(request_loan == UNTOUCHED && pending == UNTOUCHED && reply == UNTOUCHED);
    CHECK(request == UNTOUCHED && reply_loan == UNTOUCHED);
}

static void values_of_nothing(void) {
    CHECK(shm_loan_data(NULL) == NULL);
    CHECK(shm_loan_size(NULL) == 0);
    CHECK(shm_loan_capacity(NULL) == 0);
    CHECK(shm_sample_data(NULL) == NULL);
    CHECK(shm_sample_size(NULL) == 0);
    CHECK(shm_sample_position(NULL) == 0);
    CHECK(shm_sample_timestamp(NULL) == 0);
    CHECK(shm_request_loan_data(NULL) == NULL && shm_reply_loan_data(NULL) == NULL);
    CHECK(shm_request_loan_size(NULL) == 0 && shm_reply_loan_size(NULL) == 0);
    CHECK(shm_request_loan_capacity(NULL) == 0 && shm_reply_loan_capacity(NULL) == 0);
    CHECK(shm_request_data(NULL) == NULL && shm_reply_data(NULL) == NULL);
    CHECK(shm_request_size(NULL) == 0 && shm_reply_size(NULL) == 0);
    CHECK(shm_request_is_cancelled(NULL) == 0);
    CHECK(shm_request_function(NULL) == 0 && shm_function_number(NULL) == 0);
    shm_client_destroy(NULL);
    shm_request_loan_destroy(NULL);
    shm_pending_destroy(NULL);
    shm_reply_release(NULL);
    shm_server_destroy(NULL);
    shm_request_destroy(NULL);
    shm_reply_loan_destroy(NULL);
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

    shm_client *client = UNTOUCHED;
    shm_server *server = UNTOUCHED;
    CHECK_STATUS(shm_client_options_init(NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_server_options_init(NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_client_create(NULL, NULL, &client), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "service is NULL") == 0);
    CHECK_STATUS(shm_client_create("/null", NULL, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_server_create(NULL, NULL, &server), SHM_ERR_NULL);
    CHECK_STATUS(shm_server_create("/null", NULL, NULL), SHM_ERR_NULL);
    CHECK(client == UNTOUCHED && server == UNTOUCHED);
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

static void missing_outputs_of_services(void) {
    shm_client *client = new_client("/null", NULL);
    shm_server *server = new_server("/null", NULL);
    shm_pending *pending = UNTOUCHED;
    shm_reply *reply = UNTOUCHED;

    CHECK_STATUS(shm_client_loan(client, 1, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_client_send(client, NULL, 0, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_client_send(client, NULL, 1, &pending), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "data is NULL") == 0);
    CHECK_STATUS(shm_client_call(client, NULL, 0, 0, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_client_call(client, NULL, 1, 0, &reply), SHM_ERR_NULL);
    CHECK(pending == UNTOUCHED && reply == UNTOUCHED);
    shm_request_loan *loan = NULL;
    CHECK_STATUS(shm_client_loan(client, 0, &loan), SHM_OK);
    CHECK_STATUS(shm_request_loan_call(loan, 0, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_loan_send(loan, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_loan_send(loan, &pending), SHM_OK);
    CHECK_STATUS(shm_server_try_receive(server, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_server_receive(server, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_server_receive_timeout(server, 0, NULL), SHM_ERR_NULL);

    /* None of these sent or received the empty request, but one. */
    shm_request *request = next_request(server);
    CHECK(shm_request_size(request) == 0);
    CHECK_STATUS(shm_request_reply(request, NULL, 1), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_send_part(request, NULL, 1), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_send_part_timeout(request, NULL, 1, 0), SHM_ERR_NULL);
    CHECK_STATUS(shm_reply_loan_create(request, 1, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_request_reply(request, NULL, 0), SHM_OK);
    CHECK_STATUS(shm_server_try_receive(server, &request), SHM_WOULD_BLOCK);
    CHECK_STATUS(shm_pending_try_reply(pending, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_pending_wait(pending, 0, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_pending_try_reply(pending, &reply), SHM_OK);
    CHECK(shm_reply_size(reply) == 0);
    shm_reply_release(reply);
    shm_pending_destroy(pending);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

int main(void) {
    fresh_root();
    calls_on_no_handle();
    calls_without_a_tensor();
    calls_on_no_service();
    values_of_nothing();
    missing_arguments();
    missing_outputs();
    missing_outputs_of_services();
    check_root_is_empty();
    return 0;
}
