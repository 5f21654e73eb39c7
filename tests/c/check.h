/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the tests in C share. A check that fails ends the test with status 1. */
#ifndef CHECK_H
#define CHECK_H

#include <shm/shm.h>

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                        \
    do {                                                                                        \
        if (!(condition)) check_failed(__FILE__, __LINE__, #condition);                         \
    } while (0)

/* Also says what came instead. */
#define CHECK_STATUS(call, expected) check_status(__FILE__, __LINE__, #call, (call), (expected))

#define TEN_SECONDS UINT64_C(10000000000)

void check_failed(const char *file, int line, const char *what);
void check_status(const char *file, int line, const char *call, int32_t status, int32_t expected);

/* Makes an empty SHM_ROOT for this process and those that it starts; it is removed at the end. */
const char *fresh_root(void);

/* Checks that nothing is left in the root. */
void check_root_is_empty(void);

shm_publisher *new_publisher(const char *topic, const shm_publisher_options *options);
shm_subscriber *new_subscriber(const char *topic, const shm_subscriber_options *options);
shm_client *new_client(const char *service, const shm_client_options *options);
shm_server *new_server(const char *service, const shm_server_options *options);
shm_publisher_options publisher_defaults(void);
shm_subscriber_options subscriber_defaults(void);
shm_client_options client_defaults(void);
shm_server_options server_defaults(void);

/* Messages of one number. */
uint64_t publish_number(shm_publisher *publisher, uint64_t number);
shm_sample *next_sample(shm_subscriber *subscriber);
uint64_t number_in(const shm_sample *sample);
uint64_t receive_number(shm_subscriber *subscriber);

/* Requests and replies of one number. */
shm_pending *send_number(shm_client *client, uint64_t number);
shm_request *next_request(shm_server *server);
uint64_t number_asked(const shm_request *request);
shm_reply *next_reply(shm_pending *pending);
/* Ends the call as well. */
uint64_t number_replied(shm_pending *pending);

#endif
