/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Publishers, subscribers, clients and servers in processes of their own: this program, started again with a role. */
#include "check.h"

#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 100

extern char **environ;

static char *program;

static pid_t start(const char *role) {
    char parent[24];
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    char *arguments[] = {program, (char *)role, parent, NULL};
    pid_t child;
    CHECK(posix_spawn(&child, program, NULL, NULL, arguments, environ) == 0);
    return child;
}

static void check_success(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A check that fails ends the parent, whose children must not wait on for ever, with its output open. */
static void end_with_parent(const char *parent) {
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    CHECK(getppid() == strtol(parent, NULL, 10)); /* It may have ended before. */
}

/* More than is published here, so that nothing is lost. */
static shm_publisher *roomy_publisher(const char *topic) {
    shm_publisher_options options = publisher_defaults();
    options.capacity = 128;
    return new_publisher(topic, &options);
}

static int role_publish(void) {
    shm_publisher *publisher = new_publisher("/data", NULL);
    for (uint64_t n = 0; n < COUNT; n++) publish_number(publisher, n);
    shm_publisher_destroy(publisher);
    return 0;
}

static int role_subscribe(void) {
    shm_subscriber *subscriber = new_subscriber("/data", NULL);
    shm_publisher *acks = new_publisher("/acks", NULL);
    publish_number(acks, COUNT);
    for (uint64_t n = 0; n < COUNT; n++) {
        shm_sample *sample = NULL;
        CHECK_STATUS(shm_subscriber_receive(subscriber, &sample), SHM_OK);
        CHECK(number_in(sample) == n);
        shm_sample_release(sample);
    }
    shm_publisher_destroy(acks);
    shm_subscriber_destroy(subscriber);
    return 0;
}

/* Says that it is there and waits to be killed, holding what it made. */
static int role_stay(void) {
    new_subscriber("/data", NULL);
    publish_number(new_publisher("/acks", NULL), COUNT);
    while (pause() == -1) continue;
    return 1;
}

static int role_call(void) {
    shm_client_options options = client_defaults();
    options.wait_for_server = 1;
    shm_client *client = new_client("/service", &options);
    for (uint64_t n = 0; n < COUNT; n++) {
        shm_reply *reply = NULL;
        uint64_t number;
        CHECK_STATUS(shm_client_call(client, &n, sizeof n, SHM_WAIT_FOREVER, &reply), SHM_OK);
        CHECK(shm_reply_size(reply) == sizeof number);
        memcpy(&number, shm_reply_data(reply), sizeof number);
        CHECK(number == n + 1);
        shm_reply_release(reply);
    }
    shm_client_destroy(client);
    return 0;
}

/* Serves until it is killed; doesn't reply to 0, and says when that has come. */
static int role_serve(void) {
    shm_server *server = new_server("/service", NULL);
    shm_publisher *acks = new_publisher("/acks", NULL);
    publish_number(acks, COUNT);
    for (;;) {
        shm_request *request = NULL;
        CHECK_STATUS(shm_server_receive(server, &request), SHM_OK);
        uint64_t number = number_asked(request) + 1;
        if (number == 1) {
            publish_number(acks, 0);
            continue;
        }
        CHECK_STATUS(shm_request_reply(request, &number, sizeof number), SHM_OK);
    }
    return 0; /* For compilers that don't see that it never comes here. */
}

static void publisher_elsewhere(void) {
    shm_publisher *keeper = roomy_publisher("/data");
    shm_subscriber *subscriber = new_subscriber("/data", NULL);
    pid_t child = start("publish");
    for (uint64_t n = 0; n < COUNT; n++) CHECK(receive_number(subscriber) == n);
    check_success(child);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(keeper);
}

static void subscribers_elsewhere(void) {
    shm_publisher *publisher = roomy_publisher("/data");
    shm_subscriber *acks = new_subscriber("/acks", NULL);
    pid_t children[] = {start("subscribe"), start("subscribe")};
    for (int i = 0; i < 2; i++) CHECK(receive_number(acks) == COUNT);
    for (uint64_t n = 0; n < COUNT; n++) publish_number(publisher, n);
    for (int i = 0; i < 2; i++) check_success(children[i]);
    shm_subscriber_destroy(acks);
    shm_publisher_destroy(publisher);
}

/* The place of a process that was killed is free for the next one. */
static void killed_subscriber(void) {
    shm_publisher_options options = publisher_defaults();
    options.participants = 2;
    shm_publisher *publisher = new_publisher("/data", &options);
    shm_subscriber *acks = new_subscriber("/acks", NULL);
    pid_t child = start("stay");
    CHECK(receive_number(acks) == COUNT);
    shm_subscriber *subscriber = NULL;
    CHECK_STATUS(shm_subscriber_create("/data", NULL, &subscriber), SHM_ERR_NO_PARTICIPANT);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);

    subscriber = new_subscriber("/data", NULL);
    publish_number(publisher, 5);
    CHECK(receive_number(subscriber) == 5);
    shm_subscriber_destroy(subscriber);
    shm_subscriber_destroy(acks);
    shm_publisher_destroy(publisher);
}

