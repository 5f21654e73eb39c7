/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A copier of "device" memory for tests: it counts, fails on demand, and checks what it is called with. Its addresses aren't the processor's, its
   memory lies between guards, and a copy changes every byte, so that bytes that go another way are noticed. */
#ifndef FAKE_COPIER_H
#define FAKE_COPIER_H

#include "check.h"

#include <pthread.h>

enum { FAKE_STREAMS = 3, FAKE_LIST = 256 };

/* How often each was called. */
struct counts {
    int alloc, dealloc, shm_to_user, user_to_shm, shm_to_user_on_stream, user_to_shm_on_stream, pin, unpin, destroy;
};

/* Where it was allocated; the memory is between guards. */
struct block {
    char *start;
    size_t size;
};

struct pinned {
    char *start;
    size_t size;
    int is_writable, is_pinned;
};

/* A copy that a stream has yet to make. */
struct job {
    void *dst;
    const void *src;
    size_t size;
    shm_done done;
    void *done_data;
    int to_shm;
};

struct stream {
    struct job jobs[FAKE_LIST];
    int begun, ended;
    int allowed; /* how many may end */
};

struct fake {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct counts counts;
    /* What the calls return, 0 unless a test wants them to fail. */
    struct counts fails;
    int gives_null;  /* alloc succeeds, with NULL */
    int ends_with;   /* the status of copies on streams */
    size_t last_size;
    struct block blocks[FAKE_LIST];
    struct pinned mappings[FAKE_LIST];
    int mapping_count;
    struct stream streams[FAKE_STREAMS];
    pthread_t thread;
    int has_thread, is_over;
};

enum fake_kind { FAKE_PLAIN = 0, FAKE_PINS = 1, FAKE_STREAMED = 2 };

void fake_init(struct fake *fake);
/* Checks that all memory was freed and all mappings unpinned; ends the thread. */
void fake_end(struct fake *fake);
shm_copier_ops fake_ops(struct fake *fake, int kind);
shm_copier *fake_create(struct fake *fake, int kind);
struct counts fake_counts(struct fake *fake);
/* As a stream of the copier's; 0 is the default one. */
void *fake_stream(struct fake *fake, int number);
/* Lets the stream end `count` more copies. */
void fake_allow(struct fake *fake, int number, int count);
/* Waits until the stream has ended as many as it may. */
void fake_await(struct fake *fake, int number);

/* "Device" memory that the copier can use, without the library. */
void *fake_fill(struct fake *fake, const void *content, size_t size);
void fake_write(struct fake *fake, void *memory, const void *content, size_t size);
/* Checks that device memory has that content, and frees it. */
void fake_check(struct fake *fake, void *memory, const void *content, size_t size);

#endif
