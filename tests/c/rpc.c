/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Remote procedure calls: requests, replies, and how calls end. */
#include "check.h"

#include <pthread.h>

static char marker;
#define UNTOUCHED ((void *)&marker)

/* Replies to what is there, each with its number and one more. */
static void serve(shm_server *server) {
    shm_request *request;
    while (shm_server_try_receive(server, &request) == SHM_OK) {
        uint64_t number = number_asked(request) + 1;
        CHECK_STATUS(shm_request_reply(request, &number, sizeof number), SHM_OK);
    }
}

/* Many calls in flight, that end in any order. */
static void each_request_gets_its_reply(void) {
    shm_client *client = new_client("/each", NULL);
    shm_server *server = new_server("/each", NULL);
    for (uint64_t round = 0; round < 20; round++) {
        shm_pending *pendings[10];
        for (uint64_t n = 0; n < 10; n++) pendings[n] = send_number(client, round * 10 + n);
        shm_reply *reply = UNTOUCHED;
        CHECK_STATUS(shm_pending_try_reply(pendings[3], &reply), SHM_WOULD_BLOCK);
        CHECK(reply == UNTOUCHED);
        serve(server);
        CHECK_STATUS(shm_pending_try_reply(pendings[3], &reply), SHM_OK);
        shm_reply *none = UNTOUCHED;
        CHECK_STATUS(shm_pending_try_reply(pendings[3], &none), SHM_END);
        CHECK_STATUS(shm_pending_wait(pendings[3], SHM_WAIT_FOREVER, &none), SHM_END);
        CHECK(none == UNTOUCHED);
        shm_pending_destroy(pendings[3]);
        for (int n = 9; n >= 0; n--) {
            if (n != 3) CHECK(number_replied(pendings[n]) == round * 10 + (uint64_t)n + 1);
        }
        uint64_t number;
        CHECK(shm_reply_size(reply) == sizeof number);
        memcpy(&number, shm_reply_data(reply), sizeof number);
        CHECK(number == round * 10 + 4);
        shm_reply_release(reply);
    }
    shm_client_destroy(client);
    shm_server_destroy(server);
}

