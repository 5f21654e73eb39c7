/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Publishers and subscribers in processes of their own: this program, started again with a role. */
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

int main(int argc, char **argv) {
    const char *role = argc > 2 ? argv[1] : "";
    if (argc > 2) end_with_parent(argv[2]);
    if (strcmp(role, "publish") == 0) return role_publish();
    if (strcmp(role, "subscribe") == 0) return role_subscribe();
    if (strcmp(role, "stay") == 0) return role_stay();
    program = argv[0];
    fresh_root();
    publisher_elsewhere();
    subscribers_elsewhere();
    killed_subscriber();
    check_root_is_empty();
    return 0;
}