static void clients_elsewhere(void) {
    shm_server *server = new_server("/service", NULL);
    pid_t children[] = {start("call"), start("call")};
    for (int n = 0; n < 2 * COUNT; n++) {
        shm_request *request = next_request(server);
        uint64_t number = number_asked(request) + 1;
        CHECK_STATUS(shm_request_reply(request, &number, sizeof number), SHM_OK);
    }
    for (int i = 0; i < 2; i++) check_success(children[i]);
    shm_server_destroy(server);
}

/* Whoever waits for a server that is killed is told so; what may be carried out twice is, by another server. */
static void killed_server(uint32_t idempotent) {
    shm_client_options options = client_defaults();
    options.idempotent = idempotent;
    shm_client *client = new_client("/service", &options);
    shm_subscriber *acks = new_subscriber("/acks", NULL);
    pid_t child = start("serve");
    CHECK(receive_number(acks) == COUNT);
    CHECK(number_replied(send_number(client, 5)) == 6);
    shm_pending *pending = send_number(client, 0);
    CHECK(receive_number(acks) == 0);
    shm_server *other = new_server("/service", NULL);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);

    shm_reply *reply = NULL;
    if (idempotent) {
        /* It is the client's wait that finds the server dead and sends the request again. */
        shm_request *request = NULL;
        while (shm_server_try_receive(other, &request) == SHM_WOULD_BLOCK) {
            CHECK_STATUS(shm_pending_wait(pending, 10000000, &reply), SHM_TIMED_OUT);
        }
        CHECK(number_asked(request) == 0);
        uint64_t number = 1;
        CHECK_STATUS(shm_request_reply(request, &number, sizeof number), SHM_OK);
        CHECK(number_replied(pending) == 1);
    } else {
        CHECK_STATUS(shm_pending_wait(pending, SHM_WAIT_FOREVER, &reply), SHM_ERR_PEER_DIED);
        CHECK_STATUS(shm_pending_wait(pending, SHM_WAIT_FOREVER, &reply), SHM_END);
        shm_pending_destroy(pending);
    }
    CHECK(reply == NULL);
    shm_server_destroy(other);
    shm_subscriber_destroy(acks);
    shm_client_destroy(client);
}

int main(int argc, char **argv) {
    const char *role = argc > 2 ? argv[1] : "";
    if (argc > 2) end_with_parent(argv[2]);
    if (strcmp(role, "publish") == 0) return role_publish();
    if (strcmp(role, "subscribe") == 0) return role_subscribe();
    if (strcmp(role, "stay") == 0) return role_stay();
    if (strcmp(role, "call") == 0) return role_call();
    if (strcmp(role, "serve") == 0) return role_serve();
    program = argv[0];
    fresh_root();
    publisher_elsewhere();
    subscribers_elsewhere();
    killed_subscriber();
    clients_elsewhere();
    killed_server(0);
    killed_server(1);
    check_root_is_empty();
    return 0;
}
