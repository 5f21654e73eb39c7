/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* exit() with handles in statics, and handlers of atexit() that use them. */
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

#define STATUS 7

static shm_publisher *publisher;
static shm_subscriber *subscriber;
static shm_loan *loan;
static shm_sample *sample;
static shm_client *client;
static shm_server *server;
static shm_pending *pending;
static shm_request *request;

/* Runs when the library's variables of this thread are gone. */
static void use_at_exit(void) {
    uint64_t position = 0;
    CHECK(number_in(sample) == 1);
    CHECK_STATUS(shm_loan_publish(loan, &position), SHM_OK);
    CHECK(position == shm_sample_position(sample) + 1);
    CHECK(receive_number(subscriber) == 2);
    CHECK_STATUS(shm_publisher_publish(NULL, "x", 1, NULL), SHM_ERR_NULL);
    CHECK(shm_last_error_message() != NULL);
    CHECK_STATUS(shm_publisher_loan(publisher, 100, &loan), SHM_OK);
    publish_number(publisher, 3);

    CHECK_STATUS(shm_request_fail(request, 4, "at the end"), SHM_OK);
    shm_reply *reply;
    CHECK_STATUS(shm_pending_wait(pending, TEN_SECONDS, &reply), SHM_ERR_REMOTE);
    CHECK(shm_last_error_code() == 4);
    shm_pending_destroy(pending);
    pending = send_number(client, 2);
    request = next_request(server);
}

static void destroy_at_exit(void) {
    use_at_exit();
    shm_loan_destroy(loan);
    shm_subscriber_destroy(subscriber);
    shm_sample_release(sample);
    shm_publisher_destroy(publisher);
    shm_client_destroy(client);
    shm_server_destroy(server);
    shm_pending_destroy(pending);
    shm_request_destroy(request);
}

static void take_part_and_exit(void (*handler)(void)) {
    publisher = new_publisher("/ending", NULL);
    subscriber = new_subscriber("/ending", NULL);
    CHECK(atexit(handler) == 0);
    publish_number(publisher, 1);
    sample = next_sample(subscriber);
    uint64_t number = 2;
    CHECK_STATUS(shm_publisher_loan(publisher, sizeof number, &loan), SHM_OK);
    memcpy(shm_loan_data(loan), &number, sizeof number);
    client = new_client("/ending", NULL);
    server = new_server("/ending", NULL);
    pending = send_number(client, 1);
    request = next_request(server);
    CHECK_STATUS(shm_subscriber_try_receive(NULL, &sample), SHM_ERR_NULL);
    CHECK(strlen(shm_last_error_message()) > 0);
    exit(STATUS);
}

static void one_that_exits(void (*handler)(void)) {
    shm_publisher_options options = publisher_defaults();
    options.participants = 3;
    shm_publisher *keeper = new_publisher("/ending", &options);
    shm_server_options of_service = server_defaults();
    of_service.participants = 3;
    shm_server *other = new_server("/ending", &of_service);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) take_part_and_exit(handler);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS);

    /* Both of its entries are free, and its messages are there. */
    shm_subscriber_options history = subscriber_defaults();
    history.history = 3;
    shm_subscriber *later[] = {new_subscriber("/ending", &history), new_subscriber("/ending", NULL)};
    for (uint64_t n = 1; n <= 3; n++) CHECK(receive_number(later[0]) == n);
    publish_number(keeper, 4);
    for (int i = 0; i < 2; i++) {
        CHECK(receive_number(later[i]) == 4);
        shm_subscriber_destroy(later[i]);
    }
    shm_publisher_destroy(keeper);

    /* So are those of the service. */
    shm_client *clients[] = {new_client("/ending", NULL), new_client("/ending", NULL)};
    for (int i = 0; i < 2; i++) {
        shm_pending *asked = send_number(clients[i], 5);
        uint64_t number = number_asked(request = next_request(other));
        CHECK_STATUS(shm_request_reply(request, &number, sizeof number), SHM_OK);
        CHECK(number_replied(asked) == 5);
        shm_client_destroy(clients[i]);
    }
    shm_server_destroy(other);
    check_root_is_empty();
}

int main(void) {
    fresh_root();
    one_that_exits(use_at_exit);
    one_that_exits(destroy_at_exit);
    return 0;
}