static void in_place(void) {
    shm_client *client = new_client("/place", NULL);
    shm_server *server = new_server("/place", NULL);
    shm_request_loan *loan = NULL;
    CHECK_STATUS(shm_client_loan(client, 100, &loan), SHM_OK);
    CHECK(shm_request_loan_size(loan) == 100 && shm_request_loan_capacity(loan) >= 100);
    CHECK(shm_request_loan_data(loan) != NULL && (uintptr_t)shm_request_loan_data(loan) % 64 == 0);
    memset(shm_request_loan_data(loan), 'a', 100);
    CHECK_STATUS(shm_request_loan_resize(loan, 70000), SHM_OK);
    CHECK(shm_request_loan_size(loan) == 70000 && shm_request_loan_capacity(loan) >= 70000);
    memset((char *)shm_request_loan_data(loan) + 100, 'b', 70000 - 100);
    CHECK_STATUS(shm_request_loan_resize(loan, SIZE_MAX), SHM_ERR_TOO_LARGE);
    shm_pending *pending = NULL;
    CHECK_STATUS(shm_request_loan_send(loan, &pending), SHM_OK);

    /* What was sent isn't lent again before its time. */
    CHECK_STATUS(shm_client_loan(client, 70000, &loan), SHM_OK);
    memset(shm_request_loan_data(loan), 'z', 70000);
    shm_request_loan_destroy(loan);
    shm_pending *later = send_number(client, 1);
    shm_request *request = next_request(server);
    const char *asked = shm_request_data(request);
    CHECK(shm_request_size(request) == 70000 && asked[99] == 'a' && asked[100] == 'b' && asked[69999] == 'b');
    CHECK((uintptr_t)asked % 64 == 0 && !shm_request_is_cancelled(request));

    /* A loan that isn't sent leaves the request as it is, which is readable as long as the reply is written. */
    shm_reply_loan *reply_loan = UNTOUCHED;
    CHECK_STATUS(shm_reply_loan_create(request, SIZE_MAX, &reply_loan), SHM_ERR_TOO_LARGE);
    CHECK(reply_loan == UNTOUCHED);
    CHECK_STATUS(shm_reply_loan_create(request, 10, &reply_loan), SHM_OK);
    shm_reply_loan_destroy(reply_loan);
    CHECK_STATUS(shm_reply_loan_create(request, 200, &reply_loan), SHM_OK);
    CHECK(shm_reply_loan_size(reply_loan) == 200 && shm_reply_loan_capacity(reply_loan) >= 200);
    CHECK((uintptr_t)shm_reply_loan_data(reply_loan) % 64 == 0);
    memcpy(shm_reply_loan_data(reply_loan), asked, 200);
    CHECK_STATUS(shm_reply_loan_resize(reply_loan, SIZE_MAX), SHM_ERR_TOO_LARGE);
    CHECK_STATUS(shm_reply_loan_resize(reply_loan, 70000), SHM_OK);
    memset((char *)shm_reply_loan_data(reply_loan) + 200, 'c', 70000 - 200);
    CHECK_STATUS(shm_reply_loan_send(reply_loan), SHM_OK);
    request = next_request(server);
    CHECK_STATUS(shm_reply_loan_create(request, 70000, &reply_loan), SHM_OK);
    memset(shm_reply_loan_data(reply_loan), 'z', 70000);
    CHECK_STATUS(shm_reply_loan_send(reply_loan), SHM_OK);

    shm_reply *reply = next_reply(pending);
    const char *replied = shm_reply_data(reply);
    CHECK(shm_reply_size(reply) == 70000 && (uintptr_t)replied % 64 == 0);
    CHECK(replied[99] == 'a' && replied[100] == 'b' && replied[199] == 'b' && replied[200] == 'c');
    shm_pending_destroy(pending);
    shm_pending_destroy(later);
    CHECK(replied[0] == 'a' && replied[69999] == 'c');
    shm_reply_release(reply);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

/* Who finds nobody, or no room, may try again with the same loan. */
static void limits(void) {
    shm_client_options options = client_defaults();
    options.capacity = 2;
    options.calls = 3;
    options.holds = 1;
    shm_client *client = new_client("/limits", &options);
    shm_request_loan *loan = NULL;
    shm_pending *pendings[3] = {UNTOUCHED, UNTOUCHED, UNTOUCHED}, *none = UNTOUCHED;
    shm_reply *reply = UNTOUCHED, *no_reply = UNTOUCHED;
    CHECK_STATUS(shm_client_loan(client, 0, &loan), SHM_OK);
    CHECK_STATUS(shm_request_loan_send(loan, &none), SHM_ERR_NO_SERVER);
    CHECK_STATUS(shm_client_send(client, "x", 1, &none), SHM_ERR_NO_SERVER);
    CHECK_STATUS(shm_client_call(client, "x", 1, SHM_WAIT_FOREVER, &no_reply), SHM_ERR_NO_SERVER);
    CHECK(strstr(shm_last_error_message(), "/limits") != NULL);

    shm_server *server = new_server("/limits", NULL);
    pendings[0] = send_number(client, 0);
    pendings[1] = send_number(client, 1);
    CHECK_STATUS(shm_request_loan_send(loan, &none), SHM_ERR_QUEUE_FULL);
    CHECK_STATUS(shm_client_send(client, "x", 1, &none), SHM_ERR_QUEUE_FULL);
    /* Who gives a time waits for room. */
    CHECK_STATUS(shm_client_call(client, "x", 1, 0, &no_reply), SHM_TIMED_OUT);
    CHECK_STATUS(shm_client_call(client, "x", 1, 1000000, &no_reply), SHM_TIMED_OUT);
    shm_request_loan *waiting = NULL;
    CHECK_STATUS(shm_client_loan(client, 1, &waiting), SHM_OK);
    CHECK_STATUS(shm_request_loan_call(waiting, 1000000, &no_reply), SHM_TIMED_OUT);
    shm_request *in_hand = next_request(server), *no_request = UNTOUCHED;
    CHECK_STATUS(shm_server_try_receive(server, &no_request), SHM_ERR_NO_HOLD);
    CHECK_STATUS(shm_server_receive(server, &no_request), SHM_ERR_NO_HOLD);
    CHECK_STATUS(shm_server_receive_timeout(server, 0, &no_request), SHM_ERR_NO_HOLD);
    CHECK(no_request == UNTOUCHED);
    pendings[2] = send_number(client, 2);
    CHECK_STATUS(shm_request_loan_send(loan, &none), SHM_ERR_TOO_MANY_CALLS);
    CHECK(none == UNTOUCHED && no_reply == UNTOUCHED);

    CHECK_STATUS(shm_request_reply(in_hand, "one", 3), SHM_OK);
    serve(server);
    CHECK_STATUS(shm_pending_wait(pendings[0], TEN_SECONDS, &reply), SHM_OK);
    CHECK_STATUS(shm_pending_try_reply(pendings[1], &no_reply), SHM_ERR_NO_HOLD);
    CHECK_STATUS(shm_pending_wait(pendings[1], TEN_SECONDS, &no_reply), SHM_ERR_NO_HOLD);
    CHECK_STATUS(shm_client_call(client, "x", 1, TEN_SECONDS, &no_reply), SHM_ERR_NO_HOLD);
    CHECK_STATUS(shm_server_try_receive(server, &no_request), SHM_WOULD_BLOCK);
    CHECK(no_reply == UNTOUCHED && memcmp(shm_reply_data(reply), "one", 3) == 0);
    shm_reply_release(reply);
    shm_pending_destroy(pendings[0]);
    CHECK(number_replied(pendings[1]) == 2 && number_replied(pendings[2]) == 3);
    CHECK_STATUS(shm_request_loan_send(loan, &none), SHM_OK);
    shm_pending_destroy(none);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

static void used_up_memory(void) {
    static const char payload[100000];
    shm_client_options of_client = client_defaults();
    shm_server_options of_server = server_defaults();
    of_client.memory = of_server.memory = 1 << 20;
    shm_client *client = new_client("/memory", &of_client);
    shm_server *server = new_server("/memory", &of_server);
    shm_pending *pending = send_number(client, 1), *none = UNTOUCHED;
    shm_request *request = next_request(server);
    shm_reply_loan *reply_loans[64];
    shm_request_loan *request_loans[64];
    size_t given = 0, lent = 0;
    while (shm_reply_loan_create(request, sizeof payload, &reply_loans[given]) == SHM_OK) CHECK(++given < 64);
    while (shm_client_loan(client, sizeof payload, &request_loans[lent]) == SHM_OK) CHECK(++lent < 64);
    CHECK(given > 0 && lent > 0);
    CHECK_STATUS(shm_client_send(client, payload, sizeof payload, &none), SHM_ERR_OUT_OF_MEMORY);
    CHECK(none == UNTOUCHED);

    /* The request is as it was, and goes on. */
    CHECK_STATUS(shm_request_reply(request, payload, sizeof payload), SHM_ERR_OUT_OF_MEMORY);
    CHECK_STATUS(shm_request_send_part(request, payload, sizeof payload), SHM_ERR_OUT_OF_MEMORY);
    CHECK(number_asked(request) == 1 && !shm_request_is_cancelled(request));
    while (given > 0) shm_reply_loan_destroy(reply_loans[--given]);
    while (lent > 0) shm_request_loan_destroy(request_loans[--lent]);
    CHECK_STATUS(shm_request_reply(request, payload, sizeof payload), SHM_OK);
    shm_reply_release(next_reply(pending));
    shm_pending_destroy(pending);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

static void failures(void) {
    shm_client *client = new_client("/failures", NULL);
    shm_server *server = new_server("/failures", NULL);
    shm_reply *reply = UNTOUCHED;
    const struct {
        int32_t code;
        const char *message, *words;
    } said[] = {{-7, "gr\xc3\xb6\xc3\x9f" "er", "gr\xc3\xb6\xc3\x9f" "er"},
                {INT32_MAX, NULL, ""},
                {0, "\xff!", "\xef\xbf\xbd!"}};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        shm_pending *pending = send_number(client, i);
        CHECK_STATUS(shm_request_fail(next_request(server), said[i].code, said[i].message), SHM_OK);
        if (i == 1) CHECK_STATUS(shm_pending_try_reply(pending, &reply), SHM_ERR_REMOTE);
        if (i != 1) CHECK_STATUS(shm_pending_wait(pending, TEN_SECONDS, &reply), SHM_ERR_REMOTE);
        CHECK(shm_last_error_code() == said[i].code);
        CHECK(strcmp(shm_last_error_message(), said[i].words) == 0);
        CHECK_STATUS(shm_pending_try_reply(pending, &reply), SHM_END);
        CHECK(shm_last_error_code() == said[i].code);
        shm_pending_destroy(pending);
        CHECK_STATUS(shm_client_options_init(NULL), SHM_ERR_NULL);
        CHECK(shm_last_error_code() == 0);
    }
    shm_pending *pending = send_number(client, 1);
    shm_request_destroy(next_request(server));
    CHECK_STATUS(shm_pending_wait(pending, TEN_SECONDS, &reply), SHM_ERR_NO_REPLY);
    CHECK_STATUS(shm_pending_wait(pending, TEN_SECONDS, &reply), SHM_END);
    shm_pending_destroy(pending);

    /* The last server goes before one has begun. */
    pending = send_number(client, 2);
    shm_server_destroy(server);
    CHECK_STATUS(shm_pending_wait(pending, SHM_WAIT_FOREVER, &reply), SHM_ERR_NO_SERVER);
    shm_pending_destroy(pending);
    CHECK(reply == UNTOUCHED);
    shm_client_destroy(client);
}

static void timeouts_and_cancellation(void) {
    shm_client *client = new_client("/cancel", NULL);
    shm_server *server = new_server("/cancel", NULL);
    shm_reply *reply = UNTOUCHED;
    shm_request *request = UNTOUCHED;
    CHECK_STATUS(shm_client_call(client, "x", 1, 0, &reply), SHM_TIMED_OUT);
    CHECK_STATUS(shm_client_call(client, "x", 1, 1000000, &reply), SHM_TIMED_OUT);
    /* A server that hasn't begun never sees it. */
    CHECK_STATUS(shm_server_try_receive(server, &request), SHM_WOULD_BLOCK);
    CHECK_STATUS(shm_server_receive_timeout(server, 1000000, &request), SHM_TIMED_OUT);
    CHECK(request == UNTOUCHED);

    for (int way = 0; way < 6; way++) {
        shm_pending *pending = send_number(client, 1);
        request = next_request(server);
        shm_reply_loan *loan = NULL;
        CHECK_STATUS(shm_reply_loan_create(request, 1, &loan), SHM_OK);
        CHECK_STATUS(shm_pending_wait(pending, 0, &reply), SHM_TIMED_OUT);
        CHECK(shm_request_is_cancelled(request) == 0);
        shm_pending_destroy(pending);
        CHECK(shm_request_is_cancelled(request) == 1 && number_asked(request) == 1);
        if (way == 0) CHECK_STATUS(shm_request_reply(request, "x", 1), SHM_CANCELLED);
        if (way == 1) CHECK_STATUS(shm_request_fail(request, 1, "x"), SHM_CANCELLED);
        if (way == 2) CHECK_STATUS(shm_request_finish(request), SHM_CANCELLED);
        if (way == 3) CHECK_STATUS(shm_request_send_part(request, "x", 1), SHM_CANCELLED);
        if (way == 3 || way == 4) shm_request_destroy(request);
        if (way == 5) {
            CHECK_STATUS(shm_reply_loan_send(loan), SHM_CANCELLED);
        } else {
            CHECK_STATUS(shm_reply_loan_send(loan), SHM_ERR_CLOSED);
            shm_reply_loan_destroy(loan);
        }
    }
    CHECK(reply == UNTOUCHED);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

/* Loans know their request, though its handle's place may have become that of another one. */
static void loans_of_ended_requests(void) {
    shm_client *client = new_client("/ended", NULL);
    shm_server *server = new_server("/ended", NULL);
    shm_pending *first = send_number(client, 1), *second = send_number(client, 2);
    shm_request *request = next_request(server);
    shm_reply_loan *loans[2];
    for (int i = 0; i < 2; i++) CHECK_STATUS(shm_reply_loan_create(request, i, &loans[i]), SHM_OK);
    CHECK_STATUS(shm_reply_loan_send(loans[0]), SHM_OK);
    request = next_request(server);
    CHECK_STATUS(shm_reply_loan_send(loans[1]), SHM_ERR_CLOSED);
    CHECK(shm_reply_loan_size(loans[1]) == 1 && shm_reply_loan_data(loans[1]) != NULL);
    shm_reply_loan_destroy(loans[1]);
    uint64_t number = 7;
    CHECK_STATUS(shm_request_reply(request, &number, sizeof number), SHM_OK);
    shm_reply *reply = next_reply(first);
    CHECK(shm_reply_size(reply) == 0);
    shm_reply_release(reply);
    shm_pending_destroy(first);
    CHECK(number_replied(second) == 7);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

#define PARTS 50

/* Ends with a finish, a failure, without either, or is cancelled. */
static void *send_parts(void *argument) {
    shm_server *server = argument;
    for (int way = 0; way < 4; way++) {
        shm_request *request = NULL;
        CHECK_STATUS(shm_server_receive(server, &request), SHM_OK);
        int32_t status = SHM_OK;
        for (uint64_t part = 0; part < PARTS && status == SHM_OK; part++) {
            status = shm_request_send_part(request, &part, sizeof part);
        }
        CHECK_STATUS(status, way == 3 ? SHM_CANCELLED : SHM_OK);
        if (way == 0) CHECK_STATUS(shm_request_finish(request), SHM_OK);
        if (way == 1) CHECK_STATUS(shm_request_fail(request, 5, "no more"), SHM_OK);
        if (way > 1) shm_request_destroy(request);
    }
    return NULL;
}

static void several_replies(void) {
    shm_client *client = new_client("/parts", NULL);
    shm_server *server = new_server("/parts", NULL);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, send_parts, server) == 0);
    for (int way = 0; way < 4; way++) {
        shm_pending *pending = send_number(client, 1);
        for (uint64_t part = 0; part < (way == 3 ? 10 : PARTS); part++) {
            shm_reply *reply = next_reply(pending);
            CHECK(shm_reply_size(reply) == sizeof part && memcmp(shm_reply_data(reply), &part, sizeof part) == 0);
            shm_reply_release(reply);
        }
        shm_reply *none = UNTOUCHED;
        const int32_t ends[] = {SHM_END, SHM_ERR_REMOTE, SHM_ERR_NO_REPLY};
        if (way < 3) CHECK_STATUS(shm_pending_wait(pending, TEN_SECONDS, &none), ends[way]);
        if (way == 1) CHECK(shm_last_error_code() == 5 && strcmp(shm_last_error_message(), "no more") == 0);
        if (way < 3) CHECK_STATUS(shm_pending_try_reply(pending, &none), SHM_END);
        CHECK(none == UNTOUCHED);
        shm_pending_destroy(pending);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

/* A client that takes nothing keeps a server no longer than that wants to wait. */
static void parts_in_time(void) {
    shm_client *client = new_client("/time", NULL);
    shm_server *server = new_server("/time", NULL);
    shm_pending *pending = send_number(client, 1);
    shm_request *request = next_request(server);
    CHECK_STATUS(shm_request_send_part_timeout(request, "1", 1, 0), SHM_OK);
    CHECK_STATUS(shm_request_send_part_timeout(request, "x", 1, 0), SHM_TIMED_OUT);
    CHECK_STATUS(shm_request_send_part_timeout(request, "x", 1, 1000000), SHM_TIMED_OUT);
    CHECK_STATUS(shm_request_finish_timeout(request, 1000000), SHM_TIMED_OUT);
    CHECK_STATUS(shm_request_fail_timeout(request, 1, "x", 1000000), SHM_TIMED_OUT);
    shm_reply_loan *loan = NULL;
    CHECK_STATUS(shm_reply_loan_create(request, 1, &loan), SHM_OK);
    memcpy(shm_reply_loan_data(loan), "2", 1);
    CHECK_STATUS(shm_reply_loan_send_part_timeout(loan, 1000000), SHM_TIMED_OUT);
    for (char part = '1'; part <= '3'; part++) {
        shm_reply *reply = next_reply(pending);
        CHECK(shm_reply_size(reply) == 1 && *(const char *)shm_reply_data(reply) == part);
        shm_reply_release(reply);
        if (part == '1') CHECK_STATUS(shm_reply_loan_send_part_timeout(loan, TEN_SECONDS), SHM_OK);
        if (part != '2') continue;
        CHECK_STATUS(shm_reply_loan_create(request, 1, &loan), SHM_OK);
        memcpy(shm_reply_loan_data(loan), "3", 1);
        CHECK_STATUS(shm_reply_loan_send_part(loan), SHM_OK);
    }
    CHECK_STATUS(shm_request_finish_timeout(request, SHM_WAIT_FOREVER), SHM_OK);
    shm_reply *none = UNTOUCHED;
    CHECK_STATUS(shm_pending_try_reply(pending, &none), SHM_END);
    CHECK(none == UNTOUCHED);
    shm_pending_destroy(pending);

    pending = send_number(client, 1);
    request = next_request(server);
    CHECK_STATUS(shm_request_send_part(request, "1", 1), SHM_OK);
    shm_pending_destroy(pending);
    CHECK_STATUS(shm_reply_loan_create(request, 1, &loan), SHM_OK);
    CHECK_STATUS(shm_reply_loan_send_part(loan), SHM_CANCELLED);
    CHECK_STATUS(shm_request_send_part_timeout(request, "x", 1, TEN_SECONDS), SHM_CANCELLED);
    CHECK_STATUS(shm_request_finish_timeout(request, TEN_SECONDS), SHM_CANCELLED);

    pending = send_number(client, 1);
    request = next_request(server);
    CHECK_STATUS(shm_request_send_part(request, "1", 1), SHM_OK);
    shm_reply_release(next_reply(pending));
    CHECK_STATUS(shm_request_fail_timeout(request, 7, NULL, TEN_SECONDS), SHM_OK);
    CHECK_STATUS(shm_pending_try_reply(pending, &none), SHM_ERR_REMOTE);
    shm_pending_destroy(pending);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

/* Which of a service's functions a request is for. */
static void functions(void) {
    shm_client *client = new_client("/functions", NULL);
    shm_server *server = new_server("/functions", NULL);
    /* Published values of the hash. */
    CHECK(shm_function_number("a") == UINT64_C(0xaf63dc4c8601ec8c));
    CHECK(shm_function_number("foobar") == UINT64_C(0x85944171f73967e8));
    CHECK(shm_function_number("") == UINT64_C(0xcbf29ce484222325));
    CHECK(shm_function_number("\xff") == 0);
    const char *named[] = {"add", NULL, "gr\xc3\xb6\xc3\x9f" "er"};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        shm_request_loan *loan = NULL;
        CHECK_STATUS(shm_client_loan(client, 1, &loan), SHM_OK);
        CHECK_STATUS(shm_request_loan_set_function(loan, "other"), SHM_OK);
        CHECK_STATUS(shm_request_loan_set_function(loan, named[i]), SHM_OK);
        CHECK_STATUS(shm_request_loan_set_function(loan, "\xff"), SHM_ERR_INVALID_NAME);
        CHECK_STATUS(shm_request_loan_resize(loan, 70000), SHM_OK);
        shm_pending *pending = NULL;
        CHECK_STATUS(shm_request_loan_send(loan, &pending), SHM_OK);
        shm_request *request = next_request(server);
        CHECK(shm_request_function(request) == shm_function_number(named[i]));
        shm_request_destroy(request);
        shm_pending_destroy(pending);
    }
    shm_pending *pending = send_number(client, 1);
    shm_request *request = next_request(server);
    CHECK(shm_request_function(request) == 0);
    shm_request_destroy(request);
    shm_pending_destroy(pending);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

static void *reply_to_calls(void *argument) {
    shm_server *server = argument;
    for (int n = 0; n < 4; n++) {
        shm_request *request = next_request(server);
        if (n == 0 || n == 3) CHECK_STATUS(shm_request_reply(request, "pong", 4), SHM_OK);
        if (n == 1) CHECK_STATUS(shm_request_finish(request), SHM_OK);
        if (n == 2) CHECK_STATUS(shm_request_fail(request, 3, "no"), SHM_OK);
    }
    return NULL;
}

static void calls_that_wait(void) {
    shm_client *client = new_client("/call", NULL);
    shm_server *server = new_server("/call", NULL);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, reply_to_calls, server) == 0);
    shm_reply *reply = NULL;
    CHECK_STATUS(shm_client_call(client, "ping", 4, SHM_WAIT_FOREVER, &reply), SHM_OK);
    CHECK(shm_reply_size(reply) == 4 && memcmp(shm_reply_data(reply), "pong", 4) == 0);
    shm_reply_release(reply);
    reply = UNTOUCHED;
    CHECK_STATUS(shm_client_call(client, "ping", 4, TEN_SECONDS, &reply), SHM_END);
    CHECK_STATUS(shm_client_call(client, "ping", 4, TEN_SECONDS, &reply), SHM_ERR_REMOTE);
    CHECK(reply == UNTOUCHED && shm_last_error_code() == 3);
    shm_request_loan *loan = NULL;
    CHECK_STATUS(shm_client_loan(client, 4, &loan), SHM_OK);
    memcpy(shm_request_loan_data(loan), "ping", 4);
    CHECK_STATUS(shm_request_loan_call(loan, SHM_WAIT_FOREVER, &reply), SHM_OK);
    CHECK(shm_reply_size(reply) == 4 && memcmp(shm_reply_data(reply), "pong", 4) == 0);
    shm_reply_release(reply);
    CHECK(pthread_join(thread, NULL) == 0);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

/* What a client and a server gave out outlives them, and what was begun can be finished. */
static void destroyed_handles(void) {
    shm_client *client = new_client("/destroyed", NULL);
    shm_server *server = new_server("/destroyed", NULL);
    shm_request_loan *loan = NULL, *called = NULL;
    CHECK_STATUS(shm_client_loan(client, 100, &loan), SHM_OK);
    CHECK_STATUS(shm_client_loan(client, 100, &called), SHM_OK);
    memset(shm_request_loan_data(loan), 'x', 100);
    shm_pending *pendings[4];
    for (uint64_t n = 0; n < 4; n++) pendings[n] = send_number(client, n);
    shm_request *requests[4];
    for (int n = 0; n < 4; n++) requests[n] = next_request(server);
    shm_reply_loan *reply_loan = NULL;
    CHECK_STATUS(shm_reply_loan_create(requests[1], 3, &reply_loan), SHM_OK);
    CHECK_STATUS(shm_request_reply(requests[0], "zero", 4), SHM_OK);
    shm_reply *held = next_reply(pendings[0]);
    shm_client_destroy(client);
    shm_server_destroy(server);

    shm_pending *none = UNTOUCHED;
    CHECK_STATUS(shm_request_loan_send(loan, &none), SHM_ERR_CLOSED);
    CHECK(none == UNTOUCHED && ((char *)shm_request_loan_data(loan))[99] == 'x');
    shm_request_loan_destroy(loan);
    shm_reply *no_reply = UNTOUCHED;
    CHECK_STATUS(shm_request_loan_call(called, SHM_WAIT_FOREVER, &no_reply), SHM_ERR_CLOSED);
    CHECK(no_reply == UNTOUCHED);
    memcpy(shm_reply_loan_data(reply_loan), "one", 3);
    CHECK_STATUS(shm_reply_loan_send(reply_loan), SHM_OK);
    CHECK_STATUS(shm_request_reply(requests[2], "two", 3), SHM_OK);
    shm_request_destroy(requests[3]);
    CHECK(memcmp(shm_reply_data(held), "zero", 4) == 0);
    for (int n = 1; n < 3; n++) {
        shm_reply *reply = next_reply(pendings[n]);
        CHECK(shm_reply_size(reply) == 3 && memcmp(shm_reply_data(reply), n == 1 ? "one" : "two", 3) == 0);
        shm_reply_release(reply);
    }
    shm_reply *reply = UNTOUCHED;
    CHECK_STATUS(shm_pending_wait(pendings[3], TEN_SECONDS, &reply), SHM_ERR_NO_REPLY);
    for (int n = 0; n < 4; n++) shm_pending_destroy(pendings[n]);
    CHECK(memcmp(shm_reply_data(held), "zero", 4) == 0);
    shm_reply_release(held);
    check_root_is_empty();
}

int main(void) {
    fresh_root();
    each_request_gets_its_reply();
    in_place();
    limits();
    used_up_memory();
    failures();
    timeouts_and_cancellation();
    loans_of_ended_requests();
    several_replies();
    parts_in_time();
    functions();
    calls_that_wait();
    destroyed_handles();
    check_root_is_empty();
    return 0;
}
